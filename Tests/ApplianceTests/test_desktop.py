"""A desktop's automounter, awake: it keeps off cards in slots, and does for any other stick what it is there for."""
import subprocess

import machine as bench
import pytest
from conftest import MMC, begins_with, one_partition, verdict

#: What a file browser would list: the file systems that udisks would mount for somebody.
SHOWN = "udisksctl dump | grep -c 'org.freedesktop.UDisks2.Filesystem:' || true"


@pytest.fixture
def automounter(machine):
    """udisks2 and udiskie, which mounts what udisks shows it."""
    machine.run("systemctl start udisks2.service", timeout=120)
    daemon = machine.start("exec udiskie --automount --no-notify --no-tray --no-file-manager")
    yield
    daemon.stop()
    machine.run("umount --all --types vfat; systemctl stop udisks2.service")


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
