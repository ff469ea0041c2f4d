"""What a scenario has to hand: real writers on practice cards, bystanders beside them, and the judge."""

import contextlib
import os
import select
import struct
import subprocess
import time

from practice_card import LoopCard, PracticeCard
from writer_bench import Image, WriterBench, verdict_of

from campaign import judge
from campaign.judge import MIB

#: How long a writer may say nothing before its first word and after it, and how long it may stay when all is said, in
#: seconds. The station waits as long.
FIRST_WORD, NEXT_WORD, LEAVE = 30.0, 10.0, 5.0
#: No job on these cards takes longer, in seconds, on a machine that has much to do.
JOB = 90.0


class Tools:
    """Where the programs are, and what was compiled for the campaign."""

    def __init__(self, root, programs, scratch):
        self.root, self.programs, self.scratch = root, programs, scratch
        #: The machine, once a run wanted it.
        self.guest = None
        self.shim = self.compile("Tests/IntegrationTests/shim.c")
        self.host_shim = self.compile("packaging/campaign/host_shim.c")

    def compile(self, source):
        target = os.path.join(self.scratch, os.path.basename(source)[:-1] + "so")
        if not os.path.exists(target):
            subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", target + ".new",
                            os.path.join(self.root, source), "-ldl", "-pthread"], check=True)
            os.replace(target + ".new", target)
        return target


def image_bytes(rng, byte_count):
    """Bytes with an MBR of one partition over all of it, and runs of zeros."""
    data = bytearray(rng.randbytes(byte_count))
    for _ in range(rng.randrange(3)):
        start = rng.randrange(byte_count)
        end = min(byte_count, start + rng.randrange(1, max(2, byte_count // 3)))
        data[start:end] = bytes(end - start)
    if byte_count >= 512:
        sectors = max(1, -(-byte_count // 512) - 1)
        data[446:512] = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + struct.pack("<II", 1, sectors) + bytes(48) + b"\x55\xaa"
    return bytes(data)


class Bench:
    """One scenario's run: everything it makes is gone when it is closed, or it is a leak."""

    def __init__(self, tools, rng, outcome):
        self.tools, self.rng, self.outcome = tools, rng, outcome
        self.household = judge.Household(tools.scratch)
        self.stack = contextlib.ExitStack()
        self.bystanders = []
        self.writers = None

    def writer_bench(self):
        self.writers = self.stack.enter_context(WriterBench(self.tools.programs, self.tools.scratch))
        # Beside the card: a slot that has no job, and a disk that is no card.
        self.writers.declare("slot9", "9")
        for name, port, slot in (("the card in another slot", "9", "slot9"), ("a disk at another port", "4", None)):
            card = self.loop_card(3 * MIB)
            with open(card.backing, "r+b") as file:
                file.write(self.rng.randbytes(card.size))
            self.writers.bench.insert(port, card, slot)
            self.watch(name, card.backing)
        return self.writers

    def card(self, size, **options):
        return self.stack.enter_context(PracticeCard(size, directory=self.tools.scratch, **options))

    def loop_card(self, size, **options):
        return self.stack.enter_context(LoopCard(size, directory=self.tools.scratch, **options))

    def watch(self, name, backing):
        """From here on these bytes must not change."""
        bystander = judge.Bystander(name, backing)
        self.bystanders.append(bystander)
        return bystander

    def image(self, data):
        return Image(self.writers.directory, data)

    def shimmed(self, settings):
        return {"LD_PRELOAD": self.tools.shim, **{name: str(value) for name, value in settings.items()}} if settings else None

    def ask(self, reader, image, **options):
        self.outcome.jobs += 1
        options.setdefault("job", f"{self.rng.getrandbits(128):032x}")
        return self.writers.ask(reader, image, **options)

    def run(self, reader, image, *, bound=JOB, **options):
        """One job to its verdict: its report; None where there was none, which is a surprise already."""
        return self.finish(self.ask(reader, image, **options), bound)

    def finish(self, writer, bound=JOB):
        """Hears a writer to its end, and sees it go."""
        report = self.hear(writer, bound)
        writer.hang_up()
        self.expect_gone(writer)
        return report

    def is_too_late(self, writer):
        """Whether the job had ended before what was just done to its card: on a busy machine its moment may be missed."""
        while not ended(writer) and select.select([writer.socket], [], [], 0)[0]:
            if writer.receive() is None:
                break
        if ended(writer):
            self.outcome.note("the job had ended before its moment came")
        return ended(writer) is not None

    def hear(self, writer, bound=JOB):
        if ended(writer):
            return ended(writer)
        deadline = time.monotonic() + bound
        patience = FIRST_WORD
        while time.monotonic() < deadline:
            if not select.select([writer.socket], [], [], min(patience, bound))[0]:
                self.outcome.surprise("hang", f"the writer said nothing for {patience:.0f} s; last: {writer.messages[-1:]}")
                return None
            message = writer.receive()
            patience = NEXT_WORD
            if message is None:
                self.outcome.surprise("other", f"the writer ended without a verdict ({writer.process.poll()})")
                return None
            if ended(writer):
                return ended(writer)
        self.outcome.surprise("hang", f"no verdict within {bound:.0f} s; last: {writer.messages[-1:]}")
        return None

    def expect_gone(self, writer, seconds=LEAVE, kind="leak"):
        """A writer that has said its last word, or was hung up on, goes."""
        try:
            writer.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.outcome.surprise(kind, f"the writer was still there after {seconds} s")
            writer.process.kill()

    # -- judging --------------------------------------------------------------------------------------

    def judge(self, report, image, medium, *, may_pass=True, must_pass=False, sha256=None, wipes=True):
        """Holds a verdict against what is true.

        may_pass: False where the promise is broken by a pass though the bytes are there: an error that was reported, a card
        that took nothing; must_pass: nothing is wrong with this card.
        """
        if report is None:
            return
        word, reason = verdict_of(report)
        if word == "passed":
            flaw = judge.flaw_of(medium, sha256 or image.sha256, len(image.data), report["sectorByteCount"], wipes)
            if flaw is None and may_pass:
                self.outcome.passed += 1
            else:
                self.outcome.surprise("false_pass", flaw or "passed, though the fault was there for the writer to see")
        elif must_pass:
            self.outcome.surprise("other", f"a sound card: {word} ({reason}), {report.get('detail')}")
        else:
            self.outcome.failed += 1
        self.outcome.note(f"{word} {reason or ''}".strip())

    def judge_bystanders(self):
        for bystander in self.bystanders:
            if not bystander.is_unharmed():
                self.outcome.surprise("wrong_disk", f"{bystander.name} was written to")

    def close(self):
        self.judge_bystanders()
        self.stack.close()
        for left in self.household.left_after(4.0):
            self.outcome.surprise("leak", f"left behind: {left}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if error[0] is None:
            self.close()
        else:
            self.stack.close()


def ended(writer):
    """The report, once it was heard."""
    return writer.messages[-1]["ended"]["_0"] if writer.messages and "ended" in writer.messages[-1] else None


def fill(card, rng, kind, image=b""):
    """What was on the card before: random bytes, zeros, or this image."""
    with open(card.backing, "r+b") as file:
        if kind != "zeros":
            for position in range(0, card.size, 8 * MIB):
                file.write(rng.randbytes(min(8 * MIB, card.size - position)))
        if kind == "the same image":
            file.seek(0)
            file.write(image)
