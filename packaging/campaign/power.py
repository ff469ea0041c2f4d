"""A whole machine with the station installed: its power is cut at any instant, and cards that lie are on a USB bus.

The machine lives as long as its worker, for booting is what costs; every cut makes it boot again.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Last: both kinds of tests have files of the same names, and the other scenarios want those of the integration tests.
sys.path.append(str(ROOT / "Tests" / "ApplianceTests"))

from guest_station import (  # noqa: E402 (the path must be set first)
    BENCH_CONFIGURATION, SLOTS, Station, install_station, make_images, verdict)
import machine as machines  # noqa: E402

from campaign import judge  # noqa: E402
from campaign.faults import Draw  # noqa: E402
from campaign.judge import MIB, Medium  # noqa: E402

PRACTICE_DEVICE = ROOT / "packaging" / "practice" / "practice_device.py"
STORE = "/var/lib/flashing-station/store/station.db"
#: How a slot may look when nothing more is to come.
SETTLED = ("passed", "failed", "refused", "waiting", "interrupted", "cancelled")
#: The slots that get cards, and their ports.
PORTS = {"slot1": 1, "slot2": 2, "slot3": 3}
#: A port that is no slot.
STRANGER = 5
#: How long a verdict, and the end of all cards after a boot, may take on a machine with much to do, in seconds.
VERDICT, AFTER_BOOT = 150, 240


class Guest:
    """The machine, its station, and what the cards are to hold."""

    def __init__(self, scratch, programs):
        os.environ["STATION_PROGRAMS"] = programs
        # An emulated processor is slow enough: the machine goes before all that waits for cards beside it.
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        self.directory = pathlib.Path(scratch)
        self.count = 0
        share = self.directory / "share"
        share.mkdir()
        self.images = make_images(share)
        # Not in the campaign's own directory, which goes with it: a cut's moment is no draw, and comes never again.
        artifacts = os.environ.get("FLASHING_STATION_ARTIFACTS", f"/var/tmp/flashing-station-artifacts-{os.getpid()}")
        self.machine = machines.Machine(name="campaign", root_on_usb=True, shares={"/mnt/share": share}, artifacts=artifacts)
        try:
            self.machine.boot()
            install_station(self.machine, share)
            self.station = Station(self.machine)
            self.station.make_ready()
        except BaseException:
            self.close(failed=True)
            raise

    def close(self, failed=False):
        try:
            self.machine.close(failed)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def new_card(self, rng, mib):
        """A card full of something old."""
        self.count += 1
        path = self.directory / f"card{self.count}.img"
        path.write_bytes(rng.randbytes(mib * MIB))
        return path

    def settle_after_boot(self, seconds):
        """How long after boot a card counts as one that was in already."""
        self.machine.run(f"sed -i 's/BootSettleSec=.*/BootSettleSec={seconds}/' {BENCH_CONFIGURATION} && sync")

    def image_path(self, slot):
        return self.images[SLOTS[slot][2]]

    def image(self, slot):
        """The image of a slot's cards: SHA-256 and byte count."""
        path = self.image_path(slot)
        return judge.digest(path), path.stat().st_size

    def records(self):
        """All jobs, read without the station: {id: (slot, verdict or None)}, in their order; and what SQLite thinks of the file."""
        told = self.machine.run(["sqlite3", "-json", STORE, "SELECT id, slot, verdict FROM jobs ORDER BY sequence"]).stdout
        sound = self.machine.run(["sqlite3", STORE, "PRAGMA integrity_check"]).stdout.strip()
        return {row["id"]: (row["slot"], row["verdict"]) for row in json.loads(told or "[]")}, sound

    def refused(self, jobs):
        """Of these jobs those that were refused for another reason than that udev had not opened the disk to the writer yet, which
        is tried once more."""
        told = self.machine.run(["sqlite3", "-json", STORE, "SELECT id, reason FROM jobs WHERE verdict = 'refused'"]).stdout
        return {row["id"] for row in json.loads(told or "[]") if row["reason"] != "permission_denied"} & set(jobs)

    def pull_all(self):
        self.machine.pull_all()
        self.station.watch(lambda slots: all(slots[name]["state"] in ("absent", "empty") for name in PORTS), 60,
                           "all slots to have no card")

    def writers(self):
        return self.machine.run("systemctl list-units --plain --no-legend --state=active,activating 'station-writer@*.service'").stdout


