"""One real station-writer, driven over its socket as stationd drives it, on a virtual reader with a real card."""

import array
import contextlib
import ctypes
import hashlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
import uuid

from practice_station import VirtualBench, wait_until
from virtual_reader import PRELOAD, examine

MIB = 1 << 20
HEAD_BYTES = 64 * 1024


def pattern(byte_count, seed=1):
    """Bytes that differ from sector to sector and begin with an MBR: one partition over the whole image."""
    sectors = (byte_count + 511) // 512
    filler = bytes((index * 37 + seed) & 0xFF for index in range(504))
    data = bytearray(b"".join((number * 2654435761 % (1 << 64)).to_bytes(8, "little") + filler
                              for number in range(sectors))[:byte_count])
    if byte_count >= 512:
        last = max(1, sectors - 1)
        data[446:510] = (bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (1).to_bytes(4, "little") + last.to_bytes(4, "little")
                         + bytes(48))
        data[510:512] = b"\x55\xaa"
    return bytes(data)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else digest_of(file)


def digest_of(file):
    digest = hashlib.sha256()
    while chunk := file.read(MIB):
        digest.update(chunk)
    return digest.hexdigest()


def bytes_at(card, offset, count):
    """What really is on the medium."""
    with open(card.backing, "rb") as file:
        file.seek(offset)
        return file.read(count)


def fill(card, byte=0xA5):
    """Makes the whole card full of something old, so that what was not written shows."""
    with open(card.backing, "r+b") as file:
        for _ in range(card.size // MIB):
            file.write(bytes([byte]) * MIB)


def inherited():
    """This process's environment. pytest takes a word out of it and puts it back for each test, while threads begin writers."""
    while True:
        try:
            return dict(os.environ)
        except KeyError:
            continue


class WriteOpenings:
    """Whether a device node was open for writing: inotify tells when the last descriptor of such an opening is closed."""

    IN_CLOSE_WRITE = 0x8

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self.descriptor, os.fsencode(path), self.IN_CLOSE_WRITE) >= 0, os.strerror(ctypes.get_errno())

    def seen(self):
        """Whether one has ended since this was asked last."""
        try:
            return bool(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)


