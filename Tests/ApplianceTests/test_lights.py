"""Lights on the kernel's own LED-class devices and GPIO lines, driven by the installed station without privilege."""
import contextlib
import json
import pathlib
import statistics
import subprocess

import machine as bench
import pytest
from guest_station import READER, place, verdict

HERE = pathlib.Path(__file__).resolve().parent
PRACTICE_DEVICE = HERE.parents[1] / "packaging" / "practice" / "practice_device.py"
LIGHT_PROBLEM = "95a9c95cebb6481fb2b81b77e728f301"

#: What the kernel's hid-led tells Riso Kagaku's notifier for red alone.
RED = "2"

#: What comes of a card that keeps nothing, whichever check is there first.
LOST_WRITES = ("failed marker_missing", "failed capacity_false")

#: Runs in the guest: looks at lights for some seconds and prints, for each, when it changed and to what.
SAMPLER = b"""
import json, os, sys, time
seconds, names = float(sys.argv[1]), sys.argv[2:]
files = {name: os.open(f"/sys/class/leds/{name}/brightness", os.O_RDONLY) for name in names}
seen = {name: [] for name in names}
began = time.monotonic()
print("looking", flush=True)
while (now := time.monotonic() - began) < seconds:
    for name, file in files.items():
        lit = os.pread(file, 8, 0).strip() != b"0"
        if not seen[name] or seen[name][-1][1] != lit:
            seen[name].append([round(now, 3), lit])
    time.sleep(0.005)
print(json.dumps(seen))
"""


#: Runs in the guest: how often each thread of a process has gone to sleep.
COUNTER = b"""
import json, os, sys
process = f"/proc/{sys.argv[1]}"
switches = {}
for thread in os.listdir(f"{process}/task"):
    try:
        lines = open(f"{process}/task/{thread}/status").read().splitlines()
    except OSError:  # it has just ended
        continue
    switches[thread] = sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
print(json.dumps(switches))
"""


class Lights:
    """What lights of the guest show."""

    def __init__(self, machine):
        self.machine = machine
        machine.put(SAMPLER, "/root/lights.py")

    def watch(self, seconds, *names):
        """Begins to look; `edges` of what this returns waits for the end."""
        watching = self.machine.start(["python3", "/root/lights.py", str(seconds), *names])
        watching.wait_output("looking", 20)
        return watching

    @staticmethod
    def edges(watching):
        result = watching.wait(60)
        assert result.rc == 0, result
        return json.loads(result.stdout.splitlines()[-1])

    def flashes(self, name, seconds):
        """Groups of flashes that were seen whole: how many there are in each, and from one to the next."""
        edges = self.edges(self.watch(seconds, name))[name]
        print(name, edges)
        starts = [at for at, lit in edges[1:] if lit]
        groups = []
        for at in starts:
            if groups and at - groups[-1][-1] < 0.6:
                groups[-1].append(at)
            else:
                groups.append([at])
        if len(groups) < 2:
            return {len(group) for group in groups}, None
        # The middle one: the emulated machine comes late now and then.
        period = statistics.median(b[0] - a[0] for a, b in zip(groups, groups[1:]))
        # The first may have begun before the looking, the last is perhaps not over.
        return {len(group) for group in groups[1:-1]}, period

    def seen(self, seconds, *names):
        """What each light was in that time: [True] is steady, [False] dark, anything else has changed."""
        edges = self.edges(self.watch(seconds, *names))
        return {name: [lit for _, lit in edges[name]] for name in names}

    def attribute(self, name, attribute):
        return self.machine.read(f"/sys/class/leds/{name}/{attribute}")

    def trigger(self, name):
        return self.attribute(name, "trigger").split("[")[1].split("]")[0]

    def wait_trigger(self, name, trigger):
        bench.wait_until(lambda: self.trigger(name) == trigger, 15, f"{name} to have the trigger {trigger}")

    def wait_pattern(self, name, pattern):
        self.wait_trigger(name, "pattern")
        bench.wait_until(lambda: self.attribute(name, "pattern") == pattern, 15, f"{name} to have its pattern")

    def wait_lit(self, name, lit=True):
        bench.wait_until(lambda: self.trigger(name) == "none" and (self.attribute(name, "brightness") == "1") == lit, 15,
                         f"{name} to be {'lit' if lit else 'dark'}")


