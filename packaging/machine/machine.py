"""A whole machine for tests: Debian 12 with its own kernel, systemd and udevd, under QEMU, with readers and cards.

    with Machine() as machine:
        card = machine.usb_insert(1, "card.img")
        disk = card.wait_disk()                     # "sda", once the kernel has it
        print(machine.run("lsblk").stdout)
        machine.usb_remove(card)

Everything waits for a state with a deadline; nothing sleeps and hopes. The standard library is all it needs.
"""
from __future__ import annotations

import ctypes
import dataclasses
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent

#: The USB controllers of the machine: QEMU's bus, and where the guest finds it in sysfs.
#: `xhci` has both a USB 2 and a USB 3 root hub, and its readers come up at SuperSpeed; on `xhci2` only high speed
#: exists; `ehci` is a USB 2 controller of the old kind.
BUSES = {
    "xhci": ("xhci.0", "/sys/devices/pci0000:00/0000:00:05.0"),
    "xhci2": ("xhci2.0", "/sys/devices/pci0000:00/0000:00:06.0"),
    "ehci": ("ehci.0", "/sys/devices/pci0000:00/0000:00:07.0"),
}
#: An old processor: glibc and OpenSSL choose AVX where there is any, and emulated that is slower than what it replaces, SHA-256 by
#: a factor of three.
CPU = "Nehalem"
#: What an emulated processor is slow at: a page table of five levels costs a third of all that programs do.
#: On a loaded host the kernel takes a timer that ticks late for a broken one, and panics, unless it is told not to check.
LEAN = "no5lvl audit=0 tsc=reliable no_timer_check"
#: Where the root disk is plugged in with `root_on_usb`: a port of `xhci` that no test uses for a reader.
ROOT_USB_PORT = 8
MMC_HOST = "/sys/devices/pci0000:00/0000:00:08.0"


class MachineError(Exception):
    """The bench itself failed: a machine that did not boot, a QMP command that was refused, a dead QEMU."""


class GuestCommandError(MachineError):
    """A command in the guest ended with another status than 0."""


class Timeout(MachineError):
    """A state that was waited for did not come."""


def wait_until(condition, timeout, what, interval=0.05):
    """Asks `condition` again and again until it answers something true, and returns that.

    The one place of the bench that sleeps: `what` says in the error what did not come within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise Timeout(f"waited {timeout} s in vain: {what}")
        time.sleep(interval)


def tool(program, package):
    """The path of a program, or a loud error that names its Debian package."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise MachineError(f"{program} is missing: install Debian's {package}")
    return found


