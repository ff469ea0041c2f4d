"""A whole station in a directory: the real programs, a virtual reader, cards that are real block devices.

    with PracticeStation(programs) as station:
        station.declare("slot1", port="2")
        station.start()
        station.import_image(path, "image1")
        station.call("Assign", slots=["slot1"], image="image1")
        reader = station.bench.insert("2", card, "slot1")
        job = station.wait_for_job(lambda job: True)

No systemd: stationd starts the writers and the library itself, over the same protocol. There is no journal either, so
its lines go to `station.log`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from virtual_reader import VirtualBench  # noqa: E402

INTERFACE = "flashing.station.Control"


class CallFailed(Exception):
    """An error reply of the station: `error` and its `parameters`."""

    def __init__(self, reply):
        super().__init__(json.dumps(reply))
        self.error = reply["error"]
        self.parameters = reply.get("parameters", {})


def wait_until(condition, seconds=20.0, what="the condition"):
    """Polls a condition with a deadline and returns its first true value; the one place here that sleeps."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)


class Client:
    """One Varlink connection."""

    def __init__(self, path, seconds=30.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.buffer = b""

    def send(self, method, parameters, more=False, descriptors=()):
        name = method if "." in method else f"{INTERFACE}.{method}"
        message = {"method": name, "parameters": parameters}
        if more:
            message["more"] = True
        socket.send_fds(self.socket, [json.dumps(message).encode() + b"\0"], list(descriptors))

    def receive(self):
        """The next message, as it came, without its zero byte."""
        while b"\0" not in self.buffer:
            chunk = self.socket.recv(1 << 16)
            if not chunk:
                raise EOFError("the station hung up")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return message

    def reply(self):
        reply = json.loads(self.receive())
        if "error" in reply:
            raise CallFailed(reply)
        return reply

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class PracticeStation:
    """The programs of `programs`, with configuration, records and images in a directory of their own."""

    def __init__(self, programs, directory=None, bench=None):
        self.programs = os.path.abspath(programs)
        self.directory = directory or tempfile.mkdtemp(prefix="practice-station-")
        self.owns_directory = directory is None
        self.config = os.path.join(self.directory, "etc")
        self.state = os.path.join(self.directory, "state")
        self.socket = os.path.join(self.directory, "control")
        self.log = os.path.join(self.directory, "log")
        os.makedirs(os.path.join(self.config, "slots.d"), mode=0o755, exist_ok=True)
        for library in ("images", "builders", "builds"):
            os.makedirs(os.path.join(self.state, library), mode=0o750, exist_ok=True)
        os.makedirs(os.path.join(self.state, "store"), mode=0o700, exist_ok=True)
        self.bench = bench or VirtualBench()
        self.process = None

    # -- declaring ------------------------------------------------------------------------------------

    def declare(self, name, port=None, *, speed=480, lun=0, luns=1, reader="05e3:0749", controller="0000:00:03.0",
                **keys):
        """Writes a slot file, as root would: of a USB port, or of the MMC host at the path `controller`."""
        if port is None:
            where = [f"Place=mmc at {controller}", "Reader=mmc"]
        else:
            where = [f"Place=usb {speed} port {port} lun {lun} at pci0000:00/{controller}",
                     f"Reader={reader} luns {luns}"]
        lines = ["[Slot]", *where, "MinimumSize=1M"]
        lines += [f"{key}={value}" for key, value in keys.items()]
        path = os.path.join(self.config, "slots.d", f"{name}.slot")
        with open(path, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(path, 0o644)
        return path

    # -- the daemon -----------------------------------------------------------------------------------

    def start(self, env=None, programs=None, output=None):
        """Starts stationd and waits until it answers and has looked at its devices.

        output: a descriptor that it writes its log to, for whoever has that copied to `self.log`.
        """
        log = open(self.log, "ab")
        where = log.tell()
        environment = dict(os.environ, **(env or {}))
        self.process = self.bench.spawn(
            [os.path.join(self.programs, "stationd"), "--config", self.config, "--state", self.state,
             "--socket", self.socket, "--programs", programs or self.programs],
            env=environment, stdout=log, stderr=log if output is None else output, stdin=subprocess.DEVNULL)
        log.close()

        def is_up():
            if self.process.poll() is not None:
                raise AssertionError(f"stationd ended with {self.process.returncode}:\n{self.journal()}")
            return "is watching" in self.journal(where)

        wait_until(is_up, what="stationd's start")
        return self.process

    def let_a_hand_change_cards(self):
        """Waits as long as a hand takes: what comes back sooner may be the same card after a reset of its bus."""
        left = time.monotonic()
        wait_until(lambda: time.monotonic() - left > 2.2, what="a hand")

    def journal(self, position=0):
        with open(self.log, "rb") as file:
            file.seek(position)
            return file.read().decode(errors="replace")

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends stationd by a signal; returns how long it took, in seconds."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(seconds)
        return time.monotonic() - began

    # -- talking --------------------------------------------------------------------------------------

    def call(self, method, **parameters):
        with Client(self.socket) as client:
            client.send(method, parameters)
            return client.reply()["parameters"]

    def import_image(self, path, name, **parameters):
        with Client(self.socket) as client, open(path, "rb") as file:
            client.send("ImportImage", {"name": name, "isRaw": False, "replaces": False, **parameters}, more=True,
                        descriptors=[file.fileno()])
            while True:
                reply = client.reply()
                if not reply.get("continues"):
                    return reply["parameters"]["image"]

    def slot(self, name):
        return next(slot for slot in self.call("GetStatus")["slots"] if slot["name"] == name)

    def history(self, **query):
        return self.call("ListHistory", **query)["jobs"]

    def wait_for_state(self, slot, *states, seconds=60.0):
        """Follows `Watch` until the slot is in one of these states."""
        with Client(self.socket, seconds) as client:
            client.send("Watch", {}, more=True)
            deadline = time.monotonic() + seconds
            seen = None
            while time.monotonic() < deadline:
                status = client.reply()["parameters"]
                seen = next(one for one in status["slots"] if one["name"] == slot)
                if seen["state"] in states:
                    return seen
        raise AssertionError(f"{slot} is {seen}, not one of {states}; log:\n{self.journal()}")

    def wait_for_phase(self, slot, *phases, fraction=0.0, seconds=60.0):
        """Follows `Watch` until the slot's job is in a phase, and so far in it."""
        with Client(self.socket, seconds) as client:
            client.send("Watch", {}, more=True)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                status = client.reply()["parameters"]
                one = next(each for each in status["slots"] if each["name"] == slot)
                progress = (one.get("job") or {}).get("progress")
                if progress and progress["phase"] in phases:
                    if progress["phaseBytesDone"] >= fraction * max(1, progress["phaseBytesTotal"]):
                        return one
                elif one.get("job", {}).get("report"):
                    raise AssertionError(f"{slot} ended before {phases}: {one['job']['report']}")
        raise AssertionError(f"{slot} never came to {phases}; log:\n{self.journal()}")

    def stationctl(self, *arguments, check=True, **options):
        result = subprocess.run(
            [os.path.join(self.programs, "stationctl"), "--socket", self.socket, *arguments], text=True,
            capture_output=True, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"stationctl {arguments}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    # -- the end --------------------------------------------------------------------------------------

    def close(self):
        with contextlib.suppress(Exception):
            self.stop(signal.SIGTERM, 5)
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.bench.close()
        if self.owns_directory and not os.environ.get("STATION_KEEP_FAILED"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
