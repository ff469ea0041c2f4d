"""Who takes cards for their own, awake: they keep off cards in slots, and do for any other stick what they are there for."""
import subprocess

import dirty_card
import machine as bench
import pytest
from guest_station import MMC, begins_with, one_partition, verdict

#: What a file browser would list: the file systems that udisks would mount for somebody.
SHOWN = "udisksctl dump | grep -c 'org.freedesktop.UDisks2.Filesystem:' || true"


@pytest.fixture
def automounter(machine):
    """udisks2 and udiskie, which mounts what udisks shows it."""
    machine.run("systemctl start udisks2.service", timeout=120)
    daemon = machine.start("exec udiskie --automount --no-notify --no-tray --no-file-manager")
    yield
    daemon.stop()
    machine.run("findmnt -nlo TARGET | grep ^/media/ | xargs -r umount; systemctl stop udisks2.service")


def fat_card(path, label):
    """A card as a camera leaves it: a partition with a file system that any desktop mounts on sight."""
    with path.open("r+b") as file:
        file.seek(440)
        file.write(one_partition(32, 0x0C))
    mkfs = bench.tool("mkfs.vfat", "dosfstools")
    subprocess.run([mkfs, "-n", label, "--offset=2048", path, str(31 * 1024)], check=True, capture_output=True)
    return path


def mounts(machine):
    return machine.run("findmnt --noheadings --list --types vfat --output SOURCE,LABEL", check=False).stdout


def test_an_automounter_never_touches_a_card_in_a_slot_and_still_mounts_a_stick_elsewhere(
        station, machine, automounter, new_card, images):
    card, sd, stick = (fat_card(new_card(32), label) for label in ("CARD", "SDCARD", "STICK"))
    station.declare({"sd": (MMC, "mmc")})
    station.ctl("disarm", "slot1", "sd")
    shown = int(machine.run(SHOWN).stdout)
    reader = machine.usb_insert(1, card)
    machine.mmc_insert(sd)
    for name in ("slot1", "sd"):
        station.wait_state(name, "waiting")
    # It works off what it hears in order: when it has mounted the stick, it has passed the cards by.
    other = machine.usb_insert(5, stick)
    bench.wait_until(lambda: "STICK" in mounts(machine), 120, "the stick to be mounted", interval=0.5)
    mounted = mounts(machine)
    assert "CARD" not in mounted, mounted
    assert int(machine.run(SHOWN).stdout) == shown + 1
    # A job as ever while it is awake, and nothing of it is mounted after.
    for name, image in (("slot1", "image-a"), ("sd", "image-b")):
        station.ctl("assign", name, "--image", image)
    for name in ("slot1", "sd"):
        station.ctl("flash", name)
    for name in ("slot1", "sd"):
        assert verdict(station.wait_verdict(name)) == "passed", name
    assert mounts(machine) == mounted
    machine.run(f"umount /dev/{other.wait_disk()}1")
    machine.usb_remove(reader)
    machine.mmc_remove()
    for name in ("slot1", "sd"):
        station.wait_state(name, "absent")
    station.undeclare("sd")
    assert begins_with(card, images["image-a"]) and begins_with(sd, images["image-b"])


#: A host where multipathd takes any disk for a path, as one with a storage network does; but for its own system disk.
GREEDY = """
defaults {{
    find_multipaths greedy
}}
blacklist {{
    devnode "^{system}"
}}
blacklist_exceptions {{
    property ".*"
}}
"""


@pytest.fixture
def multipath(machine):
    """multipathd, which takes two readers with one serial number for two ways to one disk."""
    system = machine.run("findmnt -no SOURCE /").stdout.strip().removeprefix("/dev/")
    machine.put(GREEDY.format(system=system).encode(), "/etc/multipath.conf", mode=0o644)
    machine.run("modprobe dm-multipath && systemctl start multipathd.service", timeout=120)
    yield
    machine.run("multipath -F; systemctl stop multipathd.service multipathd.socket; rm /etc/multipath.conf")


def maps(machine):
    """The disks that device-mapper, md or LVM hold, or a partition of them."""
    return {path.split("/")[3] for path in machine.glob("/sys/block/sd*/holders/*") + machine.glob("/sys/block/sd*/sd*/holders/*")}


@pytest.fixture
def dirty_cards(machine, tmp_path):
    """Three cards full of RAID and LVM, made before anybody is awake who would claim them meanwhile."""
    cards = {name: tmp_path / f"{name}.img" for name in ("one", "two", "stray")}
    for card in cards.values():
        dirty_card.dirty_card(card, 512, machine=machine)
    return cards


@pytest.mark.nightly
def test_md_and_lvm_claim_no_card_in_a_slot_and_do_elsewhere_with_multipathd_awake(
        station, machine, dirty_cards, automounter, multipath, images):
    # Elsewhere it is claimed on sight, which shows that the others could have been: by md and LVM. multipathd is awake, and did
    # not want a reader of this machine's so far: of it this test shows only that it does no harm.
    dirty = machine.usb_insert(5, dirty_cards["stray"]).wait_disk()
    bench.wait_until(lambda: dirty in maps(machine), 90, "the stray card to be claimed", interval=0.5)
    print(machine.run(f"lsblk -o NAME,TYPE /dev/{dirty}").stdout)
    # Two equal readers, serial number and all: two ways to one disk, to whom looks at names.
    readers = [machine.usb_insert(port, dirty_cards[name], serial="the-same") for port, name in ((1, "one"), (2, "two"))]
    for name in ("slot1", "slot2"):
        assert verdict(station.wait_verdict(name, timeout=300)) == "passed", name
    machine.run("udevadm settle")
    assert maps(machine) == {dirty}
    for reader in readers:
        machine.usb_remove(reader)
    assert begins_with(dirty_cards["one"], images["image-a"]) and begins_with(dirty_cards["two"], images["image-b"])
    machine.run("findmnt -nlo TARGET | grep ^/media/ | xargs -r umount", check=False)
