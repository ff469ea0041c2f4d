"""Readers of every kind in front of a whole station: many equal ones, SD hosts, several places for cards in one, false words."""

import contextlib

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import CallFailed, PracticeStation, wait_until
from test_station import IMAGE_BYTES, SLOW, add_image, settle, verdict_of, verdicts
from writer_bench import MIB, bytes_at, pattern, sha256_of

SD_HOST = "platform/soc/fe340000.mmc"


@pytest.fixture
def bare(programs):
    """A station that was not started yet, with nothing declared."""
    with PracticeStation(programs) as station:
        yield station


def begin(station, *slots):
    """Starts a station and arms slots with `image1`."""
    station.start()
    add_image(station, "image1")
    station.call("Assign", slots=list(slots), image="image1")


# -- many ---------------------------------------------------------------------------------------------

def test_sixteen_equal_readers_each_write_the_image_of_their_own_slot(bare):
    # One serial number for all, as cheap readers have it, on hubs of hubs.
    ports = [f"{hub}.{inner}.{port}" for hub in (1, 2) for inner in (1, 4) for port in (1, 2, 3, 4)]
    slots = {f"slot{number}": port for number, port in enumerate(ports, start=1)}
    for name, port in slots.items():
        bare.declare(name, port)
    bare.start()
    images = {"even": add_image(bare, "even", seed=1), "odd": add_image(bare, "odd", seed=2)}
    of_slot = {name: "odd" if number % 2 else "even" for number, name in enumerate(slots, start=1)}
    for image in images:
        bare.call("Assign", slots=[name for name in slots if of_slot[name] == image], image=image)
    with contextlib.ExitStack() as stack:
        cards = {name: stack.enter_context(LoopCard(4 * MIB)) for name in slots}
        # In another order than they were declared, so that no disk name follows its slot.
        for name in reversed(slots):
            bare.bench.insert(slots[name], cards[name], name, serial="000000000001")
        seen = {name: bare.wait_for_state(name, "passed", "failed", "refused", seconds=180)["state"] for name in slots}
        assert seen == dict.fromkeys(slots, "passed")
        for name, card in cards.items():
            assert bytes_at(card, 0, IMAGE_BYTES) == images[of_slot[name]], name
        jobs = {job["slot"]: job for job in bare.history()}
        assert {name: jobs[name]["deviceSequence"] for name in slots} == {
            name: card.diskseq for name, card in cards.items()}
        assert len(bare.history()) == 16 and bare.bench.lost == 0


# -- several places for cards in one reader -----------------------------------------------------------

def test_each_logical_unit_is_a_slot_and_none_disturbs_another(bare):
    for lun in range(4):
        bare.declare(f"lun{lun}", "3", lun=lun, luns=4)
    begin(bare, "lun*")
    reader = bare.bench.plug("3", [None] * 4, slots={lun: f"lun{lun}" for lun in range(4)})
    for lun in range(4):
        assert bare.wait_for_state(f"lun{lun}", "empty")
    with PracticeCard(8 * MIB, **SLOW) as slow, LoopCard(8 * MIB) as quick:
        reader.media_change(slow, 1)
        bare.wait_for_phase("lun1", "writing")
        # Cards come and go beside it, and the reader says so more often than is true.
        reader.media_change(quick, 3)
        for _ in range(50):
            reader.change(0, DISK_MEDIA_CHANGE="1")
            reader.change(2)
        assert bare.wait_for_state("lun3", "passed", "failed")["state"] == "passed"
        reader.media_change(None, 3)
        assert bare.wait_for_state("lun3", "empty")
        assert bare.wait_for_state("lun1", "passed", "failed", "refused")["state"] == "passed"
        assert {bare.slot(name)["state"] for name in ("lun0", "lun2")} == {"empty"}
        assert sorted(verdicts(bare)) == [("passed", None, "insertion")] * 2
        assert bytes_at(slow, 0, IMAGE_BYTES) == bytes_at(quick, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)


