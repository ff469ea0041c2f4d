"""Death around a whole station: processes killed at any instant, a store that takes nothing, a clock that jumps, limits.

What began must be on record, and what is on record must be true, whatever died.
"""

import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import threading
import time

from practice_card import PracticeError
from practice_station import CallFailed, PracticeStation, wait_until
from virtual_reader import PRELOAD

from campaign import judge
from campaign.bench import fill, image_bytes
from campaign.judge import MIB, Medium

ENDS = ("passed", "failed", "refused", "cancelled", "interrupted", "waiting")
#: How long a station may take to start, to stop, and to see a job to its end, in seconds.
START, STOP, END = 20.0, 10.0, 60.0


class House:
    """A station with two slots, an image, and what is known of its jobs without asking its records."""

    def __init__(self, bench, programs=None, **keys):
        self.bench, self.rng = bench, bench.rng
        self.directory = os.path.join(bench.tools.scratch, "station")
        os.mkdir(self.directory)
        bench.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.station = bench.stack.enter_context(PracticeStation(bench.tools.programs, self.directory))
        self.programs = programs
        self.faults = os.path.join(self.directory, "faults")
        self.say("")
        self.station.declare("slot1", "2", **keys)
        self.station.declare("slot2", "3", **keys)
        #: Cards by their disk sequence number; of each job that was seen to have begun, how; and of each that was seen at its
        #: end, which.
        self.cards, self.seen, self.ended = {}, {}, {}
        self.start()
        data = image_bytes(self.rng, self.rng.randrange(MIB, 3 * MIB))
        self.image = self.import_image("image1", data)
        self.station.call("Assign", slots=["slot1", "slot2"], image="image1")
        other = bench.loop_card(3 * MIB)
        fill(other, self.rng, "random")
        self.station.bench.insert("4", other)
        bench.watch("a disk at another port", other.backing)

    def say(self, text):
        """To the host's shim, which has the file open."""
        with open(self.faults, "r+" if os.path.exists(self.faults) else "w", encoding="ascii") as file:
            file.write(text.ljust(60).ljust(64, "\0"))

    def struck(self):
        """How many writes of the store the shim has let fail, in the life of this daemon."""
        with open(self.faults, "rb") as file:
            return int.from_bytes(file.read()[64:72].ljust(8, b"\0"), "little")

    def start(self):
        began = time.monotonic()
        self.station.start(env={"LD_PRELOAD": f"{self.bench.tools.host_shim}:{PRELOAD}", "HOST_FAULTS": self.faults},
                           programs=self.programs)
        if time.monotonic() - began > START:
            self.bench.outcome.surprise("hang", f"the station took {time.monotonic() - began:.0f} s to start")

    def import_image(self, name, data, **parameters):
        path = os.path.join(self.directory, f"{name}.img")
        with open(path, "wb") as file:
            file.write(data)
        self.station.import_image(path, name, **parameters)
        return data

    def insert(self, card, slot="slot1", port="2"):
        """A card full of something old goes in."""
        fill(card, self.rng, self.rng.choice(["random", "zeros"]))
        self.cards[card.diskseq] = card
        return self.station.bench.insert(port, card, slot)

    def pull(self, reader, slot="slot1"):
        """Takes a card out, and sees that the station has seen it: what is said of the slot then is of the next card."""
        reader.unplug()
        try:
            wait_until(lambda: self.look(slot)["state"] == "absent", 20, "the card's going")
        except AssertionError:
            self.bench.outcome.surprise("hang", f"{slot} is {self.look(slot)['state']} without a card")

    def slow_card(self):
        card = self.bench.card(8 * MIB)
        self.bench.outcome.jobs += 1
        card.control({"do": "rate", "write_rate": 4 * MIB, "read_rate": 10 * MIB, "latency": 0.004})
        return card

    @staticmethod
    def hurry(card):
        card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})

    def quick_card(self):
        self.bench.outcome.jobs += 1
        return self.bench.loop_card(8 * MIB)

    def look(self, slot="slot1"):
        """The slot, and a note of its job."""
        seen = self.station.slot(slot)
        # It has begun when its writer is past the guard: until its writer is asked, the station may still find that the job
        # cannot be recorded, and shows it as guarding meanwhile.
        job = seen.get("job") or {}
        phase = job.get("progress", {}).get("phase", "guarding")
        if phase != "guarding" or (job and seen["state"] in ("passed", "failed")):
            self.seen.setdefault(job["id"], f"was {seen['state']}, {phase}")
        if job and seen["state"] in ("passed", "failed"):
            self.ended[job["id"]] = seen["state"]
        return seen

    def wait_end(self, slot="slot1", seconds=END):
        """The state in which a slot's card ended; a surprise where it did not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.look(slot)
            if seen["state"] in ENDS:
                self.bench.outcome.note(f"{slot}: {seen['state']} {seen.get('reason', '')}".strip())
                return seen
            time.sleep(0.03)
        self.bench.outcome.surprise("hang", f"{slot} was still {seen['state']} after {seconds:.0f} s")
        return seen

    def any_instant(self, most):
        """Some time, while jobs are looked at."""
        end = time.monotonic() + self.rng.uniform(0, most)
        while time.monotonic() < end:
            with contextlib.suppress(OSError, EOFError, CallFailed):
                self.look()
            time.sleep(0.02)

    def kill(self, *names):
        """kill -9 for all processes of these names below the station."""
        found = {number: name for number, name in judge.descendants(self.station.process.pid).items()
                 if name in {word[:15] for word in names}}
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for name in names:
            self.bench.outcome.aim(f"kill -9 of {name}", hit=name[:15] in found.values())
        self.bench.outcome.note(f"killed: {len(found)} of {', '.join(names)}")

    def forgive(self):
        """What ended until now may not have come on record: the store took nothing, and the daemon goes before it does."""
        self.ended.clear()

    def kill_station(self):
        """kill -9; what worked for it goes within two seconds."""
        self.bench.outcome.aim("kill -9 of stationd", hit=self.station.process.poll() is None)
        below = judge.descendants(self.station.process.pid)
        self.station.stop(signal.SIGKILL)
        try:
            wait_until(lambda: not set(judge.descendants()) & set(below), 3, "the end of what worked for the station")
        except AssertionError:
            left = {number: name for number, name in judge.descendants().items() if number in below}
            self.bench.outcome.surprise("leak", f"outlived the station: {left}")

    def next_card_passes(self, slot="slot2", port="3"):
        """Whatever was: a good card in a slot that is armed passes."""
        self.station.call("Arm", slots=[slot])
        card = self.quick_card()
        reader = self.insert(card, slot, port)
        seen = self.wait_end(slot)
        if seen["state"] != "passed":
            self.bench.outcome.surprise("other", f"the next card: {seen['state']} {seen.get('reason')}; {self.last_words()}")
        self.pull(reader, slot)

    def last_words(self):
        return self.station.journal()[-400:]

    def settle(self):
        """Stops the station in order, and holds its records, and what it tells of them, against what is true."""
        told = {}
        if self.station.process.poll() is None:
            told = {job["id"]: job["report"]["verdict"]["verdict"] for job in self.station.history(limit=10_000) if job.get("report")}
            try:
                self.station.stop(signal.SIGTERM, STOP)
            except subprocess.TimeoutExpired:
                self.bench.outcome.surprise("hang", f"the station did not stop within {STOP} s")
        if (flaws := judge.flaws_of_store(self.station.state)) != "ok":
            self.bench.outcome.surprise("lost_record", f"the store is damaged: {flaws}")
        records = judge.records(self.station.state)
        judge_words(self.bench.outcome, records, {**self.ended, **told})
        judge_records(self.bench.outcome, records, self.cards, self.seen, self.image)


def judge_words(outcome, records, told):
    """What was shown of a job's end, in the slot or in the history, is what is on record. told: {job: verdict}."""
    for job, word in told.items():
        if records.get(job, (None,))[0] != word:
            outcome.surprise("lost_record", f"job {job} was told as {word}, and is {records.get(job)} on record")


