#!/usr/bin/env python3
"""Makes a practice Image Builder: an archive that honours OpenWrt's contract, on a tree like that of its download server.

    packaging/practice/practice_builder.py DIR [--release 24.10.2] [--target x86] [--subtarget 64] [--compression zst]
    packaging/practice/practice_builder.py DIR --serve 8080     # then: Mirrors=http://127.0.0.1:8080 under [ImageBuilder]

The archive is signed with a key that is made in DIR/keys; IMAGE-BUILDER.md says where it differs from upstream's.
"""
import argparse
import base64
import functools
import hashlib
import http.server
import io
import json
import os
import pathlib
import subprocess
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE / "image-builder"
EPOCH = 1_740_000_000


def disk(kind, filesystem, suffix, *, trailer=False, null=False, named=True):
    """An image that is a whole disk."""
    return {"type": kind, "filesystem": filesystem, "suffix": suffix, "is_disk": True, "has_trailer": trailer,
            "is_filesystem_null": null, "has_filesystem_in_name": named}


def flash(kind, suffix, filesystem="squashfs"):
    """An image for a device's own flash memory, not for a card."""
    return {"type": kind, "filesystem": filesystem, "suffix": suffix, "is_disk": False, "has_trailer": False,
            "is_filesystem_null": False, "has_filesystem_in_name": True}


def device(name, title, images, packages=(), supported=()):
    return {"name": name, "title": title, "images": images, "packages": list(packages),
            "supported_devices": list(supported)}


#: The devices that each target's builder knows; those of the example profiles are among them.
TARGETS = {
    "x86/64": ("x86_64", [device(
        "generic", "Generic x86/64",
        [disk("combined", fs, "combined.img.gz", trailer=True) for fs in ("ext4", "squashfs")]
        + [disk("combined-efi", fs, "combined-efi.img.gz", trailer=True) for fs in ("ext4", "squashfs")]
        + [flash("rootfs", "rootfs.img.gz")], ["kmod-e1000"])]),
    "bcm27xx/bcm2711": ("aarch64_cortex-a72", [device(
        "rpi-4", "Raspberry Pi 4B",
        [disk("factory", fs, "factory.img.gz") for fs in ("ext4", "squashfs")]
        + [disk("sysupgrade", fs, "sysupgrade.img.gz", trailer=True) for fs in ("ext4", "squashfs")],
        ["kmod-usb2"], ["rpi-4-b", "raspberrypi,4-model-b"])]),
    "rockchip/armv8": ("aarch64_generic", [device(
        "friendlyarm_nanopi-r4s", "FriendlyARM NanoPi R4S",
        [disk("sysupgrade", fs, "sysupgrade.img.gz", trailer=True) for fs in ("ext4", "squashfs")],
        supported=["friendlyarm,nanopi-r4s"])]),
    "sunxi/cortexa7": ("arm_cortex-a7_neon-vfpv4", [device(
        "xunlong_orangepi-zero", "Xunlong Orange Pi Zero",
        [disk("sdcard", fs, "sdcard.img.gz") for fs in ("ext4", "squashfs")], supported=["xunlong,orangepi-zero"])]),
    "mediatek/filogic": ("aarch64_cortex-a53", [device(
        "bananapi_bpi-r3", "Bananapi BPi-R3",
        [disk("sdcard.img.gz", "squashfs", "sdcard.img.gz", null=True, named=False),
         flash("emmc-gpt.bin", "emmc-gpt.bin")], supported=["bananapi,bpi-r3"])]),
    "ath79/generic": ("mips_24kc", [device(
        "tplink_archer-c6-v3", "TP-Link Archer C6 v3",
        [flash("sysupgrade", "sysupgrade.bin"), flash("factory", "factory.bin")], ["kmod-ath10k"],
        ["tplink,archer-c6-v3"])]),
    "ramips/mt7621": ("mipsel_24kc", [device(
        "xiaomi_mi-router-4a-gigabit", "Xiaomi Mi Router 4A Gigabit",
        [flash("sysupgrade", "sysupgrade.bin"), flash("kernel1", "kernel1.bin")], ["kmod-mt7603"],
        ["xiaomi,mi-router-4a-gigabit"])]),
}

