"""A sound practice card, and a lying one: an nbdkit plugin (Python, API version 2).

A sound card does one thing at a time. There is one clock for reading and writing:

    free = max(now, free) + latency + bytes / rate        (then wait until `free`)

Requests may arrive in parallel, as they do at a real reader with a queue, but they are never served at
once, and time that was not used is lost: no burst is saved up. The wait is always until an absolute
instant, so a late wake-up of one request never delays the next one that is already queued.

Parameters (key=value on nbdkit's command line). Sizes are in bytes and rates in bytes per second; both
take the suffixes of coreutils: K, M, G are powers of 1024, kB, MB, GB are powers of 1000.

    backing=FILE       where the bytes really are; created, sparse, when it is missing      (required)
    size=BYTES         what the card claims; default: the size of the backing file
    write_rate=BYTES   per second, 0 = as fast as it goes                                   (default 0)
    read_rate=BYTES    per second, 0 = as fast as it goes                                   (default 0)
    latency=SECONDS    for each request, reading, writing, flushing and trimming alike      (default 0)
    discard=HOW        none: trim is refused (default); zeros: reads as zeros afterwards; keeps: accepted, and
                       the old bytes stay
    control=SOCKET     unix stream socket: one JSON object per line in, one out
    fault=JSON         a fault from the start; may be repeated

Faults are JSON objects. "fault" names the kind. All but the last two lines may appear in any of them:

    on      "read", "write", "flush", "trim", or "any" (each kind of fault has a sensible default)
    from,to only requests that touch bytes [from, to) of the *claimed* address space
    after   only once this many bytes have been written to the card since it was made
    nth     only the nth request that matches (1 is the first since the fault was set)
    times   only the first so many requests that match; then the fault is over
    probability, seed
            only so often; a draw depends on seed, place and how often that place was visited,
            and not on the order in which parallel requests happen to arrive

    drop    writes are accepted and lost (exactly the part within from..to; probability is per 4096 bytes)
    old     as drop: a dead card which still shows what it held when the fault was set
    wrap    "capacity": address modulo that many bytes (any number)
    limbo   "capacity": writes beyond it are lost, reads there give zeros
    cache   "bytes": the reader answers from what was last written or read at the claimed address, by
            4096-byte block, least recently used goes first. "wrap", "limbo", "drop" and "old" take "cache": N
            as a short form
    flip    "offset" or "offsets", "mask" (default 1): these bits of these bytes are inverted, on the way in
            (on: write, default) or out (on: read); with nth: only in the nth request that covers one of them
    stuck   "offset" or "offsets", "mask", "value" (0 or 1): these bits always have this value
    zeros   reads give zeros (exactly the part within from..to)
    error   the request fails; "errno" (default EIO; the NBD protocol and the loop driver make EIO of
            nearly all others)
    delay   "seconds": the device is busy for so much longer
    hang    the request, and everything after it, waits until "release" (or until the fault is cleared)
    protect writes fail from now on or "after" so many bytes: a card that turns read-only half-way
    gone    everything fails: the card was pulled. Requests that hang fail too
    swap    "backing": another card is in, under the same descriptor

Commands on the control socket ("do" may be left out where there is a "fault"):

    {"do": "set", "fault": …}            -> {"ok": true, "id": 3}
    {"do": "clear"} or with "id": 3      -> all faults (or that one) end; what hangs goes on
    {"do": "release"}                    -> what hangs goes on and that hang is over
    {"do": "rate", "write_rate": …, "read_rate": …, "latency": …}
    {"do": "state"}                      -> counters, see State.snapshot
    {"do": "reset"}                      -> counters to zero
"""

import collections
import ctypes
import errno
import hashlib
import json
import os
import signal
import socket
import struct
import threading
import time

try:
    import nbdkit  # only there inside nbdkit
except ImportError:
    nbdkit = None

API_VERSION = 2
BLOCK = 4096
PIECE = 1 << 20  # zeroing goes through the same path as writing, in pieces of this many bytes

SUFFIXES = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    SUFFIXES[_letter] = SUFFIXES[_letter + "iB"] = 1024 ** _power
    SUFFIXES[_letter + "B"] = SUFFIXES[_letter.lower() + "B"] = 1000 ** _power


