"""doctor on a real host: each finding is produced, and mended by the very command that it names."""
import json

import pytest
from guest_station import PACKAGE, SLOTS

#: What the machine itself lacks, and keeps lacking: nothing of it can be had without a network.
ALWAYS = {"clock_unset", "tool_missing", "storage_limit_high"}

SLOT1 = "station-writer@slot1.socket"
DROP_IN = "/etc/flashing-station/station.conf.d/doctor.conf"
FAULTS = {
    "directory_wrong": "chmod 0777 /var/lib/flashing-station",
    "directory_wrong too": "mv /var/lib/flashing-station/builds /var/lib/flashing-station/elsewhere",
    "udev_rules_overridden": "ln -s /dev/null /etc/udev/rules.d/59-flashing-station.rules",
    "unit_inactive": f"systemctl stop {SLOT1}",
    "unit_inactive daemon": "systemctl stop stationd.service",
    "unit_masked": f"systemctl mask --now {SLOT1}",
    "unit_disabled": "systemctl disable stationd.service",
    "slot_file_untrusted": "chmod 0666 /etc/flashing-station/slots.d/slot2.slot; systemctl reload stationd.service",
    "slot_file_unread": "chmod 0666 /etc/flashing-station/slots.d/slot2.slot; systemctl reload stationd.service; "
                        "chmod 0644 /etc/flashing-station/slots.d/slot2.slot",
    "config_untrusted": f"printf '[Station]\\nStuckAfterSec=20\\n' > {DROP_IN} && chmod 0666 {DROP_IN}",
    "config_value": f"printf '[Station]\\nStuckAfterSec=one\\n' > {DROP_IN}",
    "config_key_unknown": f"printf '[Station]\\nStuckAfter=20\\n' > {DROP_IN}",
    "config_unreadable": f"ln -s doctor.conf {DROP_IN}",
    "slot_file_invalid": "sed -i.kept '/^Place=/d' /etc/flashing-station/slots.d/slot2.slot; systemctl reload stationd.service",
    "namespaces_locked": "sysctl -w user.max_user_namespaces=0",
    "journal_volatile": "mv /var/log/journal /var/log/journal.kept",
    "user_missing": "groupdel station-operator",
    "restore_leftovers": "mkdir /var/lib/flashing-station.unpacking",
    # Something stands where the socket should: a start fails, and goes through when it is gone.
    "unit_failed": "systemctl stop station-library.socket; cd /run/flashing-station; rm -f library; mkdir library; touch library/x; "
                   "systemctl start station-library.socket; rm -r library",
}
#: Where a hand has to change a file first: what it does, and the command that the finding names then.
BY_HAND = {
    "config_value": f"printf '[Station]\\nStuckAfterSec=8\\n' > {DROP_IN}",
    "config_key_unknown": f"printf '[Station]\\nStuckAfterSec=8\\n' > {DROP_IN}",
    "config_unreadable": f"rm {DROP_IN}",
    "slot_file_invalid": "mv /etc/flashing-station/slots.d/slot2.slot.kept /etc/flashing-station/slots.d/slot2.slot",
    "storage_limit_high": f"printf '[Station]\\nStorageLimit=500M\\n' > {DROP_IN}",
}
#: What has to be undone after the mending, so that the next test finds what it knows.
AFTERWARDS = {
    "directory_wrong too": "rm -rf /var/lib/flashing-station/elsewhere; systemctl restart stationd.service",
    **dict.fromkeys(["config_untrusted", "config_value", "config_key_unknown"], f"rm -f {DROP_IN}; systemctl reload stationd.service"),
    "slot_file_invalid": "rm -f /etc/flashing-station/slots.d/slot2.slot.kept",
    "unit_disabled": "systemctl enable stationd.service",
    "journal_volatile": "rm -rf /var/log/journal && mv /var/log/journal.kept /var/log/journal && "
                        "systemctl restart systemd-journald.service",
}


