"""The real station-writer alone: good cards pass, lying media never do, refused cards stay as they are."""

import concurrent.futures
import contextlib
import ctypes
import errno
import hashlib
import os
import subprocess
import tempfile
import threading
import time

import pytest

from guard_cases import GUARD, run_guarded
from practice_card import LoopCard, PracticeCard
from practice_station import wait_until
from writer_bench import MIB, WriteOpenings, WriterBench, bytes_at, fill, pattern, sha256_of, verdict_of
from writer_faults import CARD_BYTES, HOLES, image_range, sequence_questions, shimmed

IMAGE_BYTES = 4 * MIB + 700


@pytest.fixture(scope="module")
def rack(programs):
    """One bench for the module; each test that changes its configuration takes a bench of its own."""
    with WriterBench(programs) as bench:
        yield bench


@pytest.fixture(scope="module")
def shared_card(rack):
    with PracticeCard(CARD_BYTES) as card:
        yield card, rack.insert(card)


@pytest.fixture
def liar(shared_card):
    """A practice card in port 2, full of something old, fast and without faults; each test sets its own."""
    card, reader = shared_card
    card.control({"do": "clear"})
    card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})
    fill(card)
    card.control({"do": "reset"})
    return card, reader


@pytest.fixture
def own(programs):
    """A bench for one test."""
    with WriterBench(programs) as bench:
        yield bench


@pytest.fixture(scope="module")
def shared_small_card(rack):
    path = rack.declare("slot7", "7")
    with PracticeCard(8 * MIB) as card:
        yield card, rack.insert(card, port="7")
    os.unlink(path)


@pytest.fixture
def slow(rack, shared_small_card):
    """A small card that is slow enough for a progress message in every phase: (card, start of a job on it)."""
    card, reader = shared_small_card
    card.control({"do": "clear"})
    card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})
    fill(card)
    card.control({"do": "reset"})
    card.control({"do": "rate", "write_rate": 4 * MIB, "read_rate": 10 * MIB, "latency": 0.004})
    return card, lambda **options: rack.ask(reader, rack.image(2 * MIB + 700), slot="slot7", **options)


def marker_of(card):
    """The marker on the medium as a dict; empty where there is none."""
    text = bytes_at(card, 0, 512).split(b"\0")[0].decode(errors="replace")
    if not text.startswith("flashing-station marker 1\n"):
        return {}
    return dict(line.split("=", 1) for line in text.splitlines()[1:])


# -- good cards ---------------------------------------------------------------------------------------

RESIDUES = [1, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, MIB + 512, 2 * MIB - 4096, 3 * MIB + 4095,
            6 * MIB - 513, 6 * MIB - 1, 6 * MIB]


@pytest.mark.parametrize("sector", [512, 1024, 4096])
def test_a_good_card_passes_with_every_byte_count(rack, sector):
    with LoopCard(6 * MIB, sector_size=sector) as card:
        reader = rack.insert(card, port="5", )
        path = rack.declare("slot5", "5")
        try:
            for byte_count in RESIDUES:
                fill(card)
                image = rack.image(byte_count, seed=byte_count & 0xFF)
                report = rack.run(reader, image, slot="slot5")
                assert verdict_of(report) == ("passed", None), (byte_count, report)
                assert report["readBackSHA256"] == image.sha256
                assert report["bytesWritten"] == report["bytesVerified"] == byte_count
                assert report["sectorByteCount"] == sector and report["cardByteCount"] == card.size
                assert report["rewrites"] == 0
                assert image.on_card(card, sector), byte_count
        finally:
            os.unlink(path)
            reader.unplug()


def test_a_good_practice_card_passes_and_the_report_has_its_figures(rack, liar):
    card, reader = liar
    card.control({"do": "rate", "latency": 0.005})
    image = rack.image(IMAGE_BYTES)
    report = rack.run(reader, image)
    assert verdict_of(report) == ("passed", None)
    assert image.on_card(card)
    assert report["headSHA256"] == hashlib.sha256(bytes_at(card, 0, 65536)).hexdigest()
    for name in ("guardSeconds", "wipeSeconds", "writeSeconds", "verifySeconds"):
        assert 0 < report[name] <= report["totalSeconds"], name
    assert card.state()["most_in_flight"] > 1


def test_a_reader_that_takes_120_kib_at_a_time_gets_no_small_rests_between_them(own):
    piece = 120 << 10
    with PracticeCard(24 * MIB, max_sectors_kb=120) as card:
        reader = own.insert(card)
        card.control({"do": "reset"})
        assert verdict_of(own.run(reader, own.image(MIB + 80 * piece))) == ("passed", None)
        sizes = card.state()["request_sizes"]
    for way in ("write", "read"):
        assert sizes[way][str(piece)] >= 80, sizes
        # A MiB would leave one of 64 KiB each; the marker and the head are a MiB.
        assert sizes[way].get(str(MIB - 8 * piece), 0) <= 4, sizes


