"""A whole station under rude operators, rude devices, and death on either side."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import CallFailed, Client, PracticeStation, wait_until
from writer_bench import MIB, bytes_at, fill, pattern, sha256_of

IMAGE_BYTES = 2 * MIB + 700
#: Slow enough to meet a job in every phase.
SLOW = {"write_rate": 4 * MIB, "read_rate": 10 * MIB, "latency": 0.004}


@pytest.fixture
def bare(programs):
    """A station that was not started yet, with nothing declared."""
    with PracticeStation(programs) as station:
        yield station


@pytest.fixture
def station(bare):
    """A station with slot1 in port 2, armed with `image1`."""
    bare.declare("slot1", "2")
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1"], image="image1")
    return bare


def add_image(station, name, byte_count=IMAGE_BYTES, seed=1, **parameters):
    """Imports an image; returns its bytes."""
    data = pattern(byte_count, seed)
    path = os.path.join(station.directory, f"{name}.img")
    with open(path, "wb") as file:
        file.write(data)
    station.import_image(path, name, **parameters)
    return data


@contextlib.contextmanager
def refused_consent(station, slot):
    """The records take no consent of a slot, as on a full disk. Gives a function that asks whether it is armed there."""
    with contextlib.closing(sqlite3.connect(os.path.join(station.state, "store", "station.db"), timeout=10)) as store:
        with store:
            store.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON slot_consent WHEN NEW.slot = '{slot}' "
                          "BEGIN SELECT RAISE(FAIL, 'no room'); END")
        yield
        with store:
            store.execute("DROP TRIGGER refuse")


def is_recorded_as_armed(station, slot):
    with contextlib.closing(sqlite3.connect(os.path.join(station.state, "store", "station.db"), timeout=10)) as store:
        return store.execute("SELECT is_armed FROM slot_consent WHERE slot = ?", [slot]).fetchone() == (1,)


def verdicts(station):
    """Of all jobs, oldest first: (verdict, reason, trigger); None while one is under way."""
    return [(*verdict_of(job), job["trigger"]) for job in reversed(station.history())]


def verdict_of(job):
    report = job.get("report")
    return (report["verdict"]["verdict"], report["verdict"].get("reason")) if report else (None, None)


def writers_of(station):
    """The process ids of the station's writers."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    text = file.read()
                name, fields = text[text.index("(") + 1:text.rindex(")")], text.rsplit(")", 1)[1].split()
                if name.startswith("station-writer") and int(fields[1]) == station.process.pid and fields[0] != "Z":
                    found.append(int(entry))
    return found


def is_over(process_id):
    """Whether a process has ended, reaped or not."""
    try:
        with open(f"/proc/{process_id}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def configure(station, text):
    with open(os.path.join(station.config, "station.conf"), "w", encoding="utf-8") as file:
        file.write(text)


def card_file(station, name, byte_count=8 * MIB):
    """The bytes of a card that can be put in again and again, each time as a new disk."""
    path = os.path.join(station.directory, f"{name}.card")
    with open(path, "wb") as file:
        file.truncate(byte_count)
    return path


def settle(station, slot="slot1"):
    """Until the station has seen everything that was sent to it, shown by an answer that came after."""
    for _ in range(3):
        station.call("GetStatus")
    return station.slot(slot)


# -- the main job -------------------------------------------------------------------------------------

def test_a_card_goes_in_and_a_verdict_comes_out(station):
    with LoopCard(8 * MIB) as card:
        reader = station.bench.insert("2", card, "slot1")
        seen = station.wait_for_state("slot1", "passed", "failed", "refused")
        assert seen["state"] == "passed"
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)
        job, = station.history()
        assert verdict_of(job) == ("passed", None) and job["trigger"] == "insertion" and job["slot"] == "slot1"
        assert job["imageSHA256"] == job["report"]["readBackSHA256"]
        assert "slot1" in station.journal() and "passed" in station.journal().lower()
        reader.unplug()
        assert station.wait_for_state("slot1", "absent")["isArmed"]


def test_two_slots_with_two_images_are_both_right(bare):
    bare.declare("slot1", "2")
    bare.declare("slot2", "3")
    bare.start()
    images = [add_image(bare, "image1", seed=1), add_image(bare, "image2", 3 * MIB + 5, seed=2)]
    for number in (1, 2):
        bare.call("Assign", slots=[f"slot{number}"], image=f"image{number}")
    with PracticeCard(8 * MIB, **SLOW) as first, PracticeCard(8 * MIB, **SLOW) as second:
        bare.bench.insert("2", first, "slot1")
        bare.bench.insert("3", second, "slot2")
        bare.wait_for_phase("slot1", "writing", "verifying")
        assert bare.slot("slot2")["state"] == "running"
        for slot, card, data in (("slot1", first, images[0]), ("slot2", second, images[1])):
            assert bare.wait_for_state(slot, "passed", "failed", "refused")["state"] == "passed"
            assert bytes_at(card, 0, len(data)) == data
    assert len(bare.history()) == 2


