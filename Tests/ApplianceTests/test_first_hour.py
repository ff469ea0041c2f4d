"""README's first hour, command by command, on a machine that has never seen the station."""
import re
import shlex
import subprocess
import sys
import time

import pytest
from guest_station import ROOT, SHIPPED, Station, bootable_bytes, install_station, told, verdict

sys.path.insert(0, str(ROOT / "packaging" / "practice"))
from practice_builder import SigningKey, make_server_tree  # noqa: E402 (the path must be set first)

#: What the station needs, and little else in the machine.
FOR_THE_STATION = ["libarchive13", "libcurl4", "libyaml-0-2"]
#: Where the machine's apt is told to get it.
DEBIAN, SOURCES = "/mnt/share/debian", "/etc/apt/sources.list.d/bench.list"


def commands():
    """What stands in the section's blocks, without comments, in order."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## A first hour"):text.index("Things worth knowing at the bench")]
    lines = re.findall(r"^    (\S.*)$", section, re.MULTILINE)
    return [re.sub(r"\s+# .*$", "", line) for line in lines]


class Reader:
    """Somebody who reads README and types what stands there, as user ann."""

    def __init__(self, machine, share):
        self.machine, self.station = machine, Station(machine)
        self.left = commands()
        self.began = self.last = time.monotonic()
        machine.run("useradd --create-home --groups systemd-journal ann && install -d -o ann /home/ann/.build /home/ann/profiles/files")
        machine.run(f"cp {SHIPPED} /home/ann/.build/flashing-station_1_amd64.deb")
        for path in sorted((ROOT / "profiles").rglob("*")):
            if path.is_file():
                target = f"/home/ann/profiles/{path.relative_to(ROOT / 'profiles')}"
                machine.run(["install", "-d", target.rsplit("/", 1)[0]])
                machine.put(path.read_bytes(), target, mode=0o644)

    def words(self, command):
        """The next command of README must be this one; as the machine's shell gets it."""
        assert self.left.pop(0) == command
        if command.startswith("sudo "):
            return f"cd /home/ann && export USER=ann && {command.removeprefix('sudo ')}"
        return f"cd /home/ann && exec runuser -u ann -- {command}"

    def clock(self, step):
        """Says how long a step took; it is told when the tests are over."""
        now = time.monotonic()
        told.append(f"first hour, {step}: {now - self.last:.0f} s")
        self.last = now

    def type(self, command, **options):
        return self.machine.run(self.words(command), **options)

    def begin(self, command, answer=b""):
        """On a terminal, with what is typed at it."""
        return self.machine.start(f"exec script --quiet --return --command {shlex.quote(self.words(command))} /dev/null",
                                  stdin=answer)


@pytest.mark.nightly
def test_the_first_hour_is_as_readme_tells_it(session_station, machine, share_directory, new_card, tmp_path):
    key = SigningKey(tmp_path / "keys")
    mirror = share_directory / "first-hour"
    make_server_tree(mirror, release="24.10.8", target="bcm27xx", subtarget="bcm2711", key=key,
                     packages=["kmod-usb-net-rtl8152"])
    public = key.publish(tmp_path / "public")
    server = machine.start("exec python3 -m http.server 8080 --bind 127.0.0.1 --directory /mnt/share/first-hour")
    try:
        machine.run("dpkg --purge flashing-station", timeout=180)
        make_bare(machine, share_directory)
        walk(machine, share_directory, new_card, public)
        # It was apt that brought them.
        machine.run(f"dpkg --status {' '.join(FOR_THE_STATION)} > /dev/null")
    finally:
        server.stop()
        machine.run("dpkg --purge flashing-station; userdel --remove ann", check=False, timeout=180)
        machine.run(f"rm {SOURCES}; dpkg --force-unsafe-io --install --skip-same-version {DEBIAN}/*.deb", check=False, timeout=180)
        install_station(machine, share_directory)