def parse_bytes(text):
    """A byte count: an int, or text with a suffix as in coreutils ("4M" is 4194304, "20MB" is 20000000)."""
    if isinstance(text, (int, float)):
        return int(text)
    text = text.strip()
    number = text.rstrip("BKMGTki")
    suffix = text[len(number):]
    if suffix not in SUFFIXES:
        raise ValueError(f"not a byte count: {text!r} (say 512M for MiB, 20MB for millions)")
    value = float(number) * SUFFIXES[suffix] if "." in number else int(number) * SUFFIXES[suffix]
    return int(value)


class DeviceError(Exception):
    """A request that fails; `number` is the errno that the client should see."""

    def __init__(self, number, text):
        super().__init__(text)
        self.number = number


KINDS = {
    # kind: (what it applies to by default, the keys of its own)
    "drop": ("write", {"cache"}),
    "old": ("write", {"cache"}),
    "wrap": ("any", {"capacity", "cache"}),
    "limbo": ("any", {"capacity", "cache"}),
    "cache": ("any", {"bytes"}),
    "flip": ("write", {"offset", "offsets", "mask"}),
    "stuck": ("any", {"offset", "offsets", "mask", "value"}),
    "zeros": ("read", set()),
    "error": ("any", {"errno"}),
    "delay": ("any", {"seconds"}),
    "hang": ("any", set()),
    "protect": ("write", {"errno"}),
    "gone": ("any", set()),
    "swap": ("any", {"backing"}),
}
COMMON_KEYS = {"fault", "do", "on", "from", "to", "after", "nth", "times", "probability", "seed"}
ERRNOS = {name: number for number, name in errno.errorcode.items()}