def test_a_card_that_already_holds_the_image_is_written_and_passes(rack, liar):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    rack.run(reader, image)
    card.control({"do": "reset"})
    assert verdict_of(rack.run(reader, image)) == ("passed", None)
    assert card.state()["bytes"]["write"] >= IMAGE_BYTES


def test_patches_are_written_read_back_and_hashed(rack, liar):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    data = bytearray(image.data)
    patches = [(1000, b"first"), (MIB - 3, b"across the first MiB"), (IMAGE_BYTES - 4, b"last")]
    for offset, text in patches:
        data[offset:offset + len(text)] = text
    report = rack.run(reader, image, sha256=hashlib.sha256(data).hexdigest(),
                      patches=[{"offset": offset, "bytes": list(text)} for offset, text in patches])
    assert verdict_of(report) == ("passed", None)
    assert bytes_at(card, 0, IMAGE_BYTES) == bytes(data)


@pytest.mark.parametrize("level", ["none", "signatures", "discard", "zero"])
def test_each_wipe_level_leaves_what_it_says(own, level):
    own.declare("slot1", "2", Wipe=level)
    with LoopCard(16 * MIB) as card:
        fill(card)
        reader = own.insert(card)
        image = own.image(2 * MIB)
        assert verdict_of(own.run(reader, image)) == ("passed", None)
        assert image.on_card(card)
        last = bytes_at(card, 15 * MIB, MIB)
        middle = bytes_at(card, 8 * MIB + 8192, 1024)
        if level == "none":
            assert last[:4096] == b"\xa5" * 4096
        else:
            assert not any(last)
        if level == "zero":
            assert not any(bytes_at(card, 2 * MIB, 14 * MIB))
        elif level != "discard":
            assert middle == b"\xa5" * 1024


def test_no_old_signature_is_left_at_either_geometry(own):
    with LoopCard(48 * MIB) as card:
        subprocess.run(["sgdisk", "--clear", "--new=1:2048:20479", "--new=2:20480:0", card.backing], check=True,
                       capture_output=True)
        for offset, options in ((1 * MIB, ["-L", "old-first"]), (10 * MIB, ["-L", "old-second"])):
            with tempfile.NamedTemporaryFile() as part:
                part.truncate(8 * MIB)
                subprocess.run(["mke2fs", "-q", *options, part.name], check=True)
                with open(card.backing, "r+b") as file:
                    file.seek(offset)
                    file.write(part.read())
        reader = own.insert(card)
        assert verdict_of(own.run(reader, own.image(600 * 1024))) == ("passed", None)
        left = subprocess.run(["wipefs", "--no-act", "--parsable", card.backing], check=True, text=True,
                              capture_output=True).stdout
        assert all("gpt" not in line and "ext" not in line for line in left.splitlines()), left
        for sector in (512, 4096):
            assert bytes_at(card, sector, 8) != b"EFI PART"
            assert bytes_at(card, card.size - sector, 8) != b"EFI PART"
        assert b"old-second" not in bytes_at(card, 10 * MIB, MIB)


# -- media that lie -----------------------------------------------------------------------------------