def guest_directory():
    """The directory of the guest's kernel, initrd and root image; built now if it is not cached."""
    result = subprocess.run([str(HERE / "build-guest")], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise MachineError("the guest could not be built; build-guest said above why")
    return pathlib.Path(result.stdout.split("\n")[-2])


def die_with_parent():
    """Run in the child: a test run that is killed leaves no QEMU behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# ---------------------------------------------------------------------------------------------------------------
# The two conversations: QMP with QEMU, and the control channel with the guest.


class QMP:
    """A QMP client: one thread reads, `execute` waits for its answer, events are kept in order."""

    def __init__(self, connection):
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._changed = threading.Condition()
        self._answers = {}
        self._events = []
        self._closed = False
        self._next = 0
        self._greeted = False
        threading.Thread(target=self._read, daemon=True).start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._greeted or self._closed, 60) or self._closed:
                raise MachineError("QEMU did not greet on QMP")
        self.execute("qmp_capabilities")

    def _read(self):
        try:
            for line in self._reader:
                message = json.loads(line)
                with self._changed:
                    if "QMP" in message:
                        self._greeted = True
                    elif "event" in message:
                        self._events.append(message)
                    else:
                        self._answers[message.get("id")] = message
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def execute(self, command, arguments=None, timeout=60):
        """Runs one command and returns its `return` value."""
        with self._changed:
            self._next += 1
            identifier = self._next
            message = {"execute": command, "id": identifier}
            if arguments:
                message["arguments"] = arguments
            try:
                self._connection.sendall(json.dumps(message).encode() + b"\n")
            except OSError as error:
                raise MachineError(f"QMP {command}: QEMU is gone ({error})") from error
            if not self._changed.wait_for(lambda: identifier in self._answers or self._closed, timeout):
                raise Timeout(f"QMP {command}: no answer in {timeout} s")
            if identifier not in self._answers:
                raise MachineError(f"QMP {command}: QEMU ended before it answered")
            answer = self._answers.pop(identifier)
        if "error" in answer:
            raise MachineError(f"QMP {command} {arguments}: {answer['error']['desc']}")
        return answer["return"]

    def wait_event(self, name, matches=lambda data: True, timeout=60):
        """Waits for an event that is not yet taken, takes it, and returns its data."""
        taken = []

        def find():
            for event in self._events:
                if event["event"] == name and matches(event.get("data", {})):
                    taken.append(event)
                    self._events.remove(event)
                    return True
            return self._closed

        with self._changed:
            if not self._changed.wait_for(find, timeout):
                raise Timeout(f"QMP event {name}: not seen in {timeout} s")
        if not taken:
            raise MachineError(f"QEMU ended before its event {name}")
        return taken[0].get("data", {})

    def close(self):
        self._connection.close()


@dataclasses.dataclass
class Result:
    """What a command in the guest left: status, and its two outputs as text."""

    rc: int
    stdout: str
    stderr: str

    def __iter__(self):
        return iter((self.rc, self.stdout, self.stderr))


class Process:
    """A command under way in the guest; its output arrives while it runs."""

    def __init__(self, channel, identifier, description):
        self._channel = channel
        self._identifier = identifier
        self.description = description
        self._output = {1: bytearray(), 2: bytearray()}
        self.rc = None

    @property
    def stdout(self):
        with self._channel.changed:
            return self._output[1].decode(errors="replace")

    @property
    def stdout_bytes(self):
        with self._channel.changed:
            return bytes(self._output[1])

    @property
    def stderr(self):
        with self._channel.changed:
            return self._output[2].decode(errors="replace")

    def _wait_for(self, condition, timeout, what):
        channel = self._channel
        with channel.changed:
            if not channel.changed.wait_for(lambda: condition() or channel.closed, timeout):
                raise Timeout(f"{self.description}: {what} not seen in {timeout} s\n"
                              f"stdout: {self._tail(1)}\nstderr: {self._tail(2)}")
            if not condition():
                raise MachineError(f"{self.description}: the guest is gone\n{channel.epitaph()}")

    def _tail(self, stream):
        return self._output[stream][-2000:].decode(errors="replace")

    def wait(self, timeout=60):
        """Waits for the command's end and returns its Result, whatever its status."""
        self._wait_for(lambda: self.rc is not None, timeout, "its end")
        return Result(self.rc, self.stdout, self.stderr)

    def wait_output(self, pattern, timeout=60):
        """Waits until the standard output matches the regular expression, and returns the match."""
        expression = re.compile(pattern, re.MULTILINE)
        found = []

        def look():
            match = expression.search(self._output[1].decode(errors="replace"))
            if match:
                found.append(match)
            return match is not None or self.rc is not None

        self._wait_for(look, timeout, f"output /{pattern}/")
        if not found:
            raise MachineError(f"{self.description}: ended with {self.rc} before it said /{pattern}/\n"
                               f"stdout: {self._tail(1)}\nstderr: {self._tail(2)}")
        return found[0]

    def lines(self, deadline):
        """The whole lines of the standard output, those to come too; ends with the command, or by Timeout."""
        position = 0
        while True:
            with self._channel.changed:
                output = self._output[1]
                self._channel.changed.wait_for(
                    lambda: output.find(b"\n", position) >= 0 or self.rc is not None or self._channel.closed,
                    max(0, deadline - time.monotonic()))
                end = output.find(b"\n", position)
                line = bytes(output[position:end]).decode(errors="replace") if end >= 0 else None
                is_over = self.rc is not None or self._channel.closed
            if line is not None:
                position = end + 1
                yield line
            elif is_over:
                return
            else:
                raise Timeout(f"{self.description}: nothing more was said\nstdout: {self._tail(1)}")

    def signal(self, number=signal.SIGTERM):
        """Sends a signal to the command's process group."""
        self._channel.send({"op": "signal", "id": self._identifier, "number": int(number)})

    def stop(self, timeout=20):
        """Ends the command by SIGTERM (SIGKILL if it will not) and returns its Result."""
        if self.rc is None:
            self.signal(signal.SIGTERM)
            try:
                return self.wait(timeout)
            except Timeout:
                self.signal(signal.SIGKILL)
        return self.wait(timeout)


class Channel:
    """The host's end of the control channel; the guest's end is guest/control-agent, which describes the frames."""

    def __init__(self, connection, epitaph):
        self._connection = connection
        self._sending = threading.Lock()
        self.changed = threading.Condition()
        self.closed = False
        self.hello = None
        self.epitaph = epitaph
        self._processes = {}
        self._values = {}
        self._next = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read_exactly(self, reader, count):
        data = reader.read(count)
        if len(data) != count:
            raise EOFError
        return data

    def _read(self):
        reader = self._connection.makefile("rb", buffering=1024 * 1024)
        try:
            while True:
                header_length, payload_length = struct.unpack(">II", self._read_exactly(reader, 8))
                header = json.loads(self._read_exactly(reader, header_length))
                payload = self._read_exactly(reader, payload_length)
                with self.changed:
                    self._take(header, payload)
                    self.changed.notify_all()
        except (OSError, EOFError, ValueError):
            pass
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _take(self, header, payload):
        if header.get("op") == "hello":
            self.hello = header
        elif "stream" in header:
            self._processes[header["id"]]._output[header["stream"]] += payload
        elif "exit" in header:
            self._processes.pop(header["id"]).rc = header["exit"]
        else:
            self._values[header["id"]] = header

    def send(self, header, payload=b""):
        encoded = json.dumps(header).encode()
        try:
            with self._sending:
                self._connection.sendall(struct.pack(">II", len(encoded), len(payload)) + encoded)
                self._connection.sendall(payload)
        except OSError as error:
            raise MachineError(f"the guest is gone ({error})\n{self.epitaph()}") from error

    def wait_hello(self, timeout):
        with self.changed:
            if not self.changed.wait_for(lambda: self.hello or self.closed, timeout):
                raise Timeout(f"the guest did not open the control channel in {timeout} s\n{self.epitaph()}")
            if not self.hello:
                raise MachineError(f"QEMU ended before the guest opened the control channel\n{self.epitaph()}")
            return self.hello

    def start(self, argv, env, cwd, standard_input, description):
        with self.changed:
            self._next += 1
            identifier = self._next
            process = self._processes[identifier] = Process(self, identifier, description)
        request = {"op": "exec", "id": identifier, "argv": argv, "env": env or {}}
        if cwd:
            request["cwd"] = cwd
        self.send(request, standard_input)
        return process

    def evaluate(self, expression, timeout):
        with self.changed:
            self._next += 1
            identifier = self._next
        self.send({"op": "eval", "id": identifier, "expression": expression})
        with self.changed:
            if not self.changed.wait_for(lambda: identifier in self._values or self.closed, timeout):
                raise Timeout(f"no answer from the guest to {expression} in {timeout} s")
            if identifier not in self._values:
                raise MachineError(f"the guest is gone\n{self.epitaph()}")
            answer = self._values.pop(identifier)
        if "error" in answer:
            raise GuestCommandError(f"{expression}: {answer['error']}")
        return answer["value"]

    def close(self):
        self._connection.close()


# ---------------------------------------------------------------------------------------------------------------
# QEMU as a child process: shared by the machine and by the boot of a flashed card.


class Emulator:
    """One QEMU process, and QMP with it over a socket that it inherits: no paths, no waiting for a file."""

    def __init__(self, arguments, log, extra_sockets=()):
        ours, theirs = socket.socketpair()
        command = [tool("qemu-system-x86_64", "qemu-system-x86"),
                   "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-nodefaults", "-no-user-config",
                   "-display", "none", "-nic", "none", "-no-reboot",
                   "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
                   *arguments]
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=die_with_parent,
                pass_fds=[theirs.fileno(), *(s.fileno() for s in extra_sockets)])
        theirs.close()
        for inherited in extra_sockets:
            inherited.close()
        try:
            self.qmp = QMP(ours)
        except BaseException:
            self.kill()
            raise MachineError(f"QEMU did not start:\n{self.words()}")

    def words(self):
        return pathlib.Path(self.log).read_text(errors="replace")[-3000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def memory(self, address, count):
        """Bytes of the guest's physical memory."""
        with tempfile.NamedTemporaryFile() as file:
            self.qmp.execute("pmemsave", {"val": address, "size": count, "filename": file.name})
            return pathlib.Path(file.name).read_bytes()

    def screendump(self, path):
        """What a monitor would show now, as PNG (or PPM, by the name's ending)."""
        path = pathlib.Path(path)
        with tempfile.NamedTemporaryFile(suffix=".ppm") as file:
            self.qmp.execute("screendump", {"filename": file.name})
            picture = pathlib.Path(file.name).read_bytes()
        path.write_bytes(picture if path.suffix == ".ppm" else png_from_ppm(picture))
        return path


def png_from_ppm(picture):
    """A PNG of a binary PPM, for QEMU is not always built with PNG."""
    reader = io.BytesIO(picture)
    fields = []
    while len(fields) < 4:
        line = reader.readline()
        fields += line.split(b"#")[0].split()
    width, height = int(fields[1]), int(fields[2])
    pixels = reader.read()
    rows = b"".join(b"\0" + pixels[y * width * 3:(y + 1) * width * 3] for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


# ---------------------------------------------------------------------------------------------------------------
# Readers and cards.


def host_file(path):
    """A file of this host as a block node. What the guest has flushed is with this host's kernel then, which outlives any power
    cut of the machine's; waiting for this host's own disk as well would be most of what dpkg, SQLite and the journal cost."""
    return {"driver": "file", "filename": str(pathlib.Path(path).resolve()), "cache": {"no-flush": True}}


def throttle_limits(bytes_per_second):
    """QEMU's limits for a card. No saved-up burst: a tenth of a second at most, else short cards never meet it."""
    return {"bps-total": bytes_per_second or 0, "bps-total-max": bytes_per_second or 0}


@dataclasses.dataclass
class Reader:
    """A USB reader that is plugged into the machine, with its card or cards (one per LUN)."""

    machine: Machine
    id: str
    bus: str
    port: str
    kind: str
    serial: str | None
    cards: list[dict]
    #: Of all its cards together.
    throttle_bps: int | None = None

    def disks(self):
        """The guest's names of this reader's disks by LUN, as far as the kernel has them: {0: "sda"}."""
        sysfs = BUSES[self.bus][1]
        found = {}
        chain = self.port.split(".")
        hubs = "/".join("*-" + ".".join(chain[:depth]) for depth in range(1, len(chain) + 1))
        for path in self.machine.glob(f"{sysfs}/usb*/{hubs}/*:*/host*/target*/*/block/*"):
            found[int(path.split("/")[-3].split(":")[-1])] = path.split("/")[-1]
        return found

    def wait_disks(self, timeout=60, settle=True):
        """Waits until every LUN is a disk and udev is done with it; the names in the order of the LUNs.

        `settle=False` does not wait for udev, which may itself hang on a card that does not answer.
        """
        count = len(self.cards)
        found = wait_until(lambda: (lambda d: d if len(d) == count else None)(self.disks()), timeout,
                           f"{count} disk(s) of reader {self.id} on {self.bus} port {self.port}")
        for name in found.values() if settle else ():
            self.machine.wait_udev(f"/sys/block/{name}", timeout)
        return [found[lun] for lun in sorted(found)]

    def wait_disk(self, timeout=60, settle=True):
        """Waits for the disk of a reader with one card; its name, without /dev/."""
        return self.wait_disks(timeout, settle)[0]

    def sysfs(self, timeout=60):
        """The full sysfs path of the disk, links resolved."""
        return self.machine.realpath(f"/sys/block/{self.wait_disk(timeout)}")


@dataclasses.dataclass
class Gadget:
    """A card reader made in the guest itself (dummy_hcd, configfs): its slots can be empty, and media can change."""

    machine: Machine
    name: str
    luns: int
    udc: str

    @property
    def root(self):
        return f"/sys/kernel/config/usb_gadget/{self.name}"

    def disks(self):
        found = {}
        number = self.udc.rsplit(".", 1)[1]
        for path in self.machine.glob(
                f"/sys/devices/platform/dummy_hcd.{number}/usb*/*-1/*:*/host*/target*/*/block/*"):
            found[int(path.split("/")[-3].split(":")[-1])] = path.split("/")[-1]
        return found

    def wait_disks(self, timeout=60):
        """Waits until every LUN is a disk, empty or not; the names in the order of the LUNs."""
        found = wait_until(lambda: (lambda d: d if len(d) == self.luns else None)(self.disks()), timeout,
                           f"{self.luns} disk(s) of gadget {self.name}")
        for name in found.values():
            self.machine.wait_udev(f"/sys/block/{name}", timeout)
        return [found[lun] for lun in sorted(found)]


# ---------------------------------------------------------------------------------------------------------------


class Machine:
    """The test machine; see the module's text. Use as a context manager, or `boot()` and `close()`.

    - root_on_usb: the system disk is a USB disk (`sda`), not `vda`.
    - shares: {mount point in the guest: directory of the host}, mounted read-only over 9p at boot.
    - artifacts: where the serial log and the journal go when something fails; else $FLASHING_STATION_ARTIFACTS, else
      a new directory under the temporary one.
    - rtc: the machine's clock at power-on, as QEMU's `-rtc base=` takes it ("2031-01-02T03:04:05").
    - mmc: adds an SD host with an empty slot (`mmc_insert`, `mmc_remove`).
    """

    def __init__(self, *, root_on_usb=False, memory_mib=1024, processors=2, shares=None, extra=(), kernel_arguments="",
                 artifacts=None, rtc="utc", mmc=False, name="machine"):
        self.name = name
        self.root_on_usb = root_on_usb
        self.memory_mib = memory_mib
        self.processors = processors
        self.shares = dict(shares or {})
        self.extra = list(extra)
        self.kernel_arguments = kernel_arguments
        self.rtc = rtc
        self.mmc = mmc
        self._artifacts = artifacts or os.environ.get("FLASHING_STATION_ARTIFACTS")
        self.guest = guest_directory()
        self.guest_facts = json.loads((self.guest / "guest.json").read_text())
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"flashing-station-{name}-"))
        self.serial_log = self.work / "serial.log"
        self.overlay = self.work / "root.qcow2"
        subprocess.run([tool("qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", "-F", "raw",
                        "-b", str(self.guest / "root.img"), str(self.overlay)], check=True)
        self.readers: dict[str, Reader] = {}
        self.has_sd_card = False
        self.emulator = None
        self.channel = None
        self.boot_seconds = None
        self._count = 0

    # Power ------------------------------------------------------------------------------------------------------

    def __enter__(self):
        try:
            return self if self.running else self.boot()
        except BaseException:
            self.close(failed=True)
            raise

    def __exit__(self, kind, error, trace):
        self.close(failed=kind is not None)

    @property
    def running(self):
        return self.emulator is not None and self.emulator.process.poll() is None

    def boot(self, timeout=240, wait_running=True):
        """Powers the machine on and waits until it is up (`systemctl is-system-running`).

        What the last run left on the root disk is still there. Readers that were plugged in stay so and are present
        at power-on; `usb_insert` before `boot` plugs one in likewise.
        """
        if self.running:
            raise MachineError("the machine is already on")
        started = time.monotonic()
        ours, theirs = socket.socketpair()
        arguments = [
            "-smp", str(self.processors), "-m", str(self.memory_mib), "-rtc", f"base={self.rtc}", "-S",
            "-kernel", str(self.guest / "vmlinuz"), "-initrd", str(self.guest / "initrd"),
            "-append", f"root=UUID={self.guest_facts['root_uuid']} rw console=ttyS0 quiet loglevel=4 fsck.mode=skip "
                       f"mitigations=off {LEAN} {self.kernel_arguments}".strip(),
            "-chardev", f"file,id=serial,path={self.serial_log},append=on", "-serial", "chardev:serial",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,fd={theirs.fileno()}",
            "-device", "virtserialport,chardev=control,name=flashing-station.control",
            "-device", "virtio-rng-pci",
            "-device", "qemu-xhci,id=xhci,addr=0x5,p2=8,p3=8",
            "-device", "qemu-xhci,id=xhci2,addr=0x6,p2=8,p3=0",
            "-device", "usb-ehci,id=ehci,addr=0x7",
            "-blockdev", f"driver=qcow2,node-name=root,file.driver=file,file.filename={self.overlay},"
                         "file.cache.no-flush=on",
        ]
        if self.root_on_usb:
            arguments += ["-device", f"usb-storage,bus=xhci.0,port={ROOT_USB_PORT},drive=root,id=rootdisk"]
        else:
            arguments += ["-device", "virtio-blk-pci,drive=root,id=rootdisk"]
        if self.mmc:
            arguments += ["-device", "sdhci-pci,id=sdhci,addr=0x8",
                          "-drive", "if=none,id=mmcslot", "-device", "sd-card,drive=mmcslot,id=mmccard"]
        for number, directory in enumerate(self.shares.values()):
            arguments += ["-fsdev", f"local,id=share{number},path={pathlib.Path(directory).resolve()},"
                                    "security_model=none,readonly=on,multidevs=remap",
                          "-device", f"virtio-9p-pci,fsdev=share{number},mount_tag=share{number}"]
        self.emulator = Emulator(arguments + self.extra, self.work / "qemu.log", [theirs])
        self.channel = Channel(ours, self._epitaph)
        for reader in self.readers.values():
            self._plug(reader)
        self.qmp("cont")
        self.channel.wait_hello(timeout)
        for number, mount_point in enumerate(self.shares):
            self.run(["mkdir", "-p", mount_point])
            self.run(["mount", "-t", "9p", "-o", "trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro",
                      f"share{number}", mount_point])
        if wait_running:
            state = self.start("systemctl is-system-running --wait").wait(timeout).stdout.strip()
            if state != "running":
                print(f"{self.name}: booted, but {state}: "
                      + self.run("systemctl --failed --plain --no-legend", check=False).stdout, file=sys.stderr)
        self.boot_seconds = time.monotonic() - started
        return self

    def _epitaph(self):
        serial = self.serial_log.read_text(errors="replace")[-3000:] if self.serial_log.exists() else ""
        return f"--- end of the serial console:\n{serial}\n--- QEMU:\n{self.emulator.words()}"

    def power_cut(self):
        """Takes the power away, now. Cards stay in their readers; `boot` powers on again."""
        self.emulator.kill()
        self.channel.close()
        self.emulator.qmp.close()

    def power_off(self, timeout=120):
        """An orderly shutdown."""
        self.start("systemctl poweroff")
        self.emulator.process.wait(timeout)
        self.channel.close()

    def reboot(self, timeout=240):
        """An orderly restart: shutdown to the end, then `boot`."""
        self.power_off()
        return self.boot(timeout)

    def close(self, failed=False):
        """Ends the machine and throws its disk away; after a failure its logs are kept first."""
        try:
            if failed:
                print(f"{self.name}: logs kept in {self.keep_logs()}", file=sys.stderr)
        finally:
            if self.running:
                self.emulator.kill()
            shutil.rmtree(self.work, ignore_errors=True)

    def keep_logs(self, label=""):
        """Copies serial log, QEMU's words and the guest's journal to the artifacts' directory, and returns it."""
        if self._artifacts is None:
            self._artifacts = tempfile.mkdtemp(prefix="flashing-station-artifacts-")
        directory = pathlib.Path(self._artifacts) / (f"{self.name}-{label}" if label else self.name)
        directory.mkdir(parents=True, exist_ok=True)
        for file in (self.serial_log, self.work / "qemu.log"):
            if file.exists():
                shutil.copy(file, directory)
        if self.running and self.channel and self.channel.hello:
            try:
                for file, command in (("journal.txt", "journalctl --no-pager -o short-precise"),
                                      ("disks.txt", "lsblk -O; cat /proc/mdstat; dmsetup ls; losetup")):
                    (directory / file).write_text(self.run(command, check=False, timeout=60).stdout)
            except MachineError as error:
                (directory / "journal.txt").write_text(f"could not be had: {error}\n")
        return directory

    # Commands and files -------------------------------------------------------------------------------------------

    def start(self, command, *, env=None, cwd=None, stdin=b""):
        """Starts a command (a string is given to bash) as root and returns its Process at once."""
        argv = ["/bin/bash", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        if isinstance(stdin, str):
            stdin = stdin.encode()
        description = command if isinstance(command, str) else shlex.join(argv)
        return self.channel.start(argv, env, cwd, stdin, description)

    def run(self, command, check=True, timeout=60, *, env=None, cwd=None, stdin=b""):
        """Runs a command to its end; the Result unpacks as (rc, stdout, stderr)."""
        process = self.start(command, env=env, cwd=cwd, stdin=stdin)
        try:
            result = process.wait(timeout)
        except Timeout:
            process.signal(signal.SIGKILL)
            raise
        if check and result.rc != 0:
            raise GuestCommandError(f"{process.description}: status {result.rc}\nstdout: {result.stdout[-4000:]}\n"
                                    f"stderr: {result.stderr[-4000:]}")
        return result

    def put(self, local, path, mode=None):
        """Copies a file (or bytes) of the host into the guest; the mode is the file's own unless given."""
        if isinstance(local, bytes):
            content, bits = local, 0o644
        else:
            content, bits = pathlib.Path(local).read_bytes(), pathlib.Path(local).stat().st_mode & 0o7777
        self.run(["/bin/sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"',
                  "put", path, f"{mode if mode is not None else bits:o}"], stdin=content, timeout=300)

    def get(self, path, local=None):
        """The content of a file of the guest; also written to `local` if given."""
        process = self.start(["/bin/cat", path])
        result = process.wait(300)
        if result.rc != 0:
            raise GuestCommandError(result.stderr)
        if local is not None:
            pathlib.Path(local).write_bytes(process.stdout_bytes)
        return process.stdout_bytes

    def evaluate(self, expression, timeout=30):
        """The value of a Python expression in the guest's agent (`glob`, `os`, `open`): no process, a millisecond."""
        return self.channel.evaluate(expression, timeout)

    def glob(self, pattern):
        """Paths of the guest that match, sorted."""
        return sorted(self.evaluate(f"glob({pattern!r})"))

    def exists(self, path):
        return self.evaluate(f"os.path.lexists({path!r})")

    def read(self, path):
        """A small text file of the guest (sysfs, proc), stripped."""
        return self.evaluate(f"open({str(path)!r}).read()").strip()

    def realpath(self, path):
        return self.evaluate(f"os.path.realpath({path!r})")

    def wait_path(self, path, timeout=30, present=True):
        """Waits until a path is there (or gone)."""
        wait_until(lambda: self.exists(path) == present, timeout, f"{path} {'there' if present else 'gone'}")

    def wait_udev(self, syspath, timeout=60):
        """Waits until udevd has handled a device and all events that are queued."""
        self.run(["udevadm", "wait", f"--timeout={timeout}", syspath], timeout=timeout + 10)
        self.run(["udevadm", "settle", f"--timeout={timeout}"], timeout=timeout + 10)

    def journal(self, *matches, boot="0"):
        """Journal entries as dictionaries, oldest first: `journal("STATION_SLOT=slot1", "-n", "5")`."""
        output = self.run(["journalctl", "--no-pager", "-o", "json", "-b", boot, *matches], timeout=120).stdout
        return [json.loads(line) for line in output.splitlines()]

    def wait_journal(self, *matches, where=lambda entry: True, timeout=120):
        """Waits for a journal entry (of now or later) for which `where` is true, and returns it."""
        follower = self.start(["journalctl", "--no-pager", "-o", "json", "-b", "-n", "all", "-f", *matches])
        position = 0
        deadline = time.monotonic() + timeout
        try:
            while True:
                with self.channel.changed:
                    output = follower._output[1]
                    end = output.rfind(b"\n") + 1
                    lines = bytes(output[position:end]).splitlines()
                    if not lines:
                        if follower.rc is not None or self.channel.closed:
                            raise MachineError(f"journalctl ended: {follower.rc} {follower._tail(2)}")
                        if not self.channel.changed.wait(max(0, deadline - time.monotonic())) \
                                or time.monotonic() >= deadline:
                            raise Timeout(f"no such journal entry in {timeout} s: {' '.join(matches)}")
                        continue
                position = end
                for line in lines:
                    entry = json.loads(line)
                    if where(entry):
                        return entry
        finally:
            if self.running and not self.channel.closed:
                follower.signal(signal.SIGTERM)

    def clock(self):
        """The guest's wall clock, in seconds since 1970."""
        return float(self.run(["date", "+%s.%N"]).stdout)

    # QEMU ---------------------------------------------------------------------------------------------------------

    def qmp(self, command, **arguments):
        """One QMP command; arguments whose names have a dash go in as `**{"node-name": …}`."""
        return self.emulator.qmp.execute(command, arguments)

    def screendump(self, path):
        return self.emulator.screendump(path)

    # USB readers --------------------------------------------------------------------------------------------------

    def usb_insert(self, port, image, *, id=None, bus="xhci", readonly=False, serial=None, throttle_bps=None,
                   logical_block_size=512, kind=None):
        """Plugs a USB reader with one card into a port; the card is a raw image file of the host.

        - port: of the bus, or behind hubs that are there: "4.1.2".
        - kind: "storage" (usb-storage), "bot" (the same reader to the guest, with a SCSI disk whose sectors can be
          4096 bytes) or "uas" (another product: a stick where the reader was). By default whatever the sectors need.
        - serial: of the USB device; QEMU makes one of the port by default. Equal ones are allowed.
        - throttle_bps: bytes per second of reads and writes together, at the host.
        """
        return self._insert(port, [{"file": host_file(image),
                                    "readonly": readonly, "sector": logical_block_size}],
                            id, bus, serial, kind, throttle_bps)

    def usb_insert_nbd(self, port, socket_path, *, id=None, bus="xhci", readonly=False, serial=None, throttle_bps=None,
                       logical_block_size=512, kind=None, export=""):
        """The same with a card that an NBD server behind a unix socket plays: lying, slow and dying cards."""
        server = {"type": "unix", "path": str(pathlib.Path(socket_path).resolve())}
        return self._insert(port, [{"file": {"driver": "nbd", "server": server, "export": export},
                                    "readonly": readonly, "sector": logical_block_size}],
                            id, bus, serial, kind, throttle_bps)

    def usb_insert_many(self, port, images, *, id=None, bus="xhci", readonly=False, serial=None, throttle_bps=None,
                        kind="bot"):
        """Plugs in one reader with several LUNs, each with a card. (Slots that can be empty: `gadget_create`.)

        - throttle_bps: of all its cards together, as they share the reader's way to the host.
        """
        return self._insert(port, [{"file": host_file(image),
                                    "readonly": readonly, "sector": 512}
                                   for image in images], id, bus, serial, kind, throttle_bps)

    def usb_hub(self, port, *, bus="xhci2"):
        """Plugs a hub into a port of a USB 2 bus, or into another hub; returns its id for `usb_hub_remove`.

        It is of full speed, as all of QEMU's are. A machine that is booted anew has lost it.
        """
        identifier = f"hub-{bus}-{str(port).replace('.', '-')}"
        self.qmp("device_add", driver="usb-hub", id=identifier, bus=BUSES[bus][0], port=str(port))
        return identifier

    def usb_hub_remove(self, identifier, timeout=60):
        """Unplugs a hub in which there is nothing any more."""
        self._device_del(identifier, timeout)

    def _insert(self, port, cards, identifier, bus, serial, kind, throttle_bps):
        self._count += 1
        if identifier is None:
            identifier = f"reader{self._count}"
        if identifier in self.readers:
            raise MachineError(f"reader {identifier} is plugged in already")
        if kind is None:
            kind = "storage" if cards[0]["sector"] == 512 else "bot"
        if kind == "storage" and cards[0]["sector"] != 512:
            # QEMU takes the property and goes on with 512: a test with it could not fail.
            raise MachineError("usb-storage has sectors of 512 bytes only: use kind='bot'")
        for lun, card in enumerate(cards):
            card["node"] = f"{identifier}-{lun}"
        reader = Reader(self, identifier, bus, str(port), kind, serial, cards, throttle_bps)
        if self.running:
            try:
                self._plug(reader)
            except MachineError:
                self._unplug(reader, ignore_errors=True)
                raise
        self.readers[identifier] = reader
        return reader

    def _plug(self, reader):
        if reader.throttle_bps:
            self.qmp("object-add", **{"qom-type": "throttle-group", "id": f"{reader.id}-limit",
                                      "limits": throttle_limits(reader.throttle_bps)})
        for card in reader.cards:
            node = card["node"]
            self.qmp("blockdev-add", **{"node-name": f"{node}-file", "read-only": card["readonly"], **card["file"]})
            below = f"{node}-file"
            if reader.throttle_bps:
                self.qmp("blockdev-add", **{"node-name": f"{node}-slow", "driver": "throttle", "file": below,
                                            "throttle-group": f"{reader.id}-limit", "read-only": card["readonly"]})
                below = f"{node}-slow"
            self.qmp("blockdev-add", **{"node-name": node, "driver": "raw", "file": below,
                                        "read-only": card["readonly"]})
        device = {"id": reader.id, "bus": BUSES[reader.bus][0], "port": reader.port}
        if reader.serial is not None:
            device["serial"] = reader.serial
        # Without "report" a full disk of the host would stop the whole machine instead of failing one request.
        errors = {"rerror": "report", "werror": "report"}
        if reader.kind == "storage":
            self.qmp("device_add", driver="usb-storage", drive=reader.cards[0]["node"], removable=True,
                     **errors, **device)
            return
        self.qmp("device_add", driver={"bot": "usb-bot", "uas": "usb-uas"}[reader.kind], **device)
        for lun, card in enumerate(reader.cards):
            self.qmp("device_add", driver="scsi-hd", id=f"{reader.id}-disk{lun}", bus=f"{reader.id}.0", lun=lun,
                     **{"scsi-id": 0}, drive=card["node"], removable=True, logical_block_size=card["sector"],
                     physical_block_size=card["sector"], **errors)
        # Shown to the guest only now, with all its disks: the guest looks for LUNs once.
        self.qmp("qom-set", path=f"/machine/peripheral/{reader.id}", property="attached", value=True)

    def usb_throttle(self, reader, bytes_per_second):
        """Gives a reader that was inserted with `throttle_bps` another speed, at once; None: as fast as it will go."""
        self.qmp("qom-set", path=f"/objects/{reader.id}-limit", property="limits", value=throttle_limits(bytes_per_second))

    def usb_remove(self, reader, *, wait_guest=True, timeout=60):
        """Pulls a reader out, whatever it is doing. `wait_guest=False` does not wait until the guest has noticed.

        QEMU waits for requests under way at the host: where an NBD server answers none, end the server first, else
        the whole machine stands still.
        """
        identifier = reader.id if isinstance(reader, Reader) else reader
        reader = self.readers.pop(identifier)
        if not self.running:
            return
        self._unplug(reader, timeout)
        if wait_guest:
            wait_until(lambda: not reader.disks(), timeout, f"the guest to see reader {identifier} gone")

    def pull_all(self):
        """Pulls every reader out."""
        for reader in list(self.readers.values()):
            self.usb_remove(reader)

    def _device_del(self, identifier, timeout):
        self.qmp("device_del", id=identifier)
        self.emulator.qmp.wait_event("DEVICE_DELETED", lambda data: data.get("device") == identifier, timeout)

    def _unplug(self, reader, timeout=60, ignore_errors=False):
        steps = [lambda: self._device_del(reader.id, timeout)]
        for card in reader.cards:
            node = card["node"]
            steps.append(lambda node=node: self._drop_node(node, timeout))
            if reader.throttle_bps:
                steps.append(lambda node=node: self._drop_node(f"{node}-slow", timeout))
            steps.append(lambda node=node: self._drop_node(f"{node}-file", timeout))
        if reader.throttle_bps:
            steps.append(lambda: self.qmp("object-del", id=f"{reader.id}-limit"))
        for step in steps:
            try:
                step()
            except MachineError:
                if not ignore_errors:
                    raise

    def _drop_node(self, node, timeout):
        """Closes a block node, which a request that is still under way keeps open for a moment."""
        def closed():
            try:
                self.qmp("blockdev-del", **{"node-name": node})
                return True
            except MachineError as error:
                if "in use" in str(error) or "busy" in str(error):
                    return False
                raise

        wait_until(closed, timeout, f"block node {node} to be free")

    def usb_keyboard(self, port, *, id="keyboard", bus="xhci2", timeout=30):
        """Plugs in a keyboard for its lights, and returns their names: input5::capslock and others.

        (The machine's PS/2 keyboard has some too, from the start: input0::capslock.)
        """
        self.qmp("device_add", driver="usb-kbd", id=id, bus=BUSES[bus][0], port=str(port))
        lights = f"{BUSES[bus][1]}/usb*/*-{port}/*:*/*/input/input*/input*::*"
        wait_until(lambda: self.glob(lights), timeout, f"the lights of keyboard {id}")
        self.run(["udevadm", "settle"])
        return [path.split("/")[-1] for path in self.glob(lights)]

    def usb_keyboard_remove(self, id="keyboard", timeout=60):
        self._device_del(id, timeout)

    # A reader whose media change: made in the guest ------------------------------------------------------------------

    def gadget_create(self, luns=2, *, name="reader", vendor="0x1d6b", product="0x0104", serial="0001",
                      speed="high", controller=0, readers=2):
        """Makes a USB reader with empty slots in the guest and plugs it in.

        - speed: "super" comes up on the USB 3 side of its port, "high" on the USB 2 side.
        - controller: which of the controllers made for this it is plugged into; each takes one.
        - readers: how many such controllers there are; the first call in a boot decides.
        """
        script = """
            set -eu
            modprobe libcomposite; modprobe usb_f_mass_storage; modprobe dummy_hcd num=$6 is_super_speed=1
            mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
            root=/sys/kernel/config/usb_gadget/$1
            mkdir $root; cd $root
            echo $3 > idVendor; echo $4 > idProduct; echo $7-speed > max_speed
            mkdir strings/0x409 configs/c.1 functions/mass_storage.0
            echo $5 > strings/0x409/serialnumber; echo bench > strings/0x409/manufacturer
            echo "Card reader" > strings/0x409/product
            for lun in $(seq 0 $(($2 - 1))); do
                [ -d functions/mass_storage.0/lun.$lun ] || mkdir functions/mass_storage.0/lun.$lun
                echo 1 > functions/mass_storage.0/lun.$lun/removable
            done
            ln -s functions/mass_storage.0 configs/c.1/
            echo "dummy_udc.$8" > UDC
            """
        self.run(["/bin/bash", "-c", script, "gadget", name, luns, vendor, product, serial, readers, speed, controller])
        return Gadget(self, name, luns, f"dummy_udc.{controller}")

    def gadget_insert(self, gadget, lun, backing_file, *, readonly=False):
        """Puts a card (a file of the guest) into a slot of the gadget; a card that is in is thrown out first.

        The kernel notices at its next poll, within 2 s.
        """
        self.run(["/bin/sh", "-c", 'cd "$1" && echo 1 > forced_eject && echo "$3" > ro && echo "$2" > file', "insert",
                  f"{gadget.root}/functions/mass_storage.0/lun.{lun}", backing_file, int(readonly)])

    def gadget_eject(self, gadget, lun):
        """Takes the card out of a slot of the gadget, even if it is locked in: it is a hand that pulls."""
        self.run(["/bin/sh", "-c", 'echo 1 > "$1/forced_eject"', "eject",
                  f"{gadget.root}/functions/mass_storage.0/lun.{lun}"])

    def gadget_remove(self, gadget, timeout=60):
        """Unplugs the gadget and takes it apart."""
        self.run(["/bin/bash", "-c", """
            set -u
            cd "$1" || exit 1
            echo > UDC
            rm -f configs/c.1/mass_storage.0
            for lun in functions/mass_storage.0/lun.[1-9]*; do [ -d "$lun" ] && rmdir "$lun"; done
            rmdir functions/mass_storage.0 configs/c.1 strings/0x409
            cd /; rmdir "$1"
            """, "remove", gadget.root], timeout=timeout)
        wait_until(lambda: not gadget.disks(), timeout, f"gadget {gadget.name} to be gone")

    def freezable(self, backing_file, name="freezable"):
        """Makes a backing file for `gadget_insert` of a file of the guest, which `freeze` can hang; returns its path.

        This is how to have a card that hangs for long. Behind QEMU's own readers a request must not hang for 30 s:
        the guest then resets the reader, for which QEMU waits for the request, and the whole machine stands still.
        """
        self.run(["/bin/bash", "-c", 'loop=$(losetup --find --show "$1") && modprobe dm_mod && '
                  'echo "0 $(blockdev --getsz "$loop") linear $loop 0" | dmsetup create "$2"',
                  "freezable", backing_file, name])
        return f"/dev/mapper/{name}"

    def freeze(self, path):
        """From now on requests to that card neither end nor fail, until `thaw`."""
        self.run(["dmsetup", "suspend", "--noflush", "--nolockfs", path])

    def thaw(self, path):
        self.run(["dmsetup", "resume", path])

    def freezable_remove(self, path):
        """Takes the device apart; no gadget may hold it any more."""
        self.run(["/bin/bash", "-c", 'loop=$(dmsetup deps -o blkdevname "$1" | sed "s/.*(\\(.*\\))/\\1/"); '
                  'dmsetup resume "$1"; dmsetup remove --retry "$1" && losetup --detach "/dev/$loop"', "remove", path])

    def drop_arrays(self):
        """Takes down every LVM volume and RAID array, which a card that was assembled leaves behind when it is pulled.

        LVM's memory of what it has seen goes too: with it, the same card would not be activated a second time in one
        boot, and a test that wants it left alone could not fail.
        """
        self.run("""
            set -x
            udevadm settle
            dmsetup remove_all --force
            for array in /sys/block/md*; do [ -e "$array" ] && mdadm --stop "/dev/${array##*/}"; done
            rm -f /run/lvm/pvs_online/* /run/lvm/vgs_online/* /run/lvm/pvs_lookup/*
            udevadm settle
            [ -z "$(ls -d /sys/block/md* /sys/block/dm-* 2>/dev/null)" ]
            """)

    # MMC ----------------------------------------------------------------------------------------------------------

    def mmc_insert(self, image, *, readonly=False):
        """Puts an SD card into the MMC host (made with `mmc=True`); the image's size must be a power of two."""
        self.has_sd_card = True
        self.qmp("blockdev-add", **{"node-name": "mmc-medium", "driver": "raw", "read-only": readonly,
                                    "file": host_file(image)})
        self.qmp("blockdev-insert-medium", **{"id": "mmccard", "node-name": "mmc-medium"})

    def mmc_remove(self):
        self.has_sd_card = False
        self.qmp("blockdev-remove-medium", id="mmccard")
        self._drop_node("mmc-medium", 60)


# ---------------------------------------------------------------------------------------------------------------


class CardBoot:
    """Another machine whose only disk is a flashed card: does it boot? The card's image is not changed by it."""

    def __init__(self, image, *, memory_mib=256):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="flashing-station-cardboot-"))
        self.serial_log = self.work / "serial.log"
        self.emulator = Emulator(
            ["-m", str(memory_mib), "-vga", "std", "-boot", "c",
             "-chardev", f"file,id=serial,path={self.serial_log}", "-serial", "chardev:serial",
             "-drive", f"file={pathlib.Path(image).resolve()},format=raw,if=none,id=card,snapshot=on,file.locking=off",
             "-device", "ide-hd,drive=card,bus=ide.0"], self.work / "qemu.log")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.emulator.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def text(self):
        """The 80 × 25 characters of the VGA text screen (nonsense while a graphics mode is on)."""
        cells = self.emulator.memory(0xB8000, 80 * 25 * 2)[::2]
        return "\n".join(cells[row * 80:(row + 1) * 80].decode("cp437") for row in range(25))

    def serial(self):
        return self.serial_log.read_text(errors="replace")

    def wait_text(self, text, timeout=120):
        """Waits until `text` stands on the screen or came over the serial line."""
        try:
            wait_until(lambda: text in self.text() or text in self.serial(), timeout,
                       f"“{text}” from the booted card", interval=0.25)
        except Timeout as error:
            raise Timeout(f"{error}\n--- screen:\n{self.text()}\n--- serial:\n{self.serial()[-2000:]}") from None

    def screendump(self, path):
        return self.emulator.screendump(path)


def second_boot(image, **options):
    """Boots a flashed card as the only disk of another machine; use as a context manager."""
    return CardBoot(image, **options)