def packages():
    """What `install_station` would install."""
    return os.environ.get("STATION_PACKAGE") or list(ROOT.glob(".build/flashing-station_*.deb"))


def flaw_of(path, digest, byte_count):
    return judge.flaw_of(Medium(path, path.stat().st_size), digest, byte_count)


@contextlib.contextmanager
def bystander(guest, rng, outcome):
    """A disk at another port: not a byte of it changes."""
    path = guest.new_card(rng, 1)
    guest.machine.usb_insert(STRANGER, path)
    watched = judge.Bystander("a disk at another port", path)
    yield
    if not watched.is_unharmed():
        outcome.surprise("wrong_disk", f"{watched.name} was written to")
    path.unlink()


def power_cut(guest, rng, outcome):
    """The power goes while up to three cards are anywhere in their jobs, and comes back."""
    machine, station = guest.machine, guest.station
    before, _ = guest.records()
    guest.settle_after_boot(600)
    # Three cards that failed in a row, the lying ones, disarm a slot.
    station.ctl("arm", *PORTS)
    with bystander(guest, rng, outcome):
        cards = {slot: guest.new_card(rng, 12) for slot in rng.sample(sorted(PORTS), rng.randrange(1, 4))}
        outcome.jobs += len(cards)
        readers = {}
        for slot, path in cards.items():
            readers[slot] = machine.usb_insert(PORTS[slot], path, throttle_bps=rng.choice([800_000, 1_500_000, 3_000_000, 6_000_000]))
        shown, marked = {}, {}
        # Sometimes again, while what was interrupted is being done once more.
        for _ in range(rng.choice([1, 1, 1, 2])):
            station.watch(lambda slots: any(slots[name].get("job") for name in cards), 90, "a job")
            look_until(time.monotonic() + rng.uniform(0, 7), guest, cards, shown)
            machine.power_cut()
            outcome.power_cuts += 1
            outcome.note(", ".join(f"{slot}: {state} {phase}".strip() for slot, state, phase in shown.values()) or "just begun")
            begun = {judge.marker_job(path): slot for slot, path in cards.items()}
            begun.pop(None, None)
            judge_marks(guest, outcome, cards, set(marked.values()) - set(begun.values()))
            marked |= begun
            # Not begun, or finished: from here on nobody may touch it.
            resting = {slot: judge.digest(path) for slot, path in cards.items() if slot not in begun.values()}
            machine.boot(wait_running=False)
            if not begun:
                break
        for reader in readers.values():
            machine.usb_throttle(reader, None)
        try:
            station.watch(lambda slots: all(slots[name]["state"] in SETTLED for name in cards), AFTER_BOOT, "the cards' end after boot")
        except machines.Timeout as error:
            outcome.surprise("hang", str(error))
        records, sound = guest.records()
        if sound != "ok":
            outcome.surprise("other", f"the records are damaged: {sound}")
        judge_records(outcome, before, records, shown, marked)
        for slot, digest in resting.items():
            if judge.digest(cards[slot]) != digest:
                outcome.surprise("wrong_disk", f"the card in {slot} was in at boot, was not begun, and was written to")
        new = {job: row for job, row in records.items() if job not in before}
        # A card that was cut off a second time, and carried no mark any more then, cannot be known again.
        judge_cards(guest, outcome, cards, set(begun.values()), new)
        guest.settle_after_boot(0)
        machine.run("systemctl reload stationd.service")
        guest.pull_all()
        if left := guest.writers():
            outcome.surprise("leak", f"writers without a card: {left}")
        for path in cards.values():
            path.unlink()


def look_until(moment, guest, cards, shown):
    """Notes what the station says of its jobs until then: {job: (slot, state, phase)}."""
    while time.monotonic() < moment:
        for slot in guest.station.json("status")["slots"]:
            if slot["name"] in cards and (job := slot.get("job")):
                shown[job["id"]] = slot["name"], slot["state"], job.get("progress", {}).get("phase", "guarding")