def judge_records(outcome, records, cards, seen, image):
    """Of what began nothing is lost, and what is said to have passed did.

    records: {job: (verdict, disk sequence number)} in their order; cards: by that number; seen: {job: how it was seen}.
    """
    marked = {judge.marker_job(card.backing): "left its mark on a card" for card in cards.values()}
    for job, how in {**seen, **marked}.items():
        if job is not None and job not in records:
            outcome.surprise("lost_record", f"job {job} {how}, and is not on record")
    last = {}
    for job, (verdict, sequence) in records.items():
        if verdict is None:
            outcome.surprise("lost_record", f"job {job} has no end")
        last[sequence] = verdict
    for sequence, verdict in last.items():
        if verdict != "passed" or sequence not in cards:
            outcome.failed += 1
            continue
        card = cards[sequence]
        flaw = judge.flaw_of(Medium(card.backing, card.size), hashlib.sha256(image).hexdigest(), len(image))
        if flaw:
            outcome.surprise("false_pass", f"on record as passed: {flaw}")
        else:
            outcome.passed += 1


def station_killed(bench, rng):
    """kill -9 of the daemon at any instant of a job; it comes back and does the card again."""
    house = House(bench)
    card = house.slow_card()
    house.insert(card)
    house.any_instant(3.5)
    house.kill_station()
    house.hurry(card)
    house.start()
    seen = house.wait_end()
    if seen["state"] not in ("passed", "waiting"):
        bench.outcome.surprise("other", f"after its station was killed: {seen['state']} {seen.get('reason')}")
    house.settle()


