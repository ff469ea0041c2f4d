"""A whole station that remembers: cards that failed, slots in which they do, and what it says of both."""

import json
import os

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import CallFailed, PracticeStation, wait_until
from writer_bench import MIB, WriterBench, bytes_at, sha256_of

from test_station import add_image, card_file, verdict_of

CARD_BYTES = 8 * MIB
IMAGE_BYTES = 2 * MIB + 700
#: A byte of the image's second MiB is always 255: the job fails with data_mismatch, and its marker stays on the card.
BAD = {"fault": "stuck", "offset": MIB + 20 * 4096 + 104, "mask": 255, "value": 1}


@pytest.fixture
def station(programs):
    """A station with three slots in ports 2 to 4, armed with one image."""
    with PracticeStation(programs) as station:
        for number in (1, 2, 3):
            station.declare(f"slot{number}", str(number + 1))
        station.start()
        add_image(station, "image1", IMAGE_BYTES)
        station.call("Assign", slots=["slot*"], image="image1")
        yield station


def writes(card):
    """How often the card was asked to change anything since its counters were reset."""
    requests = card.control({"do": "state"})["requests"]
    return requests.get("write", 0) + requests.get("trim", 0)


def try_card(station, path, slot="slot1", *, bad=True, look=None):
    """Puts a card in and takes it out after its verdict, as a hand would; returns (verdict, reason)."""
    with PracticeCard(CARD_BYTES, backing=path) as card:
        if bad:
            card.control(BAD)
        before = sha256_of(card.backing)
        card.control({"do": "reset"})
        reader = station.bench.insert(str(int(slot[-1]) + 1), card, slot)
        seen = station.wait_for_state(slot, "passed", "failed", "refused", "cancelled", "waiting")
        if seen["state"] == "refused":
            assert not writes(card), "a refused card was written"
            assert sha256_of(card.backing) == before
        if look:
            look(seen)
        reader.unplug()
        station.wait_for_state(slot, "absent")
    station.let_a_hand_change_cards()
    return seen["state"], seen.get("reason")


# -- three failures in a row --------------------------------------------------------------------------

def test_three_failures_in_a_row_disarm_the_slot_and_a_restart_remembers_them(station):
    for number in (1, 2):
        assert try_card(station, card_file(station, f"bad{number}", CARD_BYTES)) == ("failed", "data_mismatch")
        assert station.slot("slot1")["failuresInARow"] == number
    station.stop()
    station.start()
    assert station.slot("slot1")["failuresInARow"] == 2 and station.slot("slot1")["isArmed"]

    assert try_card(station, card_file(station, "bad3", CARD_BYTES))[0] == "failed"
    slot = station.slot("slot1")
    assert not slot["isArmed"] and slot["disarmReason"] == "failures_in_a_row" and slot["assignment"]
    assert [note["code"] for note in slot["notes"]] == ["failures_in_a_row"]
    assert "slot1: DISARMED" in station.journal() and station.slot("slot2")["isArmed"]
    gates = {gate["gate"]: gate for gate in station.call("Explain", slot="slot1")["gates"]}
    assert not gates["armed"]["isOpen"] and "reader" in gates["armed"]["finding"]
    assert "3 failures in a row" in station.stationctl("status").stdout

    station.stop()
    station.start()
    assert station.slot("slot1")["disarmReason"] == "failures_in_a_row"
    good = card_file(station, "good", CARD_BYTES)
    assert try_card(station, good, bad=False) == ("waiting", "disarmed")

    station.stationctl("arm", "slot1")
    slot = station.slot("slot1")
    assert slot["isArmed"] and slot["failuresInARow"] == 0 and "disarmReason" not in slot
    assert try_card(station, good, bad=False) == ("passed", None)


def test_a_card_that_passes_in_between_keeps_the_slot_armed(station):
    for number in range(2):
        try_card(station, card_file(station, f"bad{number}", CARD_BYTES))
    assert try_card(station, card_file(station, "good", CARD_BYTES), bad=False)[0] == "passed"
    assert station.slot("slot1")["failuresInARow"] == 0
    try_card(station, card_file(station, "bad3", CARD_BYTES))
    assert station.slot("slot1")["isArmed"]


# -- one card -----------------------------------------------------------------------------------------

