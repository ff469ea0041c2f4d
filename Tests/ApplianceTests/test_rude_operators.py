"""Cards that are pulled, swapped and mistaken, on a real bus: the right verdict each, no hang, the slot ready again."""
import hashlib
import json

import pytest
from guest_station import begins_with, in_phase, place, verdict

#: `No card was asked for by any slot`: a card in a place that is none.
UNDECLARED = "a40b4cba8b2c4c59afa07daf11eea905"


def fingerprint(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_card_pulled_at_any_phase_fails_as_removed_and_the_next_one_passes(station, machine, new_card, images):
    # So slow, each, that its phase lasts for seconds; pulled in its midst.
    pulled_at = {"slot1": (1, "probing", 1_500_000), "slot2": (2, "writing", 3_000_000), "slot3": (3, "verifying", 2_000_000)}
    readers = {name: machine.usb_insert(port, new_card(12), throttle_bps=speed)
               for name, (port, _, speed) in pulled_at.items()}
    while readers:
        def reached(slots):
            for name in readers:
                assert slots[name]["state"] in ("absent", "running", "stuck"), slots[name]
            return [name for name in readers if in_phase(slots[name], pulled_at[name][1], 0)]
        for name in station.watch(reached, what=f"the phases of {list(readers)}"):
            machine.usb_remove(readers.pop(name))
    for name in pulled_at:
        station.wait_state(name, "absent")
        assert verdict(station.history("--slot", name)[0]["report"]) == "failed card_removed"
    for name, (port, _, _) in pulled_at.items():
        machine.usb_insert(port, new_card(12))
    for name in pulled_at:
        assert verdict(station.wait_verdict(name)) == "passed"


@pytest.mark.nightly
def test_a_reader_unplugged_with_two_cards_under_way_fails_both_and_the_others_go_on(station, machine, new_card, images):
    pair = {"left": (place(6), "46f4:0001 luns 2"), "right": (place(6, lun=1), "46f4:0001 luns 2")}
    station.declare(pair)
    station.ctl("assign", *pair, "--image", "image-b")
    staying = new_card(12)
    survivor = machine.usb_insert(3, staying, throttle_bps=1_500_000)
    reader = machine.usb_insert_many(6, [new_card(12), new_card(12)], throttle_bps=2_000_000)
    # Written to, by their marks at least.
    at_work = lambda slot: ((slot.get("job") or {}).get("progress") or {}).get("bytesDone", 0) > 0
    station.watch(lambda slots: all(at_work(slots[name]) for name in pair), what="both cards to be at work")
    job = station.slot("slot3")["job"]["id"]
    assert station.slot("slot3")["state"] in ("running", "stuck")
    machine.usb_remove(reader)
    station.watch(lambda slots: all(slots[name]["state"] == "absent" for name in pair), what="the reader to be gone")
    for name in pair:
        assert verdict(station.history("--slot", name)[0]["report"]) == "failed card_removed"
    machine.usb_throttle(survivor, None)
    slot = station.wait_state("slot3", "passed", "failed")
    assert (slot["state"], slot["job"]["id"]) == ("passed", job)
    # The same two slots, the next two cards.
    next_cards = [new_card(12), new_card(12)]
    again = machine.usb_insert_many(6, next_cards)
    for name in pair:
        assert verdict(station.wait_verdict(name)) == "passed"
    for reader in (survivor, again):
        machine.usb_remove(reader)
    station.undeclare(*pair)
    assert begins_with(staying, images["image-a"]) and all(begins_with(card, images["image-b"]) for card in next_cards)


@pytest.mark.nightly
def test_another_card_put_in_at_once_is_another_job(station, machine, new_card, images):
    first = machine.usb_insert(1, new_card(12), throttle_bps=1_500_000)
    running = station.wait_phase("slot1", "writing")["job"]["id"]
    machine.usb_remove(first, wait_guest=False)
    second = new_card(12)
    machine.usb_insert(1, second)
    station.watch(lambda slots: slots["slot1"]["state"] == "passed", what="the second card to pass")
    jobs = station.history("--slot", "slot1")[:2]
    assert verdict(jobs[0]["report"]) == "passed" and verdict(jobs[1]["report"]) == "failed card_removed"
    assert jobs[1]["id"] == running
    assert begins_with(second, images["image-a"])


def test_what_must_not_be_written_is_refused_by_its_own_reason_and_left_alone(station, machine, new_card):
    cards = {name: new_card(mib) for name, mib in (("slot1", 8), ("slot2", 12), ("slot3", 12), ("nowhere", 12))}
    before = {name: fingerprint(card) for name, card in cards.items()}
    began = station.now()
    machine.usb_insert(1, cards["slot1"])
    machine.usb_insert(2, cards["slot2"], readonly=True)
    machine.usb_insert(3, cards["slot3"], kind="uas")
    stray = machine.usb_insert(5, cards["nowhere"])
    assert {name: verdict(station.wait_verdict(name)) for name in ("slot1", "slot2", "slot3")} == {
        "slot1": "refused card_too_small", "slot2": "refused write_protected", "slot3": "refused reader_changed"}
    gates = json.loads(station.ctl("explain", "slot3", "--json").stdout)["gates"]
    closed = next(gate for gate in gates if not gate["isOpen"])
    assert closed["gate"] == "reader" and "another reader" in closed["finding"], gates
    assert "stationctl slot relearn" in closed["remedy"]
    disk = stray.wait_disk()
    line = machine.wait_journal(f"MESSAGE_ID={UNDECLARED}", timeout=30,
                                where=lambda entry: int(entry["__MONOTONIC_TIMESTAMP"]) > began)
    assert f"sudo stationctl slot learn NAME --device {disk}" in line["MESSAGE"]
    assert machine.run(f"stat -c %G /dev/{disk}").stdout.strip() == "disk"
    machine.pull_all()
    assert {name: fingerprint(card) for name, card in cards.items()} == before
