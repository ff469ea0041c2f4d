"""A card in a slot that the host has come to live from: nobody writes it, whoever asks."""
import hashlib

from guest_station import begins_with, verdict

#: Who uses the disk, how it comes to that, how it ends, and what the guard says.
USES = {
    "device-mapper": ("dmsetup create held --table '0 4096 linear {disk} 2048'", "dmsetup remove held", "device_held"),
    "RAID over a partition": (
        "sgdisk --clear --new=1:2048:0 {disk} && udevadm settle"
        " && mdadm --create /dev/md77 --level=1 --raid-devices=2 --metadata=1.2 --bitmap=none --run {disk}1 missing",
        "mdadm --stop /dev/md77 && mdadm --zero-superblock {disk}1", "device_held"),
    "LVM": (
        "wipefs -qa {disk} && pvcreate --devices {disk} -ff -y {disk} && vgcreate --devices {disk} held {disk}"
        " && lvcreate --devices {disk} -y -Wn -Zn --noudevsync -l 50%FREE -n data held",
        "vgremove --devices {disk} --noudevsync -fy held && pvremove --devices {disk} -ffy {disk}", "device_held"),
    "swap": ("mkswap {disk} && swapon {disk}", "swapoff {disk}", "device_is_swap"),
    # Read-only, so that a mount that is let alone does not write either.
    "a mount": ("mke2fs -q -F -t ext4 {disk} && mkdir -p /mnt/held && mount -o ro {disk} /mnt/held", "umount /mnt/held", "device_mounted"),
    "a loop device": ("losetup /dev/loop77 {disk}", "losetup -d /dev/loop77", "device_backs_loop"),
}


def test_a_card_that_the_host_uses_is_refused_until_it_does_not(station, machine, new_card, images):
    card = new_card(32)
    station.ctl("disarm", "slot1")
    reader = machine.usb_insert(1, card)
    disk = f"/dev/{reader.wait_disk()}"
    station.wait_state("slot1", "waiting")
    # What is in now waits; from here on only `flash` begins it.
    station.ctl("arm", "slot1")
    for name, (begin, end, reason) in USES.items():
        machine.run(begin.format(disk=disk), timeout=120)
        machine.run("sync; udevadm settle")
        before = hashlib.sha256(card.read_bytes()).hexdigest()
        station.ctl("flash", "slot1", "--image", "image-a")
        report = station.wait_verdict("slot1")
        print(f"{name}: {verdict(report)} ({report['detail']})")
        assert verdict(report) == f"refused {reason}", f"{name}: {report}"
        machine.run("sync")
        assert hashlib.sha256(card.read_bytes()).hexdigest() == before, name
        machine.run(end.format(disk=disk), timeout=120)
    # It was the use that was in the way, and nothing else.
    station.ctl("flash", "slot1", "--image", "image-a")
    assert verdict(station.wait_verdict("slot1")) == "passed"
    machine.usb_remove(reader)
    assert begins_with(card, images["image-a"])
