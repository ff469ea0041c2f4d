"""The Friday on which the disk dies: a station is backed up, purged, installed anew, and restored."""
import json

import pytest
from guest_station import PACKAGE, verdict

BACKUP = "/root/station.tar"


@pytest.mark.nightly
def test_a_station_is_backed_up_purged_installed_anew_and_restored(station, machine, new_card):
    reader = machine.usb_insert(1, new_card(32))
    assert verdict(station.wait_verdict("slot1")) == "passed"
    machine.usb_remove(reader)
    history = json.loads(station.ctl("history", "--json").stdout)
    images = json.loads(station.ctl("image", "list", "--json").stdout)
    modes = "find /etc/flashing-station /var/lib/flashing-station -path '*/store/*' -o -printf '%p %M %u %g\\n' | sort"
    before = machine.run(modes).stdout
    machine.run(f"rm -f {BACKUP}; stationctl backup {BACKUP}")
    assert machine.run(f"stat -c '%a %U' {BACKUP}").stdout.strip() == "600 root"
    began = station.now()
    # As of a restore that was cut off.
    machine.run("mkdir /etc/flashing-station.unpacking /var/lib/flashing-station.unpacking; touch /var/lib/flashing-station.restoring")
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg --purge flashing-station", timeout=180)
    assert machine.run("ls -d /var/lib/flashing-station* /etc/flashing-station*", check=False).stdout == ""
    machine.run(f"dpkg --force-unsafe-io --install {PACKAGE}", timeout=180)
    assert json.loads(station.ctl("status", "--json").stdout)["slots"] == []
    machine.run(f"stationctl restore --dry-run {BACKUP}")
    done = machine.run(f"stationctl restore {BACKUP}", timeout=180)
    assert "all slots are disarmed" in done.stdout and "!" not in done.stderr, done
    assert machine.run(modes).stdout == before, "owners and modes, too"
    assert station.story(began, "SYSLOG_IDENTIFIER=stationctl"), "the journal knows of it"
    machine.run("systemctl is-active stationd.service station-library.socket station-writer@slot1.socket")
    assert json.loads(station.ctl("history", "--json").stdout) == history
    assert json.loads(station.ctl("image", "list", "--json").stdout) == images
    slot = station.slot("slot1")
    assert (slot["isArmed"], slot["disarmReason"], slot["assignment"]["image"]) == (False, "restored", "image-a")
    machine.usb_insert(1, new_card(32))
    assert station.wait_state("slot1", "waiting")["reason"] == "disarmed"
    for slot in json.loads(station.ctl("status", "--json").stdout)["slots"]:
        if slot.get("assignment"):
            station.ctl("arm", slot["name"])
    station.ctl("flash", "slot1")
    assert verdict(station.wait_verdict("slot1")) == "passed"
    # A restore that fails starts no station that somebody had stopped, and leaves none stopped that ran.
    before = machine.run("ls -d /etc/flashing-station* /var/lib/flashing-station*").stdout
    holder = machine.start("systemctl stop stationd.service && flock /var/lib/flashing-station/store/station.db.lock sh -c 'echo held; exec sleep 600'")
    holder.wait_output("held", 30)
    refused = machine.run(f"stationctl restore --replace --json {BACKUP}", check=False, timeout=180)
    assert json.loads(refused.stdout)["error"]["code"] == "station_running", refused
    assert machine.run("systemctl is-active stationd.service", check=False).stdout.strip() == "inactive"
    assert machine.run("systemctl is-active station-library.socket").stdout.strip() == "active"
    holder.stop()
    machine.run("systemctl start stationd.service")
    assert machine.run("ls -d /etc/flashing-station* /var/lib/flashing-station*").stdout == before
    machine.run(f"rm -rf {BACKUP} /etc/flashing-station.before-restore-* /var/lib/flashing-station.before-restore-*")
