#!/usr/bin/python3
"""Practice cards: real block devices with the character of a memory card, sound or lying.

    with PracticeCard("256M", write_rate="20MB", read_rate="40MB", latency=0.0005) as card:
        card.device                      # /dev/loopN
        card.backing                     # the file with the real bytes
        card.control({"fault": "wrap", "capacity": 100_000_000, "cache": "64M"})
        card.control({"do": "state"})    # counters

The stack is nbdkit with practice_device.py, nbdfuse, and a loop device with direct I/O on the file that
nbdfuse shows. Nothing of it outlives the process that made it, not even after kill -9:

  * the loop device is attached with "autoclear" and this process holds it open: the kernel itself detaches
    it when the last descriptor is closed;
  * the FUSE mount is detached from the tree at once, only the loop device still holds it: when that goes,
    nbdfuse sees the end and leaves, and nbdkit (filter exitlast) leaves after it;
  * nbdkit and nbdfuse get SIGKILL when this process dies. The death of nbdfuse aborts its requests, so that
    a process which waits in the kernel for a card that hangs gets EIO and can go.

`practice_card.py cleanup` removes what a killed process left in the temporary directory.

Needs root, and the Debian packages nbdkit, nbdkit-plugin-python, libnbd-bin and fuse3 (LoopCard: only root).
Sizes are in bytes and rates in bytes per second, with suffixes as in coreutils: 512M are MiB, 20MB are
millions. Times are in seconds.
"""

import argparse
import atexit
import errno
import fcntl
import json
import os
import queue
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from practice_device import parse_bytes  # noqa: E402 (needs the path above when run from elsewhere)

PLUGIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "practice_device.py")
DIRECTORY_PREFIX = "practice-card-"
BENCH_PREFIX = "virtual-reader-"
RECORD = "record.json"

# linux/loop.h and linux/fs.h
LOOP_MAJOR = 7
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_SET_CAPACITY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C07, 0x4C0A, 0x4C82
LO_READ_ONLY, LO_AUTOCLEAR, LO_PARTSCAN, LO_DIRECT_IO = 1, 4, 8, 16
LOOP_INFO = "=QQQQQIIII64s64s32sQQ"
BLKROSET, BLKGETSIZE64, BLKGETDISKSEQ = 0x125D, 0x80081272, 0x80081280


class PracticeError(Exception):
    """The bench itself does not work (not: the card has a fault)."""


