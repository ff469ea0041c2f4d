"""A campaign: what is run, by whom, for how long."""

import argparse
import collections
import dataclasses
import json
import os
import queue
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from practice_card import cleanup

from campaign import death, disks, judge, media, mutations, power, topologies
from campaign.bench import Bench, Tools
from campaign.outcome import FIVE, OTHER, Outcome, seed_of
from campaign.table import figures, is_mutation, mutations as told_mutations, surprises, table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: A run that takes longer hangs, and so does its worker, in seconds; one in a machine, which may have to be installed first.
RUN, MACHINE_RUN = 300, 900
#: Hosts that a campaign asks for, for each minute.
HOSTS_A_MINUTE = 2000
#: How often a scenario comes, against one that comes once: those that are quick and draw from much.
OFTEN = {**{name: 4 for name in media.SCENARIOS}, "a sound card": 1, "several at once": 12, "what the guard refuses": 8,
         "kill -9 during a build": 0.5}
#: A drawn case each: to have had each case once takes so many runs.
CASES = {"what the guard refuses": len(disks.GUARD)}


def scenarios(tools):
    """All that can be run on this host, by name; the mutations and the topologies are run as often as is asked for and no more."""
    return {**media.SCENARIOS, **disks.SCENARIOS, **death.SCENARIOS, **topologies.SCENARIOS, **mutations.scenarios(tools)}


def run_one(tools, known, name, seed):
    """One scenario's run, in this process."""
    outcome = Outcome(name, seed)
    began = time.monotonic()
    rng = random.Random(f"{name} {seed}")
    try:
        if name in power.SCENARIOS:
            run_in_guest(tools, name, rng, outcome)
        else:
            with Bench(tools, rng, outcome) as bench:
                known[name](bench, rng)
    except Exception as error:  # a campaign that cannot say what happened must say that
        outcome.surprise(OTHER, f"the campaign: {type(error).__name__}: {error}")
        outcome.note("".join(traceback.format_exception(error)[-4:]))
    outcome.seconds = time.monotonic() - began
    return outcome


def run_in_guest(tools, name, rng, outcome):
    """The same in the process's machine, which is made for the first run, and anew after one that surprised."""
    if tools.guest is None:
        tools.guest = power.Guest(tempfile.mkdtemp(dir=tools.scratch), tools.programs)
    is_well = False
    try:
        power.SCENARIOS[name](tools.guest, rng, outcome)
        is_well = not outcome.surprises
    finally:
        if not is_well:
            try:
                logs = tools.guest.machine.keep_logs(f"{outcome.seed}")
                for surprise in outcome.surprises:
                    surprise[1] += f"; logs in {logs}"
                outcome.note(f"logs in {logs}")
            finally:
                close_guest(tools)


def close_guest(tools):
    if tools.guest is not None:
        tools.guest.close()
        tools.guest = None


# -- workers ------------------------------------------------------------------------------------------

def prepare(programs, scratch):
    """What each process that runs scenarios needs: whatever they make lies in one directory, whatever they leave is theirs."""
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    judge.adopt_orphans()
    return Tools(ROOT, programs, scratch)


def work(programs, scratch):
    """The other end of a `Worker`: names and seeds in, outcomes out."""
    # What scenarios print is for people.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tools = prepare(programs, scratch)
    known = scenarios(tools)
    for line in sys.stdin:
        name, seed = json.loads(line)
        out.write(json.dumps(dataclasses.asdict(run_one(tools, known, name, seed))) + "\n")
        out.flush()
    close_guest(tools)


class Worker(threading.Thread):
    """Runs what a plan hands out, in a process of its own; a run that does not end costs that process."""

    def __init__(self, plan, programs, number, directory, limit=RUN):
        super().__init__(daemon=True)
        self.plan, self.programs, self.limit = plan, programs, limit
        self.scratch = os.path.join(directory, f"w{number}")
        self.process = None

    def start_process(self):
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.mkdir(self.scratch)
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(ROOT, "packaging", "torture"), "--work", self.scratch, "--programs", self.programs],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.words = collections.deque(maxlen=40)
        threading.Thread(target=self.words.extend, args=(self.process.stderr,), daemon=True).start()

    def run(self):
        while (task := self.plan.next()) is not None:
            if self.process is None or self.process.poll() is not None:
                self.start_process()
            name, seed = task
            timer = threading.Timer(self.limit, self.end_process)
            timer.start()
            began = time.monotonic()
            try:
                self.process.stdin.write(json.dumps(task) + "\n")
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except BrokenPipeError:
                line = ""
            timer.cancel()
            if line:
                outcome = Outcome(**json.loads(line))
            else:
                outcome = Outcome(name, seed, seconds=time.monotonic() - began)
                kind = "hang" if outcome.seconds >= self.limit else OTHER
                outcome.surprise(kind, f"the run did not end: {''.join(self.words)[-2000:]}")
                self.end_process()
            self.plan.done(outcome)
        self.end_process()

    def end_process(self):
        if self.process is not None and self.process.poll() is None:
            # Its children ask to die with it.
            self.process.kill()
            self.process.wait()


