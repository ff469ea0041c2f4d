"""The control socket of a real station, against clients that mean harm and clients that are not who they should be."""

import contextlib
import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from practice_card import PracticeCard
from practice_station import INTERFACE, CallFailed, Client, PracticeStation, wait_until
from writer_bench import MIB, bytes_at, pattern

#: All that is drawn by lot is drawn from this.
SEED = 20261121
MESSAGES = 100_000
ABUSERS = 6
IMAGE_BYTES = 2 * MIB + 700

METHODS = {
    # name: (least privilege, parameters, with more)
    "GetStatus": ("reader", {}, False),
    "Watch": ("reader", {}, True),
    "Explain": ("reader", {"slot": "slot1"}, False),
    "ListHistory": ("reader", {}, False),
    "ListImages": ("reader", {}, False),
    "WatchDevices": ("reader", {}, True),
    "Assign": ("operator", {"slots": ["slot1"], "image": "image1"}, False),
    "Disarm": ("operator", {"slots": ["slot1"]}, False),
    "Arm": ("operator", {"slots": ["slot1"]}, False),
    "Flash": ("operator", {"slot": "slot1"}, False),
    "Cancel": ("operator", {"slots": ["slot1"]}, False),
    "ImportImage": ("operator", {"name": "imported"}, False),
    # Bytes that are assigned under another name could not be removed.
    "Unassign": ("operator", {"slots": ["slot1"]}, False),
    "VerifyImage": ("operator", {"name": "imported"}, False),
    "RemoveImage": ("operator", {"name": "imported"}, False),
    "Identify": ("operator", {"slot": "slot1"}, False),
    "Inspect": ("reader", {"slot": "slot1"}, False),
    "ListCards": ("reader", {}, False),
    "ForgiveCard": ("operator", {"card": "abcd"}, False),
    "GetStatistics": ("reader", {}, False),
    "ListProfiles": ("reader", {}, False),
    "ListProfileVersions": ("reader", {"profileID": "home.ap"}, False),
    "GetProfile": ("reader", {"profileID": "home.ap"}, False),
    "ImportProfile": ("operator", {"profile": {}}, False),
    "DeleteProfile": ("operator", {"profileID": "home.ap"}, False),
    "ListBuilders": ("reader", {}, False),
    "GetBuilder": ("reader", {"release": "24.10.2", "target": "x86", "subtarget": "64"}, False),
    "EnsureBuilder": ("operator", {"release": "", "target": "x86", "subtarget": "64"}, False),
    "PruneBuilders": ("operator", {}, False),
    "Build": ("operator", {"profileID": "home.ap"}, False),
    "ListBuilds": ("reader", {}, False),
    "GetBuild": ("reader", {"build": "abcd"}, False),
    "GetBuildLog": ("reader", {"build": "abcd"}, False),
    "CancelBuild": ("operator", {"build": "abcd"}, False),
    "RemoveBuild": ("operator", {"build": "abcd"}, False),
    "Reload": ("root", {}, False),
    "SnapshotStore": ("root", {}, False),
}
#: What a call that is allowed comes to in a station with an image, a slot and no card.
OUTCOMES = {"Flash": "no_card", "Cancel": "no_job", "Inspect": "no_card", "Identify": "slot_without_light",
            "ForgiveCard": "card_unknown", "ListProfileVersions": "profile_unknown", "GetProfile": "profile_unknown",
            "ImportProfile": "field_missing", "DeleteProfile": "profile_unknown", "GetBuilder": "builder_unknown",
            "EnsureBuilder": "builder_name_invalid", "Build": "profile_unknown", "GetBuild": "build_unknown",
            "GetBuildLog": "build_unknown", "CancelBuild": "build_unknown", "RemoveBuild": "build_unknown",
            "SnapshotStore": "descriptor_missing"}
RANKS = ["stranger", "reader", "operator", "root"]


# -- abuse --------------------------------------------------------------------------------------------

class Process:
    """What the kernel says of a process."""

    def __init__(self, process_id):
        self.process_id = process_id

    def resident(self):
        """Bytes of memory."""
        with open(f"/proc/{self.process_id}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process_id}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.process_id}/task"))


