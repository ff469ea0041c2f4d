"""The judge: what is true of a card, a disk and a host, found without asking the station.

A card holds its image when a reader without faults would find it there after the power was off: so the bytes are taken from
the file behind the practice card, past the device that lies and past every cache.
"""

import ctypes
import hashlib
import os
import sqlite3
import struct
import time

MIB = 1 << 20
PR_SET_CHILD_SUBREAPER = 36


class Medium:
    """A card as a fault-free reader would find it.

    capacity: what it really holds; beyond: what lies behind that; stuck: bits of the medium that always have one value, as
    (offset, mask, value).
    """

    def __init__(self, backing, size, capacity=None, beyond=None):
        self.backing, self.size, self.capacity, self.beyond = backing, size, capacity or size, beyond
        self.stuck = []

    @property
    def is_honest(self):
        return self.capacity >= self.size

    def read(self, offset, count):
        data = bytearray(self.read_backing(offset, count))
        for place, mask, value in self.stuck:
            if offset <= place < offset + count:
                data[place - offset] = data[place - offset] | mask if value else data[place - offset] & ~mask & 0xFF
        return bytes(data)

    def read_backing(self, offset, count):
        with open(self.backing, "rb") as file:
            parts = []
            while count:
                real = offset % self.capacity if self.beyond == "wrap" else offset
                piece = min(count, max(0, self.capacity - real))
                if not piece:
                    parts.append(bytes(count))
                    break
                file.seek(real)
                parts.append(file.read(piece).ljust(piece, b"\0"))
                offset, count = offset + piece, count - piece
        return b"".join(parts)

    def is_zero(self, start, end):
        while start < end:
            piece = min(MIB, end - start)
            if any(self.read(start, piece)):
                return False
            start += piece
        return True


def partitions_end(head):
    """Where the last partition of an MBR ends, in bytes."""
    if head[510:512] != b"\x55\xaa":
        return 0
    entries = [struct.unpack_from("<II", head, 446 + 16 * number + 8) for number in range(4)]
    return max(((start + count) * 512 for start, count in entries if count), default=0)


def flaw_of(medium, sha256, byte_count, sector=512, wipes=True):
    """Why this card must not be called passed; None where it may. `sha256`: of the image that was assigned."""
    content = medium.read(0, byte_count)
    if hashlib.sha256(content).hexdigest() != sha256:
        return "the medium does not hold the image that was assigned"
    filled = -(-byte_count // sector) * sector
    if any(medium.read(byte_count, filled - byte_count)):
        return "the image's last sector is not filled up with zeros"
    if not medium.is_honest:
        return f"the card claims {medium.size} bytes and holds {medium.capacity}"
    if wipes:
        end = min(partitions_end(content[:512].ljust(512, b"\0")), medium.size)
        if not medium.is_zero(filled, end):
            return "something old lies between the image and the end of its partition"
        if not medium.is_zero(max(filled, medium.size - MIB), medium.size):
            return "something old lies in the last MiB"
    return None


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bystander:
    """A disk that has nothing to do with the job, full of known bytes."""

    def __init__(self, name, backing):
        self.name, self.backing = name, backing
        self.digest = digest(backing)

    def is_unharmed(self):
        return digest(self.backing) == self.digest


# -- what is left behind ------------------------------------------------------------------------------

def adopt_orphans():
    """From now on whatever a scenario leaves behind becomes a child of this process, and is found."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processes():
    """Of all processes: {id: (parent, state, name)}."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                continue
            name, fields = text[text.index("(") + 1:text.rindex(")")], text.rsplit(")", 1)[1].split()
            found[int(entry)] = (int(fields[1]), fields[0], name)
    return found


def descendants(root=None):
    """Everything below a process that still runs: {id: name}."""
    table = processes()
    below, found = {root or os.getpid()}, {}
    while True:
        more = {number for number, (parent, _, _) in table.items() if parent in below and number not in below}
        if not more:
            return found
        below |= more
        found |= {number: table[number][2] for number in more if table[number][1] not in "ZX"}


def reap():
    """Takes note of orphans that ended; those with an owner here are the owner's to wait for."""
    for number, (parent, state, _) in processes().items():
        if parent == os.getpid() and state == "Z":
            try:
                os.waitpid(number, os.WNOHANG)
            except ChildProcessError:
                pass


def descriptors(process="self"):
    """The open files of a process, as what they lead to."""
    found = []
    for entry in os.listdir(f"/proc/{process}/fd"):
        try:
            found.append(os.readlink(f"/proc/{process}/fd/{entry}"))
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def loops(directory):
    """Loop devices over files in a directory."""
    found = []
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
                if file.read().startswith(directory + "/"):
                    found.append(name)
        except OSError:
            continue
    return found


def mounts(directory):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return [line.split()[1] for line in file if f"{line.split()[1]}/".startswith(directory + "/")]


class Household:
    """What there is before a scenario, so that what it leaves behind shows."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.processes = set(descendants())
        self.descriptors = len(descriptors())
        self.files = set(os.listdir(scratch))

    def left(self):
        """What is more than before, as text."""
        reap()
        found = [f"process {number} ({name})" for number, name in descendants().items() if number not in self.processes]
        more = len(descriptors()) - self.descriptors
        if more > 0:
            found.append(f"{more} descriptors: {sorted(descriptors())[-8:]}")
        found += [f"loop device {name}" for name in loops(self.scratch)]
        found += [f"mount {path}" for path in mounts(self.scratch)]
        found += [f"file {name}" for name in set(os.listdir(self.scratch)) - self.files]
        return found

    def left_after(self, seconds):
        """The same, once what is on its way out has had its time."""
        deadline = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


# -- records ------------------------------------------------------------------------------------------

def records(state):
    """The jobs in a station's store in their order, read without the station: {id: (verdict or None, disk sequence)}."""
    path = os.path.join(state, "store", "station.db")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        rows = connection.execute("SELECT id, verdict, device_sequence FROM jobs ORDER BY sequence")
        return {job: (verdict, sequence) for job, verdict, sequence in rows}
    finally:
        connection.close()


def flaws_of_store(state):
    """What SQLite thinks of a station's store: "ok", or what is wrong."""
    connection = sqlite3.connect(f"file:{os.path.join(state, 'store', 'station.db')}?mode=ro", uri=True, timeout=5)
    try:
        return "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        connection.close()


def marker_job(backing):
    """Whose marker a card carries; None where it carries none."""
    with open(backing, "rb") as file:
        text = file.read(512).split(b"\0")[0].decode(errors="replace")
    if not text.startswith("flashing-station marker 1\n"):
        return None
    return dict(line.split("=", 1) for line in text.splitlines()[1:]).get("job")
