"""The station inside a machine, installed from its package and talked to as its users do."""
import json
import os
import pathlib
import random
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "packaging" / "machine"))

import machine as bench  # noqa: E402 (the path must be set first)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH_CONFIGURATION = "/etc/flashing-station/station.conf.d/bench.conf"
#: A card that hangs is not waited for as patiently as the station would, and the tests begin sooner after boot than an operator's
#: hand.
BENCH_TEXT = b"[Station]\nStuckAfterSec=8\nBootSettleSec=0\n"

#: What took how long, for who reads the end of a run.
told = []

#: Where the machine finds the package, and the writer that lets single checks be taken out.
PACKAGE = "/mnt/share/station/flashing-station.deb"
SHIPPED = "/mnt/share/station/shipped.deb"
PROGRAMS = "/mnt/share/station/bin"


def install_station(machine, share):
    """Installs the Debian package, $STATION_PACKAGE or what packaging/build-deb has made last."""
    programs = pathlib.Path(os.environ.get("STATION_PROGRAMS", ROOT / ".build" / "release"))
    there = share / "station"
    if not there.exists():
        (there / "bin").mkdir(parents=True)
        package, = [os.environ["STATION_PACKAGE"]] if "STATION_PACKAGE" in os.environ else ROOT.glob(
            ".build/flashing-station_*.deb")
        # As it is shipped, for who installs it as README says; for all others it is not packed: an emulated processor takes longer to unpack it than to install it.
        shutil.copy(package, there / "shipped.deb")
        with tempfile.TemporaryDirectory() as work:
            tree = f"{work}/package"
            subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
            subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, there / "flashing-station.deb"],
                           check=True, stdout=subprocess.DEVNULL)
        # Debug symbols would only have to go through the machine's slow disk.
        name = "station-writer-unguarded"
        subprocess.run(["strip", "-o", there / "bin" / name, programs / name], check=True)
    machine.put(BENCH_TEXT, BENCH_CONFIGURATION, mode=0o644)
    # The machine is thrown away: nothing of it has to survive a power cut in this moment.
    machine.run(f"dpkg --force-unsafe-io --install {PACKAGE}", timeout=180)
    machine.run("systemctl is-active stationd.service station-library.socket")


#: The sizes of the images that every test finds in the library, in MiB.
IMAGES = {"image-a": 4, "image-b": 6}


def place(port, bus="xhci", lun=0):
    """A port of the machine as a slot file names it."""
    speed = 5000 if bus == "xhci" else 480
    return f"usb {speed} port {port} lun {lun} at {bench.BUSES[bus][1].removeprefix('/sys/devices/')}"


#: The SD host of the machine as a slot file names it.
MMC = f"mmc at {bench.MMC_HOST.removeprefix('/sys/devices/')}"
#: What QEMU's usb-storage calls itself, and what a gadget with four LUNs does.
READER, GADGET = "46f4:0001 luns 1", "1d6b:0104 luns 4"
#: The slots that every test finds declared, armed and without a reader: place, reader, and the image of their cards.
SLOTS = {
    "slot1": (place(1), READER, "image-a"),
    "slot2": (place(2), READER, "image-b"),
    "slot3": (place(3), READER, "image-a"),
    **{f"lun{lun}": (f"usb 480 port 1 lun {lun} at platform/dummy_hcd.0", GADGET, "image-b") for lun in range(4)},
}


def bootable_bytes(mib, seed):
    """Bytes of an image that is unlike any other: a partition table, and noise."""
    content = bytearray(random.Random(seed).randbytes(mib * 1024 * 1024))
    content[440:512] = one_partition(mib, 0x83)
    return bytes(content)