class Abuser(threading.Thread):
    """One client: says so many things, most of them wrong, in as many ways as it can think of."""

    def __init__(self, path, seed, messages):
        super().__init__(daemon=True)
        self.path, self.random, self.left = path, random.Random(seed), messages
        self.said = {}
        self.error = None
        self.held = []

    def run(self):
        try:
            while self.left > 0:
                kind = self.random.choices(
                    [self.wrong, self.malformed, self.oversized, self.half_open, self.slow, self.deaf, self.stray],
                    [20, 60, 2, 10, 1, 2, 5])[0]
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    kind()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            for each in self.held:
                each.close()

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        connection.connect(self.path)
        return connection

    def count(self, kind, number=1):
        self.said[kind] = self.said.get(kind, 0) + number
        self.left -= number

    def call(self, method, parameters):
        name = method if "." in method else f"{INTERFACE}.{method}"
        return json.dumps({"method": name, "parameters": parameters}).encode() + b"\0"

    def nonsense(self, depth=0):
        """A JSON value of some kind."""
        draw = self.random
        kinds = [None, True, -1, 1 << 70, 1e308, "", "x" * draw.randrange(200), "\x00\x1b[2J\u202e", draw.random()]
        if depth < 4 and draw.random() < 0.3:
            return [self.nonsense(depth + 1) for _ in range(draw.randrange(4))]
        if depth < 4 and draw.random() < 0.3:
            return {str(self.nonsense(4)): self.nonsense(depth + 1) for _ in range(draw.randrange(4))}
        return draw.choice(kinds)

    def wrong(self):
        """Whole calls that cannot be carried out; each has its answer, in order."""
        count = self.random.randrange(30, 90)
        calls = []
        for _ in range(count):
            draw = self.random.random()
            if draw < 0.3:
                calls.append(self.call(f"No{self.random.randrange(1 << 30)}", {}))
            elif draw < 0.5:
                calls.append(self.call("org.varlink.nothing.Get", {"a": self.nonsense()}))
            elif draw < 0.9:
                method = self.random.choice(["Explain", "ListHistory", "Assign", "Arm", "Flash", "RemoveImage", "Cancel"])
                calls.append(self.call(method, {"nothing": self.nonsense(), "slot": self.nonsense()}))
            else:
                calls.append(self.call("Explain", {"slot": f"slot{self.random.randrange(2, 1 << 30)}"}))
        with self.connect() as connection:
            sender = threading.Thread(target=connection.sendall, args=(b"".join(calls),), daemon=True)
            sender.start()
            answers, last = 0, b""
            while answers < count:
                chunk = connection.recv(1 << 16)
                assert chunk, "the station hung up on calls that were well formed"
                answers += chunk.count(b"\0")
                last = (last + chunk)[-4096:]
            sender.join()
            assert b'"error"' in last
        self.count("wrong", count)

    def malformed(self):
        """What is no call: the station hangs up at the first, whatever else comes behind it; only that one counts."""
        junk = []
        for _ in range(self.random.randrange(1, 4)):
            draw = self.random.random()
            if draw < 0.4:
                junk.append(self.random.randbytes(self.random.randrange(1, 200)).replace(b"\0", b"\1"))
            elif draw < 0.7:
                junk.append(json.dumps(self.nonsense()).encode())
            elif draw < 0.9:
                junk.append(self.call("GetStatus", {})[:self.random.randrange(1, 40)])
            else:
                junk.append(b'{"method":' + b"[" * self.random.randrange(1, 2000))
        with self.connect() as connection:
            connection.sendall(b"\0".join(junk) + b"\0")
            while connection.recv(1 << 16):
                pass
        self.count("malformed")

    def oversized(self):
        """Larger than a call may be, ended or not."""
        with self.connect() as connection:
            self.count("oversized")
            connection.sendall(b'{"method":"' + b"a" * self.random.randrange(66_000, 400_000) + self.random.choice([b"", b"\0"]))
            while connection.recv(1 << 16):
                pass

    def half_open(self):
        """The beginning of a call, and then nothing; some hang up, some stay until the limit is reached."""
        connection = self.connect()
        message = self.call("GetStatus", {})
        connection.sendall(message[:self.random.randrange(1, len(message))])
        self.count("half open")
        if self.random.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        self.held.append(connection)
        if len(self.held) > 4:
            self.held.pop(self.random.randrange(len(self.held))).close()

    def slow(self):
        """One byte at a time."""
        with self.connect() as connection:
            for byte in self.call("ListImages", {}):
                connection.sendall(bytes([byte]))
            assert connection.recv(1 << 16)
            self.count("slow")

    def deaf(self):
        """Asks and asks, and never listens."""
        with self.connect() as connection:
            connection.setblocking(False)
            question = self.call("GetStatus", {})
            with contextlib.suppress(BlockingIOError):
                for _ in range(40):
                    connection.send(question)
                    self.count("deaf")

    def stray(self):
        """Files beside calls that want none."""
        with self.connect() as connection, open("/dev/null", "rb") as file:
            socket.send_fds(connection, [self.call("GetStatus", {})], [file.fileno()] * self.random.randrange(1, 4))
            self.count("stray")
            while connection.recv(1 << 16):
                pass