def test_a_slot_in_a_reader_that_stays_gets_card_after_card(station):
    """No `add`, only media changes; the empty slot is a disk of size 0."""
    reader = station.bench.plug("2", [None], slots={0: "slot1"})
    assert station.wait_for_state("slot1", "empty")
    for count in (1, 2):
        with LoopCard(8 * MIB) as card:
            reader.media_change(card)
            assert station.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
            reader.media_change(None)
            assert station.wait_for_state("slot1", "empty")
        assert verdicts(station) == [("passed", None, "insertion")] * count


# -- rude operators -----------------------------------------------------------------------------------

@pytest.mark.parametrize("phase", ["probing", "wiping", "writing", "verifying"])
def test_a_card_pulled_while_it_is(station, phase):
    """…fails, and the slot is ready for the next one."""
    with PracticeCard(8 * MIB, **SLOW) as card, LoopCard(8 * MIB) as next_card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", phase)
        card.control({"fault": "gone"})
        reader.unplug()
        assert station.wait_for_state("slot1", "absent")
        verdict, reason, _ = verdicts(station)[0]
        assert verdict == "failed" and reason in ("card_removed", "write_error", "read_error")
        station.bench.insert("2", next_card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
    assert [one[0] for one in verdicts(station)] == ["failed", "passed"]


def test_a_card_pulled_and_another_put_in_before_the_verdict_gets_a_job_of_its_own(station):
    with PracticeCard(8 * MIB, **SLOW) as card, LoopCard(8 * MIB) as other:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        card.control({"fault": "gone"})
        reader.unplug()
        station.bench.insert("2", other, "slot1")
        wait_until(lambda: [one[0] for one in verdicts(station)] == ["failed", "passed"], what="both verdicts")
        assert bytes_at(other, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)
        jobs = station.history()
        assert jobs[0]["deviceSequence"] == other.diskseq and jobs[1]["deviceSequence"] == card.diskseq


def test_a_medium_exchanged_under_the_writer_is_another_card(station):
    """A reader that keeps its disk: the media change comes while the old descriptors still write."""
    with PracticeCard(8 * MIB, **SLOW) as card, LoopCard(8 * MIB) as other:
        reader = station.bench.plug("2", [card], slots={0: "slot1"})
        station.wait_for_phase("slot1", "writing")
        card.resize(4 * MIB)
        reader.media_change(other)
        wait_until(lambda: len(verdicts(station)) == 2 and verdicts(station)[1][0], what="both verdicts")
        assert verdicts(station)[0][:2] == ("failed", "card_changed")
        assert verdicts(station)[1][:2] == ("passed", None)
        card.resize(0)


@pytest.mark.parametrize("event", ["storm", "duplicate add", "change", "worker failed", "partitions", "media change"])
def test_after_passed_no_event_starts_a_second_job(station, event):
    with LoopCard(8 * MIB) as card:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        before = sha256_of(card.backing)
        if event == "storm":
            station.bench.event_storm(300)
            station.bench.event_storm(100, "add")
        elif event == "duplicate add":
            reader.duplicate_add()
        elif event == "change":
            reader.change()
            reader.change(refresh=True)
        elif event == "worker failed":
            reader.change(failed=True)
        elif event == "partitions":
            part = reader.disks[0].add_partition(1, 2048, 2048)
            part.event("add")
            reader.change(ID_PART_TABLE_TYPE="dos")
            part.event("remove")
        else:
            reader.media_change(card)
        assert settle(station)["state"] == "passed"
        assert verdicts(station) == [("passed", None, "insertion")] and station.bench.lost == 0
        assert sha256_of(card.backing) == before


def test_an_event_storm_during_a_job_does_not_disturb_it(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        station.bench.event_storm(300)
        for _ in range(5):
            reader.duplicate_add()
        assert station.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
    assert len(station.history()) == 1


def test_a_card_that_lost_contact_for_a_moment_is_no_new_card(station):
    path = card_file(station, "card")
    with LoopCard(backing=path) as card:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        reader.unplug()
        assert station.wait_for_state("slot1", "absent")
    before = sha256_of(path)
    with LoopCard(backing=path) as card:
        station.bench.insert("2", card, "slot1")
        # Another card of the same image begins like this one, so it is neither written nor called passed.
        waiting = station.wait_for_state("slot1", "passed", "failed", "refused", "waiting")
        assert (waiting["state"], waiting["reason"]) == ("waiting", "same_card")
        assert settle(station)["state"] == "waiting"
        assert verdicts(station) == [("passed", None, "insertion")]
    assert sha256_of(path) == before


def test_a_dry_run_does_not_make_a_finished_card_a_new_one(station):
    path = card_file(station, "card")
    with LoopCard(backing=path) as card:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        station.call("Flash", slot="slot1", isDryRun=True)
        station.wait_for_state("slot1", "refused")
        reader.unplug()
        assert station.wait_for_state("slot1", "absent")
    with LoopCard(backing=path) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "passed", "failed", "refused", "waiting")
        settle(station)
        assert verdicts(station) == [("passed", None, "insertion"), ("refused", "dry_run", "flash")]


def test_another_card_at_once_is_flashed(station):
    with LoopCard(8 * MIB) as card, LoopCard(8 * MIB) as other:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed")
        reader.unplug()
        station.bench.insert("2", other, "slot1")
        wait_until(lambda: verdicts(station) == [("passed", None, "insertion")] * 2, what="the second card")
        assert bytes_at(other, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)


@pytest.mark.parametrize("reason, keys, options, card_options", [
    ("reader_changed", {}, {"vendor_id": "0bda", "product_id": "0326"}, {}),
    ("card_too_small", {"MinimumSize": "16M"}, {}, {}),
    ("card_too_large", {"MaximumSize": "4M"}, {}, {}),
    ("write_protected", {}, {}, {"read_only": True}),
])
def test_what_must_not_be_written_is_refused_as(bare, reason, keys, options, card_options):
    bare.declare("slot1", "2", **({"MinimumSize": "1M"} | keys) if "MinimumSize" not in keys else {})
    if "MinimumSize" in keys:
        path = os.path.join(bare.config, "slots.d", "slot1.slot")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("MinimumSize=1M", f"MinimumSize={keys['MinimumSize']}"))
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1"], image="image1")
    with LoopCard(8 * MIB, **card_options) as card:
        before = sha256_of(card.backing)
        reader = bare.bench.insert("2", card, "slot1", **options)
        seen = bare.wait_for_state("slot1", "refused", "passed", "failed")
        assert (seen["state"], seen["reason"]) == ("refused", reason)
        with pytest.raises(CallFailed) as refusal:
            bare.call("Flash", slot="slot1")
        assert reason in json.dumps(refusal.value.parameters) + refusal.value.error
        assert sha256_of(card.backing) == before
        assert bare.history() == []
        reader.unplug()
        assert bare.wait_for_state("slot1", "absent")


