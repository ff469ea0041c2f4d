#!/usr/bin/env python3
"""What the practice Image Builder's Makefile calls: profiles, packages, a root file system, disks."""
import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import urllib.request
import zlib

TOP = os.environ.get("TOPDIR") or os.getcwd()
with open(os.path.join(TOP, "include", "data.json"), encoding="utf-8") as data_file:
    DATA = json.load(data_file)
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or DATA["source_date_epoch"])
SERVICES = ["boot", "cron", "dnsmasq", "dropbear", "firewall", "network", "odhcpd", "sysntpd", "uhttpd"]
SECTOR = 512
PARTITION_START = 2048


def say(*words):
    print(*words, flush=True)


def fail(*lines):
    say(*["\n".join(lines)])
    sys.exit(1)


# -- packages -----------------------------------------------------------------------------------------------------

def feeds():
    """All packages that there are: the archive's own, and those of feeds that are fetched."""
    packages = {package["name"]: package for package in DATA["packages"]}
    for url in DATA["feeds"]:
        say(f"Downloading {url}")
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                for package in json.load(answer):
                    packages[package["name"]] = package
        except OSError as error:
            if DATA["flavour"] == "apk":
                fail(f"ERROR: {url}: network error (check Internet connection and firewall)")
            fail(f"*** Failed to download the package list from {url}",
                 "Collected errors:", f" * opkg_download: Failed to download {url}, wget returned 4. ({error})")
    return packages


def profile_named(name):
    for profile in DATA["profiles"]:
        if profile["name"] == (name or DATA["profiles"][0]["name"]):
            return profile
    return fail(f'Profile "{name}" does not exist!', 'Use "make info" to get a list of available profile names.')


def chosen(profile, extra):
    """Default packages, the profile's and the user's: `-name` takes one out."""
    user = extra.split()
    removed = {word[1:] for word in user + profile["packages"] if word.startswith("-")}
    names = DATA["default_packages"] + profile["packages"] + user
    kept = [name for name in names if not name.startswith("-")]
    # What the user asks for stays, whatever a profile takes out.
    removed -= {word for word in user if not word.startswith("-")}
    return sorted({name for name in kept if name not in removed})


def resolve(names):
    """Those and what they depend on. An unknown one ends the build as the package manager would."""
    known, found, queue = feeds(), {}, list(names)
    unknown = []
    while queue:
        name = queue.pop(0)
        if name in found:
            continue
        if name not in known:
            unknown.append(name)
            continue
        found[name] = known[name]
        queue += known[name].get("depends", [])
    if unknown and DATA["flavour"] == "apk":
        lines = ["ERROR: unable to select packages:"]
        for name in unknown:
            lines += [f"  {name} (no such package):", f"    required by: world[{name}]"]
        fail(*lines)
    if unknown:
        fail(*[f"Unknown package '{name}'." for name in unknown], "Collected errors:",
             *[f" * opkg_install_cmd: Cannot install package {name}." for name in unknown])
    return [found[name] for name in sorted(found)]


def manifest_lines(packages, strip_abi=""):
    for package in packages:
        name = re.sub(r"(?<=\D)20\d{6}$", "", package["name"]) if strip_abi else package["name"]
        yield f"{name} {package['version']}" if DATA["flavour"] == "apk" else f"{name} - {package['version']}"


# -- a root file system -----------------------------------------------------------------------------------------

