"""stationctl inspect: what is on a card and whether it is as it was written, and never one byte changed."""

import json
import os
import stat
import struct
import subprocess
import threading
import time
import uuid
import zlib

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import CallFailed, Client, PracticeStation, wait_until
from writer_bench import MIB, bytes_at, sha256_of

from test_station import add_image, card_file, configure, is_over, writers_of

CARD_BYTES = 8 * MIB
IMAGE_BYTES = 2 * MIB + 700


@pytest.fixture
def bare(programs):
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.declare("slot2", "3")
        yield station


@pytest.fixture
def station(bare):
    """A station with slot1 in port 2, armed with `image1`, and slot2 in port 3 with nothing."""
    bare.start()
    add_image(bare, "image1", IMAGE_BYTES)
    bare.call("Assign", slots=["slot1"], image="image1")
    return bare


def write_card(station, card, slot="slot1", port="2"):
    reader = station.bench.insert(port, card, slot)
    assert station.wait_for_state(slot, "passed", "failed", "refused")["state"] == "passed"
    return reader


def inspect(station, slot="slot1"):
    """The inspection; nothing may have changed by it: neither a slot's state, nor history, nor a byte."""
    before = [station.call("GetStatus"), station.history()]
    result = json.loads(station.stationctl("inspect", slot, "--json").stdout)
    assert [station.call("GetStatus"), station.history()] == before
    return result


def gpt(partitions):
    """A protective MBR and a GPT of (first sector, sectors, name), as the first 34 sectors hold them."""
    entries = b""
    for first, count, name in partitions:
        entries += (uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le + uuid.uuid4().bytes_le
                    + struct.pack("<QQQ", first, first + count - 1, 0) + name.encode("utf-16-le").ljust(72, b"\0"))
    entries = entries.ljust(128 * 128, b"\0")
    header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 1 << 16, 92, 0, 0, 1, 131071, 34, 131038, uuid.uuid4().bytes_le,
                         2, 128, 128, zlib.crc32(entries))
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    mbr = bytes(446) + bytes([0, 0, 2, 0, 0xEE, 255, 255, 255]) + struct.pack("<II", 1, 131071) + bytes(48) + b"\x55\xaa"
    return mbr + header.ljust(512, b"\0") + entries


