#!/usr/bin/python3
"""Makes a rude card: an image file full of what an older life left on it, all of it valid.

    dirty_card.py OUTPUT [--mib 512]

- a GPT, primary and backup;
- partition 1: a RAID1 member (metadata 1.2) with an LVM volume with an ext4 on it, which any Debian with mdadm and
  lvm2 assembles and activates on sight;
- partition 2: a squashfs, and behind it at the next 64 KiB boundary an ext4 overlay, where OpenWrt looks for one;
- partition 3: an ext4 with a label.

mdadm and LVM need a kernel with md and device-mapper, so the card is made in the test machine, once per size and
recipe; the cache holds it as a sparse file.
"""
import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import machine as bench

MIB = 1024 * 1024
VOLUME_GROUP = "oldcard"
LOGICAL_VOLUME = "music"
#: The path at which the guest shows the activated volume: what must not appear in a declared slot.
ACTIVATED = f"/dev/{VOLUME_GROUP}/{LOGICAL_VOLUME}"

SCRIPT = r"""
set -euo pipefail
disk=$1; group=$2; volume=$3; raid_mib=$4; squash_mib=$5
work=$(mktemp -d)
# Held back while things are made, so that this machine's own rules do not assemble and hold what is half done.
udevadm settle
udevadm control --stop-exec-queue
sgdisk --clear --set-alignment=2048 \
    --new=1:2048:+${raid_mib}M --typecode=1:fd00 --change-name=1:raid \
    --new=2:0:+${squash_mib}M --typecode=2:8300 --change-name=2:rootfs \
    --new=3:0:0 --typecode=3:8300 --change-name=3:files "$disk" >&2
# sgdisk has had the kernel read the table; the nodes are devtmpfs's, no udevd is needed for them.
[ -b "${disk}3" ]
mdadm --create /dev/md127 --name=old --metadata=1.2 --level=1 --raid-devices=2 --bitmap=none --run \
    "${disk}1" missing >&2
export DM_DISABLE_UDEV=1
pvcreate --devices /dev/md127 -ff -y /dev/md127 >&2
vgcreate --devices /dev/md127 "$group" /dev/md127 >&2
lvcreate --devices /dev/md127 -y -Wn -Zn --noudevsync -l 50%FREE -n "$volume" "$group" >&2
mke2fs -q -t ext4 -L music "/dev/$group/$volume"
vgchange --devices /dev/md127 --noudevsync -an "$group" >&2
mdadm --stop /dev/md127 >&2
mkdir "$work/root"
head -c 3000000 /dev/urandom > "$work/root/payload"
mksquashfs "$work/root" "$work/squash" -quiet -no-progress -noappend >&2
dd if="$work/squash" of="${disk}2" bs=64K conv=fsync status=none
bytes=$(od -An -t u8 -j 40 -N 8 "$work/squash" | tr -d ' ')
overlay=$(( (bytes + 65535) / 65536 * 65536 ))
truncate -s $((squash_mib * 1048576 - overlay)) "$work/overlay"
mke2fs -q -t ext4 -L rootfs_data "$work/overlay"
dd if="$work/overlay" of="${disk}2" bs=64K seek=$((overlay / 65536)) conv=fsync,sparse status=none
mke2fs -q -t ext4 -L OLDFILES "${disk}3"
sync
array_data=$(mdadm --examine "${disk}1" | sed -n 's/.*Data Offset : \([0-9]*\) sectors/\1/p')
starts=$(for n in 1 2 3; do echo $(( $(cat /sys/class/block/${disk##*/}$n/start) * 512 )); done | paste -sd,)
echo "{\"overlay\": $overlay, \"array_data\": $((array_data * 512)), \"starts\": [$starts]}"
"""


def make(machine, path, size):
    """Makes the card in a running machine (on the highest reader port of `xhci`), and returns its facts."""
    with open(path, "wb") as file:
        file.truncate(size)
    reader = machine.usb_insert(7, path)
    disk = f"/dev/{reader.wait_disk()}"
    mib = size // MIB
    try:
        facts = json.loads(machine.run(
            ["/bin/bash", "-c", SCRIPT, "dirty", disk, VOLUME_GROUP, LOGICAL_VOLUME, mib // 2, mib // 4],
            timeout=180).stdout)
    finally:
        machine.usb_remove(reader)
        machine.run("udevadm control --start-exec-queue; udevadm settle")
    first, second, third = facts["starts"]
    overlay = second + facts["overlay"]
    signatures = [
        ["primary GPT", 512, b"EFI PART"], ["backup GPT", size - 512, b"EFI PART"],
        ["protective MBR", 510, b"\x55\xaa"],
        ["RAID superblock 1.2", first + 4096, b"\xfc\x4e\x2b\xa9"],
        ["LVM label", first + facts["array_data"] + 512, b"LABELONE"],
        ["squashfs", second, b"hsqs"], ["overlay ext4", overlay + 0x438, b"\x53\xef"],
        ["files ext4", third + 0x438, b"\x53\xef"],
    ]
    facts["signatures"] = [[name, offset, magic.hex()] for name, offset, magic in signatures]
    return facts


def leftovers(image, facts):
    """The names of the old life's signatures that an image file still has at their places."""
    found = []
    with open(image, "rb") as file:
        for name, offset, magic in facts["signatures"]:
            file.seek(offset)
            if file.read(len(magic) // 2) == bytes.fromhex(magic):
                found.append(name)
    return found


def dirty_card(output, mib=512, machine=None):
    """Writes a dirty card to `output` and returns its facts (`signatures`: name, offset, bytes in hex).

    Taken from the cache where it is; otherwise made in `machine`, or in one booted for it.
    """
    recipe = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:16]
    directory = bench.guest_directory().parent
    cached = directory / f"dirty-card-{mib}-{recipe}"
    with open(directory / "dirty-card.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.exists():
            with tempfile.TemporaryDirectory(prefix="dirty-card-", dir=directory) as work:
                made = pathlib.Path(work) / "made"
                made.mkdir()
                if machine is not None:
                    facts = make(machine, made / "card.img", mib * MIB)
                else:
                    with bench.Machine(name="dirty-card") as own:
                        facts = make(own, made / "card.img", mib * MIB)
                missing = {name for name, _, _ in facts["signatures"]} - set(leftovers(made / "card.img", facts))
                if missing:
                    raise bench.MachineError(f"the dirty card lacks what it was made with: {sorted(missing)}")
                (made / "facts.json").write_text(json.dumps(facts))
                os.rename(made, cached)
    subprocess.run(["cp", "--sparse=always", str(cached / "card.img"), str(output)], check=True)
    return json.loads((cached / "facts.json").read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes a card that is full of an older life.")
    parser.add_argument("output")
    parser.add_argument("--mib", type=int, default=512)
    arguments = parser.parse_args()
    try:
        json.dump(dirty_card(arguments.output, arguments.mib), sys.stdout, indent=2)
        print()
    except bench.MachineError as error:
        sys.exit(f"dirty_card: {error}")
