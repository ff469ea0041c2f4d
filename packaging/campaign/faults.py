"""Faults of practice cards, drawn by lot; see practice_device.py for what they are."""

from campaign.judge import MIB

#: Faults that hit a block of 4096 bytes each.
BLOCK = 4096


class Draw:
    """What may be wrong with a card of a size that is to get an image of so many bytes."""

    def __init__(self, rng, size, byte_count):
        self.rng, self.size, self.byte_count = rng, size, byte_count

    def somewhere(self):
        """An offset, more often in what the job writes than elsewhere."""
        start, end = self.rng.choice([(0, self.byte_count), (0, self.byte_count), (0, MIB), (self.size - MIB, self.size),
                                      (0, self.size)])
        return self.rng.randrange(start, max(start + 1, end))

    def a_range(self):
        """Some blocks, or much."""
        start = self.somewhere() // BLOCK * BLOCK
        return {"from": start, "to": min(self.size, start + self.rng.choice([BLOCK, 8 * BLOCK, MIB, self.size]))}

    def a_fault(self):
        """Any fault that leaves the card its size and the writer its life."""
        rng = self.rng
        nth = rng.choice([{}, {}, {"nth": rng.randrange(1, 4)}, {"times": rng.randrange(1, 4)}])
        bit = {"offset": self.somewhere(), "mask": 1 << rng.randrange(8)}
        return rng.choice([
            {"fault": "drop", **self.a_range(), **nth},
            {"fault": "drop", "probability": rng.choice([0.01, 0.3]), "seed": rng.randrange(1 << 30), **self.a_range()},
            {"fault": "drop", "after": rng.randrange(self.byte_count + 2 * MIB)},
            {"fault": "stuck", **bit, "value": rng.randrange(2)},
            {"fault": "flip", "on": rng.choice(["read", "write"]), **bit, **nth},
            {"fault": "zeros", **self.a_range(), **nth},
            {"fault": "old", **self.a_range()},
            {"fault": "delay", "seconds": 0.2, **nth} if nth else {"fault": "delay", "seconds": 0.001},
            {"fault": "error", "on": "read", "times": 1, **self.a_range()},
        ])

    def a_death(self):
        """A card that stops doing its work somewhere on the way. None hangs for ever: a whole machine waits for such a disk."""
        rng = self.rng
        return rng.choice([
            {"fault": "error", "on": "write", **self.a_range()},
            {"fault": "error", "on": rng.choice(["read", "write"]), "probability": 0.05, "seed": rng.randrange(1 << 30)},
            {"fault": "protect", "after": rng.randrange(self.byte_count)},
            {"fault": "delay", "seconds": rng.uniform(1, 4), "times": rng.randrange(1, 4)},
            {"fault": "error", "on": "any", "after": rng.randrange(self.byte_count)},
        ])

    def a_false_capacity(self):
        """A card that has less than it claims, and wraps or has nothing behind that."""
        return {"fault": self.rng.choice(["wrap", "limbo"]), "capacity": self.rng.randrange(MIB + 512, self.size - 2 * BLOCK) // 512 * 512}

    def a_cache(self):
        """A reader that remembers, as much as the card leaves it to: one that holds all of the card answers for it, and nothing
        can be done about that; see SAFETY.md."""
        return self.rng.randrange(MIB, max(MIB + 1, min(24 * MIB, (self.size - self.byte_count) // 2)))
