"""A USB disk that QEMU holds to a rate, behind the kernel's own drivers, in a machine with the station installed."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "Tests" / "ApplianceTests"))

from guest_station import Station, bootable_bytes, install_station, make_images, place, verdict  # noqa: E402
import machine as machines  # noqa: E402

MIB = 1 << 20
#: An emulated processor must be quick beside it.
RATE = 6_000_000
IMAGE_MIB = 24
#: Not so much more than the image that what is read for a reader's cache counts.
CARD_MIB = IMAGE_MIB + 8
SLOT, PORT = "slot1", 1
#: The two slots of one reader, which share its way to the host.
PAIR = {"left": (place(6), "46f4:0001 luns 2"), "right": (place(6, lun=1), "46f4:0001 luns 2")}
IMAGE = "/root/benchmark.img"


def missing(programs):
    """Why this cannot be measured here; None where it can."""
    if not os.access(os.path.join(programs, "station-writer-unguarded"), os.X_OK):
        return "there are no programs: packaging/build"
    return None


class UsbBench:
    """The machine, the station, and an image that the slot is assigned."""

    def __init__(self, programs, directory):
        os.environ["STATION_PROGRAMS"] = programs
        # Whatever package is there: these programs are measured.
        subprocess.run([ROOT / "packaging" / "build-deb", "--programs", programs], check=True, stdout=subprocess.DEVNULL)
        self.directory = pathlib.Path(tempfile.mkdtemp(dir=directory))
        share = self.directory / "share"
        share.mkdir()
        make_images(share)
        self.image = share / "benchmark.img"
        self.image.write_bytes(bootable_bytes(IMAGE_MIB, "benchmark"))
        self.machine = machines.Machine(name="benchmark", shares={"/mnt/share": share}, memory_mib=1024)
        try:
            self.machine.boot()
            install_station(self.machine, share)
            self.station = Station(self.machine)
            self.station.make_ready()
            # dd reads the image from the machine's memory, as the station does: the shared directory is slow.
            self.machine.run(f"cp /mnt/share/benchmark.img {IMAGE} && mkdir /run/benchmark && "
                             f"mount -t tmpfs -o size=96M none /run/benchmark && cp {IMAGE} /run/benchmark/image")
            self.station.import_image(IMAGE, "benchmark")
            self.station.declare(PAIR, "MinimumSize=10M")
            self.station.ctl("assign", SLOT, *PAIR, "--image", "benchmark")
        except BaseException:
            self.machine.close(True)
            raise

    def close(self):
        self.machine.close()

    @contextlib.contextmanager
    def _cards(self, count):
        paths = [self.directory / f"card{number}.img" for number in range(count)]
        for path in paths:
            path.write_bytes(b"\xa5" * (CARD_MIB * MIB))
        try:
            yield paths
        finally:
            self.machine.pull_all()
            for path in paths:
                path.unlink()

    def seconds_of(self, command):
        """Of a command in the machine, by its own clock."""
        took = self.machine.run(
            ["bash", "-euo", "pipefail", "-c", f"began=$EPOCHREALTIME; {command} >&2; echo $began $EPOCHREALTIME"], timeout=300)
        began, ended = took.stdout.split()[-2:]
        return float(ended) - float(began)

    def peer(self):
        """(seconds of writing, seconds of reading and hashing) with dd and openssl: the device's limit as well."""
        with self._cards(1) as (card,):
            # A port that is no slot: the station has no part in it.
            disk = f"/dev/{self.machine.usb_insert(5, card, throttle_bps=RATE).wait_disk()}"
            write = self.seconds_of(f"dd if=/run/benchmark/image of={disk} bs=4M oflag=direct conv=fsync status=none")
            read = self.seconds_of(
                f"dd if={disk} bs=4M iflag=direct,count_bytes count={IMAGE_MIB * MIB} status=none | openssl dgst -sha256")
        return write, read

    def ours(self):
        """The report of a job."""
        with self._cards(1) as (card,):
            self.machine.usb_insert(PORT, card, throttle_bps=RATE)
            return self._passed(SLOT)

    def pair(self, *, at_once):
        """Seconds that two cards in one reader take: at once, or one of them after the other."""
        with self._cards(2) as cards:
            if at_once:
                self._wait_for_a_hand()
                self.machine.usb_insert_many(6, cards, throttle_bps=RATE, kind="bot")
                return max(self._passed(name)["totalSeconds"] for name in PAIR)
            seconds = 0.0
            for wanted in PAIR:
                self.station.ctl("disarm", *(PAIR.keys() - {wanted}))
                self.station.ctl("arm", wanted)
                self._wait_for_a_hand()
                self.machine.usb_insert_many(6, cards, throttle_bps=RATE, kind="bot")
                seconds += self._passed(wanted)["totalSeconds"]
                self.machine.pull_all()
            self.station.ctl("arm", *PAIR)
            return seconds

    @staticmethod
    def _wait_for_a_hand():
        """A card that comes sooner than a hand changes it may be the one that waited there, after a reset of its bus."""
        time.sleep(2.5)

    def _passed(self, slot):
        report = self.station.wait_verdict(slot, 300)
        if verdict(report) != "passed":
            raise SystemExit(f"benchmark: a good card did not pass in the machine: {report}")
        return report
