"""What an administrator sees and does: systemctl, journalctl, dpkg; and figures of the installed daemon."""
import re
import subprocess

import machine as bench
import pytest
from guest_station import MMC, PACKAGE, SLOTS, install_station, verdict

WAITS = "b7b555429b2f461f85bc4cddfba2282c"
PASSED = "9838f06f931a405cb6a0dc219b361a8e"


def test_systemctl_and_journalctl_tell_what_happened(station, machine, new_card):
    began = station.now()
    machine.usb_insert(1, new_card(12))
    report = station.wait_verdict("slot1")
    assert verdict(report) == "passed"
    print(f"event to disk held: {report['heldAfterSeconds']:.2f} s, of which the guard {report['guardSeconds']:.2f} s")
    bench.wait_until(lambda: "slot1 passed" in machine.run("systemctl show -P StatusText stationd.service").stdout, 10,
                     "the status line")
    assert 'Status: "' in machine.run("systemctl status stationd.service").stdout
    machine.run("journalctl --sync")
    explained = machine.run(f"journalctl -x --no-pager MESSAGE_ID={PASSED} -n 1").stdout
    assert "Take the card out. The slot is ready for the next one" in explained, explained
    assert "@STATION" not in explained, explained
    story = station.story(began, "STATION_SLOT=slot1")
    ids = [entry["MESSAGE"].split(" — ")[0] for entry in story]
    assert "inserted" in ids[0] and "PASSED" in ids[-1], ids
    units = station.story(began, "UNIT=station-writer@slot1.service")
    assert any("Started" in entry["MESSAGE"] for entry in units)


@pytest.mark.nightly
def test_the_daemon_keeps_its_watchdog_content_and_its_journal_clean(station, machine):
    shown = dict(line.split("=", 1) for line in machine.run(
        "systemctl show stationd.service -p WatchdogUSec,Type,Restart").stdout.splitlines())
    assert (shown["WatchdogUSec"], shown["Type"], shown["Restart"]) == ("30s", "notify", "on-failure")
    pid = machine.run("systemctl show -P MainPID stationd.service").stdout.strip()
    used = lambda: sum(int(field) for field in machine.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[11:13])
    uptime = lambda: float(machine.read("/proc/uptime").split()[0])
    before, began = used(), uptime()
    # A measurement over a time, not a wait for something: the watchdog is fed in it.
    bench.wait_until(lambda: uptime() - began >= 16, 60, "16 s of the machine's time", interval=1)
    ticks = int(machine.run("getconf CLK_TCK").stdout)
    status = machine.read(f"/proc/{pid}/status")
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS")).split(":")[1].strip()
    print(f"idle: {memory} resident, {(used() - before) / ticks:.2f} s of CPU in {uptime() - began:.0f} s")
    said = [entry["MESSAGE"] for entry in machine.journal("_COMM=stationd") if not entry.get("MESSAGE_ID")]
    assert said == [], said


def test_an_upgrade_waits_for_the_card_that_is_being_written(station, machine, new_card):
    reader = machine.usb_insert(1, new_card(12), throttle_bps=150_000)
    station.wait_phase("slot1", "writing")
    job, before = station.slot("slot1")["job"]["id"], machine.run("systemctl show -P MainPID stationd.service").stdout
    began = station.now()
    upgrade = machine.start(f"exec dpkg --install {PACKAGE}")
    bench.wait_until(lambda: station.story(began, "MESSAGE_ID=" + WAITS), 30, "the station's word that it waits")
    assert "ends when its jobs have ended" in machine.run("systemctl show -P StatusText stationd.service").stdout
    machine.usb_throttle(reader, None)
    assert upgrade.wait(180).rc == 0
    slot = station.wait_state("slot1", "passed")
    assert slot["job"]["id"] == job and verdict(slot["job"]["report"]) == "passed"
    assert machine.run("systemctl show -P MainPID stationd.service").stdout != before
    # Whatever is in a slot, and assigned, is as it was; the configuration of the bench, too.
    slots = {slot["name"]: slot for slot in station.json("status")["slots"]}
    assert {name for name, slot in slots.items() if slot["isArmed"]} == SLOTS.keys()
    # The machine has no documentation, by its own wish.
    changed = machine.run("dpkg --verify flashing-station", check=False).stdout.splitlines()
    assert [line for line in changed if "/usr/share/doc/" not in line and "/usr/share/man/" not in line] == []