def make_bare(machine, share):
    """Takes from the machine what the station needs, and gives its apt a repository that has it."""
    # With whatever needs them, and what only they needed.
    machine.run(f"export DEBIAN_FRONTEND=noninteractive; apt-get --yes --auto-remove purge {' '.join(FOR_THE_STATION)}", timeout=300)
    log = machine.read("/var/log/apt/history.log")
    lacking = re.findall(r"(?:^Purge: |, )([a-z0-9.+-]+):amd64", log[log.rindex("Start-Date"):], re.MULTILINE)
    assert set(FOR_THE_STATION) <= set(lacking), log
    repository = share / "debian"
    repository.mkdir()
    subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *lacking], cwd=repository, check=True)
    index = subprocess.run(["dpkg-scanpackages", "--multiversion", "."], cwd=repository, check=True, capture_output=True)
    (repository / "Packages").write_bytes(index.stdout)
    machine.put(f"deb [trusted=yes] file:{DEBIAN} ./\n".encode(), SOURCES, mode=0o644)
    machine.run("apt-get -qq update", timeout=120)


def walk(machine, share, new_card, public):
    ann = Reader(machine, share)
    # The host has built it already; what is installed is that package.
    assert ann.left.pop(0) == "packaging/build-deb"
    ann.type("sudo apt install ./.build/flashing-station_*.deb", stdin="y\n", timeout=400)
    ann.type('sudo adduser "$USER" station-operator')
    machine.put(b"[Station]\nBootSettleSec=0\n[ImageBuilder]\nMirrors=http://127.0.0.1:8080\n[Build]\nNetwork=offline\n",
                "/etc/flashing-station/station.conf.d/bench.conf", mode=0o644)
    machine.put(public.read_bytes(), f"/etc/flashing-station/keys/{public.name}", mode=0o644)
    machine.run("systemctl reload stationd.service")
    found = ann.type("sudo stationctl doctor", check=False).stdout
    assert "slot learn" in found, found  # of a new station: no slot is declared
    ann.clock("install")

    for number, slot in ((1, "slot1"), (2, "slot2")):
        learning = ann.begin(f"sudo stationctl slot learn {slot}", b"yes\n")
        learning.wait_output(r"[Ii]nsert a card", 30)
        reader = machine.usb_insert(number, new_card(1200), id=f"first-{slot}")
        assert learning.wait(60).rc == 0
        machine.usb_remove(reader)
        ann.station.wait_state(slot, "absent")
        ann.clock(f"{slot} learnt")

    ann.type("stationctl profile import profiles/rpi-4.yaml")
    ann.type("stationctl assign slot1 slot2 cards.rpi-4.24.10", timeout=400)
    machine.run("gzip -c > /home/ann/openwrt.img.gz", stdin=bootable_bytes(4, seed=5))
    ann.type("stationctl image import openwrt.img.gz")
    ann.type("stationctl assign slot2 --image openwrt")

    ann.clock("images")
    began = ann.station.now()
    readers = [machine.usb_insert(1, new_card(1200)), machine.usb_insert(2, new_card(1200))]
    watching = ann.begin("stationctl watch")
    watching.wait_output("reading back", 200)
    for slot in ("slot1", "slot2"):
        ann.station.wait_state(slot, "passed", timeout=400)
    watching.stop()
    ann.clock("first cards")
    assert ann.type("stationctl status").stdout.count("PASSED") == 2
    assert "2 jobs: 2 passed" in ann.type("stationctl history").stdout
    assert "PASSED" in ann.type("journalctl STATION_SLOT=slot1").stdout
    # The journal is older than this station.
    assert [entry["STATION_VERDICT"] for entry in ann.station.story(began, "STATION_SLOT=slot1") if "STATION_VERDICT" in entry
            ] == ["passed"]
    for reader in readers:
        machine.usb_remove(reader)

    began = ann.station.now()
    reader = machine.usb_insert(1, new_card(1200), throttle_bps=4 << 20)
    ann.station.wait_phase("slot1", "writing")
    machine.usb_remove(reader)
    ann.station.wait_state("slot1", "absent")
    assert verdict(ann.station.history("--slot", "slot1")[0]["report"]) == "failed card_removed"
    story = ann.type("journalctl -x STATION_SLOT=slot1").stdout
    assert "FAILED — card_removed" in story and "insert it again" in story
    assert [entry["STATION_REASON"] for entry in ann.station.story(began, "STATION_SLOT=slot1") if "STATION_VERDICT" in entry
            ] == ["card_removed"]
    assert "1 job: 1 failed" in ann.type("stationctl history --slot slot1 --verdict failed").stdout
    assert re.search(r"^NO +card ", ann.type("stationctl explain slot1").stdout, re.MULTILINE)
    ann.clock("a card pulled, and its story")
    assert ann.left == []