class Plan:
    """What is to be run: everything once, the mutations and the topologies, then round after round while there is time."""

    def __init__(self, known, seed, minutes, only=(), outcomes=None):
        self.seed, self.lock, self.numbers = seed, threading.Lock(), collections.Counter()
        self.outcomes = [] if outcomes is None else outcomes
        self.began, self.seconds, self.told = time.monotonic(), minutes * 60, 0.0
        chosen = [name for name in known if not only or any(word in name for word in only)]
        changing = [name for name in chosen if name.startswith("without ")]
        hosts = [name for name in chosen if name in topologies.SCENARIOS]
        self.plain = [name for name in chosen if name not in changing and name not in hosts]
        chunks = max(1, round(minutes * HOSTS_A_MINUTE / topologies.CHUNK)) if hosts else 0
        must = [name for name in self.plain for _ in range(CASES.get(name, 1))] + changing + hosts * chunks
        # Long ones first, mixed with the rest: the last minute is not one of waiting.
        random.Random(seed).shuffle(must)
        self.queue = queue.SimpleQueue()
        for name in must:
            self.queue.put(name)
        self.must = collections.Counter(must)
        self.credit = dict.fromkeys(self.plain, 0.0)
        self.finished = threading.Event()

    @property
    def elapsed(self):
        return time.monotonic() - self.began

    def next(self):
        with self.lock:
            if self.finished.is_set() or self.elapsed > self.seconds:
                return None
            try:
                name = self.queue.get_nowait()
            except queue.Empty:
                if not self.plain:
                    return None
                for each in self.plain:
                    self.credit[each] += OFTEN.get(each, 1)
                name = max(self.plain, key=lambda each: self.credit[each])
                self.credit[name] -= sum(OFTEN.get(each, 1) for each in self.plain)
            number = self.numbers[name]
            self.numbers[name] += 1
            return name, seed_of(self.seed, name, number)

    def done(self, outcome):
        with self.lock:
            self.outcomes.append(outcome)

    def missing(self):
        """What should have run and did not."""
        ran = collections.Counter(outcome.scenario for outcome in self.outcomes)
        return {name: count - ran[name] for name, count in self.must.items() if ran[name] < count}


# -- telling ------------------------------------------------------------------------------------------

def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def tell_progress(plan):
    with plan.lock:
        runs, jobs = len(plan.outcomes), sum(outcome.jobs for outcome in plan.outcomes)
        hosts = sum(outcome.topologies for outcome in plan.outcomes)
        bad = sum(len(outcome.surprises) for outcome in plan.outcomes)
    left = max(0, plan.seconds - plan.elapsed)
    print(f"torture: {clock(plan.elapsed)} of {clock(plan.seconds)}, {runs} runs, {jobs} jobs "
          f"({jobs / max(1, plan.elapsed):.1f}/s), {hosts} topologies, {bad} surprises, {clock(left)} left",
          file=sys.stderr, flush=True)


def campaign(options, programs, directory):
    tools = Tools(ROOT, programs, directory)
    plan = Plan(scenarios(tools), options.seed, options.minutes, options.only)
    # What needs a machine has a worker of its own, for there is one machine.
    in_machine = Plan({} if options.no_machine else power.SCENARIOS, options.seed, options.minutes, options.only, plan.outcomes)
    if in_machine.plain and not power.packages():
        raise SystemExit("torture: there is no Debian package to install in the machine: packaging/build-deb, or --no-machine")
    plan.must += in_machine.must
    print(f"torture: seed {options.seed}, {options.minutes:g} minutes, {sum(plan.must.values())} runs at least, "
          f"{options.jobs} at a time{' and a machine' if in_machine.plain else ''}", file=sys.stderr, flush=True)
    workers = [Worker(plan, programs, number, directory) for number in range(options.jobs)]
    if in_machine.plain:
        workers.append(Worker(in_machine, programs, "machine", directory, MACHINE_RUN))
    for worker in workers:
        worker.start()
    shown = 0
    try:
        while any(worker.is_alive() for worker in workers):
            # A worker that has nothing more to do must not make this a loop without a pause beside one that has a machine.
            next((worker for worker in workers if worker.is_alive()), workers[0]).join(0.5)
            with plan.lock:
                new = plan.outcomes[shown:]
                shown += len(new)
            for one in surprises(new):
                print(f"torture: SURPRISE, {one['kind']}: {one['replay']}: {one['what']}", file=sys.stderr, flush=True)
            if plan.elapsed - plan.told > 10:
                plan.told = plan.elapsed
                tell_progress(plan)
    except KeyboardInterrupt:
        print("torture: interrupted; what did not run is said below", file=sys.stderr)
    finally:
        plan.finished.set()
        in_machine.finished.set()
        for worker in workers:
            worker.end_process()
    tell_progress(plan)
    return report(plan, options)


