#!/usr/bin/python3
"""Virtual card readers: a USB topology in sysfs, udev events, and real loop devices behind /dev/sdX.

    with VirtualBench() as bench:
        reader = bench.plug("2", [card], slots={0: "slot1"})       # 'add' events, /dev/sda is the card's loop
        process = bench.spawn(["stationd", …])                     # sees only the bench's /sys, and its /dev/sda
        reader.media_change(None)                                  # 'change' with DISK_MEDIA_CHANGE=1, size 0
        reader.unplug()                                            # gone from sysfs, then 'remove' events

A process that `spawn` starts, and its children, run with umockdev's preload library: /sys and what there is
of /dev come from the bench's directory, and netlink sockets for kernel events are local sockets to which the
bench sends, in udev's own format, to every listener. The tree and the events are made here and not by
umockdev's Testbed: that sends no properties beyond the device's name and type (so no DISK_MEDIA_CHANGE and
no DISKSEQ), knows no place for the SCSI layers, and sets UMOCKDEV_DIR in the calling process.

What is not as on a real machine:

  * udev's properties stand in the `uevent` file of the device (that is where libudev finds them: the library
    does not redirect /run/udev). `udev_device_get_is_initialized` is therefore 0 for enumerated devices.
  * Only calls into the C library are redirected, and not all of them; see `NOT_REDIRECTED`.
  * A path below /dev that the bench does not have is the *host's*. The bench never uses the name of a disk
    that the host has, so that a late open of a removed disk finds nothing.
  * The local sockets are named after the file descriptor: two processes whose monitors happen to have the
    same descriptor number take each other's events away. One listening process per bench is safe.
  * A listener that does not read is never told ENOBUFS: the sender waits for it instead (10 datagrams are
    queued, see net.unix.max_dgram_qlen) and after `patience` seconds drops the event (`bench.lost`).
  * On a node that was opened with open(2), umockdev asks this process about each ioctl, read and write, over a
    socket that it opens next to it (no close-on-exec), and keeps one entry in a table of 50 for each open, also
    for one that failed. openat(AT_FDCWD, "/dev/sda", …) is redirected without any of this: use that.
  * An empty slot's disk has a node that leads nowhere: open says ENXIO where a real one says ENOMEDIUM.

Needs root and Debian's libumockdev0.
"""

import argparse
import fcntl
import glob
import json
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from practice_card import (  # noqa: E402
    BENCH_PREFIX, BLKGETDISKSEQ, BLKGETSIZE64, LoopCard, PracticeCard, PracticeError, starter, write_record)

PRELOAD = "libumockdev-preload.so.0"
BLKSSZGET, BLKROGET = 0x1268, 0x125E
# Of this range (local and experimental use) no driver ever takes a number: open says ENXIO.
NOWHERE_MAJOR = 120
DEFAULT_CONTROLLER = "0000:00:03.0"
NOT_REDIRECTED = ("syscall(2) itself, scandir, nftw and fts, faccessat, euidaccess, readlink of /proc/self/fd/N (it "
                  "shows the bench's directory), /run/udev, chown, unlink, rename, symlink, mknod, truncate, io_uring")


# -- udev's event format ------------------------------------------------------------------------------

