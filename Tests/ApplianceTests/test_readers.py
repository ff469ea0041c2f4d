"""Every kind of reader that this machine can have, each to a passed card; and a reader that came up as USB 2."""
import re

import pytest
from guest_station import GADGET, MMC, READER, begins_with, place, verdict

#: Slots beside slot1 to slot3: place and reader.
KINDS = {
    "highspeed": (place(1, "xhci2"), READER),
    "ehci": (place(2, "ehci"), READER),
    "big": (place(4), READER),
    "uas": (place(5), "46f4:0003 luns 1"),
    "deep": (place("4.1.2", "xhci2"), READER),
    "left": (place(6), "46f4:0001 luns 2"),
    "right": (place(6, lun=1), "46f4:0001 luns 2"),
    "sd": (MMC, "mmc"),
}
#: A card of a slot, or its reader, is refused; a slot's reader came up elsewhere.
CARD_REFUSED, ELSEWHERE = "0bd7874e8abf4c6b88f02aa5ebfbf01e", "b2a96cf79dd14aa2bb6a1b1a27d2bd26"


@pytest.fixture
def kinds(station, machine):
    """A slot for each of KINDS, and a hub in a hub: nine slots with slot1, all armed, without a card."""
    station.declare(KINDS)
    station.ctl("assign", *KINDS, "--image", "image-b")
    hubs = [machine.usb_hub(port) for port in ("4", "4.1")]
    yield KINDS
    machine.pull_all()
    for hub in reversed(hubs):
        machine.usb_hub_remove(hub)
    station.undeclare(*KINDS)


@pytest.mark.nightly
def test_readers_of_every_kind_flash_their_cards_at_one_time(station, machine, kinds, new_card, images):
    began = station.now()
    cards = {name: new_card(16) for name in ["slot1", *kinds]}
    # So slow that none is done before the last begins; in groups, for nine writers that start at once are a lot for two
    # emulated processors.
    slow = {"throttle_bps": 500_000}
    readers = []
    groups = [
        {"slot1": lambda card: machine.usb_insert(1, card, **slow),
         "highspeed": lambda card: machine.usb_insert(1, card, bus="xhci2", **slow),
         "ehci": lambda card: machine.usb_insert(2, card, bus="ehci", **slow)},
        {"big": lambda card: machine.usb_insert(4, card, logical_block_size=4096, **slow),
         "uas": lambda card: machine.usb_insert(5, card, kind="uas", **slow),
         "deep": lambda card: machine.usb_insert("4.1.2", card, bus="xhci2", **slow)},
        {"left": lambda card: machine.usb_insert_many(6, [card, cards["right"]], throttle_bps=1_000_000)},
    ]
    at_work = lambda slots, names: all(slots[name]["state"] in ("running", "stuck")
                                       and slots[name]["job"]["progress"]["phase"] != "guarding" for name in names)
    for group in groups:
        readers += [insert(cards[name]) for name, insert in group.items()]
        station.watch(lambda slots: at_work(slots, group), 180, f"{list(group)} to be at work")
    machine.mmc_insert(cards["sd"])
    station.watch(lambda slots: at_work(slots, cards), 180, "nine jobs at one time")
    for reader in readers:
        machine.usb_throttle(reader, None)
    disks = dict(zip(("slot1", "highspeed", "ehci", "big", "uas", "deep"), readers))
    sysfs = {name: reader.sysfs() for name, reader in disks.items()}
    assert re.search(r"/usb\d+/(\d+)-4/\1-4\.1/\1-4\.1\.2/\1-4\.1\.2:1\.0/", sysfs["deep"]), sysfs
    assert machine.read(f"{sysfs['big']}/queue/logical_block_size") == "4096"
    assert machine.realpath(f"{sysfs['uas']}/device/../../../driver").endswith("/uas"), sysfs
    assert machine.read(f"{sysfs['ehci']}/device/../../../../speed") == "480"
    assert {name: verdict(station.wait_verdict(name, timeout=300)) for name in cards} == dict.fromkeys(cards, "passed")
    # What an SD host knows of its card is in status, record and journal.
    number = machine.read("/sys/block/mmcblk0/device/cid")
    assert re.fullmatch("[0-9a-f]{32}", number)
    assert station.slot("sd")["card"]["cardID"] == station.history("--slot", "sd")[0]["report"]["cardID"] == number
    assert station.story(began, "STATION_SLOT=sd")[-1]["STATION_CARD_CID"] == number
    # Logical units that appear one after the other are no other reader.
    assert [entry["MESSAGE"] for entry in station.story(began, f"MESSAGE_ID={CARD_REFUSED}")] == []
    for reader in readers:
        machine.usb_remove(reader)
    machine.mmc_remove()
    station.watch(lambda slots: all(slots[name]["state"] == "absent" for name in cards), what="all to be pulled")
    for name, card in cards.items():
        assert begins_with(card, images["image-a" if name == "slot1" else "image-b"]), name