def make_image(station, name="image1", byte_count=IMAGE_BYTES):
    path = os.path.join(station.directory, f"{name}.img")
    with open(path, "wb") as file:
        file.write(pattern(byte_count))
    station.import_image(path, name)
    return path


def test_a_hundred_thousand_rude_messages_disturb_neither_the_station_nor_its_job(programs):
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.start()
        make_image(station)
        station.call("Assign", slots=["slot1"], image="image1")
        process = Process(station.process.pid)
        # A first round warms what is kept for good: threads, their heaps, buffers.
        abuse(station, SEED, 5_000)
        wait_until(lambda: quiet(station), what="the end of the first round")
        before = (process.resident(), process.descriptors())
        with PracticeCard(8 * MIB, write_rate=MIB, read_rate=2 * MIB) as card:
            station.bench.insert("2", card, "slot1")
            station.wait_for_state("slot1", "running")
            peak = [0]
            began = time.monotonic()
            said = abuse(station, SEED + 1, MESSAGES, lambda: peak.__setitem__(0, max(peak[0], process.resident())))
            seconds = time.monotonic() - began
            assert station.process.poll() is None
            done = station.wait_for_state("slot1", "passed", "failed")
            assert done["state"] == "passed" and bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES)
        assert sum(said.values()) >= MESSAGES and set(said) == {
            "wrong", "malformed", "oversized", "half open", "slow", "deaf", "stray"}, said
        wait_until(lambda: quiet(station), what="the station to be rid of them")
        after = (process.resident(), process.descriptors())
        print(f"{sum(said.values())} messages in {seconds:.1f} s: {said}; resident {before[0] / MIB:.1f} MiB before, "
              f"{peak[0] / MIB:.1f} at most, {after[0] / MIB:.1f} after; descriptors {before[1]} before, {after[1]} after")
        assert after[0] < before[0] + 8 * MIB and peak[0] < before[0] + 48 * MIB
        # One more or less: the store keeps a file of its journal open while it likes.
        assert abs(after[1] - before[1]) <= 2
        assert station.call("GetStatus")["slots"][0]["isArmed"]
        assert len(station.history()) == 1 and [one["name"] for one in station.call("ListImages")["images"]] == ["image1"]


