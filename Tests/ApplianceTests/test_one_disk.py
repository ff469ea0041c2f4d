"""The system disk is itself a USB disk: a writer writes the card in its slot, and nothing else, ever."""
import json
import pathlib

import machine as bench
import pytest
from guest_station import BENCH_CONFIGURATION, PROGRAMS, READER, begins_with, place, verdict

HERE = pathlib.Path(__file__).resolve().parent
#: What the guard looks at before it lets a disk through; the job's own checks stay.
GUARD = ("wholeDisk,place,ambiguity,reader,exclusive,nodeNumber,sequence,writeProtection,sizeLimits,contentFits,"
         "sectorSize,held,loop,swap,mounted,systemDisk,protectedLabel,condition,sequenceOfWriter")


@pytest.fixture
def ask(station):
    """`ask(slot, disk)`: what the writer of a slot says at last when it is told to write a disk."""
    machine = station.machine
    machine.put(HERE / "ask_writer.py", "/root/ask_writer.py", mode=0o755)

    def ask(slot, disk, *options):
        result = machine.run(["/root/ask_writer.py", slot, disk, "/mnt/share/image-a.img", *options], timeout=60)
        return json.loads(result.stdout.splitlines()[-1])["ended"]["_0"]

    return ask


@pytest.fixture
def two_cards(station, new_card):
    """The disks of a card in slot1, which is disarmed, and of one in a place that is no slot."""
    station.ctl("disarm", "slot1")
    readers = [station.machine.usb_insert(port, new_card(12)) for port in (1, 5)]
    disks = [reader.wait_disk() for reader in readers]
    station.wait_state("slot1", "waiting")
    return disks


def first_kibibyte(machine, disk):
    """Where a writer would begin, and where a mounted ext4 writes nothing of its own."""
    return machine.run(f"dd if=/dev/{disk} bs=1K count=1 iflag=direct status=none | sha256sum").stdout


def test_a_writer_told_to_write_another_disk_is_stopped_by_its_own_guard(station, ask, two_cards):
    machine = station.machine
    system = machine.run("findmnt -no SOURCE /").stdout.strip().removeprefix("/dev/")
    assert system.startswith("sd")
    card, stray = two_cards
    before = [first_kibibyte(machine, disk) for disk in (system, stray, card)]
    for disk in (system, stray):
        report = ask("slot1", disk)
        assert verdict(report) == "refused place_mismatch", report
        assert disk in report["detail"]
    # Even where root has declared the place of the system disk to be a slot, and an operator asks for it.
    station.declare({"system": (place(bench.ROOT_USB_PORT), READER)})
    machine.run(f"udevadm trigger --action=change --settle /dev/{system}")
    assert machine.run(f"stat -c %G /dev/{system}").stdout.strip() == "station-writer"
    station.ctl("flash", "system", "--image", "image-a")
    report = station.wait_verdict("system")
    print(f"the system disk as a slot: {verdict(report)} ({report['detail']})")
    assert verdict(report) in ("refused device_is_system_disk", "refused device_mounted")
    assert [first_kibibyte(machine, disk) for disk in (system, stray, card)] == before
    station.forget("system")
    assert machine.run(f"stat -c %G /dev/{system}").stdout.strip() == "disk"


