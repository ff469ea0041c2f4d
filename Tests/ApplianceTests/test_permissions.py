"""Who may do what: strangers, readers, operators, root; and what the units are let at."""
import json
import re

import pytest
from guest_station import place, READER, verdict


@pytest.fixture(scope="module")
def people(session_station):
    """Three users of the machine: `stranger`, `reader` (group station), `flasher` (group station-operator)."""
    session_station.machine.run("""
        id stranger 2>/dev/null || useradd stranger
        id reader 2>/dev/null || useradd -G station reader
        id flasher 2>/dev/null || useradd -G station-operator flasher""")


@pytest.fixture
def as_user(station, people):
    """`as_user(name, command…)`: what stationctl says to that user."""
    return lambda name, *words: station.machine.run(["runuser", "-u", name, "--", "stationctl", *words], check=False)


def test_readers_read_operators_assign_and_strangers_are_told_why_not(station, as_user):
    for command in (["status"], ["history"], ["image", "list"], ["explain", "slot1"]):
        assert as_user("reader", *command).rc == 0, command
        assert as_user("flasher", *command).rc == 0, command
        refused = as_user("stranger", *command)
        assert refused.rc == 4, (command, refused)
        assert "group station" in refused.stderr, refused
    for command in (["assign", "slot1", "--image", "image-b"], ["disarm", "slot1"], ["flash", "slot1"],
                    ["image", "remove", "image-b"], ["cancel", "slot1"]):
        refused = as_user("reader", *command)
        assert refused.rc == 4, (command, refused)
        assert "station-operator" in refused.stderr, refused
    assert station.slot("slot1")["assignment"]["image"] == "image-a"
    assert as_user("flasher", "assign", "slot1", "--image", "image-b").rc == 0
    assert station.slot("slot1")["assignment"]["image"] == "image-b"
    uid = station.machine.run("id -u flasher").stdout.strip()
    said = station.machine.wait_journal("STATION_SLOT=slot1", f"STATION_CALLER_UID={uid}", timeout=10)
    assert "image-b" in said["MESSAGE"]


#: What the interface lets whom do, as an admin would have it: said here once more, and not asked of the station.
READ = {"GetStatus", "Watch", "Explain", "ListHistory", "ListImages", "WatchDevices", "ListCards", "GetStatistics", "Inspect",
        "ListProfiles", "ListProfileVersions", "GetProfile", "ListBuilders", "GetBuilder", "ListBuilds", "GetBuild",
        "GetBuildLog"}
OPERATE = {"Assign", "Unassign", "Arm", "Disarm", "Flash", "Cancel", "Identify", "ImportImage", "VerifyImage", "RemoveImage",
           "ImportProfile", "DeleteProfile", "ForgiveCard", "EnsureBuilder", "PruneBuilders", "Build", "CancelBuild",
           "RemoveBuild"}
ADMINISTER = {"Reload", "SnapshotStore"}
INTERFACE = "flashing.station.Control"

#: Runs in the guest: calls of the control socket, each over a connection of its own; prints the first reply to each.
CALLER = """
import json, socket, sys
replies = []
for method, parameters in json.loads(sys.argv[1]):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect("/run/flashing-station/control")
        s.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\\0")
        data = b""
        while b"\\0" not in data and (more := s.recv(65536)):
            data += more
        replies.append(json.loads(data.split(b"\\0")[0]))
print(json.dumps(replies))
"""


def test_every_method_is_open_to_those_whom_it_is_for_and_to_nobody_else(station, people):
    machine = station.machine
    machine.put(CALLER.encode(), "/tmp/caller.py", mode=0o644)

    def ask(user, *calls):
        said = machine.run(["runuser", "-u", user, "--", "python3", "/tmp/caller.py", json.dumps(calls)])
        return json.loads(said.stdout)

    described, = ask("root", ("org.varlink.service.GetInterfaceDescription", {"interface": INTERFACE}))
    methods = re.findall(r"^method (\w+)", described["parameters"]["description"], re.MULTILINE)
    assert set(methods) == READ | OPERATE | ADMINISTER and len(methods) == len(READ) + len(OPERATE) + len(ADMINISTER)
    before = station.json("status")["slots"]
    allowed = {"stranger": set(), "reader": READ, "flasher": READ | OPERATE, "root": READ | OPERATE | ADMINISTER}
    for user, mine in allowed.items():
        # With a parameter that no method has: whoever is let in is told of that, and nothing is done.
        replies = ask(user, *((f"{INTERFACE}.{method}", {"nothing": 0}) for method in methods))
        denied = {method for method, reply in zip(methods, replies)
                  if reply.get("error") == "org.varlink.service.PermissionDenied"}
        assert denied == set(methods) - mine, (user, denied ^ (set(methods) - mine))
        others = {method: reply for method, reply in zip(methods, replies) if method not in denied}
        assert all(reply.get("error") == "org.varlink.service.InvalidParameter" for reply in others.values()), (user, others)
    assert station.json("status")["slots"] == before


