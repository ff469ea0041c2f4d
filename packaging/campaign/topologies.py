"""Generated hosts: which of their disks the station would write, against what is known of each."""

import json
import os
import subprocess

from campaign.judge import MIB

#: Hosts in one run.
CHUNK = 1000


def program(tools):
    return os.path.join(tools.programs, "topology-campaign")


def ask(bench, count, seed, without=None):
    """What the program found, with the real guard on two real disks."""
    card, labelled = bench.loop_card(8 * MIB), bench.loop_card(8 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-L", "OURBOX_DATA", labelled.device], check=True)
    done = subprocess.run(
        [program(bench.tools), "--count", str(count), "--seed", str(seed), "--card", card.device, "--labelled",
         labelled.device, *(["--without", without] if without else [])], capture_output=True, text=True, check=False)
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