def test_two_declarations_of_one_place_write_no_card(bare):
    bare.declare("slot1", "2")
    bare.declare("slot2", "2")
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot*"], image="image1")
    assert any(problem["code"] == "slot_ambiguous" for problem in bare.call("GetStatus")["problems"])
    with LoopCard(8 * MIB) as card:
        bare.bench.insert("2", card)
        for slot in ("slot1", "slot2"):
            seen = bare.wait_for_state(slot, "refused", "passed", "failed")
            assert (seen["state"], seen["reason"]) == ("refused", "slot_ambiguous")
        assert bare.history() == [] and not any(bytes_at(card, 0, MIB))


@pytest.mark.parametrize("at_boot", ["wait", "write"])
def test_a_card_around_which_a_slot_is_moved_while_its_job_runs_is_left_alone(station, at_boot):
    with PracticeCard(8 * MIB, write_rate=4 * MIB, read_rate=16 * MIB) as first, LoopCard(8 * MIB) as second:
        fill(second)
        before = sha256_of(second.backing)
        station.bench.insert("2", first, "slot1")
        station.wait_for_phase("slot1", "writing")
        other = station.bench.insert("3", second)
        station.declare("slot1", "3", AtBoot=at_boot)
        station.call("Reload")
        other.disks[0].device.event("change")
        station.wait_for_state("slot1", "waiting")
        assert station.slot("slot1")["reason"] == "was_in_already" and len(station.history()) == 1
        assert sha256_of(second.backing) == before


def test_a_card_in_an_undeclared_place_gets_a_line_with_the_command_that_declares_it(station):
    with LoopCard(8 * MIB) as card:
        station.bench.insert("4", card)
        wait_until(lambda: "slot learn" in station.journal(), what="the line")
        station.bench.event_storm(20)
        settle(station)
        assert station.journal().count("slot learn") == 1
        assert station.history() == [] and not any(bytes_at(card, 0, MIB))


# -- consent ------------------------------------------------------------------------------------------

def test_assigning_writes_no_card_that_is_in_but_flash_does(bare):
    bare.declare("slot1", "2")
    bare.start()
    add_image(bare, "image1")
    with LoopCard(8 * MIB) as card:
        bare.bench.insert("2", card, "slot1")
        assert bare.wait_for_state("slot1", "waiting")["reason"] == "unassigned"
        assert bare.call("Assign", slots=["slot1"], image="image1")["withCardIn"] == ["slot1"]
        bare.call("Disarm", slots=[])
        bare.call("Arm", slots=["slot1"])
        assert settle(bare)["state"] == "waiting" and bare.history() == []
        assert not any(bytes_at(card, 0, MIB))
        begun = bare.call("Flash", slot="slot1")["job"]
        assert bare.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        job, = bare.history()
        assert job["id"] == begun
        assert job["trigger"] == "flash" and job["callerUserID"] == os.getuid()


