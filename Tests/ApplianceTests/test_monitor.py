"""A station that lost events: it looks at everything again, and hears the next ones."""

import machine as bench
import pytest

MONITOR_RESTORED = "1fe3679e8a8d4d9885bc10d6c2b53b15"


def flood(machine):
    """More events than an unprivileged socket's queue takes, while nobody reads it; of a disk that udev is soon done with."""
    machine.run("modprobe loop; for i in $(seq 500); do echo change > /sys/block/loop0/uevent; done; "
                "udevadm settle --timeout=300", timeout=330)


@pytest.mark.nightly
def test_a_station_whose_event_queue_overflowed_finds_the_card_and_hears_the_next_one(station, machine, new_card):
    began = station.now()
    # A daemon that is stopped answers no watchdog, which is not what this is about.
    machine.run("systemctl service-watchdogs no; systemctl kill --kill-whom=main --signal=STOP stationd.service")
    try:
        reader = machine.usb_insert(1, new_card(12))
        reader.wait_disk()
        flood(machine)
    finally:
        machine.run("systemctl kill --kill-whom=main --signal=CONT stationd.service")
        machine.run("systemctl service-watchdogs yes")
    assert station.wait_state("slot1", "passed", "failed", "refused", "waiting")["state"] == "passed"
    assert station.story(began, f"MESSAGE_ID={MONITOR_RESTORED}")
    machine.usb_remove(reader)
    station.wait_state("slot1", "absent")
    machine.usb_insert(2, new_card(12))
    assert station.wait_state("slot2", "passed", "failed", "refused", "waiting")["state"] == "passed"


def test_a_card_that_comes_before_udev_is_done_with_the_one_that_left_is_written(station, machine, new_card):
    """udev's word that a disk is gone comes when another one has its name, its place, and no writer's group yet."""
    rule = "/run/udev/rules.d/00-slow.rules"
    machine.put(b'ACTION=="remove", SUBSYSTEM=="block", PROGRAM="/bin/sleep 4"\n', rule)
    try:
        machine.run("udevadm control --reload")
        reader = machine.usb_insert(1, new_card(12))
        assert station.wait_state("slot1", "passed", "failed", "refused", "waiting")["state"] == "passed"
        first, path = station.slot("slot1")["job"]["id"], reader.sysfs()
        machine.usb_remove(reader)
        reader = machine.usb_insert(1, new_card(12))
        seen = bench.wait_until(lambda: machine.glob(path), 30, "the next disk under the same path")
        assert seen == [path] and station.slot("slot1")["job"]["id"] == first, "udev was done before, and nothing is shown"
        slot = station.watch(lambda slots: (slots["slot1"].get("job") or {}).get("id", first) != first
                             and slots["slot1"]["state"] in ("passed", "failed", "refused", "waiting") and slots["slot1"], 120,
                             "the next card's end")
        assert slot["state"] == "passed", slot
        machine.usb_remove(reader)
        station.wait_state("slot1", "absent")
    finally:
        machine.run(f"rm {rule}; udevadm control --reload")


def test_a_card_is_left_alone_until_a_slow_udev_is_done_with_it(station, machine, new_card):
    """udev takes longer than the station waits for one that has missed an event; its writer would be refused before."""
    rule = "/run/udev/rules.d/00-slow.rules"
    machine.put(b'ACTION=="add", SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", PROGRAM="/bin/sleep 13"\n', rule)
    try:
        machine.run("udevadm control --reload")
        before, began = len(station.history("--slot", "slot1")), station.now()
        reader = machine.usb_insert(1, new_card(12))
        assert station.wait_state("slot1", "passed", "failed", "refused", "waiting")["state"] == "passed"
        assert len(station.history("--slot", "slot1")) == before + 1
        assert not [entry for entry in station.story(began) if "events were lost" in entry.get("MESSAGE", "")]
        machine.usb_remove(reader)
        station.wait_state("slot1", "absent")
    finally:
        machine.run(f"rm {rule}; udevadm control --reload")


@pytest.mark.nightly
def test_udevd_that_is_started_anew_costs_no_job_and_no_card(station, machine, new_card):
    count = len(station.history("--slot", "slot1"))
    reader = machine.usb_insert(1, new_card(12), throttle_bps=1_000_000)
    job = station.wait_phase("slot1", "writing")["job"]["id"]
    machine.run("systemctl restart systemd-udevd.service && udevadm settle")
    assert station.slot("slot1")["state"] in ("running", "stuck")
    machine.usb_throttle(reader, None)
    slot = station.wait_state("slot1", "passed", "failed", "interrupted")
    assert (slot["state"], slot["job"]["id"]) == ("passed", job)
    assert len(station.history("--slot", "slot1")) == count + 1
    # While nothing goes on: the next card is noticed, in the slot that had one and in another.
    machine.usb_remove(reader)
    station.wait_state("slot1", "absent")
    machine.run("systemctl restart systemd-udevd.service && udevadm settle")
    for port in (1, 2):
        machine.usb_insert(port, new_card(12))
    for name in ("slot1", "slot2"):
        slot = station.watch(lambda slots: slots[name]["state"] in ("passed", "refused", "failed", "waiting")
                             and slots[name], what=f"a verdict in {name}")
        assert slot["state"] == "passed", slot
