"""What packaging/try shows: the main job on a practice card, told as it happens."""

import argparse
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from practice_builder import SigningKey, make_server_tree  # noqa: E402
from practice_card import LoopCard, PracticeCard  # noqa: E402
from practice_station import Client, PracticeStation  # noqa: E402

BOLD, DIM, GREEN, RED, PLAIN = ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m")
if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
    BOLD = DIM = GREEN = RED = PLAIN = ""

IMAGE = "/usr/lib/grub-rescue/grub-rescue-usb.img"
CARD_BYTES = 512 * 1000 * 1000
WRITE_RATE, READ_RATE = 20_000_000, 40_000_000


def say(text=""):
    print(text, flush=True)


def headline(text):
    say(f"\n{BOLD}{text}{PLAIN}")


def amount(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1000
    return ""


def shown(station, *arguments):
    """Runs stationctl as its user would, and shows both."""
    say(f"{DIM}$ stationctl {' '.join(arguments)}{PLAIN}")
    say(station.stationctl(*arguments).stdout.rstrip())


def follow(station, slot):
    """Tells each phase as it goes by; returns the slot's last status."""
    titles = {"guarding": "checking", "probing": "probing capacity", "wiping": "wiping", "writing": "writing",
              "verifying": "reading back", "finishing": "finishing"}
    phase, last = None, 0.0
    with Client(station.socket, 120) as client:
        client.send("Watch", {}, more=True)
        while True:
            status = next(one for one in client.reply()["parameters"]["slots"] if one["name"] == slot)
            job = status.get("job", {})
            if job.get("report"):
                return status
            if status["state"] == "refused":
                # By the station itself: there is no job that could tell more.
                shown(station, "explain", slot)
                raise SystemExit(f"the practice card was refused: {status.get('reason')}")
            progress = job.get("progress")
            if not progress:
                continue
            if progress["phase"] == phase and time.monotonic() - last < 0.9:
                continue
            phase, last = progress["phase"], time.monotonic()
            line = f"  {titles[phase]:<18}"
            if progress["phaseBytesTotal"]:
                share = 100 * min(1, progress["phaseBytesDone"] / progress["phaseBytesTotal"])
                line += f"{share:4.0f} %  of {amount(progress['phaseBytesTotal']):>9}"
            if job.get("bytesPerSecond"):
                line += f"  {amount(job['bytesPerSecond'])}/s"
            if job.get("secondsLeft"):
                line += f"  about {job['secondsLeft']:.0f} s left"
            say(line)


#: What `--online` builds with.
ONLINE_RELEASE = "24.10.2"
PROFILE = {
    "profile_id": "practice.ap", "name": "A practice access point", "device_id": "practice", "openwrt_release": "24.10.2",
    "target": "x86", "subtarget": "64", "imagebuilder_profile": "generic", "packages": ["luci", "tcpdump"],
    "policies": {"filesystem": "ext4"},
}


def build_and_flash(station, online):
    """From a profile to a card that boots; the Image Builder is the practice one, on a server of this host, or OpenWrt's own."""
    headline("A profile is assigned: the station has its image built")
    if online:
        say("  by OpenWrt's own Image Builder, from downloads.openwrt.org: this takes some minutes")
        keys = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "keys")
        shutil.copytree(keys, os.path.join(station.config, "keys"), dirs_exist_ok=True)
        with tempfile.TemporaryDirectory() as base:
            profile = os.path.join(base, "practice.json")
            with open(profile, "w", encoding="utf-8") as file:
                json.dump({**PROFILE, "openwrt_release": ONLINE_RELEASE}, file)
            shown(station, "profile", "import", profile)
        shown(station, "build", "practice.ap", "--follow")
        return flash_built(station, 512 << 20, boots=None)
    with tempfile.TemporaryDirectory() as base:
        key = SigningKey(os.path.join(base, "keys"))
        make_server_tree(base, key=key)
        key.publish(os.path.join(station.config, "keys"))

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=base))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = os.path.join(station.config, "station.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[ImageBuilder]\nMirrors=http://127.0.0.1:{server.server_port}\n[Build]\nNetwork=offline\n")
        os.chmod(path, 0o644)
        station.call("Reload")
        profile = os.path.join(base, "practice.json")
        with open(profile, "w", encoding="utf-8") as file:
            json.dump(PROFILE, file)
        shown(station, "profile", "import", profile)
        shown(station, "assign", "slot2", "practice.ap")
        server.shutdown()
    return flash_built(station, 64 << 20, boots)


