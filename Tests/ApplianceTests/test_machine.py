"""The test machine itself: what no test of the station shows by the way.

A hazard is among it, without the station: a card that is assembled on sight. It proves that the tests that the station
passes can fail.
"""
import contextlib
import subprocess

import pytest

import dirty_card
import machine as bench


@pytest.fixture(autouse=True)
def no_station(machine):
    """The machine as it is without a station, if a test before has installed one: no slots, nobody who watches."""
    if machine.exists("/etc/flashing-station/slots.d"):
        machine.run("rm -f /etc/flashing-station/slots.d/*.slot; systemctl stop stationd.service")


def show(title, text):
    print(f"{title}: {text}")


# The machine and its control channel


def test_boots_with_nothing_failed_and_all_awake_that_assembles_cards(machine):
    assert machine.run("systemctl is-system-running", check=False).stdout.strip() == "running"
    assert machine.run("findmnt -no SOURCE /").stdout.startswith("/dev/sd")
    for rule in ("64-md-raid-assembly.rules", "69-lvm.rules", "60-persistent-storage.rules"):
        assert machine.exists(f"/lib/udev/rules.d/{rule}"), rule
    show("boot seconds", machine.boot_seconds)


def test_commands_have_status_and_both_outputs(machine):
    assert tuple(machine.run("echo out; echo err >&2; exit 3", check=False)) == (3, "out\n", "err\n")
    with pytest.raises(bench.GuestCommandError, match="status 3"):
        machine.run("exit 3")
    assert machine.run(["/no/such/program"], check=False).rc == 127
    assert machine.run("cat", stdin="words").stdout == "words"


def test_a_command_that_hangs_neither_blocks_the_channel_nor_survives(machine):
    with pytest.raises(bench.Timeout):
        machine.run(["sleep", "987654"], timeout=0.5)
    bench.wait_until(lambda: machine.run(["pgrep", "-f", "sleep 987654"], check=False).rc == 1, 10, "the sleep to end")


def test_files_go_in_and_out_unchanged(machine, tmp_path):
    content = bytes(range(256)) * 20000
    machine.put(content, "/tmp/files/in", mode=0o750)
    assert machine.get("/tmp/files/in", tmp_path / "out") == content == (tmp_path / "out").read_bytes()
    assert machine.run("stat -c %a /tmp/files/in").stdout.strip() == "750"


@pytest.mark.nightly
def test_logs_are_kept(machine):
    kept = machine.keep_logs("kept-on-purpose")
    try:
        assert "Linux version" in (kept / "journal.txt").read_text()
        assert (kept / "serial.log").exists()
    finally:
        subprocess.run(["rm", "-r", str(kept)], check=True)


# Cards that are no good


@contextlib.contextmanager
def memory_card(address):
    """A card that an NBD server plays. Killed in the end: asked nicely, it would wait for its clients first."""
    server = subprocess.Popen([bench.tool("nbdkit", "nbdkit"), "-f", "-U", str(address), "memory", "32M"])
    try:
        bench.wait_until(address.exists, 20, "nbdkit's socket")
        yield
    finally:
        server.kill()
        server.wait()


@pytest.mark.nightly
def test_a_card_that_dies_gives_errors_not_a_dead_machine(machine, tmp_path):
    address = tmp_path / "card.socket"
    with memory_card(address):
        disk = machine.usb_insert_nbd(6, address).wait_disk()
    read = machine.run(f"dd if=/dev/{disk} of=/dev/null bs=1M iflag=direct", check=False)
    assert read.rc != 0 and "Input/output error" in read.stderr


def test_a_card_that_cannot_be_had_leaves_nothing_behind(machine, tmp_path, new_card):
    with pytest.raises(bench.MachineError):
        machine.usb_insert(6, tmp_path / "missing.img", id="again", throttle_bps=1_000_000)
    machine.usb_insert(6, new_card(), id="again", throttle_bps=1_000_000).wait_disk()


# Lights


@pytest.mark.nightly
def test_a_keyboard_has_lights(machine):
    lights = machine.usb_keyboard(8)
    show("all lights", machine.glob("/sys/class/leds/*"))
    capslock = next(f"/sys/class/leds/{light}" for light in lights if light.endswith("capslock"))
    machine.run(f"echo none > {capslock}/trigger; echo 1 > {capslock}/brightness")
    assert machine.read(f"{capslock}/brightness") == "1"
    machine.usb_keyboard_remove()
    machine.wait_path(capslock, present=False)


# The dirty card


def test_a_dirty_card_is_assembled_on_sight(machine, tmp_path):
    image = tmp_path / "dirty.img"
    facts = dirty_card.dirty_card(image, machine=machine)
    assert len(dirty_card.leftovers(image, facts)) == len(facts["signatures"])
    # What made the card must not be what assembles it: only a card in an untouched machine proves anything.
    assert not machine.glob("/sys/block/md*") and not machine.exists(dirty_card.ACTIVATED)
    # Twice, for LVM remembers what it has seen: a later test must be able to see it happen again.
    for _ in range(2):
        reader = machine.usb_insert(5, image)
        disk = reader.wait_disk()
        try:
            machine.wait_path(dirty_card.ACTIVATED, 60)
            show("assembled", machine.run(f"lsblk -no NAME,TYPE /dev/{disk}").stdout)
            busy = machine.run(["python3", "-c", f"import os; os.open('/dev/{disk}', os.O_RDONLY | os.O_EXCL)"],
                               check=False)
            assert "Device or resource busy" in busy.stderr
        finally:
            machine.usb_remove(reader)
            machine.drop_arrays()


@pytest.mark.nightly
def test_leftovers_are_noticed_one_by_one(machine, tmp_path):
    image = tmp_path / "dirty.img"
    facts = dirty_card.dirty_card(image, machine=machine)
    everything = {name for name, _, _ in facts["signatures"]}
    for name, offset, _ in facts["signatures"]:
        with image.open("r+b") as file:
            file.seek(offset)
            kept = file.read(8)
            file.seek(offset)
            file.write(bytes(8))
        assert name not in dirty_card.leftovers(image, facts)
        with image.open("r+b") as file:
            file.seek(offset)
            file.write(kept)
    assert set(dirty_card.leftovers(image, facts)) == everything


# Other machines


@pytest.mark.nightly
def test_a_blank_card_does_not_boot(new_card):
    with bench.second_boot(new_card()) as boot:
        boot.wait_text("No bootable device")
        assert "GRUB" not in boot.text()