def test_a_disarmed_slot_writes_nothing_until_it_is_armed_and_a_card_comes(station):
    station.call("Disarm", slots=["slot1"])
    with LoopCard(8 * MIB) as card:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "waiting")["reason"] == "disarmed"
        gates = {gate["gate"]: gate for gate in station.call("Explain", slot="slot1")["gates"]}
        assert not gates["armed"]["isOpen"] and "stationctl arm slot1" in gates["armed"]["remedy"]
        station.stop()
        station.start()
        assert not station.slot("slot1")["isArmed"]
        for slot, code in (("slot1", "slot_disarmed"), ("slot*", "slot_unknown")):
            with pytest.raises(CallFailed) as refusal:
                station.call("Flash", slot=slot)
            assert code in json.dumps(refusal.value.parameters)
        station.call("Arm", slots=["slot1"])
        assert settle(station)["state"] == "waiting" and station.history() == []
        reader.unplug()
        assert station.wait_for_state("slot1", "absent")
    station.let_a_hand_change_cards()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"


def test_a_card_that_waited_still_waits_after_a_loss_of_contact(station):
    station.call("Disarm", slots=["slot1"])
    path = card_file(station, "card")
    with LoopCard(backing=path) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "waiting")
        station.call("Arm", slots=["slot1"])
        reader.unplug()
    with LoopCard(backing=path) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "waiting", "running", "passed")["state"] == "waiting"
        assert settle(station)["state"] == "waiting" and station.history() == []
        assert not any(bytes_at(card, 0, MIB))


def test_a_dry_run_says_yes_and_writes_nothing(station):
    station.call("Disarm", slots=["slot1"])
    with LoopCard(8 * MIB) as card:
        fill(card)
        before = sha256_of(card.backing)
        station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "waiting")
        station.call("Flash", slot="slot1", isDryRun=True)
        assert station.wait_for_state("slot1", "refused", "passed", "failed")["reason"] == "dry_run"
        assert sha256_of(card.backing) == before
        assert verdicts(station) == [("refused", "dry_run", "flash")]


def test_cancel_ends_the_job_and_a_card_that_comes_then_is_done(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        with pytest.raises(CallFailed):
            station.call("Flash", slot="slot1")
        station.call("Cancel", slots=["slot1"])
        assert station.wait_for_state("slot1", "cancelled", "passed", "failed")["state"] == "cancelled"
        with pytest.raises(CallFailed):
            station.call("Cancel", slots=["slot1"])
        assert bytes_at(card, 0, 100).startswith(b"flashing-station marker 1\n")
        reader.unplug()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"


def test_flash_with_another_image_concerns_this_card_only(station):
    data = add_image(station, "image2", 3 * MIB, seed=2)
    station.stop()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1", quiet=True)
        station.start()
        station.wait_for_state("slot1", "waiting")
        station.call("Flash", slot="slot1", image="image2")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        assert bytes_at(card, 0, len(data)) == data
        assert station.slot("slot1")["assignment"]["image"] == "image1"


# -- start, stop, death -------------------------------------------------------------------------------

def test_a_card_that_is_in_at_the_start_waits(station):
    station.stop()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1", quiet=True)
        station.start()
        assert station.wait_for_state("slot1", "waiting", "passed", "running")["reason"] == "was_in_already"
        station.bench.event_storm(20, "add")
        assert settle(station)["state"] == "waiting" and not any(bytes_at(card, 0, MIB))
        assert station.history() == []


def test_at_boot_write_writes_a_card_that_is_in_at_the_start(bare):
    bare.declare("slot1", "2", AtBoot="write")
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1"], image="image1")
    bare.stop()
    with LoopCard(8 * MIB) as card:
        bare.bench.insert("2", card, "slot1", quiet=True)
        bare.start()
        assert bare.wait_for_state("slot1", "passed", "failed", "waiting")["state"] == "passed"
        assert verdicts(bare) == [("passed", None, "atBoot")]
        # A restart with the finished card in does not begin again.
        bare.stop()
        bare.start()
        assert bare.wait_for_state("slot1", "passed", "running", "waiting")["state"] == "passed"
        assert len(bare.history()) == 1


def test_a_restart_with_a_finished_card_in_starts_nothing(station):
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        for number in (signal.SIGTERM, signal.SIGKILL):
            station.stop(number)
            station.start()
            assert station.wait_for_state("slot1", "passed", "running", "waiting")["state"] == "passed"
        assert verdicts(station) == [("passed", None, "insertion")]


def test_who_connects_while_the_station_starts_is_shown_all_of_it(bare):
    names = [f"early{number}" for number in range(1, 9)]
    for number, name in enumerate(names, 1):
        bare.declare(name, str(number))
    shown = []

    def ask():
        while not shown:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                shown.append([slot["name"] for slot in bare.call("GetStatus")["slots"]])

    for _ in range(3):
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        bare.start()
        asking.join()
        assert shown.pop() == names
        bare.stop()


@pytest.mark.parametrize("phase", ["probing", "writing", "verifying"])
def test_after_kill_9_of_the_station_the_card_is_done_again(station, phase):
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", phase)
        writer, = writers_of(station)
        began = time.monotonic()
        station.stop(signal.SIGKILL)
        wait_until(lambda: is_over(writer), 5, "the writer's end")
        assert time.monotonic() - began < 1.0
        card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})
        station.start()
        assert station.wait_for_state("slot1", "passed", "failed", "waiting", "refused")["state"] == "passed"
        assert verdicts(station) == [("interrupted", None, "insertion"), ("passed", None, "resumed")]
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)


