"""What must not be written, on real devices: each reason for a refusal, and the checks without which it would be written."""

import contextlib
import hashlib
import os
import subprocess
import tempfile

from practice_card import LoopCard
from virtual_reader import examine
from writer_bench import MIB, WriterBench, bytes_at, fill, pattern, sha256_of


@contextlib.contextmanager
def nothing(*_):
    yield


class GuardCase:
    """One reason for a refusal on a real device. `arrange(bench, card, reader)` is a context manager that may yield
    options for the request."""

    def __init__(self, arrange, reason, without=(), size=16 * MIB, image_bytes=2 * MIB, slips=True,
                 partitions=False):
        self.arrange = contextlib.contextmanager(arrange) if arrange else nothing
        self.reason, self.without, self.size = reason, without, size
        self.image_bytes, self.slips, self.partitions = image_bytes, slips, partitions


def format_card(card, *arguments):
    subprocess.run(["mke2fs", "-q", "-F", *arguments, card.device], check=True)


def mounted(bench, card, reader):
    format_card(card)
    with tempfile.TemporaryDirectory() as target:
        subprocess.run(["mount", "-o", "ro", card.device, target], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", target], check=True)


def mounted_and_left(bench, card, reader):
    """Detached from the tree, but somebody is still in it."""
    format_card(card)
    with tempfile.TemporaryDirectory() as target:
        subprocess.run(["mount", "-o", "ro", card.device, target], check=True)
        held = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        subprocess.run(["umount", "--lazy", target], check=True)
        try:
            yield
        finally:
            os.close(held)


def mounted_elsewhere(bench, card, reader):
    """In a mount namespace that the writer is not in."""
    format_card(card)
    with tempfile.TemporaryDirectory() as target:
        with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                               f"mount -o ro {card.device} {target} && echo ready && read line; umount {target}"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline().strip() == "ready"
            try:
                yield
            finally:
                child.communicate("\n")


def swapping(bench, card, reader):
    subprocess.run(["mkswap", "-q", card.device], check=True, capture_output=True)
    subprocess.run(["swapon", card.device], check=True)
    try:
        yield
    finally:
        subprocess.run(["swapoff", card.device], check=True)


def listed_as_swap(bench, card, reader):
    """Swap that nobody holds the disk for, as the kernel lists it; here in the writer's own mount namespace."""
    path = os.path.join(bench.directory, "swaps")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"Filename\tType\tSize\tUsed\tPriority\n{reader.device} partition 16380 0 -2\n")
    yield {"wrapper": ["unshare", "--mount", "sh", "-c", f'mount --bind {path} /proc/swaps && exec "$@"', "sh"]}


def second_holder(bench, card, reader):
    held = os.open(card.device, os.O_RDONLY | os.O_EXCL)
    try:
        yield
    finally:
        os.close(held)


def wrong_sequence(bench, card, reader):
    yield {"sequence": card.diskseq + 1}


def other_disk(bench, card, reader):
    """The writer of slot1 is told to write the disk in another port."""
    with LoopCard(16 * MIB) as other:
        stick = bench.bench.insert("3", other)
        try:
            yield {"disk": os.path.basename(stick.device), "sequence": other.diskseq, "victim": other}
        finally:
            stick.unplug()


def other_disk_alone(bench, card, reader):
    """The same, with nothing in slot1's own place."""
    reader.unplug()
    yield from other_disk(bench, card, reader)


def no_such_disk(bench, card, reader):
    yield {"disk": "sdzz", "sequence": card.diskseq}


def path_as_disk(bench, card, reader):
    yield {"disk": f"../{os.path.basename(reader.device)}", "sequence": card.diskseq}


def host_disk(bench, card, reader):
    """A disk of the host that is no card."""
    with LoopCard(16 * MIB) as other:
        yield {"disk": os.path.basename(other.device), "sequence": other.diskseq, "victim": other}


def partition(bench, card, reader):
    part = reader.disks[0].add_partition(1, 2048, 4096)
    yield {"disk": os.path.basename(part.path), "sequence": card.diskseq}


def partition_with_a_node(bench, card, reader):
    """One that could be opened and written as any disk."""
    # Told to the kernel: not every one reads partition tables.
    start, count = 2048, card.size // 512 - 2048
    subprocess.run(["addpart", card.device, "1", str(start), str(count)], check=True)
    part = reader.disks[0].add_partition(1, start, count)
    yield {"disk": os.path.basename(part.path), "sequence": card.diskseq}
    subprocess.run(["delpart", card.device, "1"], check=True)