def flip(card, offset, mask=1):
    """Inverts bits on the medium, behind everybody's back."""
    with open(card.backing, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


# -- what it finds ------------------------------------------------------------------------------------

def test_a_card_as_it_was_written_is_intact_and_not_one_byte_is_written_to_it(station):
    with PracticeCard(CARD_BYTES) as card:
        write_card(station, card)
        before = sha256_of(card.backing)
        card.control({"do": "reset"})
        found = inspect(station)
        state = card.control({"do": "state"})
        assert (state["requests"].get("write", 0), state["requests"].get("trim", 0)) == (0, 0), state
        assert state["bytes"]["read"] >= IMAGE_BYTES, (state, found)
        assert sha256_of(card.backing) == before
        assert found["origin"] == "intact" and found["jobCount"] == 1
        assert found["job"]["id"] == station.history()[0]["id"]
        comparison, = found["contents"]["comparisons"]
        assert comparison["readSHA256"] == comparison["sha256"] and comparison["byteCount"] == IMAGE_BYTES
        assert found["contents"]["table"] == "dos" and len(found["contents"]["partitions"]) == 1
        text = station.stationctl("inspect", "slot1").stdout
        assert "written here" in text and "from image1" in text and "still intact" in text
        assert station.slot("slot1")["state"] == "passed", "a latched card stays latched"


@pytest.mark.parametrize("offset", [0, 65535, 65536, MIB, IMAGE_BYTES - 1])
def test_one_flipped_bit_is_found_wherever_it_is(station, offset):
    with LoopCard(CARD_BYTES) as card:
        write_card(station, card)
        flip(card, offset)
        before = sha256_of(card.backing)
        found = inspect(station)
        assert found["origin"] == "changed" and sha256_of(card.backing) == before
        comparison, = found["contents"]["comparisons"]
        assert (comparison["firstDifferentOffset"], comparison["differentByteCount"]) == (offset, 1)
        text = station.stationctl("inspect", "slot1").stdout
        assert f"changed since: 1 byte differs, the first at offset {offset}" in text


def test_a_bit_behind_the_image_is_no_change_of_it(station):
    with LoopCard(CARD_BYTES) as card:
        write_card(station, card)
        flip(card, IMAGE_BYTES + 4096)
        assert inspect(station)["origin"] == "intact"


def test_a_card_that_was_written_elsewhere_in_the_station_waits_and_is_known(station):
    path = card_file(station, "card", CARD_BYTES)
    with LoopCard(CARD_BYTES, backing=path) as card:
        reader = write_card(station, card)
        station.stationctl("flash", "slot1", "--follow")
        reader.unplug()
        station.wait_for_state("slot1", "absent")
    with LoopCard(CARD_BYTES, backing=path) as card:
        station.bench.insert("3", card, "slot2")
        assert station.wait_for_state("slot2", "waiting")["reason"] == "unassigned"
        found = inspect(station, "slot2")
        assert found["origin"] == "intact" and found["jobCount"] == 2
        assert found["job"]["id"] == station.history()[0]["id"]
        assert "by one of 2 jobs" in station.stationctl("inspect", "slot2").stdout
        assert station.slot("slot2")["state"] == "waiting"
        flip(card, MIB + 5, mask=0xFF)
        assert inspect(station, "slot2")["origin"] == "changed"
        # Where its first bytes are others, nothing says what it was.
        flip(card, 100)
        assert inspect(station, "slot2")["origin"] == "not_ours"


def test_an_image_that_is_gone_leaves_its_sha256_to_go_by(station):
    with LoopCard(CARD_BYTES) as card:
        write_card(station, card)
        station.call("Unassign", slots=["slot1"])
        station.call("RemoveImage", name="image1")
        assert inspect(station)["origin"] == "intact"
        flip(card, MIB + 5)
        found = inspect(station)
        assert found["origin"] == "changed"
        assert "firstDifferentOffset" not in found["contents"]["comparisons"][0]
        assert "no longer in the library" in station.stationctl("inspect", "slot1").stdout


def test_tables_file_systems_and_labels_of_a_stranger_are_shown_and_are_printable(station):
    with LoopCard(64 * MIB) as card:
        with open(card.backing, "r+b") as file:
            file.write(gpt([(2048, 16 * 2048, "e\u202evil"), (40960, 2048, "")]))
        raw = os.path.join(station.directory, "fs")
        with open(raw, "wb") as file:
            file.truncate(16 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "a\x1b[31mb", raw], check=True, capture_output=True)
        with open(raw, "rb") as source, open(card.backing, "r+b") as target:
            target.seek(MIB)
            target.write(source.read())
        station.bench.insert("3", card, "slot2")
        station.wait_for_state("slot2", "waiting")
        before = sha256_of(card.backing)
        found = inspect(station, "slot2")
        assert found["origin"] == "not_ours" and found["contents"]["table"] == "gpt"
        first, second = found["contents"]["partitions"]
        assert (first["number"], first["offset"], first["byteCount"]) == (1, MIB, 16 * MIB)
        assert first["signature"]["type"] == "ext4" and first["signature"]["label"] == "a?[31mb"
        assert first["name"] == "e?vil" and second["signature"] == {}
        text = station.stationctl("inspect", "slot2").stdout
        assert "not written here" in text and "\x1b" not in text and "ext4" in text
        assert sha256_of(card.backing) == before


def test_a_marker_tells_whose_card_it_was(station):
    with PracticeCard(CARD_BYTES) as card:
        card.control({"fault": "stuck", "offset": MIB + 20 * 4096 + 104, "mask": 255, "value": 1})
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "failed")
        found = inspect(station)
        assert found["origin"] == "unfinished" and found["contents"]["marker"]["state"] == "failed"
        assert found["job"]["id"] == found["contents"]["marker"]["job"] == station.history()[0]["id"]
        assert found["memory"]["state"] == "suspect"
        assert "left failed: data_mismatch by job" in station.stationctl("inspect", "slot1").stdout


# -- what it does not do ------------------------------------------------------------------------------

def test_its_writer_has_no_descriptor_that_could_write_and_the_same_doors_closed(station):
    with PracticeCard(CARD_BYTES) as card:
        write_card(station, card)
        card.control({"do": "rate", "read_rate": MIB, "write_rate": 0, "latency": 0})
        with Client(station.socket) as client:
            client.send("Inspect", {"slot": "slot1"}, more=True)
            while client.reply()["parameters"]["bytesDone"] == 0:
                pass
            process, = writers_of(station)
            flags = {}
            for number in os.listdir(f"/proc/{process}/fd"):
                if stat.S_ISBLK(os.stat(f"/proc/{process}/fd/{number}").st_mode):
                    with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii") as file:
                        fields = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
                    flags[number] = int(fields["flags"], 8) & os.O_ACCMODE
            assert len(flags) >= 2 and set(flags.values()) == {os.O_RDONLY}, flags
            with open(f"/proc/{process}/status", encoding="ascii") as file:
                assert "Seccomp:\t2" in file.read()
            while client.reply().get("continues"):
                pass


