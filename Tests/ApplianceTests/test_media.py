"""A reader that keeps its disk while cards come and go in it: media changes, swaps under the writer, cards that hang."""
import pytest
from guest_station import verdict

STUCK = "d7c47c2485f848b5bd14c7971fe28575"


@pytest.fixture(scope="module")
def gadget(session_station):
    """A reader made in the guest with four places for cards, all empty: the slots lun0, which is slow, to lun3."""
    machine = session_station.machine
    session_station.make_ready()
    drop_in = "/run/systemd/system/station-writer@lun0.service.d/slow.conf"
    machine.put(b"[Service]\nIOReadBandwidthMax=/dev/flashing-station/lun0 24M\n"
                b"IOWriteBandwidthMax=/dev/flashing-station/lun0 4M\n", drop_in)
    machine.run("systemctl daemon-reload")
    gadget = machine.gadget_create(luns=4)
    gadget.wait_disks()
    yield gadget
    machine.gadget_remove(gadget)
    machine.run(f"rm {drop_in} && systemctl daemon-reload")


@pytest.fixture
def reader(station, gadget):
    """The gadget with no card in it."""
    for lun in range(gadget.luns):
        station.wait_state(f"lun{lun}", "empty")
    yield gadget
    for lun in range(gadget.luns):
        station.machine.gadget_eject(gadget, lun)


def guest_card(machine, name, mib, fill="\\0"):
    """A card in the guest: a file full of one byte."""
    path = f"/var/tmp/{name}.img"
    machine.run(f"head -c {mib}M /dev/zero | tr '\\0' '{fill}' > {path}")
    return path


def test_a_card_in_a_reader_that_stays_is_flashed_and_latched_until_it_leaves(station, machine, reader, images):
    before = len(station.history("--slot", "lun1"))
    path = guest_card(machine, "first", 12)
    machine.gadget_insert(reader, 1, path)
    assert verdict(station.wait_verdict("lun1")) == "passed"
    machine.run(f"cmp -n {images['image-b'].stat().st_size} {path} /mnt/share/image-b.img")
    machine.gadget_eject(reader, 1)
    station.wait_state("lun1", "empty")
    assert station.slot("lun0")["state"] == "empty"
    assert len(station.history("--slot", "lun1")) == before + 1


@pytest.mark.nightly
def test_four_cards_in_one_reader_come_and_go_each_for_itself(station, machine, reader, images):
    assert {machine.read(f"/sys/block/{disk}/events_poll_msecs") for disk in reader.wait_disks()} == {"1000"}
    before = {lun: len(station.history("--slot", f"lun{lun}")) for lun in range(4)}
    cards = {lun: guest_card(machine, f"card{lun}", 12) for lun in (0, 2, 3)}
    for lun, card in cards.items():
        machine.gadget_insert(reader, lun, card)
    assert {lun: verdict(station.wait_verdict(f"lun{lun}")) for lun in cards} == dict.fromkeys(cards, "passed")
    # Another one in the place of a finished one, faster than anybody asks whether there is one: the first was never seen gone.
    other = guest_card(machine, "other", 12, "x")
    job, sequence = station.slot("lun2")["job"]["id"], station.history("--slot", "lun2")[0]["deviceSequence"]
    machine.gadget_insert(reader, 2, other)
    slot = station.watch(lambda slots: slots["lun2"]["state"] == "passed" and slots["lun2"]["job"]["id"] != job
                         and slots["lun2"], what="the other card to pass")
    assert station.history("--slot", "lun2")[0]["deviceSequence"] > sequence
    assert slot["card"]["byteCount"] == 12 << 20
    size = images["image-b"].stat().st_size
    for card in (*cards.values(), other):
        machine.run(f"cmp -n {size} {card} /mnt/share/image-b.img")
    slots = {slot["name"]: slot for slot in station.json("status")["slots"]}
    assert [slots[f"lun{lun}"]["state"] for lun in range(4)] == ["passed", "empty", "passed", "passed"]
    assert {lun: len(station.history("--slot", f"lun{lun}")) - count for lun, count in before.items()} == {
        0: 1, 1: 0, 2: 2, 3: 1}


@pytest.mark.parametrize("phase", ["writing", pytest.param("probing", marks=pytest.mark.nightly)])
def test_a_card_swapped_under_the_writer_fails_and_only_what_was_under_way_reaches_the_other(station, machine, reader, phase):
    # So large that the reads behind the image are still under way when the other card is in.
    size = 40 if phase == "writing" else 120
    first, second = guest_card(machine, "first", size), guest_card(machine, "second", size, "x")
    machine.gadget_insert(reader, 0, first)
    station.watch(lambda slots: slots["lun0"]["state"] == "running", what="the job to begin")
    station.ctl("disarm", "lun0")
    station.wait_phase("lun0", phase, 1 << 20)
    machine.gadget_insert(reader, 0, second)
    station.watch(lambda slots: slots["lun0"]["state"] == "waiting", what="the second card to wait")
    report = station.history("--slot", "lun0")[0]["report"]
    changed = machine.run(f"tr -d x < {second} | wc -c").stdout.strip()
    print(f"swapped while {phase}: {verdict(report)} ({report['detail']}); {changed} bytes changed on the second card")
    assert verdict(report) == "failed card_changed"
    # The kernel tells nobody of the swap before it polls: the requests that were under way then are the window of SAFETY.md.
    assert int(changed) <= (4 << 20 if phase == "writing" else 0)


@pytest.mark.nightly
def test_a_card_that_hangs_is_stuck_and_nobody_else_is(station, machine, reader, new_card):
    path = machine.freezable(guest_card(machine, "frozen", 12))
    try:
        machine.gadget_insert(reader, 0, path)
        station.wait_phase("lun0", "writing")
        machine.freeze(path)
        machine.usb_insert(1, new_card(12))
        station.wait_state("lun0", "stuck")
        job = station.slot("lun0")["job"]["id"]
        assert machine.wait_journal(f"MESSAGE_ID={STUCK}", f"STATION_JOB={job}")["STATION_SLOT"] == "lun0"
        assert verdict(station.wait_verdict("slot1")) == "passed"
        assert station.slot("lun0")["state"] == "stuck"
        machine.thaw(path)
        assert verdict(station.wait_verdict("lun0")) == "passed"
        machine.gadget_insert(reader, 0, guest_card(machine, "next", 12))
        station.watch(lambda slots: slots["lun0"]["state"] == "passed" and slots["lun0"]["job"]["id"] != job,
                      what="the next card to pass")
    finally:
        machine.gadget_eject(reader, 0)
        machine.freezable_remove(path)
