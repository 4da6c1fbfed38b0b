"""What a study shows, in plain words that claim no more than its numbers do.

A difference is stated only where two norms' ranges over at least three seeds do not touch.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

# norms that compute the same function: a difference between them would be a fault
CONTROLS = {frozenset(("batch", "torch_batch"))}
# "none" alone would read as "not one of them"
NAMES = {"none": "no normalization"}
# with fewer seeds two ranges lie apart by chance too often to mean anything
LEAST_SEEDS = 3


def sentences(
    summary: Sequence[dict],
    *,
    target: float,
    seeds: int,
    steps: int,
    lrs: Sequence[float],
    paired: bool,
    finished: int,
    planned: int,
) -> list[str]:
    """Tell how the norms compare with the first, each one's result, and what stays open."""
    rows = [row for row in summary if row["matrix"]]
    goal = f"{percent(target)} test accuracy"
    said = []
    if finished < planned:
        said.append(
            f"Partial: {finished} of {planned} trials finished before the study stopped; what "
            "follows knows only those, so the norms may not have met the same rates and seeds."
        )
    said += _compared(rows, goal, seeds)
    said += [_result(row, goal, steps) for row in rows]
    said += [_control(a, b, goal) for a, b in combinations(rows, 2) if _same(a, b)]
    said += [_largest(rows, target, lrs)] if rows else []
    said += [_time(rows)] if any(row["seconds_per_step"] for row in rows) else []
    said += _limits(seeds, paired)
    return [_capital(sentence) for sentence in said]


def percent(value: float) -> str:
    """Give an accuracy as people read it.

    >>> percent(0.95), percent(0.9978)
    ('95%', '99.8%')
    """
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def _capital(sentence: str) -> str:
    """Begin with a capital, unless a norm's own name comes first."""
    plain = sentence.startswith(tuple(NAMES.values()))
    return sentence[:1].upper() + sentence[1:] if plain else sentence


def _name(row: dict) -> str:
    name: str = row["norm"]
    return NAMES.get(name, name)


def span(values: dict, show: Callable[[float], str] = "{:g}".format) -> str:
    """Give the median, and in parentheses the range where there is one.

    >>> span({"median": 45.0, "low": 40.0, "high": 52.0})
    '45 (40–52)'
    """
    text = show(values["median"])
    low, high = show(values["low"]), show(values["high"])
    return text if low == high else f"{text} ({low}–{high})"


def order(a: dict | None, b: dict | None) -> int:
    """Give -1 where all of ``a`` lies below ``b``, 1 where above, 0 where the ranges touch."""
    if not a or not b:
        return 0
    return -1 if a["high"] < b["low"] else 1 if a["low"] > b["high"] else 0


def _compared(rows: Sequence[dict], goal: str, seeds: int) -> list[str]:
    """Compare each norm with the first: one sentence on steps, one on accuracy."""
    if len(rows) < 2:
        return []
    if seeds < LEAST_SEEDS:
        few = "One seed cannot" if seeds == 1 else f"{seeds} seeds cannot"
        return [f"{few} tell the norms apart: run at least {LEAST_SEEDS}."]
    steps = _grouped(rows, _by_steps, goal, "steps_to_target", "{:g}".format)
    return [steps, _grouped(rows, _by_accuracy, goal, "best_accuracy", percent)]


def _grouped(rows: Sequence[dict], judge: Callable, goal: str, key: str, show: Callable) -> str:
    """Name together the norms of which the same can be said, with the medians behind it."""
    base, *others = rows
    groups: dict[str, list[dict]] = {}
    for row in others:
        few = min(_sound(row), _sound(base)) < LEAST_SEEDS
        groups.setdefault(_FEW if few else judge(row, base), []).append(row)
    told = []
    for text, alike in groups.items():
        names = _listed([_name(row) for row in alike])
        medians = _medians([*alike, base], key, show) if "than" in text else ""
        told.append(f"{names} {text.format(goal=goal, base=_name(base))}{medians}")
    return "; ".join(told) + "."


def _medians(rows: Sequence[dict], key: str, show: Callable[[float], str]) -> str:
    *alike, base = [show(row[key]["median"]) for row in rows]
    return f" (median {_listed(alike)} against {base})"


_FEW = "had too few seeds that did not diverge to be compared with {base}"


def _sound(row: dict) -> int:
    """Count the seeds at the best rate that did not diverge."""
    cells = [cell for cell in row["matrix"] if cell["lr"] == row["best_lr"]]
    return sum(cell["of"] - cell["diverged"] for cell in cells)


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _reached(row: dict) -> bool:
    steps = row["steps_to_target"]
    return bool(steps) and steps["reached"] == steps["of"]