LAST_OF_IMAGE = IMAGE_BYTES - 1
#: name: (faults, the reasons that are right)
LIES = {
    "loses every write": ({"fault": "drop"}, {"capacity_false"}),
    "loses every write but remembers four MiB": ({"fault": "drop", "cache": "4M"}, {"capacity_false", "wipe_incomplete",
                                                                                   "data_mismatch"}),
    "loses writes from the second MiB of the image on": (
        {"fault": "drop", "after": 2 * MIB + 500_000}, {"capacity_false", "wipe_incomplete", "data_mismatch"}),
    "loses one block of the image": (
        image_range(2 * MIB + 4096, 2 * MIB + 8192, fault="drop"), {"data_mismatch", "capacity_false"}),
    "loses the very last byte of the image": (
        image_range(LAST_OF_IMAGE // 512 * 512, IMAGE_BYTES // 512 * 512 + 512, fault="drop"),
        {"data_mismatch", "wipe_incomplete", "capacity_false"}),
    "loses a third of all blocks at random": (
        {"fault": "drop", "probability": 0.3, "seed": 7}, {"capacity_false", "wipe_incomplete", "data_mismatch"}),
    "loses a third of the image's blocks at random": (
        image_range(MIB, 4 * MIB, fault="drop", probability=0.3, seed=11), {"data_mismatch", "capacity_false"}),
    "loses the first MiB": (image_range(0, MIB, fault="drop"), {"marker_missing"}),
    "loses the image's first MiB, written last": (
        image_range(0, MIB, fault="drop", after=5 * MIB), {"data_mismatch"}),
    "ends in its last MiB": (
        image_range(CARD_BYTES - MIB, CARD_BYTES, fault="drop"), {"capacity_false", "wipe_incomplete"}),
    "wraps at half": ({"fault": "wrap", "capacity": CARD_BYTES // 2}, {"capacity_false"}),
    "wraps at an odd size": ({"fault": "wrap", "capacity": 20_000_123}, {"capacity_false"}),
    "wraps at an odd size behind a cache": (
        {"fault": "wrap", "capacity": 23_456_789, "cache": "6M"}, {"capacity_false", "marker_missing"}),
    "wraps at a size just above the image behind a cache": (
        {"fault": "wrap", "capacity": IMAGE_BYTES + 4096 * 3, "cache": "2M"},
        {"capacity_false", "marker_missing", "data_mismatch", "wipe_incomplete"}),
    "wraps at three quarters behind a cache": (
        {"fault": "wrap", "capacity": 24 * MIB, "cache": "8M"}, {"capacity_false", "marker_missing"}),
    "gives zeros beyond an odd size": ({"fault": "limbo", "capacity": 17_000_001}, {"capacity_false"}),
    "gives zeros beyond an odd size behind a cache": (
        {"fault": "limbo", "capacity": 17_000_001, "cache": "4M"}, {"capacity_false"}),
    "gives zeros beyond half of the image": (
        {"fault": "limbo", "capacity": 2 * MIB + 123}, {"capacity_false", "data_mismatch"}),
    "shows for ever what it held": ({"fault": "old"}, {"capacity_false"}),
    "shows for ever what it held behind a cache": ({"fault": "old", "cache": "4M"},
                                                   {"capacity_false", "data_mismatch", "wipe_incomplete"}),
    "reads as zeros": ({"fault": "zeros"}, {"capacity_false"}),
    "reads as zeros in one sector": (image_range(3 * MIB, 3 * MIB + 512, fault="zeros"),
                                     {"data_mismatch", "capacity_false"}),
    "has a bit stuck at one": ({"fault": "stuck", "offset": 2 * MIB + 4096 + 77, "mask": 0xFF, "value": 1},
                               {"data_mismatch"}),
    "has a bit stuck at zero": ({"fault": "stuck", "offset": 3 * MIB + 8192 + 9, "mask": 0xFF, "value": 0},
                                {"data_mismatch"}),
    "flips a bit in every read": ({"fault": "flip", "on": "read", "offset": 2 * MIB + 4099}, {"data_mismatch"}),
    "fails to write in the image": (image_range(3 * MIB, 3 * MIB + 4096, fault="error", on="write"),
                                    {"write_error", "read_error"}),
    "fails to write at its end": (image_range(CARD_BYTES - 4096, CARD_BYTES, fault="error", on="write"),
                                  {"write_error"}),
    "fails to write once and is fine then": (
        image_range(3 * MIB, 3 * MIB + 4096, fault="error", on="write", times=1), {"write_error"}),
    "fails to read in the image": (image_range(2 * MIB, 2 * MIB + 512, fault="error", on="read"), {"read_error"}),
    "fails to read once and is fine then": (
        image_range(3 * MIB, 3 * MIB + 512, fault="error", on="read", times=1), {"read_error"}),
    "fails to read behind the image": (image_range(20 * MIB, 20 * MIB + 512, fault="error", on="read"),
                                       {"read_error"}),
    "fails to flush": ({"fault": "error", "on": "flush"}, {"write_error"}),
    "fails to flush once": ({"fault": "error", "on": "flush", "nth": 2}, {"write_error"}),
    "becomes read-only in the image": ({"fault": "protect", "after": 3 * MIB + 500_000}, {"write_error"}),
    "is gone in the image": ({"fault": "gone", "after": 3 * MIB + 500_000}, {"write_error", "read_error"}),
}


def job_on_a_liar(programs, faults, env=None):
    """One job on a practice card of its own, full of something old: (report, whether the medium is unchanged)."""
    with WriterBench(programs) as bench, PracticeCard(CARD_BYTES) as card:
        fill(card)
        reader = bench.insert(card)
        before = sha256_of(card.backing)
        for fault in faults:
            card.control(fault)
        report = bench.run(reader, bench.image(IMAGE_BYTES, seed=len(faults)), env=env)
        return report, sha256_of(card.backing) == before


@pytest.fixture(scope="module")
def side_by_side(request, programs, shim):
    """The jobs of all chosen tests that only look at what comes out, several at a time: many of them wait."""
    jobs = {"test_a_card_never_passes_that": lambda name: job_on_a_liar(programs, [LIES[name][0]]),
            "test_the_verdict_is_right_under": lambda name: job_on_a_liar(programs, [], shimmed(shim, SHIMS[name][0])),
            "test_the_guard_refuses": lambda name: run_guarded(programs, name),
            "test_a_card_is_written_without_the_check_for":
                lambda name: run_guarded(programs, name, GUARD[name].without)}
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        results = {}
        for item in request.session.items:
            if item.module is request.module and item.originalname in jobs:
                name = item.callspec.params["name"]
                results[item.originalname, name] = pool.submit(jobs[item.originalname], name)
        yield results


@pytest.fixture
def outcome(request, side_by_side):
    """What the job of this test gave."""
    return side_by_side[request.node.originalname, request.node.callspec.params["name"]].result()


@pytest.mark.parametrize("name", LIES)
def test_a_card_never_passes_that(outcome, name):
    report, _ = outcome
    word, reason = verdict_of(report)
    assert reason in LIES[name][1] and report["detail"], report
    # What the guard itself cannot read it does not let through.
    assert word == "failed" or (word, reason) == ("refused", "read_error"), report


@pytest.mark.parametrize("offset", [
    0, 1, 445, 511, 512, 4095, 65535, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 3 * MIB + 1234, 4 * MIB - 1, 4 * MIB,
    LAST_OF_IMAGE, LAST_OF_IMAGE + 1, CARD_BYTES - MIB + 5000, CARD_BYTES - 1])
def test_a_bit_that_flips_on_the_way_in_is_found_wherever_it_is(rack, liar, offset):
    card, reader = liar
    card.control({"fault": "flip", "on": "write", "offset": offset, "mask": 1 << offset % 8})
    report = rack.run(reader, rack.image(IMAGE_BYTES, seed=offset & 0xFF))
    word, reason = verdict_of(report)
    assert word == "failed", report
    assert reason in {"data_mismatch", "wipe_incomplete", "capacity_false", "marker_missing"}, report
    if reason == "data_mismatch":
        assert report["firstBadOffset"] == offset and report["badBlocks"] == 1


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [100, 2 * MIB + 4096 + 3, 30 * MIB])
def test_a_read_that_lies_once_is_never_taken_for_the_card(rack, liar, offset, nth):
    """A transient lie may be answered by a rewrite, which is recorded; the medium itself must then be right."""
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    card.control({"fault": "flip", "on": "read", "offset": offset, "nth": nth})
    report = rack.run(reader, image)
    word, reason = verdict_of(report)
    assert word == "passed" or reason in {"data_mismatch", "marker_missing", "capacity_false"}, report
    if word == "passed":
        assert image.on_card(card)


def test_a_write_that_lies_once_is_written_again_and_recorded(rack, liar):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    card.control({"fault": "flip", "on": "write", "offset": 3 * MIB + 5000, "nth": 1})
    report = rack.run(reader, image)
    # The offset is written first by the image: neither marker nor wipe come there.
    assert verdict_of(report) == ("passed", None) and report["rewrites"] == 1, report
    assert image.on_card(card)


def test_a_failed_card_carries_a_marker_and_neither_boot_code_nor_table(rack, liar):
    card, reader = liar
    card.control({"fault": "stuck", "offset": 3 * MIB + 17, "mask": 0xFF, "value": 1})
    writer = rack.ask(reader, rack.image(IMAGE_BYTES))
    assert verdict_of(writer.report()) == ("failed", "data_mismatch")
    assert marker_of(card) == {"job": writer.job, "state": "failed", "reason": "data_mismatch"}
    assert not any(bytes_at(card, 512, MIB - 512))
    card.control({"do": "clear"})
    report = rack.run(reader, rack.image(IMAGE_BYTES))
    assert verdict_of(report) == ("passed", None)
    assert report["foundMarker"] == writer.job and report["foundMarkerFailed"]


def test_while_a_job_runs_the_card_holds_no_boot_code(slow):
    card, begin = slow
    writer = begin()
    for phase in ("wiping", "writing", "verifying"):
        writer.wait_phase(phase)
        if phase != "verifying":
            assert marker_of(card) == {"job": writer.job, "state": "unfinished", "reason": ""}
            assert bytes_at(card, 510, 2) == b"\0\0"
    assert verdict_of(writer.report()) == ("passed", None)


def test_a_dead_card_that_shows_yesterdays_identical_image_does_not_pass(rack, liar):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    assert verdict_of(rack.run(reader, image)) == ("passed", None)
    card.control({"fault": "old"})
    assert verdict_of(rack.run(reader, image)) == ("failed", "capacity_false")


@pytest.mark.parametrize("shown, reason", [(4 * MIB, "card_changed"), (512, "card_changed")])
@pytest.mark.parametrize("phase", ["writing", "verifying"])
def test_a_card_whose_size_changes_under_the_writer_is_another_card(slow, phase, shown, reason):
    card, begin = slow
    writer = begin()
    writer.wait_phase(phase)
    try:
        card.resize(shown)
        before = sha256_of(card.backing)
        assert verdict_of(writer.report()) == ("failed", reason)
    finally:
        writer.close()
        card.resize(0)
    assert phase == "writing" or sha256_of(card.backing) == before, "something was written after the card had changed"


# -- the C library lies -------------------------------------------------------------------------------

#: name: (environment, verdict)
SHIMS = {
    "a write that fails": ({"SHIM_WRITE_ERROR_AT": 3 * MIB + 5}, ("failed", "write_error")),
    "a write that fails in the first MiB": ({"SHIM_WRITE_ERROR_AT": 0}, ("failed", "write_error")),
    "a short write": ({"SHIM_WRITE_SHORT_AT": 2 * MIB + 5}, ("failed", "short_write")),
    "a short write of the marker": ({"SHIM_WRITE_SHORT_AT": 1}, ("failed", "short_write")),
    "a read that fails": ({"SHIM_READ_ERROR_AT": 2 * MIB}, ("failed", "read_error")),
    "a short read": ({"SHIM_READ_SHORT_AT": 2 * MIB}, ("failed", "read_error")),
    "a read that is stuck at what was there first": ({"SHIM_READ_STUCK_AT": 3 * MIB + 11 * 4096},
                                                     ("failed", "data_mismatch")),
    "an fsync that fails": ({"SHIM_FSYNC_ERROR": 1}, ("failed", "write_error")),
    "a later fsync that fails": ({"SHIM_FSYNC_ERROR": 3}, ("failed", "write_error")),
    "the last fsync that fails": ({"SHIM_FSYNC_ERROR": 5}, ("failed", "write_error")),
    "a kernel that refuses O_DIRECT": ({"SHIM_REFUSE_DIRECT": 1}, ("refused", "direct_refused")),
    "another sequence number at the writing descriptor": (
        {"SHIM_WRITER_SEQUENCE": 1}, ("refused", "sequence_mismatch")),
    "another sequence number in the middle": ({"SHIM_SEQUENCE_AFTER": 60}, ("failed", "card_changed")),
    "sectors of eight KiB": ({"SHIM_SECTOR": 8192}, ("refused", "sector_size_unsupported")),
}


@pytest.mark.parametrize("name", SHIMS)
def test_the_verdict_is_right_under(outcome, name):
    report, is_unchanged = outcome
    assert verdict_of(report) == SHIMS[name][1], report
    assert is_unchanged or verdict_of(report)[0] != "refused"


def test_the_shim_alone_harms_nothing(rack, liar, shim):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    assert verdict_of(rack.run(reader, image, env=shimmed(shim, {}))) == ("passed", None)
    assert image.on_card(card)


# -- each check, taken out ----------------------------------------------------------------------------

def same_image_before(rack, card, reader, image):
    """Yesterday's identical image is on the card."""
    assert verdict_of(rack.run(reader, image)) == ("passed", None)


@pytest.mark.parametrize("checks", HOLES)
def test_the_fault_slips_through_without(rack, liar, shim, checks):
    """With all checks the fault is found; without these ones the very same fault passes: they are what finds it."""
    card, reader = liar
    faults, settings, is_prepared, reason = HOLES[checks]
    image = rack.image(3 * MIB + 8000)
    if settings.get("SHIM_SEQUENCE_AFTER") == "all but the last":
        settings = {"SHIM_SEQUENCE_AFTER": sequence_questions(rack, reader, image, shim) - 1}
        fill(card)
    reports = []
    for without in ((), checks.split(",")):
        card.control({"do": "clear"})
        fill(card)
        if is_prepared:
            same_image_before(rack, card, reader, image)
        card.control({"do": "reset"})
        for fault in faults:
            card.control(fault)
        reports.append(rack.run(reader, image, env=shimmed(shim, settings), without=without))
    assert reports[0]["verdict"].get("reason") == reason, reports[0]
    assert verdict_of(reports[1]) == ("passed", None), reports[1]


@pytest.mark.parametrize("without, is_overwritten", [((), False), (["identityBeforeRequest"], True)])
def test_a_card_that_came_in_between_is_overwritten_only_without_the_look_before_each_request(
        rack, liar, shim, without, is_overwritten):
    """The look at the very end finds the exchange too, but then it is too late for the other card."""
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    report = rack.run(reader, image, env=shimmed(shim, {"SHIM_SEQUENCE_AFTER": 2}), without=without)
    assert verdict_of(report) == ("failed", "card_changed")
    assert (bytes_at(card, 2 * MIB, MIB) == image.data[2 * MIB:3 * MIB]) == is_overwritten


def test_without_o_direct_the_page_cache_would_answer_for_the_card(rack, liar, shim):
    """What O_DIRECT protects from: a bit that flips on its way to the card, and a read that the card never sees."""
    card, reader = liar
    card.control({"fault": "flip", "on": "write", "offset": 3 * MIB + 5000})
    image = rack.image(IMAGE_BYTES)
    assert verdict_of(rack.run(reader, image, env=shimmed(shim, {"SHIM_NO_DIRECT": 1}))) == ("passed", None)
    assert not image.on_card(card)
    # The cache of the test before must not answer for this one.
    subprocess.run(["blockdev", "--flushbufs", card.device], check=True)
    assert verdict_of(rack.run(reader, image)) == ("failed", "data_mismatch")


def test_changed_bytes_of_the_image_slip_through_without_hash(rack, liar):
    card, reader = liar
    image = rack.image(IMAGE_BYTES)
    other = hashlib.sha256(b"what was assigned").hexdigest()
    assert verdict_of(rack.run(reader, image, sha256=other)) == ("failed", "hash_mismatch")
    assert marker_of(card)["reason"] == "hash_mismatch"
    assert verdict_of(rack.run(reader, image, sha256=other, without=["hash"])) == ("passed", None)


# -- the guard ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", GUARD)
def test_the_guard_refuses(outcome, name):
    report, is_unchanged = outcome
    assert report["verdict"] == {"verdict": "refused", "reason": GUARD[name].reason}, report
    # The kernel itself may write to what it swaps to.
    assert is_unchanged or name == "swap"
    assert report["bytesWritten"] == 0 and report["detail"]


@pytest.mark.parametrize("name", [name for name in GUARD if GUARD[name].without])
def test_a_card_is_written_without_the_check_for(outcome, name):
    report, _ = outcome
    if GUARD[name].slips:
        assert verdict_of(report) == ("passed", None), report
    else:
        # The kernel stands behind this one: nothing passes.
        assert verdict_of(report)[0] in ("refused", "failed"), report


def test_a_dry_run_goes_through_the_guard_and_touches_nothing(own):
    with LoopCard(16 * MIB) as card:
        fill(card)
        before = sha256_of(card.backing)
        card.set_read_only(False)
        reader = own.insert(card)
        with WriteOpenings(own.bench.real(reader.device)) as openings:
            report = own.run(reader, own.image(), dry_run=True)
            assert verdict_of(report) == ("refused", "dry_run")
            assert report["cardByteCount"] == card.size
            assert sha256_of(card.backing) == before
            assert not openings.seen()
            # What would be seen.
            assert verdict_of(own.run(reader, own.image())) == ("passed", None)
            assert openings.seen()
        reader.unplug()


def test_a_disk_that_is_busy_for_a_moment_is_waited_for(own):
    with LoopCard(16 * MIB) as card:
        reader = own.insert(card)
        held = os.open(card.device, os.O_RDONLY | os.O_EXCL)
        timer = threading.Timer(0.7, os.close, [held])
        timer.start()
        assert verdict_of(own.run(reader, own.image())) == ("passed", None)
        timer.join()


# -- requests that no station sends -------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    "garbage", "empty object", "no descriptor", "two descriptors", "writable descriptor", "directory", "pipe",
    "block device", "version", "shorter image", "longer image", "zero bytes", "overlapping patches", "patch outside",
    "bad digest", "bad job"])
