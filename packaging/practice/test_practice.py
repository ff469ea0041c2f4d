"""Does the bench itself tell the truth? Run with: /usr/bin/python3 -m pytest packaging/practice

Needs root, loop devices, FUSE, and the Debian packages nbdkit, nbdkit-plugin-python, libnbd-bin, fuse3,
libumockdev0, libudev-dev, gcc and python3-pytest.
"""

import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from practice_card import (  # noqa: E402
    LoopCard, PracticeCard, PracticeError, cleanup, identity, parse_bytes, wait_until)
from virtual_reader import VirtualBench, string_hash  # noqa: E402

MIB = 1 << 20


def pattern(length, seed):
    """Bytes that differ from block to block: each 512 hold their number and the seed."""
    return b"".join((number.to_bytes(8, "little") + bytes([seed])).ljust(512, bytes([seed ^ 0x5A]))
                    for number in range((length + 511) // 512))[:length]


def aligned(length):
    return memoryview(mmap.mmap(-1, max(length, mmap.PAGESIZE)))[:length]


def write_at(card, offset, data):
    """One O_DIRECT write; raises OSError as the card does."""
    buffer = aligned(len(data))
    buffer[:] = data
    descriptor = os.open(card.device, os.O_WRONLY | os.O_DIRECT)
    try:
        assert os.pwrite(descriptor, buffer, offset) == len(data)
    finally:
        os.close(descriptor)


def read_at(card, offset, length):
    """One O_DIRECT read."""
    buffer = aligned(length)
    descriptor = os.open(card.device, os.O_RDONLY | os.O_DIRECT)
    try:
        assert os.preadv(descriptor, [buffer], offset) == length
    finally:
        os.close(descriptor)
    return bytes(buffer)


def backing_at(card, offset, length):
    with open(card.backing, "rb") as file:
        file.seek(offset)
        return file.read(length)


@pytest.fixture(scope="module")
def shared_card():
    with PracticeCard("64M") as card:
        yield card


@pytest.fixture
def card(shared_card):
    """A sound, unlimited card of 64 MiB with zeros in it; each test sets its own fault."""
    shared_card.control({"do": "clear"})
    shared_card.control({"do": "rate", "write_rate": 0, "read_rate": 0, "latency": 0})
    os.truncate(shared_card.backing, 0)
    os.truncate(shared_card.backing, shared_card.size)
    shared_card.control({"do": "reset"})
    return shared_card


# -- the clock ----------------------------------------------------------------------------------------

def test_byte_counts_follow_coreutils():
    assert parse_bytes("20MB") == 20_000_000 and parse_bytes("512M") == 512 * MIB and parse_bytes("7") == 7
    assert parse_bytes("64kB") == 64_000 and parse_bytes("1GiB") == 1 << 30
    with pytest.raises(ValueError):
        parse_bytes("20 apples")


@pytest.mark.parametrize("operation, rate", [("write", 20e6), ("read", 40e6)])
def test_clock_is_right(card, operation, rate):
    """A client that keeps 4 MiB in flight gets the rate that was asked for, and nothing beyond it."""
    card.control({"do": "rate", "write_rate": 20_000_000, "read_rate": 40_000_000, "latency": 0.001})
    length, count = 4 * MIB, 4
    buffer = aligned(length)
    buffer[:] = pattern(length, 1)
    best = None
    for _ in range(8):  # a busy machine may spoil a try; it can only ever make it slower
        card.control({"do": "reset"})
        descriptor = os.open(card.device, os.O_RDWR | os.O_DIRECT)
        start = time.monotonic()
        for number in range(count):
            if operation == "write":
                assert os.pwrite(descriptor, buffer, number * length) == length
            else:
                assert os.preadv(descriptor, [buffer], number * length) == length
        took = time.monotonic() - start
        os.close(descriptor)
        state = card.state()
        requests = sum(state["request_sizes"][operation].values())
        ideal = requests * 0.001 + count * length / rate
        assert state["ideal_seconds"] == pytest.approx(ideal, rel=1e-6)
        assert took >= ideal
        best = min(best or took / ideal, took / ideal)
        if best < 1.05:
            return
    assert best < 1.05


def test_reading_and_writing_share_one_clock(card):
    card.control({"do": "rate", "write_rate": 40_000_000, "read_rate": 40_000_000, "latency": 0})
    data = pattern(4 * MIB, 1)
    threads = [threading.Thread(target=write_at, args=(card, 0, data)),
               threading.Thread(target=read_at, args=(card, 32 * MIB, len(data)))]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    ideal = 8 * MIB / 40e6
    assert took >= ideal  # with a clock for each it would be half of that
    assert card.state()["most_in_flight"] > 1


def test_idle_time_is_not_saved_up(card):
    card.control({"do": "rate", "write_rate": 20_000_000})
    start = time.monotonic()
    wait_until(lambda: time.monotonic() - start > 0.5, 1, "half a second of doing nothing")
    start = time.monotonic()
    write_at(card, 0, pattern(4 * MIB, 1))
    assert time.monotonic() - start >= 4 * MIB / 20e6


# -- faults -------------------------------------------------------------------------------------------

def test_sound_card_keeps_what_is_written(card):
    data = pattern(3 * MIB, 7)
    write_at(card, 4096, data)
    assert read_at(card, 4096, len(data)) == data == backing_at(card, 4096, len(data))
    assert card.state()["bytes"] == {"write": len(data), "read": len(data)}


@pytest.mark.parametrize("size", [512, 4096])
def test_sector_sizes(size):
    with PracticeCard("8M", sector_size=size) as card:
        write_at(card, size, pattern(size, 3))
        assert backing_at(card, size, size) == pattern(size, 3)
        if size > 512:
            with pytest.raises(OSError) as caught:
                write_at(card, 512, pattern(512, 3))
            assert caught.value.errno == errno.EINVAL


def test_drop_all_and_after_an_offset_and_in_a_range(card):
    data = pattern(MIB, 1)
    card.control({"fault": "drop"})
    write_at(card, 0, data)
    assert read_at(card, 0, MIB) == bytes(MIB)
    card.control({"do": "clear"})
    card.control({"fault": "drop", "from": MIB // 2 + 512})
    write_at(card, 0, data)
    assert read_at(card, 0, MIB) == data[:MIB // 2 + 512] + bytes(MIB // 2 - 512)
    card.control({"do": "clear"})
    card.control({"fault": "drop", "from": 4 * MIB + 1000, "to": 4 * MIB + 3000})
    write_at(card, 4 * MIB, data)
    assert backing_at(card, 4 * MIB, MIB) == data[:1000] + bytes(2000) + data[3000:]


def test_drop_at_random_is_repeatable(card):
    def lost(offset):
        card.control({"do": "clear"})
        card.control({"fault": "drop", "probability": 0.05, "seed": 42})
        write_at(card, 0, pattern(4 * MIB, offset))
        content = read_at(card, 0, 4 * MIB)
        expected = pattern(4 * MIB, offset)
        return [block for block in range(1024)
                if content[block * 4096:block * 4096 + 4096] != expected[block * 4096:block * 4096 + 4096]]
    first, second = lost(1), lost(2)
    assert first == second and 20 < len(first) < 100


def test_wrap_at_a_capacity_that_is_no_power_of_two(card):
    capacity = 10_000_384
    card.control({"fault": "wrap", "capacity": capacity})
    write_at(card, 0, pattern(MIB, 1))
    start = capacity // 512 * 512  # a request that begins below the real end and goes on at the beginning
    data = pattern(MIB, 2)
    write_at(card, start, data)
    assert backing_at(card, 0, 4096) == data[capacity - start:][:4096]
    assert read_at(card, start, MIB) == data
    assert read_at(card, 0, 4096) == data[capacity - start:][:4096]


def test_wrap_with_a_cache_answers_from_memory_until_it_is_full(card):
    card.control({"fault": "wrap", "capacity": 9_999_872, "cache": 4 * MIB})
    write_at(card, 0, pattern(MIB, 1))
    write_at(card, 9_999_872, pattern(MIB, 2))
    assert read_at(card, 0, MIB) == pattern(MIB, 1)  # a lie: the medium has the second pattern there
    assert backing_at(card, 0, MIB) == pattern(MIB, 2)
    for number in range(5):
        read_at(card, (30 + number) * MIB, MIB)
    assert read_at(card, 0, MIB) == pattern(MIB, 2)
    assert card.state()["cache_answers"] >= 256


def test_limbo(card):
    card.control({"fault": "limbo", "capacity": 2 * MIB + 512})
    write_at(card, 2 * MIB, pattern(MIB, 1))
    assert read_at(card, 2 * MIB, MIB) == pattern(MIB, 1)[:512] + bytes(MIB - 512)


def test_flips_on_the_way_in_and_out_and_on_the_second_read(card):
    data = pattern(MIB, 1)
    flipped = bytearray(data)
    flipped[5000] ^= 0x10
    card.control({"fault": "flip", "offset": 5000, "mask": 0x10, "times": 1})
    write_at(card, 0, data)
    assert backing_at(card, 0, MIB) == bytes(flipped)
    write_at(card, 0, data)
    assert backing_at(card, 0, MIB) == data
    card.control({"do": "clear"})
    card.control({"fault": "flip", "on": "read", "offset": 5000, "mask": 0x10, "nth": 2})
    assert [read_at(card, 0, 8192) == data[:8192] for _ in range(3)] == [True, False, True]
    assert backing_at(card, 0, MIB) == data


def test_stuck_bit(card):
    card.control({"fault": "stuck", "offset": 4096, "mask": 0x80, "value": 1})
    write_at(card, 4096, bytes(4096))
    assert read_at(card, 4096, 4096) == b"\x80" + bytes(4095)
    write_at(card, 4096, b"\xff" * 4096)
    assert read_at(card, 4096, 4096) == b"\xff" * 4096


def test_old_content_and_zeros(card):
    write_at(card, 0, pattern(MIB, 1))
    card.control({"fault": "old"})
    write_at(card, 0, pattern(MIB, 2))
    assert read_at(card, 0, MIB) == pattern(MIB, 1)
    card.control({"do": "clear"})
    card.control({"fault": "zeros", "from": 512, "to": 1024})
    assert read_at(card, 0, 4096) == pattern(512, 1) + bytes(512) + pattern(4096, 1)[1024:]


def test_errors_on_read_and_write_that_clear_and_that_do_not(card):
    card.control({"fault": "error", "on": "write", "from": MIB, "to": MIB + 1, "times": 2})
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            write_at(card, MIB, pattern(4096, 1))
        assert caught.value.errno == errno.EIO
    write_at(card, MIB, pattern(4096, 1))
    write_at(card, 0, pattern(4096, 1))
    card.control({"fault": "error", "on": "read", "probability": 0.5, "seed": 1})
    failed = 0
    for number in range(40):
        try:
            read_at(card, number * 4096, 4096)
        except OSError as error:
            assert error.errno == errno.EIO
            failed += 1
    assert 8 < failed < 32
    assert card.state()["errors"] == failed + 2


def test_delay_of_the_nth_request(card):
    card.control({"fault": "delay", "on": "write", "nth": 2, "seconds": 0.4})
    took = []
    for _ in range(3):
        start = time.monotonic()
        write_at(card, 0, pattern(4096, 1))
        took.append(time.monotonic() - start)
    assert took[0] < 0.4 and took[2] < 0.4 <= took[1]


def test_hang_until_released(card):
    card.control({"fault": "hang", "on": "write", "from": 8 * MIB})
    write_at(card, 0, pattern(4096, 1))
    writer = threading.Thread(target=write_at, args=(card, 8 * MIB, pattern(4096, 2)))
    writer.start()
    wait_until(lambda: card.state()["waiting"], 5, "the write to hang")
    reader = threading.Thread(target=read_at, args=(card, 0, 4096))
    reader.start()  # one device: what comes after the hang waits too
    wait_until(lambda: card.state()["waiting"] == 2, 5, "the read to hang")
    assert card.control({"do": "release"})["hanging"] is False
    writer.join(5)
    reader.join(5)
    assert not writer.is_alive() and not reader.is_alive()
    assert backing_at(card, 8 * MIB, 4096) == pattern(4096, 2)


def test_write_protect_half_way_and_gone(card):
    card.control({"fault": "protect", "after": 2 * MIB})
    written = 0
    with pytest.raises(OSError) as caught:
        for number in range(8):
            write_at(card, number * MIB, pattern(MIB, 1))
            written += MIB
    assert caught.value.errno in (errno.EIO, errno.EPERM, errno.EROFS) and MIB <= written <= 2 * MIB
    assert read_at(card, 0, MIB) == pattern(MIB, 1)
    card.control({"fault": "gone"})
    with pytest.raises(OSError):
        read_at(card, 0, 4096)


def test_gone_ends_a_hang(card):
    card.control({"fault": "hang"})
    outcome = []

    def read():
        try:
            outcome.append(read_at(card, 0, 4096))
        except OSError as error:
            outcome.append(error.errno)
    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: card.state()["waiting"], 5, "the read to hang")
    card.control({"fault": "gone"})
    thread.join(5)
    assert outcome == [errno.EIO]


def test_another_card_under_the_same_descriptor(tmp_path):
    with PracticeCard("8M") as card:
        write_at(card, 0, pattern(4096, 1))
        card.control({"fault": "swap", "backing": str(tmp_path / "other")})
        assert read_at(card, 0, 4096) == bytes(4096)
        write_at(card, 0, pattern(4096, 2))
        assert backing_at(card, 0, 4096) == pattern(4096, 1)
        assert (tmp_path / "other").read_bytes()[:4096] == pattern(4096, 2)


def test_a_misspelt_fault_is_refused(card):
    for wrong in ({"fault": "dorp"}, {"fault": "drop", "form": 3}, {"fault": "flip"}, {"fault": "wrap"}):
        with pytest.raises(PracticeError):
            card.control(wrong)
    with pytest.raises(PracticeError):
        PracticeCard("8M", faults=[{"fault": "drop", "form": 3}])


def test_faults_from_the_start_and_hits():
    with PracticeCard("8M", faults=[{"fault": "drop", "to": 4096}]) as card:
        write_at(card, 0, pattern(8192, 1))
        assert backing_at(card, 0, 8192) == bytes(4096) + pattern(8192, 1)[4096:]
        assert card.state()["faults"][0]["hits"] == 1


def test_size_that_changes_and_write_protection(card):
    size = card.loop.size
    descriptor = os.open(card.device, os.O_RDONLY)
    try:
        card.resize("8M")
        assert os.lseek(descriptor, 0, os.SEEK_END) == 8 * MIB
    finally:
        os.close(descriptor)
        card.resize(0)
    assert card.loop.size == size
    card.set_read_only()
    try:
        with pytest.raises(OSError) as caught:
            write_at(card, 0, bytes(4096))
        assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    finally:
        card.set_read_only(False)


@pytest.mark.parametrize("discard", ["none", "zeros", "keeps"])
def test_discard(discard):
    with PracticeCard("8M", discard=discard) as card:
        write_at(card, 0, pattern(MIB, 1))
        # Also where it is refused: the kernel ignores that of a loop device.
        subprocess.run(["blkdiscard", "--force", card.device], stderr=subprocess.DEVNULL, check=True)
        assert card.state()["requests"].get("trim", 0) == (0 if discard == "none" else 1)
        assert read_at(card, 0, MIB) == (bytes(MIB) if discard == "zeros" else pattern(MIB, 1))


# -- life and death -----------------------------------------------------------------------------------

def create(*arguments):
    process = subprocess.Popen([sys.executable, os.path.join(HERE, "practice_card.py"), "create", *arguments],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())


def detached(facts):
    return not os.path.exists(f"/sys/block/{os.path.basename(facts['device'])}/loop/backing_file")


def test_command_line_lives_until_its_input_ends():
    process, facts = create("--size", "8M", "--write-rate", "20MB", "--fault", '{"fault":"drop"}')
    process.stdin.write('{"do":"state"}\n{"fault":"dorp"}\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["write_rate"] == 20_000_000
    assert json.loads(process.stdout.readline())["ok"] is False
    process.stdin.close()
    assert process.wait(10) == 0
    assert detached(facts) and not os.path.exists(facts["directory"])


def test_kill_9_of_the_owner_frees_a_process_that_hangs_and_leaves_no_device():
    process, facts = create("--size", "8M", "--fault", '{"fault":"hang"}')
    processes = [identity(facts[name]) for name in ("nbdkit", "nbdfuse")]
    reader = subprocess.Popen(["dd", f"if={facts['device']}", "of=/dev/null", "iflag=direct", "bs=4k", "count=1"],
                              stderr=subprocess.DEVNULL)
    with open(f"/proc/{reader.pid}/comm", encoding="ascii"):
        pass  # it is there; and it stays there:
    wait_until(lambda: open(f"/proc/{reader.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "D",
               5, "dd to hang in the kernel")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert reader.wait(5) != 0
    wait_until(lambda: detached(facts), 5, "the loop device to be detached")
    wait_until(lambda: all(identity(pid) != [pid, start] for pid, start in processes), 5, "nbdkit and nbdfuse to end")
    assert facts["directory"] in cleanup()
    assert not os.path.exists(facts["directory"])
    process.stdin.close()
    process.stdout.close()


def test_cleanup_leaves_living_cards_alone(card):
    assert card.directory not in cleanup() and os.path.exists(card.directory)


def test_a_card_is_not_protected_because_the_one_before_was_left_so():
    with LoopCard(MIB) as card:
        card.set_read_only()
        number = card.loop.number
    for _ in range(3):
        with LoopCard(MIB) as card:
            with open(f"/sys/block/loop{card.loop.number}/ro", encoding="ascii") as file:
                assert file.read().strip() == "0"
            if card.loop.number == number:
                return
    raise AssertionError(f"loop{number} was not met again")


def test_loop_card_is_quick_and_plain():
    start = time.monotonic()
    with LoopCard("16M", sector_size=4096) as card:
        write_at(card, 4096, pattern(4096, 1))
        assert backing_at(card, 4096, 4096) == pattern(4096, 1)
        with pytest.raises(PracticeError):
            card.control({"fault": "drop"})
        number = card.diskseq
    with LoopCard("16M") as card:
        assert card.diskseq > number
    assert time.monotonic() - start < 5


# -- virtual readers ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("probe") / "probe")
    subprocess.run(["gcc", "-Wall", "-O1", "-o", program, os.path.join(HERE, "probe.c"), "-ludev"], check=True)
    return program


@pytest.fixture(scope="module")
def cards():
    with LoopCard("16M") as first, LoopCard("8M", sector_size=4096) as second:
        yield first, second


@pytest.fixture
def bench():
    with VirtualBench() as bench:
        yield bench


def output(bench, *arguments):
    process = bench.spawn(list(arguments), stdout=subprocess.PIPE, text=True)
    text, _ = process.communicate(timeout=20)
    return text


def records(text):
    """The probe's devices: a list of dicts with its lines, properties under their own names."""
    result = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "DEVICE":
            action, path, node = rest.split(" ")
            result.append({"action": action, "path": path, "node": node})
        elif word == "P":
            key, _, value = rest.partition("=")
            result[-1][key] = value
        elif result and word != "END":
            result[-1][word] = rest
    return result


class Monitor:
    """A process in the bench that waits for so many events. Its output is read all the time: a pipe that is
    full would make it deaf."""

    def __init__(self, bench, probe, count):
        self.process = bench.spawn([probe, "monitor", str(count)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("ready")
        self.text = ""
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        self.text = self.process.stdout.read()

    def events(self):
        assert self.process.wait(20) == 0
        self.thread.join(5)
        return records(self.text)


def test_hash_is_udevs():
    # Fixed points of MurmurHash2: a wrong one would make the kernel's socket filter swallow every event.
    assert string_hash("") == 0
    assert string_hash("block") != string_hash("blocl")


@pytest.mark.parametrize("speed, bus", [(480, "usb1"), (5000, "usb2")])
def test_enumeration_shows_the_topology(bench, probe, cards, speed, bus):
    card = cards[0]
    reader = bench.plug("2.1", [card], speed=speed, slots={0: "slot1"}, quiet=True)
    # through a child, to see that children live in the bench too
    text = output(bench, probe, "child", "enumerate")
    found = [record for record in records(text) if record["node"] == reader.device]
    assert len(found) == 1
    disk = found[0]
    number = os.stat(card.device).st_rdev
    hub = bus.removeprefix("usb")
    assert disk["path"] == f"/sys/devices/pci0000:00/0000:00:03.0/{bus}/{hub}-2/{hub}-2.1/{hub}-2.1:1.0/host6/" \
        "target6:0:0/6:0:0:0/block/" + os.path.basename(reader.device)
    assert disk["number"].startswith(f"{os.major(number)}:{os.minor(number)} ")
    assert disk["DISKSEQ"] == str(card.diskseq) and disk["size"] == str(card.size // 512)
    assert disk["usb"].endswith(f"{hub}-2.1 speed {speed} vendor 05e3")
    assert disk["scsi"] == "6:0:0:0" and disk["pci"] == "0000:00:03.0"
    assert disk["DEVTYPE"] == "disk" and disk["ID_BUS"] == "usb" and disk["STATION_SLOT"] == "slot1"


def test_insert_and_remove_events(bench, probe, cards):
    monitor = Monitor(bench, probe, 3)
    reader = bench.insert("2", cards[0])
    reader.duplicate_add()
    reader.unplug()
    add, again, remove = monitor.events()
    assert add["action"] == again["action"] == "add" and remove["action"] == "remove"
    assert add["DISKSEQ"] == str(cards[0].diskseq) and "DISK_MEDIA_CHANGE" not in add
    assert remove["DEVNAME"] == add["DEVNAME"] == reader.device
    assert not os.path.exists(bench.real(add["path"])) and reader.device not in output(bench, probe, "enumerate")


def test_media_changes_in_a_reader_with_two_slots(bench, probe, cards):
    reader = bench.plug("3", [cards[0], None], slots={0: "left", 1: "right"}, quiet=True)
    monitor = Monitor(bench, probe, 4)
    reader.media_change(cards[1], lun=1)
    reader.media_change(None, lun=1)
    reader.change(lun=0)
    reader.change(lun=0, failed=True)
    full, empty, plain, failed = monitor.events()
    assert full["DISK_MEDIA_CHANGE"] == empty["DISK_MEDIA_CHANGE"] == "1" and "DISK_MEDIA_CHANGE" not in plain
    assert full["DISKSEQ"] == str(cards[1].diskseq) and full["STATION_SLOT"] == "right"
    assert int(empty["DISKSEQ"]) > int(full["DISKSEQ"])
    assert reader.disks[1].device.get("size") == "0" and plain["DEVNAME"] == reader.device
    assert failed["UDEV_WORKER_FAILED"] == "1" and "ID_BUS" not in failed and failed["DISKSEQ"] == plain["DISKSEQ"]


def test_partitions_and_the_slots_link(bench, probe, cards):
    reader = bench.plug("2", [cards[0]], slots={0: "slot1"}, partitions={0: [(2048, 4096), (8192, 1024)]}, quiet=True)
    found = [record for record in records(output(bench, probe, "enumerate")) if record["path"].startswith(
        reader.disks[0].device.path)]
    assert sorted(record["DEVTYPE"] for record in found) == ["disk", "partition", "partition"]
    assert {record["size"] for record in found if record["DEVTYPE"] == "partition"} == {"4096", "1024"}
    assert output(bench, "readlink", "/dev/flashing-station/slot1").strip() == f"../{os.path.basename(reader.device)}"
    reader.unplug()
    assert not os.path.lexists(bench.real("/dev/flashing-station/slot1"))


def test_calls_that_the_bench_redirects(bench, probe, cards):
    reader = bench.plug("2", [cards[0]], quiet=True)
    answers = {line.split(" ")[0]: line.split(" ", 2)[1:] for line in
               output(bench, probe, "calls", reader.device, reader.disks[0].device.path).splitlines()}
    number = os.stat(cards[0].device).st_rdev
    assert answers["BLKGETSIZE64"] == ["yes", str(cards[0].size)] == answers["openat-cwd-ioctl"]
    assert answers["BLKGETDISKSEQ"] == ["yes", str(cards[0].diskseq)]
    for name in ("fstat", "stat-node", "lstat-node", "statx-node", "fstatat-node", "openat-cwd"):
        assert answers[name] == ["yes", f"{os.major(number)}:{os.minor(number)}"], name
    # The product's code must do without these (and would see the host's files if it did not).
    assert {name for name, answer in answers.items() if answer[0] == "NO"} == {
        "readlink-proc-self-fd", "sysfs-scandir", "sysfs-nftw", "sysfs-faccessat", "sysfs-euidaccess",
        "syscall-openat", "run-udev"}


def test_what_is_written_through_the_bench_is_on_the_card(bench, cards):
    reader = bench.plug("2", [cards[0]], quiet=True)
    output(bench, "dd", "if=/dev/zero", f"of={reader.device}", "bs=1M", "count=1", "oflag=direct", "status=none")
    write_at(cards[0], 0, pattern(4096, 9))
    text = output(bench, "sh", "-c", f"dd if={reader.device} bs=4096 count=1 iflag=direct status=none | sha256sum")
    expected = subprocess.run(["sha256sum"], input=pattern(4096, 9), stdout=subprocess.PIPE, check=True).stdout.decode()
    assert text == expected


def test_the_hosts_own_disks_are_there_too(bench, probe):
    number = os.stat("/").st_dev
    if not os.path.exists(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"):
        pytest.skip("the root file system is on no block device")
    path = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    assert path in {record["path"] for record in records(output(bench, probe, "enumerate"))}
    assert output(bench, "realpath", f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").strip() == path


def test_storm_of_events_reaches_a_listener_and_gives_up_on_a_deaf_one(bench, probe, cards):
    bench.plug("2", [cards[0]], quiet=True)
    monitor = Monitor(bench, probe, 500)
    bench.event_storm(500)
    assert len(monitor.events()) == 500 and bench.lost == 0
    deaf = Monitor(bench, probe, 500)
    bench.patience = 0.3
    deaf.process.send_signal(signal.SIGSTOP)
    for _ in range(20):
        if bench.lost:
            break
        bench.event_storm(1)
    assert bench.lost == 1
    deaf.process.kill()
    deaf.process.wait()


def test_line_protocol_over_a_socket(probe, tmp_path):
    path = str(tmp_path / "bench")
    program = [sys.executable, os.path.join(HERE, "virtual_reader.py")]
    with subprocess.Popen([*program, "run", "--socket", path, "--", probe, "monitor", "3"], stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline().startswith("ready")

        def send(**message):
            done = subprocess.run([*program, "send", path, json.dumps(message)], stdout=subprocess.PIPE, check=False)
            return json.loads(done.stdout)
        assert send(do="card", name="a", size="8M", loop=True)["ok"]
        device = send(do="insert", port="2", card="a", slot="slot1")["device"]
        assert send(do="media_change", port="2", card=None)["ok"]
        assert send(do="insert", port="9", card="unheard of")["ok"] is False
        assert send(do="remove", port="2")["ok"]
        text, _ = process.communicate(timeout=20)
        assert process.returncode == 0
    assert [(record["action"], record["node"]) for record in records(text)] == [
        ("add", device), ("change", device), ("remove", device)]
