"""What makes figures of memory, and of devices over memory, mean the same in each run.

A virtual machine's memory is its host's: a page that was free for a while is slow when it is first touched, several times
slower than any device over memory, and whoever is measured first pays for who comes after."""

import mmap
import os

from practice_card import LoopCard

MIB = 1 << 20


def warm(byte_count):
    """Touches so much free memory, and gives it back: what takes memory now takes that."""
    with mmap.mmap(-1, byte_count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, byte_count, mmap.PAGESIZE):
            memory[offset] = 1


class MemoryCard(LoopCard):
    """A loop device over memory that is all there already, as all of a card is: writing to it takes none."""

    def __init__(self, size):
        super().__init__(size)
        zeros = bytes(4 * MIB)
        with open(self.backing, "r+b") as file:
            for offset in range(0, size, len(zeros)):
                file.write(zeros[:size - offset])


def forget(paths):
    """Lets the page cache forget files, so that programs come into memory page by page as they need them, as after a boot.
    One that was just copied is there in large pieces, which count whole with each process that uses a bit of them."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