def soldered_chip(bench, card, reader):
    reader.unplug()
    path = os.path.join(bench.slots, "slot1.slot")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Slot]\nPlace=mmc at platform/soc/fe340000.mmc\nReader=mmc\nMinimumSize=1M\n")
    host = bench.bench.plug_sd_host(card, controller="platform/soc/fe340000.mmc", slot="slot1", kind="MMC")
    yield {"disk": os.path.basename(host.device), "sequence": card.diskseq}
    host.unplug()


def other_reader(bench, card, reader):
    bench.declare("slot1", "2", reader="0bda:0326")
    yield


def other_lun_count(bench, card, reader):
    bench.declare("slot1", "2", luns=2)
    yield


def other_lun(bench, card, reader):
    bench.declare("slot1", "2", lun=1, luns=2)
    yield


def other_speed(bench, card, reader):
    """The same port number of the same controller's USB 3 root hub is another place."""
    bench.declare("slot1", "2", speed=5000)
    yield


def other_controller(bench, card, reader):
    bench.declare("slot1", "2", controller="0000:00:04.0")
    yield


def undeclared(bench, card, reader):
    os.unlink(os.path.join(bench.slots, "slot1.slot"))
    yield


def declared_twice(bench, card, reader):
    bench.declare("slot2", "2")
    yield


def group_writable(bench, card, reader):
    os.chmod(os.path.join(bench.slots, "slot1.slot"), 0o664)
    yield


def not_roots(bench, card, reader):
    os.chown(os.path.join(bench.slots, "slot1.slot"), 1234, 0)
    yield


def linked(bench, card, reader):
    path = os.path.join(bench.slots, "slot1.slot")
    os.rename(path, os.path.join(bench.config, "real.slot"))
    os.symlink("../real.slot", path)
    yield


def writable_directory(bench, card, reader):
    os.chmod(bench.slots, 0o777)
    yield


def malformed(bench, card, reader):
    with open(os.path.join(bench.slots, "slot1.slot"), "a", encoding="utf-8") as file:
        file.write("Plaice=usb\n")
    yield


def misconfigured(bench, card, reader):
    with open(os.path.join(bench.config, "station.conf"), "w", encoding="utf-8") as file:
        file.write("[Guard]\nProtectedLables=precious\n")
    yield


def configuration_of_others(bench, card, reader):
    """Who may write it may take a protected label out of it."""
    path = os.path.join(bench.config, "station.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Guard]\nProtectedLabels=precious\n")
    os.chmod(path, 0o666)
    yield


def drop_ins_of_others(bench, card, reader):
    path = os.path.join(bench.config, "station.conf.d")
    os.mkdir(path)
    os.chmod(path, 0o777)
    yield


def write_protected(bench, card, reader):
    card.set_read_only(True)
    yield
    card.set_read_only(False)


def minimum(bench, card, reader):
    bench.declare("slot1", "2", MinimumSize="17M")
    yield


def maximum(bench, card, reader):
    bench.declare("slot1", "2", MaximumSize="15M")
    yield


def station_label(bench, card, reader):
    format_card(card, "-L", "OURBOX_DATA")
    yield


def configured_label(bench, card, reader):
    with open(os.path.join(bench.config, "station.conf"), "w", encoding="utf-8") as file:
        file.write("[Guard]\nProtectedLabels=precious other\n")
    format_card(card, "-L", "PRECIOUS")
    yield


def configured_uuid(bench, card, reader):
    with open(os.path.join(bench.config, "station.conf"), "w", encoding="utf-8") as file:
        file.write("[Guard]\nProtectedLabels=01234567-89AB-cdef-0123-456789abcdef\n")
    format_card(card, "-U", "01234567-89ab-cdef-0123-456789abcdef")
    yield


def label_in_partition(bench, card, reader):
    """The label is that of a file system in a partition, and of no partition itself."""
    fill(card)
    subprocess.run(["sgdisk", "--clear", "--new=1:2048:0", card.backing], check=True, capture_output=True)
    with tempfile.NamedTemporaryFile() as part:
        part.truncate(8 * MIB)
        subprocess.run(["mke2fs", "-q", "-L", "OURBOX_DATA", part.name], check=True)
        with open(card.backing, "r+b") as file:
            file.seek(MIB)
            file.write(part.read())
    yield


