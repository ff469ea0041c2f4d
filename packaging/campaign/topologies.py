"""Generated hosts: which of their disks the station would write, against what is known of each."""

import json
import os
import struct
import subprocess

from campaign.judge import MIB

#: Hosts in one run.
CHUNK = 1000


def program(tools):
    return os.path.join(tools.programs, "topology-campaign")


def make_labels(disks):
    """Of three disks one carries the protected label itself, one in its second partition, and one in two of them."""
    def label(disk, start, name):
        subprocess.run(["mke2fs", "-q", "-F", "-L", name, "-E", f"offset={start * MIB}", disk, "2m"], check=True)

    whole, second, both = disks
    label(whole, 0, "OURBOX_DATA")
    for disk in (second, both):
        with open(disk, "r+b") as file:
            file.seek(446)
            file.write(b"".join(struct.pack("<B3xB3xII", 0, 0x83, start * MIB // 512, 3 * MIB // 512) for start in (1, 4))
                       + bytes(32) + b"\x55\xaa")
        label(disk, 1, "OURBOX_DATA" if disk == both else "other")
        label(disk, 4, "OURBOX_DATA")


def ask(bench, count, seed, without=None):
    """What the program found, with the real guard on two real disks."""
    card = bench.loop_card(8 * MIB)
    labelled = [bench.loop_card(8 * MIB) for _ in range(3)]
    make_labels([disk.backing for disk in labelled])
    done = subprocess.run(
        [program(bench.tools), "--count", str(count), "--seed", str(seed), "--card", card.device, "--labelled",
         ",".join(disk.device for disk in labelled), *(["--without", without] if without else [])], capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"topology-campaign: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def topologies(bench, rng):
    found = ask(bench, CHUNK, rng.getrandbits(62))
    outcome = bench.outcome
    outcome.topologies += found["topologies"]
    outcome.passed += found["written"]
    outcome.failed += found["guarded"] - found["written"]
    for text in found["wrongDisks"]:
        outcome.surprise("wrong_disk", f"host {text}")
    for text in found["refusedCards"] + found["wrongUses"]:
        outcome.surprise("other", f"host {text}")
    outcome.counts = {**found["layers"], **{f"flaw {name}": count for name, count in found["flaws"].items()}}


def thin(counts, topologies):
    """Layers and flaws that hardly any host had: of those the campaign says nothing."""
    return [name for name, count in counts.items() if count < topologies / 100]


SCENARIOS = {"generated topologies": topologies}
