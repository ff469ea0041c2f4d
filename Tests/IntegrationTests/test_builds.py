"""From a profile to the card: Image Builders fetched and verified, images built in the sandbox or reused, slots that wait.

The Image Builder is the practice one, on a tree like that of OpenWrt's server, served by a real HTTP server.
"""
import concurrent.futures
import contextlib
import functools
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading

import pytest
from practice_builder import SigningKey, make_server_tree
from practice_card import LoopCard, wait_until
from practice_station import CallFailed, Client, PracticeStation
from test_station import refused_consent

MIB = 1 << 20
NOT_FOUND, REFUSED, FAILED = 5, 6, 1

PROFILE = {
    "profile_id": "home.ap.24.10", "name": "An access point", "device_id": "ap-1", "tags": ["home"],
    "openwrt_release": "24.10.2", "target": "x86", "subtarget": "64", "imagebuilder_profile": "generic",
    "packages": ["luci"], "packages_remove": ["ppp", "ppp-mod-pppoe"], "policies": {"filesystem": "ext4"},
}
TRIPLE = ("24.10.2", "x86", "64")


class Mirror:
    """A tree of archives, and who serves it."""

    def __init__(self, base):
        self.base = base
        self.key = SigningKey(base / "keys")
        self.asked = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                outer.asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(base)))
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add(self, **options):
        return make_server_tree(self.base, key=self.key, **options)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror(tmp_path):
    mirror = Mirror(tmp_path / "mirror")
    mirror.add()
    yield mirror
    mirror.close()


@pytest.fixture
def station(programs, mirror):
    with PracticeStation(programs) as station:
        mirror.key.publish(os.path.join(station.config, "keys"))
        configure(station, mirror.url)
        station.declare("slot1", "2")
        station.declare("slot2", "3")
        station.start()
        yield station


def configure(station, url, builder="", build="", station_keys=""):
    path = pathlib.Path(station.config) / "station.conf"
    path.write_text(f"[Station]\n{station_keys}\n[ImageBuilder]\nMirrors={url}\nRetries=2\nStallSec=5\n{builder}\n"
                    f"[Build]\nTimeoutSec=120\n{build}\n")
    path.chmod(0o644)