def _by_steps(row: dict, base: dict) -> str:
    match _reached(row), _reached(base):
        case True, True:
            return {
                -1: "needed fewer steps to {goal} than {base}",
                1: "needed more steps to {goal} than {base}",
                0: "did not clearly differ from {base} in the steps to {goal}",
            }[order(row["steps_to_target"], base["steps_to_target"])]
        case True, False:
            return "reached {goal} in every seed, {base} did not"
        case False, True:
            return "did not reach {goal} in every seed, {base} did"
    return "did not reach {goal} in every seed, nor did {base}"


def _by_accuracy(row: dict, base: dict) -> str:
    return {
        -1: "had a lower best accuracy than {base}",
        1: "had a higher best accuracy than {base}",
        0: "did not clearly differ from {base} in best accuracy",
    }[order(row["best_accuracy"], base["best_accuracy"])]


def _same(a: dict, b: dict) -> bool:
    return frozenset((a["norm"], b["norm"])) in CONTROLS


def _control(a: dict, b: dict, goal: str) -> str:
    names = f"{a['norm']} and {b['norm']} compute the same function"
    if min(_sound(a), _sound(b)) < LEAST_SEEDS:
        return f"{names}; too few seeds ran to check that here."
    steps = order(a["steps_to_target"], b["steps_to_target"]) if _reached(a) and _reached(b) else 0
    if steps or order(a["best_accuracy"], b["best_accuracy"]):
        return f"{names}, yet their ranges do not overlap here: chance, or a fault worth a look."
    return f"{names}, and did not clearly differ in steps to {goal} or in accuracy."


def _result(row: dict, goal: str, steps: int) -> str:
    """Tell what one norm reached at its best learning rate."""
    name, taken, best = _name(row), row["steps_to_target"], row["best_accuracy"]
    if taken:
        return (
            f"{name} at its best learning rate, {row['best_lr']:g}: {goal} after {span(taken)} "
            f"steps in {taken['reached']} of {taken['of']} seeds; best accuracy "
            f"{span(best, percent)}."
        )
    if best:
        return (
            f"{name} did not reach {goal} within {steps} steps at any learning rate tried; "
            f"its best accuracy was {span(best, percent)}, at {row['best_lr']:g}."
        )
    return f"{name} diverged at every learning rate tried."


def _largest(rows: Sequence[dict], target: float, lrs: Sequence[float]) -> str:
    def tell(row: dict) -> str:
        lr = row["largest_lr"]
        text = "no rate tried" if lr is None else f"{lr:g}"
        if lr == max(lrs):
            text += " (the largest tried)"
        return f"{_name(row)}, {text}{_by_seed(row['largest_lr_by_seed'])}"

    told = "; ".join(tell(row) for row in rows)
    return f"Largest learning rate at which every seed run reached {percent(target)}: {told}."


def _by_seed(rates: dict | None) -> str:
    """Tell the range of what each seed alone reached, where it is one."""
    if not rates:
        return ""
    low, high, reached, of = (rates[key] for key in ("low", "high", "reached", "of"))
    text = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    if reached < of:
        return f" ({text} in {reached} of {of} seeds)"
    return "" if low == high else f" ({text} over the seeds)"


def _time(rows: Sequence[dict]) -> str:
    told = ", ".join(
        f"{_name(row)} {span(row['seconds_per_step'], lambda s: f'{1000 * s:.1f}')} ms"
        for row in rows
        if row["seconds_per_step"]
    )
    return f"Time for one training step: {told}; other load on the machine moves these numbers."


def _limits(seeds: int, paired: bool) -> list[str]:
    said = []
    if seeds >= LEAST_SEEDS:
        # of the C(2n, n) orders of two samples of n, two separate them
        chance = comb(2 * seeds, seeds) // 2
        said.append(
            f"A difference is stated only where the ranges over {seeds} seeds, in parentheses, do "
            f"not overlap; two norms that do not differ would still look so in about 1 of {chance} "
            "comparisons."
        )
    if not paired:
        said.append(
            "The norms did not start from the same weights: make_model draws different random "
            "numbers with them."
        )
    said.append(
        "This is one network on one data set under plain SGD. Learning rates were chosen on the "
        "test split, so accuracies serve to compare. Input drift is recorded beside speed; whether "
        "one causes the other is not tested."
    )
    return said
