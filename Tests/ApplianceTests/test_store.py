"""Records that are damaged, cut off, or a later release's: nothing is written on their ground, and they are kept."""
import hashlib
import json

import machine as bench
import pytest
from guest_station import verdict

STORE = "/var/lib/flashing-station/store"
STORE_PROBLEM = "7b0de9f1c3a84d06a8f7f0d1c5a9e264"


@pytest.fixture
def stopped(station, machine):
    """The station, stopped after a passed job; afterwards its records are as they were then."""
    machine.run(f"systemctl stop stationd.service && cp -a {STORE} {STORE}.saved")
    yield station
    machine.run(f"systemctl stop stationd.service; rm -rf {STORE} {STORE}.kept && mv {STORE}.saved {STORE}; "
                "systemctl reset-failed stationd.service; systemctl start stationd.service")


def doctor(machine):
    return {found["code"]: found for found in
            json.loads(machine.run("stationctl doctor --json", check=False).stdout)["findings"]}


DAMAGE = {
    "garbage": "head -c 40000 /dev/urandom > station.db",
    "a page of it": "dd if=/dev/urandom of=station.db bs=4096 seek=1 count=3 conv=notrunc status=none",
    "cut off": "truncate -s 10000 station.db",
}


@pytest.mark.nightly
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_records_are_kept_told_of_and_trusted_in_nothing(stopped, machine, new_card, name):
    station, card, other = stopped, new_card(12), new_card(12)
    machine.run(f"cd {STORE} && {DAMAGE[name]}")
    evidence = hashlib.sha256(machine.get(f"{STORE}/station.db")).hexdigest()
    began = station.now()
    machine.usb_insert(1, card).wait_disk()
    machine.run("systemctl start stationd.service")
    machine.usb_insert(2, other)
    for slot in ("slot1", "slot2"):
        state = station.wait_judged(slot)
        assert (state["state"], state["reason"], state["isArmed"]) == ("waiting", "unassigned", False), state
    assert station.history() == []
    kept, = machine.glob(f"{STORE}/station.db.broken-*Z")
    assert hashlib.sha256(machine.get(kept)).hexdigest() == evidence
    entry = station.story(began, f"MESSAGE_ID={STORE_PROBLEM}")[0]
    assert entry["STATION_REASON"] == "store_was_corrupt" and kept in entry["MESSAGE"]
    finding = doctor(machine)["store_was_corrupt"]
    assert finding["severity"] == "error" and f"sqlite3 {kept} .recover" in finding["mend"]
    machine.pull_all()
    for number, path in enumerate((card, other)):
        assert path.read_bytes().rstrip(b"\0") == f"card {number}\n".encode()
    # Import and assign again, as it says, and cards are made again.
    machine.run("systemctl reload stationd.service")
    for slot in ("slot1", "slot2"):
        station.wait_state(slot, "absent")
    station.import_image("/mnt/share/image-a.img", "image-a")
    station.ctl("assign", "slot1", "--image", "image-a")
    machine.usb_insert(1, card)
    assert verdict(station.wait_verdict("slot1")) == "passed"


@pytest.mark.nightly
def test_a_log_that_was_cut_off_loses_the_last_words_and_makes_up_none(station, machine, new_card, images):
    card = new_card(12)
    reader = machine.usb_insert(1, card)
    assert verdict(station.wait_verdict("slot1")) == "passed"
    # All of them: other tests may have left more than a page.
    history = lambda: {job["id"]: verdict(job["report"]) for job in station.history("--limit", "10000")}
    before = history()
    # Killed, so that the log is not taken into the file first; then all of the log is gone but its first page.
    machine.run(f"""
        systemctl kill --signal=KILL stationd.service; systemctl stop stationd.service
        cp -a {STORE} {STORE}.saved; truncate -s 4152 {STORE}/station.db-wal""")
    try:
        machine.run("systemctl reset-failed stationd.service; systemctl start stationd.service")
        slot = station.wait_judged("slot1")
        after = history()
        print(f"{len(before)} jobs before, {len(after)} after, slot1 is {slot['state']} {slot.get('reason')}")
        assert after != before, "nothing was lost: this shows nothing"
        assert after.keys() <= before.keys()
        assert all(word in (before[job], "interrupted") for job, word in after.items())
        assert slot["state"] in ("waiting", "passed", "interrupted")
    finally:
        machine.run(f"systemctl stop stationd.service; rm -rf {STORE} && mv {STORE}.saved {STORE}; "
                    "systemctl start stationd.service")
        machine.usb_remove(reader)


@pytest.mark.nightly
def test_records_of_a_later_release_are_not_touched_and_doctor_says_why_nothing_starts(stopped, machine, new_card):
    station, card = stopped, new_card(12)
    machine.run(f"cd {STORE} && sqlite3 station.db \"INSERT INTO migrations VALUES (99, 'of tomorrow', 0)\"")
    evidence = machine.run(f"sha256sum {STORE}/station.db").stdout
    machine.run("systemctl start stationd.service", check=False)
    machine.usb_insert(1, card).wait_disk()
    finding = bench.wait_until(lambda: doctor(machine).get("store_from_future"), 60, "doctor to know why", interval=1)
    print(finding["finding"], "|", finding["mend"])
    assert "of tomorrow" in finding["finding"] and f"sudo mv {STORE} {STORE}.kept" in finding["mend"]
    assert "of tomorrow" in machine.run("journalctl --no-pager -b -u stationd.service -n 50").stdout
    assert machine.run(f"sha256sum {STORE}/station.db").stdout == evidence
    assert card.read_bytes().rstrip(b"\0") == b"card 0\n"
    # The command that it names, the part with the empty store.
    machine.run(f"mv {STORE} {STORE}.kept && systemctl reset-failed stationd.service && systemctl start stationd.service")
    slot = station.wait_judged("slot1")
    assert (slot["state"], slot["reason"]) == ("waiting", "unassigned")
    assert machine.run(f"sha256sum {STORE}.kept/station.db").stdout.split()[0] == evidence.split()[0]
    machine.pull_all()
