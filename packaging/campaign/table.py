"""What a campaign has to say: a table for people, and JSON."""

from campaign.outcome import FIVE, OTHER

TITLES = ("runs", "jobs", "passed rightly", "failed rightly", "false pass", "wrong disk", "hang", "leak", "lost record", "other")


def tally(outcomes):
    """One row for each scenario, in order: the name, then what TITLES say."""
    rows = {}
    for outcome in outcomes:
        row = rows.setdefault(outcome.scenario, [0] * len(TITLES))
        row[0] += 1
        row[1] += outcome.jobs
        row[2] += outcome.passed
        row[3] += outcome.failed
        for kind, _ in outcome.surprises:
            row[4 + (*FIVE, OTHER).index(kind)] += 1
    return rows


def is_mutation(outcome):
    return outcome.scenario.startswith("without ")


def table(outcomes):
    """Lines, with a sum at the end."""
    rows = tally(outcome for outcome in outcomes if not is_mutation(outcome))
    width = max([len(name) for name in rows] + [len("scenario")])
    sums = [sum(column) for column in zip(*rows.values())] if rows else [0] * len(TITLES)
    return [f"{name:<{width}}  " + "  ".join(f"{value:>{max(5, len(title))}}" for value, title in zip(row, TITLES))
            for name, row in (("scenario", TITLES), *rows.items(), ("all", sums))]


def mutations(outcomes):
    """What noticed that a check was missing."""
    return [f"{outcome.scenario}: {outcome.noticed or 'NOTHING NOTICED; ' + '; '.join(outcome.notes)}"
            for outcome in outcomes if is_mutation(outcome)]


def surprises(outcomes):
    """Each with the word that replays it."""
    return [{"kind": kind, "what": text, "replay": f"{outcome.scenario}:{outcome.seed}"}
            for outcome in outcomes for kind, text in outcome.surprises]


def figures(outcomes, missing, **more):
    """The JSON: the five are the sums of the table."""
    found = surprises(outcomes)
    return {
        **{kind: sum(one["kind"] == kind for one in found) for kind in (*FIVE, OTHER)},
        "jobs": sum(outcome.jobs for outcome in outcomes if not is_mutation(outcome)),
        "mutation_jobs": sum(outcome.jobs for outcome in outcomes if is_mutation(outcome)),
        "topologies": sum(outcome.topologies for outcome in outcomes),
        "power_cuts": sum(outcome.power_cuts for outcome in outcomes),
        "mutations": sum(is_mutation(outcome) for outcome in outcomes),
        "unnoticed_mutations": [outcome.scenario.removeprefix("without ") for outcome in outcomes
                                if is_mutation(outcome) and outcome.noticed is None],
        "not_run": missing, "surprises": found,
        "scenarios": {name: dict(zip(TITLES, row)) for name, row in tally(outcomes).items()},
        **more,
    }