def test_a_request_that_makes_no_sense_is_refused_and_touches_nothing(rack, liar, change):
    card, reader = liar
    before = sha256_of(card.backing)
    image = rack.image(2 * MIB)
    writer = rack.start()
    options = {"disk": os.path.basename(reader.device), "sequence": card.diskseq, "byte_count": len(image.data),
               "sha256": image.sha256}
    with contextlib.ExitStack() as stack:
        def opened(path, flags=os.O_RDONLY):
            descriptor = os.open(path, flags)
            stack.callback(os.close, descriptor)
            return descriptor

        plain = opened(image.path)
        options["image"] = plain
        if change == "garbage":
            writer.send(b"\xff not json", [plain])
        elif change == "empty object":
            writer.send(b"{}", [plain])
        else:
            pipe = os.pipe()
            stack.callback(os.close, pipe[0])
            stack.callback(os.close, pipe[1])
            options |= {
                "no descriptor": {"descriptors": []}, "two descriptors": {"descriptors": [plain, plain]},
                "writable descriptor": {"image": opened(image.path, os.O_RDWR)},
                "directory": {"image": opened(rack.directory)}, "pipe": {"image": pipe[0]},
                "block device": {"image": opened(card.device)}, "version": {"version": 2},
                "shorter image": {"byte_count": len(image.data) + 1},
                "longer image": {"byte_count": len(image.data) - 1}, "zero bytes": {"byte_count": 0},
                "overlapping patches": {"patches": [{"offset": 10, "bytes": [1, 2, 3]}, {"offset": 12, "bytes": [1]}]},
                "patch outside": {"patches": [{"offset": len(image.data) - 1, "bytes": [1, 2]}]},
                "bad digest": {"sha256": "0" * 63}, "bad job": {"job": "../../etc/passwd"},
            }[change]
            writer.ask(**options)
        assert verdict_of(writer.report()) == ("refused", "content_invalid")
    writer.process.wait(5)
    assert sha256_of(card.backing) == before