def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def make_root(root, packages, files, services, local_key):
    shutil.rmtree(root, ignore_errors=True)
    write(f"{root}/etc/openwrt_release",
          f"DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='{DATA['version']}'\nDISTRIB_REVISION='{DATA['revision']}'\n")
    installed = "lib/apk/db/installed" if DATA["flavour"] == "apk" else "usr/lib/opkg/status"
    write(f"{root}/{installed}", "\n".join(manifest_lines(packages)) + "\n")
    for number, service in enumerate(SERVICES):
        write(f"{root}/etc/init.d/{service}", f"#!/bin/sh /etc/rc.common\nSTART={number}\n", 0o755)
        os.makedirs(f"{root}/etc/rc.d", exist_ok=True)
        if service not in services.split():
            os.symlink(f"../init.d/{service}", f"{root}/etc/rc.d/S{number:02}{service}")
    if local_key:
        key = "keys/local-public-key.pem" if DATA["flavour"] == "apk" else "key-build.pub"
        where = "etc/apk/keys" if DATA["flavour"] == "apk" else "etc/opkg/keys"
        os.makedirs(f"{root}/{where}", exist_ok=True)
        shutil.copy(os.path.join(TOP, key), f"{root}/{where}/")
    if files:
        if not os.path.isdir(files):
            fail(f"cp: cannot stat '{files}/.': No such file or directory")
        shutil.copytree(files, root, symlinks=True, dirs_exist_ok=True)
    for directory, names, others in os.walk(root):
        for name in names + others + [""]:
            os.utime(os.path.join(directory, name), (EPOCH, EPOCH), follow_symlinks=False)


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        fail(f"{command[0]}: exit {done.returncode}", done.stdout)


def ext4(root, path, mib):
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed", "-L", "rootfs", "-d", root, "-E",
        "root_owner=0:0,hash_seed=6b33f586-a183-4383-921d-30da3fef7e4a,lazy_itable_init=0,lazy_journal_init=0",
        "-U", "6b33f586-a183-4383-921d-30da3fef7e4a", path, env={**os.environ, "E2FSPROGS_FAKE_TIME": str(EPOCH)})
    # Everything is root's, whoever builds, and of one time.
    commands = []
    for directory, names, others in os.walk(root):
        for name in names + others:
            inside = "/" + os.path.relpath(os.path.join(directory, name), root)
            commands += [f'set_inode_field "{inside}" {field} {value}' for field, value in (
                ("uid", 0), ("gid", 0), ("ctime", f"@{EPOCH}"), ("ctime_extra", 0))]
    script = f"{path}.owners"
    write(script, "\n".join(commands) + "\n")
    run("debugfs", "-w", "-f", script, path, env={**os.environ, "E2FSPROGS_FAKE_TIME": str(EPOCH)})
    os.unlink(script)


def squashfs(root, path):
    if os.path.exists(path):
        os.unlink(path)
    run("mksquashfs", root, path, "-all-root", "-no-xattrs", "-noappend", "-quiet", "-no-progress", "-processors", "1",
        env={name: value for name, value in {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}.items()})


# -- disks ----------------------------------------------------------------------------------------------------------

def boot_sector(text):
    """A boot sector that says a line on the first serial port, and halts: 16-bit code, assembled by hand."""
    loop = bytes([
        0xAC,              # lodsb
        0x84, 0xC0,        # test al, al
        0x74, 0x10,        # jz halt
        0x88, 0xC4,        # mov ah, al
        0xBA, 0xFD, 0x03,  # wait: mov dx, 0x3fd
        0xEC,              # in al, dx
        0xA8, 0x20,        # test al, 0x20
        0x74, 0xF8,        # jz wait
        0xBA, 0xF8, 0x03,  # mov dx, 0x3f8
        0x88, 0xE0,        # mov al, ah
        0xEE,              # out dx, al
        0xEB, 0xE9,        # jmp loop
        0xF4,              # halt: hlt
        0xEB, 0xFD,        # jmp halt
    ])
    # The jumps above are relative, and are set here from where things stand.
    loop = bytearray(loop)
    loop[4] = 23 - 5
    loop[14] = (7 - 15) & 0xFF
    loop[22] = (0 - 23) & 0xFF
    start = bytes([0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0xFC, 0xBE])  # cli; xor ax, ax; mov ds, ax; cld; mov si, text
    message = 0x7C00 + len(start) + 2 + len(loop)
    code = start + struct.pack("<H", message) + bytes(loop) + text.encode() + b"\0"
    assert len(code) <= 440, "the line does not fit into a boot sector"
    return code.ljust(440, b"\0")