def one_partition(mib, kind):
    """The last 72 bytes of a first sector that describes one partition, from the first MiB to the end."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\0\0\0", 2048, mib * 2048 - 2048)
    return bytes(6) + entry + bytes(48) + b"\x55\xaa"


def make_images(share):
    """The images of IMAGES in the shared directory: their paths on this host by name; the guest has them at /mnt/share/NAME.img."""
    paths = {}
    for seed, (name, mib) in enumerate(IMAGES.items()):
        paths[name] = share / f"{name}.img"
        paths[name].write_bytes(bootable_bytes(mib, seed))
    return paths


class Station:
    """The station inside a machine, talked to as its users do."""

    def __init__(self, machine):
        self.machine = machine
        self._told = set()

    def ctl(self, *arguments, check=True, timeout=60):
        return self.machine.run("stationctl " + shlex.join(arguments), check=check, timeout=timeout)

    def json(self, *arguments):
        return json.loads(self.ctl(*arguments, "--json").stdout)

    # Slots and images

    def make_ready(self):
        """Brings the station to what SLOTS and IMAGES say, from wherever it is."""
        if self.machine.run("systemctl is-active stationd.service", check=False).rc != 0:
            self.machine.run("systemctl reset-failed stationd.service; systemctl start stationd.service")
        if self.machine.get(BENCH_CONFIGURATION) != BENCH_TEXT:
            self.machine.put(BENCH_TEXT, BENCH_CONFIGURATION, mode=0o644)
            self.machine.run("systemctl reload stationd.service")
        there = {slot["name"]: slot for slot in self.json("status")["slots"]}
        self.forget(*there.keys() - SLOTS.keys())
        known = {image["name"] for image in self.json("image", "list")["images"]}
        for name in IMAGES.keys() - known:
            self.import_image(f"/mnt/share/{name}.img", name)
        self.declare({name: SLOTS[name][:2] for name in SLOTS.keys() - there.keys()})
        for image in IMAGES:
            slots = [name for name, (_, _, wanted) in SLOTS.items() if wanted == image
                     and not (there.get(name, {}).get("isArmed") and there[name]["assignment"]["image"] == image)]
            if slots:
                self.ctl("assign", *slots, "--image", image)
        self.watch(lambda slots: all(slots[name]["state"] in ("absent", "empty") for name in SLOTS), 30,
                   "all slots to have no card")

    def declare(self, slots, options="MinimumSize=10M"):
        """Writes slot files as root does: {name: (place, reader)}. Most of a job is the card, not the image: small cards are quick."""
        if not slots:
            return
        for name, (where, reader) in slots.items():
            self.machine.put(f"[Slot]\nPlace={where}\nReader={reader}\n{options}\n".encode(),
                             f"/etc/flashing-station/slots.d/{name}.slot", mode=0o644)
        # Not `slot add`: that enables the sockets, and systemd reads all its units anew for each.
        self.machine.run("systemctl start " + " ".join(f"station-writer@{name}.socket" for name in slots)
                         + " && systemctl reload stationd.service")
        self.watch(lambda there: slots.keys() <= there.keys(), what=f"{sorted(slots)} to be declared")

    def forget(self, *names):
        """Takes slots away again."""
        for name in names:
            self.ctl("unassign", name, check=False)
            self.ctl("slot", "remove", name)

    def undeclare(self, *names):
        """Takes slots away that `declare` made, all at once."""
        self.ctl("unassign", *names, check=False)
        self.machine.run("rm " + " ".join(f"/etc/flashing-station/slots.d/{name}.slot" for name in names)
                         + "; systemctl stop " + " ".join(f"station-writer@{name}.socket" for name in names)
                         + "; systemctl reload stationd.service")

    def learn(self, name, port, image, bus="xhci"):
        """`slot learn`, answered by inserting a card, which is pulled again; the way a slot comes to be."""
        learning = self.machine.start(f"stationctl slot learn {name} --yes 2>&1")
        learning.wait_output(r"[Ii]nsert a card", 30)
        reader = self.machine.usb_insert(port, image, id=f"learn-{name}", bus=bus)
        result = learning.wait(60)
        assert result.rc == 0, result
        self.machine.usb_remove(reader)
        self.wait_state(name, "absent")

    def import_image(self, path, name):
        """Imports an image of the guest, or one of the host, which is copied."""
        if not isinstance(path, str):
            self.machine.put(path, f"/root/{name}.img")
            path = f"/root/{name}.img"
        return self.ctl("image", "import", path, "--name", name)

    # What it says

    def slot(self, name):
        return next(slot for slot in self.json("status")["slots"] if slot["name"] == name)

    def watch(self, condition, timeout=60, what="what is awaited"):
        """The first true answer of `condition`, asked of all slots by name whenever one of them changes.

        Goes on when the station is started anew meanwhile.
        """
        deadline = time.monotonic() + timeout
        last = None
        try:
            while True:
                watching = self.machine.start("exec stationctl watch --json")
                try:
                    for line in watching.lines(deadline):
                        if '"slots"' not in line:  # the station is away: its last words are an error
                            continue
                        last = {slot["name"]: slot for slot in json.loads(line)["slots"]}
                        answer = condition(last)
                        if answer:
                            return answer
                finally:
                    if watching.rc is None:
                        watching.signal()
                if time.monotonic() >= deadline:
                    raise bench.Timeout(f"{what}: not in {timeout} s")
        except bench.Timeout:
            raise bench.Timeout(f"waited {timeout} s in vain: {what}\nlast seen: {json.dumps(last)}") from None

    def wait_state(self, name, *states, timeout=120):
        return self.watch(
            lambda slots: slots[name] if name in slots and slots[name]["state"] in states else None, timeout,
            f"{name} to become {' or '.join(states)}")

    def wait_judged(self, name):
        """Waits until the station has made up its mind about the card that is in."""
        return self.watch(lambda slots: slots[name]["state"] not in ("absent", "running") and slots[name],
                          what=f"{name} to be judged")

    def wait_phase(self, name, phase, least_bytes=0, timeout=60):
        """Waits until a job is in the midst of a phase."""
        return self.watch(lambda slots: in_phase(slots[name], phase, least_bytes) and slots[name], timeout,
                          f"{name} to be {phase}")

    def wait_verdict(self, name, timeout=120):
        """Waits for the end of a job that no call before has told of, and returns its report.

        The card before may have left while the station has not heard of it yet: its verdict is not that of the next one.
        """
        def ended(slots):
            slot = slots.get(name)
            if slot is None or slot["state"] not in ("passed", "failed", "refused", "cancelled", "interrupted"):
                return None
            job = slot.get("job") or {}
            return slot if job.get("id") not in self._told else None

        slot = self.watch(ended, timeout, f"a verdict in {name}")
        job = slot.get("job") or {"report": {"verdict": {"verdict": slot["state"], "reason": slot["reason"]}}}
        if "id" in job:
            self._told.add(job["id"])
        return job["report"]

    def history(self, *arguments):
        return self.json("history", *arguments)["jobs"]

    def now(self):
        """A moment of the journal, so that a test reads only what came after it: microseconds of its own clock."""
        return int(json.loads(self.machine.run("journalctl -n 1 -o json").stdout)["__MONOTONIC_TIMESTAMP"])

    def story(self, since, *matches):
        """Journal entries after a moment."""
        self.machine.run("journalctl --sync")
        return [entry for entry in self.machine.journal(*matches) if int(entry["__MONOTONIC_TIMESTAMP"]) > since]


def in_phase(slot, phase, least_bytes=0):
    """Whether a slot's job is in a phase and has done so many bytes of it."""
    progress = (slot.get("job") or {}).get("progress") or {}
    return progress.get("phase") == phase and progress["phaseBytesDone"] >= least_bytes


def verdict(report):
    """`passed`, or `failed card_removed`."""
    return " ".join(part for part in (report["verdict"]["verdict"], report["verdict"].get("reason")) if part)


def begins_with(card, image):
    """Whether a card's file begins with an image's bytes, seen from outside of the machine."""
    with open(card, "rb") as left, open(image, "rb") as right:
        content = right.read()
        return left.read(len(content)) == content
