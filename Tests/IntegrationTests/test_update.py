"""Slots whose file says Mode=update: what is on a card already is not written again, and is read back all the same."""

import pytest

from practice_card import PracticeCard
from practice_station import PracticeStation, wait_until
from test_station import add_image
from writer_bench import MIB, bytes_at

IMAGE_BYTES = 40 * MIB + 700
#: Large enough to push what was read out of a reader's cache.
CARD_BYTES = 320 * MIB


@pytest.fixture
def station(programs):
    with PracticeStation(programs) as station:
        for number in (1, 2, 3):
            station.declare(f"slot{number}", str(number), Mode="update")
        station.start()
        station.data = add_image(station, "image1", IMAGE_BYTES)
        station.call("Assign", slots=["slot*"], image="image1")
        yield station


@pytest.fixture
def card():
    with PracticeCard(CARD_BYTES) as card:
        yield card


def flash(station, card, number):
    """Inserts the card and pulls it again; its report, and how many writes reached it.

    In a slot of its own each time: a card that comes back into the same one within 10 s is taken for the one that was in.
    """
    before = card.control({"do": "state"})["requests"].get("write", 0)
    reader = station.bench.insert(str(number), card, f"slot{number}")
    report = station.wait_for_state(f"slot{number}", "passed", "failed", "refused")["job"]["report"]
    writes = card.control({"do": "state"})["requests"].get("write", 0) - before
    reader.unplug()
    station.wait_for_state(f"slot{number}", "absent")
    return report, writes


def spoil(card, offset):
    """Changes a byte of the medium, as a device that ran from the card would have."""
    with open(card.backing, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_a_card_that_has_the_image_passes_unwritten_and_one_that_was_changed_is_put_right(station, card):
    first, writes = flash(station, card, 1)
    assert first["verdict"]["verdict"] == "passed" and writes > 0
    assert first["bytesWritten"] + first["bytesUnchanged"] == IMAGE_BYTES

    position = len(station.journal())
    again, writes = flash(station, card, 2)
    assert again["verdict"]["verdict"] == "passed" and writes == 0, again
    assert (again["bytesWritten"], again["bytesUnchanged"], again["bytesVerified"]) == (0, IMAGE_BYTES, IMAGE_BYTES)
    assert again["readBackSHA256"] == first["readBackSHA256"]
    assert "PASSED — image1, nothing written, all was there, read back in" in station.journal(position)

    # One byte, in the last of the image's requests; nothing else of the image is written but its first MiB, and what the
    # capacity's blocks fell on.
    spoil(card, IMAGE_BYTES - 1)
    report, writes = flash(station, card, 3)
    assert report["verdict"]["verdict"] == "passed" and writes > 0
    assert bytes_at(card, 0, IMAGE_BYTES) == station.data
    assert report["bytesUnchanged"] + report["bytesWritten"] == IMAGE_BYTES and report["rewrites"] == 0

    shown = station.stationctl("history", "--limit", "1", "--json").stdout
    assert '"bytesUnchanged"' in shown


def test_a_card_that_is_in_already_is_written_in_full(station, card):
    # What was written in its stay might come from the reader's cache, so nothing that is read counts.
    flash(station, card, 1)
    reader = station.bench.insert("2", card, "slot2")
    assert station.wait_for_state("slot2", "passed", "failed")["job"]["report"]["bytesWritten"] == 0
    station.call("Flash", slot="slot2", isDryRun=False)
    job = wait_until(lambda: next((job for job in station.history() if job["trigger"] == "flash" and job.get("report")), None),
                     60, "the second job's end")
    assert job["report"]["verdict"] == {"verdict": "passed"}
    assert job["report"]["bytesWritten"] == IMAGE_BYTES and job["report"].get("bytesUnchanged") is None
    reader.unplug()


def test_what_was_there_and_is_spoilt_while_the_rest_is_written_fails(station, card):
    flash(station, card, 1)
    spoil(card, 0)
    # A request in which no block of the capacity check lies: it is not written, and reads wrong as soon as something is.
    written = card.control({"do": "state"})["bytes"]["write"]
    card.control({"fault": "flip", "on": "read", "offset": 36 * MIB + 4096, "after": written + 1})
    report, _ = flash(station, card, 2)
    assert report["verdict"] == {"verdict": "failed", "reason": "data_mismatch"}, report
    assert report["firstBadOffset"] == 36 * MIB + 4096


def test_a_slot_file_cannot_ask_to_keep_what_it_has_forgotten(station):
    path = station.declare("slot4", "4", Mode="update", Wipe="discard")
    station.call("Reload")
    problems = station.call("GetStatus")["problems"]
    assert any(problem["code"] == "slot_file_invalid" and path in problem["message"] and "Mode=update" in problem["message"]
               for problem in problems), problems