def test_end_of_file_instead_of_a_request_ends_the_writer(rack):
    writer = rack.start()
    writer.hang_up()
    assert writer.process.wait(5) != 0


# -- the end of a job before its time -----------------------------------------------------------------

PHASES = ["probing", "wiping", "writing", "verifying"]


@pytest.mark.parametrize("phase", PHASES)
def test_end_of_file_stops_the_writer_within_a_second_at(slow, phase):
    card, begin = slow
    writer = begin()
    writer.wait_phase(phase)
    began = time.monotonic()
    writer.hang_up()
    writer.process.wait(5)
    assert time.monotonic() - began < 1.0
    assert marker_of(card) == {"job": writer.job, "state": "unfinished", "reason": ""}
    assert bytes_at(card, 510, 2) == b"\0\0"


@pytest.mark.parametrize("phase", PHASES)
def test_cancel_is_heard_at(slow, phase):
    card, begin = slow
    writer = begin()
    writer.wait_phase(phase)
    began = time.monotonic()
    writer.cancel()
    assert verdict_of(writer.report()) == ("cancelled", None)
    assert time.monotonic() - began < 1.5
    assert writer.process.wait(5) == 0
    assert marker_of(card) == {"job": writer.job, "state": "cancelled", "reason": ""}
    assert bytes_at(card, 510, 2) == b"\0\0"