def string_hash(text):
    """MurmurHash2 with the length as seed, as in udev: the socket filter of a monitor compares it."""
    data = text.encode()
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = len(data)
    position = 0
    while len(data) - position >= 4:
        word = int.from_bytes(data[position:position + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
        position += 4
    if position < len(data):
        value ^= int.from_bytes(data[position:], "little")
        value = value * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)


def tag_bloom(tags):
    bits = 0
    for tag in tags:
        value = string_hash(tag)
        for shift in (0, 6, 12, 18):
            bits |= 1 << (value >> shift & 63)
    return bits


def encode_event(properties):
    """An event as udevd sends it to libudev's monitors."""
    body = b"".join(f"{key}={value}".encode() + b"\0" for key, value in properties.items())
    tags = [tag for tag in properties.get("TAGS", "").split(":") if tag]
    bloom = tag_bloom(tags)
    devtype = properties.get("DEVTYPE")
    size = 40
    return struct.pack("8s", b"libudev") + struct.pack(">I", 0xFEEDCAFE) + struct.pack("=III", size, size, len(body)) \
        + struct.pack(">IIII", string_hash(properties["SUBSYSTEM"]), string_hash(devtype) if devtype else 0,
                      bloom >> 32, bloom & 0xFFFFFFFF) + body


# -- sysfs --------------------------------------------------------------------------------------------

class Device:
    """One directory below /sys/devices. `path` is as a program in the bench sees it."""

    def __init__(self, bench, path, subsystem, properties=None, attributes=None, devtype=None, bus=None):
        self.bench, self.path, self.subsystem = bench, path, subsystem
        self.properties = dict(properties or {})
        if devtype:
            self.properties = {"DEVTYPE": devtype, **self.properties}
        self.links = []
        name = os.path.basename(path)
        os.makedirs(bench.real(path), exist_ok=True)
        for key, value in (attributes or {}).items():
            self.set(key, value)
        self.write_uevent()
        home = f"/sys/bus/{bus}" if bus else f"/sys/class/{subsystem}"
        os.makedirs(bench.real(home + ("/devices" if bus else "")), exist_ok=True)
        bench.link(path + "/subsystem", home)
        self.link(f"{home}/devices/{name}" if bus else f"{home}/{name}")

    def link(self, place):
        """A symbolic link somewhere else in sysfs to this device; it goes when the device goes."""
        self.bench.link(place, self.path)
        self.links.append(place)

    def set(self, name, value):
        path = self.bench.real(f"{self.path}/{name}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # Replaced as a whole: a reader in another process never sees half of it.
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(f"{value}\n")
        os.rename(path + ".new", path)

    def get(self, name):
        with open(self.bench.real(f"{self.path}/{name}"), encoding="utf-8") as file:
            return file.read().rstrip("\n")

    def write_uevent(self):
        # The kernel shows DEVNAME without /dev/ here; SUBSYSTEM and DEVPATH are no part of it.
        self.set("uevent", "\n".join(f"{key}={value.removeprefix('/dev/') if key == 'DEVNAME' else value}"
                                     for key, value in self.properties.items()))

    def event(self, action, extra=None, kernel_only=False):
        """Send an event. `kernel_only`: without what udev's rules add."""
        properties = self.properties
        if kernel_only:
            kept = {"DEVTYPE", "MAJOR", "MINOR", "DEVNAME", "DISKSEQ", "PARTN"}
            properties = {key: value for key, value in properties.items() if key in kept}
        self.bench.send({"ACTION": action, "DEVPATH": self.path.removeprefix("/sys"), "SUBSYSTEM": self.subsystem,
                         **properties, **(extra or {})})

    def remove(self):
        for place in self.links:
            path = self.bench.real(place)
            if os.path.islink(path):
                os.unlink(path)
        shutil.rmtree(self.bench.real(self.path), ignore_errors=True)


class Disk:
    """One LUN of a reader: the block device sdX, with a card in it or empty."""

    def __init__(self, reader, lun, name, card, slot, partitions):
        self.reader, self.bench, self.lun, self.name = reader, reader.bench, lun, name
        self.slot = slot
        self.card = None
        self.partitions = []
        self.node_target = None
        self.last_diskseq = 0
        self.parent = reader.make_parent(lun)
        path = f"{self.parent.path}/block/{name}"
        self.device = Device(self.bench, path, "block", devtype="disk", attributes={
            "removable": "1", "range": "16", "ext_range": "256", "hidden": "0", "capability": "41",
            "events": "media_change", "events_async": "", "events_poll_msecs": "-1", "alignment_offset": "0",
            "discard_alignment": "0", "inflight": "       0        0", "stat": " ".join("0" * 17),
            "queue/rotational": "1", "queue/max_sectors_kb": str(reader.max_sectors_kb),
            "queue/max_hw_sectors_kb": str(reader.max_sectors_kb), "queue/discard_max_bytes": "0",
            "queue/write_cache": "write through", "queue/scheduler": "[mq-deadline] none",
            "power/control": "on"})
        for directory in ("holders", "slaves"):
            os.mkdir(self.bench.real(f"{path}/{directory}"))
        self.device.link(f"/sys/block/{name}")
        self.bench.link(f"{path}/device", self.parent.path)
        self.set_card(card, partitions)

    def set_card(self, card, partitions=()):
        """Show this card (None: an empty slot): attributes, properties, links and nodes, but no event."""
        for partition in self.partitions:
            partition.remove()
        self.partitions = []
        self.bench.remove_node(self.name)
        old = self.device.properties.get("MAJOR")
        if old is not None:
            place = f"/sys/dev/block/{old}:{self.device.properties['MINOR']}"
            path = self.bench.real(place)
            if os.path.islink(path):
                os.unlink(path)
            if place in self.device.links:
                self.device.links.remove(place)
            self.bench.show_host_disk_again(old, self.device.properties["MINOR"])
        self.card = card
        if card is None:
            major, minor, diskseq = NOWHERE_MAJOR, self.host_minor(), fresh_diskseq()
            size, sector, read_only = 0, 512, 0
        else:
            major, minor, size, sector, read_only, diskseq = examine(device_of(card))
        self.last_diskseq = diskseq
        self.bench.hide_host_disk(major, minor)
        self.bench.make_node(self.name, major, minor)
        self.device.set("dev", f"{major}:{minor}")
        self.device.set("size", size // 512)
        self.device.set("ro", read_only)
        self.device.set("diskseq", diskseq)
        for name in ("logical_block_size", "physical_block_size", "hw_sector_size", "minimum_io_size"):
            self.device.set(f"queue/{name}", sector)
        self.device.properties = {"MAJOR": str(major), "MINOR": str(minor), "DEVNAME": f"/dev/{self.name}",
                                  "DEVTYPE": "disk", "DISKSEQ": str(diskseq), **self.udev_properties()}
        self.device.write_uevent()
        self.device.link(f"/sys/dev/block/{major}:{minor}")
        for number, partition in enumerate(partitions, start=1):
            self.add_partition(number, *partition)
        self.link_slot()

    def host_minor(self):
        """A minor number of its own for each slot that is empty."""
        return self.reader.host_number * 16 + self.lun

    def udev_properties(self):
        reader = self.reader
        by_id = f"usb-{reader.vendor}_{reader.model}_{reader.serial}-0:{self.lun}"
        path = f"pci-{reader.controller}-usb-0:{reader.port}:1.0-scsi-0:0:0:{self.lun}"
        links = [f"/dev/disk/by-id/{by_id}", f"/dev/disk/by-path/{path}"]
        properties = {
            "ID_BUS": "usb", "ID_VENDOR": reader.vendor, "ID_VENDOR_ID": reader.vendor_id, "ID_MODEL": reader.model,
            "ID_MODEL_ID": reader.product_id, "ID_REVISION": reader.revision,
            "ID_SERIAL": f"{reader.vendor}_{reader.model}_{reader.serial}-0:{self.lun}",
            "ID_SERIAL_SHORT": reader.serial, "ID_TYPE": "disk", "ID_INSTANCE": f"0:{self.lun}",
            "ID_USB_DRIVER": "usb-storage", "ID_USB_INTERFACES": ":080650:", "ID_USB_INTERFACE_NUM": "00",
            "ID_PATH": path, "ID_PATH_TAG": path.replace(":", "_").replace(".", "_"),
            "USEC_INITIALIZED": str(int(time.monotonic() * 1e6))}
        if self.slot:
            links.append(f"/dev/flashing-station/{self.slot}")
            properties |= {"STATION_SLOT": self.slot, "UDISKS_IGNORE": "1",
                           "UDEV_DISABLE_PERSISTENT_STORAGE_BLKID_FLAG": "1"}
        return properties | {"DEVLINKS": " ".join(links), "TAGS": ":systemd:", "CURRENT_TAGS": ":systemd:",
                             **reader.extra_properties}

    def link_slot(self):
        if self.slot:
            directory = os.path.join(self.bench.directory, "dev", "flashing-station")
            os.makedirs(directory, exist_ok=True)
            link = os.path.join(directory, self.slot)
            if os.path.islink(link):
                os.unlink(link)
            os.symlink(f"../{self.name}", link)

    def unlink_slot(self):
        link = os.path.join(self.bench.directory, "dev", "flashing-station", self.slot or "-")
        if os.path.islink(link) and os.readlink(link) == f"../{self.name}":
            os.unlink(link)

    def add_partition(self, number, start=2048, sectors=2048):
        """A partition as the kernel would show it; start and length in units of 512 bytes. It has a directory
        and properties but a node only where the loop device has one of its own."""
        minor = int(self.device.properties["MINOR"])
        name = f"{self.name}{number}"
        major = NOWHERE_MAJOR
        minor = 4096 + minor * 16 + number
        if self.card is not None:
            own = f"/sys/class/block/{os.path.basename(device_of(self.card))}p{number}/dev"
            if os.path.exists(own):
                with open(own, encoding="ascii") as file:
                    major, minor = (int(part) for part in file.read().strip().split(":"))
        partition = Device(self.bench, f"{self.device.path}/{name}", "block", devtype="partition", properties={
            "MAJOR": str(major), "MINOR": str(minor), "DEVNAME": f"/dev/{name}", "PARTN": str(number),
            "DISKSEQ": self.device.properties["DISKSEQ"],
            **{key: value for key, value in self.udev_properties().items() if key != "DEVLINKS"}},
            attributes={"partition": str(number), "start": str(start), "size": str(sectors), "ro": "0",
                        "dev": f"{major}:{minor}"})
        for directory in ("holders",):
            os.mkdir(self.bench.real(f"{partition.path}/{directory}"))
        self.bench.hide_host_disk(major, minor)
        partition.link(f"/sys/dev/block/{major}:{minor}")
        self.bench.make_node(name, major, minor)
        self.partitions.append(partition)
        return partition

    def remove(self):
        self.unlink_slot()
        for partition in self.partitions:
            self.bench.remove_node(os.path.basename(partition.path))
            partition.remove()
        self.bench.remove_node(self.name)
        self.device.remove()
        self.bench.show_host_disk_again(self.device.properties["MAJOR"], self.device.properties["MINOR"])


class Reader:
    """A USB card reader or stick in a port. Made by `VirtualBench.plug`."""

    def __init__(self, bench, port, cards, controller, speed, vendor_id, product_id, vendor, model, serial, revision,
                 slots, partitions, max_sectors_kb, properties):
        self.bench, self.port, self.controller, self.speed = bench, port, controller, speed
        self.vendor_id, self.product_id, self.vendor, self.model = vendor_id, product_id, vendor, model
        self.serial, self.revision = serial, revision
        self.extra_properties = dict(properties or {})
        self.max_sectors_kb = max_sectors_kb or (120 if speed < 5000 else 1024)
        self.layers = []  # all Devices but the disks, in the order in which the kernel makes them
        self.plugged = True
        self.build()
        self.disks = [Disk(self, lun, self.free_disk_name(), card, (slots or {}).get(lun),
                           (partitions or {}).get(lun, ()))
                      for lun, card in enumerate(cards)]

    def free_disk_name(self):
        return self.bench.free_disk_name()

    def build(self):
        """Makes what the disks hang on: the USB device, its interface, the SCSI host."""
        bench = self.bench
        self.build_usb("usb-storage", "08", "06", "50")
        self.host_number = bench.next_host()
        self.host = Device(bench, f"{self.interface.path}/host{self.host_number}", "scsi", bus="scsi",
                           devtype="scsi_host")
        self.scsi_host = Device(bench, f"{self.host.path}/scsi_host/host{self.host_number}", "scsi_host",
                                attributes={"proc_name": "usb-storage", "unique_id": "0", "host_busy": "0"})
        bench.link(f"{self.scsi_host.path}/device", self.host.path)
        self.target = Device(bench, f"{self.host.path}/target{self.host_number}:0:0", "scsi", bus="scsi",
                             devtype="scsi_target")
        self.layers += [self.host, self.scsi_host, self.target]

    def build_usb(self, driver, device_class, subclass, protocol):
        """The USB device in its port, the hubs on the way there, and its one interface."""
        bench = self.bench
        bus, parent = bench.root_hub(self.controller, self.speed)
        chain = self.port.split(".")
        for depth in range(1, len(chain)):  # hubs on the way
            name = f"{bus}-{'.'.join(chain[:depth])}"
            parent = f"{parent}/{name}"
            if not os.path.isdir(bench.real(parent)):
                bench.usb_device(parent, bus, ".".join(chain[:depth]), self.speed, "05e3", "0610", "GenesysLogic",
                                 "USB2.1 Hub", None, device_class="09", ports=4)
        name = f"{bus}-{self.port}"
        self.usb = bench.usb_device(f"{parent}/{name}", bus, self.port, self.speed, self.vendor_id, self.product_id,
                                    self.vendor, self.model, self.serial)
        self.interface = Device(bench, f"{self.usb.path}/{name}:1.0", "usb", bus="usb", devtype="usb_interface",
                                properties={"DRIVER": driver, "PRODUCT": self.usb.properties["PRODUCT"], "INTERFACE":
                                            "/".join(str(int(x, 16)) for x in (device_class, subclass, protocol))},
                                attributes={"bInterfaceNumber": "00", "bAlternateSetting": " 0", "bNumEndpoints": "02",
                                            "bInterfaceClass": device_class, "bInterfaceSubClass": subclass,
                                            "bInterfaceProtocol": protocol, "authorized": "1"})
        bench.driver(self.interface, "usb", driver)
        self.layers += [self.usb, self.interface]

    def make_parent(self, lun):
        """What the disk of a logical unit hangs on: its SCSI device."""
        address = f"{self.host_number}:0:0:{lun}"
        device = Device(self.bench, f"{self.target.path}/{address}", "scsi", bus="scsi", devtype="scsi_device",
                        properties={"DRIVER": "sd", "MODALIAS": "scsi:t-0x00"},
                        attributes={"type": "0", "vendor": self.vendor[:8].ljust(8), "model": self.model[:16].ljust(16),
                                    "rev": self.revision[:4].ljust(4), "scsi_level": "7", "state": "running",
                                    "queue_depth": "1", "device_blocked": "0", "timeout": "30"})
        self.bench.driver(device, "scsi", "sd")
        scsi_disk = Device(self.bench, f"{device.path}/scsi_disk/{address}", "scsi_disk",
                           attributes={"cache_type": "write through", "protection_type": "0"})
        self.bench.link(f"{scsi_disk.path}/device", device.path)
        self.layers += [device, scsi_disk]
        return device

    @property
    def device(self):
        """The disk of LUN 0 as programs in the bench name it, /dev/sdX."""
        return f"/dev/{self.disks[0].name}"

    def announce(self):
        for layer in self.layers:
            layer.event("add")
        for disk in self.disks:
            disk.device.event("add")
            for partition in disk.partitions:
                partition.event("add")

    def unplug(self):
        """Pull the reader out: gone from sysfs and /dev first, then the 'remove' events, as one sees it late."""
        if not self.plugged:
            return
        self.plugged = False
        for disk in reversed(self.disks):
            disk.remove()
        for layer in reversed(self.layers):
            layer.remove()
        for disk in reversed(self.disks):
            for partition in reversed(disk.partitions):
                partition.event("remove")
            disk.device.event("remove")
        for layer in reversed(self.layers):
            layer.event("remove")
        self.bench.readers.remove(self)

    def media_change(self, card, lun=0, partitions=()):
        """Another card in a reader that stays, or none: 'change' with DISK_MEDIA_CHANGE=1."""
        disk = self.disks[lun]
        gone = [partition for partition in disk.partitions]
        disk.set_card(card, partitions)
        for partition in gone:
            partition.event("remove")
        disk.device.event("change", {"DISK_MEDIA_CHANGE": "1"})
        for partition in disk.partitions:
            partition.event("add")

    def change(self, lun=0, refresh=False, failed=False, **properties):
        """A plain 'change' of the disk. refresh: look at size, write protection and sequence number of the loop
        device again first (a size that changed); failed: as after a udev worker that died, with no properties
        but the kernel's and UDEV_WORKER_FAILED=1."""
        disk = self.disks[lun]
        if refresh:
            disk.set_card(disk.card)
        disk.device.event("change", {**({"UDEV_WORKER_FAILED": "1"} if failed else {}), **properties},
                          kernel_only=failed)

    def duplicate_add(self, lun=0):
        """The disk's 'add' once more, as after `udevadm trigger --action=add`."""
        self.disks[lun].device.event("add")


class SDHost(Reader):
    """An SD or MMC host with a card in it, which shows what kind of card it is and which one. Made by
    `VirtualBench.plug_sd_host`."""

    def __init__(self, bench, card, port, controller, kind, card_id, address, counter, slot, **options):
        self.kind, self.card_id, self.address, self.counter = kind, card_id, address, counter
        super().__init__(bench, port, [card], controller, 480, "0bda", "0129", "Realtek", "USB2.0-CRW", "2010020139",
                         "3960", {0: slot} if slot else None, None, None, None, **options)

    def free_disk_name(self):
        taken = {disk.name for reader in self.bench.readers for disk in reader.disks}
        return next(name for name in (f"mmcblk{number}" for number in range(100))
                    if name not in taken and not os.path.exists(f"/sys/block/{name}"))

    def build(self):
        bench = self.bench
        if self.port:
            self.build_usb("rtsx_usb", "ff", "06", "50")
            path, driver = f"{self.interface.path}/rtsx_usb_sdmmc.{self.counter}.auto", "rtsx_usb_sdmmc"
        else:
            path, driver = f"/sys/devices/{self.controller}", "sdhci"
        self.host_number = self.counter
        platform = Device(bench, path, "platform", bus="platform", properties={"DRIVER": driver})
        self.host = Device(bench, f"{path}/mmc_host/mmc{self.counter}", "mmc_host")
        self.layers += [platform, self.host]

    def make_parent(self, lun):
        """The card, under the number that it chose for itself."""
        card = Device(self.bench, f"{self.host.path}/mmc{self.counter}:{self.address}", "mmc", bus="mmc",
                      properties={"DRIVER": "mmcblk", "MMC_TYPE": self.kind, "MMC_NAME": "SD32G"},
                      attributes={"type": self.kind, "cid": self.card_id, "name": "SD32G", "oemid": "0x5344",
                                  "serial": "0x12345678", "manfid": "0x000003", "date": "03/2024"})
        self.bench.driver(card, "mmc", "mmcblk")
        self.layers.append(card)
        return card

    def add_hardware_partition(self, name="boot0"):
        """A part of a soldered chip: a disk of its own below the chip's, as the kernel shows it."""
        disk = self.disks[0]
        part = Device(self.bench, f"{disk.device.path}/{disk.name}{name}", "block", devtype="disk", properties={
            "MAJOR": str(NOWHERE_MAJOR), "MINOR": "77", "DEVNAME": f"/dev/{disk.name}{name}", "DISKSEQ": "1"},
            attributes={"size": "8192", "ro": "1", "diskseq": str(fresh_diskseq()), "dev": f"{NOWHERE_MAJOR}:77"})
        self.layers.append(part)
        part.event("add")
        return part


# -- the bench ----------------------------------------------------------------------------------------

class VirtualBench:
    """A machine's /sys and /dev as far as card readers are concerned.

    directory: where (default: a new one in the temporary directory, gone on close); mirror_host: show the
    host's own disks as well, so that a guard can follow the host's mounts; patience: seconds to wait for a
    listener that does not read.
    """

    def __init__(self, directory=None, mirror_host=True, patience=5.0):
        self.directory = os.path.realpath(directory or tempfile.mkdtemp(prefix=BENCH_PREFIX))
        self.patience = patience
        self.lost = 0
        self.sequence = 1000
        self.hosts = 6
        self.device_numbers = {}
        self.readers = []
        self.children = []
        self.host_disks = {}
        self.buses = {}
        self.lock = threading.RLock()
        for name in ("dev/.node", "sys/block", "sys/bus/usb/devices", "sys/bus/scsi/devices", "sys/bus/pci/devices",
                     "sys/class/block", "sys/dev/block", "sys/dev/char", "sys/devices", "sys/class/leds"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
        if len(self.directory) > 80:
            raise PracticeError(f"the path of the bench is too long for its sockets: {self.directory}")
        # A daemon without privilege looks at it too, and binds its monitor's socket in it.
        os.chmod(self.directory, 0o1777)
        write_record(self.directory)
        self.serve_ioctls()
        if mirror_host:
            self.mirror_host()

    # .. tree

    def real(self, path):
        """Where a path that a program in the bench uses really is."""
        return self.directory + path

    def link(self, place, target):
        """A relative symbolic link in sysfs, as the kernel makes them."""
        path = self.real(place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)
        os.symlink(os.path.relpath(target, os.path.dirname(place)), path)

    def driver(self, device, bus, name):
        home = f"/sys/bus/{bus}/drivers/{name}"
        os.makedirs(self.real(home), exist_ok=True)
        self.link(device.path + "/driver", home)

    def make_node(self, name, major, minor):
        """A node in the bench's /dev: a real one, so that open, fstat and ioctl are the kernel's own."""
        path = os.path.join(self.directory, "dev", name)
        os.mknod(path, 0o660 | stat.S_IFBLK, os.makedev(major, minor))
        # umockdev's stat calls a node without the sticky bit a character device.
        os.chmod(path, 0o1660)
        # umockdev's stat takes the device number of whatever is in its /dev from here.
        os.symlink(f"{major}:{minor}", os.path.join(self.directory, "dev", ".node", name))

    def remove_node(self, name):
        for path in (os.path.join(self.directory, "dev", name), os.path.join(self.directory, "dev", ".node", name)):
            if os.path.lexists(path):
                os.unlink(path)

    def free_disk_name(self):
        taken = {disk.name for reader in self.readers for disk in reader.disks} | self.promised
        for number in range(26 * 27):
            letters = chr(97 + number) if number < 26 else chr(96 + number // 26) + chr(97 + number % 26)
            name = f"sd{letters}"
            if name not in taken and not os.path.exists(f"/dev/{name}") and not os.path.exists(f"/sys/block/{name}"):
                self.promised.add(name)
                return name
        raise PracticeError("no free disk name")

    promised = frozenset()

    def next_host(self):
        self.hosts += 1
        return self.hosts - 1

    def mirror_host(self):
        """A snapshot of the host's block devices, as far as a guard wants to know them.

        Copies, not links into the real /sys: umockdev's realpath cuts the bench's directory off whatever path
        comes out, and would make nonsense of one that leads elsewhere.
        """
        for entry in sorted(os.listdir("/sys/dev/block")):
            target = os.path.realpath(f"/sys/dev/block/{entry}")
            if not target.startswith("/sys/devices/"):
                continue  # gone since it was listed: other tests make and take partitions at the same time
            parent = target
            while parent != "/sys/devices":
                if not os.path.isdir(self.real(parent)):
                    self.copy_device(parent)
                parent = os.path.dirname(parent)
            self.host_disks[entry] = target
            self.show_host_disk(entry)

    def copy_device(self, path):
        os.makedirs(self.real(path), exist_ok=True)
        for name in ("uevent", "dev", "size", "ro", "removable", "partition", "start", "diskseq", "hidden", "range",
                     "ext_range", "queue/logical_block_size", "queue/rotational", "loop/backing_file", "dm/name",
                     "dm/uuid", "md/level", "md/metadata_version", "type", "vendor", "model", "rev", "name", "cid",
                     "idVendor", "idProduct", "serial", "speed", "busnum", "devpath", "class", "device"):
            try:
                with open(f"{path}/{name}", "rb") as file:
                    data = file.read()
            except OSError:
                continue  # not every device has every attribute, and some refuse to be read
            os.makedirs(os.path.dirname(self.real(f"{path}/{name}")), exist_ok=True)
            with open(self.real(f"{path}/{name}"), "wb") as file:
                file.write(data)
        for name in ("subsystem", "driver", "device", "bdi"):
            if os.path.islink(f"{path}/{name}"):
                os.symlink(os.readlink(f"{path}/{name}"), self.real(f"{path}/{name}"))
        if os.path.islink(f"{path}/subsystem"):
            os.makedirs(self.real(os.path.realpath(f"{path}/subsystem")), exist_ok=True)
        for name in ("holders", "slaves"):
            if os.path.isdir(f"{path}/{name}"):
                os.makedirs(self.real(f"{path}/{name}"), exist_ok=True)
                for entry in os.listdir(f"{path}/{name}"):
                    os.symlink(os.readlink(f"{path}/{name}/{entry}"), self.real(f"{path}/{name}/{entry}"))

    def show_host_disk(self, number):
        target = self.host_disks[number]
        name = os.path.basename(target)
        self.link(f"/sys/dev/block/{number}", target)
        self.link(f"/sys/class/block/{name}", target)
        if not os.path.exists(f"{target}/partition"):
            self.link(f"/sys/block/{name}", target)

    def hide_host_disk(self, major, minor):
        """One device number, one disk: the loop device behind a card does not show under its own name."""
        target = self.host_disks.get(f"{major}:{minor}")
        if target:
            for place in ("block", "class/block"):
                path = self.real(f"/sys/{place}/{os.path.basename(target)}")
                if os.path.islink(path):
                    os.unlink(path)

    def show_host_disk_again(self, major, minor):
        number = f"{major}:{minor}"
        if number in self.host_disks and os.path.exists(self.host_disks[number]):
            self.show_host_disk(number)

    # .. USB

    def root_hub(self, controller, speed):
        """(bus number, path) of the root hub for this speed; the controller is made when it is first used."""
        if controller not in self.buses:
            domain = controller.rsplit(":", 1)[0]
            path = f"/sys/devices/pci{domain}/{controller}"
            pci = Device(self, path, "pci", bus="pci", properties={
                "DRIVER": "xhci_hcd", "PCI_CLASS": "C0330", "PCI_ID": "1B36:000D", "PCI_SLOT_NAME": controller},
                attributes={"class": "0x0c0330", "vendor": "0x1b36", "device": "0x000d"})
            self.driver(pci, "pci", "xhci_hcd")
            first = 1 + 2 * len(self.buses)
            self.buses[controller] = first
            for bus, bus_speed, product, name in ((first, 480, "0002", "2.0"), (first + 1, 5000, "0003", "3.0")):
                self.usb_device(f"{path}/usb{bus}", bus, "0", bus_speed, "1d6b", product, "Linux 6.1.0 xhci-hcd",
                                "xHCI Host Controller", controller, device_class="09", ports=8)
            # Which ports are two sides of one, as the kernel knows it; the USB 3 side is counted from the other end.
            port_of = lambda bus, port: f"{path}/usb{bus}/{bus}-0:1.0/usb{bus}-port{port}"  # noqa: E731
            for port in range(1, 9):
                two, three = port_of(first, port), port_of(first + 1, 9 - port)
                os.makedirs(self.real(two))
                os.makedirs(self.real(three))
                self.link(f"{two}/peer", three)
                self.link(f"{three}/peer", two)
        bus = self.buses[controller] + (1 if speed >= 5000 else 0)
        domain = controller.rsplit(":", 1)[0]
        return bus, f"/sys/devices/pci{domain}/{controller}/usb{bus}"

    def usb_device(self, path, bus, port, speed, vendor_id, product_id, vendor, model, serial, device_class="00",
                   ports=0):
        number = self.device_numbers[bus] = self.device_numbers.get(bus, 0) + 1
        attributes = {
            "busnum": bus, "devnum": number, "devpath": port, "speed": speed, "idVendor": vendor_id,
            "idProduct": product_id, "bcdDevice": "0100", "bDeviceClass": device_class, "bDeviceSubClass": "00",
            "bDeviceProtocol": "00", "bNumConfigurations": "1", "bConfigurationValue": "1", "bNumInterfaces": " 1",
            "bMaxPower": "500mA", "version": " 2.00" if speed < 5000 else " 3.00", "maxchild": ports,
            "manufacturer": vendor, "product": model, "authorized": "1", "removable": "removable",
            "dev": f"189:{(bus - 1) * 128 + number - 1}", "power/control": "on"}
        if serial:
            attributes["serial"] = serial
        device = Device(self, path, "usb", bus="usb", devtype="usb_device", properties={
            "MAJOR": "189", "MINOR": str((bus - 1) * 128 + number - 1), "DEVNAME": f"/dev/bus/usb/{bus:03}/{number:03}",
            "DRIVER": "usb", "PRODUCT": f"{int(vendor_id, 16):x}/{int(product_id, 16):x}/100",
            "TYPE": f"{int(device_class, 16)}/0/0", "BUSNUM": f"{bus:03}", "DEVNUM": f"{number:03}"},
            attributes=attributes)
        self.driver(device, "usb", "usb")
        device.link(f"/sys/dev/char/{attributes['dev']}")
        return device

    # .. what an operator does

    def plug(self, port, cards=(None,), controller=DEFAULT_CONTROLLER, speed=480, vendor_id="05e3",
             product_id="0749", vendor="Generic", model="STORAGE_DEVICE", serial="000000000820", revision="1208",
             slots=None, partitions=None, max_sectors_kb=None, properties=None, quiet=False):
        """A reader into a port; the 'add' events follow, from the USB device down to the partitions.

        port: chain of ports below the root hub, "2" or "2.1"; cards: one entry for each LUN: a card, a path of a
        loop device, or None for an empty slot; speed: Mbit/s, 480 or 5000; slots: {lun: NAME} where udev's rule
        would set STATION_SLOT; partitions: {lun: [(start, length), …]} in 512-byte units; quiet: no events
        (it was there at boot).
        """
        with self.lock:
            self.promised = set(self.promised)
            reader = Reader(self, port, list(cards), controller, speed, vendor_id, product_id, vendor, model, serial,
                            revision, slots, partitions, max_sectors_kb, properties)
            self.readers.append(reader)
            self.promised.clear()
            if not quiet:
                reader.announce()
            return reader

    def insert(self, port, card, slot=None, **options):
        """A USB stick, or a reader with its one card, into a port."""
        return self.plug(port, [card], slots={0: slot} if slot else None, **options)

    def plug_sd_host(self, card, port=None, *, controller=None, slot=None, kind="SD",
                     card_id="035344534433324780123456780183a1", address="aaaa", counter=0, quiet=False):
        """An SD host and its card: a USB device in `port`, or a platform device at the path `controller`.

        kind and card_id: what the card says of itself; address: the number that it chose for itself; counter: what
        the kernel counts out as drivers come up. The host comes and goes with its card.
        """
        with self.lock:
            host = SDHost(self, card, port, controller or DEFAULT_CONTROLLER, kind, card_id, address, counter, slot)
            self.readers.append(host)
            if not quiet:
                host.announce()
            return host

    def event_storm(self, count, action="change"):
        """So many events for the first disk, back to back; returns the seconds that it took."""
        disk = next(disk for reader in self.readers for disk in reader.disks)
        start = time.monotonic()
        for _ in range(count):
            disk.device.event(action)
        return time.monotonic() - start

    # .. ioctls

    def serve_ioctls(self):
        """umockdev asks a server about each ioctl, read and write on a node that was opened with open(2) (not
        with openat), and ends the process where there is none. The answer here is always: do it for real."""
        os.makedirs(os.path.join(self.directory, "ioctl"), exist_ok=True)
        path = os.path.join(self.directory, "ioctl", "_default")
        self.ioctl_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.ioctl_listener.bind(path)
        os.chmod(path, 0o666)
        self.ioctl_listener.listen(64)
        threading.Thread(target=self.accept_ioctls, daemon=True).start()

    def accept_ioctls(self):
        while True:
            try:
                connection, _ = self.ioctl_listener.accept()
            except OSError:
                return  # closed with the bench
            threading.Thread(target=self.answer_ioctls, args=(connection,), daemon=True).start()

    @staticmethod
    def answer_ioctls(connection):
        request_size = struct.calcsize("@LLL")
        result, done, run = 2, 3, 4  # IOCTL_REQ_RES, IOCTL_RES_DONE, IOCTL_RES_RUN
        with connection:
            while True:
                try:
                    message = connection.recv(request_size, socket.MSG_WAITALL)
                    if len(message) < request_size:
                        return
                    command, first, second = struct.unpack("@LLL", message)
                    # The client tells what the real call returned, and wants to hear it again.
                    connection.sendall(struct.pack("@LLL", done, first, second) if command == result
                                       else struct.pack("@LLL", run, 0, 0))
                except OSError:
                    return

    # .. events

    def listeners(self):
        return sorted(glob.glob(glob.escape(self.directory) + "/event[0-9]*"))

    def send(self, properties):
        """Send an event to all who listen. Properties in udev's order: ACTION, DEVPATH, SUBSYSTEM first."""
        with self.lock:
            self.sequence += 1
            message = encode_event({**properties, "SEQNUM": str(self.sequence)})
            for path in self.listeners():
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                    # The kernel's own timeout: a poll, as Python's would do, says "ready" though the receiver's
                    # queue is full, and would end in a busy loop.
                    seconds, fraction = divmod(self.patience, 1)
                    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                                      struct.pack("@ll", int(seconds), int(fraction * 1e6)))
                    try:
                        sender.sendto(message, path)
                    except BlockingIOError:
                        self.lost += 1
                    except (ConnectionRefusedError, FileNotFoundError):
                        self.forget_listener(path)

    @staticmethod
    def forget_listener(path):
        """Its process is gone; the socket file stayed."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    # .. processes

    def environment(self, env=None):
        """The environment for a process that is to live in the bench."""
        result = dict(os.environ if env is None else env)
        libraries = [name for name in result.get("LD_PRELOAD", "").split(":") if name]
        if PRELOAD not in libraries:
            # First, so that a fault shim which is preloaded as well sits between umockdev and the C library. One that wants
            # what umockdev asks the library for itself, as open(2), names umockdev behind it.
            libraries.insert(0, PRELOAD)
        result["LD_PRELOAD"] = ":".join(libraries)
        result["UMOCKDEV_DIR"] = self.directory
        return result

    def spawn(self, arguments, env=None, **options):
        """Start a process in the bench (subprocess.Popen); it is killed on close, or when this process dies."""
        child = starter.start(list(arguments), env=self.environment(env), **options)
        self.children.append(child)
        return child

    def describe(self):
        return {"directory": self.directory, "lost": self.lost, "listeners": len(self.listeners()), "readers": [
            {"port": reader.port, "controller": reader.controller, "speed": reader.speed, "disks": [
                {"device": f"/dev/{disk.name}", "lun": disk.lun, "slot": disk.slot, "sysfs": disk.device.path,
                 "card": device_of(disk.card) if disk.card else None, "diskseq": disk.last_diskseq}
                for disk in reader.disks]} for reader in self.readers]}

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for reader in list(self.readers):
            reader.plugged = False
        # shutdown wakes the thread that accepts; close alone would leave it there.
        try:
            self.ioctl_listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.ioctl_listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def device_of(card):
    return card if isinstance(card, str) else card.device


def fresh_diskseq():
    """A disk sequence number that no other disk has or will have: that of a loop device which comes and goes.
    An empty slot's number must not be one that the kernel gives to the next card."""
    with LoopCard(4096) as card:
        return card.diskseq


def examine(path):
    """(major, minor, size in bytes, sector size, read-only, disk sequence number) of a block device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        number = os.fstat(descriptor).st_rdev
        ask = lambda request, code: struct.unpack(code, fcntl.ioctl(  # noqa: E731
            descriptor, request, bytes(struct.calcsize(code))))[0]
        return (os.major(number), os.minor(number), ask(BLKGETSIZE64, "Q"), ask(BLKSSZGET, "i"), ask(BLKROGET, "i"),
                ask(BLKGETDISKSEQ, "Q"))
    finally:
        os.close(descriptor)


# -- command line -------------------------------------------------------------------------------------

class Commands:
    """The line protocol: one JSON object in, one out. See --help."""

    def __init__(self, bench):
        self.bench = bench
        self.cards = {}

    def card(self, spec):
        """A card from a message: null, "/dev/loopN", the name of a card made earlier, or how to make one."""
        if spec is None or isinstance(spec, str) and spec.startswith("/dev/"):
            return spec
        if isinstance(spec, str):
            return self.cards[spec]
        spec = dict(spec)
        name = spec.pop("name", f"card{len(self.cards) + 1}")
        kind = LoopCard if spec.pop("loop", False) else PracticeCard
        self.cards[name] = kind(**spec)
        return self.cards[name]

    def reader(self, message):
        port = message["port"]
        for reader in self.bench.readers:
            if reader.port == port and reader.speed == message.get("speed", reader.speed):
                return reader
        raise PracticeError(f"no reader in port {port}")

    def handle(self, message):
        message = dict(message)
        verb = message.pop("do")
        if verb == "card":
            message.setdefault("name", f"card{len(self.cards) + 1}")
            return {"name": message["name"], **self.card(message).describe()}
        if verb == "control":
            return self.cards[message["card"]].control(message["message"])
        if verb == "destroy":
            self.cards.pop(message["card"]).close()
        elif verb == "insert":
            reader = self.bench.insert(message.pop("port"), self.card(message.pop("card")), **message)
            return {"device": reader.device, "sysfs": reader.disks[0].device.path}
        elif verb == "plug":
            slots = {int(lun): name for lun, name in message.pop("slots", {}).items()}
            reader = self.bench.plug(message.pop("port"), [self.card(card) for card in message.pop("cards", [None])],
                                     slots=slots, **message)
            return {"devices": [f"/dev/{disk.name}" for disk in reader.disks]}
        elif verb in ("remove", "unplug"):
            self.reader(message).unplug()
        elif verb == "media_change":
            self.reader(message).media_change(self.card(message["card"]), message.get("lun", 0))
        elif verb == "change":
            self.reader(message).change(message.get("lun", 0), message.get("refresh", False),
                                        message.get("failed", False))
        elif verb == "duplicate_add":
            self.reader(message).duplicate_add(message.get("lun", 0))
        elif verb == "event_storm":
            return {"seconds": self.bench.event_storm(message["count"]), "lost": self.bench.lost}
        elif verb != "state":
            raise PracticeError(f"unknown command {verb!r}")
        return self.bench.describe()

    def answer(self, line):
        try:
            return json.dumps({"ok": True, **self.handle(json.loads(line))})
        except Exception as error:  # whatever was wrong with it, the asker gets it back, and the bench lives on
            return json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"})

    def serve_stream(self, lines, out):
        for line in lines:
            if line.strip():
                out.write(self.answer(line) + "\n")
                out.flush()

    def serve_socket(self, path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(path)
        listener.listen(8)

        def accept():
            while True:
                connection, _ = listener.accept()
                stream = connection.makefile("rw", encoding="utf-8")
                threading.Thread(target=self.serve_stream, args=(stream, stream), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def close(self):
        for card in self.cards.values():
            card.close()


PROTOCOL = """
commands, one JSON object per line on standard input (unless there is a COMMAND) or on the socket:
  {"do": "card", "name": "a", "size": "64M", "write_rate": "20MB", …}   as PracticeCard; "loop": true for LoopCard
  {"do": "control", "card": "a", "message": {"fault": "gone"}}
  {"do": "insert", "port": "2", "card": "a", "slot": "slot1", "speed": 480}
  {"do": "plug", "port": "3", "cards": ["a", null], "slots": {"0": "slot1"}}
  {"do": "remove", "port": "2"}            {"do": "media_change", "port": "3", "lun": 1, "card": "a"}
  {"do": "change", "port": "2"}            {"do": "duplicate_add", "port": "2"}
  {"do": "event_storm", "count": 1000}     {"do": "state"}              {"do": "destroy", "card": "a"}
A card is null, the name of a card, "/dev/loopN", or an object as for "card" that makes one.
"""


def run(options):
    with VirtualBench(options.directory, mirror_host=not options.no_host_disks) as bench:
        commands = Commands(bench)
        try:
            if options.socket:
                commands.serve_socket(options.socket)
            if options.port:
                card = None
                if options.size:
                    card = PracticeCard(options.size, options.write_rate, options.read_rate, options.latency)
                    commands.cards["card1"] = card
                bench.insert(options.port, card, options.slot, speed=options.speed, quiet=True)
            if options.command:
                return bench.spawn(options.command).wait()
            print(json.dumps({"ok": True, **bench.describe(), "environment": {
                "LD_PRELOAD": PRELOAD, "UMOCKDEV_DIR": bench.directory}}), flush=True)
            commands.serve_stream(sys.stdin, sys.stdout)
            return 0
        finally:
            commands.close()


def send(options):
    """One command to the socket of a running bench, for shell scripts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(options.socket)
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(options.message + "\n")
            stream.flush()
            answer = stream.readline()
    print(answer.strip())
    return 0 if json.loads(answer).get("ok") else 1


def main():
    parser = argparse.ArgumentParser(description="Virtual card readers for programs that use libudev.",
                                     epilog=PROTOCOL, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("run", help="make a bench, and run a command in it or follow commands on standard input",
                            epilog=PROTOCOL, formatter_class=argparse.RawDescriptionHelpFormatter)
    verb.add_argument("--directory", help="where the bench is; default: a new temporary directory")
    verb.add_argument("--socket", help="take commands on this unix socket too")
    verb.add_argument("--no-host-disks", action="store_true", help="do not show the host's own disks")
    verb.add_argument("--port", help="a reader in this port from the start")
    verb.add_argument("--speed", type=int, default=480, choices=(480, 5000), help="Mbit/s")
    verb.add_argument("--slot", help="the slot's name, as udev's rule would set it")
    verb.add_argument("--size", help="with a practice card of so many bytes, e.g. 256M")
    verb.add_argument("--write-rate", default="0", help="bytes per second, e.g. 20MB")
    verb.add_argument("--read-rate", default="0", help="bytes per second, e.g. 40MB")
    verb.add_argument("--latency", type=float, default=0.0, help="seconds for each request")
    verb.add_argument("command", nargs="*", metavar="COMMAND", help="after --")
    verb = verbs.add_parser("send", help="send one command to a bench and print the answer")
    verb.add_argument("socket")
    verb.add_argument("message", help="JSON")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        sys.exit(send(options) if options.verb == "send" else run(options))
    except KeyboardInterrupt:
        pass
    except (PracticeError, OSError, ValueError) as error:
        sys.exit(f"virtual_reader: {error}")


if __name__ == "__main__":
    main()