@pytest.mark.nightly
def test_readers_that_swap_their_ports_are_refused_unless_they_are_equal(station, machine, new_card, images):
    station.declare({"stick": (place(4), "46f4:0003 luns 1"), "pair": (place(5), "46f4:0001 luns 2")})
    station.ctl("assign", "stick", "pair", "--image", "image-b")
    # Three readers, each in the place of another: another product, two logical units for one, one for two.
    cards = {name: new_card(12) for name in ("slot1", "stick", "pair", "second")}
    readers = [machine.usb_insert(1, cards["slot1"], kind="uas"),
               machine.usb_insert(5, cards["pair"]),
               machine.usb_insert_many(4, [cards["stick"], cards["second"]])]
    for reader in readers:
        reader.wait_disks()
    slots = station.watch(lambda slots: all(slots[name]["state"] not in ("absent", "running") for name in
                                            ("slot1", "stick", "pair")) and slots, what="all to be judged")
    assert {name: (slots[name]["state"], slots[name]["reason"]) for name in ("slot1", "stick", "pair")} == dict.fromkeys(
        ("slot1", "stick", "pair"), ("refused", "reader_changed"))
    for reader in readers:
        machine.usb_remove(reader)
    for number, card in enumerate(cards.values()):
        content = card.read_bytes()
        assert content.rstrip(b"\0") == f"card {number}\n".encode(), card
    # Equal readers, serial number and all, are what is in the place: its image is written, whichever comes.
    for ports in ((1, 2), (2, 1)):
        pair = {port: new_card(12) for port in ports}
        readers = [machine.usb_insert(port, card, serial="the-same") for port, card in pair.items()]
        for name in ("slot1", "slot2"):
            assert verdict(station.wait_verdict(name)) == "passed"
        for reader in readers:
            machine.usb_remove(reader)
        station.watch(lambda slots: all(slots[name]["state"] == "absent" for name in ("slot1", "slot2")), what="both gone")
        assert begins_with(pair[1], images["image-a"]) and begins_with(pair[2], images["image-b"])
    station.undeclare("stick", "pair")


def test_an_sd_host_is_learnt_and_its_next_card_is_flashed_and_nobody_elses(station, machine, new_card, images):
    first, second = new_card(16), new_card(32)
    learning = machine.start("stationctl slot learn sd --yes 2>&1")
    learning.wait_output(r"[Ii]nsert a card", 60)
    machine.mmc_insert(first)
    assert learning.wait(120).rc == 0, learning.stdout
    assert f"Place={MMC}\nReader=mmc" in machine.read("/etc/flashing-station/slots.d/sd.slot")
    # Small cards are quick cards.
    machine.run("echo MinimumSize=10M >> /etc/flashing-station/slots.d/sd.slot && systemctl reload stationd.service")
    station.ctl("assign", "sd", "--image", "image-a")
    assert station.wait_state("sd", "waiting", "running", "passed")["state"] == "waiting"
    machine.mmc_remove()
    station.wait_state("sd", "absent")
    machine.mmc_insert(second)
    assert verdict(station.wait_verdict("sd")) == "passed"
    # The image's own partition, once the kernel has read the table: nobody's, and no device for systemd.
    machine.run("blockdev --rereadpt /dev/mmcblk0; udevadm settle")
    assert machine.run("stat -c '%U %G %a' /dev/mmcblk0 /dev/mmcblk0p1").stdout.split("\n")[:2] == [
        "root station-writer 660", "root root 600"]
    assert "SYSTEMD_READY=0" in machine.run("udevadm info /dev/mmcblk0p1").stdout
    machine.mmc_remove()
    station.wait_state("sd", "absent")
    station.forget("sd")
    assert begins_with(second, images["image-a"]) and first.read_bytes()[:5] == b"card "


def test_a_reader_that_comes_up_as_usb_2_in_a_usb_3_slot_is_told_of_and_left_alone(station, machine):
    path = "/var/tmp/slow.img"
    machine.run(f"truncate -s 12M {path}")
    one = GADGET.replace("luns 4", "luns 1")
    gadget = machine.gadget_create(1, name="twosided", speed="super", controller=1)
    try:
        station.declare({"fast": ("usb 5000 port 1 lun 0 at platform/dummy_hcd.1", one)})
        station.ctl("assign", "fast", "--image", "image-a")
        machine.gadget_insert(gadget, 0, path)
        assert verdict(station.wait_verdict("fast")) == "passed"
        machine.gadget_remove(gadget)
        station.wait_state("fast", "absent")
        machine.run(f"rm {path}; truncate -s 12M {path}")
        began = station.now()
        gadget = machine.gadget_create(1, name="twosided", speed="high", controller=1)
        disk = gadget.wait_disks()[0]
        machine.gadget_insert(gadget, 0, path)
        line = machine.wait_journal(f"MESSAGE_ID={ELSEWHERE}", where=lambda entry: int(
            entry["__MONOTONIC_TIMESTAMP"]) > began, timeout=60)
        assert line["STATION_SLOT"] == "fast" and line["STATION_DEVICE"] == disk
        assert "USB 2 (480 Mbit/s)" in line["MESSAGE"] and "slot relearn fast" in line["STATION_REMEDY"]
        slot = station.watch(lambda slots: slots["fast"].get("elsewhere") and slots["fast"], what="status to know")
        assert slot["state"] == "absent" and slot["elsewhere"].startswith("usb 480 port 1 lun 0 at")
        gates = [gate for gate in station.json("explain", "fast")["gates"] if gate["gate"] == "reader"]
        assert not gates[0]["isOpen"] and "USB 3 (5000 Mbit/s)" in gates[0]["finding"], gates
        assert "reader is on another USB" in station.ctl("status").stdout
        assert machine.run(f"tr -d '\\0' < {path} | wc -c").stdout.strip() == "0"
    finally:
        machine.gadget_remove(gadget)
        station.undeclare("fast")