@pytest.fixture(scope="module")
def keyboard(session_station):
    """Lights of the kernel, with a driver of the kernel: those of a USB keyboard."""
    names = session_station.machine.usb_keyboard(5)
    yield {name.split("::")[1]: name for name in names}
    with contextlib.suppress(bench.MachineError):  # a test pulls it
        session_station.machine.usb_keyboard_remove()


@pytest.fixture
def lights(machine):
    return Lights(machine)


@pytest.fixture
def declare(station):
    """Declares slots with lights, on ports that no other test uses: `declare("lit", 4, "Light=led:…")`, armed."""
    declared = []

    def make(name, port, *lines):
        declared.append(name)
        station.declare({name: (place(port), READER)}, "\n".join(["MinimumSize=10M", *lines]))
        station.ctl("assign", name, "--image", "image-a")

    yield make
    station.forget(*(slot["name"] for slot in station.json("status")["slots"] if slot["name"] in declared))


@contextlib.contextmanager
def gadget(machine, kind):
    """A device with lights that a program plays in the guest; what reaches it is its output."""
    machine.run("modprobe -a uhid hid-led hid-cp2112")
    machine.put(HERE / "hid_device.py", "/root/hid_device.py")
    device = machine.start(["python3", "/root/hid_device.py", kind])
    try:
        device.wait_output("^ready", 20)
        machine.run("udevadm settle")
        yield device
    finally:
        device.stop()


@contextlib.contextmanager
def card_that_forgets(directory, mib=32):
    """A card that takes all writes and keeps none."""
    address = directory / "card.socket"
    server = subprocess.Popen([
        bench.tool("nbdkit", "nbdkit"), "-f", "-U", str(address), "python", str(PRACTICE_DEVICE),
        f"backing={directory / 'card.backing'}", f"size={mib}M", "fault=" + json.dumps({"fault": "drop"})])
    try:
        bench.wait_until(address.exists, 20, "nbdkit's socket")
        yield address
    finally:
        server.kill()
        server.wait()


def owners(machine, *paths):
    return machine.run(["stat", "-L", "-c", "%U %a", *paths]).stdout.splitlines()


@pytest.mark.nightly
def test_one_light_through_a_passed_a_failed_and_a_refused_card(
        station, machine, new_card, tmp_path, keyboard, lights, declare):
    led = keyboard["capslock"]
    declare("lit", 4, f"Light=led:{led}")
    lights.wait_pattern(led, "1 100 1 0 0 2900 0 0")
    counts, period = lights.flashes(led, 10)
    assert counts == {1} and 2.9 < period < 3.2, (counts, period)

    reader = machine.usb_insert(4, new_card(32), throttle_bps=4_000_000)
    station.wait_phase("lit", "writing")
    assert station.slot("lit")["signal"] == "busy"
    assert lights.trigger(led) == "timer"
    edges = lights.edges(lights.watch(4, led))[led]
    lengths = [b - a for (a, _), (b, _) in zip(edges[1:], edges[2:])]
    assert len(lengths) >= 4 and all(0.4 < length < 0.65 for length in lengths), edges
    machine.usb_throttle(reader, None)
    assert verdict(station.wait_verdict("lit")) == "passed"
    lights.wait_lit(led)
    assert lights.seen(4, led) == {led: [True]}
    machine.usb_remove(reader)
    lights.wait_pattern(led, "1 100 1 0 0 2900 0 0")

    with card_that_forgets(tmp_path) as address:
        reader = machine.usb_insert_nbd(4, address)
        assert verdict(station.wait_verdict("lit")) in LOST_WRITES
        lights.wait_trigger(led, "pattern")
        bench.wait_until(lambda: "150" in lights.attribute(led, "pattern"), 10, "the double flash")
        counts, period = lights.flashes(led, 8)
        assert counts == {2} and 1.6 < period < 1.9, (counts, period)
        machine.usb_remove(reader)
    station.wait_state("lit", "absent")

    # The kernel's own word that the card cannot be written: the card's fault. A stick where the reader was: not a card's.
    machine.usb_insert(4, new_card(12), readonly=True, id="locked")
    assert verdict(station.wait_verdict("lit")) == "refused write_protected"
    counts, _ = lights.flashes(led, 8)
    assert counts == {2}
    machine.usb_remove(machine.readers["locked"])
    station.wait_state("lit", "absent")
    machine.usb_insert(4, new_card(12), kind="uas", id="stick")
    assert station.wait_state("lit", "refused")["reason"] == "reader_changed"
    counts, period = lights.flashes(led, 10)
    assert counts == {3} and 1.9 < period < 2.3, (counts, period)