def judge_records(outcome, before, records, shown, marked):
    """Holds the records after a cut against what is known without them.

    before, records: {job: (slot, verdict or None)}; shown: {job: (slot, state, phase)}, as it was last told before the cut; marked:
    {job: slot} of the marks that the cards carried when the power was gone.
    """
    for job, (_, was) in before.items():
        if records.get(job, (None, None))[1] != was:
            outcome.surprise("lost_record", f"job {job} was {was} before and is {records.get(job)}")
    for job, (slot, state, phase) in shown.items():
        if state == "passed" and records.get(job, (None, None))[1] != "passed":
            outcome.surprise("lost_record", f"job {job} in {slot} was shown as passed, and is {records.get(job)}")
        elif state == "running" and phase != "guarding" and job not in records:
            outcome.surprise("lost_record", f"job {job} in {slot} was {phase}, and is not on record")
    for job, slot in marked.items():
        if job not in records:
            outcome.surprise("lost_record", f"job {job} left its mark in {slot}, and is not on record")
        elif records[job][1] == "passed":
            outcome.surprise("false_pass", f"job {job} in {slot} is on record as passed, and its mark was still on the card")
    for job, (slot, word) in records.items():
        if word is None:
            outcome.surprise("lost_record", f"job {job} in {slot} has no end")


def judge_marks(guest, outcome, cards, slots):
    """A card that carried a mark at a cut before loses it to its image alone."""
    for slot in slots:
        with open(cards[slot], "rb") as card, open(guest.image_path(slot), "rb") as image:
            if card.read(512) != image.read(512):
                outcome.surprise("other", f"the card in {slot} was begun, and has neither its mark nor its image's first sector")


def judge_cards(guest, outcome, cards, marked, records):
    """What is on record as passed holds its image; what carried a mark at the last cut, in these slots, was done again."""
    refused = guest.refused(records)
    for slot, path in cards.items():
        words = [word for where, word in records.values() if where == slot]
        if words and words[-1] == "passed":
            flaw = flaw_of(path, *guest.image(slot))
            if flaw:
                outcome.surprise("false_pass", f"{slot} is on record as passed: {flaw}")
            else:
                outcome.passed += 1
        else:
            outcome.failed += 1
            if slot in marked or words[-1:] == ["refused"] or any(records[job][0] == slot for job in refused):
                outcome.surprise("other", f"the card in {slot} is sound, was begun, and was not done again: {words}")


def lying_card(guest, rng, outcome):
    """A card that loses, changes or repeats what it is given, behind the kernel's own USB drivers."""
    slot = rng.choice(sorted(PORTS))
    digest, byte_count = guest.image(slot)
    size = rng.choice([16, 32, 48, 96]) * MIB
    draw = Draw(rng, size, byte_count)
    kind = rng.random()
    if kind < 0.5:
        fault = draw.a_fault()
    elif kind < 0.75:
        fault = draw.a_death()
    elif kind < 0.95:
        fault = draw.a_false_capacity()
    else:
        # With a reader that remembers as much as the station reckons with; reading past that takes half a minute here.
        size = 160 * MIB
        fault = {"fault": "wrap", "capacity": rng.randrange(96 * MIB, 150 * MIB) // 512 * 512}
    cache = 64 * MIB if kind >= 0.95 else draw.a_cache() if rng.random() < 0.5 else None
    faults = [fault] + ([{"fault": "cache", "bytes": cache}] if cache else [])
    outcome.note(json.dumps(faults))
    backing, address = guest.directory / "lying.backing", guest.directory / "lying.socket"
    guest.station.ctl("arm", slot)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bystander(guest, rng, outcome))
        for path in (backing, address):
            stack.callback(path.unlink, missing_ok=True)
        backing.write_bytes(rng.randbytes(size) if rng.random() < 0.7 else bytes(size))
        server = subprocess.Popen(
            ["nbdkit", "--exit-with-parent", "--foreground", "--unix", str(address), "python", str(PRACTICE_DEVICE), f"backing={backing}",
             f"size={size}", *(f"fault={json.dumps(fault)}" for fault in faults)], stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        machines.wait_until(address.exists, 20, "nbdkit's socket")
        outcome.jobs += 1
        guest.machine.usb_insert_nbd(PORTS[slot], address)
        try:
            report = guest.station.wait_verdict(slot, VERDICT)
        except machines.Timeout as error:
            outcome.surprise("hang", str(error))
        else:
            medium = Medium(backing, size, fault.get("capacity"), fault["fault"])
            if fault["fault"] == "stuck":
                medium.stuck.append((fault["offset"], fault["mask"], fault["value"]))
            outcome.note(verdict(report))
            flaw = judge.flaw_of(medium, digest, byte_count)
            if verdict(report) != "passed":
                outcome.failed += 1
            elif flaw:
                outcome.surprise("false_pass", flaw)
            else:
                outcome.passed += 1
        guest.pull_all()


SCENARIOS = {
    "a power cut": power_cut,
    "a lying card on a USB bus": lying_card,
}
