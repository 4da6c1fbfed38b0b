"""Turn results into ratios, geometric means, worst points and verdicts on the targets."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.model import Benchmark, Entry, Result

# a smaller tensor is bound by the calls, and its multiple of the limit means nothing
LIMITED = 2**20

Where = Callable[[dict[str, Any]], bool]


def ratio(result: Result, peer: str, field: str = "median") -> float:
    """Divide the peer's time by ours: above 1 we are faster; NaN where either is missing."""
    theirs = result.entries.get(peer)
    ours = result.entries.get(theirs.against) if theirs is not None else None
    if theirs is None or ours is None or theirs.failed or ours.failed:
        return float("nan")
    return getattr(theirs, field) / getattr(ours, field)


def over_limit(result: Result, name: str = "ours") -> float:
    """Divide our time by the limit: 1 is as fast as the memory allows."""
    entry = result.entries.get(name)
    return entry.median / result.limit if entry is not None else float("nan")


def geomean(values: Iterable[float]) -> float:
    """Give the geometric mean of the numbers that are not NaN; NaN of none.

    >>> geomean([1.0, 4.0, float("nan")])
    2.0
    """
    logs = [math.log(v) for v in values if not math.isnan(v)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else float("nan")


def worst(values: Iterable[tuple[float, str]], highest: bool = False) -> tuple[float, str]:
    """Give the lowest (or highest) number that is not NaN, with its label; (NaN, "") of none."""
    known = [v for v in values if not math.isnan(v[0])]
    pick = max if highest else min
    return pick(known, default=(float("nan"), ""))


def full(results: Sequence[Result]) -> list[Result]:
    """Keep the results at the highest thread count."""
    most = max((r.threads for r in results), default=1)
    return [r for r in results if r.threads == most]


def at_threads(results: Sequence[Result], n: int) -> dict[str, Result]:
    """Index the results at ``n`` threads by point."""
    return {r.point: r for r in results if r.threads == n}


def peers(results: Sequence[Result]) -> list[str]:
    """List the peers in order of appearance."""
    found = [n for r in results for n, e in r.entries.items() if e.role == "peer"]
    return list(dict.fromkeys(found))


def geomean_of(peer: str, where: Where) -> Callable[[list[Result]], tuple[float, str]]:
    """Build a target's value: the geometric mean of the ratio over some points."""

    def value(results):
        chosen = [ratio(r, peer) for r in results if where(r.tags)]
        return geomean(chosen), f"{sum(not math.isnan(c) for c in chosen)} points"

    return value


def worst_ratio(peer: str, where: Where) -> Callable[[list[Result]], tuple[float, str]]:
    """Build a target's value: the lowest ratio over some points where the peer is accurate."""

    def value(results):
        chosen = [r for r in results if where(r.tags) and peer in r.entries]
        fair = [r for r in chosen if r.entries[peer].accurate]
        low, point = worst((ratio(r, peer), r.point) for r in fair)
        excused = [ratio(r, peer) for r in chosen if not r.entries[peer].accurate]
        if excused:
            point += f" ({len(excused)} inaccurate points of the peer excused, lowest "
            point += f"{min(excused):.2f})"
        return low, point

    return value


def lowest_ratio(peer: str, where: Where) -> Callable[[list[Result]], tuple[float, str]]:
    """Build a target's value: the lowest ratio over some points, the inaccurate peer's too.

    For a bar well above 1, which inaccuracy does not make easier for the peer.
    """

    def value(results):
        return worst((ratio(r, peer), r.point) for r in results if where(r.tags))

    return value


def worst_limit(
    where: Where, smallest_bytes: int = 0
) -> Callable[[list[Result]], tuple[float, str]]:
    """Build a target's value: the highest multiple of the limit over the larger points."""

    def value(results):
        chosen = [r for r in results if where(r.tags) and r.bytes >= smallest_bytes]
        return worst(((over_limit(r), r.point) for r in chosen), highest=True)

    return value


def worst_extra(key: str) -> Callable[[list[Result]], tuple[float, str]]:
    """Build a target's value: the highest of an extra measurement."""

    def value(results):
        chosen = [(r.extras[key], r.point) for r in results if key in r.extras]
        return worst(chosen, highest=True)

    return value


def group_rows(benchmark: Benchmark, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Give, for each group and peer, geometric means over its points and the worst of them."""
    rows = []
    single = list(at_threads(results, 1).values())
    for peer in peers(results):
        for group in benchmark.groups:
            chosen = [r for r in full(results) if group.where(r.tags)]
            known = [r for r in chosen if not math.isnan(ratio(r, peer))]
            if known:
                alone = [ratio(r, peer) for r in single if group.where(r.tags)]
                rows.append(_group_row(group.label, peer, known, alone))
    return rows


def _group_row(label: str, peer: str, known: list[Result], alone: list[float]) -> dict[str, Any]:
    low, point = worst((ratio(r, peer), r.point) for r in known)
    return {
        "group": label,
        "peer": peer,
        "points": len(known),
        "median": geomean(ratio(r, peer) for r in known),
        "p10": geomean(ratio(r, peer, "p10") for r in known),
        "one thread": geomean(alone),
        "worst": low,
        "worst point": point,
    }


def target_rows(benchmark: Benchmark, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Give each target with its value, the point that decides it, and the verdict."""
    rows = []
    for target in benchmark.targets:
        value, point = target.value(full(results))
        verdict = "reached" if target.reached(value) else "not reached"
        rows.append(
            {
                "target": target.label,
                "bar": ("≥ " if target.at_least else "≤ ") + f"{target.bar:g}",
                "value": value,
                "point": point,
                "verdict": "no points" if math.isnan(value) else verdict,
            }
        )
    return rows


def point_rows(
    results: Sequence[Result], peer: str, other: Sequence[Result] = ()
) -> list[dict[str, Any]]:
    """Give one row per point: ours against ``peer``; ``other`` is the second malloc setting."""
    most = full(results)
    single = at_threads(results, 1) if most and most[0].threads > 1 else {}
    second = {r.point: r for r in full(other)}
    rows = []
    for result in most:
        entry = result.entries.get(peer)
        if entry is not None:
            rows.append(_point_row(result, peer, single, second))
    return rows


def _eager(result: Result, theirs: Entry) -> float:
    """Divide a compiled peer's time by ours uncompiled, which is reported apart."""
    apart = theirs.against != "ours" and "ours" in result.entries
    return theirs.median / result.entries["ours"].median if apart else float("nan")


def _point_row(result: Result, peer: str, single, second) -> dict[str, Any]:
    theirs = result.entries[peer]
    ours = result.entries.get(theirs.against, Entry("ours", "", failed="absent"))
    nan = float("nan")
    return {
        "point": result.point,
        "ours": ours.median,
        "peer": theirs.median,
        "median": ratio(result, peer),
        "p10": ratio(result, peer, "p10"),
        "one thread": ratio(single[result.point], peer) if result.point in single else nan,
        "default malloc": ratio(second[result.point], peer) if result.point in second else nan,
        "limit": over_limit(result, theirs.against) if result.bytes >= LIMITED else nan,
        "eager": _eager(result, theirs),
        "our error": ours.error,
        "peer error": theirs.error,
        "accurate": theirs.accurate,
        "failed": ours.failed or theirs.failed,
    }