@pytest.mark.nightly
def test_two_lights_of_two_colours(station, machine, new_card, tmp_path, lights, declare):
    with gadget(machine, "webmail") as device:
        green, red = (machine.glob(f"/sys/class/leds/riso_kagaku*:{colour}*")[0].split("/")[-1]
                      for colour in ("green", "red"))
        declare("lit", 4, f"Light=led:{green}", f"FailureLight=led:{red}")
        lights.wait_pattern(green, "1 100 1 0 0 2900 0 0")
        assert lights.seen(3.5, red) == {red: [False]}
        reader = machine.usb_insert(4, new_card(12))
        assert verdict(station.wait_verdict("lit")) == "passed"
        lights.wait_lit(green)
        assert lights.seen(3.5, green, red) == {green: [True], red: [False]}
        machine.usb_remove(reader)
        with card_that_forgets(tmp_path) as address:
            machine.usb_insert_nbd(4, address)
            assert verdict(station.wait_verdict("lit")) in LOST_WRITES
            lights.wait_lit(red)
            assert lights.seen(3.5, green, red) == {green: [False], red: [True]}
            # The device itself was told so, too: its red, and nothing else.
            assert device.stdout.split()[-1] == RED, device.stdout[-200:]


@pytest.mark.nightly
def test_only_what_a_slot_names_is_the_daemons_and_nobody_elses(station, machine, keyboard, lights, declare):
    led, other = keyboard["capslock"], keyboard["numlock"]
    declare("lit", 4, f"Light=led:{led}")
    lights.wait_trigger(led, "pattern")
    machine.run("udevadm settle")
    base = f"/sys/class/leds/{led}"
    assert owners(machine, f"{base}/brightness", f"{base}/trigger", f"{base}/pattern") == ["station 644"] * 3
    assert owners(machine, f"{base}/max_brightness", f"{base}/repeat")[0] == "root 444"
    assert owners(machine, f"{base}/repeat") == ["root 644"]
    assert owners(machine, f"/sys/class/leds/{other}/brightness", f"/sys/class/leds/{other}/trigger") == ["root 644"] * 2
    # Nobody who may only read can make a light say that a card has passed.
    machine.run("id reader 2>/dev/null || useradd -G station reader")
    refused = machine.run(["runuser", "-u", "reader", "--", "/bin/sh", "-c", f"echo 1 > {base}/brightness"], check=False)
    assert refused.rc != 0 and "ermission denied" in refused.stderr
    station.forget("lit")
    bench.wait_until(lambda: owners(machine, f"{base}/brightness", f"{base}/trigger") == ["root 644"] * 2, 15,
                     "the light to be root's again")
    assert lights.trigger(led) == "none" and lights.attribute(led, "brightness") == "0"