def findings(machine, user="root"):
    said = machine.run(["runuser", "-u", user, "--", "stationctl", "doctor", "--json"], check=False)
    found = json.loads(said.stdout)["findings"]
    assert said.rc == (1 if any(one["severity"] == "error" for one in found) else 0), said
    return {one["code"]: one for one in found}


def test_a_sound_station_has_nothing_but_what_this_machine_lacks(station, machine):
    assert set(findings(machine)) <= ALWAYS
    shown = station.ctl("doctor").stdout
    assert "mend: sudo apt install" in shown and "0 errors" in shown


def mend(machine, finding):
    """Exactly as it stands there, behind what a hand has to do; root needs no sudo, and this machine has none."""
    by_hand, _, command = finding["mend"].rpartition(", then: ")
    assert bool(by_hand) == (finding["code"] in BY_HAND), finding
    machine.run(f"{BY_HAND.get(finding['code'], 'true')}; sudo() {{ \"$@\"; }}; {command}", timeout=90)


#: One of each kind: a file, a rule, a unit. The others are nightly.
FIRST = {"directory_wrong", "udev_rules_overridden", "unit_inactive"}


@pytest.mark.parametrize("name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.nightly) for name in FAULTS])
def test_a_finding_is_made_and_mended_by_the_command_it_names(station, machine, name):
    code = name.split()[0]
    machine.run(FAULTS[name], check=False)
    try:
        found = findings(machine)
        assert set(found) - ALWAYS == {code}, found
        mend(machine, found[code])
        assert set(findings(machine)) <= ALWAYS
    finally:
        machine.run(AFTERWARDS.get(name, "true"))


@pytest.mark.nightly
def test_a_limit_that_the_disk_is_too_small_for_is_found_and_lowered(station, machine):
    try:
        mend(machine, findings(machine)["storage_limit_high"])
        assert set(findings(machine)) <= ALWAYS - {"storage_limit_high"}
    finally:
        machine.run(f"rm -f {DROP_IN}; systemctl reload stationd.service")
    assert "storage_limit_high" in findings(machine)


@pytest.mark.nightly
def test_a_station_without_slots_is_told_to_learn_one(station, machine, new_card):
    station.undeclare(*SLOTS)
    try:
        found = findings(machine)
        assert set(found) - ALWAYS == {"no_slots"}, found
        command = found["no_slots"]["mend"].removeprefix("sudo ")
        learning = machine.start(f"exec {command} --yes 2>&1")
        try:
            learning.wait_output(r"[Ii]nsert a card", 30)
            reader = machine.usb_insert(1, new_card(12))
            assert learning.wait(60).rc == 0, learning
        finally:
            if learning.rc is None:
                learning.stop()
        machine.usb_remove(reader)
        assert set(findings(machine)) <= ALWAYS
    finally:
        station.forget(*(slot["name"] for slot in station.json("status")["slots"]))


@pytest.mark.nightly
def test_a_full_disk_is_found_and_room_is_made_by_removing_an_image(station, machine):
    """On a file system of its own that has just as much room as a station needs, and a little more."""
    state = "/var/lib/flashing-station"
    try:
        machine.run(f"systemctl stop stationd.service && cp -a {state} /root/state && "
                    f"mount -t tmpfs -o size=1060M,mode=755 none {state} && cp -a /root/state/. {state}/ && systemctl start stationd.service")
        assert "disk_full" not in findings(machine)
        room = int(machine.run(["df", "--output=avail", "-B1", state]).stdout.split()[1])
        machine.run(f"head -c {room - 2**30 + 2**20} /dev/urandom > /root/large.img && stationctl image import /root/large.img "
                    "--name large --raw && rm /root/large.img", timeout=120)
        mends = findings(machine)["disk_full"]["mend"].split(", ")
        assert "stationctl image remove" in mends and "stationctl builder prune" in mends
        station.ctl("image", "remove", "large")
        assert "disk_full" not in findings(machine)
    finally:
        machine.run(f"systemctl stop stationd.service; rm -f /root/large.img; if mountpoint -q {state}; then umount {state}; fi && "
                    "rm -rf /root/state; systemctl start stationd.service")


def test_a_closed_node_is_found_and_mended(station, machine, new_card):
    reader = machine.usb_insert(1, new_card(32))
    station.wait_verdict("slot1")
    disk = reader.wait_disk()
    machine.run(f"chgrp root /dev/{disk}")
    found = findings(machine)
    assert set(found) - ALWAYS == {"node_closed"} and f"/dev/{disk} in slot1" in found["node_closed"]["finding"], found
    mend(machine, found["node_closed"])
    assert set(findings(machine)) <= ALWAYS
    machine.usb_remove(reader)


@pytest.mark.nightly
def test_a_restore_that_was_cut_off_is_found_and_gone_on_with(station, machine):
    """Both directories whole and decided on, and nothing exchanged yet."""
    targets = ["/var/lib/flashing-station", "/etc/flashing-station"]
    machine.run("systemctl stop stationd.service")
    for target in targets:
        machine.run(f"cp -a {target} {target}.unpacking")
    inodes = machine.run(f"stat -c %i {' '.join(f'{target}.unpacking' for target in targets)}").stdout.split()
    marker = {"hostName": "h", "createdAt": 1, "callerUserID": 0, "exchanges": [
        {"target": target, "fresh": f"{target}.unpacking", "kept": f"{target}.before-restore-1", "inode": int(inode)}
        for target, inode in zip(targets, inodes)]}
    machine.put(json.dumps(marker).encode(), "/var/lib/flashing-station.restoring")
    try:
        assert "restore --continue" in station.ctl("doctor", check=False).stdout
        assert machine.run("systemctl start stationd.service; systemctl is-active stationd.service", check=False).stdout == "inactive\n"
        mend(machine, findings(machine)["restore_unfinished"])
        assert set(findings(machine)) <= ALWAYS
        assert machine.run(f"stat -c %i {' '.join(targets)}").stdout.split() == inodes
        assert SLOTS.keys() <= {slot["name"] for slot in station.json("status")["slots"]}
    finally:
        machine.run("rm -rf /var/lib/flashing-station?* /etc/flashing-station?*; systemctl start stationd.service")


def test_who_is_in_no_group_is_told_so_and_an_operator_is_not(station, machine):
    machine.run("useradd --no-create-home doc-stranger; useradd --no-create-home --groups station-operator doc-operator")
    try:
        assert findings(machine, "doc-stranger")["not_operator"]["mend"].startswith("sudo adduser doc-stranger station-operator")
        assert "not_operator" not in findings(machine, "doc-operator")
        # A login anew is what `runuser` is.
        command, _, then = findings(machine, "doc-stranger")["not_operator"]["mend"].partition(", then ")
        assert then == "log in anew"
        machine.run(f"sudo() {{ \"$@\"; }}; {command}")
        assert "not_operator" not in findings(machine, "doc-stranger")
    finally:
        machine.run("userdel doc-stranger; userdel doc-operator")


@pytest.mark.nightly
def test_a_host_without_the_station_s_parts_is_told_to_install_it_again(station, machine):
    machine.run("mv /lib/systemd/system/station-library.socket /lib/udev/rules.d/59-flashing-station.rules /root/; "
                "systemctl daemon-reload")
    try:
        found = findings(machine)
        assert {"unit_missing", "udev_rules_missing"} <= set(found)
        assert all("--reinstall flashing-station" in found[code]["mend"] for code in ("unit_missing", "udev_rules_missing"))
    finally:
        # What apt would do.
        machine.run(f"dpkg --install {PACKAGE}; rm -f /root/station-library.socket /root/59-flashing-station.rules", timeout=180)
    assert set(findings(machine)) <= ALWAYS
    assert SLOTS.keys() <= {slot["name"] for slot in station.json("status")["slots"]}