def partition_label(bench, card, reader):
    fill(card)
    subprocess.run(["sgdisk", "--clear", "--new=1:2048:0", "--change-name=1:OURBOX_DATA", card.backing], check=True,
                   capture_output=True)
    yield


def held_by_mapper(bench, card, reader):
    os.mkdir(bench.bench.real(f"{reader.disks[0].device.path}/holders/dm-0"))
    yield


def partition_held_by_mapper(bench, card, reader):
    part = reader.disks[0].add_partition(1, 2048, 4096)
    os.mkdir(bench.bench.real(f"{part.path}/holders/dm-0"))
    yield


def loop_over_disk(bench, card, reader, over=""):
    """A loop device over the disk, as the kernel shows one; nothing holds the disk for it."""
    path = "/devices/virtual/block/loop99"
    for name, text in (("dev", "7:99"), ("size", "2048"), ("diskseq", "77"), ("uevent", "DEVTYPE=disk\n"),
                       ("loop/backing_file", f"{reader.device}{over}")):
        file = bench.bench.real(f"/sys{path}/{name}")
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w", encoding="ascii") as out:
            out.write(text + "\n")
    bench.bench.link("/sys/class/block/loop99", f"/sys{path}")
    bench.bench.link("/sys/block/loop99", f"/sys{path}")
    yield


def loop_over_partition(bench, card, reader):
    reader.disks[0].add_partition(1, 2048, 4096)
    yield from loop_over_disk(bench, card, reader, over="1")


def loop_over_removed_node(bench, card, reader):
    yield from loop_over_disk(bench, card, reader, over=" (deleted)")


def system_disk(bench, card, reader):
    """A file system that this host runs from is on it; here in the writer's own mount namespace."""
    format_card(card)
    yield {"wrapper": ["unshare", "--mount", "sh", "-c", f'mount -o ro {card.device} /boot && exec "$@"', "sh"]}


def another_node(bench, card, reader):
    """The node of the disk leads to another disk than sysfs says."""
    with LoopCard(16 * MIB) as other:
        name = os.path.basename(reader.device)
        major, minor = examine(other.device)[:2]
        bench.bench.remove_node(name)
        bench.bench.make_node(name, major, minor)
        yield {"sequence": other.diskseq, "victim": other}


def same_head(bench, card, reader):
    head = hashlib.sha256(bytes_at(card, 0, 65536)).hexdigest()
    yield {"condition": {"unlessHead": {"_0": head}}}


def unmarked(bench, card, reader):
    yield {"condition": {"onlyIfMarked": {"_0": ["0123456789abcdef" * 2]}}}


def marked_as_failed(bench, card, reader):
    job = "0123456789abcdef" * 2
    with open(card.backing, "r+b") as file:
        marker = f"flashing-station marker 1\njob={job}\nstate=failed\nreason=read_error\n"
        file.write(marker.encode().ljust(4096, b"\0"))
    yield {"condition": {"onlyIfMarked": {"_0": [job]}}}