def wait_until(condition, seconds, what):
    """Poll until `condition()` is true and return its value; PracticeError after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise PracticeError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.005)


class Starter:
    """Starts children from one thread which lives as long as the process.

    The kernel sends the parent-death signal when the *thread* that started the child ends; a card made in a
    short-lived thread would lose its stack under the hands of its user.
    """

    def __init__(self):
        self.requests = queue.Queue()
        self.thread = None
        self.lock = threading.Lock()

    def start(self, arguments, **options):
        with self.lock:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, daemon=True)
                self.thread.start()
        answer = queue.Queue()
        self.requests.put((arguments, options, answer))
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def run(self):
        while True:
            arguments, options, answer = self.requests.get()
            try:
                # setpriv sets the signal in the child: no Python code between fork and exec.
                answer.put(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *arguments], **options))
            except BaseException as error:  # belongs to the caller, who waits for it
                answer.put(error)


starter = Starter()
open_cards = set()


@atexit.register
def close_open_cards():
    for card in list(open_cards):
        card.close()


# -- loop devices -------------------------------------------------------------------------------------

class Loop:
    """An attached loop device, held open by this process and detached by the kernel on the last close."""

    def __init__(self, path, sector_size=512, read_only=False, partitions=False):
        flags = LO_AUTOCLEAR | LO_DIRECT_IO | (LO_READ_ONLY if read_only else 0) | (LO_PARTSCAN if partitions else 0)
        backing = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            self.number, self.descriptor = self.attach(backing, path, sector_size, flags)
        finally:
            os.close(backing)
        self.device = f"/dev/loop{self.number}"
        self.queue_before = {}
        # The kernel keeps the switch of the card that had this number before, and who set it may have been killed.
        if not read_only:
            self.set_read_only(False)

    @staticmethod
    def attach(backing, path, sector_size, flags):
        info = struct.pack(LOOP_INFO, 0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(path)[-63:], b"", b"", 0, 0)
        config = bytearray(struct.pack("=II", backing, sector_size) + info + bytes(64))
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(100):
                number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
                node = f"/dev/loop{number}"
                if not os.path.exists(node):
                    # In a container /dev is an ordinary directory: the kernel makes no nodes there.
                    try:
                        os.mknod(node, 0o660 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, number))
                    except FileExistsError:
                        pass
                # Configured through a descriptor that may not write, the device would be read-only.
                writable = os.open(node, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(writable, LOOP_CONFIGURE, config)
                    return number, os.open(node, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    if error.errno != errno.EBUSY:  # busy: somebody else was faster with this number
                        raise
                finally:
                    os.close(writable)
        finally:
            os.close(control)
        raise PracticeError("no free loop device")

    def sysfs(self, name):
        return f"/sys/block/loop{self.number}/{name}"

    def limit(self, size):
        """Show only the first `size` bytes (0: all). What holds the device open sees the size change."""
        info = bytearray(struct.calcsize(LOOP_INFO))
        fcntl.ioctl(self.descriptor, LOOP_GET_STATUS64, info)
        values = list(struct.unpack(LOOP_INFO, info))
        values[4] = size
        fcntl.ioctl(self.descriptor, LOOP_SET_STATUS64, bytearray(struct.pack(LOOP_INFO, *values)))

    def set_queue(self, name, value):
        """Set an attribute of the request queue; `close` puts the old value back, since these outlive the card."""
        path = self.sysfs(f"queue/{name}")
        with open(path, encoding="ascii") as file:
            self.queue_before.setdefault(path, file.read().strip())
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))

    def set_read_only(self, on):
        fcntl.ioctl(self.descriptor, BLKROSET, struct.pack("i", 1 if on else 0))

    @property
    def size(self):
        return struct.unpack("Q", fcntl.ioctl(self.descriptor, BLKGETSIZE64, bytes(8)))[0]

    @property
    def diskseq(self):
        return struct.unpack("Q", fcntl.ioctl(self.descriptor, BLKGETDISKSEQ, bytes(8)))[0]

    @property
    def attached(self):
        return os.path.exists(self.sysfs("loop/backing_file"))

    def close(self):
        if self.descriptor >= 0:
            for path, value in self.queue_before.items():
                with open(path, "w", encoding="ascii") as file:
                    file.write(value)
            os.close(self.descriptor)
            self.descriptor = -1


# -- cards --------------------------------------------------------------------------------------------

class Card:
    """What both kinds of card have in common."""

    def __init__(self, size, backing, directory, keep):
        self.keep = keep
        self.loop = None
        self.closed = False
        self.children = {}
        self.directory = tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=directory)
        self.own_backing = backing is None
        self.backing = backing or os.path.join(self.directory, "backing")
        descriptor = os.open(self.backing, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            present = os.fstat(descriptor).st_size
            self.size = parse_bytes(size) if size else present
            if present < self.size:
                os.ftruncate(descriptor, self.size)
        finally:
            os.close(descriptor)
        if not self.size:
            raise PracticeError("a card needs a size, or a backing file that has one")
        self.record()
        open_cards.add(self)

    def record(self):
        """Write down what there is, for `cleanup`. A process id counts only with its start time."""
        write_record(self.directory, {name: identity(child.pid) for name, child in self.children.items()})

    @property
    def device(self):
        """The path of the block device, /dev/loopN."""
        return self.loop.device

    @property
    def diskseq(self):
        """The kernel's sequence number of this disk."""
        return self.loop.diskseq

    def resize(self, size):
        """Show another size from now on, at most the first one, also to those who have the device open."""
        self.loop.limit(parse_bytes(size))

    def set_read_only(self, on=True):
        """Write-protect the card (BLKROSET), as its little switch does. Not the same errno everywhere: a real
        SCSI disk refuses O_RDWR with EROFS, a loop device with EACCES."""
        self.loop.set_read_only(on)

    def control(self, message):
        """Send one command (a dict) and return the answer (a dict); PracticeError where it is refused."""
        if message.get("do") == "resize":
            self.resize(message["bytes"])
            return {"ok": True, "size": self.loop.size}
        if message.get("do") == "readonly":
            self.set_read_only(message.get("on", True))
            return {"ok": True}
        return self.device_control(message)

    def device_control(self, message):
        if message.get("do") == "state":
            return {"ok": True, "size": self.loop.size, "backing": self.backing, "faults": []}
        raise PracticeError("a plain loop device has no faults and no clock: take a PracticeCard")

    def describe(self):
        return {"device": self.device, "size": self.size, "backing": self.backing, "diskseq": self.diskseq,
                "directory": self.directory, "pid": os.getpid()}

    def close(self, seconds=5.0):
        """Take it all down. A process that still has the device open keeps the loop device attached until
        it closes it; it gets EIO from then on."""
        if self.closed:
            return
        self.closed = True
        open_cards.discard(self)
        try:
            self.end_hangs()
            if self.loop:
                loop = self.loop
                loop.close()
                try:
                    wait_until(lambda: not loop.attached, 1.0, f"{loop.device} is still attached")
                except PracticeError as error:
                    print(f"practice card: {error}: somebody has it open", file=sys.stderr)
            for name in ("nbdfuse", "nbdkit"):
                child = self.children.get(name)
                if child is not None:
                    end(child, seconds if self.loop and not self.loop.attached else 0.0)
        finally:
            unmount(os.path.join(self.directory, "mount"))
            if not self.keep:
                shutil.rmtree(self.directory, ignore_errors=True)

    def end_hangs(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LoopCard(Card):
    """A plain loop device over a sparse file: no clock, no faults, quickly made.

    size: bytes; sector_size: 512 to 4096; backing: a file (default: one of its own, gone on close);
    directory: where that file is made (default: /dev/shm where there is one, which is memory).
    """

    def __init__(self, size=None, sector_size=512, backing=None, directory=None, read_only=False,
                 partitions=False, keep=False):
        if directory is None and backing is None and os.path.isdir("/dev/shm"):
            directory = "/dev/shm"
        super().__init__(size, backing, directory, keep)
        try:
            # Where the file system of the backing file knows no direct I/O (tmpfs before Linux 6.6) the kernel
            # does without. O_DIRECT on the loop device works all the same.
            self.loop = Loop(self.backing, sector_size, read_only=read_only, partitions=partitions)
            self.record()
        except BaseException:
            self.close()
            raise


class PracticeCard(Card):
    """A card with a clock and with faults.

    size: bytes (default: that of `backing`); write_rate, read_rate: bytes/s, 0 = unlimited; latency: seconds
    for each request; sector_size: 512 to 4096; backing: a file with the real bytes (default: one of its own,
    sparse, gone on close); faults: a list of faults (dicts, see practice_device.py), or one; discard: "none",
    "zeros" or "keeps" (the kernel makes a success of the refusal, so that "none" and "keeps" look the same from
    outside; a real USB reader says EOPNOTSUPP); max_sectors_kb: the largest request of the block device in KiB
    (a high-speed USB reader has 120, a SuperSpeed one 1024; None leaves the loop driver's own); read_only:
    write-protected from the start; partitions: let the kernel look for partitions; keep: leave directory and
    backing file on close.
    """

    def __init__(self, size=None, write_rate=0, read_rate=0, latency=0.0, backing=None, sector_size=512,
                 faults=(), discard="none", max_sectors_kb=None, read_only=False, partitions=False,
                 directory=None, keep=False):
        super().__init__(size, backing, directory, keep)
        try:
            self.build(write_rate, read_rate, latency, faults, discard, sector_size, read_only, partitions)
            if max_sectors_kb is not None:
                self.loop.set_queue("max_sectors_kb", max_sectors_kb)
        except BaseException:
            self.close()
            raise

    def build(self, write_rate, read_rate, latency, faults, discard, sector_size, read_only, partitions):
        server, mount = self.path("nbd"), self.path("mount")
        os.mkdir(mount)
        faults = [faults] if isinstance(faults, dict) else faults
        self.start("nbdkit", "nbdkit", "--foreground", "--unix", server, "--filter=exitlast", "python", PLUGIN,
                   f"backing={os.path.abspath(self.backing)}", f"size={self.size}",
                   f"write_rate={parse_bytes(write_rate)}", f"read_rate={parse_bytes(read_rate)}",
                   f"latency={float(latency)}", f"discard={discard}", f"control={self.path('control')}")
        self.wait_for("nbdkit", lambda: os.path.exists(server) and os.path.exists(self.path("control")))
        # FUSE cuts requests at 1 MiB, which is its maximum and nbdfuse's default; no option makes it more.
        self.start("nbdfuse", "nbdfuse", os.path.join(mount, "card"), "--unix", server)
        self.wait_for("nbdfuse", lambda: os.path.exists(os.path.join(mount, "card")))
        self.loop = Loop(os.path.join(mount, "card"), sector_size, read_only=read_only, partitions=partitions)
        unmount(mount)  # only from the tree: the loop device holds the file, and so the file system
        self.record()
        # Not earlier: the kernel itself reads from a new loop device, and with a fault that hangs it would hang
        # in the middle of attaching, with the lock that all loop devices share. What it read is in no figure.
        self.control({"do": "reset"})
        for fault in faults:
            self.control(fault)

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, name, *arguments):
        with open(self.path(name + ".log"), "wb") as log:
            # A session of its own: Ctrl-C at the terminal is for the owner, who then takes all down in order.
            self.children[name] = starter.start(list(arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True)
        self.record()

    def wait_for(self, name, condition):
        child = self.children[name]
        try:
            wait_until(lambda: child.poll() is not None or condition(), 10.0, f"{name} does not come up")
            if child.returncode is None:
                return
            problem = f"{name} ended with {child.returncode}"
        except PracticeError as error:
            problem = str(error)
        with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as log:
            raise PracticeError(f"{problem}: {log.read().strip()}")

    def device_control(self, message):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10.0)
            connection.connect(self.path("control"))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(message) + "\n")
                stream.flush()
                line = stream.readline()
        if not line:
            raise PracticeError("the practice device closed its control socket")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise PracticeError(answer.get("error", line))
        return answer

    def state(self):
        """The counters of the device, see State.snapshot in practice_device.py."""
        return self.control({"do": "state"})

    def describe(self):
        return {**super().describe(), "control": self.path("control"),
                **{name: child.pid for name, child in self.children.items()}}

    def end_hangs(self):
        if "nbdkit" in self.children and self.children["nbdkit"].poll() is None and self.loop:
            try:
                self.device_control({"do": "clear"})
            except (OSError, PracticeError):
                pass  # it is on its way out already