class Fault:
    """One thing that is wrong with the card. `hits` says how often it really changed something."""

    def __init__(self, number, spec):
        kind = spec.get("fault")
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; there are: {', '.join(sorted(KINDS))}")
        default_on, own = KINDS[kind]
        # A misspelt key would give a fault that never strikes, and a test that passes for nothing.
        unknown = set(spec) - COMMON_KEYS - own
        if unknown:
            raise ValueError(f"fault {kind!r} does not know {', '.join(sorted(unknown))}")
        self.id = number
        self.kind = kind
        self.spec = {key: value for key, value in spec.items() if key != "do"}
        self.on = spec.get("on", default_on)
        if self.on not in ("read", "write", "flush", "trim", "any"):
            raise ValueError(f"unknown value of 'on': {self.on!r}")
        self.start = parse_bytes(spec.get("from", 0))
        self.end = parse_bytes(spec["to"]) if spec.get("to") is not None else None
        self.after = parse_bytes(spec.get("after", 0))
        self.nth = spec.get("nth")
        self.times = spec.get("times")
        self.probability = spec.get("probability")
        self.seed = spec.get("seed", 0)
        self.seen = 0
        self.hits = 0
        self.visits = collections.Counter()
        self.capacity = parse_bytes(spec["capacity"]) if "capacity" in own and "capacity" in spec else None
        if kind in ("wrap", "limbo") and not self.capacity:
            raise ValueError(f"fault {kind!r} needs a capacity in bytes")
        self.errno = ERRNOS[spec.get("errno", "EROFS" if kind == "protect" else "EIO")]
        self.seconds = float(spec.get("seconds", 0))
        offsets = spec.get("offsets", [spec["offset"]] if "offset" in spec else [])
        self.offsets = sorted(parse_bytes(offset) for offset in offsets)
        if kind in ("flip", "stuck") and not self.offsets:
            raise ValueError(f"fault {kind!r} needs an offset in bytes")
        self.mask = int(spec.get("mask", 1)) & 0xFF
        self.value = int(spec.get("value", 1))

    def applies_to(self, operation):
        return self.on == "any" or self.on == operation

    def touches(self, offset, length):
        """Does [offset, offset + length) meet the range of this fault? A flush (length 0) has no place."""
        if length == 0:
            return self.start == 0 and self.end is None
        return offset + length > self.start and (self.end is None or offset < self.end)

    def clip(self, offset, length):
        """The part of the request within from..to, as (start, end) relative to the request."""
        start = max(self.start - offset, 0)
        end = length if self.end is None else min(self.end - offset, length)
        return (start, end) if end > start else (0, 0)

    def draw(self, place):
        """One draw for this place: the same seed gives the same answers whatever the order of arrival."""
        if self.probability is None:
            return True
        self.visits[place] += 1
        digest = hashlib.blake2b(struct.pack("<qQQ", self.seed, place, self.visits[place]), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self.probability * 2.0 ** 64

    def strikes(self, operation, offset, length, written):
        """For faults that take a request as a whole: does it strike this one? Counts as it decides."""
        if not self.applies_to(operation) or not self.touches(offset, length) or written < self.after:
            return False
        if not self.draw(offset):
            return False
        return self.count()

    def count(self):
        """One more match; False where `nth` or `times` say that it is not this one's turn."""
        self.seen += 1
        if self.nth is not None and self.seen != self.nth:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def positions(self, offset, length):
        return [place - offset for place in self.offsets if offset <= place < offset + length]

    def describe(self):
        return {"id": self.id, "hits": self.hits, "matched": self.seen, **self.spec}


class BlockCache:
    """What a reader remembers: 4096-byte blocks by claimed address, least recently used goes first."""

    def __init__(self, size):
        self.limit = max(1, size // BLOCK)
        self.blocks = collections.OrderedDict()
        self.answers = 0

    def get(self, block):
        data = self.blocks.get(block)
        if data is not None:
            self.blocks.move_to_end(block)
        return data

    def put(self, block, data):
        self.blocks[block] = data
        self.blocks.move_to_end(block)
        while len(self.blocks) > self.limit:
            self.blocks.popitem(last=False)


class State:
    """The card. Everything in it is guarded by `lock`; waiting happens outside of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.released = threading.Condition(self.lock)
        self.hanging = None  # the fault that hangs the device, if one does
        self.waiting = 0  # requests that hang
        self.generation = 0  # goes up with each release, so that a waiter never misses one
        self.free = 0.0  # the one clock: CLOCK_MONOTONIC in seconds at which the device has nothing to do
        self.parameters = {}
        self.fault_parameters = []
        self.write_rate = self.read_rate = 0
        self.latency = 0.0
        self.discard = "none"
        self.size = 0
        self.descriptor = -1
        self.backing = None
        self.faults = []
        self.fault_number = 0
        self.cache = None
        self.reset_counters()

    def reset_counters(self):
        self.requests = collections.Counter()
        self.bytes = collections.Counter()
        self.sizes = {"read": collections.Counter(), "write": collections.Counter()}
        self.ideal = collections.Counter()
        self.errors = 0
        self.first = None
        self.last = None
        self.in_flight = self.most_in_flight = 0

    # -- life ---------------------------------------------------------------------------------------

    def configure(self, key, value):
        if key == "fault":
            self.fault_parameters.append(json.loads(value))
        elif key in ("backing", "size", "write_rate", "read_rate", "latency", "discard", "control"):
            self.parameters[key] = value
        else:
            raise ValueError(f"unknown parameter {key!r}")

    def complete(self):
        if "backing" not in self.parameters:
            raise ValueError("the parameter backing=FILE is missing")
        self.backing = self.parameters["backing"]
        self.descriptor = os.open(self.backing, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        present = os.fstat(self.descriptor).st_size
        self.size = parse_bytes(self.parameters.get("size", present))
        if present < self.size:
            os.ftruncate(self.descriptor, self.size)
        self.set_rates(self.parameters)
        self.discard = self.parameters.get("discard", "none")
        if self.discard not in ("none", "zeros", "keeps"):
            raise ValueError("discard is none, zeros or keeps")
        for spec in self.fault_parameters:
            self.add_fault(spec)

    def set_rates(self, values):
        if "write_rate" in values:
            self.write_rate = parse_bytes(values["write_rate"])
        if "read_rate" in values:
            self.read_rate = parse_bytes(values["read_rate"])
        if "latency" in values:
            self.latency = float(values["latency"])

    def add_fault(self, spec):
        fault = Fault(self.fault_number + 1, spec)
        if fault.kind == "swap":
            descriptor = os.open(spec["backing"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(descriptor).st_size < self.size:
                os.ftruncate(descriptor, self.size)
            os.dup2(descriptor, self.descriptor, inheritable=False)
            os.close(descriptor)
            self.backing = spec["backing"]
        cache = spec.get("cache") if fault.kind != "cache" else spec.get("bytes")
        if cache:
            self.cache = BlockCache(parse_bytes(cache))
        self.fault_number += 1
        self.faults.append(fault)
        if fault.kind == "gone":
            self.wake()
        return fault.id

    def clear_faults(self, number=None):
        self.faults = [fault for fault in self.faults if number is not None and fault.id != number]
        if not any(fault.kind == "cache" or fault.spec.get("cache") for fault in self.faults):
            self.cache = None
        if self.hanging is not None and self.hanging not in self.faults:
            self.wake()

    def wake(self):
        """End a hang: the waiters go on, and the hang itself is over."""
        if self.hanging in self.faults:
            self.faults.remove(self.hanging)
        self.hanging = None
        self.generation += 1
        self.released.notify_all()

    def snapshot(self):
        """The counters. Sizes and byte counts in bytes, times in seconds; `ideal_seconds` is what the
        requests would have taken back to back, `busy_seconds` from the first arrival to the last answer."""
        return {
            "size": self.size, "backing": self.backing,
            "write_rate": self.write_rate, "read_rate": self.read_rate, "latency": self.latency,
            "requests": dict(self.requests), "bytes": dict(self.bytes),
            "request_sizes": {name: {str(size): count for size, count in sorted(sizes.items())}
                              for name, sizes in self.sizes.items()},
            "ideal_seconds": sum(self.ideal.values()), "ideal": dict(self.ideal),
            "busy_seconds": (self.last - self.first) if self.last is not None else 0.0,
            "most_in_flight": self.most_in_flight, "errors": self.errors,
            "waiting": self.waiting, "hanging": self.hanging is not None,
            "cache_answers": self.cache.answers if self.cache else 0,
            "faults": [fault.describe() for fault in self.faults],
        }

    def command(self, message):
        """Answer one control message (a dict) with a dict."""
        with self.lock:
            verb = message.get("do", "set" if "fault" in message else None)
            if verb == "set":
                return {"ok": True, "id": self.add_fault(message)}
            if verb == "clear":
                self.clear_faults(message.get("id"))
            elif verb == "release":
                self.wake()
            elif verb == "rate":
                self.set_rates(message)
            elif verb == "reset":
                self.reset_counters()
            elif verb != "state":
                raise ValueError(f"unknown command {verb!r}")
            return {"ok": True, **self.snapshot()}

    # -- the clock ----------------------------------------------------------------------------------

    def charge(self, operation, length, extra=0.0):
        """Book a request on the one clock (lock held); the instant (CLOCK_MONOTONIC) when it is done."""
        rate = self.read_rate if operation == "read" else self.write_rate
        # A trim or a flush moves no bytes over the bus; zeroing does, and comes here as a write.
        cost = self.latency + extra
        if rate and operation in ("read", "write"):
            cost += length / rate
        self.ideal[operation] += cost
        now = time.monotonic()
        self.free = max(now, self.free) + cost
        return self.free

    @staticmethod
    def wait_until(instant):
        while True:
            left = instant - time.monotonic()
            if left <= 0:
                return
            time.sleep(left)  # releases the interpreter lock, so that other requests go on

    # -- requests -----------------------------------------------------------------------------------

    def serve(self, operation, offset, length, transfer):
        """One request from arrival to answer: book it, move the bytes, then wait until it is its time."""
        with self.lock:
            if self.first is None:
                self.first = time.monotonic()
            self.requests[operation] += 1
            self.bytes[operation] += length
            if operation in self.sizes:
                self.sizes[operation][length] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            with self.lock:
                extra = self.strike_first(operation, offset, length)
                done = self.charge(operation, length, extra)
                failure = self.failure(operation, offset, length)
                if failure is None:
                    # The bytes move while the clock runs: the wait covers the cost of moving them.
                    transfer()
            self.wait_until(done)
            if failure is not None:
                raise failure
        finally:
            with self.lock:
                self.in_flight -= 1
                self.last = time.monotonic()

    def strike_first(self, operation, offset, length):
        """Hangs and delays (lock held): waits out a hang, returns the extra seconds of delays."""
        written = self.bytes["write"]
        extra = 0.0
        for fault in list(self.faults):
            if fault.kind == "delay" and fault.strikes(operation, offset, length, written):
                extra += fault.seconds
            elif fault.kind == "hang" and self.hanging is None and fault.strikes(operation, offset, length, written):
                self.hanging = fault
        if self.hanging is not None:
            generation = self.generation
            self.waiting += 1
            try:
                while self.generation == generation:
                    self.released.wait()
            finally:
                self.waiting -= 1
        return extra

    def failure(self, operation, offset, length):
        """The error which this request gets (lock held), or None."""
        written = self.bytes["write"]
        for fault in self.faults:
            if fault.kind not in ("error", "protect", "gone"):
                continue
            if fault.kind == "protect" and operation == "trim" and fault.on == "write" and written >= fault.after:
                pass  # a trim changes the medium too
            elif not fault.strikes(operation, offset, length, written):
                continue
            self.errors += 1
            return DeviceError(fault.errno, f"practice fault {fault.kind}: {operation} of {length} at {offset}")
        return None

    # -- the medium ---------------------------------------------------------------------------------

    def pieces(self, offset, length):
        """Where a claimed range really is: (position in the request, real offset or None, length)."""
        for fault in self.faults:
            if fault.kind == "wrap":
                position = 0
                while position < length:
                    real = (offset + position) % fault.capacity
                    piece = min(length - position, fault.capacity - real)
                    if real != offset + position:
                        fault.hits += 1
                    yield position, real, piece
                    position += piece
                return
            if fault.kind == "limbo":
                inside = max(0, min(length, fault.capacity - offset))
                if inside:
                    yield 0, offset, inside
                if inside < length:
                    fault.hits += 1
                    yield inside, None, length - inside
                return
        yield 0, offset, length

    def kept(self, offset, length):
        """The parts of a write that are not dropped, as (start, end) relative to the request."""
        parts = [(0, length)]
        for fault in self.faults:
            if fault.kind not in ("drop", "old") or self.bytes["write"] - length < fault.after:
                continue
            start, end = fault.clip(offset, length)
            if end <= start:
                continue
            lost = []
            if fault.probability is None:
                if fault.count():
                    lost = [(start, end)]
            else:
                for block in range((offset + start) // BLOCK, (offset + end + BLOCK - 1) // BLOCK):
                    if fault.draw(block) and fault.count():
                        lost.append((max(block * BLOCK - offset, start), min((block + 1) * BLOCK - offset, end)))
            for low, high in lost:
                parts = [piece for a, b in parts for piece in ((a, min(b, low)), (max(a, high), b))
                         if piece[1] > piece[0]]
        return parts

    def altered(self, operation, data, offset):
        """The bytes with this operation's flips and stuck bits; the same object where nothing changes."""
        length = len(data)
        changed = None
        for fault in self.faults:
            if fault.kind not in ("flip", "stuck") or not fault.applies_to(operation):
                continue
            places = fault.positions(offset, length)
            if not places or self.bytes["write"] < fault.after or not fault.draw(offset) or not fault.count():
                continue
            if changed is None:
                changed = bytearray(data)
            for place in places:
                if fault.kind == "flip":
                    changed[place] ^= fault.mask
                elif fault.value:
                    changed[place] |= fault.mask
                else:
                    changed[place] &= ~fault.mask & 0xFF
        return data if changed is None else changed

    def store(self, data, offset):
        """Write to the medium (lock held), faults included."""
        # nbdkit lends a buffer that is only valid during the call; views of it are cut from a memoryview.
        view = memoryview(data)
        if self.cache is not None:
            self.remember(view, offset)
        view = memoryview(self.altered("write", view, offset))
        for start, end in self.kept(offset, len(view)):
            for position, real, length in self.pieces(offset + start, end - start):
                if real is not None:
                    write_all(self.descriptor, view[start + position:start + position + length], real)

    def raw_load(self, view, offset):
        for position, real, length in self.pieces(offset, len(view)):
            part = view[position:position + length]
            if real is None:
                part[:] = bytes(length)
            else:
                read_all(self.descriptor, part, real)

    def load(self, buffer, offset):
        """Read from the medium (lock held), faults included."""
        view = memoryview(buffer)
        if self.cache is None:
            self.raw_load(view, offset)
        else:
            self.load_through_cache(view, offset)
        for fault in self.faults:
            if fault.kind == "zeros" and self.bytes["write"] >= fault.after:
                start, end = fault.clip(offset, len(view))
                if end > start and fault.count():
                    view[start:end] = bytes(end - start)
        changed = self.altered("read", view, offset)
        if changed is not view:
            view[:] = changed

    def remember(self, view, offset):
        """A write passes the reader's cache: whole blocks go in; a part of one updates that block."""
        for block, start, end in blocks_of(offset, len(view)):
            data = view[start:end]
            if end - start < BLOCK:
                old = self.cache.get(block)
                if old is None:
                    old = bytearray(BLOCK)
                    inside = min(BLOCK, self.size - block * BLOCK)
                    self.raw_load(memoryview(old)[:inside], block * BLOCK)
                whole = bytearray(old)
                within = offset + start - block * BLOCK
                whole[within:within + end - start] = data
                self.cache.put(block, bytes(whole))
            else:
                self.cache.put(block, bytes(data))

    def load_through_cache(self, view, offset):
        for block, start, end in blocks_of(offset, len(view)):
            data = self.cache.get(block)
            if data is None:
                fresh = bytearray(BLOCK)
                inside = min(BLOCK, self.size - block * BLOCK)
                self.raw_load(memoryview(fresh)[:inside], block * BLOCK)
                data = bytes(fresh)
                self.cache.put(block, data)
            else:
                self.cache.answers += 1
            within = offset + start - block * BLOCK
            view[start:end] = data[within:within + end - start]

    def discard_range(self, offset, length):
        if self.discard == "zeros":
            position = 0
            while position < length:
                piece = min(PIECE, length - position)
                self.store(bytes(piece), offset + position)
                position += piece


def blocks_of(offset, length):
    """The 4096-byte blocks of a range: (block number, start, end relative to the range)."""
    position = 0
    while position < length:
        block = (offset + position) // BLOCK
        end = min(length, (block + 1) * BLOCK - offset)
        yield block, position, end
        position = end


def write_all(descriptor, view, offset):
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def read_all(descriptor, view, offset):
    while len(view):
        count = os.preadv(descriptor, [view], offset)
        if count == 0:  # behind the end of a backing file that is shorter than the claim
            view[:] = bytes(len(view))
            return
        view, offset = view[count:], offset + count


# -- control socket -----------------------------------------------------------------------------------

def serve_control(state, listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(state, connection), daemon=True).start()


def serve_connection(state, connection):
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        for line in stream:
            try:
                answer = state.command(json.loads(line))
            except Exception as error:  # whatever was wrong with it, the asker gets it back, and the card lives on
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(answer) + "\n")
            stream.flush()


# -- nbdkit's callbacks -------------------------------------------------------------------------------

card = State()
PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29


def thread_model():
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key, value):
    card.configure(key, value)


