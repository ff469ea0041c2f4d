"""Wrong disks, for real: everything that the guard must refuse, with other disks beside it."""

import os

from guard_cases import GUARD
from writer_bench import sha256_of, verdict_of

from campaign.bench import image_bytes


def refusal(bench, rng, name, without=(), env=None, arrange=None):
    """A disk that must not be written: refused for its reason, and not one byte of it has changed."""
    case = GUARD[name]
    writers = bench.writer_bench()
    card = bench.loop_card(case.size, partitions=case.partitions)
    with open(card.backing, "r+b") as file:
        file.write(image_bytes(rng, case.size))
    reader = writers.insert(card)
    options = dict(bench.stack.enter_context((arrange or case.arrange)(writers, card, reader)) or {})
    victims = [card.backing, *([options.pop("victim").backing] if "victim" in options else [])]
    options.setdefault("sequence", card.diskseq)
    os.sync()
    before = [sha256_of(victim) for victim in victims]
    image = bench.image(image_bytes(rng, case.image_bytes))
    report = bench.run(reader, image, without=without, env=env, **options)
    os.sync()
    if report is None:
        return
    outcome = bench.outcome
    outcome.note(f"{name}: {' '.join(filter(None, verdict_of(report)))}")
    # The kernel itself may write to what it swaps to.
    is_unchanged = before == [sha256_of(victim) for victim in victims] or name == "swap"
    if not is_unchanged:
        outcome.surprise("wrong_disk", f"{name}: the disk was written to; {verdict_of(report)}")
    elif report["verdict"] != {"verdict": "refused", "reason": case.reason}:
        outcome.surprise("other", f"{name}: {verdict_of(report)} instead of {case.reason}")
    else:
        outcome.failed += 1


def refused(bench, rng):
    """One case after the other, by the number of the run."""
    names = list(GUARD)
    refusal(bench, rng, names[(bench.outcome.seed & 0xFFFF) % len(names)])


SCENARIOS = {"what the guard refuses": refused}