def test_another_card_in_the_place_of_an_interrupted_one_waits_after_a_restart(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        station.stop(signal.SIGKILL)
        reader.unplug()
    with LoopCard(8 * MIB) as other:
        station.bench.insert("2", other, "slot1", quiet=True)
        station.start()
        assert station.wait_for_state("slot1", "passed", "failed", "waiting")["reason"] == "was_in_already"
        assert not any(bytes_at(other, 0, MIB))
        assert verdicts(station) == [("interrupted", None, "insertion")]


def test_a_station_that_is_told_to_finish_waits_for_the_job_under_way_and_begins_nothing_any_more(station):
    station.declare("slot2", "3")
    station.call("Reload")
    station.call("Assign", slots=["slot2"], image="image1")
    with PracticeCard(8 * MIB, **SLOW) as card, LoopCard(8 * MIB) as late:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        station.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "stops when slot1 has ended" in station.journal(), what="its word that it waits")
        # All this while it can be looked at, and a card that comes is left alone.
        assert station.slot("slot1")["state"] == "running"
        station.bench.insert("3", late, "slot2")
        assert station.wait_for_state("slot2", "waiting", "running", "passed")["reason"] == "was_in_already"
        assert "going down" in station.stationctl("flash", "slot2", check=False).stderr
        card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})
        assert station.process.wait(30) == 0
        assert not any(bytes_at(late, 0, MIB))
        station.start()
        assert verdicts(station) == [("passed", None, "insertion")]
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)