def config_complete():
    card.complete()
    libc = ctypes.CDLL(None)
    # Workers inherit this: the default slack of 50 µs per wait would show in a lockstep client's figures.
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    # The filter exitlast has asked for SIGTERM on the parent's death; nbdkit would then wait for all requests
    # to end, and one that hangs on purpose never does.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def after_fork():
    path = card.parameters.get("control")
    if path:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(path)
        listener.listen(8)
        threading.Thread(target=serve_control, args=(card, listener), daemon=True).start()


def open(readonly):  # noqa: A001 (the name is nbdkit's)
    return 1


def get_size(handle):
    return card.size


def can_multi_conn(handle):
    return True


def can_trim(handle):
    return card.discard != "none"


def can_fua(handle):
    return nbdkit.FUA_EMULATE


def request(operation, offset, length, transfer):
    try:
        card.serve(operation, offset, length, transfer)
    except DeviceError as error:
        nbdkit.set_error(error.number)
        raise


def pread(handle, buffer, offset, flags):
    request("read", offset, len(buffer), lambda: card.load(buffer, offset))


def pwrite(handle, buffer, offset, flags):
    request("write", offset, len(buffer), lambda: card.store(buffer, offset))


def flush(handle, flags):
    request("flush", 0, 0, lambda: None)


def trim(handle, count, offset, flags):
    request("trim", offset, count, lambda: card.discard_range(offset, count))


def zero(handle, count, offset, flags):
    # A reader has no command for zeroing: the zeros go over the bus as any other bytes do.
    nothing = bytes(min(PIECE, count))
    position = 0
    while position < count:
        piece = min(PIECE, count - position)
        data, at = nothing[:piece], offset + position
        request("write", at, piece, lambda: card.store(data, at))
        position += piece
