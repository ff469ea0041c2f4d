"""The fault campaign's judge: each of the five is found when it is there, and a check that nobody misses is told of."""

import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import types

import pytest
from practice_card import LoopCard

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging"))
from campaign import death, judge, power, run, table  # noqa: E402
from campaign.outcome import FIVE, Outcome, seed_of  # noqa: E402

MIB = 1 << 20
TORTURE = os.path.join(run.ROOT, "packaging", "torture")
PROGRAMS = ("stationd", "station-writer", "station-writer-unguarded", "station-library", "stationctl", "topology-campaign")

#: Says what it is told to, and touches no card.
LIAR = """#!/usr/bin/python3
import json, socket, sys, time
station = socket.socket(fileno=int(sys.argv[sys.argv.index("--connected") + 1]))
station.recv(1 << 18)
{}
"""
PASSED = """station.send(json.dumps({"ended": {"_0": {"verdict": {"verdict": "passed"}, "sectorByteCount": 512}}}).encode())"""
#: A daemon that takes its records with it.
FORGETFUL = r"""#!/bin/bash
while [ $# -gt 0 ]; do words+=("$1"); [ "$1" != --state ] || state=$2; shift; done
trap 'kill $child; wait $child; sqlite3 "$state/store/station.db" "DELETE FROM jobs"; exit 0' TERM
{real} "${words[@]}" & child=$!
wait $child
"""
SHELL = '#!/bin/sh\n{}\nexec {} "$@"\n'

#: name: (the program that is not what it should be, what it is, the run, the surprise)
CULPRITS = {
    "a writer that calls everything passed": ("station-writer", LIAR.format(PASSED), "a sound card:1", "false_pass"),
    "a writer that writes on other disks": (
        "station-writer", SHELL.format('for disk in "$TMPDIR"/practice-card-*/backing; do\n'
                                       'printf x | dd of="$disk" bs=1 seek=70000 conv=notrunc 2> /dev/null\ndone', "{real}"),
        "a sound card:2", "wrong_disk"),
    "a writer that says nothing": (
        "station-writer", LIAR.format('station.send(b\'{"progress": {"_0": {}}}\'); time.sleep(60)'), "a sound card:3", "hang"),
    "a writer that stays": ("station-writer", LIAR.format(PASSED + "; time.sleep(60)"), "a sound card:4", "leak"),
    "a writer that leaves a process": (
        "station-writer", SHELL.format("(setsid sleep 60 > /dev/null 2>&1 &)", "{real}"), "a sound card:5", "leak"),
    "a writer that dies": ("station-writer", LIAR.format(""), "a sound card:6", "other"),
    "a station that forgets its jobs": ("stationd", FORGETFUL, "pulled, and another:8", "lost_record"),
    "a writer that has all its checks": (
        "station-writer-unguarded", SHELL.format("unset STATION_WITHOUT", "{real}"), "without reader:7", None),
}


