"""How a tensor is walked: family of kernels, shape and tasks, by its size and layout alone."""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from equipoise.ops.normalize.words import APPLY, RUN, SUMS

# numbers that one task sums, enough to pay for its start and few enough to stay in cache
CHUNK = 65536
# numbers in a folded row, so that coefficients stay in the L1 cache; and where a sample is small,
# for which a long row's coefficients take longer than its numbers
WIDTH, NARROW = 1024, 64


class Plan(NamedTuple):
    """How a tensor of one shape and layout is walked."""

    family: str
    shape: tuple[int, ...]
    chunks: int
    groups: int
    statistics: int
    lines: int
    # a multiple of this many numbers lies between any two rows
    pitch: int

    def tasks(self, phase: int) -> int:
        """Count the tasks of a phase: a group with both phases, or a chunk of one with one."""
        return self.groups if phase == SUMS | APPLY else self.groups * self.chunks


def _rows_plan(n: int, channels: int, length: int, groups: int, centred: int) -> Plan:
    lines, runs, per = channels, n, 1
    if groups:
        lines, runs, per = n * channels, 1, channels // groups
    pieces = runs * -(-length // CHUNK)
    chunk = max(1, CHUNK // length)
    # a few statistics at a time, but enough groups for many threads
    few = max(1, min(WIDTH * 4 // (length * per), lines // per // 8))
    group = few * per
    shape = (
        lines, runs, length, length, lines * length, CHUNK, chunk, group, per, centred,
    )  # fmt: skip
    return Plan("rows", shape, -(-pieces // chunk), -(-lines // group), lines // per, lines, length)


def _columns_plan(n: int, channels: int, length: int, groups: int, centred: int) -> Plan:
    samples, m, per = (n, length, channels // groups) if groups else (1, n * length, 1)
    width = channels * max(1, min(WIDTH // channels, max(NARROW // channels, m // 8)))
    count = -(-m * channels // width)
    # some tasks for each of many threads, none without work enough
    chunk = max(64, -(-count // 8))
    if chunk > RUN:
        chunk = -(-count // (32 * RUN)) * RUN
    shape = (samples, m * channels, width, channels, width, chunk, per, centred)
    lines = samples * channels
    pitch = gcd(width, channels * length) if samples > 1 else width
    return Plan("columns", shape, -(-count // chunk), samples, lines // per, lines, pitch)


@lru_cache(maxsize=4096)
def plan(size: tuple[int, ...], contiguous: bool, groups: int = 0, centred: int = 1) -> Plan:
    """Choose family and shape for a tensor of this size; the result depends on nothing else.

    ``groups`` 0 shares statistics over the batch, else each sample's channels fall into groups.
    """
    n, channels = size[0], size[1]
    length = 1
    for extent in size[2:]:
        length *= extent
    if contiguous and length > 1:
        return _rows_plan(n, channels, length, groups, centred)
    return _columns_plan(n, channels, length, groups, centred)


def phases_of(p: Plan, n: int) -> tuple[int, ...]:
    """Both phases at once where groups keep n threads busy, else one after the other."""
    whole = p.family == "rows" or p.groups > 1 or p.chunks == 1
    if whole and (n == 1 or p.chunks == 1 or p.groups % n == 0 or p.groups >= 4 * n):
        return (SUMS | APPLY,)
    return (SUMS, APPLY)
