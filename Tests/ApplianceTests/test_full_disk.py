"""The disk with records and images is full: no verdict is lost or made up, and when there is room it goes on by itself."""
import json

import machine as bench
import pytest
from guest_station import begins_with, bootable_bytes, verdict

STATE = "/var/lib/flashing-station"
STORE_PROBLEM, PASSED = "7b0de9f1c3a84d06a8f7f0d1c5a9e264", "9838f06f931a405cb6a0dc219b361a8e"
#: To the last block; what a file system had set aside for a write comes free with the next sync.
FILL = f"""
    for round in $(seq 10); do
        for size in 64K 1K; do
            head -c 1G /dev/zero | dd of={STATE}/filler bs=$size iflag=fullblock oflag=append conv=notrunc status=none 2>/dev/null
        done
        sync -f {STATE}
        left=$(df --output=avail {STATE} | tail -n 1)
        [ $left = 0 ] && exit 0
    done
    echo "$left KiB are left" >&2; exit 1"""


@pytest.fixture
def small_disk(station, machine):
    """The station's state on a file system of its own, of 64 MiB; afterwards it is where it was, as it was."""
    machine.run(f"""
        systemctl stop stationd.service
        truncate -s 64M /var/tmp/state.img && mke2fs -q -t ext4 -m 0 /var/tmp/state.img
        mkdir -p /mnt/state && mount -o loop /var/tmp/state.img /mnt/state
        cp -a {STATE}/. /mnt/state/ && umount /mnt/state && mount -o loop /var/tmp/state.img {STATE}
        systemctl start stationd.service""")
    yield
    machine.run(f"systemctl stop stationd.service; umount {STATE} && rm /var/tmp/state.img; "
                "systemctl reset-failed stationd.service; systemctl start stationd.service")


def fill(machine):
    machine.run(FILL, timeout=120)


def make_room(machine):
    machine.run(f"rm {STATE}/filler")


@pytest.mark.nightly
def test_a_full_disk_loses_no_verdict_and_begins_no_job_and_room_mends_it(
        station, machine, small_disk, new_card, images, tmp_path):
    began = station.now()
    running, refused = new_card(12), new_card(12)
    reader = machine.usb_insert(1, running, throttle_bps=500_000)
    job = station.wait_state("slot1", "running")["job"]["id"]
    fill(machine)

    # The job that runs ends as it would have, and everybody is told so; its record waits for room.
    machine.usb_throttle(reader, None)
    slot = station.wait_state("slot1", "passed", "failed", "interrupted")
    assert (slot["state"], slot["job"]["id"]) == ("passed", job)
    entry, = station.story(began, f"MESSAGE_ID={PASSED}", f"STATION_JOB={job}")
    assert entry["STATION_SLOT"] == "slot1"
    problems = station.story(began, f"MESSAGE_ID={STORE_PROBLEM}")
    print([problem["STATION_REASON"] for problem in problems])
    assert problems and problems[0]["STATION_REASON"] == "storage_full"
    assert verdict(station.history("--slot", "slot1")[0]["report"]) == "passed"
    stored = machine.run(f"sqlite3 {STATE}/store/station.db \"SELECT ifnull(verdict, 'none') FROM jobs WHERE id = '{job}'\"",
                         check=False).stdout.strip()
    assert stored == "none", "else this test shows nothing"

    # No job begins that no record would know of.
    other = machine.usb_insert(2, refused)
    slot = station.wait_state("slot2", "passed", "failed", "refused", "waiting")
    assert (slot["state"], slot["reason"]) == ("refused", "storage_full"), slot
    image = tmp_path / "large.img"
    image.write_bytes(bootable_bytes(8, "no room"))
    machine.put(image, "/root/large.img")
    said = station.ctl("image", "import", "/root/large.img", "--name", "large", check=False)
    assert said.rc == 6 and "disk is full" in said.stderr and "what to do: make room" in said.stderr, said
    said = station.ctl("disarm", "slot2", check=False)
    print(f"disarm: {said.rc} {said.stderr.strip()}")
    assert not station.slot("slot2")["isArmed"], "what is taken back counts at once, recorded or not"
    found = json.loads(machine.run("stationctl doctor --json", check=False).stdout)["findings"]
    assert "disk_full" in {finding["code"] for finding in found}, found

    # Room: the verdict gets onto the record by itself, and everything goes as ever.
    make_room(machine)
    query = f"sqlite3 {STATE}/store/station.db \"SELECT verdict FROM jobs WHERE id = '{job}'\""
    bench.wait_until(lambda: machine.run(query, check=False).stdout.strip() == "passed", 30, "the verdict to be on record",
                     interval=0.5)
    armed = f"sqlite3 {STATE}/store/station.db \"SELECT is_armed FROM slot_consent WHERE slot = 'slot2'\""
    bench.wait_until(lambda: machine.run(armed, check=False).stdout.strip() == "0", 30, "the disarming to be on record",
                     interval=0.5)
    machine.usb_remove(other)
    station.wait_state("slot2", "absent")
    assert not begins_with(refused, images["image-b"]) and refused.read_bytes().rstrip(b"\0") == b"card 1\n"
    station.ctl("arm", "slot2")
    machine.usb_insert(2, refused)
    assert verdict(station.wait_verdict("slot2")) == "passed"
    station.import_image("/root/large.img", "large")
    station.ctl("image", "remove", "large")
    machine.run("systemctl restart stationd.service")
    assert [verdict(station.history("--slot", name)[0]["report"]) for name in ("slot1", "slot2")] == ["passed", "passed"]
    machine.pull_all()
    assert begins_with(running, images["image-a"]) and begins_with(refused, images["image-b"])


@pytest.mark.nightly
def test_a_station_killed_with_a_full_disk_comes_back_with_the_room_and_claims_nothing(
        station, machine, small_disk, new_card, images):
    card = new_card(12)
    reader = machine.usb_insert(1, card, throttle_bps=500_000)
    job = station.wait_state("slot1", "running")["job"]["id"]
    fill(machine)
    machine.run("systemctl kill --signal=KILL stationd.service")
    machine.usb_throttle(reader, None)
    # Whether it comes up without room is SQLite's to say; what it may not do is to write the card on the ground of nothing.
    bench.wait_until(lambda: machine.run("systemctl show -P NRestarts stationd.service").stdout.strip() not in ("", "0"), 30,
                     "systemd to start it again", interval=0.5)
    make_room(machine)
    bench.wait_until(lambda: machine.run("systemctl is-active stationd.service", check=False).stdout.strip() == "active", 60,
                     "the station to be back", interval=0.5)
    slot = station.watch(lambda slots: slots["slot1"]["state"] in ("passed", "refused", "failed", "waiting") and slots["slot1"],
                         what="a verdict in slot1")
    jobs = station.history("--slot", "slot1")
    first = next(record for record in jobs if record["id"] == job)
    print(slot["state"], slot.get("reason"), [verdict(record["report"]) for record in jobs])
    assert verdict(first["report"]) == "interrupted"
    machine.usb_remove(reader)
    station.wait_state("slot1", "absent")
    assert begins_with(card, images["image-a"]) == (slot["state"] == "passed")
    # Of another size: one like that which waited, and that comes sooner than a hand is, is taken for the same.
    machine.usb_insert(1, new_card(16))
    assert verdict(station.wait_verdict("slot1")) == "passed"