@pytest.mark.nightly
def test_lights_go_dark_with_the_daemon_and_tell_the_truth_when_it_is_back(
        station, machine, new_card, keyboard, lights, declare):
    passed, waiting = keyboard["capslock"], keyboard["scrolllock"]
    declare("lit", 4, f"Light=led:{passed}")
    declare("wink", 7, f"Light=led:{waiting}")
    machine.usb_insert(4, new_card(12))
    assert verdict(station.wait_verdict("lit")) == "passed"
    lights.wait_lit(passed)
    lights.wait_trigger(waiting, "pattern")

    watching = lights.watch(20, passed)
    machine.run("systemctl kill --kill-whom=main --signal=KILL stationd.service")
    edges = lights.edges(watching)[passed]
    print("killed:", edges)
    # Lit, dark until systemd has started it again (a second at least), lit.
    assert [lit for _, lit in edges] == [True, False, True] and edges[2][0] - edges[1][0] > 0.8, edges
    lights.wait_trigger(waiting, "pattern")
    station.wait_state("lit", "passed")

    machine.run("systemctl stop stationd.service")
    for name in (passed, waiting):
        assert (lights.trigger(name), lights.attribute(name, "brightness")) == ("none", "0"), name
    # A light that is plugged in, or looked at by udev, while the station is down stays dark.
    machine.run("udevadm trigger --subsystem-match=leds --action=add --settle")
    assert lights.seen(3.5, passed, waiting) == {passed: [False], waiting: [False]}
    machine.run("systemctl start stationd.service")
    lights.wait_lit(passed)
    lights.wait_trigger(waiting, "pattern")


def test_lights_stay_dark_of_a_daemon_that_was_killed_and_is_not_started_again(
        station, machine, new_card, keyboard, lights, declare):
    passed, waiting = keyboard["capslock"], keyboard["scrolllock"]
    declare("lit", 4, f"Light=led:{passed}")
    declare("wink", 7, f"Light=led:{waiting}")
    machine.usb_insert(4, new_card(12))
    assert verdict(station.wait_verdict("lit")) == "passed"
    lights.wait_lit(passed)
    lights.wait_trigger(waiting, "pattern")
    machine.run("systemctl kill --kill-whom=main --signal=STOP stationd.service")
    machine.run("mkdir -p /run/systemd/system/stationd.service.d; printf '[Service]\\nRestart=no\\n' "
                "> /run/systemd/system/stationd.service.d/no.conf; systemctl daemon-reload")
    try:
        machine.run("systemctl kill --kill-whom=main --signal=KILL stationd.service")
        lights.wait_lit(passed, False)
        lights.wait_lit(waiting, False)
    finally:
        machine.run("rm /run/systemd/system/stationd.service.d/no.conf; systemctl daemon-reload; "
                    "systemctl reset-failed stationd.service; systemctl start stationd.service")
    lights.wait_lit(passed)


@pytest.mark.nightly
def test_a_winking_station_sleeps_as_well_as_a_dark_one(station, machine, keyboard, lights, declare):
    machine.put(COUNTER, "/root/counter.py")

    def wakings():
        """How often the daemon's threads wake in twelve seconds."""
        def count():
            return json.loads(machine.run(
                "python3 /root/counter.py $(systemctl show -P MainPID stationd.service)").stdout)

        machine.run("udevadm settle")
        before = count()
        flashes = lights.flashes(keyboard["capslock"], 12)
        after = count()
        return sum(number - before.get(thread, 0) for thread, number in after.items()), flashes

    dark, _ = wakings()
    declare("lit", 4, f"Light=led:{keyboard['capslock']}")
    lights.wait_pattern(keyboard["capslock"], "1 100 1 0 0 2900 0 0")
    winking, (flashes, _) = wakings()
    print(f"wakings in 12 s: {dark} without a light, {winking} with one that winks")
    # By a timer of the daemon's own four winks would be eight more, each of two threads.
    assert flashes == {1} and winking - dark < 6


@pytest.mark.nightly
def test_a_slot_is_found_by_its_light(station, machine, keyboard, lights, declare):
    green, red = keyboard["capslock"], keyboard["scrolllock"]
    declare("lit", 4, f"Light=led:{green}", f"FailureLight=led:{red}")
    lights.wait_trigger(green, "pattern")
    machine.run("id reader 2>/dev/null || useradd -G station reader; id flasher 2>/dev/null || "
                "useradd -G station-operator flasher")
    refused = machine.run("runuser -u reader -- stationctl slot identify lit", check=False)
    assert refused.rc == 4 and "station-operator" in refused.stderr
    said = machine.run("runuser -u flasher -- stationctl slot identify lit --seconds 9").stdout
    assert said == f"lit: blinking fast for 9 s: led:{green} and led:{red}\n"
    edges = lights.edges(lights.watch(3, green, red))
    for name in (green, red):
        lengths = [b - a for (a, _), (b, _) in zip(edges[name], edges[name][1:])]
        assert len(lengths) > 8 and statistics.median(lengths) < 0.2, edges
    lights.wait_pattern(green, "1 100 1 0 0 2900 0 0")
    lights.wait_lit(red, False)
    shown = station.ctl("slot", "show", "lit").stdout
    assert f"light    led:{green}\n" in shown and f"failure  led:{red}\n" in shown


