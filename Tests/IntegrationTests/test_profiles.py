"""Profiles in files, as a person at a shell and a script meet them."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import time

import pytest

from conftest import ROOT
from practice_station import CallFailed, Client, PracticeStation

SUCCESS, FAILURE, USAGE, UNREACHABLE, NOT_PERMITTED, NOT_FOUND = range(6)
GOOD = """\
profile_id: home.ap
name: An access point
device_id: ap-1
openwrt_release: 24.10.2
target: ath79
subtarget: generic
imagebuilder_profile: tplink_archer-c6-v3
"""


@pytest.fixture
def ctl(programs):
    """Runs stationctl with no station anywhere."""
    def run(*arguments, expect=SUCCESS, **options):
        done = subprocess.run([os.path.join(programs, "stationctl"), "--socket", "/nonexistent", *arguments],
                              capture_output=True, text=True, timeout=30, check=False, **options)
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done
    return run


def test_shipped_profiles_validate_as_they_are(ctl):
    profiles = os.path.join(ROOT, "profiles")
    names = glob.glob(os.path.join(profiles, "*.yaml"))
    assert len(names) == 8
    done = ctl("profile", "validate", *names)
    assert done.stdout.count(": valid: ") == 8 and done.stderr == ""
    done = ctl("profile", "validate", profiles, f"{profiles}/json", f"{profiles}/toml", "--json")
    reply = json.loads(done.stdout)
    assert reply["isValid"] and len(reply["profiles"]) == 24
    for key in ("sha256", "overlaySHA256"):
        assert len({(p["profileID"], p[key]) for p in reply["profiles"]}) == 8, "three formats, one profile"
    codes = {(note["code"], note["field"]) for p in reply["profiles"] for note in p["notes"]}
    assert ("not_available", "policies.strip_debug") in codes


def test_all_violations_are_said_as_compilers_say_them(ctl, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("ath79", "$(shell id)") + "packges: [luci]\nfiles:\n"
                                       "  - {source: gone, destination: etc/a}\n")
    (tmp_path / "bad.json").write_text('{"profile_id": "a",\n "profile_id": "b"}')
    done = ctl("profile", "validate", "bad.yaml", "bad.json", "good.yaml", cwd=tmp_path, expect=FAILURE)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("bad.yaml:5:9: target: “$(shell id)” has “$” in it; use a target")
    assert lines[1] == "bad.yaml:8:1: packges: is no field of a profile; did you mean packages?"
    assert lines[2].startswith("bad.yaml:10:33: files[0].destination: ")
    assert lines[3] == "bad.json:2:2: “profile_id” stands here a second time; keep one of them"
    assert done.stdout.splitlines() == ["bad.yaml: not valid: 3 violations", "bad.json: not valid: 1 violation",
                                        done.stdout.splitlines()[-1]]
    assert done.stdout.splitlines()[-1].startswith("good.yaml: valid: home.ap, sha256 ")
    reply = json.loads(ctl("profile", "validate", ".", "--json", cwd=tmp_path, expect=FAILURE).stdout)
    found = [(v["file"], v["line"], v["column"], v["field"], v["code"]) for p in reply["profiles"] for v in p["violations"]]
    assert found == [("./bad.json", 2, 2, "", "key_duplicate"), ("./bad.yaml", 5, 9, "target", "value_invalid"),
                     ("./bad.yaml", 8, 1, "packges", "field_unknown"),
                     ("./bad.yaml", 10, 33, "files[0].destination", "value_invalid")]


def test_one_id_is_one_profile(ctl, tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("ap-1", "ap-2"))
    done = ctl("profile", "validate", ".", cwd=tmp_path, expect=FAILURE)
    assert done.stderr.startswith("./b.yaml:1:1: profile_id: “home.ap” is another profile in ./a.yaml")


def test_files_are_opened_by_the_caller_or_not_at_all(programs, ctl, tmp_path):
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if parent != parent.parent and not os.stat(parent).st_mode & 0o001:
            os.chmod(parent, os.stat(parent).st_mode | 0o001)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    profile = tmp_path / "ap.yaml"
    profile.write_text(GOOD + "files:\n  - {source: secret, destination: /etc/a}\n  - {source: /etc/shadow, destination: /etc/b}\n")
    program = tmp_path / "stationctl"
    shutil.copy(os.path.join(programs, "stationctl"), program)
    command = [str(program), "profile", "validate", "ap.yaml"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False).returncode == SUCCESS
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False, user=65534,
                          group=65534, extra_groups=[])
    assert done.returncode == FAILURE
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["files[0].source", "files[1].source"]
    assert done.stderr.count("Permission denied") == 2
    ctl("profile", "validate", "--no-sources", "ap.yaml", cwd=tmp_path)


def test_convert_goes_round(ctl, tmp_path):
    source = os.path.join(ROOT, "profiles", "lab-router1-extended.yaml")
    before = source
    for kind in ("toml", "json", "yaml"):
        after = tmp_path / f"profile.{kind}"
        after.write_text(ctl("profile", "convert", before, "--format", kind).stdout)
        before = str(after)
    assert ctl("profile", "diff", source, before).stdout == "no difference\n"
    as_json = ctl("profile", "convert", source, "--json").stdout
    assert json.loads(as_json) and as_json == ctl("profile", "convert", source, "--format", "json").stdout
    assert ctl("profile", "convert", source, "--json", "--format", "toml").stdout \
        == ctl("profile", "convert", source, "--format", "toml").stdout
    other = os.path.join(ROOT, "profiles", "lab-router1-snapshot.yaml")
    lines = ctl("profile", "diff", source, other).stdout.splitlines()
    assert "packages: +tcpdump +iperf3 +kmod-usb-storage +block-mount -nano -openvpn-openssl" in lines
    assert 'openwrt_release: "23.05.2" → "snapshot"' in lines
    fields = [d["field"] for d in json.loads(ctl("profile", "diff", source, other, "--json").stdout)["differences"]]
    assert fields[0] == "profile_id" and "policies.allow_snapshot" in fields


def test_mistakes_at_the_shell(ctl, tmp_path):
    assert "FILE|DIR… is missing" in ctl("profile", "validate", expect=USAGE).stderr
    assert "no format" in ctl("profile", "convert", "a.yaml", "--format", "xml", expect=USAGE).stderr
    ctl("profile", "validate", "gone.yaml", cwd=tmp_path, expect=NOT_FOUND)
    assert "there is no profile in" in ctl("profile", "validate", str(tmp_path), expect=NOT_FOUND).stderr
    (tmp_path / "a.txt").write_text(GOOD)
    assert "the name says no format" in ctl("profile", "validate", "a.txt", cwd=tmp_path, expect=FAILURE).stderr
    assert "did you mean stationctl profile validate?" in ctl("profile", "valdiate", expect=USAGE).stderr
    (tmp_path / "evil\x1b[2J.yaml").write_text("\x1b]0;x\x07: 1\n")
    done = ctl("profile", "validate", "evil\x1b[2J.yaml", cwd=tmp_path, expect=FAILURE)
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("name, text", [
    ("a.yaml", "[" * 1_000_000), ("b.yaml", "- " * 500_000), ("c.yaml", "{a: " * 250_000), ("d.yaml", "&a [" * 250_000),
    ("e.json", "[" * 1_000_000), ("f.json", '{"a":' * 200_000), ("g.toml", "a = " + "[" * 1_000_000),
    ("h.toml", "a." * 500_000 + "a = 1"), ("i.toml", "a = " + "{a=" * 300_000), ("j.toml", "[[a]]\n" * 150_000),
    ("k.yaml", "".join(f"k{n}: 1\n" for n in range(49_000))), ("l.toml", "".join(f"k{n} = 1\n" for n in range(49_000))),
    ("m.yaml", "a: " + "x " * 500_000), ("n.yaml", "? " * 500_000),
], ids=lambda value: value[:6])
def test_no_document_costs_more_than_a_moment(ctl, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    begin = time.monotonic()
    done = ctl("profile", "validate", name, cwd=tmp_path, expect=FAILURE)
    assert time.monotonic() - begin < 10 and "not valid" in done.stdout


# With a station.


@pytest.fixture
def station(programs):
    with PracticeStation(programs) as station:
        station.start()
        yield station


def overlays(station):
    return sorted(name for name in os.listdir(os.path.join(station.state, "images")) if name.endswith(".overlay.tar"))


def test_shipped_profiles_import_as_they_are_in_all_formats(station):
    profiles = os.path.join(ROOT, "profiles")
    done = station.stationctl("profile", "import", profiles)
    assert done.stdout.count(": version 1\n") == 8
    # Every profile has files; the card-ready ones share one banner.
    assert len(overlays(station)) == 4
    done = station.stationctl("profile", "import", f"{profiles}/json", f"{profiles}/toml")
    assert done.stdout.count(": unchanged\n") == 16 and ": version" not in done.stdout
    reply = json.loads(station.stationctl("profile", "list", "--json").stdout)
    assert len(reply["profiles"]) == 8 and {p["version"] for p in reply["profiles"]} == {1}
    for arguments, count in ((("--tag", "home"), 2), (("--tag", "23.05"), 2), (("--device", "lab-router1"), 2),
                             (("--release", "snapshot"), 1), (("--target", "ath79"), 2),
                             (("--target", "bcm27xx/bcm2711"), 1), (("--tag", "home", "--release", "snapshot"), 0)):
        assert len(json.loads(station.stationctl("profile", "list", "--json", *arguments).stdout)["profiles"]) == count


def test_export_is_what_was_imported(station, tmp_path):
    profiles = os.path.join(ROOT, "profiles")
    station.stationctl("profile", "import", profiles)
    for name in ("lab.router1.extended", "home.ap-livingroom.23.05", "lab.router1.snapshot", "cards.rpi-4.24.10"):
        file = {"lab.router1.extended": "lab-router1-extended", "home.ap-livingroom.23.05": "home-ap-livingroom",
                "lab.router1.snapshot": "lab-router1-snapshot", "cards.rpi-4.24.10": "rpi-4"}[name]
        for kind in ("yaml", "json", "toml"):
            path = tmp_path / f"{file}.{kind}"
            path.write_text(station.stationctl("profile", "export", name, "--format", kind, "--meta").stdout)
            assert "created_at" in path.read_text()
            assert station.stationctl("profile", "diff", f"{profiles}/{file}.yaml", str(path)).stdout == "no difference\n"
            assert "created_at" not in station.stationctl("profile", "export", name, "--format", kind).stdout


def test_versions_history_diff_and_deletion(station, tmp_path):
    path = tmp_path / "ap.yaml"
    (tmp_path / "banner").write_text("one\n")
    files = "files:\n  - {source: banner, destination: /etc/banner}\n"
    path.write_text(GOOD + files)
    ctl = station.stationctl
    assert ctl("profile", "import", str(path)).stdout.endswith("home.ap: version 1\n")
    assert ctl("profile", "import", str(path)).stdout.endswith("home.ap: unchanged\n")
    (tmp_path / "banner").write_text("two\n")
    assert ctl("profile", "import", str(path)).stdout.endswith("home.ap: version 2\n")
    path.write_text(GOOD + files + "packages: [luci]\n")
    assert ctl("profile", "import", str(path)).stdout.endswith("home.ap: version 3\n")
    versions = json.loads(ctl("profile", "history", "home.ap", "--json").stdout)["profiles"]
    assert [v["version"] for v in versions] == [3, 2, 1]
    assert versions[0]["overlaySHA256"] == versions[1]["overlaySHA256"] != versions[2]["overlaySHA256"]
    assert versions[1]["sha256"] == versions[2]["sha256"] and len(overlays(station)) == 2
    assert ctl("profile", "diff", "home.ap@1", "home.ap").stdout == "packages: +luci\n"
    assert ctl("profile", "diff", "home.ap@1", "home.ap@2").stdout == "no difference\n"
    assert "packages:" in ctl("profile", "show", "home.ap").stdout
    assert "packages:" not in ctl("profile", "show", "home.ap@2").stdout
    station.stop()
    station.start()
    ctl("profile", "delete", "home.ap")
    assert "did you mean" not in ctl("profile", "show", "home.ap", check=False).stderr
    assert ctl("profile", "delete", "home.ap", check=False).returncode == NOT_FOUND
    assert "packages:" in ctl("profile", "export", "home.ap@3").stdout
    assert ctl("profile", "export", "home.ap@4", check=False).returncode == NOT_FOUND
    assert ctl("profile", "import", str(path)).stdout.endswith("home.ap: version 4\n")


def test_an_import_is_whole_or_does_not_begin(station, tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("home.ap", "b.b").replace("ath79", "$(id)"))
    (tmp_path / "c.yaml").write_text(GOOD.replace("home.ap", "c.c") + "overlay_dir: gone\n")
    done = station.stationctl("profile", "import", str(tmp_path), check=False)
    assert done.returncode == FAILURE
    assert "b.yaml:5:9: target" in done.stderr and "c.yaml:8:14: overlay_dir: “gone” is not there" in done.stderr
    assert json.loads(station.stationctl("profile", "list", "--json").stdout)["profiles"] == []


def test_the_station_trusts_no_client(station, tmp_path):
    good = {"profile_id": "home.ap", "name": "a", "device_id": "d", "openwrt_release": "24.10.2", "target": "ath79",
            "subtarget": "generic", "imagebuilder_profile": "generic"}
    def code(profile, overlay=None, descriptors=()):
        parameters = {"profile": profile} | ({"overlaySHA256": overlay} if overlay else {})
        with Client(station.socket) as client:
            client.send("ImportProfile", parameters, descriptors=descriptors)
            try:
                client.reply()
                return None
            except CallFailed as failure:
                return failure.parameters["code"]
    assert code(good | {"target": "$(shell id)"}) == "value_invalid"
    assert code(good | {"packges": []}) == "field_unknown"
    assert code({}) == "field_missing"
    assert code(good | {"overlay_dir": "x"}) == "descriptor_missing"
    archive = tmp_path / "archive.tar"
    (tmp_path / "evil").symlink_to("/etc/passwd")
    subprocess.run(["tar", "--create", "--file", str(archive), "--directory", str(tmp_path), "evil"], check=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with open(archive, "rb") as file:
        assert code(good, digest, [file.fileno()]) == "overlay_invalid", "it names no files"
        assert code(good | {"overlay_dir": "x"}, digest, [file.fileno()]) == "overlay_invalid"
        assert code(good | {"overlay_dir": "x"}, "0" * 64, [file.fileno()]) == "overlay_invalid"
    assert overlays(station) == []
    assert json.loads(station.stationctl("profile", "list", "--json").stdout)["profiles"] == []
    assert code(good) is None