def flash_built(station, card_bytes, boots):
    """Has a card written with what was built; `boots` looks whether it boots."""
    if not station.slot("slot2").get("assignment"):
        shown(station, "assign", "slot2", "practice.ap")
    shown(station, "builder", "list")
    shown(station, "builds", "list")
    with LoopCard(card_bytes) as card:
        reader = station.bench.insert("3", card, "slot2")
        status = station.wait_for_state("slot2", "passed", "failed")
        build = station.history()[0]["build"]
        passed = status["state"] == "passed"
        say(f"  a card in slot2: {GREEN if passed else RED}{status['state'].upper()}{PLAIN}, build {build[:8]}")
        reader.unplug()
        if passed and boots:
            passed = boots(card.backing, build)
    return passed


def boots(card, build):
    """Starts a machine with the card as its only disk, where there is one to start."""
    if not shutil.which("qemu-system-x86_64"):
        say("  qemu-system-x86_64 is not installed, so nobody looks whether it boots")
        return True
    with tempfile.TemporaryDirectory() as place:
        serial = os.path.join(place, "serial")
        machine = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-display", "none", "-serial", f"file:{serial}", "-drive",
             f"file={card},format=raw,snapshot=on"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            line, deadline = f"build={build}", time.monotonic() + 60
            while time.monotonic() < deadline and machine.poll() is None:
                if os.path.exists(serial):
                    with open(serial, encoding="utf-8", errors="replace") as file:
                        if line in file.read():
                            say(f"  {GREEN}it boots{PLAIN}, and says: flashing-station-practice {line}")
                            return True
                time.sleep(0.1)
        finally:
            machine.kill()
            machine.wait()
    say(f"  {RED}it does not boot{PLAIN}")
    return False


def tell(programs, keep, image, online):
    failed = False
    with PracticeStation(programs) as station:
        headline("A practice station")
        say(f"  real stationd, station-writer and station-library from {programs}")
        say("  a virtual USB reader (umockdev), and in it a practice card: a real block device behind nbdkit that")
        say(f"  writes at {amount(WRITE_RATE)}/s and reads at {amount(READ_RATE)}/s, one request at a time")
        station.declare("slot1", "2")
        station.declare("slot2", "3")
        station.start()

        headline("An image, and an assignment that arms the slot")
        shown(station, "image", "import", image, "--name", "grub-rescue")
        shown(station, "assign", "slot1", "--image", "grub-rescue")

        headline("A card goes in; nobody touches anything else")
        card = PracticeCard(CARD_BYTES, write_rate=WRITE_RATE, read_rate=READ_RATE, latency=0.0002)
        began = time.monotonic()
        station.bench.insert("2", card, "slot1")
        status = follow(station, "slot1")
        seconds = time.monotonic() - began
        report = status["job"]["report"]
        failed = status["state"] != "passed"
        colour = RED if failed else GREEN
        say(f"  {colour}{BOLD}{status['state'].upper()}{PLAIN} after {seconds:.1f} s: "
            f"{amount(report['bytesWritten'])} written, {amount(report['bytesVerified'])} read back from the card")
        if failed:
            say(f"  {report['verdict'].get('reason', '')}: {report['detail']}")

        headline("Compared from outside, by cmp")
        size = os.path.getsize(image)
        same = subprocess.run(["cmp", "-n", str(size), image, card.device]).returncode == 0
        say(f"  the card's first {size} bytes are {'the image' if same else 'NOT the image'}")
        failed = failed or not same

        failed = not build_and_flash(station, online) or failed

        headline("What the operator, the admin and the engineer see")
        shown(station, "status")
        shown(station, "history")
        say(f"{DIM}# the lines that go to the journal{PLAIN}")
        for line in station.journal().splitlines():
            say(f"  {line}")

        headline("With a real reader")
        say("  packaging/build-deb                                     # once: a Debian package of all this")
        say("  sudo apt install ./.build/flashing-station_*.deb        # programs, units, udev rules, users, man pages")
        say("  sudo stationctl slot learn slot1                        # insert a card into the place to be slot1")
        say("  stationctl image import FILE && stationctl assign slot1 --image NAME   # then insert a card")
        say("  stationctl profile import profiles && stationctl assign slot1 cards.rpi-4.24.10    # or have it built")
        if keep and not failed:
            headline("The practice station goes on (end it with Ctrl-C)")
            say(f"  {programs}/stationctl --socket {station.socket} watch")
            try:
                station.process.wait()
            except KeyboardInterrupt:
                say()
        card.close()
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--online", action="store_true")
    options = parser.parse_args()
    if not os.path.isfile(options.image):
        parser.error(f"--image {options.image}: there is no such file")
    # A terminal that is closed leaves nothing behind either.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return tell(options.programs, options.keep, options.image, options.online)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