def summed_aims(outcomes):
    """{name: [aimed, hit]} of all runs."""
    sums = {}
    for outcome in outcomes:
        for name, pair in outcome.aims.items():
            sums[name] = [one + more for one, more in zip(sums.get(name, (0, 0)), pair)]
    return sums


def report(plan, options):
    """Prints everything; the exit code."""
    counts = collections.Counter()
    for outcome in plan.outcomes:
        counts.update(outcome.counts)
    hosts = sum(outcome.topologies for outcome in plan.outcomes)
    thin = topologies.thin(counts, hosts)
    aims = summed_aims(plan.outcomes)
    # By chance a victim is not there a few times; one that is never there was never killed.
    unhit = [name for name, (aimed, hits) in aims.items() if aimed >= 12 and not hits]
    missing = plan.missing()
    found = figures(plan.outcomes, missing, seed=options.seed, minutes=options.minutes, seconds=round(plan.elapsed),
                    hosts=dict(counts), thin=thin, aims=aims, unhit=unhit)
    print("\n".join([*table(plan.outcomes), "", *told_mutations(plan.outcomes), ""]))
    for one in found["surprises"]:
        print(f"SURPRISE, {one['kind']}: {one['what']}\n    packaging/torture --replay \"{one['replay']}\"")
    for name, count in missing.items():
        print(f"NOT RUN: {name}, {count} of {plan.must[name]} times")
    for name in thin:
        print(f"HARDLY SEEN among {hosts} hosts: {name}")
    for name in unhit:
        print(f"NEVER HIT: {name}, in {aims[name][0]} tries")
    for name in found["unnoticed_mutations"]:
        print(f"UNNOTICED: nothing misses the check {name}")
    print(f"seed {options.seed}: {found['jobs']} jobs, {hosts} topologies, {found['power_cuts']} power cuts, {found['mutations']} mutations "
          f"with {found['mutation_jobs']} jobs, in {clock(plan.elapsed)}; "
          + ", ".join(f"{found[kind]} {kind.replace('_', ' ')}" for kind in (*FIVE, OTHER)))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["surprises"] or missing or thin or unhit or found["unnoticed_mutations"] else 0


def replay(word, programs, directory):
    """One run, loudly."""
    name, _, seed = word.rpartition(":")
    tools = prepare(programs, directory)
    known = scenarios(tools)
    if name not in {*known, *power.SCENARIOS} or not seed.isdigit():
        raise SystemExit(f"torture: no run {word!r}; scenarios: {', '.join([*known, *power.SCENARIOS])}")
    try:
        outcome = run_one(tools, known, name, int(seed))
    finally:
        close_guest(tools)
    print(json.dumps(dataclasses.asdict(outcome), indent=2))
    for kind, text in outcome.surprises:
        print(f"SURPRISE, {kind}: {text}", file=sys.stderr)
    return 1 if outcome.surprises or (is_mutation(outcome) and outcome.noticed is None) else 0


def main(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="S")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N")
    parser.add_argument("--replay", metavar="SCENARIO:SEED")
    parser.add_argument("--programs", default=os.path.join(ROOT, ".build", "release"), metavar="DIR")
    parser.add_argument("--no-machine", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    programs = os.path.abspath(options.programs)
    needed = ("stationd", "station-writer", "station-writer-unguarded", "station-library", "stationctl", "topology-campaign")
    missing = [name for name in needed if not os.access(os.path.join(programs, name), os.X_OK)]
    if missing:
        raise SystemExit(f"torture: {programs} has no {', '.join(missing)}: packaging/build, or --programs .build/debug")
    if options.work:
        return work(programs, options.work)
    if options.seed is None:
        options.seed = secrets.randbelow(1 << 32)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # In memory where there is some. The bench's sockets want a short path.
    home = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="torture-", dir=home) as directory:
        try:
            if options.list:
                print("\n".join([*scenarios(Tools(ROOT, programs, directory)), *power.SCENARIOS]))
                return 0
            if options.replay:
                os.mkdir(os.path.join(directory, "w"))
                return replay(options.replay, programs, os.path.join(directory, "w"))
            return campaign(options, programs, directory)
        finally:
            cleanup(directory)