def disk(rootfs, path, partition_mib, line):
    """A disk with one partition that holds a root file system."""
    with open(rootfs, "rb") as file:
        content = file.read()
    room = partition_mib << 20
    if len(content) > room:
        fail(f"mkfs: out of space? the root file system has {len(content)} bytes, the partition {room}")
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\0\0\0", PARTITION_START, room // SECTOR)
    head = boot_sector(line) + struct.pack("<I", EPOCH & 0xFFFFFFFF) + b"\0\0" + entry + bytes(48) + b"\x55\xaa"
    with open(path, "wb") as file:
        file.write(head)
        file.seek(PARTITION_START * SECTOR)
        file.write(content)
        file.truncate(PARTITION_START * SECTOR + room)


def fwtool_trailer(metadata):
    """What fwtool puts behind an image, as upstream's fwimage_trailer: magic FWx0, CRC-32, type, size; big-endian."""
    payload = bytes(8) + json.dumps(metadata).encode()  # a version and flags first
    size = len(payload) + 16
    return payload + b"FWx0" + struct.pack(">IB3xI", zlib.crc32(payload) & 0xFFFFFFFF, 1, size)


def pack(source, target, trailer=b""):
    with open(source, "rb") as file, open(target, "wb") as out:
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as packed:
            shutil.copyfileobj(file, packed)
        out.write(trailer)


# -- commands ---------------------------------------------------------------------------------------------------------

def info():
    say(f'Current Target: "{DATA["board"]}/{DATA["subtarget"]}"')
    say(f'Current Architecture: "{DATA["architecture"]}"')
    say(f'Current Revision: "{DATA["revision"]}"')
    say("Default Packages: " + " ".join(DATA["default_packages"]))
    say("Available Profiles:")
    say()
    for profile in DATA["profiles"]:
        say(f"{profile['name']}:")
        say(f"    {profile['title']}")
        say("    Packages: " + " ".join(profile["packages"]))
        say(f"    hasImageMetadata: {1 if profile['supported_devices'] else 0}")
        if profile["supported_devices"]:
            say("    SupportedDevices: " + " ".join(profile["supported_devices"]))


def release_marker(root):
    """The value of BUILD_ID in the overlay's marker."""
    try:
        with open(f"{root}/etc/flashing-station-release", encoding="utf-8") as file:
            values = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        return values.get("BUILD_ID", "unknown")
    except OSError:
        return "unknown"


def practise(names):
    """Packages that exist to make a build slow, fail, or grow."""
    for name in names:
        if match := re.fullmatch(r"practice-slow-(\d+)", name):
            for second in range(int(match[1])):
                say(f"practice: {second + 1} of {match[1]}")
                time.sleep(1)
        if name == "practice-fail":
            fail("practice: this package fails on purpose", "make[2]: *** [Makefile:1: practice-fail] Error 1")


def image(arguments):
    profile = profile_named(arguments.profile)
    names = chosen(profile, arguments.packages)
    say(f"Building images for {DATA['board']} - {profile['title']}")
    say("Packages: " + " ".join(names))
    say()
    say("Installing packages...")
    packages = resolve(names)
    for package in packages:
        say(f"Installing {package['name']} ({package['version']}) to root...")
    practise(names)
    if sum(package["size"] for package in packages) > DATA["size_limit"]:
        total = sum(package["size"] for package in packages)
        fail(f"WARNING: Image file root.squashfs is too big: {total} > {DATA['size_limit']}",
             "make[2]: *** [Makefile:61: root.squashfs] Error 1")
    build = os.path.join(TOP, "build_dir")
    root = os.path.join(build, "root")
    say("Finalizing root filesystem...")
    make_root(root, packages, arguments.files, arguments.services, arguments.local_key)
    say("Building images...")
    os.makedirs(arguments.bin_dir, exist_ok=True)
    extra = re.sub(r"[^A-Za-z0-9_.+-]", "-", arguments.extra)
    code = f"{DATA['revision']}-" if DATA["has_code_in_names"] else ""
    prefix = "-".join(filter(None, [
        f"openwrt-{DATA['version']}" if DATA["version"] != "SNAPSHOT" else "openwrt", code.rstrip("-"), extra,
        DATA["board"], DATA["subtarget"], profile["name"]]))
    partition = int(arguments.partsize or DATA["partition_mib"])
    line = f"flashing-station-practice build={release_marker(root)}\r\n"
    images = []
    for number, wanted in enumerate(profile["images"]):
        images.append(make_image(wanted, number, root, build, arguments.bin_dir, prefix, partition, line, profile))
    manifest = f"{prefix}.manifest"
    write(f"{arguments.bin_dir}/{manifest}", "\n".join(manifest_lines(packages)) + "\n")
    merge_overview(arguments.bin_dir, profile, images, prefix)
    say("Calculating checksums...")
    checksums(arguments.bin_dir)