def is_over(process):
    """Whether a process has left: gone, or a leader that waits for a thread which the kernel still holds."""
    if process.poll() is not None:
        return True
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] in "ZX"


@pytest.mark.parametrize("operation, start", [("write", 2 * MIB), ("read", 3 * MIB)])
def test_end_of_file_stops_a_writer_whose_request_hangs(rack, liar, operation, start):
    card, reader = liar
    card.control(image_range(start, start + MIB, fault="hang", on=operation))
    writer = rack.ask(reader, rack.image(IMAGE_BYTES))
    try:
        wait_until(lambda: card.state()["waiting"], what="the hang")
        began = time.monotonic()
        writer.hang_up()
        wait_until(lambda: is_over(writer.process), 5, "the writer's end")
        assert time.monotonic() - began < 1.2
    finally:
        card.control({"do": "release"})
    writer.process.wait(5)
    # What was under way may arrive; nothing new was begun, and above all not the image's first MiB.
    assert marker_of(card)["state"] == "unfinished"


def test_a_writer_whose_request_hangs_says_how_long_it_has_been_silent(rack, liar):
    card, reader = liar
    card.control(image_range(2 * MIB, 3 * MIB, fault="hang", on="write"))
    writer = rack.ask(reader, rack.image(IMAGE_BYTES))
    try:
        wait_until(lambda: card.state()["waiting"], what="the hang")
        writer.wait_silence(1.2)
        assert all(after - before < 0.5 for before, after in zip(writer.arrivals[1:], writer.arrivals[2:]))
        writer.cancel()
    finally:
        card.control({"do": "release"})
    assert verdict_of(writer.report()) == ("cancelled", None)


