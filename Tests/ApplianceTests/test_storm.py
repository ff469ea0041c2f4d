"""Cards that come and go as fast as hands can, or faster: nothing is lost, nothing is made up, nothing is left over."""
import collections
import os
import random

import pytest
from guest_station import READER, SLOTS, begins_with, in_phase, place, verdict

INSERTIONS = 100
#: Whatever a job may come to whose card is pulled: it was gone before the guard had it, or after.
OF_A_PULLED_CARD = {"failed card_removed", "failed card_changed", "refused no_medium", "refused place_mismatch",
                    "refused sequence_mismatch", "refused permission_denied"}
PORTS = {"slot1": 1, "slot2": 2, "slot3": 3, "slot4": 4}


@pytest.fixture
def four_slots(station):
    station.declare({"slot4": (place(4), READER)})
    station.ctl("assign", "slot4", "--image", "image-b")
    yield {name: SLOTS[name][2] if name in SLOTS else "image-b" for name in PORTS}
    station.machine.pull_all()
    station.wait_state("slot4", "absent")
    station.undeclare("slot4")


def footprint(machine):
    """The daemon's process, what of its memory is its own, in KiB, and how many descriptors and threads it has."""
    pid = machine.run("systemctl show -P MainPID stationd.service").stdout.strip()
    status = dict(line.split(":", 1) for line in machine.read(f"/proc/{pid}/status").splitlines())
    return pid, int(status["RssAnon"].split()[0]), len(machine.glob(f"/proc/{pid}/fd/*")), int(status["Threads"])


@pytest.mark.nightly
def test_a_hundred_cards_that_come_and_go_at_random_each_get_one_honest_verdict(
        station, machine, four_slots, images, tmp_path):
    seed = int(os.environ.get("STATION_STORM_SEED") or random.randrange(2**32))
    print(f"STATION_STORM_SEED={seed}")
    chance = random.Random(seed)
    began, sequence = station.now(), max((job["sequence"] for job in station.history("--limit", "1")), default=0)
    cards, readers, sizes, waited = {}, {}, {}, set()

    def pull(name):
        reader = readers.pop(name)
        machine.usb_remove(reader, wait_guest=chance.random() < 0.5)

    def wait(name):
        station.watch(lambda slots: slots[name]["state"] == "passed" and slots[name]["card"]["byteCount"] == sizes[name],
                      what=f"the card in {name} to pass")
        waited.add(sizes[name])

    prints = []
    for number in range(INSERTIONS):
        name = chance.choice(list(PORTS))
        if name in readers:
            if chance.random() < 0.6:
                wait(name)
            pull(name)
        # By its size a card is known again in journal and records.
        size = (11 << 20) + number * 4096
        path = tmp_path / f"storm{number}.img"
        with path.open("wb") as file:
            file.write(f"card {number}\n".encode())
            file.truncate(size)
        cards[size], sizes[name] = (path, name), size
        manner = chance.choice(["stays", "stays", "at once", "mid-job"])
        slow = {"throttle_bps": 3_000_000} if manner == "mid-job" else {}
        readers[name] = machine.usb_insert(PORTS[name], path, **slow)
        if manner == "at once":
            pull(name)
        elif manner == "mid-job":
            phase = chance.choice(["probing", "writing", "verifying"])
            station.watch(lambda slots: in_phase(slots[name], phase) or slots[name]["state"] == "passed",
                          what=f"{name} to be {phase}")
            pull(name)
        if number % 20 == 19:
            prints.append(footprint(machine))
    for name in list(readers):
        wait(name)
        pull(name)
    station.watch(lambda slots: all(slots[name]["state"] == "absent" for name in PORTS), what="all cards to be gone")
    assert machine.run("pgrep -x station-writer", check=False).stdout == ""
    last = footprint(machine)
    print(f"KiB of its own, descriptors, threads: {[one[1:] for one in (*prints, last)]}")

    said = collections.defaultdict(list)
    for entry in station.story(began):
        if "STATION_VERDICT" in entry and "STATION_JOB" in entry:
            said[entry["STATION_JOB"]].append(entry)
    jobs = [job for job in station.history("--limit", "1000") if job["sequence"] > sequence]
    assert {job["id"] for job in jobs} == said.keys()
    seen = {}
    for job in reversed(jobs):
        entry, = said[job["id"]]
        came_to = verdict(job["report"])
        assert came_to == " ".join(entry[key] for key in ("STATION_VERDICT", "STATION_REASON") if key in entry)
        size = int(entry["STATION_CARD_BYTES"])
        path, name = cards[size]
        assert (job["slot"], job["image"]) == (name, four_slots[name]), job
        # One insertion, one job; but for a udev that had not yet opened the disk to the writer, which is tried once more.
        assert seen.get(size, "refused permission_denied") == "refused permission_denied", (job, seen[size])
        seen[size] = came_to
        if came_to == "passed":
            assert begins_with(path, images[four_slots[name]]), job
        else:
            assert came_to in OF_A_PULLED_CARD, job
    print(dict(collections.Counter(seen.values())), f"{INSERTIONS - len(seen)} gone before anybody saw them")
    assert {size for size in waited if seen.get(size) == "passed"} == waited
    # A card of which nothing is said was not touched.
    for size in cards.keys() - seen.keys():
        path, name = cards[size]
        assert not begins_with(path, images[four_slots[name]]) and path.read_bytes()[:5] == b"card ", path
    # Twenty cards warm it up: buffers of as many threads as it will have. From then on it stays as it is.
    assert {one[0] for one in prints} == {last[0]}, "it was started anew"
    assert last[2] <= max(one[2] for one in prints[:2]) and last[1] <= max(one[1] for one in prints[:3]) + 2 * 1024
    # Pulled cards are nobody's fault: every slot is as ready as ever.
    for name, port in PORTS.items():
        path = tmp_path / f"last-{name}.img"
        with path.open("wb") as file:
            file.truncate(12 << 20)
        machine.usb_insert(port, path)
    for name in PORTS:
        assert verdict(station.wait_verdict(name)) == "passed"


