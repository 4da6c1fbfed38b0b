"""What the trials of a study come to, norm by norm: medians, and the range over the seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from equipoise.study.records import Trial, number


def spread(values: Iterable[float | None]) -> dict | None:
    """Give median, lowest and highest of what is known, None where nothing is.

    >>> spread([3, 1, None, 2])
    {'median': 2.0, 'low': 1.0, 'high': 3.0}
    """
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    return {"median": number(median(known)), "low": min(known), "high": max(known)}


def steps_to_target(trials: Sequence[Trial], target: float) -> dict | None:
    """Give the steps that the trials which met the target took, and how many of them did."""
    steps = [trial.steps_to(target) for trial in trials]
    found = spread(steps)
    reached = sum(step is not None for step in steps)
    return found and found | {"reached": reached, "of": len(trials)}


def largest_by_seed(trials: Sequence[Trial], target: float) -> dict | None:
    """Give the largest rate at which each seed met the target, and how many seeds ever did."""
    met: dict[int, float] = {}
    for trial in trials:
        if trial.steps_to(target) is not None:
            met[trial.seed] = max(trial.lr, met.get(trial.seed, 0.0))
    found = spread(met.values())
    return found and found | {"reached": len(met), "of": len({trial.seed for trial in trials})}


def trains(trials: Sequence[Trial], target: float) -> bool:
    """Tell whether every trial met the target, and there is one."""
    return bool(trials) and all(trial.steps_to(target) is not None for trial in trials)


def _rank(trials: Sequence[Trial], target: float) -> tuple[float, ...]:
    """Order rates: most seeds that met the target, then fewest steps, then accuracy."""
    steps = [trial.steps_to(target) for trial in trials]
    met = [step for step in steps if step is not None]
    accuracies = [a for trial in trials if (a := trial.best_accuracy()) is not None]
    return (
        -len(met) / len(steps),
        median(met) if met else math.inf,
        # a seed that diverged counts as no accuracy at all
        -sum(accuracies) / len(steps),
    )


def cell(lr: float, trials: Sequence[Trial], target: float) -> dict:
    """Give one cell of the learning-rate x norm matrix."""
    accuracy = spread(trial.best_accuracy() for trial in trials)
    steps = steps_to_target(trials, target)
    return {
        "lr": lr,
        "accuracy": accuracy and accuracy["median"],
        "diverged": sum(trial.status == "diverged" for trial in trials),
        "of": len(trials),
        "reached": steps["reached"] if steps else 0,
        "steps_to_target": steps and steps["median"],
    }


def summarize(trials: Sequence[Trial], norms: Sequence[str], target: float) -> list[dict]:
    """Give one row a norm, over the trials that ran to their end or diverged."""
    ended = [trial for trial in trials if trial.status != "interrupted"]
    return [row(norm, [t for t in ended if t.norm == norm], target) for norm in norms]


def row(norm: str, trials: Sequence[Trial], target: float) -> dict:
    """Summarize the trials of one norm."""
    by_rate = _by_rate(trials)
    # only a rate with a trial that did not diverge can be the best; ties go to the smaller one
    sound = [lr for lr, some in by_rate.items() if any(t.status == "done" for t in some)]
    best = min(sound, key=lambda lr: _rank(by_rate[lr], target), default=None)
    at_best = by_rate[best] if best is not None else []
    seconds = {trial.seed: trial.seconds_per_step for trial in trials}
    return {
        "norm": norm,
        "best_lr": best,
        "steps_to_target": steps_to_target(at_best, target),
        "best_accuracy": spread(trial.best_accuracy() for trial in at_best),
        "largest_lr": max((lr for lr, t in by_rate.items() if trains(t, target)), default=None),
        "largest_lr_by_seed": largest_by_seed(trials, target),
        "seconds_per_step": spread(seconds.values()),
        "matrix": [cell(lr, some, target) for lr, some in by_rate.items()],
    }


def _by_rate(trials: Sequence[Trial]) -> Mapping[float, list[Trial]]:
    rates = sorted({trial.lr for trial in trials})
    return {lr: [trial for trial in trials if trial.lr == lr] for lr in rates}