PACKAGES = {
    "base-files": [], "busybox": [], "ca-bundle": [], "dnsmasq": [], "dropbear": [], "firewall4": ["nftables"],
    "nftables": [], "kernel": [], "libc": [], "libubus20230605": [], "opkg": [], "apk-mbedtls": [], "odhcpd-ipv6only": [],
    "ppp": [], "ppp-mod-pppoe": ["ppp"], "uci": [], "netifd": [], "kmod-e1000": [], "kmod-usb2": [], "kmod-ath10k": [],
    "kmod-mt7603": [], "kmod-usb-storage": [], "luci": ["luci-base", "uhttpd"], "luci-base": [], "luci-ssl": ["luci"],
    "uhttpd": [], "htop": [], "nano": [], "tcpdump": ["libpcap1"], "libpcap1": [], "iperf3": [], "block-mount": [],
    "collectd": [], "wpad-basic-mbedtls": [], "openvpn-openssl": [], "parted": [], "resize2fs": [], "losetup": [],
    "luci-proto-wireguard": ["wireguard-tools"], "wireguard-tools": [], "qosify": [], "irqbalance": [],
    "practice-fail": [], "practice-slow-2": [], "practice-slow-30": [], "practice-huge": [],
}
DEFAULTS = ["base-files", "busybox", "ca-bundle", "dnsmasq", "dropbear", "firewall4", "kernel", "libc", "netifd",
            "odhcpd-ipv6only", "ppp", "ppp-mod-pppoe", "uci"]
HOST_TOOLS = "make\npython3\ngzip\nxz xz-utils\nmke2fs e2fsprogs\nmksquashfs squashfs-tools\n"


def archive_name(release, target, subtarget, compression):
    version = "" if release == "snapshot" else f"{release}-"
    return f"openwrt-imagebuilder-{version}{target}-{subtarget}.Linux-x86_64.tar.{compression}"