def test_only_root_declares_slots(station, as_user):
    before = station.machine.run("ls -l --full-time /etc/flashing-station/slots.d").stdout
    for command in (["slot", "learn", "slot9", "--yes"], ["slot", "remove", "slot1"],
                    ["slot", "relearn", "slot1", "--yes"],
                    ["slot", "add", "slot9", "--place", place(9), "--reader", READER]):
        refused = as_user("flasher", *command)
        assert refused.rc == 4, (command, refused)
        assert "only root declares slots" in refused.stderr and "sudo" in refused.stderr, refused
    assert station.machine.run("ls -l --full-time /etc/flashing-station/slots.d").stdout == before


def test_images_records_and_sockets_are_nobody_elses(station, as_user, people):
    machine = station.machine
    image = machine.glob("/var/lib/flashing-station/images/*")[0]
    for user in ("reader", "flasher", "stranger"):
        for command in (f"head -c 1 {image}", "ls /var/lib/flashing-station/images",
                        "ls /var/lib/flashing-station/store",
                        "python3 -c 'import socket as s; s.socket(s.AF_UNIX, s.SOCK_SEQPACKET).connect("
                        "\"/run/flashing-station/writer/slot1\")'",
                        "python3 -c 'import socket as s; s.socket(s.AF_UNIX, s.SOCK_SEQPACKET).connect("
                        "\"/run/flashing-station/library\")'"):
            refused = machine.run(["runuser", "-u", user, "--", "/bin/sh", "-c", command], check=False)
            assert refused.rc != 0 and "ermission denied" in refused.stderr, (user, command, refused)


def test_the_units_are_sound_and_expose_little(station):
    machine = station.machine
    units = ("stationd.service station-writer@slot1.service station-writer@slot1.socket station-library.socket "
             "station-library@1.service flashing-station-display@tty1.service")
    said = machine.run(f"systemd-analyze verify --man=no {units}")
    assert (said.stdout, said.stderr) == ("", "")
    # Cards that wait for the host cost places at the bench: the station goes before what else the host may do.
    assert machine.run("systemctl show station.slice -P CPUWeight -P IOWeight").stdout.split() == ["200", "200"]
    # And within it the daemon before any number of writers, and a build after all of them.
    weights = {unit: machine.run(f"systemctl show -P CPUWeight -P IOWeight {unit}").stdout.split()
               for unit in ("stationd.service", "station-writer@slot1.service", "station-library@1.service")}
    assert weights == {"stationd.service": ["1000", "1000"], "station-writer@slot1.service": ["[not", "set]", "[not", "set]"],
                       "station-library@1.service": ["20", "20"]}, weights
    for unit in units.split():
        if unit.endswith(".service") and "display" not in unit:
            assert machine.run(f"systemctl show -P Slice {unit}").stdout.strip() == "station.slice", unit
    for unit, most in (("stationd.service", 1.2), ("station-writer@.service", 0.5), ("station-library@.service", 2.8),
                       ("flashing-station-display@.service", 0.2)):
        last = machine.run(f"systemd-analyze security --no-pager --offline=true /lib/systemd/system/{unit}", check=False
                           ).stdout.strip().splitlines()[-1]
        exposure = float(re.search(r"exposure level for .*: ([0-9.]+)", last)[1])
        print(f"{unit}: exposure {exposure}")
        assert exposure <= most, last


def test_a_slot_file_that_others_may_write_is_not_used_and_said_so(station):
    machine = station.machine
    path = "/etc/flashing-station/slots.d/slot3.slot"
    machine.run("/usr/lib/flashing-station/stationd --check-config")
    machine.run(f"chmod 0666 {path}; systemctl reload stationd.service")
    try:
        station.watch(lambda slots: "slot3" not in slots, what="slot3 not to be used any more")
        checked = machine.run("/usr/lib/flashing-station/stationd --check-config", check=False)
        assert checked.rc == 1 and "slot3.slot" in checked.stderr, checked
        problems = json.loads(station.ctl("status", "--json").stdout)["problems"]
        assert [problem["code"] for problem in problems] == ["slot_file_untrusted"]
    finally:
        machine.run(f"chmod 0644 {path}; systemctl reload stationd.service")
    station.watch(lambda slots: "slot3" in slots, what="slot3 to be used again")


@pytest.mark.nightly
def test_a_socket_that_systemd_has_made_and_not_yet_given_away_is_waited_for(station, machine, new_card):
    # Between the two steps lies next to nothing, unless the host is busy; here it is two seconds.
    path = "/run/flashing-station/writer/slot1"
    machine.run(f"systemctl start station-writer@slot1.socket && chown root:root {path}")
    began = station.now()
    try:
        machine.usb_insert(1, new_card(12))
        station.wait_state("slot1", "running")
        machine.run("sleep 2")
    finally:
        machine.run(f"chown station:station {path}")
    assert verdict(station.wait_verdict("slot1")) == "passed"
    assert len([entry for entry in station.story(began, "STATION_SLOT=slot1") if "STATION_VERDICT" in entry]) == 1