def test_a_writer_without_its_guard_is_stopped_by_the_kernel(station, ask, two_cards):
    machine = station.machine
    system = machine.run("findmnt -no SOURCE /").stdout.strip().removeprefix("/dev/")
    card, stray = two_cards
    drop_in = "/run/systemd/system/station-writer@.service.d/unguarded.conf"
    unguarded = ("[Service]\nExecStart=\nExecStart=/usr/lib/flashing-station/station-writer-unguarded --slot %i\n"
                 f"Environment=STATION_WITHOUT={GUARD}\n")
    try:
        machine.run(f"cp {PROGRAMS}/station-writer-unguarded /usr/lib/flashing-station/")
        machine.put(unguarded.encode(), drop_in)
        machine.run("systemctl daemon-reload")
        # File modes would let it.
        machine.run(f"chgrp station-writer /dev/{system} /dev/{stray}; chmod 0660 /dev/{system} /dev/{stray}")
        before = [first_kibibyte(machine, disk) for disk in (system, stray)]
        assert verdict(ask("slot1", card, "--dry-run")) == "refused dry_run", "its own disk it can open"
        for disk in (system, stray):
            report = ask("slot1", disk)
            assert verdict(report) == "refused permission_denied", report
            assert f"open /dev/{disk}: Operation not permitted" in report["detail"], report
        assert [first_kibibyte(machine, disk) for disk in (system, stray)] == before
        # And nothing else than the unit's DeviceAllow= does it: without that line the stray card is written.
        machine.put((unguarded + f"DeviceAllow=/dev/{stray} rw\n").encode(), drop_in)
        machine.run("systemctl daemon-reload")
        assert verdict(ask("slot1", stray)) == "passed"
        assert first_kibibyte(machine, stray) != before[1]
    finally:
        machine.run(f"rm -f {drop_in} /usr/lib/flashing-station/station-writer-unguarded; systemctl daemon-reload; "
                    f"chgrp disk /dev/{system}")


def test_after_a_power_cut_only_the_unfinished_card_is_done_again(station, new_card, images):
    machine = station.machine
    unfinished, finished, foreign = new_card(12), new_card(12), new_card(12)
    machine.usb_insert(2, finished)
    assert verdict(station.wait_verdict("slot2")) == "passed"
    station.ctl("disarm", "slot3")
    other = machine.usb_insert(3, foreign)
    station.wait_state("slot3", "waiting")
    station.ctl("arm", "slot3")
    # A slot whose file wants what is in at boot, with a card that nothing has begun.
    station.declare({"eager": (place(4), READER)}, "MinimumSize=10M\nAtBoot=write")
    wanted = new_card(12)
    machine.usb_insert(4, wanted)
    station.wait_state("eager", "waiting")
    station.ctl("assign", "eager", "--image", "image-b")
    reader = machine.usb_insert(1, unfinished, throttle_bps=2_000_000)
    interrupted = station.wait_phase("slot1", "writing")["job"]["id"]
    machine.run(f"sed -i 's/BootSettleSec=.*/BootSettleSec=600/' {BENCH_CONFIGURATION}; sync")
    machine.power_cut()
    reader.throttle_bps = None
    machine.boot()
    station.wait_state("slot1", "passed")
    assert machine.run("systemctl is-active stationd.service").stdout.strip() == "active"
    jobs = station.history("--slot", "slot1")
    assert [(verdict(job["report"]), job["trigger"]) for job in jobs[:2]] == [
        ("passed", "resumed"), ("interrupted", "insertion")]
    assert jobs[1]["id"] == jobs[0]["report"]["foundMarker"] == interrupted
    assert jobs[0]["bootID"] != jobs[1]["bootID"]
    station.wait_state("eager", "passed")
    assert [job["trigger"] for job in station.history("--slot", "eager")] == ["atBoot"]
    for name in ("slot2", "slot3"):
        slot = station.slot(name)
        assert (slot["state"], slot["reason"]) == ("waiting", "was_in_already"), slot
    # A reader that turns up soon after boot has had its card all the time.
    machine.usb_remove(other)
    station.wait_state("slot3", "absent")
    machine.usb_insert(3, foreign)
    assert station.wait_state("slot3", "waiting", "running", "passed")["reason"] == "was_in_already"
    machine.run(f"sed -i 's/BootSettleSec=.*/BootSettleSec=0/' {BENCH_CONFIGURATION}; systemctl reload stationd.service")
    machine.pull_all()
    station.wait_state("eager", "absent")
    station.undeclare("eager")
    assert begins_with(unfinished, images["image-a"]) and begins_with(wanted, images["image-b"])
    assert foreign.read_bytes()[:4096].startswith(b"card 2\n")
