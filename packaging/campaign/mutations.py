"""Every check of guard and read-back, taken out: the campaign must notice.

A check is needed when the fault that it finds slips through without it. Where another check finds the same fault, that one is
taken out, too: without the other the fault is still found, without both it is not, so this check alone finds it.
"""

import contextlib
import functools
import os
import subprocess

from writer_faults import CARD_BYTES, HOLES, sequence_questions

from campaign.bench import Bench, fill, image_bytes
from campaign.disks import refusal
from campaign.judge import MIB, Medium
from campaign.outcome import Outcome

TRIES = 3


def hole(bench, rng, checks, without=()):
    """A fault of a medium or of the C library that these checks find."""
    faults, settings, is_prepared, _ = HOLES[checks]
    writers = bench.writer_bench()
    card = bench.card(CARD_BYTES)
    image = bench.image(image_bytes(rng, 3 * MIB + 8000))
    fill(card, rng, "random")
    reader = writers.insert(card)
    settings = dict(settings)
    if settings.get("SHIM_SEQUENCE_AFTER") == "all but the last":
        settings["SHIM_SEQUENCE_AFTER"] = sequence_questions(writers, reader, image, bench.tools.shim) - 1
        fill(card, rng, "random")
    if is_prepared:
        bench.run(reader, image)
    card.control({"do": "reset"})
    for fault in faults:
        card.control(fault)
    report = bench.run(reader, image, env=bench.shimmed(settings), without=without)
    bench.judge(report, image, Medium(card.backing, card.size), may_pass=False)


def other_from_the_start(bench, rng, without=()):
    """The kernel says early that another card is in: nothing of the image must get onto it."""
    writers = bench.writer_bench()
    card = bench.card(16 * MIB)
    fill(card, rng, "random")
    image = bench.image(image_bytes(rng, 6 * MIB))
    reader = writers.insert(card)
    report = bench.run(reader, image, env=bench.shimmed({"SHIM_SEQUENCE_AFTER": 2}), without=without)
    medium = Medium(card.backing, card.size)
    bench.judge(report, image, medium, may_pass=False)
    if medium.read(4 * MIB, MIB) == image.data[4 * MIB:5 * MIB]:
        bench.outcome.surprise("wrong_disk", "the image was written to a card that came in between")


def harmed_update(bench, rng, without=()):
    """An update of a card that has the image but for one bit."""
    writers = bench.writer_bench()
    writers.declare("slot1", "2", Mode="update")
    card = bench.loop_card(300 * MIB)
    data = image_bytes(rng, 4 * MIB)
    image = bench.image(data)
    fill(card, rng, "zeros")
    with open(card.backing, "r+b") as file:
        file.write(data)
        file.seek(3 * MIB + 77)
        file.write(bytes([data[3 * MIB + 77] ^ 4]))
    report = bench.run(writers.insert(card), image, may_update=True, without=without)
    # To find the bit and to mend it is right, too.
    bench.judge(report, image, Medium(card.backing, card.size))


def moves_nothing(bench, rng, without=()):
    """A reader that says it wrote and read, and moved nothing, where the image has zeros."""
    writers = bench.writer_bench()
    card = bench.loop_card(16 * MIB)
    fill(card, rng, "random")
    image = bench.image(image_bytes(rng, MIB) + bytes(5 * MIB))
    report = bench.run(writers.insert(card), image, env=bench.shimmed({"SHIM_LOST_AT": 3 * MIB + 300_000}), without=without)
    bench.judge(report, image, Medium(card.backing, card.size), wipes=False)


def other_image(bench, rng, without=()):
    """The image's bytes are not those that were assigned."""
    writers = bench.writer_bench()
    card = bench.loop_card(8 * MIB)
    image, assigned = bench.image(image_bytes(rng, 2 * MIB)), bench.image(image_bytes(rng, 2 * MIB))
    report = bench.run(writers.insert(card), image, sha256=assigned.sha256, without=without)
    bench.judge(report, image, Medium(card.backing, card.size), sha256=assigned.sha256)


def write_protected(bench, rng, without=()):
    """A card that is write-protected and takes writes all the same."""
    refusal(bench, rng, "a write-protected card", without, env=bench.shimmed({"SHIM_READ_ONLY": 1}),
            arrange=lambda *_: contextlib.nullcontext())