def test_end_of_file_while_the_guard_waits_ends_the_writer_within_a_second(own):
    with LoopCard(16 * MIB) as card:
        reader = own.insert(card)
        held = os.open(card.device, os.O_RDONLY | os.O_EXCL)
        try:
            writer = own.ask(reader, own.image())
            writer.wait_silence(0.4)
            began = time.monotonic()
            writer.hang_up()
            writer.process.wait(5)
            assert time.monotonic() - began < 1.0
        finally:
            os.close(held)


def test_cancel_while_the_guard_waits_writes_nothing(own):
    with LoopCard(16 * MIB) as card:
        fill(card)
        before = sha256_of(card.backing)
        reader = own.insert(card)
        held = os.open(card.device, os.O_RDONLY | os.O_EXCL)
        writer = own.ask(reader, own.image())
        writer.wait_silence(0.4)
        writer.cancel()
        os.close(held)
        assert verdict_of(writer.report()) == ("cancelled", None)
        assert sha256_of(card.backing) == before


def test_a_guard_that_hangs_on_the_card_does_not_outlive_its_station(own):
    with PracticeCard(16 * MIB) as card:
        reader = own.insert(card)
        card.control({"fault": "hang", "on": "read"})
        writer = own.ask(reader, own.image())
        wait_until(lambda: card.state()["waiting"], what="the hang")
        began = time.monotonic()
        writer.hang_up()
        wait_until(lambda: is_over(writer.process), 5, "the writer's end")
        assert time.monotonic() - began < 1.2
        card.control({"do": "release"})
        writer.process.wait(5)