def test_a_card_is_known_through_all_slots_and_refused_after_its_third_failure_until_it_is_forgiven(station):
    path = card_file(station, "bad", CARD_BYTES)
    assert try_card(station, path, "slot1")[0] == "failed"
    first, = station.call("ListCards")["cards"]
    assert first["state"] == "suspect" and first["card"] == station.history()[0]["id"]

    def known(count, in_slot):
        def look(slot):
            note, = [note for note in slot["notes"] if note["code"] == "card_suspect"]
            assert f"in {in_slot}: data_mismatch" in note["message"], note
            assert slot["card"]["memory"]["failuresInARow"] == count
        return look

    # Latched, the record counts the failure that has just been.
    assert try_card(station, path, "slot2", look=known(2, "slot2"))[0] == "failed"
    assert "slot2: this card failed here" in station.journal()
    station.stop()
    station.start()
    assert try_card(station, path, "slot3", look=known(3, "slot3"))[0] == "failed"
    assert station.call("ListCards", state="condemned")["cards"][0]["failedCount"] == 3

    assert try_card(station, path, "slot1", look=known(3, "slot3")) == ("refused", "card_suspect")
    last = station.history(limit=1)[0]
    assert "in slot3: data_mismatch" in last["report"]["detail"] and last["card"] == first["card"]
    assert station.slot("slot1")["failuresInARow"] == 1, "a refusal is no failure of the slot"

    shown = station.stationctl("card", "show", first["card"][:12]).stdout
    assert "condemned" in shown and shown.count("slot") >= 4
    listed = json.loads(station.stationctl("card", "list", "--state", "condemned", "--json").stdout)["cards"]
    assert [card["card"] for card in listed] == [first["card"]]
    jobs = json.loads(station.stationctl("history", "--card", first["card"], "--json").stdout)["jobs"]
    assert len(jobs) == 4
    # Any job of its chain names it, too.
    assert json.loads(station.stationctl("card", "show", jobs[1]["id"], "--json").stdout)["card"] == listed[0]

    station.stationctl("card", "forgive", jobs[1]["id"][:12])
    assert f"Card {first['card']} forgiven" in station.journal()
    assert try_card(station, path, "slot1", bad=False) == ("passed", None)
    card, = station.call("ListCards")["cards"]
    assert card["state"] == "recovered" and card["passedCount"] == 1 and card["failedCount"] == 3


def test_a_condemned_card_is_refused_by_hand_and_in_a_dry_run_and_forgiveness_reaches_the_card_that_is_in(station):
    path = card_file(station, "bad", CARD_BYTES)
    for slot in ("slot1", "slot2", "slot3"):
        try_card(station, path, slot)
    with PracticeCard(CARD_BYTES, backing=path) as card:
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "refused")["reason"] == "card_suspect"
        for options in (["--dry-run"], []):
            assert station.stationctl("flash", "slot1", "--follow", *options, check=False).returncode == 7
            assert station.slot("slot1")["reason"] == "card_suspect"
        assert not writes(card)
        key = station.call("ListCards")["cards"][0]["card"]
        assert station.call("ForgiveCard", card=key)["card"]["state"] == "forgiven"
        station.stationctl("flash", "slot1", "--follow")
        assert station.slot("slot1")["state"] == "passed"
        assert station.slot("slot1")["card"]["memory"]["state"] == "recovered"


def test_a_card_that_passed_comes_back_as_a_new_one(station):
    path = card_file(station, "card", CARD_BYTES)
    try_card(station, path)
    assert try_card(station, path, bad=False)[0] == "passed"

    def unknown(slot):
        assert slot["notes"] == [] and "memory" not in slot["card"]

    # In another slot: this one would ask whether it is the card of a moment ago.
    assert try_card(station, path, "slot2", bad=False, look=unknown)[0] == "passed"
    assert [card["state"] for card in station.call("ListCards")["cards"]] == ["recovered"]


def test_a_marker_of_a_job_that_was_cancelled_or_never_was_is_held_against_nobody(station):
    path = card_file(station, "card", CARD_BYTES)
    with open(path, "r+b") as file:
        file.write(b"flashing-station marker 1\njob=" + b"ab" * 16 + b"\nstate=failed\nreason=data_mismatch\n")
    assert try_card(station, path, bad=False)[0] == "passed"
    with PracticeCard(CARD_BYTES, backing=path, write_rate=4 * MIB) as card:
        reader = station.bench.insert("3", card, "slot2")
        station.wait_for_phase("slot2", "writing")
        station.call("Cancel", slots=["slot2"])
        station.wait_for_state("slot2", "cancelled")
        assert bytes_at(card, 0, 25) == b"flashing-station marker 1"
        reader.unplug()
        station.wait_for_state("slot2", "absent")
    station.let_a_hand_change_cards()
    assert try_card(station, path, "slot3", bad=False)[0] == "passed"
    assert station.call("ListCards")["cards"] == []