def test_a_station_that_finishes_waits_no_longer_than_it_is_told_and_a_stop_ends_that(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        for patience, numbers in ((1, [signal.SIGUSR1]), (600, [signal.SIGUSR1, signal.SIGTERM])):
            configure(station, f"[Station]\nStopPatienceSec={patience}\n")
            station.call("Reload")
            reader = station.bench.insert("2", card, "slot1")
            station.wait_for_phase("slot1", "writing")
            for number in numbers:
                station.process.send_signal(number)
                wait_until(lambda: f"in {patience} s at the latest" in station.journal(), what="its patience")
            assert station.process.wait(10) == 0
            reader.unplug()
            station.start()
        assert verdicts(station) == [("interrupted", None, "insertion")] * 2


def test_stopping_with_a_job_under_way_takes_less_than_two_seconds(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        writer, = writers_of(station)
        assert station.stop(signal.SIGTERM) < 2.0
        assert station.process.returncode == 0
        wait_until(lambda: is_over(writer), 2, "the writer's end")
        station.start()
        wait_until(lambda: len(verdicts(station)) == 2 and verdicts(station)[1][0], what="the job done again")
        assert verdicts(station) == [("interrupted", None, "insertion"), ("passed", None, "resumed")]


def switches_of(process):
    """How often each thread of a process went to sleep or was sent there."""
    counts = {}
    for thread in os.listdir(f"/proc/{process}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{process}/task/{thread}/status") as file:
            counts[thread] = [line for line in file if "ctxt_switches" in line]
    return counts


def test_a_station_that_has_nothing_to_do_sleeps(station):
    # It has imported an image, written a card and answered questions; the clocks of all that must have stopped.
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "passed")

    def is_left_alone():
        before = switches_of(station.process.pid)
        # The measurement itself: what wakes it once a second shows in that.
        time.sleep(2.5)
        return switches_of(station.process.pid) == before

    wait_until(is_left_alone, 60, "two and a half seconds in which no thread of the station is woken")


def test_a_station_whose_journal_hangs_still_answers(bare):
    names = [f"slot{number}" for number in range(1, 5)]
    for number, name in enumerate(names, 2):
        bare.declare(name, str(number))
    take, give = os.pipe()
    goes_on = threading.Event()
    goes_on.set()

    def copy():
        with open(bare.log, "ab", buffering=0) as log:
            while goes_on.wait() and (piece := os.read(take, 4096)):
                log.write(piece)

    with contextlib.ExitStack() as stack:
        copying = threading.Thread(target=copy, daemon=True)
        copying.start()
        stack.callback(copying.join, 10)
        stack.callback(os.close, give)
        bare.start(output=give)
        add_image(bare, "image1")
        bare.call("Assign", slots=names, image="image1")
        cards = [stack.enter_context(LoopCard(8 * MIB)) for _ in names]
        goes_on.clear()
        stack.callback(goes_on.set)
        # Its log takes nothing more: one piece is with the thread that copies, and the pipe is full.
        os.set_blocking(give, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(give, bytes(512))
        os.set_blocking(give, True)
        for number, card in enumerate(cards, 2):
            bare.bench.insert(str(number), card, names[number - 2])
        # Each slot waits to say that its job begins, and holds up a thread.
        for _ in range(20):
            with Client(bare.socket, 10) as client:
                client.send("GetStatus", {})
                client.reply()
        goes_on.set()
        for name in names:
            bare.wait_for_state(name, "passed")
        bare.stop()


@pytest.mark.parametrize("is_new", [False, True], ids=["that has worked", "that has just started"])
def test_a_card_that_comes_while_no_file_descriptor_is_to_be_had_is_begun_when_there_are_some(station, is_new):
    with LoopCard(8 * MIB) as card:
        if is_new:
            # What it needs for its first timer it must have by now.
            station.stop()
            station.start()
        process = station.process.pid
        limit = max(int(number) for number in os.listdir(f"/proc/{process}/fd")) + 1
        subprocess.run(["prlimit", f"--pid={process}", f"--nofile={limit}:4096"], check=True)
        station.bench.insert("2", card, "slot1")
        wait_until(lambda: "devices cannot be looked at" in station.journal(), what="its word that it cannot look")
        subprocess.run(["prlimit", f"--pid={process}", "--nofile=1024:4096"], check=True)
        station.wait_for_state("slot1", "passed")
        assert "there were no file descriptors" in station.journal()


def test_kill_9_of_the_writer_is_a_failure_at_once_and_the_next_card_is_fine(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        writer, = writers_of(station)
        began = time.monotonic()
        os.kill(writer, signal.SIGKILL)
        seen = station.wait_for_state("slot1", "failed", "passed")
        assert time.monotonic() - began < 1.0
        assert seen["reason"] == "writer_lost"
        reader.unplug()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
    assert [one[:2] for one in verdicts(station)] == [("failed", "writer_lost"), ("passed", None)]


def test_a_writer_that_cannot_be_started_is_a_failure_and_the_station_lives(bare, tmp_path, programs):
    for name in ("stationd", "station-library"):
        os.symlink(os.path.join(programs, name), tmp_path / name)
    bare.declare("slot1", "2")
    bare.start(programs=str(tmp_path))
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1"], image="image1")
    with LoopCard(8 * MIB) as card:
        bare.bench.insert("2", card, "slot1")
        seen = bare.wait_for_state("slot1", "failed", "passed", "refused")
        assert (seen["state"], seen["reason"]) in [("failed", "writer_unreachable"), ("failed", "writer_lost")]
        assert not any(bytes_at(card, 0, MIB))


@pytest.mark.parametrize("operation, start", [("write", MIB), ("read", 0)])
def test_a_writer_that_the_card_hangs_shows_as_stuck_and_the_other_slot_goes_on(bare, operation, start):
    """Hanging reads meet the guard, before there is a job to speak of; hanging writes meet the job."""
    configure(bare, "[Station]\nStuckAfterSec=2\n")
    bare.declare("slot1", "2")
    bare.declare("slot2", "3")
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1", "slot2"], image="image1")
    with PracticeCard(8 * MIB) as card, LoopCard(8 * MIB) as other:
        hang = card.control({"fault": "hang", "on": operation, "from": start})["id"]
        bare.bench.insert("2", card, "slot1")
        assert bare.wait_for_state("slot1", "stuck", "failed", "passed", seconds=15)["state"] == "stuck"
        bare.bench.insert("3", other, "slot2")
        assert bare.wait_for_state("slot2", "passed", "failed")["state"] == "passed"
        began = time.monotonic()
        assert bare.slot("slot1")["state"] == "stuck"
        assert time.monotonic() - began < 0.5
        assert "stuck" in bare.journal() or "not answer" in bare.journal()
        card.control({"do": "clear", "id": hang})
        assert bare.wait_for_state("slot1", "passed", "failed")["state"] == "passed"


def test_stopping_with_a_stuck_writer_takes_less_than_two_seconds(bare):
    configure(bare, "[Station]\nStuckAfterSec=2\n")
    bare.declare("slot1", "2")
    bare.start()
    add_image(bare, "image1")
    bare.call("Assign", slots=["slot1"], image="image1")
    with PracticeCard(8 * MIB) as card:
        card.control({"fault": "hang", "on": "write", "from": MIB})
        bare.bench.insert("2", card, "slot1")
        bare.wait_for_state("slot1", "stuck")
        assert bare.stop(signal.SIGTERM) < 2.0
        card.control({"do": "release"})
        wait_until(lambda: not writers_of(bare), 5, "the writer's end")
        bare.start()
        assert verdicts(bare)[0] == ("interrupted", None, "insertion")


def test_a_second_station_on_the_same_socket_refuses(station):
    state = os.path.join(station.directory, "other")
    for name in ("images", "store"):
        os.makedirs(os.path.join(state, name))
    second = station.bench.spawn(
        [os.path.join(station.programs, "stationd"), "--config", station.config, "--state", state, "--socket",
         station.socket, "--programs", station.programs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = second.communicate(timeout=10)
    assert second.returncode == 1 and station.socket in output
    assert station.slot("slot1")["isArmed"], "the first one must go on"


def test_a_second_station_on_the_same_records_refuses(station):
    second = station.bench.spawn(
        [os.path.join(station.programs, "stationd"), "--config", station.config, "--state", station.state, "--socket",
         station.socket + "2", "--programs", station.programs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True)
    output, _ = second.communicate(timeout=15)
    assert second.returncode == 1 and "store" in output
    assert station.slot("slot1")["isArmed"]


# -- library, store, configuration --------------------------------------------------------------------

def test_an_image_that_is_assigned_cannot_be_removed(station):
    with pytest.raises(CallFailed) as refusal:
        station.call("RemoveImage", name="image1")
    assert "slot1" in json.dumps(refusal.value.parameters)
    station.call("Unassign", slots=["slot1"])
    station.call("RemoveImage", name="image1")
    assert os.listdir(os.path.join(station.state, "images")) == []


def sealed_file(station):
    name, = (name for name in os.listdir(os.path.join(station.state, "images")) if name.endswith(".img"))
    return os.path.join(station.state, "images", name)


def test_an_image_whose_file_is_gone_writes_no_card(station):
    os.unlink(sealed_file(station))
    gates = {gate["gate"]: gate for gate in station.call("Explain", slot="slot1")["gates"]}
    assert not gates["image"]["isOpen"]
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        seen = station.wait_for_state("slot1", "refused", "failed", "passed")
        assert (seen["state"], seen["reason"]) == ("refused", "image_missing")
        assert not any(bytes_at(card, 0, MIB))
    assert verdicts(station)[-1][:2] == ("refused", "image_missing"), "a verdict must be in the records"


def test_an_image_whose_bytes_were_changed_never_passes(station):
    path = sealed_file(station)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(MIB + 4711)
        byte = file.read(1)
        file.seek(MIB + 4711)
        file.write(bytes([byte[0] ^ 1]))
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        seen = station.wait_for_state("slot1", "failed", "passed", "refused")
        assert (seen["state"], seen["reason"]) == ("failed", "hash_mismatch")
        assert b"reason=hash_mismatch" in bytes_at(card, 0, 512)


def test_a_store_that_is_no_database_is_set_aside_and_the_station_starts(station):
    station.stop()
    path = os.path.join(station.state, "store", "station.db")
    with open(path, "wb") as file:
        file.write(b"this is no database" * 1000)
    station.start()
    assert station.call("GetStatus")["problems"], "it must be said"
    assert not station.slot("slot1")["isArmed"], "without records there is no consent"
    assert len(os.listdir(os.path.dirname(path))) > 1, "the old file must be kept"
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "waiting")["reason"] == "unassigned"


@pytest.mark.parametrize("name, text, mode", [
    ("empty.slot", "", 0o644),
    ("unknown.slot", "[Slot]\nPlaice=usb 480 port 9\n", 0o644),
    ("place.slot", "[Slot]\nPlace=../../etc\nReader=05e3:0749 luns 1\n", 0o644),
    ("open.slot", "[Slot]\nPlace=usb 480 port 9 lun 0 at pci0000:00/0000:00:03.0\nReader=05e3:0749 luns 1\n", 0o666),
    ("binary.slot", "\0\1\2\xff" * 100, 0o644),
    ("large.slot", "#" * 200_000, 0o644),
], ids=["empty", "unknown key", "bad place", "writable", "binary", "large"])
def test_a_slot_file_that_is_wrong_is_a_problem_and_no_slot(bare, name, text, mode):
    bare.declare("slot1", "2")
    path = os.path.join(bare.config, "slots.d", name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    bare.start()
    status = bare.call("GetStatus")
    assert [slot["name"] for slot in status["slots"]] == ["slot1"]
    problem, = status["problems"]
    assert name in problem["message"] and problem["code"]
    os.unlink(path)
    bare.call("Reload")
    assert bare.call("GetStatus")["problems"] == []


def test_a_reload_takes_up_and_gives_up_slots(station):
    station.declare("slot2", "3")
    station.call("Reload")
    station.call("Assign", slots=["slot2"], image="image1")
    with LoopCard(8 * MIB) as card:
        station.bench.insert("3", card, "slot2")
        assert station.wait_for_state("slot2", "passed", "failed")["state"] == "passed"
    os.unlink(os.path.join(station.config, "slots.d", "slot2.slot"))
    station.call("Reload")
    assert [slot["name"] for slot in station.call("GetStatus")["slots"]] == ["slot1"]


def test_what_another_declaration_took_while_the_station_was_down_is_disarmed(station):
    station.stop()
    os.unlink(os.path.join(station.config, "slots.d", "slot1.slot"))
    station.declare("slot1", "5")
    station.start()
    slot = station.slot("slot1")
    assert not slot["isArmed"] and slot["disarmReason"] == "slot_moved"
    assert "another place or reader" in station.stationctl("explain", "slot1").stdout
    with LoopCard(8 * MIB) as card:
        station.bench.insert("5", card, "slot1")
        assert station.wait_for_state("slot1", "waiting", "passed", "failed")["reason"] == "disarmed"
    assert station.history() == []
    # Armed, it is armed for that place; and where the station sees it move, it goes with it.
    station.call("Arm", slots=["slot1"])
    station.stop()
    station.start()
    assert station.slot("slot1")["isArmed"]
    station.declare("slot1", "6")
    station.call("Reload")
    station.stop()
    station.start()
    assert station.slot("slot1")["isArmed"]


def test_what_was_moved_stays_disarmed_though_the_records_refuse_to_say_so(station):
    station.stop()
    station.declare("slot1", "5")
    with refused_consent(station, "slot1"):
        station.start()
        assert station.slot("slot1")["disarmReason"] == "slot_moved"
        station.stop()
    assert is_recorded_as_armed(station, "slot1"), "else this shows nothing"
    station.start()
    assert not station.slot("slot1")["isArmed"] and not is_recorded_as_armed(station, "slot1")


def test_slots_are_read_anew_though_the_configuration_cannot_be(station):
    path = os.path.join(station.config, "station.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Nonsense\n")
    os.chmod(path, 0o644)
    os.unlink(os.path.join(station.config, "slots.d", "slot1.slot"))
    with pytest.raises(CallFailed):
        station.call("Reload")
    assert station.call("GetStatus")["slots"] == []
    station.declare("slot1", "5")
    with pytest.raises(CallFailed):
        station.call("Reload")
    assert not station.slot("slot1")["isArmed"]


@pytest.mark.parametrize("ends", [False, True], ids=["in time", "at the end"])
def test_a_disarming_that_the_records_refuse_is_recorded_when_they_take_it(station, ends):
    with refused_consent(station, "slot1"):
        with pytest.raises(CallFailed):
            station.call("Disarm", slots=["slot1"])
        assert not station.slot("slot1")["isArmed"] and is_recorded_as_armed(station, "slot1")
    if not ends:
        wait_until(lambda: not is_recorded_as_armed(station, "slot1"), 20, "the record")
    station.stop()
    assert not is_recorded_as_armed(station, "slot1")
    station.start()
    assert not station.slot("slot1")["isArmed"]


def test_removing_a_slot_with_a_job_under_way_interrupts_it(station):
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        os.unlink(os.path.join(station.config, "slots.d", "slot1.slot"))
        station.call("Reload")
        wait_until(lambda: not writers_of(station), 3, "the writer's end")
        assert verdicts(station) == [("interrupted", None, "insertion")]


def test_an_import_of_a_file_that_is_no_image_is_refused(station):
    for data, raw in ((b"", True), (b"no table" * 1000, False)):
        path = os.path.join(station.directory, "odd.img")
        with open(path, "wb") as file:
            file.write(data)
        with pytest.raises(CallFailed):
            station.import_image(path, "odd", isRaw=raw)
    assert [image["name"] for image in station.call("ListImages")["images"]] == ["image1"]


def test_a_client_that_sends_nonsense_harms_nobody(station):
    for message in (b"\0", b"{}\0", b"[1,2]\0", b'{"method":1}\0', b"\xff\xfe\0",
                    b'{"method":"flashing.station.Control.Nothing","parameters":{}}\0'):
        with Client(station.socket) as client:
            client.socket.sendall(message)
            client.socket.settimeout(5)
            client.socket.recv(4096)
    assert station.slot("slot1")["isArmed"]


def test_a_slot_is_declared_for_every_reader_of_slot_files_whatever_umask_root_has(programs, tmp_path):
    folder = tmp_path / "slots.d"
    subprocess.run(["/bin/sh", "-c", 'umask 077; exec "$@"', "sh", f"{programs}/stationctl", "slot", "add", "slot1",
                    "--place", "usb 480 port 1 lun 0 at pci0000:00/0000:00:04.0", "--reader", "0bda:0326 luns 1",
                    "--slots-dir", str(folder)], check=True, capture_output=True)
    assert oct(folder.stat().st_mode & 0o777) == "0o755"
    assert oct((folder / "slot1.slot").stat().st_mode & 0o777) == "0o644"