def writer_killed(bench, rng):
    """kill -9 of the writer at any instant; the slot says so, the next card passes, and nothing adds up."""
    house = House(bench)
    before = len(judge.descriptors(house.station.process.pid))
    for _ in range(2):
        card = house.slow_card()
        reader = house.insert(card)
        house.any_instant(3.0)
        house.kill("station-writer")
        house.wait_end()
        house.pull(reader)
    house.next_card_passes()
    try:
        wait_until(lambda: len(judge.descriptors(house.station.process.pid)) <= before + 1, 5, "descriptors")
    except AssertionError:
        bench.outcome.surprise("leak", f"descriptors of the station: {before}, then "
                                       f"{len(judge.descriptors(house.station.process.pid))}")
    house.settle()


def library_killed(bench, rng):
    """kill -9 of an import; no half image stays, and the same import works afterwards."""
    house = House(bench)
    data = image_bytes(rng, 24 * MIB)
    path = os.path.join(house.directory, "image2.img")
    with open(path, "wb") as file:
        file.write(data)
    images = os.path.join(house.station.state, "images")
    before = set(os.listdir(images))
    came = []

    def importing():
        try:
            house.station.import_image(path, "image2")
            came.append(None)
        except (CallFailed, OSError, EOFError) as error:
            came.append(error)

    thread = threading.Thread(target=importing)
    thread.start()
    time.sleep(rng.uniform(0, 0.4))
    house.kill("station-library")
    thread.join(30)
    if thread.is_alive():
        bench.outcome.surprise("hang", "an import whose process was killed did not end")
    if came and came[0] is None:
        house.station.call("RemoveImage", name="image2")
    house.import_image("image3", data)
    left = {name for name in os.listdir(images) if not name.startswith(hashlib.sha256(data).hexdigest())} - before
    if left:
        bench.outcome.surprise("leak", f"left of an import that was killed: {sorted(left)}")
    house.next_card_passes()
    house.settle()