# -- the process itself -------------------------------------------------------------------------------

def test_the_writer_closes_every_door_before_it_writes(slow):
    card, begin = slow
    writer = begin()
    writer.wait_phase("probing")
    threads = os.listdir(f"/proc/{writer.program_id}/task")
    assert len(threads) >= 2
    for thread in threads:
        with open(f"/proc/{writer.program_id}/task/{thread}/status", encoding="ascii") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1", status["Name"]
    writer.cancel()
    assert verdict_of(writer.report()) == ("cancelled", None)


@pytest.mark.parametrize("seccomp", [True, False], ids=["by seccomp", "by Landlock alone"])
def test_an_open_writer_gets_at_no_file(rack, liar, shim, tmp_path, seccomp):
    """Seen from inside: with everything on it is seccomp that says EPERM; without it, Landlock says EACCES."""
    card, reader = liar
    if not seccomp and not landlock_version():
        pytest.fail("this kernel has no Landlock: run the tests where there is one")
    ways = ["read", "write", "create", "disk", "truncate", "link", "rename", "unlink", "directory", "node"]
    for when in ("before", "after"):
        for way in ("read", "write", "truncate", "link", "rename", "unlink"):
            (tmp_path / f"try.{when}.{way}").write_text("something")
    answer = tmp_path / "answer"
    answer.touch()
    with open(tmp_path / "errors", "wb") as errors:
        report = rack.run(reader, rack.image(2 * MIB), stderr=errors, env=shimmed(shim, {
            "SHIM_TRY_FILES": str(tmp_path / "try"), "SHIM_REPORT_TO": str(answer),
            **({} if seccomp else {"SHIM_NO_SECCOMP": 1})}))
    assert verdict_of(report) == ("passed", None)
    lacking = [name for name, is_there in (("landlock", landlock_version()), ("seccomp", seccomp)) if not is_there]
    words = f"station-writer: this kernel has no {', '.join(lacking)}; see SAFETY.md\n" if lacking else ""
    assert (tmp_path / "errors").read_text() == words
    told = dict(line.rsplit(" ", 1) for line in answer.read_text().splitlines())
    # The same calls, before the doors were closed: it could have.
    assert {way: told[f"before {way}"] for way in ways} == dict.fromkeys(ways, "0")
    expected = dict.fromkeys([*ways, "execute"], str(errno.EPERM if seccomp else errno.EACCES))
    if not seccomp and landlock_version() < 3:
        expected["truncate"] = "0"  # a right of its own only since Linux 6.2; seccomp is there for that
    assert {way: told[f"after {way}"] for way in expected} == expected


def landlock_version():
    """Of the kernel's Landlock; 0 without it."""
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


@pytest.mark.parametrize("limit", range(4, 13))
def test_a_writer_that_can_open_hardly_any_files_comes_to_an_end(own, limit):
    with LoopCard(8 * MIB) as card:
        image = own.image()
        writer = own.ask(own.insert(card), image, wrapper=["prlimit", f"--nofile={limit}"])
        try:
            report = writer.report(20)
        except AssertionError:
            # Without a word is an end as well, that the station knows of; to go on saying that it works is none.
            writer.process.wait(5)
        else:
            assert verdict_of(report)[0] != "passed" or image.on_card(card)


def test_the_writer_holds_the_disk_exclusively_while_it_works(slow):
    card, begin = slow
    writer = begin()
    writer.wait_phase("writing")
    with pytest.raises(OSError):
        os.close(os.open(card.device, os.O_RDONLY | os.O_EXCL))
    writer.cancel()
    assert verdict_of(writer.report()) == ("cancelled", None)


def test_memory_stays_within_24_mib_and_progress_comes_twice_a_second(slow):
    card, begin = slow
    writer = begin()
    peak = 0
    while True:
        message = writer.receive()
        if "ended" in message:
            break
        with contextlib.suppress(FileNotFoundError, KeyError):
            peak = max(peak, int(writer.status()["VmHWM"].split()[0]))
    assert verdict_of(message["ended"]["_0"]) == ("passed", None)
    assert 0 < peak <= 24 * 1024
    assert max(after - before for before, after in zip(writer.arrivals, writer.arrivals[1:])) < 0.5
    seen = [each["progress"]["_0"] for each in writer.messages if "progress" in each]
    assert [one["bytesDone"] for one in seen] == sorted(one["bytesDone"] for one in seen)
    assert {one["phase"] for one in seen} >= {"wiping", "verifying"}
