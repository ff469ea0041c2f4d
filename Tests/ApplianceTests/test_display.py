"""The display on the machine's own console: what is on its screen, what its speaker is asked for, what it may do."""
import pathlib
import re
import sys

import machine as bench
import pytest
from guest_station import verdict

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "IntegrationTests"))

from block_letters import letters_of  # noqa: E402 (the path must be set first)

UNIT = "flashing-station-display@tty1.service"
STATUS = "/sys/module/kernel/parameters/consoleblank"

#: Runs in the guest: prints what the kernel's console is asked to sound. (The speaker's own event device keeps it to itself: the
#: console sends no end of report.)
LISTENER = """
cd /sys/kernel/tracing || exit 1
[ -e events/kprobes/bell ] || echo 'p:bell kd_mksound hz=%di:u32 ticks=%si:u32' > kprobe_events
echo > trace; echo 1 > events/kprobes/bell/enable; echo listening; exec cat trace_pipe
"""


def tones(listening):
    return [int(hertz) for hertz in re.findall(r"hz=(\d+)", listening.stdout)]


class Console:
    """The first console of the machine."""

    def __init__(self, machine):
        self.machine = machine

    def lines(self):
        """What is on its screen, whether somebody looks at it or not."""
        text = self.machine.get("/dev/vcsu1").decode("utf-32-le", errors="replace")
        # 80 columns: the text mode that every VGA begins with.
        return [text[start:start + 80].rstrip() for start in range(0, len(text), 80)]

    def letters(self, word):
        return letters_of(self.lines(), word)

    def wait_letters(self, word, rows=3, timeout=60):
        try:
            bench.wait_until(lambda: self.letters(word) >= rows, timeout, f"{word} in {rows} rows", interval=0.3)
        except bench.Timeout as error:
            raise bench.Timeout(f"{error}\n" + "\n".join(self.lines())) from None


@pytest.fixture
def console(machine):
    return Console(machine)


@pytest.fixture
def display(station, machine, console):
    """The display on tty1; the word that is there first."""
    machine.run(f"systemctl start {UNIT}")
    console.wait_letters("READY")
    yield machine
    machine.run(f"systemctl stop {UNIT}")


def main_pid(machine):
    return machine.run(f"systemctl show -P MainPID {UNIT}").stdout.strip()


@pytest.fixture
def speaker_probe(machine):
    """Whoever starts LISTENER leaves no probe in the kernel."""
    yield
    machine.run("cd /sys/kernel/tracing && { echo 0 > events/kprobes/bell/enable; echo > kprobe_events; }")


def test_a_card_is_seen_and_heard_on_the_console(station, display, console, new_card, speaker_probe):
    machine = display
    speaker = machine.start(LISTENER)
    speaker.wait_output("listening", 20)
    try:
        reader = machine.usb_insert(1, new_card(32))
        assert verdict(station.wait_verdict("slot1")) == "passed"
        console.wait_letters("PASSED")
        speaker.wait_output(r"hz=1000 ", 20)
        machine.usb_remove(reader)
        station.wait_state("slot1", "absent")
        # The kernel's own word that the card cannot be written.
        reader = machine.usb_insert(1, new_card(32), readonly=True)
        assert verdict(station.wait_verdict("slot1")) == "refused write_protected"
        console.wait_letters("REFUSED")
        speaker.wait_output(r"(?s)hz=220 .*hz=220 ", 20)
        machine.usb_remove(reader)
    finally:
        speaker.signal()
    assert tones(speaker) == [1000, 220, 220]
    # The console's own bell again, when it has ended.
    machine.run(f"systemctl stop {UNIT}")
    listening = machine.start(LISTENER)
    try:
        listening.wait_output("listening", 20)
        machine.run("printf '\\a' > /dev/tty1")
        listening.wait_output(r"hz=750 ", 20)
    finally:
        listening.signal()


@pytest.mark.nightly
def test_nothing_stays_on_the_screen_that_nobody_vouches_for(station, display, console, new_card):
    machine = display
    machine.usb_insert(1, new_card(32))
    assert verdict(station.wait_verdict("slot1")) == "passed"
    console.wait_letters("PASSED")
    pid = main_pid(machine)
    # It does not bring back a station that was stopped, says so, and goes on with it when it is back.
    machine.run("systemctl stop stationd.service")
    console.wait_letters("NO STATION")
    assert machine.run("systemctl is-active stationd.service", check=False).stdout.strip() == "inactive"
    machine.run("systemctl start stationd.service")
    console.wait_letters("PASSED")
    assert main_pid(machine) == pid and not console.letters("NO STATION")
    # Killed, it is there again.
    machine.run(f"systemctl kill --signal=KILL {UNIT}")
    bench.wait_until(lambda: main_pid(machine) not in ("0", pid), 30, "another display")
    console.wait_letters("PASSED")
    machine.run(f"systemctl stop {UNIT}")
    assert machine.run(f"systemctl show -P Result {UNIT}").stdout.strip() == "success"
    assert not console.letters("PASSED") and not console.letters("slot1"), console.lines()


@pytest.mark.nightly
def test_the_console_is_never_blanked_and_has_its_own_time_again_after(station, machine, console):
    try:
        machine.run("printf '\\033[9;7]' > /dev/tty1")
        assert machine.read(STATUS) == "420"
        machine.run(f"systemctl start {UNIT}")
        console.wait_letters("READY")
        assert machine.read(STATUS) == "0"
        machine.run(f"systemctl stop {UNIT}")
        assert machine.read(STATUS) == "420"
    finally:
        machine.run("printf '\\033[9;0]' > /dev/tty1")


def test_it_may_look_and_nothing_else(station, display, console):
    machine = display
    status = machine.read(f"/proc/{main_pid(machine)}/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    groups = re.search(r"^Groups:\s+(.*)$", status, re.MULTILINE)[1].split()
    station_group = machine.run("getent group station").stdout.split(":")[2]
    assert station_group in groups and re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1] not in ("0", station_group)
    operators = machine.run("getent group station-operator").stdout.split(":")[2]
    assert operators not in groups
    # Whoever runs with what it runs with may look, and change nothing.
    user = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1]
    as_display = f"setpriv --reuid={user} --regid={user} --groups={','.join(groups)} stationctl"
    assert machine.run(f"{as_display} status").stdout
    refused = machine.run(f"{as_display} disarm slot1", check=False)
    assert refused.rc == 4 and "station-operator" in refused.stderr, refused
    assert station.slot("slot1")["isArmed"]
    # Installed, and nothing more, until somebody asks for it.
    assert machine.run(f"systemctl is-enabled {UNIT}", check=False).stdout.strip() == "disabled"
    machine.run(f"systemctl enable {UNIT}")
    assert machine.run(f"systemctl is-enabled {UNIT}").stdout.strip() == "enabled"
    machine.run(f"systemctl disable {UNIT}")