def make_image(wanted, number, root, build, bin_dir, prefix, partition, line, profile):
    filesystem = wanted["filesystem"]
    name = "-".join(filter(None, [prefix, filesystem if wanted["has_filesystem_in_name"] else None, wanted["suffix"]]))
    path = os.path.join(bin_dir, name)
    if not wanted["is_disk"]:
        with open(path, "wb") as file:
            file.write(f"practice firmware of {profile['name']}\n{line}".encode())
    else:
        rootfs = os.path.join(build, f"root.{filesystem or 'squashfs'}")
        if filesystem == "ext4":
            ext4(root, rootfs, partition)
        else:
            squashfs(root, rootfs)
        raw = os.path.join(build, f"disk{number}.img")
        disk(rootfs, raw, partition, line)
        metadata = {"metadata_version": "1.1", "supported_devices": profile["supported_devices"]}
        pack(raw, path, fwtool_trailer(metadata) if wanted["has_trailer"] else b"")
        os.unlink(raw)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"filesystem": None if wanted["is_filesystem_null"] else filesystem, "name": name, "sha256": digest,
            "sha256_unsigned": "", "type": wanted["type"]}


def merge_overview(bin_dir, profile, images, prefix):
    """profiles.json: what is there already stays in it."""
    path = os.path.join(bin_dir, "profiles.json")
    overview = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            overview = json.load(file)
    vendor, _, model = profile["title"].partition(" ")
    overview.update({
        "arch_packages": DATA["architecture"], "default_packages": DATA["default_packages"], "metadata_version": 1,
        "source_date_epoch": EPOCH, "target": f"{DATA['board']}/{DATA['subtarget']}", "version_code": DATA["revision"],
        "version_number": DATA["version"]})
    if DATA["has_linux_kernel"]:
        overview["linux_kernel"] = {"release": "1", "vermagic": "0" * 32, "version": "6.6.93"}
    overview.setdefault("profiles", {})[profile["name"]] = {
        "device_packages": profile["packages"], "image_prefix": prefix, "images": images,
        "supported_devices": profile["supported_devices"], "titles": [{"model": model, "vendor": vendor}]}
    write(path, json.dumps(overview, sort_keys=True))


def checksums(bin_dir):
    lines = []
    for name in sorted(os.listdir(bin_dir)):
        if name != "sha256sums" and os.path.isfile(os.path.join(bin_dir, name)):
            with open(os.path.join(bin_dir, name), "rb") as file:
                lines.append(f"{hashlib.sha256(file.read()).hexdigest()} *{name}")
    write(os.path.join(bin_dir, "sha256sums"), "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info")
    for name in ("check-profile", "whatdepends", "depends"):
        commands.add_parser(name).add_argument("name", nargs="?", default="")
    for name in ("image", "manifest"):
        command = commands.add_parser(name)
        for option in ("profile", "packages", "files", "bin-dir", "services", "partsize", "extra", "local-key",
                       "strip-abi"):
            command.add_argument(f"--{option}", default="")
    arguments = parser.parse_args()
    if arguments.command == "info":
        info()
    elif arguments.command == "check-profile":
        if arguments.name:
            profile_named(arguments.name)
    elif arguments.command == "image":
        image(arguments)
    elif arguments.command == "manifest":
        say("\n".join(manifest_lines(resolve(chosen(profile_named(arguments.profile), arguments.packages)),
                                     arguments.strip_abi)))
    else:
        if not arguments.name:
            fail(f"Variable `PACKAGE` is not set but required by `{arguments.command}`")
        known = feeds()
        if arguments.command == "depends":
            say("\n".join(known[arguments.name].get("depends", []) if arguments.name in known else []))
        else:
            say("\n".join(sorted(name for name, package in known.items()
                                 if arguments.name in package.get("depends", []))))


main()