def build_killed(bench, rng):
    """kill -9 of make, of the sandbox or of the library during a build; the next one works."""
    import test_builds  # here: it needs pytest, and nothing else does

    scratch = pathlib.Path(bench.tools.scratch, "builds")
    scratch.mkdir()
    bench.stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    mirror = test_builds.Mirror(scratch / "mirror")
    bench.stack.callback(mirror.close)
    mirror.add()
    house = House(bench)
    station = house.station
    mirror.key.publish(os.path.join(station.config, "keys"))
    test_builds.configure(station, mirror.url)
    station.call("Reload")
    name = test_builds.add_profile(station, scratch, packages=["practice-slow-2"])
    test_builds.ctl(station, "builder", "ensure", *test_builds.TRIPLE)
    for _ in range(3):
        asking = subprocess.Popen([os.path.join(station.programs, "stationctl"), "--socket", station.socket, "build", name,
                                   "--force"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        house.any_instant(2.5)
        house.kill(rng.choice(["make", "bwrap", "station-library"]))
        try:
            asking.wait(60)
        except subprocess.TimeoutExpired:
            bench.outcome.surprise("hang", "a build whose process was killed did not end")
            asking.kill()
            asking.wait()
        try:
            wait_until(lambda: not test_builds.sandboxes(station), 15, "the sandbox to end")
        except AssertionError:
            bench.outcome.surprise("leak", f"of a build that was killed: {test_builds.sandboxes(station)}")
    again = test_builds.ctl(station, "build", name, "--force", check=False)
    if again.returncode != 0:
        bench.outcome.surprise("other", f"the next build: {again.stderr[-200:]}")
    half = list(test_builds.library(station, "builds").glob(".*.partial"))
    if half:
        bench.outcome.surprise("leak", f"half builds: {half}")
    house.next_card_passes()
    house.settle()


def store_refuses(bench, rng, number):
    """Any write of the store fails, and some behind it, or all until there is room again."""
    house = House(bench)
    house.say(f"{rng.randrange(1, 25)} {rng.choice([1, 1, 2, 5, 1_000_000])} {number} 0")
    # A job makes some ten writes: card after card goes in until one of them was that one.
    for _ in range(4):
        card = house.quick_card() if rng.random() < 0.5 else house.slow_card()
        reader = house.insert(card)
        house.wait_end()
        if house.struck():
            break
        house.pull(reader)
    else:
        bench.outcome.surprise("other", "the campaign: no write of the store has failed")
    bench.outcome.note(f"{house.struck()} writes failed")
    if rng.random() < 0.3:
        # Killed with verdicts that are not on record yet: then they are interrupted, and nothing is claimed.
        house.kill_station()
        house.forgive()
        house.say("")
        house.start()
        house.wait_end()
    else:
        house.say("")
    house.pull(reader)
    house.next_card_passes()
    house.settle()


def full_disk(bench, rng):
    store_refuses(bench, rng, errno.ENOSPC)


def failing_disk(bench, rng):
    store_refuses(bench, rng, errno.EIO)


def read_only_disk(bench, rng):
    """The file system becomes read-only, while the station runs or before it starts."""
    if rng.random() < 0.6:
        store_refuses(bench, rng, errno.EROFS)
        return
    house = House(bench)
    house.station.stop()
    house.say(f"1 1000000 {errno.EROFS} 0")
    began = time.monotonic()
    with contextlib.suppress(AssertionError):
        # It may come up and refuse jobs, or end and say why; it may not wait.
        house.start()
    if time.monotonic() - began > START:
        bench.outcome.surprise("hang", "a station whose store is read-only neither came up nor ended")
    if house.station.process.poll() is None:
        card = house.quick_card()
        reader = house.insert(card)
        house.wait_end()
        house.pull(reader)
    house.station.stop()
    house.say("")
    house.start()
    house.next_card_passes()
    house.settle()


def file_system_gives_up(bench, rng):
    """The file system of the store finds itself damaged at any instant of a job and takes nothing more: ext4 does that."""
    house = House(bench)
    house.station.stop()
    store, disk = os.path.join(house.station.state, "store"), os.path.join(bench.tools.scratch, "disk")
    bench.stack.callback(pathlib.Path(disk).unlink, missing_ok=True)
    with open(disk, "wb") as file:
        file.truncate(32 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", disk], check=True)
    kept = os.path.join(house.directory, "store as it was")
    os.rename(store, kept)
    os.mkdir(store, 0o700)
    subprocess.run(["mount", "-o", "loop", disk, store], check=True)
    # Lazily: where something went wrong the station still has files open there.
    bench.stack.callback(subprocess.run, ["umount", "-q", "-l", store], check=False)
    os.chmod(store, 0o700)
    for name in os.listdir(kept):
        shutil.copy2(os.path.join(kept, name), store)
    subprocess.run(["sync", "-f", store], check=True)
    house.start()
    card = house.slow_card() if rng.random() < 0.5 else house.quick_card()
    reader = house.insert(card)
    house.any_instant(2.0)
    subprocess.run(["mount", "-o", "remount,abort", store], check=True)
    try:
        open(os.path.join(store, "probe"), "wb").close()
        bench.outcome.surprise("other", "the campaign: the file system still takes files")
    except OSError as error:
        bench.outcome.note(f"the store's file system: {os.strerror(error.errno)}")
    house.wait_end()
    house.pull(reader)
    house.forgive()
    house.station.stop()
    subprocess.run(["umount", store], check=True)
    # A copy: a mount namespace that another run has made just then may hold the file system a little longer.
    shutil.move(shutil.copy(disk, disk + ".copy"), disk)
    # What it says of itself by its code: 1 is mended.
    if subprocess.run(["e2fsck", "-fy", disk], check=False, capture_output=True).returncode > 1:
        bench.outcome.surprise("other", "the campaign: the file system could not be mended")
    subprocess.run(["mount", "-o", "loop", disk, store], check=True)
    house.start()
    house.next_card_passes()
    house.settle()


def clock_jumps(bench, rng):
    """The wall clock goes forward and back by seconds and by years while a card is written."""
    house = House(bench)
    card = house.slow_card()
    house.insert(card)
    for _ in range(rng.randrange(2, 8)):
        house.say(f"0 0 0 {rng.choice([-1, 1]) * rng.choice([2, 3600, 86400 * 400, 10 ** 9])}")
        house.any_instant(0.4)
    house.hurry(card)
    seen = house.wait_end()
    if seen["state"] != "passed":
        bench.outcome.surprise("other", f"a good card while the clock jumped: {seen['state']} {seen.get('reason')}")
    house.next_card_passes()
    house.settle()


class LimitedProgram:
    """One of the station's programs, behind a script that may give it less than it wants."""

    def __init__(self, bench, program, limit):
        self.directory = os.path.join(bench.tools.scratch, "programs")
        self.real = os.path.join(bench.tools.programs, program)
        os.mkdir(self.directory)
        bench.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        for name in {"stationd", "station-library", "station-writer"} - {program}:
            os.symlink(os.path.join(bench.tools.programs, name), os.path.join(self.directory, name))
        self.path = os.path.join(self.directory, program)
        bench.outcome.note(limit)
        self.install(f"prlimit {limit} --core=0")

    def install(self, words):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {words} {self.real} "$@"\n')
        os.chmod(self.path + ".new", stat.S_IRWXU)
        os.rename(self.path + ".new", self.path)

    def free(self):
        self.install("")


def any_limit(rng):
    return rng.choice([f"--nofile={rng.randrange(3, 24)}", f"--as={rng.randrange(20, 300) * MIB}",
                       f"--nproc={rng.randrange(0, 3)}", f"--stack={rng.randrange(1, 64) * 4096}"])


def writer_limited(bench, rng):
    """A writer with hardly any memory or descriptors fails or does its work; the next one has what it needs."""
    writer = LimitedProgram(bench, "station-writer", any_limit(rng))
    house = House(bench, writer.directory)
    reader = house.insert(house.quick_card())
    house.wait_end()
    house.pull(reader)
    writer.free()
    house.next_card_passes()
    house.settle()


def library_limited(bench, rng):
    """A library with hardly any memory or descriptors refuses an import or does it; half an image never stays."""
    limit = rng.choice([any_limit(rng), f"--fsize={rng.randrange(0, 8) * MIB}"])
    library = LimitedProgram(bench, "station-library", limit)
    library.free()
    house = House(bench, library.directory)
    library.install(f"prlimit {limit} --core=0")
    images = os.path.join(house.station.state, "images")
    before = set(os.listdir(images))
    data = image_bytes(rng, 8 * MIB)
    began = time.monotonic()
    try:
        house.import_image("image2", data)
        bench.outcome.note("imported")
        house.station.call("RemoveImage", name="image2")
    except (CallFailed, OSError, EOFError) as error:
        bench.outcome.note(f"{error}"[:200])
    if time.monotonic() - began > 30:
        bench.outcome.surprise("hang", f"an import took {time.monotonic() - began:.0f} s to end")
    library.free()
    house.import_image("image3", data)
    left = {name for name in os.listdir(images) if not name.startswith(hashlib.sha256(data).hexdigest())} - before
    if left:
        bench.outcome.surprise("leak", f"left of an import without means: {sorted(left)}")
    house.next_card_passes()
    house.settle()


def station_limited(bench, rng):
    """A daemon that gets hardly any more files or memory may fail jobs, or die; it loses none, and is well again afterwards."""
    house = House(bench)
    process = house.station.process.pid
    if rng.random() < 0.5:
        open_now = max(int(entry) for entry in os.listdir(f"/proc/{process}/fd")) + 1
        limit = f"--nofile={open_now + rng.randrange(0, 12)}:4096"
    else:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = f"--as={mapped + rng.randrange(0, 64) * 65536}:unlimited"
    bench.outcome.note(limit)
    subprocess.run(["prlimit", f"--pid={process}", "--core=0", limit], check=True)
    reader = house.insert(house.quick_card())
    deadline = time.monotonic() + rng.uniform(1, 4)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, EOFError, CallFailed):
            house.look()
        time.sleep(0.05)
    if house.station.process.poll() is None:
        subprocess.run(["prlimit", f"--pid={process}", "--nofile=1024:4096", "--as=unlimited"], check=True)
    elif limit.startswith("--as"):
        bench.outcome.note(f"the station died: {house.station.process.returncode}")
        house.forgive()
        house.start()
    else:
        bench.outcome.surprise("other", f"the station ended with {house.station.process.returncode}: {house.last_words()}")
        house.start()
    house.wait_end()
    house.pull(reader)
    house.next_card_passes()
    house.settle()


def pulled_and_another(bench, rng):
    """A card is pulled at any instant, and another one comes at once, or the same one comes back."""
    house = House(bench)
    card = house.slow_card()
    reader = house.insert(card)
    house.any_instant(3.0)
    reader.unplug()
    if rng.random() < 0.5:
        with contextlib.suppress(PracticeError):
            card.control({"fault": "gone"})
        other = house.quick_card()
        reader = house.insert(other)
    else:
        house.hurry(card)
        reader = house.station.bench.insert("2", card, "slot1")
    # What is said first may be of the card that was in before.
    house.wait_end()
    house.any_instant(0.5)
    house.wait_end()
    house.pull(reader)
    house.next_card_passes()
    house.settle()


SCENARIOS = {
    "kill -9 of the station": station_killed,
    "kill -9 of a writer": writer_killed,
    "kill -9 of the library": library_killed,
    "kill -9 during a build": build_killed,
    "a full disk": full_disk,
    "a failing disk": failing_disk,
    "a read-only disk": read_only_disk,
    "a file system that gives up": file_system_gives_up,
    "a clock that jumps": clock_jumps,
    "a writer with limits": writer_limited,
    "a library with limits": library_limited,
    "a station with limits": station_limited,
    "pulled, and another": pulled_and_another,
}