def test_who_asks_for_a_card_that_is_not_known_is_told_so(station):
    assert station.stationctl("card", "list").stdout == "no card matches\n"
    for arguments, code, exit_code in [(("card", "show", "abcd"), "card_unknown", 5),
                                       (("card", "forgive", "abcd"), "card_unknown", 5),
                                       (("card", "forgive", "x;y"), "card_invalid", 2),
                                       (("history", "--card", "zz"), "card_invalid", 2),
                                       (("card", "list", "--state", "suspekt"), "usage", 2)]:
        result = station.stationctl(*arguments, "--json", check=False)
        assert (json.loads(result.stdout)["error"]["code"], result.returncode) == (code, exit_code), arguments
    with pytest.raises(CallFailed) as failed:
        station.call("ForgiveCard", card="")
    assert failed.value.parameters["code"] == "card_invalid"


# -- how a slot does ----------------------------------------------------------------------------------

def test_slot_show_says_how_its_last_jobs_went(station):
    try_card(station, card_file(station, "bad", CARD_BYTES))
    try_card(station, card_file(station, "good", CARD_BYTES), bad=False)
    slots = f"--slots-dir={station.config}/slots.d"
    assert "jobs     1 of the last 2 failed" in station.stationctl("slot", "show", "slot1", slots).stdout
    shown = json.loads(station.stationctl("slot", "show", "slot1", slots, "--json").stdout)
    assert shown["name"] == "slot1" and shown["statistics"]["jobCount"] == 2
    statistics = {one["slot"]: one for one in station.call("GetStatistics")["slots"]}
    assert statistics["slot1"]["failedCount"] == 1 and statistics["slot2"]["jobCount"] == 0
    assert [verdict_of(job)[0] for job in station.history(slot="slot1")] == ["passed", "failed"]


# -- the writer alone ---------------------------------------------------------------------------------

MARKED = b"flashing-station marker 1\njob=" + b"ab" * 16 + b"\nstate=failed\nreason=write_error\n"


@pytest.fixture
def asked(programs):
    """A writer that has recognised its card, and waits: (the card, the writer, the card's SHA-256)."""
    with WriterBench(programs) as bench, LoopCard(CARD_BYTES) as card:
        with open(card.backing, "r+b") as file:
            file.write(MARKED)
        before = sha256_of(card.backing)
        reader = bench.insert(card)
        writer = bench.start()
        writer.answer = None
        bench.ask(reader, bench.image(IMAGE_BYTES), writer=writer)
        while "recognised" not in (message := writer.receive()):
            assert "progress" in message
        assert message["recognised"]["_0"] == {"marker": "ab" * 16}
        yield card, writer, before


def opened_for_writing(writer, card):
    """Whether the writer has a descriptor of a disk that could write."""
    for number in os.listdir(f"/proc/{writer.program_id}/fd"):
        with open(f"/proc/{writer.program_id}/fdinfo/{number}", encoding="ascii") as file:
            flags = int(file.read().split("flags:")[1].split()[0], 8)
        if os.stat(f"/proc/{writer.program_id}/fd/{number}").st_rdev == os.stat(card.device).st_rdev:
            if flags & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False


def test_a_writer_that_is_told_to_refuse_never_opens_the_card_for_writing(asked):
    card, writer, before = asked
    assert not opened_for_writing(writer, card)
    writer.send(b'"refuse"')
    report = writer.report()
    assert verdict_of({"report": report}) == ("refused", "card_suspect") and report["foundMarker"] == "ab" * 16
    assert sha256_of(card.backing) == before


def test_a_writer_waits_for_the_answer_and_can_be_cancelled_meanwhile(asked):
    card, writer, before = asked
    for _ in range(3):
        assert writer.receive()["progress"]["_0"]["phase"] == "guarding", "it says that it is there, and does nothing"
    assert not opened_for_writing(writer, card)
    writer.cancel()
    assert verdict_of({"report": writer.report()}) == ("cancelled", None)
    assert sha256_of(card.backing) == before


def test_a_writer_whose_station_goes_away_before_it_answers_writes_nothing(asked):
    card, writer, before = asked
    writer.hang_up()
    assert writer.process.wait(3) != 0
    assert sha256_of(card.backing) == before


def test_a_writer_that_may_proceed_writes_the_card(asked):
    card, writer, before = asked
    writer.send(b'"proceed"')
    writer.answer = "proceed"
    assert verdict_of({"report": writer.report()}) == ("passed", None)
    assert sha256_of(card.backing) != before