@pytest.mark.nightly
def test_sixteen_cards_at_once_starve_neither_each_other_nor_the_daemon(station, machine, images, tmp_path):
    """On three controllers; their memory is this machine's one GiB, too."""
    ports = {name: (port, "xhci") for name, port in PORTS.items()}
    ports |= {f"more{port}": (port, "xhci") for port in (5, 6, 7)}
    ports |= {f"old{port}": (port, "xhci2") for port in range(1, 9)} | {"oldest": (1, "ehci")}
    assert len(ports) == 16
    more = {name: (place(*where), READER) for name, where in ports.items() if name not in SLOTS}
    station.declare(more)
    station.ctl("assign", *more, "--image", "image-a")
    daemon = footprint(machine)[0]
    cards = {}
    try:
        for name, (port, bus) in ports.items():
            cards[name] = tmp_path / f"{name}.img"
            with cards[name].open("wb") as file:
                file.truncate(12 << 20)
            machine.usb_insert(port, cards[name], bus=bus, throttle_bps=400_000)
        busy = station.watch(
            lambda slots: sum(slots[name]["state"] == "running" for name in ports) >= 10 and slots, what="ten cards under way")
        # Whoever asks meanwhile is answered soon, on an emulated processor too, and the watchdog is.
        asked = [float(machine.run("read a rest < /proc/uptime; timeout 10 stationctl status > /dev/null || exit 1;"
                                   " read b rest < /proc/uptime; echo $a $b | awk '{print $2 - $1}'").stdout) for _ in range(5)]
        print(f"status with sixteen cards in: {sorted(asked)[2]:.2f} s")
        assert "running" in {slot["state"] for slot in station.json("status")["slots"]}, busy
        told = machine.run("systemctl show -P StatusText stationd.service").stdout
        assert all(f"{name} " in told for name in ports), told
        tree = machine.run("systemd-cgls --no-pager").stdout
        assert tree.count("station-writer@") >= 10, tree
        for name in ports:
            assert verdict(station.wait_verdict(name, timeout=300)) == "passed", name
            assert begins_with(cards[name], images[SLOTS[name][2] if name in SLOTS else "image-a"]), name
        assert footprint(machine)[0] == daemon
    finally:
        for reader in list(machine.readers.values()):
            machine.usb_remove(reader)
        station.watch(lambda slots: all(slots[name]["state"] == "absent" for name in ports), what="all cards to be gone")
        station.undeclare(*more)