class Image:
    """An image file as the library would seal it."""

    def __init__(self, directory, data, name=None):
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.path = os.path.join(directory, name or f"{self.sha256[:16]}.img")
        with open(self.path, "wb") as file:
            file.write(data)

    def on_card(self, card, sector=512):
        """Whether exactly these bytes, and zeros to the end of the last sector, are on the medium."""
        filled = -(-len(self.data) // sector) * sector
        return bytes_at(card, 0, filled) == self.data.ljust(filled, b"\0")


class Writer:
    """A writer process and this end of its socket."""

    def __init__(self, bench, programs, config, *, slot="slot1", program="station-writer", without=(), env=None,
                 wrapper=(), stderr=None):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.messages = []
        self.arrivals = []
        #: What is said to a writer that recognises its card: proceed, refuse, or nothing at all.
        self.answer = "proceed"
        environment = inherited() | (env or {})
        if shim := environment.pop("LD_PRELOAD", ""):
            # Before the bench's own library, which asks the C library directly.
            wrapper = [*wrapper, "env", f"LD_PRELOAD={shim}:{PRELOAD}"]
        if without:
            program = "station-writer-unguarded"
            environment["STATION_WITHOUT"] = ",".join(without)
        arguments = [*wrapper, os.path.join(programs, program), "--slot", slot, "--config", config, "--connected",
                     str(theirs.fileno())]
        self.process = bench.spawn(arguments, env=environment, pass_fds=[theirs.fileno()],
                                   stdin=subprocess.DEVNULL, stderr=stderr)
        theirs.close()

    def ask(self, *, disk, sequence, byte_count, sha256, image, condition=None, dry_run=False, job=None, patches=(),
            version=1, descriptors=None, may_update=False):
        self.job = job or uuid.uuid4().hex
        request = {"version": version, "jobID": self.job, "disk": disk, "deviceSequence": sequence,
                   "content": {"byteCount": byte_count, "sha256": sha256, "patches": list(patches)},
                   "condition": condition or {"none": {}}, "isDryRun": dry_run, "mayUpdate": may_update}
        self.send(json.dumps(request).encode(), [image] if descriptors is None else descriptors)

    def send(self, message, descriptors=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([message], ancillary)

    def cancel(self):
        self.send(b'"cancel"')

    def receive(self, seconds=30.0):
        """The next message; None at the end of the connection."""
        ready, _, _ = select.select([self.socket], [], [], seconds)
        if not ready:
            raise AssertionError(f"the writer said nothing for {seconds} s; last: {self.messages[-1:]}")
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return None
        if not data:
            return None
        message = json.loads(data)
        self.messages.append(message)
        self.arrivals.append(time.monotonic())
        if "recognised" in message and self.answer:
            self.send(json.dumps(self.answer).encode())
            return self.receive(seconds)
        return message

    def wait_held(self):
        while True:
            message = self.receive()
            assert message is not None, "the writer hung up before it held the card"
            if "held" in message:
                return
            assert "progress" in message, f"the writer did not hold the card: {message}"

    def wait_phase(self, *phases, done=0, seconds=30.0):
        """Until a progress message says that a phase has come, and so many bytes of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.receive()
            assert message is not None and "ended" not in message, f"over before {phases}: {message}"
            progress = message.get("progress", {}).get("_0")
            if progress and progress["phase"] in phases and progress["phaseBytesDone"] >= done:
                return progress
        raise AssertionError(f"{phases} never came: {self.messages[-1]}")

    def wait_silence(self, seconds):
        """Until the writer says that a request to the card has been under way for so long."""
        while True:
            message = self.receive()
            assert message is not None and "ended" not in message, f"over before it was silent: {message}"
            if message.get("progress", {}).get("_0", {}).get("silentSeconds", 0) >= seconds:
                return message["progress"]["_0"]

    def report(self, seconds=60.0):
        """The verdict, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.receive(seconds)
            assert message is not None, f"the writer ended without a verdict ({self.process.poll()})"
            if "ended" in message:
                return message["ended"]["_0"]
        raise AssertionError("no verdict")

    @property
    def program_id(self):
        """The writer's process id (setpriv and wrappers exec into it)."""
        return self.process.pid

    def status(self):
        """/proc/PID/status as a dict."""
        with open(f"/proc/{self.program_id}/status", encoding="ascii") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def hang_up(self):
        self.socket.close()

    def close(self):
        self.socket.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def verdict_of(report):
    verdict = report["verdict"]
    return verdict["verdict"], verdict.get("reason")


class WriterBench:
    """A configuration with slot files, a virtual bench, and what a test needs to run one job."""

    def __init__(self, programs, directory=None):
        self.programs = programs
        self.directory = tempfile.mkdtemp(prefix="writer-bench-", dir=directory)
        self.config = os.path.join(self.directory, "etc")
        self.slots = os.path.join(self.config, "slots.d")
        os.makedirs(self.slots)
        os.chmod(self.config, 0o755)
        os.chmod(self.slots, 0o755)
        self.bench = VirtualBench()
        self.writers = []
        self.stack = contextlib.ExitStack()
        self.declare("slot1", "2")

    def declare(self, name, port, reader="05e3:0749", luns=1, lun=0, speed=480, controller="0000:00:03.0", **keys):
        keys = {"MinimumSize": "1M", **keys}
        path = os.path.join(self.slots, f"{name}.slot")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[Slot]\nPlace=usb {speed} port {port} lun {lun} at pci0000:00/{controller}\n"
                       f"Reader={reader} luns {luns}\n" + "".join(f"{key}={value}\n" for key, value in keys.items()))
        os.chmod(path, 0o644)
        return path

    def image(self, byte_count=4 * MIB, seed=1, data=None):
        return Image(self.directory, pattern(byte_count, seed) if data is None else data)

    def insert(self, card, port="2", **options):
        return self.bench.insert(port, card, "slot1", **options)

    def start(self, **options):
        writer = Writer(self.bench, self.programs, options.pop("config", self.config), **options)
        self.writers.append(writer)
        return writer

    def ask(self, reader, image, *, writer=None, sequence=None, disk=None, sha256=None, byte_count=None,
            condition=None, dry_run=False, job=None, patches=(), open_flags=os.O_RDONLY, may_update=False, **options):
        """Starts a writer and hands it a job for the disk of a reader."""
        writer = writer or self.start(**options)
        descriptor = os.open(image.path, open_flags)
        try:
            node = self.bench.real(reader.device) if reader else None
            writer.ask(disk=disk or os.path.basename(reader.device),
                       sequence=examine(node)[5] if sequence is None else sequence,
                       byte_count=len(image.data) if byte_count is None else byte_count,
                       sha256=sha256 or image.sha256, image=descriptor, condition=condition, dry_run=dry_run, job=job,
                       patches=patches, may_update=may_update)
        finally:
            os.close(descriptor)
        return writer

    def run(self, reader, image, **options):
        """One job to its end: its report."""
        writer = self.ask(reader, image, **options)
        report = writer.report()
        writer.close()
        return report

    def close(self):
        for writer in self.writers:
            writer.close()
        self.stack.close()
        self.bench.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
