"""The host goes down with a card under way and comes up again, with a card in it that looks like its own system."""
import subprocess
import time

import machine as bench
import pytest
from guest_station import READER, begins_with, place, verdict

#: From `systemctl poweroff` to the power gone, in seconds of this host, with a card under way. The daemon gives up its job within
#: a second or two; the rest is systemd's, emulated.
SHUTDOWN_SECONDS = 40


@pytest.fixture
def twin(new_card, session_machine):
    """A card with a file system that bears the identity of the machine's own root."""
    card = new_card(12)
    uuid = session_machine.guest_facts["root_uuid"]
    subprocess.run([bench.tool("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-L", "bench-root", "-U", uuid, card],
                   check=True)
    return card


def root_of(machine):
    return machine.realpath(machine.run("findmnt -no SOURCE /").stdout.strip()).removeprefix("/dev/")


@pytest.mark.nightly
def test_a_poweroff_interrupts_a_job_in_time_and_the_card_is_done_again_after_boot(station, machine, new_card, images):
    finished = new_card(12)
    machine.usb_insert(2, finished)
    assert verdict(station.wait_verdict("slot2")) == "passed"
    card = new_card(12)
    reader = machine.usb_insert(1, card, throttle_bps=1_000_000)
    interrupted = station.wait_phase("slot1", "writing")["job"]["id"]
    began = time.monotonic()
    machine.power_off()
    seconds = time.monotonic() - began
    print(f"powered off in {seconds:.1f} s with a card under way")
    assert seconds < SHUTDOWN_SECONDS
    assert not begins_with(card, images["image-a"])
    reader.throttle_bps = None
    machine.boot()
    station.wait_state("slot1", "passed")
    jobs = station.history("--slot", "slot1")[:2]
    assert [(verdict(job["report"]), job["trigger"]) for job in jobs] == [("passed", "resumed"), ("interrupted", "insertion")]
    assert jobs[0]["report"]["foundMarker"] == jobs[1]["id"] == interrupted
    assert jobs[1]["report"]["detail"] == "the station was stopped", "recorded by the daemon itself, not found at its start"
    # The card that had its verdict is left alone.
    assert station.history("--slot", "slot2")[0]["bootID"] == jobs[1]["bootID"]
    machine.pull_all()
    assert begins_with(card, images["image-a"]) and begins_with(finished, images["image-b"])


@pytest.mark.nightly
def test_a_card_that_bears_the_identity_of_the_root_file_system_costs_the_system_disk_nothing(
        station, machine, twin, images, tmp_path):
    # Which of two file systems of one UUID is booted is the initramfs's to choose, whatever the station does; so that this test
    # is about the station, it is told by place. Everything that runs later still finds two.
    before = machine.kernel_arguments
    machine.kernel_arguments = "root=/dev/disk/by-path/pci-0000:00:05.0-usb-0:8:1.0-scsi-0:0:0:0"
    at_boot = tmp_path / "twin-at-boot.img"
    subprocess.run(["cp", "--sparse=always", twin, at_boot], check=True)
    try:
        # Hot-plugged: a card like any other.
        system = root_of(machine)
        reader = machine.usb_insert(1, twin)
        assert verdict(station.wait_verdict("slot1")) == "passed"
        assert root_of(machine) == system
        machine.usb_remove(reader)
        station.wait_state("slot1", "absent")
        assert begins_with(twin, images["image-a"])
        # In at boot, in a slot that takes what is in at boot.
        station.declare({"twin": (place(4), READER)}, "MinimumSize=10M\nAtBoot=write")
        station.ctl("assign", "twin", "--image", "image-b")
        machine.power_off()
        machine.usb_insert(4, at_boot)
        machine.boot()
        slot = station.wait_state("twin", "passed", "refused", "failed", "waiting")
        system, card = root_of(machine), slot["card"]["device"]
        print(f"booted from {system}, the card is {card}: {slot['state']} {slot.get('reason')}")
        assert not system.startswith(card)
        assert "-8/" in machine.realpath(f"/sys/class/block/{system}"), "the system is on the port of the system disk"
        # Whatever became of the card: the guard's own finding, never the system disk.
        assert slot["state"] == "passed" or slot["reason"] in ("device_busy", "device_mounted", "device_is_system_disk"), slot
        machine.pull_all()
        assert begins_with(at_boot, images["image-b"]) == (slot["state"] == "passed")
        assert machine.run("touch /root/alive && sync /root/alive").rc == 0
    finally:
        machine.kernel_arguments = before
        station.forget("twin")
