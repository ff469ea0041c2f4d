"""The installed station in a whole machine: real systemd, udev, journald, real USB hot-plug."""
import hashlib
import pathlib

import dirty_card
import machine as bench
from guest_station import begins_with, verdict

GRUB = pathlib.Path("/usr/lib/grub-rescue/grub-rescue-usb.img")
PASSED = "9838f06f931a405cb6a0dc219b361a8e"


def test_a_card_full_of_raid_and_lvm_goes_in_and_a_verdict_comes_out(station, machine, new_card, tmp_path):
    station.learn("slot4", 4, new_card())
    station.import_image(GRUB, "grub-rescue")
    station.ctl("assign", "slot4", "--image", "grub-rescue")
    card = tmp_path / "dirty.img"
    facts = dirty_card.dirty_card(card, 512, machine=machine)
    began = station.now()

    reader = machine.usb_insert(4, card, id="dirty")
    slot = station.wait_state("slot4", "passed", "failed", "refused", timeout=180)
    assert slot["state"] == "passed", slot

    said = station.story(began, f"MESSAGE_ID={PASSED}")[0]
    assert said["STATION_SLOT"] == "slot4"
    assert said["STATION_VERDICT"] == "passed"
    assert said["STATION_IMAGE_SHA256"] == hashlib.sha256(GRUB.read_bytes()).hexdigest()
    assert said["STATION_CARD_BYTES"] == str(512 * 1024 * 1024)
    assert said["STATION_BYTES_WRITTEN"] == str(GRUB.stat().st_size)
    assert float(said["STATION_WRITE_SECONDS"]) > 0 and float(said["STATION_VERIFY_SECONDS"]) > 0
    record = station.history("--slot", "slot4")[0]
    assert record["id"] == said["STATION_JOB"]
    assert verdict(record["report"]) == "passed"
    assert not machine.glob("/sys/block/md*") and not machine.glob("/sys/block/dm-*")

    machine.usb_remove(reader)
    assert begins_with(card, GRUB)
    blank = new_card(512)
    with open(blank, "r+b") as file:
        file.write(GRUB.read_bytes())
    own = dirty_card.leftovers(blank, facts)
    assert [name for name in dirty_card.leftovers(card, facts) if name not in own] == []
    with bench.second_boot(card) as booted:
        booted.wait_text("*GNU/Linux")
        picture = booted.screendump(tmp_path / "menu.png")
        assert picture.read_bytes().startswith(b"\x89PNG")
    station.forget("slot4")


def test_two_slots_flash_two_images_at_the_same_time(station, machine, new_card, images):
    # As slow as cards are, so that neither is done before the other begins.
    cards = {"slot1": (1, new_card(12)), "slot2": (2, new_card(12))}
    readers = [machine.usb_insert(port, card, throttle_bps=10_000_000) for port, card in cards.values()]
    station.watch(lambda slots: all(slots[name]["state"] == "running" for name in cards), what="two jobs at one time")
    for reader in readers:
        machine.usb_throttle(reader, None)
    records = {}
    for name in cards:
        assert verdict(station.wait_verdict(name)) == "passed"
        records[name] = station.history("--slot", name)[0]
    begun = {name: record["startedAt"] for name, record in records.items()}
    ended = {name: begun[name] + record["report"]["totalSeconds"] for name, record in records.items()}
    assert max(begun.values()) < min(ended.values()), (begun, ended)
    for reader in readers:
        machine.usb_remove(reader)
    assert begins_with(cards["slot1"][1], images["image-a"])
    assert begins_with(cards["slot2"][1], images["image-b"])