def test_a_reader_that_shows_fewer_logical_units_than_declared_is_refused(bare):
    bare.declare("lun0", "3", lun=0, luns=4)
    begin(bare, "lun0")
    with LoopCard(8 * MIB) as card:
        bare.bench.plug("3", [card, None], slots={0: "lun0"})
        seen = bare.wait_for_state("lun0", "refused", "passed", "failed")
        assert (seen["state"], seen["reason"]) == ("refused", "reader_changed")
        assert not any(bytes_at(card, 0, MIB))


@pytest.mark.parametrize("stale, state, reason", [
    (0, "empty", None), (MIB // 2, "refused", "card_too_small"), (64 * MIB, "refused", "card_too_large")])
def test_a_reader_that_gives_a_stale_size_after_a_swap_is_believed_when_it_has_looked(bare, stale, state, reason):
    bare.declare("slot1", "2", MaximumSize="32M")
    begin(bare, "slot1")
    reader = bare.bench.plug("2", [None], slots={0: "slot1"})
    assert bare.wait_for_state("slot1", "empty")
    with LoopCard(8 * MIB) as card:
        disk = reader.disks[0]
        disk.set_card(card)
        disk.device.set("size", stale // 512)
        disk.device.event("change", {"DISK_MEDIA_CHANGE": "1"})
        settle(bare)
        seen = bare.wait_for_state("slot1", state, "running", "passed", "failed")
        assert (seen["state"], seen.get("reason")) == (state, reason)
        assert not any(bytes_at(card, 0, MIB))
        disk.device.set("size", card.size // 512)
        disk.device.event("change", {"RESIZE": "1"})
        assert bare.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        assert verdicts(bare) == [("passed", None, "insertion")]
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)


# -- SD hosts -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("port", [None, "4"], ids=["platform", "usb"])
def test_an_sd_host_is_the_same_slot_whatever_card_is_in_and_says_which_one_it_was(bare, port):
    if port:
        bare.declare("sd", port, reader="0bda:0129")
    else:
        bare.declare("sd", controller=SD_HOST)
    begin(bare, "sd")
    for number in range(2):
        number_of_card = f"{number:x}" * 32
        with LoopCard(8 * MIB) as card:
            # Another card has another number on the bus, and drivers that came up in another order have others too.
            host = bare.bench.plug_sd_host(card, port, controller=None if port else SD_HOST, slot="sd",
                                           card_id=number_of_card, address=f"000{number}", counter=number)
            seen = bare.wait_for_state("sd", "passed", "failed", "refused")
            assert seen["state"] == "passed" and seen["card"]["cardID"] == number_of_card, seen
            assert bare.history()[0]["report"]["cardID"] == number_of_card
            assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1)
            host.unplug()
            assert bare.wait_for_state("sd", "absent")
    assert verdicts(bare) == [("passed", None, "insertion")] * 2


@pytest.mark.parametrize("port", [None, "4"], ids=["platform", "usb"])
@pytest.mark.parametrize("allowed, kind, is_taken", [
    (None, "MMC", False), ("MMC", "MMC", True), ("MMC", "SD", False), ("any", "MMC", True), ("any", "SDIO", False)])
def test_a_soldered_chip_is_no_card_unless_the_slot_says_so_and_its_boot_partitions_never_are(
        bare, port, allowed, kind, is_taken):
    keys = {"CardType": allowed} if allowed else {}
    if port:
        bare.declare("chip", port, reader="0bda:0129", **keys)
    else:
        bare.declare("chip", controller=SD_HOST, **keys)
    begin(bare, "chip")
    with LoopCard(8 * MIB) as card:
        before = sha256_of(card.backing)
        host = bare.bench.plug_sd_host(card, port, controller=None if port else SD_HOST, slot="chip", kind=kind)
        seen = bare.wait_for_state("chip", "passed", "failed", "refused")
        part = host.add_hardware_partition()
        settle(bare, "chip")
        if is_taken:
            assert seen["state"] == "passed" and bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES, 1), seen
        else:
            assert (seen["state"], seen["reason"]) == ("refused", "card_type_not_allowed")
            assert sha256_of(card.backing) == before
            with pytest.raises(CallFailed):
                bare.call("Flash", slot="chip")
        assert bare.slot("chip")["state"] == seen["state"] and len(bare.history()) == int(is_taken)
        for path in (host.disks[0].device.path, part.path):
            said = bare.bench.spawn(
                [f"{bare.programs}/stationctl", "slot", "match", "--udev", path.removeprefix("/sys"), "--slots-dir",
                 f"{bare.config}/slots.d"], stdout=-1, text=True).communicate(timeout=30)[0]
            assert said == ("STATION_SLOT=chip\n" if path != part.path else ""), path


# -- two sides of one port ----------------------------------------------------------------------------

def test_a_reader_at_the_other_speed_class_of_its_port_is_told_of_once_and_never_written(bare):
    # Port 2 of the USB 2 root hub is port 7 of the USB 3 one.
    bare.declare("slot1", "7.1", speed=5000)
    begin(bare, "slot1")
    with LoopCard(8 * MIB) as card:
        reader = bare.bench.insert("2.1", card, speed=480)
        wait_until(lambda: "came up as USB 2 (480 Mbit/s)" in bare.journal(), what="the line")
        reader.change()
        reader.duplicate_add()
        slot = settle(bare)
        assert slot["state"] == "absent" and slot["elsewhere"] == "usb 480 port 2.1 lun 0 at pci0000:00/0000:00:03.0"
        assert bare.journal().count("came up as USB 2") == 1 and "slot learn" not in bare.journal()
        gate = next(gate for gate in bare.call("Explain", slot="slot1")["gates"] if gate["gate"] == "reader")
        assert not gate["isOpen"] and "declared is USB 3 (5000 Mbit/s)" in gate["finding"]
        assert "slot relearn slot1" in gate["remedy"]
        said = bare.stationctl("status").stdout
        assert "reader is on another USB" in said and "its reader came up as USB 2" in said, said
        assert bare.history() == [] and not any(bytes_at(card, 0, MIB))
        reader.unplug()
        wait_until(lambda: "elsewhere" not in bare.slot("slot1"), what="the reader to be forgotten")
        bare.bench.insert("7.1", card, "slot1", speed=5000)
        assert bare.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
        assert "elsewhere" not in bare.slot("slot1")


def test_a_station_that_starts_says_so_of_a_reader_that_is_there_and_nothing_of_somebody_elses_stick(bare):
    bare.declare("slot1", "7", speed=5000)
    bare.declare("slot2", "6", speed=5000)
    bare.bench.insert("2", None, speed=480, quiet=True)
    bare.bench.insert("3", None, speed=480, vendor_id="0781", product_id="5581", quiet=True)
    bare.start()
    assert bare.slot("slot1")["elsewhere"] and "elsewhere" not in bare.slot("slot2")
    assert bare.journal().count("came up as USB 2") == 1


def test_a_word_about_the_disk_before_costs_the_one_that_is_there_no_job_and_a_word_about_itself_is_believed(bare):
    """udev may say that a disk is gone when everybody has seen the next one under its path."""
    bare.declare("slot1", "1")
    begin(bare, "slot1")
    with PracticeCard(64 * MIB, **SLOW) as card:
        reader = bare.bench.insert("1", card, "slot1")
        job = bare.wait_for_state("slot1", "running")["job"]["id"]
        disk = reader.disks[0].device
        disk.event("remove", {"DISKSEQ": str(card.diskseq - 1)})
        slot = bare.wait_for_state("slot1", "passed", "failed", "refused", "absent")
        assert (slot["state"], slot["job"]["id"]) == ("passed", job)
        disk.event("remove")
        bare.wait_for_state("slot1", "absent")
    assert len(bare.history()) == 1