# -- processes ----------------------------------------------------------------------------------------

def identity(pid):
    """A process for ever: [pid, start time in clock ticks since boot]; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return None if fields[0] == "Z" else [pid, int(fields[19])]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def write_record(directory, processes=None):
    """Say in a directory whose it is, for `cleanup`."""
    path = os.path.join(directory, RECORD)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"owner": identity(os.getpid()), "processes": processes or {}}, file)
    os.replace(path + ".new", path)


def end(child, seconds):
    """Wait so long for a child that is on its way out, then kill it."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def unmount(path):
    """Detach what is mounted there, if anything is. Asks the mount table: a FUSE mount without its server
    answers every stat with an error."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        if any(line.split()[1] == path.replace(" ", "\\040") for line in mounts):
            subprocess.run(["umount", "--lazy", "--", path], check=True)


def cleanup(directory=None):
    """Remove what killed owners left; returns the directories that went. Touches nothing that has an owner."""
    directory = directory or tempfile.gettempdir()
    gone = []
    places = {directory, "/dev/shm"} if directory == tempfile.gettempdir() else {directory}
    for place in sorted(places):
        if not os.path.isdir(place):
            continue
        for name in sorted(os.listdir(place)):
            path = os.path.join(place, name)
            try:
                with open(os.path.join(path, RECORD), encoding="utf-8") as file:
                    record = json.load(file)
            except (OSError, ValueError):
                continue
            if not name.startswith((DIRECTORY_PREFIX, BENCH_PREFIX)) or alive(record["owner"]):
                continue
            for process in record["processes"].values():
                if alive(process):
                    os.kill(process[0], signal.SIGKILL)
            unmount(os.path.join(path, "mount"))
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path)
    return gone


def alive(process):
    return process is not None and identity(process[0]) == process


# -- command line -------------------------------------------------------------------------------------

def create(options):
    if options.loop:
        card = LoopCard(options.size, options.sector_size, backing=options.backing, read_only=options.read_only,
                        partitions=options.partitions)
    else:
        card = PracticeCard(options.size, options.write_rate, options.read_rate, options.latency, options.backing,
                            options.sector_size, [json.loads(text) for text in options.fault], options.discard,
                            options.max_sectors_kb, options.read_only, options.partitions)
    with card:
        print(json.dumps(card.describe()), flush=True)
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                answer = card.control(json.loads(line))
            except (PracticeError, ValueError, KeyError, OSError) as error:
                answer = {"ok": False, "error": str(error)}
            print(json.dumps(answer), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Practice cards: real block devices, sound or lying.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("create", help="make a card and print it as JSON; commands as JSON lines on standard "
                            "input; the card goes when standard input ends")
    verb.add_argument("--size", help="bytes, e.g. 512M; default: size of the backing file")
    verb.add_argument("--write-rate", default="0", help="bytes per second, e.g. 20MB")
    verb.add_argument("--read-rate", default="0", help="bytes per second, e.g. 40MB")
    verb.add_argument("--latency", type=float, default=0.0, help="seconds for each request")
    verb.add_argument("--backing", help="file with the real bytes")
    verb.add_argument("--sector-size", type=int, default=512, choices=(512, 1024, 2048, 4096))
    verb.add_argument("--discard", default="none", choices=("none", "zeros", "keeps"))
    verb.add_argument("--max-sectors-kb", type=int, help="largest request in KiB")
    verb.add_argument("--fault", action="append", default=[], metavar="JSON", help="a fault from the start")
    verb.add_argument("--read-only", action="store_true", help="write-protected")
    verb.add_argument("--partitions", action="store_true", help="let the kernel look for partitions")
    verb.add_argument("--loop", action="store_true", help="a plain loop device, without clock and faults")
    verb = verbs.add_parser("cleanup", help="remove what killed owners left behind")
    verb.add_argument("--directory", help="where to look; default: the temporary directory and /dev/shm")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        if options.verb == "cleanup":
            for path in cleanup(options.directory):
                print(path)
        else:
            create(options)
    except KeyboardInterrupt:
        pass
    except (PracticeError, OSError, ValueError) as error:
        sys.exit(f"practice_card: {error}")


if __name__ == "__main__":
    main()