def replay(programs, directory, name):
    """One run with one program that is not what it should be: (exit code, outcome)."""
    culprit, text, word, _ = CULPRITS[name]
    place = directory / name.replace(" ", "-")
    place.mkdir()
    for program in PROGRAMS:
        os.symlink(os.path.join(programs, program), place / program)
    (place / culprit).unlink()
    (place / culprit).write_text(text.replace("{real}", os.path.join(programs, culprit)))
    (place / culprit).chmod(0o755)
    done = subprocess.run([sys.executable, TORTURE, "--programs", str(place), "--replay", word], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def replays(programs, tmp_path_factory):
    """All of them at one time: most of them wait."""
    directory = tmp_path_factory.mktemp("culprits")
    with concurrent.futures.ThreadPoolExecutor(len(CULPRITS)) as pool:
        yield {name: pool.submit(replay, programs, directory, name) for name in CULPRITS}


@pytest.mark.parametrize("name", CULPRITS)
def test_the_campaign_finds(replays, name):
    code, outcome, said = replays[name].result()
    kind = CULPRITS[name][3]
    assert code == 1
    if kind is None:
        assert outcome["noticed"] is None and not outcome["surprises"]
    else:
        assert kind in {found for found, _ in outcome["surprises"]}, outcome
        assert f"SURPRISE, {kind}" in said


def test_a_good_writer_surprises_nobody(programs):
    done = subprocess.run([sys.executable, TORTURE, "--programs", programs, "--replay", "a sound card:1"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["passed"] == 1


def test_a_job_without_a_record_or_without_an_end_is_lost(tmp_path):
    outcome = Outcome("", 0)
    death.judge_records(outcome, {"a": (None, 7), "b": ("interrupted", 8)}, {}, dict.fromkeys("abc", "ran"), b"")
    assert [kind for kind, _ in outcome.surprises] == ["lost_record", "lost_record"]
    # The card knows of a job that the records do not know.
    card = tmp_path / "card"
    card.write_bytes(b"flashing-station marker 1\njob=d\nstate=unfinished\nreason=\n".ljust(MIB, b"\0"))
    outcome = Outcome("", 0)
    death.judge_records(outcome, {}, {7: types.SimpleNamespace(backing=str(card), size=MIB)}, {}, b"")
    assert [kind for kind, _ in outcome.surprises] == ["lost_record"]


def test_a_record_that_says_passed_of_another_card_is_a_false_pass(tmp_path):
    card = tmp_path / "card"
    card.write_bytes(bytes(MIB))
    outcome = Outcome("", 0)
    death.judge_records(outcome, {"a": ("passed", 7)}, {7: types.SimpleNamespace(backing=str(card), size=MIB)}, {}, b"image")
    assert [kind for kind, _ in outcome.surprises] == ["false_pass"]


@pytest.mark.parametrize("harm, what", [
    (None, None), ((0, b"?"), "assigned"), ((MIB + 699, b"?"), "assigned"), ((MIB + 701, b"?"), "last sector"),
    ((6 * MIB, b"?"), None), ((8 * MIB - 1, b"?"), "last MiB"), ("wrap", "claims"), ("limbo", "assigned")])
def test_what_is_true_of_a_card_is_read_from_its_bytes(tmp_path, harm, what):
    image = os.urandom(440) + bytes(72) + os.urandom(MIB + 188)
    backing = tmp_path / "card"
    backing.write_bytes(image.ljust(8 * MIB, b"\0"))
    medium = judge.Medium(str(backing), 8 * MIB)
    if harm == "wrap":
        medium = judge.Medium(str(backing), 8 * MIB, 5 * MIB, "wrap")
    elif harm == "limbo":
        medium = judge.Medium(str(backing), 8 * MIB, MIB, "limbo")
    elif harm:
        with open(backing, "r+b") as file:
            file.seek(harm[0])
            file.write(harm[1])
    flaw = judge.flaw_of(medium, hashlib.sha256(image).hexdigest(), len(image))
    assert (flaw is None) if what is None else what in flaw, flaw


@pytest.fixture(scope="module")
def two_disks(tmp_path_factory):
    """A blank one, and one that bears a protected label."""
    with LoopCard(8 * MIB) as card, LoopCard(8 * MIB) as labelled:
        subprocess.run(["mke2fs", "-q", "-F", "-L", "OURBOX_DATA", labelled.device], check=True)
        yield ["--card", card.device, "--labelled", labelled.device]


@pytest.mark.parametrize("check", [
    None, "wholeDisk", "place", "ambiguity", "reader", "cardType", "nodeNumber", "sequence", "sizeLimits", "loop",
    "protectedLabel"])
def test_generated_hosts_miss_a_guard_that_lacks(programs, two_disks, check):
    done = subprocess.run([os.path.join(programs, "topology-campaign"), "--count", "120", "--seed", "11", *two_disks,
                           *(["--without", check] if check else [])], capture_output=True, text=True, check=False)
    assert (json.loads(done.stdout)["wrongDiskCount"] > 0) == (check is not None), done.stdout
    assert done.returncode == (0 if check is None else 1)


def test_a_seed_decides_everything_and_counts_the_runs():
    assert seed_of(7, "a", 3) == seed_of(7, "a", 3) != seed_of(8, "a", 3)
    assert seed_of(7, "a", 3) & 0xFFFF == 3
    known = {**run.media.SCENARIOS, **run.disks.SCENARIOS, **run.topologies.SCENARIOS, "without hash": None}
    plans = [run.Plan(known, 7, 5) for _ in range(2)]
    drawn = [[plan.next() for _ in range(200)] for plan in plans]
    assert drawn[0] == drawn[1]
    assert {name for name, _ in drawn[0]} == set(known)


def test_a_layer_that_no_host_had_is_told_of(programs, two_disks):
    done = subprocess.run([os.path.join(programs, "topology-campaign"), "--count", "1", "--seed", "11", *two_disks],
                          capture_output=True, text=True, check=True)
    layers = json.loads(done.stdout)["layers"]
    assert 0 in layers.values() and set(run.topologies.thin(layers, 1)) == {name for name in layers if not layers[name]}


def test_what_did_not_run_and_what_was_not_noticed_is_in_the_figures():
    plan = run.Plan({"a": None, "without b": None}, 7, 5)
    plan.done(Outcome("without b", 1, jobs=3))
    found = table.figures(plan.outcomes, plan.missing())
    assert found["not_run"] == {"a": 1} and found["unnoticed_mutations"] == ["b"] and found["jobs"] == 0
    assert all(found[kind] == 0 for kind in FIVE)


def after_the_cut(tmp_path, word, content=None, marked=False, unexcused=()):
    """What is said of one card after a power cut, whose one job is on record with this word."""
    image = bytes(range(256)) * 4096
    card = tmp_path / "card"
    card.write_bytes((image if content is None else content).ljust(4 * MIB, b"\0"))
    guest = types.SimpleNamespace(
        image=lambda slot: (hashlib.sha256(image).hexdigest(), len(image)), refused=lambda records: set(unexcused))
    outcome = Outcome("a power cut", 1)
    power.judge_cards(guest, outcome, {"slot1": card}, {"slot1"} if marked else set(), {"job": ("slot1", word)})
    return [kind for kind, _ in outcome.surprises], outcome.passed, outcome.failed


def test_the_judge_of_power_cuts_sees_a_card_that_is_not_what_is_on_record(tmp_path):
    assert after_the_cut(tmp_path, "passed") == ([], 1, 0)
    assert after_the_cut(tmp_path, "passed", content=b"something else") == (["false_pass"], 0, 0)
    assert after_the_cut(tmp_path, "interrupted") == ([], 0, 1)
    assert after_the_cut(tmp_path, "interrupted", marked=True) == (["other"], 0, 1)
    assert after_the_cut(tmp_path, "refused") == (["other"], 0, 1)
    # A refusal for a reason that nothing excuses is one, whatever the card's last word is.
    assert after_the_cut(tmp_path, "failed", unexcused=["job"]) == (["other"], 0, 1)


def test_the_judge_of_power_cuts_sees_a_card_that_lost_its_mark_to_something_else_than_its_image(tmp_path):
    image, card = tmp_path / "image", tmp_path / "card"
    image.write_bytes(bytes(range(256)) * 16)
    guest = types.SimpleNamespace(image_path=lambda slot: image)
    for content, expected in ((image.read_bytes() + bytes(4096), []), (bytes(8192), ["other"])):
        card.write_bytes(content)
        outcome = Outcome("a power cut", 1)
        power.judge_marks(guest, outcome, {"slot1": card, "slot2": card}, {"slot1"})
        assert [kind for kind, _ in outcome.surprises] == expected


def test_the_judge_of_power_cuts_sees_records_that_are_not_true():
    def kinds(records, before=None, shown=None, marked=None):
        outcome = Outcome("a power cut", 1)
        power.judge_records(outcome, before or {}, records, shown or {}, marked or {})
        return [kind for kind, _ in outcome.surprises]

    good = {"a": ("slot1", "passed"), "b": ("slot2", "interrupted")}
    assert kinds(good, {"a": ("slot1", "passed")}, {"a": ("slot1", "passed", ""), "b": ("slot2", "running", "writing")}, {"b": "slot2"}) == []
    assert kinds({}, shown={"c": ("slot1", "running", "guarding")}) == []
    assert kinds({}, before={"a": ("slot1", "failed")}) == ["lost_record"]
    assert kinds(good, before={"a": ("slot1", "failed")}) == ["lost_record"]
    assert kinds(good, shown={"b": ("slot2", "passed", "finishing")}) == ["lost_record"]
    assert kinds({}, shown={"c": ("slot1", "running", "writing")}) == ["lost_record"]
    assert kinds({}, marked={"c": "slot1"}) == ["lost_record"]
    assert kinds(good, marked={"a": "slot1"}) == ["false_pass"]
    assert kinds({"a": ("slot1", None)}) == ["lost_record"]
