"""Faults of media and of the C library that one check of a job finds, or several do."""

import tempfile

from writer_bench import MIB

CARD_BYTES = 32 * MIB


def image_range(start, end, **fault):
    return {"from": start, "to": end, **fault}


def shimmed(shim, settings):
    return {"LD_PRELOAD": shim, **{name: str(value) for name, value in settings.items()}}


def sequence_questions(rack, reader, image, shim):
    """How often a good job asks for the disk sequence number."""
    with tempfile.NamedTemporaryFile() as counter:
        rack.run(reader, image, env=shimmed(shim, {"SHIM_COUNT_TO": counter.name}))
        return int(counter.read().split(b"\0")[0])


#: Checks taken out, of which each finds the fault alone:
#: (faults on the card, shim, whether the identical image is on the card, verdict with all checks)
HOLES = {
    "comparison,hash": ([{"fault": "flip", "on": "write", "offset": 2 * MIB + 5000}], {}, False, "data_mismatch"),
    # The second write that goes there is the image's; the first is the marker.
    "headComparison": ([{"fault": "flip", "on": "write", "offset": 300_000, "nth": 2}], {}, False, "data_mismatch"),
    "wipeReadBack": ([image_range(CARD_BYTES - 512 * 1024 + 8192, CARD_BYTES - 512 * 1024 + 12288, fault="drop")], {},
                     False, "wipe_incomplete"),
    "capacityBefore,capacityAfter": ([{"fault": "limbo", "capacity": 20_000_123}], {}, False, "capacity_false"),
    "capacityAfter": ([{"fault": "limbo", "capacity": 20_000_123, "cache": "2M"}], {}, False, "capacity_false"),
    "capacityBefore,capacityAfter,marker": ([{"fault": "wrap", "capacity": 20_000_123}], {}, False, "capacity_false"),
    "marker": ([image_range(0, MIB, fault="old")], {}, True, "marker_missing"),
    # The kernel remembers what it was given, and answers for the card that has it wrong.
    "pageCache": ([{"fault": "flip", "on": "write", "offset": 2 * MIB + 5000}], {}, False, "data_mismatch"),
    # A reader that remembers what it was given answers for the card that lost it.
    "cacheDistance": ([image_range(2 * MIB, 2 * MIB + 65536, fault="drop", cache="8M")], {}, False, "data_mismatch"),
    "capacityBefore,capacityAfter,marker,wipeReadBack": ([{"fault": "old"}], {}, True, "capacity_false"),
    # In the last request, where no capacity block has been.
    "inputOutputError": ([image_range(3 * MIB, 3 * MIB + 4096, fault="error", on="write")], {}, True, "write_error"),
    "fullRequest": ([], {"SHIM_WRITE_SHORT_AT": 3 * MIB}, True, "short_write"),
    "sequenceOfWriter,identityBeforeRequest,identityAtEnd": (
        [], {"SHIM_WRITER_SEQUENCE": 1}, False, "sequence_mismatch"),
    "identityBeforeRequest,identityAtEnd": ([], {"SHIM_SEQUENCE_AFTER": 20}, False, "card_changed"),
    "identityAtEnd": ([], {"SHIM_SEQUENCE_AFTER": "all but the last"}, False, "card_changed"),
    "sectorSize": ([], {"SHIM_SECTOR": 8192}, False, "sector_size_unsupported"),
}