@pytest.mark.nightly
def test_a_light_that_is_pulled_out_in_a_job_disturbs_nothing_and_works_again_when_it_is_back(
        station, machine, new_card, lights, declare):
    began = station.now()
    with gadget(machine, "webmail"):
        led = machine.glob("/sys/class/leds/riso_kagaku*green*")[0].split("/")[-1]
        declare("lit", 4, f"Light=led:{led}")
        lights.wait_trigger(led, "pattern")
        reader = machine.usb_insert(4, new_card(32), throttle_bps=6_000_000)
        station.wait_phase("lit", "writing")
    bench.wait_until(lambda: [p["code"] for p in station.json("status")["problems"]] == ["light_missing"], 15,
                     "the problem to be said")
    machine.usb_throttle(reader, None)
    assert verdict(station.wait_verdict("lit")) == "passed"
    said = station.story(began, f"MESSAGE_ID={LIGHT_PROBLEM}")
    assert [entry["STATION_REASON"] for entry in said] == ["light_missing"]
    with gadget(machine, "webmail"):
        assert machine.glob("/sys/class/leds/riso_kagaku*green*")[0].split("/")[-1] == led
        lights.wait_lit(led)
        assert station.json("status")["problems"] == []


@pytest.mark.nightly
def test_lines_of_a_gpio_chip_are_lights_too(station, machine, new_card, lights, declare):
    began = station.now()
    # Line 3 is lit when it is low, line 4 when it is high: 8 is dark, 0 is green, 24 is red.
    lines = ("Light=gpio:cp2112_gpio:3:active-low", "FailureLight=gpio:cp2112_gpio:4")
    declare("lit", 4, *lines)
    bench.wait_until(lambda: [p["code"] for p in station.json("status")["problems"]] == ["light_missing"] * 2, 15,
                     "the missing chip to be said")
    with gadget(machine, "bridge") as chip:
        # The chip came after the daemon: udev's rule has root export its lines, and the daemon hears of it.
        bench.wait_until(lambda: station.json("status")["problems"] == [], 20, "the lines to be driven")
        green, red = "00000000", "00011000"
        bench.wait_until(lambda: chip.stdout.split().count(green) > 1, 20, "two winks")
        assert red not in chip.stdout
        reader = machine.usb_insert(4, new_card(12))
        assert verdict(station.wait_verdict("lit")) == "passed"
        bench.wait_until(lambda: chip.stdout.split()[-1] == green, 10, "the green line")
        machine.usb_remove(reader)
        machine.usb_insert(4, new_card(12), readonly=True)
        assert verdict(station.wait_verdict("lit")) == "refused write_protected"
        bench.wait_until(lambda: chip.stdout.split()[-1] == red, 10, "the red line")
        value = machine.glob("/sys/class/gpio/gpio[0-9]*/value")
        assert owners(machine, *value) == ["station 644"] * 2
        machine.run("systemctl kill --kill-whom=main --signal=KILL stationd.service")
        bench.wait_until(lambda: chip.stdout.split()[-1] == "00001000", 10, "dark with the daemon")
        bench.wait_until(lambda: chip.stdout.split()[-1] == red, 20, "the truth again")
        station.wait_state("lit", "refused")
        station.forget("lit")
        bench.wait_until(lambda: not machine.glob("/sys/class/gpio/gpio[0-9]*/value"), 15, "the lines to be given back")
    assert station.story(began, f"MESSAGE_ID={LIGHT_PROBLEM}")
