"""Say how an array lies in memory in the terms of the CPU kernel; nothing here reads a value."""

from functools import lru_cache
from math import ceil, gcd
from typing import NamedTuple

# values in a block: what a redo sweeps again, and the run after which sums are merged
BLOCK = 1 << 17
# a matrix row wider than this is cut into tiles, which memory gives more slowly than whole rows
MAX_LANES = 2048
# rows in a block of a long matrix, at least: each block ends with some work a column
BLOCK_ROWS = 1024
# lanes whose sums stay in registers: two of AVX-512 or four of AVX2 for each kind of sum
RUN = 16
# runs of up to this many values, if there are many, are one row of lanes each
SHORT = 1024
# partial results: at most this many groups of blocks, and this many columns over all of
# them, which keeps them and the sums of a few threads under a megabyte
GROUPS = 64
PARTS = 12 << 10
# tasks share out many short columns: this many tasks or so
TASKS = 512
# fewer values than this are not worth a kernel call of their own
CALL = 1 << 13


class Layout(NamedTuple):
    """How to reduce an array: kept axes in memory order, and a plan for each kernel call."""

    # kept shape in memory order, and the order that brings it back to the array's own
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    # leading kept axis that is looped over in Python: its size and its stride (1 and 0 without)
    outer: tuple[int, int]
    # n1, s1, columns, column stride, n2, tile width, lanes, runs or rows a block, blocks, groups,
    # columns a task
    plan: tuple[int, ...]


@lru_cache(maxsize=4096)
def layout(shape, strides, axes) -> Layout | None:
    """Give the layout, strides in elements, or None where no sweep in memory order exists."""
    dims = [(shape[i], strides[i], i in axes, i) for i in range(len(shape)) if shape[i] != 1]
    dims.sort(key=lambda dim: -abs(dim[1]))
    kept = [i for _, _, reduced, i in dims if not reduced]
    # axes of size 1 can stand anywhere: last
    kept += [i for i in range(len(shape)) if shape[i] == 1 and i not in axes]
    # a reduced axis is the same backwards, but the address of the first value is not
    if any(stride < 0 for _, stride, _, _ in dims):
        return None
    merged = _coalesce(dims)
    if merged and merged[-1][1] != 1:
        return None
    sizes = tuple(shape[i] for i in kept)
    order = tuple(sorted(range(len(kept)), key=kept.__getitem__))
    pattern = "".join("R" if reduced else "K" for _, _, reduced in merged)
    outer = (1, 0)
    if pattern == "KRK" and merged[1][0] * merged[2][0] >= CALL:
        outer, merged, pattern = merged[0][:2], merged[1:], "RK"
    if pattern not in _RUNS:
        return None
    return Layout(sizes, order, outer, _RUNS[pattern](*[dim[:2] for dim in merged]))


def _coalesce(dims):
    """Merge neighbouring axes, (size, stride, reduced), that are one axis in memory."""
    merged = []
    for size, stride, reduced, _ in dims:
        if merged and merged[-1][2] == reduced and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride, reduced)
        else:
            merged.append((size, stride, reduced))
    return merged


def _matrix(rows, columns) -> tuple[int, ...]:
    """Plan the reduction over the rows of a matrix."""
    (n, step), (p, _) = rows, columns
    width, copies = p, 1
    if p > MAX_LANES:
        # equal tiles, in whole vectors
        width = ceil(ceil(p / ceil(p / MAX_LANES)) / 16) * 16
    elif step == p and RUN // gcd(p, RUN) * p <= MAX_LANES:
        # as many rows as fill whole vectors
        copies = RUN // gcd(p, RUN)
    per_block = max(1, BLOCK // (width * copies)) * copies
    # short matrices still make blocks for several threads
    per_block = max(per_block, min(BLOCK_ROWS, n // 8) // copies * copies)
    blocks = -(-n // per_block)
    groups = max(1, min(blocks, GROUPS, PARTS // p))
    return (n, step, p, 1, 1, width, width * copies, per_block, blocks, groups, width)


def matrix(n: int, p: int) -> tuple[int, ...]:
    """Plan the reduction over the rows of a matrix (n, p) in C order."""
    return _matrix((n, p), (p, 1))


def _runs(outer, columns, inner) -> tuple[int, ...]:
    """Plan the reduction over runs: of ``inner`` values, ``outer`` of them for each column."""
    (n1, s1), (p, sk), (n2, _) = outer, columns, inner
    if n2 <= 16 or (n2 <= SHORT and n1 >= 8):
        lanes = n2
    else:
        lanes = RUN
    per_block = max(1, BLOCK // n2)
    blocks = -(-n1 // per_block)
    if n2 > BLOCK:
        per_block = -BLOCK
        blocks = n1 * -(-n2 // BLOCK)
    groups = max(1, min(blocks, GROUPS, PARTS // p))
    span = ceil(p * groups / TASKS)
    return (n1, s1, p, sk, n2, 1, lanes, per_block, blocks, groups, span)


_RUNS = {
    # no axis longer than 1 is reduced, or none is kept
    "": lambda: _matrix((1, 1), (1, 1)),
    "K": lambda columns: _matrix((1, columns[0]), columns),
    "R": lambda rows: _matrix(rows, (1, 1)),
    "RK": _matrix,
    "KR": lambda columns, inner: _runs((1, 0), columns, inner),
    "RKR": _runs,
}
