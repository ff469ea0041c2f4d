"""Lying media: cards that lose, change, repeat, fail, hang and go, under a real station-writer."""

import os
import time

from practice_station import wait_until
from virtual_reader import examine
from writer_bench import verdict_of

from campaign.bench import ended, fill, image_bytes
from campaign.faults import BLOCK, Draw
from campaign.judge import MIB, Medium

#: What a job of the writer may have under way at one time, in bytes.
IN_FLIGHT = 4 * MIB


class Scene:
    """A card with something old on it in port 2, and an image for it."""

    def __init__(self, bench, *, size=None, byte_count=None, old=None, wipes=None, **options):
        rng = bench.rng
        self.bench, self.rng = bench, rng
        writers = bench.writer_bench()
        self.wipes = rng.random() < 0.8 if wipes is None else wipes
        writers.declare("slot1", "2", Wipe="signatures" if self.wipes else "none")
        self.size = size or rng.choice([8, 12, 16, 24, 32, 48, 64]) * MIB + rng.choice([0, 0, 512, 4096 * 3])
        most = min(12 * MIB, self.size - 2 * MIB)
        self.byte_count = byte_count or rng.choice(
            [rng.randrange(1, most), rng.randrange(MIB, most), rng.choice([512, 4095, MIB, MIB + 1, 3 * MIB + 4097])])
        self.draw = Draw(rng, self.size, self.byte_count)
        self.image = bench.image(image_bytes(rng, self.byte_count))
        self.card = bench.card(self.size, **options)
        self.old = old or rng.choice(["random", "random", "zeros", "the same image"])
        fill(self.card, rng, self.old, self.image.data)
        self.reader = writers.insert(self.card)
        self.card.control({"do": "reset"})
        self.medium = Medium(self.card.backing, self.size)

    def fault(self, **fault):
        if fault["fault"] == "stuck":
            self.medium.stuck.append((fault["offset"], fault["mask"], fault["value"]))
        return self.card.control(fault)["id"]

    def hits(self, kind, on=None):
        """How often faults of a kind struck."""
        return sum(fault["hits"] for fault in self.card.state()["faults"]
                   if fault["fault"] == kind and on in (None, fault.get("on")))

    def run(self, shim=None, **options):
        return self.bench.run(self.reader, self.image, env=self.bench.shimmed(shim), **options)

    def judge(self, report, **options):
        self.bench.judge(report, self.image, self.medium, wipes=self.wipes, **options)


def sound(bench, rng):
    """Nothing is wrong."""
    scene = Scene(bench)
    scene.judge(scene.run(), must_pass=True)


def dropped_at_random(bench, rng):
    """Writes that are accepted and lost."""
    scene = Scene(bench)
    place = {} if rng.random() < 0.5 else scene.draw.a_range()
    scene.fault(fault="drop", probability=rng.choice([0.0005, 0.01, 0.1, 0.5, 0.95]), seed=rng.randrange(1 << 30), **place)
    scene.judge(scene.run())