@pytest.mark.nightly
def test_an_older_package_is_upgraded_with_everything_it_kept(station, machine, new_card, share_directory, tmp_path):
    tree, older = tmp_path / "older", share_directory / "station" / "older.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", share_directory / "station" / "flashing-station.deb", tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub("^Version: .*$", "Version: 0.0.9", control.read_text(), flags=re.M))
    configuration = tree / "etc/flashing-station/station.conf"
    configuration.write_text("# As it was then.\n[Station]\n")
    (tree / "usr/lib/flashing-station/helper-of-then").write_text("#!/bin/sh\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, older], check=True, stdout=subprocess.DEVNULL)
    there = "/etc/flashing-station/station.conf"
    now = machine.get(there)
    station.ctl("disarm", "slot3")
    try:
        machine.run("dpkg --force-confnew --force-downgrade --install /mnt/share/station/older.deb", timeout=180)
        assert machine.get(there) == b"# As it was then.\n[Station]\n"
        reader = machine.usb_insert(1, new_card(12))
        assert verdict(station.wait_verdict("slot1")) == "passed"
        before, since, pid = station.history(), station.now(), machine.run("systemctl show -P MainPID stationd.service").stdout
        # Nobody is there to be asked.
        machine.run(f"DEBIAN_FRONTEND=noninteractive dpkg --install {PACKAGE} < /dev/null", timeout=180)
        assert machine.run("systemctl is-active stationd.service station-library.socket station-writer@slot1.socket").stdout.split() == \
            ["active"] * 3
        assert machine.run("systemctl show -P MainPID stationd.service").stdout != pid
        assert machine.get(there) == now, "what nobody has changed is as the new package has it"
        assert not machine.exists("/usr/lib/flashing-station/helper-of-then")
        station.wait_state("slot1", "passed")
        assert station.history() == before, "the card that is in is not written again"
        armed = {slot["name"] for slot in station.json("status")["slots"] if slot["isArmed"]}
        assert armed == SLOTS.keys() - {"slot3"}
        complaints = [entry["MESSAGE"] for entry in station.story(since) if int(entry.get("PRIORITY", 6)) <= 3
                      and "station" in entry.get("_SYSTEMD_UNIT", "") + entry.get("UNIT", "")]
        assert complaints == []
        machine.usb_remove(reader)
        machine.usb_insert(2, new_card(12))
        assert verdict(station.wait_verdict("slot2")) == "passed"
    except BaseException:
        machine.run(f"dpkg --force-confnew --install {PACKAGE}", timeout=180)
        raise
    finally:
        older.unlink()
        station.ctl("arm", "slot3")


def test_a_daemon_that_hangs_is_replaced(station, machine, new_card):
    """By systemd's watchdog; here within three seconds, and not within thirty."""
    drop_in = "/run/systemd/system/stationd.service.d/watchdog.conf"
    pid = lambda: machine.run("systemctl show -P MainPID stationd.service").stdout.strip()
    since = station.now()
    machine.put(b"[Service]\nWatchdogSec=3\n", drop_in)
    try:
        machine.run("systemctl daemon-reload; systemctl restart stationd.service")
        hung = pid()
        machine.run(f"kill -STOP {hung}")
        bench.wait_until(lambda: pid() not in (hung, "0"), 60, "another daemon", interval=0.5)
        assert any("Watchdog timeout" in entry["MESSAGE"] for entry in station.story(since, "UNIT=stationd.service"))
        assert not machine.exists(f"/proc/{hung}")
    finally:
        machine.run(f"rm -f {drop_in}; systemctl daemon-reload; systemctl reset-failed stationd.service; systemctl restart stationd.service")
    machine.usb_insert(1, new_card(12))
    assert verdict(station.wait_verdict("slot1")) == "passed"


def test_a_host_that_goes_down_stops_the_daemon_before_its_writers(station, machine):
    # Else a job would be ended by the end of its writer, and be a failure.
    for unit in ("station-writer@slot1.service", "station-writer@slot1.socket", "station-library.socket"):
        assert "stationd.service" in machine.run(f"systemctl show -P Before {unit}").stdout.split(), unit
    assert machine.run("systemctl show -P TimeoutStopUSec stationd.service").stdout.strip() == "10s"


@pytest.mark.nightly
def test_removal_leaves_configuration_and_images_and_another_installation_finds_them(station, machine, new_card):
    # Cards that are in are everybody's again meanwhile, on both buses.
    station.declare({"sd": (MMC, "mmc")})
    station.ctl("disarm", "slot1")
    disks = ["mmcblk0", machine.usb_insert(1, new_card(12)).wait_disk()]
    machine.mmc_insert(new_card(16))
    for name in ("slot1", "sd"):
        station.wait_state(name, "waiting")
    groups = lambda: {machine.run(f"stat -c %G /dev/{disk}").stdout.strip() for disk in disks}
    assert groups() == {"station-writer"}
    kept = "find /etc/flashing-station /var/lib/flashing-station -type f ! -name '*-wal' ! -name '*-shm' | sort"
    before = machine.run(kept).stdout
    try:
        machine.run("dpkg --remove flashing-station", timeout=180)
        assert machine.run(kept).stdout == before
        left = machine.run("ls -d /usr/bin/stationctl /usr/lib/flashing-station /lib/systemd/system/station* "
                           "/lib/udev/rules.d/59-flashing-station.rules /etc/systemd/system/*.wants/station-writer* "
                           "/run/flashing-station 2>/dev/null", check=False).stdout
        assert left == ""
        assert groups() == {"disk"}
        # What was enabled stays so: Debian's way to know later what an admin had switched off.
        units = machine.run("systemctl list-units --all --plain --no-legend 'station*'").stdout.splitlines()
        assert [unit for unit in units if " not-found inactive dead " not in " ".join(unit.split())] == []
    finally:
        machine.run(f"dpkg --install {PACKAGE}", timeout=180)
    assert groups() == {"station-writer"}
    slots = {slot["name"]: slot for slot in station.json("status")["slots"]}
    assert {name for name, slot in slots.items() if slot["isArmed"]} == SLOTS.keys() - {"slot1"}, slots
    station.undeclare("sd")


@pytest.mark.nightly
def test_a_purge_leaves_nothing_and_a_new_installation_begins_anew(station, machine, share_directory):
    machine.run("dpkg --purge flashing-station", timeout=180)
    try:
        left = machine.run(
            "find / -xdev \\( -iname '*flashing-station*' -o -name 'station-writer*' -o -name 'stationd*' -o -name 'station-library*'"
            " -o -name 'stationctl*' -o -nouser -o -nogroup \\) -not -path '/mnt/*' -not -path '/var/lib/dpkg/*'").stdout
        assert left == ""
        assert machine.run("getent passwd station station-writer station-library", check=False).stdout == ""
        assert machine.run("getent group station station-writer station-library station-operator", check=False).stdout == ""
        assert machine.run("systemctl list-units --all --plain --no-legend 'station*'").stdout == ""
        assert machine.run("dpkg-query -W flashing-station", check=False).rc != 0
        # Somebody's login of that name would be the daemon.
        machine.run("useradd --create-home station")
        refused = machine.run(f"dpkg --install {PACKAGE}", check=False, timeout=180)
        assert refused.rc != 0 and "rename it first: sudo usermod --login NAME station" in refused.stderr, refused
        assert not machine.exists("/usr/bin/stationctl") and machine.exists("/home/station")
        machine.run("userdel --remove station")
    finally:
        install_station(machine, share_directory)
    assert station.json("status")["slots"] == []