def guarded(name):
    return functools.partial(refusal, name=name)


def through(checks):
    return functools.partial(hole, checks=checks)


#: Of each check: a fault that it finds, and the other checks that find it.
CASES = {
    "trust": (guarded("a slot file that is not root's"), []),
    "wholeDisk": (guarded("a partition that has a node"), ["place", "ambiguity", "reader"]),
    "place": (guarded("the only disk, in another port"), []),
    "ambiguity": (guarded("two declarations of one place"), []),
    "reader": (guarded("another reader"), []),
    "cardType": (guarded("a soldered chip"), []),
    "exclusive": (guarded("somebody else who holds the disk"), []),
    "nodeNumber": (guarded("a node that leads elsewhere"), []),
    "sequence": (guarded("a wrong sequence number"), []),
    "writeProtection": (write_protected, []),
    "sizeLimits": (guarded("a card below the slot's limit"), []),
    "contentFits": (guarded("an image larger than the card"), []),
    "sectorSize": (through("sectorSize"), []),
    "held": (guarded("a holder of a partition"), []),
    "loop": (guarded("a loop device over a partition"), []),
    "swap": (guarded("swap that nobody holds"), []),
    "mounted": (guarded("a mount in another namespace"), ["exclusive"]),
    "systemDisk": (guarded("a file system of the host"), ["exclusive", "mounted"]),
    "protectedLabel": (guarded("a protected label in a partition"), []),
    "condition": (guarded("the card that was in before"), []),
    "sequenceOfWriter": (through("sequenceOfWriter,identityBeforeRequest,identityAtEnd"),
                         ["identityBeforeRequest", "identityAtEnd"]),
    "identityBeforeRequest": (other_from_the_start, []),
    "identityAtEnd": (through("identityAtEnd"), []),
    "surveyComparison": (harmed_update, ["hash"]),
    "fullRequest": (through("fullRequest"), []),
    "inputOutputError": (through("inputOutputError"), []),
    "wipeReadBack": (through("wipeReadBack"), []),
    "capacityBefore": (through("capacityBefore,capacityAfter"), ["capacityAfter"]),
    "capacityAfter": (through("capacityAfter"), []),
    "marker": (through("marker"), []),
    "pageCache": (through("pageCache"), []),
    "cacheDistance": (through("cacheDistance"), []),
    "freshBuffer": (moves_nothing, []),
    "comparison": (through("comparison,hash"), ["hash"]),
    "headComparison": (through("headComparison"), []),
    "hash": (other_image, []),
}


def checks(tools):
    """All checks that there are, by the word of the writer that can leave them out."""
    path = os.path.join(tools.programs, "station-writer-unguarded")
    return subprocess.run([path, "--checks"], check=True, capture_output=True, text=True).stdout.split()


def trial(parent, rng, case, without):
    """One run of a case: what it did that guard and read-back are there to prevent."""
    outcome = Outcome(parent.outcome.scenario, parent.outcome.seed)
    with Bench(parent.tools, rng, outcome) as bench:
        case(bench, rng, without=without)
    parent.outcome.jobs += outcome.jobs
    for kind, text in outcome.surprises:
        parent.outcome.note(f"without {','.join(without) or 'nothing'}: {kind}: {text}")
    return [kind for kind, _ in outcome.surprises if kind in ("false_pass", "wrong_disk")], outcome


def mutation(check, bench, rng):
    """Is there anything that this check alone finds?"""
    case, doubles = CASES.get(check, (None, []))
    if case is None:
        bench.outcome.note("no case: write one")
        return
    for _ in range(TRIES):
        surprises, whole = trial(bench, rng, case, [])
        for kind, text in whole.surprises:
            bench.outcome.surprise(kind, f"with all checks: {text}")
        if surprises:
            return
        alone, _ = trial(bench, rng, case, [check])
        if alone:
            bench.outcome.noticed = f"{alone[0]} without it"
            return
        if doubles:
            others, _ = trial(bench, rng, case, doubles)
            both, _ = trial(bench, rng, case, [*doubles, check])
            if both and not others:
                bench.outcome.noticed = f"{both[0]} without it and {', '.join(doubles)}"
                return


def scenarios(tools):
    return {f"without {check}": functools.partial(mutation, check) for check in checks(tools)}
