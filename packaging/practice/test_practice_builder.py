"""The practice Image Builder keeps OpenWrt's contract, and its images boot."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from practice_builder import TARGETS, SigningKey, make_server_tree  # noqa: E402


def unpack(directory, name, place):
    subprocess.run(["tar", "-xf", directory / name, "-C", place], check=True)
    return place / name.split(".tar.")[0]


@pytest.fixture
def builder(tmp_path):
    directory, name, _ = make_server_tree(tmp_path / "mirror")
    return unpack(directory, name, tmp_path)


def make(builder, *words, check=True):
    done = subprocess.run(["make", "-C", builder, *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_list_has_the_archive_and_its_signature_is_right(tmp_path):
    key = SigningKey(tmp_path / "keys")
    directory, name, digest = make_server_tree(tmp_path / "mirror", key=key)
    assert f"{digest} *{name}\n" in (directory / "sha256sums").read_text()
    assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == digest
    public = key.publish(tmp_path / "public")
    # By a program that is not ours.
    done = subprocess.run(["signify-openbsd", "-V", "-p", public, "-x", directory / "sha256sums.sig", "-m",
                           directory / "sha256sums"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", TARGETS)
def test_every_target_builds_what_it_says(tmp_path, place):
    target, subtarget = place.split("/")
    directory, name, _ = make_server_tree(tmp_path / "mirror", target=target, subtarget=subtarget, release="23.05.5")
    builder = unpack(directory, name, tmp_path)
    info = make(builder, "info").stdout
    assert f'Current Target: "{place}"' in info
    device = TARGETS[place][1][0]["name"]
    assert f"\n{device}:\n" in info
    out = tmp_path / "out"
    make(builder, "image", f"PROFILE={device}", f"BIN_DIR={out}")
    overview = json.loads((out / "profiles.json").read_text())
    assert overview["target"] == place and "linux_kernel" not in overview
    sums = dict(reversed(line.split(" *")) for line in (out / "sha256sums").read_text().splitlines())
    for image in overview["profiles"][device]["images"]:
        digest = hashlib.sha256((out / image["name"]).read_bytes()).hexdigest()
        assert image["sha256"] == digest == sums[image["name"]]
    subprocess.run(["sha256sum", "--quiet", "-c", "sha256sums"], cwd=out, check=True)


def test_results_are_merged_into_those_that_are_there(builder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "profiles.json").write_text(json.dumps({"profiles": {"other": {"images": []}}}))
    make(builder, "image", f"BIN_DIR={out}")
    assert json.loads((out / "profiles.json").read_text())["profiles"].keys() == {"other", "generic"}


def test_manifests_of_both_package_managers(tmp_path):
    for release, line in (("24.10.2", "base-files - 1.0-r1"), ("25.12.0", "base-files 1.0-r1")):
        directory, name, _ = make_server_tree(tmp_path / release, release=release)
        builder = unpack(directory, name, tmp_path / release)
        shown = make(builder, "manifest", "PACKAGES=luci -ppp -ppp-mod-pppoe").stdout
        assert line in shown and "luci-base" in shown and "ppp" not in shown
        assert "luci" in make(builder, "package_whatdepends", "PACKAGE=luci-base").stdout
        assert "luci-base" in make(builder, "package_depends", "PACKAGE=luci").stdout


def test_what_make_is_given_it_expands(builder, tmp_path):
    """The attack is real: a station that let such a value through would run it."""
    make(builder, "image", f"EXTRA_IMAGE_NAME=$(shell touch {tmp_path}/attacked)", f"BIN_DIR={tmp_path}/out", check=False)
    assert (tmp_path / "attacked").exists()


def test_what_fails_fails_in_upstreams_words(builder, tmp_path):
    assert 'Profile "x" does not exist!' in make(builder, "image", "PROFILE=x", check=False).stdout
    assert "Cannot install package nope." in make(builder, "image", "PACKAGES=nope", check=False).stdout
    assert "is too big" in make(builder, "image", "PACKAGES=practice-huge", check=False).stdout
    assert make(builder, "image", "PACKAGES=practice-fail", check=False).returncode != 0
    (builder / "include" / "host-tools").write_text("no-such-tool the-package\n")
    shown = make(builder, "image", check=False).stdout
    assert "Build dependency: Please install the-package" in shown and "Prerequisite check failed." in shown


@pytest.mark.parametrize("kind", ["ext4-combined", "squashfs-combined"])
def test_the_image_boots_and_says_its_build(builder, tmp_path, kind):
    files = tmp_path / "files" / "etc"
    files.mkdir(parents=True)
    (files / "flashing-station-release").write_text("BUILD_ID=0123abcd\nPROFILE_ID=x\n")
    out = tmp_path / "out"
    make(builder, "image", f"FILES={files.parent}", f"BIN_DIR={out}")
    packed = next(out.glob(f"*-{kind}.img.gz"))
    raw = tmp_path / "disk.img"
    # gzip warns of what stands behind its end: fwtool's metadata.
    done = subprocess.run(["gzip", "-dc", packed], stdout=raw.open("wb"), stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2 and b"trailing garbage" in done.stderr
    assert packed.read_bytes()[-16:-12] == b"FWx0"
    serial = tmp_path / "serial"
    machine = subprocess.Popen(
        [shutil.which("qemu-system-x86_64"), "-accel", "tcg", "-m", "64", "-display", "none", "-serial", f"file:{serial}",
         "-drive", f"file={raw},format=raw,snapshot=on"])
    try:
        deadline = time.monotonic() + 60
        while not (serial.exists() and b"build=0123abcd" in serial.read_bytes()):
            assert time.monotonic() < deadline and machine.poll() is None, "it does not boot"
            time.sleep(0.1)
    finally:
        machine.kill()
        machine.wait()
    if kind.startswith("ext4"):
        rootfs = tmp_path / "rootfs"
        rootfs.write_bytes(raw.read_bytes()[1 << 20:])
        shown = subprocess.run(["debugfs", "-R", "cat /etc/flashing-station-release", rootfs], capture_output=True,
                               check=True).stdout
        assert b"BUILD_ID=0123abcd" in shown


def test_the_same_inputs_make_the_same_image(tmp_path):
    digests = set()
    for place in ("one", "two"):
        directory, name, _ = make_server_tree(tmp_path / place)
        builder = unpack(directory, name, tmp_path / place)
        make(builder, "image", f"BIN_DIR={tmp_path / place / 'out'}")
        image = next((tmp_path / place / "out").glob("*-ext4-combined.img.gz"))
        digests.add(hashlib.sha256(image.read_bytes()).hexdigest())
    assert len(digests) == 1
