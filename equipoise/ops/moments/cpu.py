"""Moments on the CPU: one sweep, fixed blocks, merged in a fixed order.

A block is walked as long rows of ``lanes``: ``copies`` matrix rows laid end to end, so that whole
vectors make a row whatever the number of columns.  Each lane has its own sums (float64), which
``strips`` adds to a group of rows at a time; a block ends by adding up the lanes of each column.
"""

import numpy as np
from numba import carray

from equipoise.ops.jit import inline
from equipoise.ops.moments.formula import from_shifted, is_far, merge_split, split
from equipoise.ops.moments.strips import (
    EXTREMES,
    EXTREMES_OMIT,
    HIGH,
    LOW,
    MISSING,
    OMIT,
    PITCH,
    PLAIN,
    SQUARES,
    TOTAL,
    add_extremes,
    add_extremes_omit,
    add_omit,
    add_plain,
)
from equipoise.ops.moments.words import (
    COLUMNS,
    COUNT,
    EXTREMES_ONLY,
    FIELDS,
    M2,
    MAX,
    MEAN,
    MERGED,
    MIN,
    NANS,
    OUT,
    PLAN,
    REST,
    STATE_A,
    STATE_B,
    X,
)
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import AFTER, BEFORE, SCRATCH

# values in a group of rows, three of which share the second-level cache; and the rows of a group:
# enough to hide the reading and writing of sums, and no long runs of roundings.  The same for
# any dtype: what is equal in float32 and float64 has the same sums
GROUP = 1 << 12
MIN_ROWS, MAX_ROWS = 8, 64
# rows that the first shift is the mean of
SAMPLES = 32
# a shift of few digits leaves squares of few digits, whose sums are rounded by ties: always down,
# 16 ulp in a float32 column.  A factor of many digits, near 1, makes roundings fall either way.
UNEVEN = 0.9999987065432109
# sweeps after which a shift is as close to the mean as float64 can tell
PASSES = 4


@inline
def _add(x, start, rows, step, lanes, sums, ends, form):
    if form == PLAIN:
        add_plain(x, start, rows, step, lanes, sums, ends)
    elif form == OMIT:
        add_omit(x, start, rows, step, lanes, sums, ends)
    elif form == EXTREMES:
        add_extremes(x, start, rows, step, lanes, sums, ends)
    else:
        add_extremes_omit(x, start, rows, step, lanes, sums, ends)