def builder_files(release, target, subtarget, flavour, revision, feeds, packages, partition_mib, code_in_names):
    """All files of a builder's tree: path to (bytes, mode)."""
    architecture, profiles = TARGETS[f"{target}/{subtarget}"]
    version = "SNAPSHOT" if release == "snapshot" else release
    names = {**PACKAGES, **{name: [] for name in packages}}
    manager = "apk-mbedtls" if flavour == "apk" else "opkg"
    data = {
        "version": version, "revision": revision, "board": target, "subtarget": subtarget, "flavour": flavour,
        "architecture": architecture, "default_packages": sorted([*DEFAULTS, manager]), "profiles": profiles,
        "source_date_epoch": EPOCH, "feeds": list(feeds), "partition_mib": partition_mib,
        "size_limit": 64 << 20, "has_code_in_names": code_in_names, "has_linux_kernel": flavour == "apk"
        or release >= "24.10",
        "packages": [{"name": name, "version": "1.0-r1", "depends": depends,
                      "size": (1 << 30) if name == "practice-huge" else 4096} for name, depends in names.items()],
    }
    files = {
        "Makefile": ((SOURCE / "Makefile").read_bytes(), 0o644),
        "scripts/builder.py": ((SOURCE / "builder.py").read_bytes(), 0o755),
        "scripts/prerequisites": ((SOURCE / "prerequisites").read_bytes(), 0o755),
        "scripts/keys": ((SOURCE / "keys").read_bytes(), 0o755),
        "include/target.mk": (f"BOARD := {target}\nSUBTARGET := {subtarget}\n".encode(), 0o644),
        "include/flavour": (f"FLAVOUR={flavour}\n".encode(), 0o644),
        "include/host-tools": (HOST_TOOLS.encode(), 0o644),
        "include/data.json": (json.dumps(data, indent=1).encode(), 0o644),
    }
    if flavour == "apk":
        files["repositories"] = ("".join(f"{feed}\n" for feed in feeds).encode(), 0o644)
        files["keys/openwrt-practice.pem"] = (b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", 0o644)
    else:
        lines = [f"src/gz practice {feed}" for feed in feeds] + ["src imagebuilder file:packages"]
        files["repositories.conf"] = ("\n".join(lines).encode() + b"\n", 0o644)
        files["keys/b5043e70f9a75cde"] = (b"untrusted comment: practice\n", 0o644)
    return files


def pack(files, top, compression):
    """The archive: everything in one directory, root's, of one time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        directories = {top}
        for path in files:
            parts = f"{top}/{path}".split("/")[:-1]
            directories |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        for path in sorted(directories):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, EPOCH
            tar.addfile(entry)
        for path, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(f"{top}/{path}")
            entry.size, entry.mode, entry.mtime = len(content), mode, EPOCH
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo(f"{top}/python3")
        # As upstream's staging_dir/host/bin has them: a link to a tool of the host.
        link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "/usr/bin/python3", EPOCH
        tar.addfile(link)
    command = {"zst": ["zstd", "-q", "-c", "-3"], "xz": ["xz", "-c", "-1"], "gz": ["gzip", "-n", "-c"]}[compression]
    return subprocess.run(command, input=plain.getvalue(), stdout=subprocess.PIPE, check=True).stdout


class SigningKey:
    """A key of usign's and signify's form, made by OpenSSL."""

    def __init__(self, directory, name="practice"):
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.secret = directory / f"{name}.pem"
        if not self.secret.exists():
            subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.secret], check=True,
                           stderr=subprocess.DEVNULL)
        public = subprocess.run(["openssl", "pkey", "-in", self.secret, "-pubout", "-outform", "DER"], check=True,
                                stdout=subprocess.PIPE).stdout[-32:]
        self.number = hashlib.sha256(public).digest()[:8]
        self.public_text = self._text(f"practice public key {self.number.hex()}", b"Ed" + self.number + public)

    @staticmethod
    def _text(comment, payload):
        return f"untrusted comment: {comment}\n{base64.b64encode(payload).decode()}\n"

    def sign(self, path):
        """The text of a signature over a file."""
        made = subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", self.secret, "-rawin", "-in", path], check=True,
                              stdout=subprocess.PIPE).stdout
        return self._text(f"signed by key {self.number.hex()}", b"Ed" + self.number + made)

    def publish(self, directory):
        """Puts the public key where trusted keys are; named by its fingerprint."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.number.hex()}.pub"
        path.write_text(self.public_text)
        path.chmod(0o644)
        return path


def make_server_tree(base, *, release="24.10.2", target="x86", subtarget="64", flavour=None, compression=None,
                     called=None, revision="r28739-d9340319c6", feeds=(), packages=(), partition_mib=8,
                     code_in_names=False, extra_files=None, key=None):
    """Puts an archive with its signed list of checksums where a mirror would have it.

    - flavour: opkg or apk; by default what that release has. compression: zst, xz or gz, likewise.
    - called: the ending that the name has, where it is another than the compression.
    - feeds: URLs of package lists that a build fetches; extra_files: {path: bytes} that replace or add to the tree.
    - key: a SigningKey; None leaves the list unsigned.
    Returns the directory, the archive's name and its SHA-256.
    """
    is_new = release == "snapshot" or release >= "24.10"
    flavour = flavour or ("apk" if release == "snapshot" or release >= "25.12" else "opkg")
    compression = compression or ("zst" if is_new else "xz")
    name = archive_name(release, target, subtarget, called or compression)
    where = "snapshots" if release == "snapshot" else f"releases/{release}"
    directory = pathlib.Path(base) / where / "targets" / target / subtarget
    directory.mkdir(parents=True, exist_ok=True)
    files = builder_files(release, target, subtarget, flavour, revision, feeds, packages, partition_mib, code_in_names)
    for path, content in (extra_files or {}).items():
        files[path] = (content, 0o755)
    archive = pack(files, name.split(".tar.")[0], compression)
    (directory / name).write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    other = hashlib.sha256(b"").hexdigest()
    (directory / "sha256sums").write_text(
        f"{other} *config.buildinfo\n{digest} *{name}\n{other} *kmods/6.6.93-1/index.json\n"
        f"{other} *packages/Packages\n")
    signature = directory / "sha256sums.sig"
    signature.unlink(missing_ok=True)
    if key:
        signature.write_text(key.sign(directory / "sha256sums"))
    return directory, name, digest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--release", default="24.10.2")
    parser.add_argument("--target", default="x86")
    parser.add_argument("--subtarget", default="64")
    parser.add_argument("--flavour", choices=["opkg", "apk"])
    parser.add_argument("--compression", choices=["zst", "xz", "gz"])
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve the tree on 127.0.0.1 until interrupted")
    arguments = parser.parse_args()
    key = SigningKey(os.path.join(arguments.directory, "keys"))
    where, name, digest = make_server_tree(
        arguments.directory, release=arguments.release, target=arguments.target, subtarget=arguments.subtarget,
        flavour=arguments.flavour, compression=arguments.compression, key=key)
    print(f"{where}/{name}\n  sha256 {digest}")
    print(f"its key: {key.publish(os.path.join(arguments.directory, 'keys'))}  (root copies it to "
          "/etc/flashing-station/keys)")
    if arguments.serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=arguments.directory)
        print(f"serving: Mirrors=http://127.0.0.1:{arguments.serve}", flush=True)
        http.server.ThreadingHTTPServer(("127.0.0.1", arguments.serve), handler).serve_forever()


if __name__ == "__main__":
    main()