def dropped_from_somewhere_on(bench, rng):
    """All writes are lost behind an offset, or once so many bytes were written."""
    scene = Scene(bench)
    if rng.random() < 0.5:
        scene.fault(fault="drop", **{"from": scene.draw.somewhere() // 512 * 512})
    else:
        scene.fault(fault="drop", after=rng.randrange(0, scene.byte_count + 4 * MIB))
    scene.judge(scene.run())


def less_than_it_claims(bench, rng):
    """A card that wraps at any size, or has nothing behind it."""
    scene = Scene(bench)
    fault = scene.draw.a_false_capacity()
    scene.medium = Medium(scene.card.backing, scene.size, fault["capacity"], fault["fault"])
    scene.fault(**fault)
    scene.judge(scene.run())


def wrapped_behind_a_large_cache(bench, rng):
    """A real size that is no power of two, and a reader that remembers 64 to 256 MB."""
    cache = rng.randrange(64, 257) * 1_000_000
    size = 300 * MIB + rng.randrange(64, 400) * MIB
    scene = Scene(bench, size=size, byte_count=rng.randrange(MIB, 12 * MIB), old="zeros")
    capacity = rng.randrange(16 * MIB, size - 2 * BLOCK) // 512 * 512
    scene.medium = Medium(scene.card.backing, size, capacity, "wrap")
    scene.fault(fault="wrap", capacity=capacity, cache=cache)
    scene.judge(scene.run())


def stuck_bits(bench, rng):
    scene = Scene(bench)
    for _ in range(rng.randrange(1, 4)):
        scene.fault(fault="stuck", offset=scene.draw.somewhere(), mask=1 << rng.randrange(8), value=rng.randrange(2))
    scene.judge(scene.run())


def flipped_on_the_way_in(bench, rng):
    scene = Scene(bench)
    for _ in range(rng.randrange(1, 4)):
        nth = {"nth": rng.randrange(1, 4)} if rng.random() < 0.5 else {}
        scene.fault(fault="flip", on="write", offset=scene.draw.somewhere(), mask=1 << rng.randrange(8), **nth)
    scene.judge(scene.run())


def flipped_on_the_way_out(bench, rng):
    """The medium may well be right; then the card may fail, and may pass where only one read was wrong."""
    scene = Scene(bench)
    for _ in range(rng.randrange(1, 4)):
        scene.fault(fault="flip", on="read", offset=scene.draw.somewhere(), mask=1 << rng.randrange(8))
    scene.judge(scene.run())


def flipped_at_the_second_read(bench, rng):
    """Right at the first look and wrong at the second, or at the third."""
    scene = Scene(bench)
    for _ in range(rng.randrange(1, 3)):
        scene.fault(fault="flip", on="read", offset=scene.draw.somewhere(), mask=1 << rng.randrange(8), nth=rng.choice([2, 2, 3]))
    if rng.random() < 0.5:
        # A wrong bit on the medium beside it, which no lucky read may hide.
        scene.fault(fault="flip", on="write", offset=rng.randrange(scene.byte_count))
    scene.judge(scene.run())


def old_content(bench, rng):
    """A dead card that shows what it held, all of it or a part; at best yesterday's identical image."""
    scene = Scene(bench, old=rng.choice(["random", "the same image"]))
    place = rng.choice([{}, {}, {"from": 0, "to": MIB}, scene.draw.a_range()])
    scene.fault(fault="old", **place)
    # Where nothing at all of the job arrived, there is nothing to pass.
    is_dead = not place or (place["from"] == 0 and place["to"] >= MIB)
    scene.judge(scene.run(), may_pass=not is_dead)


def zeros(bench, rng):
    """Reads give zeros."""
    scene = Scene(bench)
    scene.fault(fault="zeros", **rng.choice([{}, scene.draw.a_range(), scene.draw.a_range()]))
    scene.judge(scene.run())


def short_requests(bench, rng):
    """The C library moves less than it was asked to, or says so and moves nothing."""
    scene = Scene(bench, byte_count=rng.randrange(2 * MIB, 6 * MIB))
    place = rng.randrange(MIB, scene.byte_count)
    kind = rng.choice(["SHIM_WRITE_SHORT_AT", "SHIM_READ_SHORT_AT", "SHIM_LOST_AT"])
    # What is said to have moved and did not is left to the bytes on the medium; what was said to be short is final.
    scene.judge(scene.run({kind: place}), may_pass=kind == "SHIM_LOST_AT")


def errors_at_random(bench, rng):
    scene = Scene(bench)
    on = rng.choice(["write", "read"])
    scene.fault(fault="error", on=on, probability=rng.choice([0.02, 0.1, 0.5]), seed=rng.randrange(1 << 30), **scene.draw.a_range())
    scene.judge(scene.run(), may_pass=not scene.hits("error", "write"))


def errors_that_clear(bench, rng):
    """One error or a few, and all is well afterwards. An error of a write is final all the same."""
    scene = Scene(bench)
    on = rng.choice(["write", "read", "flush"])
    place = {} if on == "flush" else scene.draw.a_range()
    scene.fault(fault="error", on=on, times=rng.randrange(1, 4), **place)
    report = scene.run()
    scene.judge(report, may_pass=not scene.hits("error", "write") and not scene.hits("error", "flush"))


def several_at_once(bench, rng):
    """A few faults together, often behind a reader that remembers as much as the card leaves it to."""
    scene = Scene(bench)
    for _ in range(rng.randrange(2, 5)):
        scene.fault(**scene.draw.a_fault())
    if rng.random() < 0.6:
        scene.fault(fault="cache", bytes=scene.draw.a_cache())
    scene.judge(scene.run())


def update(bench, rng):
    """A card that has the image, or nearly, is brought up to date while it lies. Nothing but the bytes counts: such a card
    may pass without a write."""
    scene = Scene(bench, size=300 * MIB, byte_count=rng.randrange(MIB, 12 * MIB), old="zeros", wipes=True)
    bench.writers.declare("slot1", "2", Mode="update")
    with open(scene.card.backing, "r+b") as file:
        file.write(scene.image.data)
        for _ in range(rng.randrange(3)):
            file.seek(scene.draw.somewhere())
            file.write(rng.randbytes(rng.choice([1, 512, 70_000]))[:max(0, scene.size - file.tell())])
    for _ in range(rng.randrange(3)):
        scene.fault(**scene.draw.a_fault())
    scene.judge(scene.run(may_update=True))


def slow_scene(bench, **options):
    """A card that is slow enough to be met in any phase."""
    rng = bench.rng
    scene = Scene(bench, size=8 * MIB, byte_count=rng.randrange(3 * MIB, 5 * MIB), wipes=True, **options)
    scene.card.control({"do": "rate", "write_rate": 4 * MIB, "read_rate": 10 * MIB, "latency": 0.004})
    return scene


def meet(scene, writer):
    """Waits for a moment of the job, drawn by lot, from which on it has something to do still."""
    try:
        writer.wait_phase(scene.rng.choice(["probing", "wiping", "writing", "writing", "verifying"]))
    except AssertionError:
        if not ended(writer):
            raise
    time.sleep(scene.rng.uniform(0, 0.25))


def size_that_changes(bench, rng):
    scene = slow_scene(bench)
    writer = bench.ask(scene.reader, scene.image)
    meet(scene, writer)
    scene.card.resize(rng.choice([512, MIB, 4 * MIB, 8 * MIB - 4096]))
    is_too_late = bench.is_too_late(writer)
    scene.judge(bench.finish(writer), may_pass=is_too_late)


def protected_half_way(bench, rng):
    scene = Scene(bench)
    scene.fault(fault="protect", after=rng.randrange(scene.byte_count + MIB))
    scene.judge(scene.run(), may_pass=not scene.hits("protect"))


def latency_of_seconds(bench, rng):
    """Some requests take seconds, and nothing else is wrong."""
    scene = Scene(bench)
    scene.fault(fault="delay", seconds=rng.uniform(1, 3), nth=rng.randrange(1, 30))
    scene.fault(fault="delay", seconds=rng.uniform(0.5, 2), on=rng.choice(["read", "write", "flush"]), nth=rng.randrange(1, 4))
    scene.judge(scene.run(), must_pass=True)


def hang_for_ever(bench, rng):
    """The writer says that it waits, hears a cancel, and goes within a second when the station goes."""
    scene = Scene(bench, byte_count=rng.randrange(2 * MIB, 6 * MIB))
    on = rng.choice(["read", "write", "flush"])
    scene.fault(fault="hang", on=on, nth=rng.randrange(1, 4))
    writer = bench.ask(scene.reader, scene.image)
    try:
        wait_until(lambda: scene.card.state()["waiting"], 30, "the hang")
        writer.wait_silence(1.2)
    except AssertionError as error:
        bench.outcome.surprise("hang", f"the writer did not say that it waits: {error}")
    ending = rng.choice(["hang up", "hang up", "release"])
    if ending == "release":
        scene.card.control({"do": "release"})
        scene.judge(bench.finish(writer), must_pass=True)
        return
    writer.hang_up()
    try:
        wait_until(lambda: is_over(writer.process), 3, "the writer's end")
    except AssertionError:
        bench.outcome.surprise("hang", "the writer outlived its station for 3 s")
    bench.outcome.failed += 1
    scene.card.control({"do": "release"})
    bench.expect_gone(writer)


def is_over(process):
    """Whether a process has left: gone, or a leader that waits for a thread which the kernel still holds."""
    if process.poll() is not None:
        return True
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] in "ZX"


def gone_and_back_as_another(bench, rng):
    """The card is pulled, and another one takes its name, and perhaps its place: the old job must not touch it."""
    scene = slow_scene(bench)
    writer = bench.ask(scene.reader, scene.image)
    meet(scene, writer)
    scene.fault(fault="gone")
    is_too_late = bench.is_too_late(writer)
    scene.reader.unplug()
    other = bench.loop_card(scene.size)
    fill(other, rng, "random")
    watched = bench.watch("the card that came after", other.backing)
    port = rng.choice(["2", "3"])
    reader = bench.writers.insert(other, port)
    scene.judge(bench.finish(writer), may_pass=is_too_late)
    # Asked for the card that is gone, by the name that the other has now, the writer refuses.
    report = bench.run(reader, scene.image, sequence=scene.card.diskseq)
    if report is not None and verdict_of(report)[0] != "refused":
        bench.outcome.surprise("wrong_disk", f"asked for the card of before: {verdict_of(report)}")
    if watched.is_unharmed() and port == "2":
        bench.bystanders.remove(watched)
        report = bench.run(reader, scene.image, sequence=examine(other.device)[5])
        bench.judge(report, scene.image, Medium(other.backing, other.size), must_pass=True, wipes=scene.wipes)


def swapped(bench, rng, errors, told=None):
    """Another medium under the open descriptor. told: when the kernel says so, at once, late or never; errors: whether the
    requests in between fail."""
    told = told or rng.choice(["at once", "late", "never"])
    scene = slow_scene(bench)
    other = os.path.join(bench.writers.directory, "other.card")
    with open(other, "wb") as file:
        file.write(rng.randbytes(scene.size) if rng.random() < 0.5 else bytes(scene.size))
    with open(other, "rb") as file:
        before = file.read()
    sequence = os.path.join(bench.writers.directory, "sequence")
    open(sequence, "w").close()
    writer = bench.ask(scene.reader, scene.image, env=bench.shimmed({"SHIM_SEQUENCE_FILE": sequence}))
    meet(scene, writer)

    def tell():
        with open(sequence, "w", encoding="ascii") as file:
            file.write("7")

    if told == "at once":
        tell()
    if errors:
        scene.fault(fault="error", times=rng.randrange(1, 6))
    scene.fault(fault="swap", backing=other)
    if told == "late":
        time.sleep(rng.uniform(0, 0.2))
        tell()
    # What is in the reader now is what a verdict is about.
    if not bench.is_too_late(writer):
        scene.medium = Medium(other, scene.size)
        scene.judge(bench.finish(writer), may_pass=told == "never")
    else:
        bench.finish(writer)
    if told == "at once":
        with open(other, "rb") as file:
            after = file.read()
        changed = sum(before[start:start + BLOCK] != after[start:start + BLOCK] for start in range(0, len(before), BLOCK))
        if changed * BLOCK > IN_FLIGHT:
            bench.outcome.surprise("wrong_disk", f"{changed * BLOCK} bytes went to a card that came in between")


def swapped_and_told(bench, rng):
    swapped(bench, rng, errors=False, told="at once")


def swapped_and_errors(bench, rng):
    swapped(bench, rng, errors=True)


def swapped_and_no_errors(bench, rng):
    swapped(bench, rng, errors=False)


SCENARIOS = {
    "a sound card": sound,
    "writes dropped at random": dropped_at_random,
    "writes dropped from somewhere on": dropped_from_somewhere_on,
    "less than it claims": less_than_it_claims,
    "wraps behind a large cache": wrapped_behind_a_large_cache,
    "stuck bits": stuck_bits,
    "bits flipped on the way in": flipped_on_the_way_in,
    "bits flipped on the way out": flipped_on_the_way_out,
    "a flip at the second read": flipped_at_the_second_read,
    "old content": old_content,
    "zeros": zeros,
    "short requests": short_requests,
    "errors at random": errors_at_random,
    "errors that clear": errors_that_clear,
    "several at once": several_at_once,
    "an update": update,
    "a size that changes": size_that_changes,
    "write-protected half-way": protected_half_way,
    "latency of seconds": latency_of_seconds,
    "hangs for ever": hang_for_ever,
    "gone, and back as another": gone_and_back_as_another,
    "swapped, and the kernel says so": swapped_and_told,
    "swapped, and errors": swapped_and_errors,
    "swapped, and no errors": swapped_and_no_errors,
}