def ctl(station, *words, check=True, timeout=120):
    done = subprocess.run([os.path.join(station.programs, "stationctl"), "--socket", station.socket, *words],
                          capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
    return done


def read(station, *words):
    return json.loads(ctl(station, *words, "--json").stdout)


def add_profile(station, tmp_path, **changes):
    profile = {**PROFILE, **changes}
    path = tmp_path / f"{profile['profile_id']}.json"
    path.write_text(json.dumps(profile))
    ctl(station, "profile", "import", str(path))
    return profile["profile_id"]


def builds(station):
    return read(station, "builds", "list")["builds"]


def library(station, *parts):
    return pathlib.Path(station.state, *parts)


def sandboxes(station):
    """Processes whose command line names this station's directory and that are part of a build."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = pathlib.Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if entry.isdigit() and any(station.state in word for word in words) and "bwrap" in " ".join(words):
            found.append(int(entry))
    return found


# -- Image Builders ---------------------------------------------------------------------------------------------------

def test_an_image_builder_is_fetched_once_verified_and_knows_its_devices(station, mirror):
    assert "no Image Builder is here" in ctl(station, "builder", "list").stdout
    shown = ctl(station, "builder", "ensure", *TRIPLE).stdout
    assert "24.10.2/x86/64" in shown and "ready" in shown and mirror.key.number.hex() in shown
    asked = list(mirror.asked)
    builder = read(station, "builder", "ensure", *TRIPLE)
    assert mirror.asked == asked, "what is here is not asked for again"
    assert builder["vouching"] == {"kind": "signature", "subject": "file", "key": mirror.key.number.hex()}
    details = read(station, "builder", "info", *TRIPLE)
    assert [profile["name"] for profile in details["profiles"]] == ["generic"]
    assert "base-files" in details["builder"]["defaultPackages"]
    assert "generic" in ctl(station, "builder", "info", *TRIPLE, "--profile", "gen*").stdout
    assert "is ready" in station.journal()
    tree = library(station, "builders", builder["sha256"], "tree")
    assert (tree / "Makefile").exists() and not any(library(station, "builders").glob("*.partial"))


@pytest.mark.parametrize("release, options", [
    ("23.05.5", {"compression": "xz"}), ("23.05.4", {"compression": "gz", "called": "xz"}),
    ("25.12.0", {"compression": "zst"}), ("snapshot", {})])
def test_releases_of_every_kind(station, mirror, release, options):
    mirror.add(release=release, **options)
    builder = read(station, "builder", "ensure", release, "x86", "64")
    assert builder["state"] == "ready" and builder["revision"] == "r28739-d9340319c6"


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what, code", [
    ("unknown key", "key_unknown"), ("signature", "signature_wrong"), ("list", "signature_wrong"),
    ("archive", "hash_mismatch"), ("unsigned", "signature_missing"), ("unlisted", "builder_unlisted")])
def test_what_is_not_right_is_said_and_nothing_is_unpacked(station, mirror, what, code):
    directory, name, _ = mirror.add()
    sums = directory / "sha256sums"
    if what == "unknown key":
        other = SigningKey(mirror.base / "other", "other")
        (directory / "sha256sums.sig").write_text(other.sign(sums))
    elif what == "signature":
        (directory / "sha256sums.sig").write_text(mirror.key.sign(directory / name))
    elif what == "list":
        sums.write_text(sums.read_text().replace("kmods", "Kmods"))
    elif what == "archive":
        damage(directory / name)
    elif what == "unsigned":
        (directory / "sha256sums.sig").unlink()
    elif what == "unlisted":
        sums.write_text("\n".join(line for line in sums.read_text().splitlines() if "imagebuilder" not in line) + "\n")
        (directory / "sha256sums.sig").write_text(mirror.key.sign(sums))
    done = ctl(station, "builder", "ensure", *TRIPLE, "--json", check=False)
    assert json.loads(done.stdout)["error"]["code"] == code, done.stdout
    assert [path for path in library(station, "builders").iterdir() if not path.name.startswith(".")] == []
    builder, = read(station, "builder", "list")["builders"]
    assert builder["state"] == "broken" and builder["problem"]["code"] == code
    assert code in ctl(station, "builder", "prune").stdout or read(station, "builder", "list")["builders"] == []


def test_gnupg_signs_a_list_as_well(station, mirror, tmp_path):
    directory, _, _ = mirror.add()
    (directory / "sha256sums.sig").unlink()
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "practice@example.org", "ed25519", "sign"], check=True, capture_output=True)
    subprocess.run([*gpg, "--armor", "--detach-sign", "--output", directory / "sha256sums.asc", directory / "sha256sums"],
                   check=True, capture_output=True)
    assert "key_unknown" in ctl(station, "builder", "ensure", *TRIPLE, "--json", check=False).stdout
    public = pathlib.Path(station.config, "keys", "practice.asc")
    public.write_bytes(subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout)
    public.chmod(0o644)
    assert read(station, "builder", "ensure", *TRIPLE)["vouching"]["kind"] == "signature"
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def test_a_missing_signature_can_be_allowed_and_a_wrong_one_cannot(station, mirror):
    configure(station, mirror.url, "SignaturePolicy=warn")
    station.call("Reload")
    directory, name, _ = mirror.add()
    (directory / "sha256sums.sig").write_text(mirror.key.sign(directory / name))
    assert "signature_wrong" in ctl(station, "builder", "ensure", *TRIPLE, "--json", check=False).stdout
    (directory / "sha256sums.sig").unlink()
    assert read(station, "builder", "ensure", *TRIPLE)["vouching"] == {"kind": "sha256", "subject": "file"}
    assert "signature_missing" in station.journal() or "no signature" in station.journal()


def test_an_image_builder_that_was_taken_unsigned_is_not_used_where_signatures_are_required(station, mirror, tmp_path):
    configure(station, mirror.url, "SignaturePolicy=off")
    station.call("Reload")
    directory, _, _ = mirror.add()
    signature = (directory / "sha256sums.sig").read_bytes()
    (directory / "sha256sums.sig").unlink()
    name = add_profile(station, tmp_path)
    built = read(station, "build", name)["builds"][0]["build"]
    configure(station, mirror.url)
    station.call("Reload")
    done = ctl(station, "build", name, check=False)
    assert done.returncode != 0 and "no signature" in done.stderr, done
    # The same one, signed now, is good, and so is what it built.
    (directory / "sha256sums.sig").write_bytes(signature)
    again = read(station, "build", name)["builds"][0]
    assert again["isReused"] and again["build"]["id"] == built["id"]
    mirror.asked.clear()
    assert read(station, "builder", "ensure", *TRIPLE)["vouching"]["kind"] == "signature" and mirror.asked == []


def test_an_image_builder_whose_record_is_damaged_is_fetched_again(station, mirror, tmp_path):
    first = read(station, "builder", "ensure", *TRIPLE)
    library(station, "builders", first["sha256"], "builder.json").write_text("nothing")
    name = add_profile(station, tmp_path)
    assert "builder ensure" in ctl(station, "build", name, check=False).stderr
    assert read(station, "builder", "ensure", *TRIPLE)["sha256"] == first["sha256"]
    ctl(station, "build", name)
    assert not [path for path in library(station, "builders").iterdir() if path.name.endswith(".partial")]


def test_a_name_that_is_none_and_a_builder_that_there_is_not(station):
    done = ctl(station, "builder", "ensure", "24.10.2", "x86", "../64", check=False)
    assert done.returncode == 2 and "“../64” has “" in done.stderr
    done = ctl(station, "builder", "ensure", "24.10.3", "x86", "64", check=False)
    assert done.returncode == NOT_FOUND and "404" in done.stderr
    assert ctl(station, "builder", "info", "24.10.3", "x86", "65", check=False).returncode == NOT_FOUND


def test_offline_uses_what_is_here_and_says_what_is_not(station, mirror):
    ctl(station, "builder", "ensure", *TRIPLE)
    configure(station, mirror.url, "Offline=yes")
    station.call("Reload")
    mirror.asked.clear()
    ctl(station, "builder", "ensure", *TRIPLE)
    done = ctl(station, "builder", "ensure", "23.05.5", "x86", "64", check=False)
    assert done.returncode == REFUSED and "Offline=no" in done.stderr and mirror.asked == []


def test_a_snapshot_is_asked_for_again_and_the_old_one_can_go(station, mirror, tmp_path):
    mirror.add(release="snapshot", revision="r1-aaaaaaaaaa")
    first = read(station, "builder", "ensure", "snapshot", "x86", "64")
    assert read(station, "builder", "ensure", "snapshot", "x86", "64", "--refresh")["sha256"] == first["sha256"]
    mirror.add(release="snapshot", revision="r2-bbbbbbbbbb")
    second = read(station, "builder", "ensure", "snapshot", "x86", "64", "--refresh")
    assert second["revision"] == "r2-bbbbbbbbbb" and second["sha256"] != first["sha256"]
    assert {one["state"] for one in read(station, "builder", "list")["builders"]} == {"ready", "deprecated"}
    would = read(station, "builder", "prune", "--dry-run")["builders"]
    assert [one["sha256"] for one in would] == [first["sha256"]]
    assert library(station, "builders", first["sha256"]).exists()
    assert read(station, "builder", "prune")["byteCount"] > 0
    assert not library(station, "builders", first["sha256"]).exists()
    assert library(station, "builders", second["sha256"]).exists()


# -- builds -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("release", ["24.10.2", "25.12.0"])
def test_a_profile_becomes_an_image_with_its_files_and_its_marker(station, mirror, tmp_path, release):
    mirror.add(release=release)
    banner = tmp_path / "banner"
    banner.write_text("welcome\n")
    name = add_profile(
        station, tmp_path, openwrt_release=release, disabled_services=["dnsmasq"], extra_image_name="lab",
        rootfs_partsize=12, files=[{"source": str(banner), "destination": "/etc/banner", "mode": "0640",
                                    "owner": "nobody:nogroup"}])
    shown = ctl(station, "build", name, "--follow", "--add-package", "tcpdump").stdout
    assert "Installing luci" in shown and "Installing tcpdump" in shown and "Installing ppp" not in shown
    build, = builds(station)
    assert build["state"] == "succeeded" and build["isKept"] and build["product"]["packageCount"] > 10
    card = build["product"]["card"]
    assert re.fullmatch(rf"openwrt-{release}-lab-x86-64-generic-ext4-combined-efi.img.gz", card["artifact"])
    image = library(station, "images", f"{card['sha256']}.img")
    assert hashlib.sha256(image.read_bytes()).hexdigest() == card["sha256"]
    assert image.stat().st_size == card["byteCount"] == MIB + 12 * MIB
    rootfs = tmp_path / "rootfs"
    rootfs.write_bytes(image.read_bytes()[MIB:])

    def cat(path):
        return subprocess.run(["debugfs", "-R", f"cat {path}", rootfs], capture_output=True, check=True).stdout.decode()

    assert cat("/etc/banner") == "welcome\n"
    marker = dict(line.split("=", 1) for line in cat("/etc/flashing-station-release").splitlines())
    assert marker["BUILD_ID"] == build["id"] and marker["PROFILE_ID"] == name
    assert "chown -h nobody:nogroup '/etc/banner'" in cat("/etc/uci-defaults/95-flashing-station-owners")
    stat = subprocess.run(["debugfs", "-R", "stat /etc/banner", rootfs], capture_output=True, check=True).stdout.decode()
    assert re.search(r"Mode:\s+0640", stat) and re.search(r"User:\s+0\s+Group:\s+0", stat)
    services = subprocess.run(["debugfs", "-R", "ls -p /etc/rc.d", rootfs], capture_output=True, check=True).stdout
    assert b"firewall" in services and b"dnsmasq" not in services
    files = {artifact["name"]: artifact for artifact in build["product"]["artifacts"]}
    assert {"profiles.json", "sha256sums"} < files.keys() and files[card["artifact"]]["type"] == "combined-efi"
    for artifact in files.values():
        content = library(station, "builds", build["id"], "artifacts", artifact["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
    log = ctl(station, "builds", "log", build["id"][:8]).stdout
    assert "PACKAGES=luci tcpdump -ppp -ppp-mod-pppoe'" in log and "Building images" in log
    assert "for cards" in ctl(station, "artifact", "list", build["id"][:8]).stdout
    assert ctl(station, "artifact", "show", build["id"][:8], "profiles.jsn", check=False).returncode == NOT_FOUND
    builder = build["builderSHA256"]
    assert not library(station, "builders", builder, "tree", "key-build").exists(), "the builder stays as it was"


def test_the_same_is_not_built_again_and_what_differs_is_told(station, tmp_path):
    name = add_profile(station, tmp_path)
    first = read(station, "build", name)["builds"][0]
    assert first["isReused"] is False
    again = read(station, "build", name)["builds"][0]
    assert again["isReused"] is True and again["build"]["id"] == first["build"]["id"]
    add_profile(station, tmp_path, packages=["luci", "htop"], tags=["home"])
    third = read(station, "build", name)["builds"][0]
    assert third["isReused"] is False and third["build"]["id"] != first["build"]["id"]
    why = ctl(station, "builds", "show", third["build"]["id"], "--why-rebuilt").stdout
    assert "effective_packages" in why and "htop" in why
    assert "builder_sha256" in ctl(station, "builds", "show", third["build"]["id"], "--inputs").stdout
    # What has no order makes no difference.
    add_profile(station, tmp_path, packages=["htop", "luci"])
    assert read(station, "build", name)["builds"][0]["build"]["id"] == third["build"]["id"]
    forced = read(station, "build", name, "--force")["builds"][0]
    assert forced["isReused"] is False
    add_profile(station, tmp_path, packages=["htop", "luci"], build_defaults={"rebuild_if_cached": True})
    always = [read(station, "build", name)["builds"][0] for _ in range(2)]
    assert [one["isReused"] for one in always] == [False, False]


@pytest.mark.parametrize("harm", ["deleted", "flipped", "image deleted", "image flipped"])
def test_what_was_harmed_behind_the_stations_back_is_built_again(station, tmp_path, harm):
    name = add_profile(station, tmp_path)
    build = read(station, "build", name)["builds"][0]["build"]
    card = build["product"]["card"]
    path = (library(station, "images", f"{card['sha256']}.img") if "image" in harm
            else library(station, "builds", build["id"], "artifacts", card["artifact"]))
    if "deleted" in harm:
        path.unlink()
    else:
        os.chmod(path, 0o600)
        damage(path)
        os.chmod(path, 0o440)
    again = read(station, "build", name)["builds"][0]
    assert again["isReused"] is False
    content = library(station, "images", f"{again['build']['product']['card']['sha256']}.img").read_bytes()
    assert hashlib.sha256(content).hexdigest() == again["build"]["product"]["card"]["sha256"]
    assert [one["isKept"] for one in builds(station)] == [True, False]


def test_a_touched_file_is_read_and_believed_again(station, tmp_path):
    name = add_profile(station, tmp_path)
    build = read(station, "build", name)["builds"][0]["build"]
    os.utime(library(station, "builds", build["id"], "artifacts", build["product"]["card"]["artifact"]))
    assert read(station, "build", name)["builds"][0]["isReused"] is True


def test_twenty_who_ask_at_one_time_get_one_build(station, tmp_path):
    name = add_profile(station, tmp_path, packages=["luci", "practice-slow-2"])
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: read(station, "build", name)["builds"][0]["build"]["id"], range(20)))
    assert len(set(found)) == 1 and len(builds(station)) == 1


@pytest.mark.parametrize("changes, code, hint", [
    ({"packages": ["luci", "tcpdmp"]}, "package_unknown", "tcpdmp"),
    ({"imagebuilder_profile": "generik"}, "builder_profile_unknown", "did you mean generic?"),
    ({"packages": ["practice-huge"]}, "image_too_big", "is too big"),
    ({"packages": ["practice-fail"]}, "build_failed", "on purpose"),
    ({"bin_dir": "/srv/images"}, "export_not_allowed", "ExportRoots="),
    ({"openwrt_release": "24.10.9"}, "builder_unknown", "404"),
])
def test_what_cannot_be_built_is_explained(station, tmp_path, changes, code, hint):
    name = add_profile(station, tmp_path, **changes)
    done = ctl(station, "build", name, "--json", check=False)
    error = json.loads(done.stdout)["builds"][0]["error"]
    assert done.returncode != 0 and error["code"] == code and hint in json.dumps(error, ensure_ascii=False), error
    for build in builds(station):
        assert build["state"] == "failed" and build["problem"]["code"] == code
        # Of what ran there is a log, and nothing else.
        left = library(station, "builds", build["id"])
        assert not left.exists() or [path.name for path in left.iterdir()] == ["log"]


def test_a_missing_tool_of_the_host_is_named_with_its_package(station, mirror, tmp_path):
    mirror.add(extra_files={"include/host-tools": b"make\nno-such-tool no-such-package\n"})
    done = ctl(station, "build", add_profile(station, tmp_path), check=False)
    assert "no-such-package" in done.stderr and "apt install" in done.stderr


def test_a_device_that_has_no_card_image_is_built_and_refused_for_a_slot(station, mirror, tmp_path):
    mirror.add(release="23.05.2", target="ath79", subtarget="generic")
    name = add_profile(station, tmp_path, openwrt_release="23.05.2", target="ath79", subtarget="generic",
                       imagebuilder_profile="tplink_archer-c6-v3")
    assert "none: OpenWrt has no image" in ctl(station, "build", name).stdout
    done = ctl(station, "assign", "slot1", name, check=False)
    assert done.returncode == REFUSED and "own flash memory" in done.stderr
    assert not station.slot("slot1")["isArmed"]


def test_a_batch_says_what_became_of_each(station, tmp_path):
    for number, packages in enumerate((["luci"], ["nonsense"], ["htop"])):
        add_profile(station, tmp_path, profile_id=f"batch{number}", packages=packages, tags=["batch"])
    done = ctl(station, "build", "--tag", "batch", "--json", check=False)
    outcomes = {one["profileID"]: one for one in json.loads(done.stdout)["builds"]}
    assert done.returncode == FAILED and outcomes["batch1"]["error"]["code"] == "package_unknown"
    assert outcomes["batch0"]["build"]["state"] == outcomes["batch2"]["build"]["state"] == "succeeded"
    done = ctl(station, "build", "--tag", "batch", "--mode", "fail-fast", check=False)
    assert done.returncode == FAILED and "failed" in done.stdout
    # One after the other, what stands behind the first failure is not tried.
    names = ["batch1"] + [add_profile(station, tmp_path, profile_id=f"more{number}", packages=["practice-slow-2"])
                          for number in range(6)]
    done = ctl(station, "build", *names, "--mode", "fail-fast", check=False)
    assert done.returncode == FAILED and "6 not tried" in done.stdout, done.stdout


def test_a_cancelled_build_leaves_nothing_running(station, tmp_path):
    name = add_profile(station, tmp_path, packages=["practice-slow-30"])
    ctl(station, "builder", "ensure", *TRIPLE)
    asking = subprocess.Popen([os.path.join(station.programs, "stationctl"), "--socket", station.socket, "build", name],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: sandboxes(station), 30, "the sandbox")
    build = builds(station)[0]
    ctl(station, "builds", "cancel", build["id"][:8])
    assert "cancelled" in asking.communicate(timeout=30)[1]
    wait_until(lambda: not sandboxes(station), 10, "the end of the sandbox")
    assert builds(station)[0]["state"] == "cancelled"
    wait_until(lambda: not list(library(station, "builds").glob(".*.partial")), 10, "the directory to go")


def test_a_build_that_is_cancelled_while_its_sandbox_is_made_leaves_no_process(station, tmp_path):
    # bwrap asks for its end with its parent's only some time after it was forked; killed in between, it stays for ever.
    name = add_profile(station, tmp_path, packages=["practice-slow-30"])
    ctl(station, "builder", "ensure", *TRIPLE)
    instants = random.Random(5)
    with Client(station.socket) as building, Client(station.socket) as asking:
        for _ in range(60):
            building.send("Build", {"profileID": name})
            while True:
                asking.send("ListBuilds", {})
                running = [build["id"] for build in asking.reply()["parameters"]["builds"] if build["state"] == "running"]
                if running:
                    break
            # Not to wait for anything: any instant of its making is to be hit.
            threading.Event().wait(instants.uniform(0, 0.1))
            asking.send("CancelBuild", {"build": running[0]})
            asking.reply()
            with pytest.raises(CallFailed, match="build_cancelled"):
                building.reply()
    wait_until(lambda: not sandboxes(station), 10, "the end of every sandbox")


def test_a_build_that_takes_too_long_is_ended(station, mirror, tmp_path):
    configure(station, mirror.url, build="TimeoutSec=10")
    (pathlib.Path(station.config) / "station.conf").write_text(
        (pathlib.Path(station.config) / "station.conf").read_text().replace("TimeoutSec=120\n", ""))
    station.call("Reload")
    done = ctl(station, "build", add_profile(station, tmp_path, packages=["practice-slow-30"]), check=False)
    assert "longer than 10 s" in done.stderr and not sandboxes(station)


HOSTILE = b"""
BIN_DIR ?= bin
include include/target.mk
info:
\t@cat info.txt
image:
\t@echo hostile; sh hostile.sh
"""


def test_nothing_of_the_host_is_to_be_seen_from_a_build(station, mirror, tmp_path):
    # The real `make info` first, so that the station knows the builder.
    ctl(station, "builder", "ensure", *TRIPLE)
    info = (b'Current Target: "x86/64"\nCurrent Revision: "r1-x"\nDefault Packages: base-files\nAvailable Profiles:\n\n'
            b'generic:\n    Generic\n    Packages: \n')
    secret = library(station, "store", "station.db")
    other = next(path for path in library(station, "builders").iterdir() if (path / "tree").exists())
    script = f"""
        for path in {secret} {station.socket} {other} {library(station, 'images')} /root /home /etc/shadow /etc/passwd /run \
                /var/lib /dev/loop0 /dev/sda /dev/kvm /sys/block /proc/1/root/root; do
            if ls "$path" > /dev/null 2>&1; then echo "SEEN $path"; fi
        done
        id -u; cat /proc/self/status | grep -i capeff; ls /proc | grep -c '^[0-9]'
        touch /usr/x 2>/dev/null && echo "WROTE /usr"
        mount -t tmpfs none /mnt 2> /dev/null && echo MOUNTED
        unshare -U true 2> /dev/null && echo "NAMESPACE"
        python3 -c 'import socket; socket.create_connection(("127.0.0.1", {mirror.server.server_port}), 2)' 2> /dev/null && echo NETWORK
        (setsid sh -c 'sleep 300' > /dev/null 2>&1 &)
        exit 1
    """
    mirror.add(release="24.10.3", extra_files={"Makefile": HOSTILE, "hostile.sh": script.encode(), "info.txt": info})
    configure(station, mirror.url, build="Network=offline")
    station.call("Reload")
    name = add_profile(station, tmp_path, openwrt_release="24.10.3")
    ctl(station, "build", name, check=False)
    log = ctl(station, "builds", "log", builds(station)[0]["id"]).stdout
    assert "hostile" in log
    assert not re.search("SEEN|WROTE|MOUNTED|NAMESPACE|NETWORK", log), log
    assert "1000\n" in log and re.search(r"CapEff:\s+0{16}", log), log
    wait_until(lambda: not sandboxes(station), 10, "everything to end")
    assert not subprocess.run(["pgrep", "-f", "sleep 300$"], capture_output=True, check=False).stdout


def test_a_build_that_fills_the_disk_is_ended(station, mirror, tmp_path):
    info = (b'Current Target: "x86/64"\nCurrent Revision: "r1-x"\nDefault Packages: base-files\nAvailable Profiles:\n\n'
            b'generic:\n    Generic\n    Packages: \n')
    script = "i=0; while :; do head -c 8M /dev/zero > f$i; i=$((i+1)); done"
    mirror.add(release="24.10.3", extra_files={"Makefile": HOSTILE, "hostile.sh": script.encode(), "info.txt": info})
    configure(station, mirror.url, build="DiskLimit=64M")
    station.call("Reload")
    done = ctl(station, "build", add_profile(station, tmp_path, openwrt_release="24.10.3"), "--json", check=False)
    assert json.loads(done.stdout)["builds"][0]["error"]["code"] == "build_disk_full", done.stdout
    assert sum(path.stat().st_blocks * 512 for path in library(station, "builds").rglob("*")) < MIB


def descendants(process):
    """A process and everything below it."""
    found, queue = [], [process]
    while queue:
        parent = queue.pop()
        found.append(parent)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                queue += map(int, pathlib.Path(f"/proc/{parent}/task/{task}/children").read_text().split())
    return found


def named(process, name):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process}/comm").read_text().strip() == name[:15]
    return False


@pytest.mark.parametrize("victim", ["station-library", "bwrap", "make", "stationd"])
def test_whoever_is_killed_no_half_build_stays_and_the_next_request_builds(station, tmp_path, victim):
    """At five moments each, drawn by lot; a moment is a length of the log."""
    chance = random.Random(f"20261127 {victim}")
    name = add_profile(station, tmp_path, packages=["practice-slow-2"])
    ctl(station, "builder", "ensure", *TRIPLE)
    for _ in range(5):
        goal = chance.randrange(1, 1000)
        before = {build["id"] for build in builds(station)}
        asking = subprocess.Popen(
            [os.path.join(station.programs, "stationctl"), "--socket", station.socket, "build", name, "--force"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        logs = library(station, "builds").glob(".*.partial/log")
        wait_until(lambda: asking.poll() is not None or any(
            path.stat().st_size >= goal for path in library(station, "builds").glob(".*.partial/log")), 30, "the moment")
        del logs
        for process in [station.process.pid] if victim == "stationd" else descendants(station.process.pid):
            if victim == "stationd" or named(process, victim):
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        asking.communicate(timeout=60)
        if victim == "stationd":
            station.process.wait()
            station.start()
        wait_until(lambda: not sandboxes(station), 15, "the sandbox to end")
        for build in builds(station):
            assert build["state"] != "running"
            assert build["id"] in before or build["state"] in ("failed", "interrupted", "succeeded")
    again = read(station, "build", name, "--force")["builds"][0]["build"]
    assert again["state"] == "succeeded" and again["isKept"]
    assert not list(library(station, "builds").glob(".*.partial"))
    kept = {build["id"]: build for build in builds(station) if build["isKept"]}
    for build in kept.values():
        image = library(station, "images", f"{build['product']['card']['sha256']}.img").read_bytes()
        assert hashlib.sha256(image).hexdigest() == build["product"]["card"]["sha256"]


# -- slots ------------------------------------------------------------------------------------------------------------

def test_a_slot_is_assigned_a_profile_and_its_cards_get_the_image(station, tmp_path):
    name = add_profile(station, tmp_path)
    shown = ctl(station, "assign", "slot*", name).stdout
    assert f"slot1: {name} is assigned" in shown and "slot2" in shown
    slot = station.slot("slot1")
    build, = builds(station)
    assert slot["isArmed"] and slot["assignment"]["profile"] == name and slot["assignment"]["build"] == build["id"]
    image = library(station, "images", f"{slot['assignment']['sha256']}.img").read_bytes()
    for port, slot_name in (("2", "slot1"), ("3", "slot2")):
        with LoopCard(32 * MIB) as card:
            reader = station.bench.insert(port, card, slot_name)
            assert station.wait_for_state(slot_name, "passed", "failed")["state"] == "passed"
            with open(card.backing, "rb") as file:
                assert file.read(len(image)) == image
            reader.unplug()
            station.wait_for_state(slot_name, "absent")
    assert len(builds(station)) == 1, "cards never begin a build"
    assert {job["build"] for job in station.history()} == {build["id"]}
    assert f"BUILD_ID={build['id']}" in ctl(station, "builds", "show", build["id"]).stdout
    # Assigned again it is there at once, and what is assigned is not removed.
    ctl(station, "assign", "slot1", name)
    assert len(builds(station)) == 1
    done = ctl(station, "builds", "remove", build["id"], check=False)
    assert done.returncode == REFUSED and "slot1" in done.stderr


def test_a_card_that_comes_while_its_image_is_built_waits_and_goes_on_by_itself(station, tmp_path):
    ctl(station, "builder", "ensure", *TRIPLE)
    name = add_profile(station, tmp_path, packages=["practice-slow-30"])
    with LoopCard(32 * MIB) as early, LoopCard(32 * MIB) as late:
        station.bench.insert("3", early, "slot2")
        assert station.wait_for_state("slot2", "waiting")["reason"] == "unassigned"
        with Client(station.socket) as client:
            client.send("Assign", {"slots": ["slot1", "slot2"], "profile": name})
            assert client.reply()["parameters"]["isPreparing"]
        station.bench.insert("2", late, "slot1")
        slot = station.wait_for_state("slot1", "waiting")
        assert slot["reason"] == "preparing" and slot["signal"] == "busy" and slot["preparation"] == {"profile": name}
        gates = {gate["gate"]: gate for gate in station.call("Explain", slot="slot1")["gates"]}
        assert not gates["image"]["isOpen"] and "being built" in gates["image"]["finding"]
        assert ctl(station, "flash", "slot1", check=False).returncode == REFUSED
        # A restart of the station forgets neither the wish nor who may be written: the card was in, and waits.
        wait_until(lambda: sandboxes(station), 30, "the sandbox")
        station.stop()
        wait_until(lambda: not sandboxes(station), 15, "the sandbox to end")
        station.start()
        assert station.slot("slot1")["preparation"] == {"profile": name}
        assert station.slot("slot1")["reason"] == "was_in_already"
        ctl(station, "unassign", "slot1", "slot2")
        for build in builds(station):
            if build["state"] == "running":
                ctl(station, "builds", "cancel", build["id"])
        quick = add_profile(station, tmp_path, profile_id="quick", packages=["practice-slow-2"])
        with Client(station.socket) as client:
            client.send("Assign", {"slots": ["slot1", "slot2"], "profile": quick})
            client.reply()
        assert station.wait_for_state("slot1", "waiting")["reason"] == "was_in_already"
        wait_until(lambda: station.slot("slot1")["isArmed"], 60, "the image")
        assert not any(open(card.backing, "rb").read(MIB) != bytes(MIB) for card in (early, late)), "both were in before"


def test_a_card_that_waited_for_its_image_is_written_when_that_is_there(station, tmp_path):
    ctl(station, "builder", "ensure", *TRIPLE)
    name = add_profile(station, tmp_path, packages=["practice-slow-2"])
    with Client(station.socket) as client, LoopCard(32 * MIB) as card:
        client.send("Assign", {"slots": ["slot1"], "profile": name})
        assert client.reply()["parameters"]["isPreparing"]
        station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
        job, = station.history()
        assert job["profile"] == name and job["trigger"] == "insertion"


def test_a_slot_that_is_removed_while_its_image_is_built_is_armed_by_nothing_when_it_is_back(station, tmp_path):
    ctl(station, "builder", "ensure", *TRIPLE)
    name = add_profile(station, tmp_path, packages=["practice-slow-2"])
    with Client(station.socket) as client:
        client.send("Assign", {"slots": ["slot1"], "profile": name})
        assert client.reply()["parameters"]["isPreparing"]
    path = pathlib.Path(station.config, "slots.d", "slot1.slot")
    text = path.read_text()
    path.unlink()
    station.call("Reload")
    path.write_text(text)
    path.chmod(0o644)
    station.call("Reload")
    wait_until(lambda: builds(station) and builds(station)[0]["state"] == "succeeded", 60, "the build")
    station.stop()
    station.start()
    slot = station.slot("slot1")
    assert not slot["isArmed"] and "preparation" not in slot and "assignment" not in slot


def test_a_build_that_fails_writes_no_card_and_says_why(station, tmp_path):
    good = add_profile(station, tmp_path)
    ctl(station, "assign", "slot1", good)
    bad = add_profile(station, tmp_path, profile_id="bad", packages=["nonsense"])
    done = ctl(station, "assign", "slot1", bad, check=False)
    assert done.returncode != 0 and "nonsense" in done.stderr
    slot = station.slot("slot1")
    assert not slot["isArmed"] and slot["preparation"]["problem"]["code"] == "package_unknown"
    assert "assignment" not in slot, "what was assigned before is not written either"
    with LoopCard(32 * MIB) as card:
        station.bench.insert("2", card, "slot1")
        slot = station.wait_for_state("slot1", "waiting")
        assert slot["reason"] == "build_failed" and slot["signal"] == "help"
        assert "nonsense" in ctl(station, "explain", "slot1").stdout
        assert "nonsense" in ctl(station, "status").stdout
        # Mended and assigned again, the card that waits is one that was in before.
        add_profile(station, tmp_path, profile_id="bad", packages=["nano"])
        ctl(station, "assign", "slot1", "bad")
        assert station.slot("slot1")["reason"] == "was_in_already" and station.history() == []


def test_an_assignment_that_fails_half_way_lets_no_slot_wait_for_what_nobody_builds(station, tmp_path):
    name = add_profile(station, tmp_path)
    with refused_consent(station, "slot2"):
        assert ctl(station, "assign", "slot1", "slot2", name, check=False).returncode != 0
    first, second = station.slot("slot1"), station.slot("slot2")
    assert not first["isArmed"] and first["preparation"]["problem"]
    assert not second["isArmed"] and "preparation" not in second
    ctl(station, "assign", "slot1", "slot2", name)
    assert station.slot("slot1")["isArmed"] and station.slot("slot2")["isArmed"]


def test_files_of_a_profile_that_rot_in_the_library_are_built_into_nothing(station, tmp_path):
    banner = tmp_path / "banner"
    banner.write_text("welcome\n")
    name = add_profile(station, tmp_path, files=[{"source": str(banner), "destination": "/etc/banner"}])
    overlay, = library(station, "images").glob("*.overlay.tar")
    overlay.write_bytes(overlay.read_bytes().replace(b"welcome", b"welcomf"))
    done = ctl(station, "build", name, check=False)
    assert done.returncode != 0 and "in the library are damaged" in done.stderr
    assert not list(library(station, "images").glob("*.img"))


def test_storage_that_is_full_takes_away_what_nobody_needs(station, mirror, tmp_path):
    first = add_profile(station, tmp_path, profile_id="first")
    second = add_profile(station, tmp_path, profile_id="second", packages=["nano"])
    ctl(station, "assign", "slot1", first)
    ctl(station, "build", second)
    # An image may not be longer than the limit, whatever of it is holes; so the limit must be above some megabytes.
    ballast = tmp_path / "ballast.img"
    ballast.write_bytes(random.Random(3).randbytes(12 * MIB))
    ctl(station, "image", "import", ballast, "--raw")
    used = sum(path.lstat().st_blocks * 512 for part in ("images", "builders", "builds")
               for path in library(station, part).rglob("*"))
    configure(station, mirror.url, station_keys=f"StorageLimit={used // 1024 - 64}K")
    station.call("Reload")
    third = add_profile(station, tmp_path, profile_id="third", packages=["htop"])
    ctl(station, "build", third)
    kept = {build["profileID"]: build["isKept"] for build in builds(station) if build["state"] == "succeeded"}
    assert kept["first"] and not kept["second"]
    configure(station, mirror.url, station_keys="StorageLimit=64K")
    station.call("Reload")
    fourth = add_profile(station, tmp_path, profile_id="fourth", packages=["iperf3"])
    done = ctl(station, "build", fourth, "--json", check=False)
    assert json.loads(done.stdout)["builds"][0]["error"]["code"] == "storage_full"
    assert station.slot("slot1")["isArmed"]


def test_the_stations_key_is_one_and_only_where_it_is_asked_for(station, tmp_path):
    name = add_profile(station, tmp_path, add_local_key=True)
    first = read(station, "build", name)["builds"][0]["build"]
    assert first["product"]["localKey"]
    assert read(station, "build", name)["builds"][0]["isReused"] is True
    again = read(station, "build", name, "--force")["builds"][0]["build"]
    assert again["product"]["localKey"] == first["product"]["localKey"]
    plain = read(station, "build", add_profile(station, tmp_path, profile_id="plain"))["builds"][0]["build"]
    assert "localKey" not in plain["product"]
    for build, has_key in ((again, True), (plain, False)):
        image = library(station, "images", f"{build['product']['card']['sha256']}.img").read_bytes()
        assert (b"Local build key" in image) == has_key


def test_what_the_image_builder_worked_in_is_kept_where_that_is_asked_for(station, tmp_path):
    kept = add_profile(station, tmp_path, build_defaults={"keep_build_dir": True})
    build = read(station, "build", kept)["builds"][0]["build"]
    assert (library(station, "builds", build["id"], "work") / "build_dir" / "root" / "etc").is_dir()
    plain = read(station, "build", add_profile(station, tmp_path, profile_id="plain"))["builds"][0]["build"]
    assert {path.name for path in library(station, "builds", plain["id"]).iterdir()} == {"log", "artifacts"}


def test_an_export_is_published_where_root_lets_it(station, mirror, tmp_path):
    root = tmp_path / "export"
    root.mkdir()
    configure(station, mirror.url, build=f"ExportRoots={root}")
    station.call("Reload")
    build = read(station, "build", add_profile(station, tmp_path, bin_dir=str(root)))["builds"][0]["build"]
    for artifact in build["product"]["artifacts"]:
        content = (root / build["id"] / artifact["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]


def test_what_cannot_be_published_is_not_kept_either(station, mirror, tmp_path):
    root = tmp_path / "export"
    configure(station, mirror.url, build=f"ExportRoots={root}")
    station.call("Reload")
    name = add_profile(station, tmp_path, bin_dir=str(root))
    done = ctl(station, "build", name, check=False)
    assert done.returncode != 0 and "cannot be published" in done.stderr
    build, = builds(station)
    assert build["state"] == "failed"
    assert [path.name for path in library(station, "builds", build["id"]).iterdir()] == ["log"]
    root.mkdir()
    published = read(station, "build", name)["builds"][0]["build"]
    assert [path.name for path in root.iterdir()] == [published["id"]]
