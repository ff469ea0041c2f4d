"""A wall clock that is set back by years, which on a host without a battery is an ordinary morning."""
import json
import re

import pytest
from guest_station import verdict

#: Tells the kernel that a time source keeps its clock, as a time daemon would (ADJ_STATUS and ADJ_MAXERROR of adjtimex).
KEEP = """
import ctypes, struct
words = bytearray(208)
struct.pack_into("<I4xqqqi", words, 0, 0x0010 | 0x0004, 0, 0, 0, 0)
buffer = (ctypes.c_char * 208).from_buffer(words)
assert ctypes.CDLL(None).adjtimex(buffer) >= 0
"""


@pytest.fixture
def clock(machine):
    """The machine's clock, which is put right afterwards; its journal goes by the monotonic one."""
    before, uptime = machine.clock(), float(machine.read("/proc/uptime").split()[0])
    yield
    now = before + float(machine.read("/proc/uptime").split()[0]) - uptime
    machine.run(f"date -s @{now:.3f}")


def numbers(value, path=""):
    """Every number of a document, with where it stands."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{path}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


@pytest.mark.nightly
def test_a_clock_set_back_by_years_spoils_no_duration_no_order_and_no_estimate(station, machine, clock, new_card):
    began = station.now()
    machine.run(["python3", "-c", KEEP])
    watching = machine.start("exec stationctl watch --json")
    reader = machine.usb_insert(1, new_card(12), throttle_bps=1_000_000)
    station.wait_phase("slot1", "writing")
    machine.run("date -s '2011-11-11 11:11:11'")
    machine.usb_throttle(reader, None)
    assert verdict(station.wait_verdict("slot1")) == "passed"
    # Between two jobs, once more.
    machine.run("date -s '2001-01-01 01:01:01'")
    machine.usb_insert(2, new_card(12))
    assert verdict(station.wait_verdict("slot2")) == "passed"
    watching.stop()
    seen = [json.loads(line) for line in watching.stdout.splitlines() if '"slots"' in line]
    negative = {(path, value) for status in seen for path, value in numbers(status) if value < 0}
    assert len(seen) > 5 and negative == set()
    left = [slot["job"]["secondsLeft"] for status in seen for slot in status["slots"]
            if (slot.get("job") or {}).get("secondsLeft") is not None]
    assert left and max(left) < 3600, left

    second, first = station.history("--limit", "2")
    assert (first["slot"], second["slot"]) == ("slot1", "slot2"), "the newest comes first, whatever the clock said"
    assert second["sequence"] > first["sequence"] and second["startedAt"] < first["startedAt"] - 10 * 365 * 86400
    assert [value for job in (first, second) for _, value in numbers(job) if value < 0] == []
    for job in (first, second):
        assert 0 < job["report"]["totalSeconds"] < 600
    # What was begun while somebody kept the clock is believed, and what was begun after is not: setting it ends the keeping.
    assert (first["wasClockSynchronised"], second["wasClockSynchronised"]) == (True, False)
    assert "2001-01-01 01:01?" in station.ctl("history", "--limit", "2").stdout
    details = {job["id"]: station.ctl("history", "--job", job["id"]).stdout for job in (first, second)}
    assert "clock was not set" in details[second["id"]] and "clock was not set" not in details[first["id"]], details
    assert not any(re.search(r"(^|\s)-\d", text) for text in details.values()), details
    # The journal, in its own order: each slot's story from its beginning to its end, and no time below nothing.
    for job in (first, second):
        story = station.story(began, f"STATION_JOB={job['id']}")
        assert story[-1]["STATION_VERDICT"] == "passed" and "STATION_VERDICT" not in story[0]
        assert float(story[-1]["STATION_WRITE_SECONDS"]) > 0 and float(story[-1]["STATION_VERIFY_SECONDS"]) > 0
    # Nothing of systemd's went by the wall clock either.
    assert machine.run("systemctl show -P NRestarts stationd.service").stdout.strip() == "0"
