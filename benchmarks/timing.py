"""Time several calls fairly: interleaved in one process, in an order that turns every round."""

import gc
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How long to time: ``min_rounds`` and ``min_seconds`` for each, unless ``max_seconds`` are up.

    ``floor`` rounds are run all the same, and two if they take more than ``hard_seconds``.  Of a
    call that takes so long by itself the warm-up is the one sample; any other sample repeats its
    call until it lasts ``sample_seconds``.  Each sample comes after ``rest`` seconds in which the
    threads of the contender before, which some libraries let spin, fall asleep.
    """

    min_rounds: int = 15
    min_seconds: float = 0.3
    max_seconds: float = 1.5
    hard_seconds: float = 6.0
    floor: int = 7
    sample_seconds: float = 3e-4
    rest: float = 0.0


@dataclass
class Samples:
    """Seconds a call, one number per round, and the page faults of a call."""

    seconds: list[float]
    faults: list[float]
    spent: float = 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which ``share`` of the values lie, interpolated linearly.

    >>> percentile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def turn(names: Sequence[str], round_: int) -> list[str]:
    """Give the order of one round: rotated by one each round, and reversed in every second.

    Rotation alone would keep each contender behind the same other one, in the same cache state.
    """
    start = (round_ // 2) % len(names)
    order = [*names[start:], *names[:start]]
    return order[::-1] if round_ % 2 else order


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _sample(call, inner: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Give (seconds, page faults) a call, the mean of ``inner`` calls in a row."""
    faults = _faults()
    start = clock()
    for _ in range(inner):
        call()
    seconds = clock() - start
    return seconds / inner, (_faults() - faults) / inner


def _warm_up(call, plan: Plan, clock: Callable[[], float]) -> tuple[int, Samples]:
    """Count the calls that make a sample long enough for the clock, by a call that warms up."""
    samples = Samples([], [])
    seconds, faults = _sample(call, 1, clock)
    if seconds > plan.hard_seconds:
        _add(samples, 1, seconds, faults)
    return max(1, math.ceil(plan.sample_seconds / max(seconds, 1e-7))), samples


def interleave(
    calls: dict[str, Callable[[], object]],
    plan: Plan,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Samples]:
    """Time all ``calls`` in rounds until each has had enough.

    A call that has used up ``max_seconds`` drops out after its ``floor`` rounds, so that a slow
    peer does not hold up the rest.
    """
    warm = {name: _warm_up(call, plan, clock) for name, call in calls.items()}
    inner = {name: count for name, (count, _) in warm.items()}
    samples = {name: first for name, (_, first) in warm.items()}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        round_ = 0
        while any(_wants(s, plan) for s in samples.values()):
            for name in turn(list(calls), round_):
                if _may(samples[name], plan):
                    sleep(plan.rest)
                    _add(samples[name], inner[name], *_sample(calls[name], inner[name], clock))
            round_ += 1
    finally:
        if collecting:
            gc.enable()
    return samples


def _may(samples: Samples, plan: Plan) -> bool:
    rounds, spent = len(samples.seconds), samples.spent
    short = rounds < plan.floor and spent < plan.hard_seconds
    few = rounds < 2 and not (rounds and spent > plan.hard_seconds)
    return few or short or spent < plan.max_seconds


def _wants(samples: Samples, plan: Plan) -> bool:
    short = len(samples.seconds) < plan.min_rounds or samples.spent < plan.min_seconds
    return _may(samples, plan) and short


def _add(samples: Samples, inner: int, seconds: float, faults: float) -> None:
    samples.seconds.append(seconds)
    samples.faults.append(faults)
    samples.spent += seconds * inner


def copy_seconds_per_byte(repeats: int = 9, megabytes: int = 256) -> list[float]:
    """Time ``Tensor.copy_`` of a tensor beyond the caches; a copy moves its bytes twice."""
    import torch

    source = torch.ones(megabytes * 2**18)
    target = torch.zeros_like(source)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        target.copy_(source)
        times.append((time.perf_counter() - start) / (2 * source.nbytes))
    return times[1:]