@inline
def _add_block(x, start, runs, run_step, rows, step, lanes, tail, sums, ends, form):
    """Sum a block anew: ``runs`` runs, each of ``rows`` full rows and a last one of ``tail``."""
    for j in range(lanes):
        sums[j + TOTAL] = 0.0
        sums[j + SQUARES] = 0.0
        ends[j + LOW] = np.inf
        ends[j + HIGH] = -np.inf
        ends[j + MISSING] = 0.0
    group = max(GROUP // lanes, MIN_ROWS)
    # extremes are never rounded
    if form == PLAIN or form == OMIT:
        group = min(group, MAX_ROWS)
    for run in range(runs):
        o = start + run * run_step
        for i in range(0, rows, group):
            _add(x, o + i * step, min(group, rows - i), step, lanes, sums, ends, form)
        _add(x, o + rows * step, 1, 0, tail, sums, ends, form)


@inline
def _guess_shift(x, start, samples, step, width, sums, ends):
    """Set each column's shift to the mean of its first samples: with an infinity, to the first.

    The first counts as 0 where it is not finite.
    """
    for c in range(width):
        first = np.float64(x[start + c])
        sums[c] = first if abs(first) < np.inf else 0.0
        sums[c + TOTAL] = 0.0
        ends[c + MISSING] = 0.0
    # in groups, as the sums that follow: rows ahead are fetched meanwhile
    for i in range(0, samples, MIN_ROWS):
        _add(x, start + i * step, min(MIN_ROWS, samples - i), step, width, sums, ends, OMIT)
    for c in range(width):
        count = max(samples - ends[c + MISSING], 1.0)
        shift = sums[c] + sums[c + TOTAL] / count * UNEVEN
        sums[c] = shift if abs(shift) < np.inf else sums[c]


@inline
def _copy_shift(width, lanes, sums):
    for j in range(width, lanes):
        sums[j] = sums[j - width]


@inline
def _fold_lanes(width, lanes, sums, ends):
    """Add the lanes of each column up into its first, by halves; tell if all totals are finite."""
    while lanes > width:
        keep = (lanes // width + 1) // 2 * width
        for j in range(lanes - keep):
            o = keep + j
            sums[j + TOTAL] += sums[o + TOTAL]
            sums[j + SQUARES] += sums[o + SQUARES]
            ends[j + LOW] = min(ends[j + LOW], ends[o + LOW])
            ends[j + HIGH] = max(ends[j + HIGH], ends[o + HIGH])
            ends[j + MISSING] += ends[o + MISSING]
        lanes = keep
    zero = 0.0
    for c in range(width):
        zero += sums[c + TOTAL] * 0.0
    return zero == 0.0


@inline
def _move_shift(width, size, sums, ends):
    """Move the shifts that lie far from their mean; tell whether any moved."""
    moved = False
    for c in range(width):
        count, total = size - ends[c + MISSING], sums[c + TOTAL]
        if count > 0.0 and is_far(count, total, sums[c + SQUARES]):
            mean = sums[c] + total / count
            if abs(mean) < np.inf and mean != sums[c]:
                sums[c] = mean
                moved = True
    return moved


@inline
def _absorb(width, size, sums, ends, state, first, extremes):
    """Merge the block's columns into ``state[:, first : first + width]``."""
    for c in range(width):
        k = first + c
        state[MIN, k] = min(state[MIN, k], ends[c + LOW])
        state[MAX, k] = max(state[MAX, k], ends[c + HIGH])
        state[NANS, k] += ends[c + MISSING]
        if extremes:
            state[COUNT, k] += size - ends[c + MISSING]
    if extremes:
        return
    for c in range(width):
        k = first + c
        count = size - ends[c + MISSING]
        _, m2 = from_shifted(count, sums[c], sums[c + TOTAL], sums[c + SQUARES])
        mean, rest = split(sums[c], sums[c + TOTAL] / max(count, 1.0))
        state[COUNT, k], state[MEAN, k], state[REST, k], state[M2, k] = merge_split(
            state[COUNT, k], state[MEAN, k], state[REST, k], state[M2, k], count, mean, rest, m2
        )


@inline
def clear(state):
    """Make ``state`` that of no sample at all: count 0, mean NaN, m2 0, min inf, max -inf."""
    state[:] = 0.0
    state[MEAN] = np.nan
    state[MIN] = np.inf
    state[MAX] = -np.inf


@inline
def _geometry(plan, block, column):
    """Say where a block of a column tile lies: see ``_add_block``; and the samples for its shift.

    ``plan`` comes from ``layout.plan``.
    """
    (n1, s1, _, sk, n2, width, lanes, per_block, _, _, _) = plan
    if n2 == 1:
        # a matrix: `lanes / width` rows of it make one long row
        copies = lanes // width
        n = min(per_block, n1 - block * per_block)
        start = block * per_block * s1 + column
        step = s1 * copies
        return (start, 1, 0, n // copies, step, n % copies * width, n, min(n, SAMPLES), s1)
    if per_block > 0 and lanes == n2:
        # short runs: each is one row
        n = min(per_block, n1 - block * per_block)
        start = block * per_block * s1 + column * sk
        return (start, 1, 0, n, s1, 0, n * n2, min(n, SAMPLES), s1)
    if per_block > 0:
        runs = min(per_block, n1 - block * per_block)
        start = block * per_block * s1 + column * sk
        return (start, runs, s1, n2 // lanes, lanes, n2 % lanes, runs * n2, min(n2, SAMPLES), 1)
    # one run is several blocks of -per_block values
    parts = (n2 - 1) // -per_block + 1
    part = block % parts
    n = min(-per_block, n2 + part * per_block)
    start = block // parts * s1 + column * sk - part * per_block
    return (start, 1, 0, n // lanes, lanes, n % lanes, n, min(n, SAMPLES), 1)


@inline
def _blocks(x, plan, first, last, column, sums, ends, extremes, state):
    """Summarise the blocks ``first`` to ``last`` of one column tile into ``state``."""
    width = min(plan[5], plan[2] - column)
    # only the last of several tiles is narrower, and tiles hold one row a lane
    lanes = plan[6] if width == plan[5] else width
    # without and with a look at NaNs
    plain, omit = (EXTREMES, EXTREMES_OMIT) if extremes else (PLAIN, OMIT)
    form = plain
    for block in range(first, last):
        start, runs, run_step, rows, step, tail, n, samples, sample_step = _geometry(
            plan, block, column
        )
        size = np.float64(n)
        if not extremes:
            _guess_shift(x, start, samples, sample_step, width, sums, ends)
        for left in range(PASSES - 1, -1, -1):
            _copy_shift(width, lanes, sums)
            _add_block(x, start, runs, run_step, rows, step, lanes, tail, sums, ends, form)
            if not _fold_lanes(width, lanes, sums, ends) and form == plain:
                form = omit
            elif left == 0 or extremes or not _move_shift(width, size, sums, ends):
                break
        _absorb(width, size, sums, ends, state, column, extremes)
        # a block with NaNs is likely followed by another; the bits are the same either way
        if form == omit:
            form = plain
            for c in range(width):
                form = omit if ends[c + MISSING] > 0.0 else form


@inline
def _summarize(x, plan, task, extremes, parts):
    """Fill a tile of columns of one group's state, parts (groups, 7, columns)."""
    columns, width, blocks, groups, span = plan[2], plan[5], plan[8], plan[9], plan[10]
    tiles = (columns - 1) // span + 1
    # as they lie in memory: a long run is several groups, else a group is many columns
    if plan[0] == 1:
        group, tile = task % groups, task // groups
    else:
        group, tile = task // tiles, task % tiles
    sums, ends = np.empty(3 * PITCH), np.empty(6 * PITCH, x.dtype)
    first, last = group * blocks // groups, (group + 1) * blocks // groups
    clear(parts[group, :, tile * span : (tile + 1) * span])
    for column in range(tile * span, min((tile + 1) * span, columns), width):
        _blocks(x, plan, first, last, column, sums, ends, extremes, parts[group])


@inline
def _gather(parts, extremes, out):
    """Merge the groups' states."""
    clear(out)
    for group in range(parts.shape[0]):
        _merge_states(out, parts[group], out, extremes)


@inline
def _merge_states(a, b, out, extremes):
    for k in range(out.shape[1]):
        # written so that a NaN on either side stays
        low, high = b[MIN, k], b[MAX, k]
        out[MIN, k] = a[MIN, k] if a[MIN, k] < low or a[MIN, k] != a[MIN, k] else low
        out[MAX, k] = a[MAX, k] if a[MAX, k] > high or a[MAX, k] != a[MAX, k] else high
        out[NANS, k] = a[NANS, k] + b[NANS, k]
        if extremes:
            out[COUNT, k] = a[COUNT, k] + b[COUNT, k]
    if extremes:
        return
    for k in range(out.shape[1]):
        out[COUNT, k], out[MEAN, k], out[REST, k], out[M2, k] = merge_split(
            a[COUNT, k], a[MEAN, k], a[REST, k], a[M2, k],
            b[COUNT, k], b[MEAN, k], b[REST, k], b[M2, k],
        )  # fmt: skip


def summarize(task, integers, floats, computed):
    """Fill a state (7, columns) with that of the numbers that a plan names.

    Where extremes are enough only they and counts are filled in: half the arithmetic.
    """
    i = integers
    n1, s1, columns, sk, n2, width = (
        i[PLAN], i[PLAN + 1], i[PLAN + 2], i[PLAN + 3], i[PLAN + 4], i[PLAN + 5]
    )  # fmt: skip
    lanes, per_block, blocks, groups, span = (
        i[PLAN + 6], i[PLAN + 7], i[PLAN + 8], i[PLAN + 9], i[PLAN + 10]
    )  # fmt: skip
    plan = (n1, s1, columns, sk, n2, width, lanes, per_block, blocks, groups, span)
    extremes = i[EXTREMES_ONLY] != 0
    parts = carray(pointer_at(floats, i[SCRATCH]), (groups, FIELDS, columns))
    if task == AFTER:
        _gather(parts, extremes, carray(pointer_at(floats, i[OUT]), (FIELDS, columns)))
    elif task != BEFORE:
        x = carray(pointer_at(computed, i[X]), (1,))
        _summarize(x, plan, task, extremes, parts)


def merge(task, integers, floats, computed):
    """Merge two states (7, columns) into a third."""
    i = integers
    if task == AFTER:
        shape = (FIELDS, i[COLUMNS])
        _merge_states(
            carray(pointer_at(floats, i[STATE_A]), shape),
            carray(pointer_at(floats, i[STATE_B]), shape),
            carray(pointer_at(floats, i[MERGED]), shape),
            False,
        )
