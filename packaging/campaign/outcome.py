"""What came of one run of one scenario."""

import dataclasses
import hashlib

#: What must never happen.
FIVE = ("false_pass", "wrong_disk", "hang", "leak", "lost_record")
#: What must not happen either: a sound card that fails, a writer that dies, a campaign that is itself wrong.
OTHER = "other"


def seed_of(campaign, scenario, number):
    """The seed of a scenario's run. Its low 16 bits count the runs, so that one with cases takes them one after the other."""
    digest = hashlib.blake2b(f"{campaign} {scenario} {number}".encode(), digest_size=5).digest()
    return int.from_bytes(digest, "big") << 16 | number & 0xFFFF


@dataclasses.dataclass
class Outcome:
    """One run. `surprises` are pairs of a kind and what was seen."""

    scenario: str
    seed: int
    jobs: int = 0
    passed: int = 0
    failed: int = 0
    topologies: int = 0
    power_cuts: int = 0
    seconds: float = 0.0
    surprises: list = dataclasses.field(default_factory=list)
    #: Of a mutation: None where nothing noticed, else what did.
    noticed: str | None = None
    #: What a scenario counted, by name.
    counts: dict = dataclasses.field(default_factory=dict)
    #: Of what a scenario wants to hit, by name: how often it aimed and how often it hit.
    aims: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)

    def surprise(self, kind, text):
        self.surprises.append([kind, text])

    def aim(self, name, hit):
        aimed, hits = self.aims.get(name, (0, 0))
        self.aims[name] = aimed + 1, hits + bool(hit)

    def note(self, text):
        self.notes.append(text)