GUARD = {
    "a disk name that is none": GuardCase(no_such_disk, "no_medium"),
    "a path for a disk name": GuardCase(path_as_disk, "no_medium"),
    "a disk of the host": GuardCase(host_disk, "place_mismatch"),
    "the disk in another port": GuardCase(other_disk, "place_mismatch"),
    "the only disk, in another port": GuardCase(other_disk_alone, "place_mismatch", ["place"]),
    "a partition": GuardCase(partition, "not_whole_disk"),
    "a partition that has a node": GuardCase(partition_with_a_node, "not_whole_disk",
                                             ["wholeDisk", "place", "ambiguity", "reader"], partitions=True),
    "a soldered chip": GuardCase(soldered_chip, "card_type_not_allowed", ["cardType"]),
    "another reader": GuardCase(other_reader, "reader_changed", ["reader"]),
    "another number of slots in the reader": GuardCase(other_lun_count, "reader_changed", ["reader"]),
    "another slot of the reader": GuardCase(other_lun, "place_mismatch", ["place", "reader", "ambiguity"]),
    "the USB 3 half of the port": GuardCase(other_speed, "place_mismatch", ["place"]),
    "another controller": GuardCase(other_controller, "place_mismatch", ["place"]),
    "no declaration": GuardCase(undeclared, "slot_unknown"),
    "two declarations of one place": GuardCase(declared_twice, "slot_ambiguous", ["ambiguity"]),
    "a slot file its group may write": GuardCase(group_writable, "slot_file_untrusted", ["trust"]),
    "a slot file that is not root's": GuardCase(not_roots, "slot_file_untrusted", ["trust"]),
    "a slot file that is a link": GuardCase(linked, "slot_file_untrusted"),
    "a directory anyone may write": GuardCase(writable_directory, "slot_file_untrusted", ["trust"]),
    "a slot file nobody understands": GuardCase(malformed, "slot_file_untrusted"),
    "a configuration nobody understands": GuardCase(misconfigured, "configuration_invalid"),
    "a configuration that others may write": GuardCase(configuration_of_others, "configuration_invalid", ["trust"]),
    "a directory of drop-ins that others may write": GuardCase(drop_ins_of_others, "configuration_invalid", ["trust"]),
    "a wrong sequence number": GuardCase(wrong_sequence, "sequence_mismatch", ["sequence"]),
    "a node that leads elsewhere": GuardCase(another_node, "place_mismatch", ["nodeNumber"]),
    "somebody else who holds the disk": GuardCase(second_holder, "device_busy", ["exclusive"]),
    "a mount": GuardCase(mounted, "device_mounted", ["exclusive", "mounted"]),
    "a mount that was detached": GuardCase(mounted_and_left, "device_busy", ["exclusive"]),
    "a mount in another namespace": GuardCase(mounted_elsewhere, "device_mounted", ["exclusive", "mounted"]),
    "swap": GuardCase(swapping, "device_is_swap", ["exclusive", "swap"], slips=False),
    "swap that nobody holds": GuardCase(listed_as_swap, "device_is_swap", ["swap"]),
    "a holder": GuardCase(held_by_mapper, "device_held", ["held"]),
    "a holder of a partition": GuardCase(partition_held_by_mapper, "device_held", ["held"]),
    "a loop device over it": GuardCase(loop_over_disk, "device_backs_loop", ["loop"]),
    "a loop device over a partition": GuardCase(loop_over_partition, "device_backs_loop", ["loop"]),
    "a loop device over it whose node was removed": GuardCase(loop_over_removed_node, "device_backs_loop", ["loop"]),
    "a file system of the host": GuardCase(system_disk, "device_mounted", ["exclusive", "mounted", "systemDisk"]),
    "a write-protected card": GuardCase(write_protected, "write_protected", ["writeProtection"], slips=False),
    "a card below the slot's limit": GuardCase(minimum, "card_too_small", ["sizeLimits"]),
    "a card above the slot's limit": GuardCase(maximum, "card_too_large", ["sizeLimits"]),
    "an image larger than the card": GuardCase(None, "content_too_large", ["contentFits"], image_bytes=16 * MIB + 1,
                                               slips=False),
    "the station's own label": GuardCase(station_label, "protected_label", ["protectedLabel"]),
    "a configured label in other letters": GuardCase(configured_label, "protected_label", ["protectedLabel"]),
    "a configured UUID": GuardCase(configured_uuid, "protected_label", ["protectedLabel"]),
    "a protected label in a partition": GuardCase(label_in_partition, "protected_label", ["protectedLabel"]),
    "a partition of a protected name": GuardCase(partition_label, "protected_label", ["protectedLabel"]),
    "the card that was in before": GuardCase(same_head, "same_card", ["condition"]),
    "no marker where one is demanded": GuardCase(unmarked, "was_in_already", ["condition"]),
    "the marker of a failed job": GuardCase(marked_as_failed, "was_in_already", ["condition"]),
}


def run_guarded(programs, name, without=()):
    """One job of a case on a card of its own: (report, whether the card that must not be touched is unchanged)."""
    case = GUARD[name]
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(WriterBench(programs))
        card = stack.enter_context(LoopCard(case.size, partitions=case.partitions))
        with open(card.backing, "r+b") as file:
            file.write(pattern(case.size, seed=9))
        reader = bench.insert(card)
        options = dict(stack.enter_context(case.arrange(bench, card, reader)) or {})
        victims = [card, *([options.pop("victim")] if "victim" in options else [])]
        options.setdefault("sequence", card.diskseq)
        os.sync()
        before = [sha256_of(victim.backing) for victim in victims]
        report = bench.run(reader, bench.image(case.image_bytes), without=without, **options)
        os.sync()
        return report, before == [sha256_of(victim.backing) for victim in victims]