def test_what_the_guard_refuses_is_said_as_it_is(bare):
    configure(bare, "[Guard]\nProtectedLabels=KEEP_ME\n")
    bare.start()
    with LoopCard(16 * MIB) as card:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "KEEP_ME", card.device], check=True, capture_output=True)
        bare.bench.insert("2", card, "slot1")
        bare.wait_for_state("slot1", "waiting")
        before = sha256_of(card.backing)
        result = bare.stationctl("inspect", "slot1", "--json", check=False)
        error = json.loads(result.stdout)["error"]
        assert (error["code"], result.returncode) == ("protected_label", 6) and "KEEP_ME" in error["message"]
        held = os.open(card.device, os.O_RDONLY | os.O_EXCL)
        try:
            result = bare.stationctl("inspect", "slot1", "--json", check=False)
            assert json.loads(result.stdout)["error"]["code"] == "device_busy"
        finally:
            os.close(held)
        assert sha256_of(card.backing) == before and bare.history() == []


def test_without_a_card_or_while_a_job_runs_there_is_nothing_to_look_at(station):
    def code(slot="slot1"):
        result = station.stationctl("inspect", slot, "--json", check=False)
        assert result.returncode != 0
        return json.loads(result.stdout)["error"]["code"]

    assert code() == "no_card" and code("slot9") == "slot_unknown"
    with PracticeCard(CARD_BYTES, write_rate=4 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        assert code() == "job_running"
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"


def test_a_job_ends_a_look_and_is_not_disturbed_by_it(station):
    with PracticeCard(CARD_BYTES) as card:
        write_card(station, card)
        card.control({"do": "rate", "read_rate": MIB, "write_rate": 0, "latency": 0})
        results = []
        with Client(station.socket) as client:
            client.send("Inspect", {"slot": "slot1"}, more=True)
            while client.reply()["parameters"]["bytesDone"] == 0:
                pass
            second = station.stationctl("inspect", "slot1", "--json", check=False)
            assert json.loads(second.stdout)["error"]["code"] == "inspection_running"
            card.control({"do": "rate", "read_rate": 0, "write_rate": 0, "latency": 0})
            thread = threading.Thread(
                target=lambda: results.append(station.stationctl("flash", "slot1", "--follow", check=False)))
            # Slow again, so that the look cannot end by itself before the job begins.
            card.control({"do": "rate", "read_rate": MIB // 4, "write_rate": 0, "latency": 0})
            thread.start()
            error = None
            while error is None:
                try:
                    assert client.reply().get("continues"), "the look ended by itself"
                except Exception as failed:
                    error = failed.parameters["code"]
            assert error == "inspection_ended"
            card.control({"do": "rate", "read_rate": 0, "write_rate": 0, "latency": 0})
            thread.join(60)
        assert results[0].returncode == 0, results[0].stdout + results[0].stderr
        assert bytes_at(card, 0, 512) and station.slot("slot1")["state"] == "passed"
        assert inspect(station)["origin"] == "intact"


def is_looked_at(station, client=None):
    """Asks for a look; whether it began. Without a client of the caller's nobody waits for it."""
    if client is None:
        with Client(station.socket) as passing:
            return is_looked_at(station, passing)
    client.send("Inspect", {"slot": "slot1"}, more=True)
    try:
        client.reply()
    except CallFailed as failure:
        assert failure.parameters["code"] == "inspection_running"
        return False
    return True


def test_who_asks_for_looks_and_goes_has_no_more_writers_started_than_a_slot_s_socket_lets(station):
    with PracticeCard(CARD_BYTES) as card:
        write_card(station, card)
        began = time.monotonic()
        begun = sum(is_looked_at(station) for _ in range(60))
        # The socket allows ten a second.
        assert 1 <= begun <= 2 + (time.monotonic() - began)
        station.call("Flash", slot="slot1", isDryRun=False)
        assert station.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"


def test_a_look_ends_when_nobody_waits_for_it_and_when_the_card_is_pulled(station):
    with PracticeCard(CARD_BYTES) as card:
        reader = write_card(station, card)
        card.control({"do": "rate", "read_rate": MIB, "write_rate": 0, "latency": 0})
        with Client(station.socket) as client:
            client.send("Inspect", {"slot": "slot1"}, more=True)
            while client.reply()["parameters"]["bytesDone"] == 0:
                pass
            process, = writers_of(station)
        wait_until(lambda: is_over(process), what="the writer's end")
        with Client(station.socket) as client:
            wait_until(lambda: is_looked_at(station, client), what="another look")
            while client.reply()["parameters"]["bytesDone"] == 0:
                pass
            card.control({"fault": "gone"})
            reader.unplug()
            reply = client.reply()
            while reply.get("continues"):
                reply = client.reply()
        assert reply["parameters"]["inspection"]["origin"] == "unreadable"
        assert station.wait_for_state("slot1", "absent")
        assert len(station.history()) == 1