def abuse(station, seed, messages, each=lambda: None):
    """Lets several clients loose and waits for them; somebody honest asks all the while, and is answered."""
    abusers = [Abuser(station.socket, seed + index, messages // ABUSERS + 1) for index in range(ABUSERS)]
    for one in abusers:
        one.start()
    slowest = 0.0
    while any(one.is_alive() for one in abusers):
        began = time.monotonic()
        assert station.call("GetStatus")["slots"][0]["name"] == "slot1"
        slowest = max(slowest, time.monotonic() - began)
        each()
        abusers[0].join(0.05)
    assert slowest < 5, f"an honest client waited {slowest:.1f} s"
    said = {}
    for one in abusers:
        assert one.error is None, repr(one.error)
        for kind, count in one.said.items():
            said[kind] = said.get(kind, 0) + count
    return said


def quiet(station):
    """Whether no connection is left but the one that asks (what /proc/net/unix knows of the socket)."""
    with open("/proc/net/unix", encoding="utf-8") as file:
        return sum(line.rstrip().endswith(" " + station.socket) for line in file) <= 1


# -- who may what -------------------------------------------------------------------------------------

#: Runs as somebody else. Arguments: socket, user id, groups, plan; says what became of each call.
CALLER = r"""
import json, os, socket, sys
path, user, groups, plan = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
image = os.open(sys.argv[5], os.O_RDONLY)
os.setgroups(groups[1:])
os.setresgid(groups[0], groups[0], groups[0])
os.setresuid(user, user, user)
results = {}
for method, parameters, more in plan:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(path)
        message = json.dumps({"method": method, "parameters": parameters, "more": more}).encode() + b"\0"
        socket.send_fds(connection, [message], [image] if method.endswith("ImportImage") else [])
        data = b""
        while b"\0" not in data:
            chunk = connection.recv(1 << 16)
            if not chunk:
                break
            data += chunk
        reply = json.loads(data.split(b"\0")[0] or b'{"error":"hung up"}')
        results[method.rsplit(".", 1)[1]] = [reply.get("error"), (reply.get("parameters") or {}).get("code")]
print(json.dumps(results))
"""
READERS, OPERATORS, OTHERS = 64_001, 64_002, 64_003


@pytest.fixture(scope="module")
def ruled(programs, tmp_path_factory):
    """A station on a host that has the groups `station` and `station-operator`: its /etc/group says so, and no other's."""
    directory = str(tmp_path_factory.mktemp("groups"))
    groups = os.path.join(directory, "group")
    with open(groups, "w", encoding="utf-8") as file:
        file.write(f"root:x:0:\nstation:x:{READERS}:\nstation-operator:x:{OPERATORS}:\nstation-others:x:{OTHERS}:\n")
    start = os.path.join(directory, "stationd")
    with open(start, "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\nexec unshare --mount sh -c \'mount --bind "$1" /etc/group; shift; exec "$@"\' sh '
                   f'"{groups}" "{programs}/stationd" "$@"\n')
    os.chmod(start, 0o755)
    with PracticeStation(directory) as station:
        os.chmod(station.directory, 0o755)
        station.declare("slot1", "2")
        station.start(programs=programs)
        make_image(station)
        yield station


def ask(station, user, groups):
    """Each method as this user: its error, None where there is none, and the station's own code."""
    plan = [(f"{INTERFACE}.{name}", parameters, more) for name, (_, parameters, more) in METHODS.items()]
    plan.append(("org.varlink.service.GetInfo", {}, False))
    result = subprocess.run(
        [sys.executable, "-c", CALLER, station.socket, str(user), json.dumps(groups), json.dumps(plan),
         os.path.join(station.directory, "image1.img")], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_table_of_methods_is_whole(ruled):
    with Client(ruled.socket) as client:
        client.send("org.varlink.service.GetInterfaceDescription", {"interface": INTERFACE})
        text = client.reply()["parameters"]["description"]
    described = {line.split("(")[0].removeprefix("method ").strip() for line in text.splitlines() if line.startswith("method ")}
    assert described == set(METHODS)


@pytest.mark.parametrize("who, user, groups", [
    ("root", 0, [0]), ("root", 0, [OTHERS]),
    ("operator", 64_100, [OPERATORS]), ("operator", 64_101, [OTHERS, OPERATORS]),
    ("operator", 64_102, [READERS, OTHERS, OPERATORS]),
    ("reader", 64_110, [READERS]), ("reader", 64_111, [OTHERS, READERS]),
    ("stranger", 64_120, [64_120]), ("stranger", 64_121, [OTHERS]), ("stranger", 64_122, [0]), ("stranger", 65_534, [65_534]),
])
def test_every_method_is_for_those_it_is_for_and_for_nobody_else(ruled, who, user, groups):
    before = settled(ruled)
    answers = ask(ruled, user, groups)
    assert answers.pop("GetInfo") == [None, None], "who the station is, anybody may know"
    expected = {}
    for name, (least, _, _) in METHODS.items():
        if RANKS.index(who) < RANKS.index(least):
            expected[name] = ["org.varlink.service.PermissionDenied", None]
        else:
            code = OUTCOMES.get(name)
            expected[name] = [f"{INTERFACE}.Failed" if code else None, code]
    assert answers == expected
    if who in ("stranger", "reader"):
        assert settled(ruled) == before, "what is refused has no effect"
    assert settled(ruled)["images"] == ["image1"]


def settled(station):
    """All of the station that a call may change."""
    slot, = station.call("GetStatus")["slots"]
    return {"armed": slot["isArmed"], "assignment": slot.get("assignment"), "jobs": len(station.history()),
            "images": [one["name"] for one in station.call("ListImages")["images"]]}


def test_the_socket_is_for_all_and_nothing_beside_it_is(ruled):
    assert stat.S_IMODE(os.stat(ruled.socket).st_mode) == 0o666
    for path in (ruled.state + "/store", ruled.state + "/images"):
        assert not os.stat(path).st_mode & stat.S_IRWXO, path


def test_an_operator_is_named_in_what_he_changed(ruled):
    ask(ruled, 64_130, [OPERATORS])
    assert "64130" in ruled.journal()


def test_strangers_cannot_use_up_the_connections(ruled):
    """Those of a stranger are few; everybody else is served meanwhile."""
    script = ("import os, socket, sys\nos.setgroups([]); os.setresgid(64140, 64140, 64140); os.setresuid(64140, 64140, 64140)\n"
              "kept = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(40)]\n"
              "for one in kept: one.connect(sys.argv[1])\nprint('ready', flush=True)\nsys.stdin.read()\n")
    crowd = subprocess.Popen([sys.executable, "-c", script, ruled.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert crowd.stdout.readline() == b"ready\n"
        assert ask(ruled, 64_150, [READERS])["GetStatus"] == [None, None]
        with pytest.raises(CallFailed):
            ruled.call("Explain", slot="nothing")
    finally:
        crowd.communicate()
