"""The row family where the weight changes along the row (LayerNorm, RMSNorm).

Rows lie one after the other, ``width`` numbers each; a *block* of them stays in cache from the
first sweep to the last.  A task is a chunk of rows, walked block by block; it sums the weights'
gradients over its rows in short runs of the compute type, the runs in float64, and chunks merge
in order.  The tuple ``shape`` says all that: (rows, width, block, chunk, centred); it depends on
the tensor's shape alone, so the bits are the same at any thread count.

Sweeps over memory: 1 read and 1 write forward (2 and 2 with a residual), 2 and 1 backward.
"""

import numpy as np
from numba import carray

from equipoise.ops.jit import inline, splice
from equipoise.ops.normalize.statistics import (
    affine_of_lines,
    copy_columns,
    digits_lost,
    gradient_of_rows,
    write_gradients,
    write_statistics,
)
from equipoise.ops.normalize.words import (
    BIAS,
    DX,
    FIRST_SWEEP,
    GATED,
    GRADIENT_SWEEP,
    ITEM,
    MOMENTS_SWEEP,
    OTHER,
    OUTPUT_SWEEP,
    REUSED,
    SHAPE,
    STATS,
    SUMS,
    SUMS_SWEEP,
    WEIGHT,
    G,
    X,
    Y,
)
from equipoise.ops.sweep.call import address, pointer_at, run
from equipoise.ops.sweep.loop import AFTER, ANSWER, PHASE, SCRATCH

# rows whose gradients are summed in the compute type before float64 takes over
RUN = 128
# how many numbers give the first shift
FIRST = 256


@splice
def _shape(i):
    return i[SHAPE], i[SHAPE + 1], i[SHAPE + 2], i[SHAPE + 3], i[SHAPE + 4]


@splice
def _extent(t, shape):
    """Give the first and the end row of chunk ``t``."""
    return t * shape[3], min(shape[0], (t + 1) * shape[3])


@inline
def _block_statistics(i, r0, n, shape, eps, ones, totals, coef, mine):
    """Write the statistics of rows r0 to r0 + n."""
    _, width, _, _, centred = shape
    byte = r0 * width * i[ITEM]
    x, other = i[X] + byte, i[OTHER] + byte
    for k in range(n):
        totals[0, 0, k] = 0.0
        totals[0, 1, k] = 0.0
    if centred:
        first = min(width, FIRST)
        run(i[FIRST_SWEEP], (n, first, width, x, other, address(totals, 0)), totals)
        for k in range(n):
            coef[0, k] = totals[0, 0, k] / first
            totals[0, 0, k] = 0.0
    else:
        for k in range(n):
            coef[0, k] = 0.0
    s, q = address(totals, 0), address(totals, totals.shape[2])
    streams = (x, other, i[GATED] + byte)
    run(i[MOMENTS_SWEEP], (n, width, width, *streams, address(coef, 0), s, q), (coef, totals))
    for k in range(n):
        mine[0, k] = coef[0, k]
        write_statistics(totals, k, 1, np.float64(width), eps, centred, mine)


@inline
def _forward_task(t, i, shape, eps, ones, zeros, stats):
    _, width, block, _, _ = shape
    start, end = _extent(t, shape)
    totals = np.empty((1, 2, block))
    mine = np.empty((4, block))
    coef = np.empty((3, block), ones.dtype)
    h, a, b = address(coef, 0), address(coef, block), address(coef, 2 * block)
    for r0 in range(start, end, block):
        n = min(block, end - r0)
        if i[PHASE] & SUMS:
            _block_statistics(i, r0, n, shape, eps, ones, totals, coef, mine)
            copy_columns(mine, 0, stats, r0, n)
        else:
            copy_columns(stats, r0, mine, 0, n)
        affine_of_lines(0, n, 1, mine, ones, zeros, coef)
        byte = r0 * width * i[ITEM]
        streams = (i[GATED] + byte, i[Y] + byte)
        run(i[OUTPUT_SWEEP], (n, width, width, *streams, h, a, b, i[WEIGHT], i[BIAS]), coef)


def elements_forward(t, integers, floats, computed):
    """Statistics and normalization (phase 3), or normalization alone (phase 2), of chunks of rows.

    Integers: see ``words``; GATED is the sum of x and OTHER, or x.  Floats: eps.  Answers
    whether digits were lost.
    """
    i, shape = integers, _shape(integers)
    stats = carray(pointer_at(floats, i[STATS]), (4, shape[0]))
    if t >= 0:
        ones = np.ones(1, carray(pointer_at(computed, i[WEIGHT]), (1,)).dtype)
        _forward_task(t, i, shape, floats[0], ones, np.zeros(1, ones.dtype), stats)
    elif t == AFTER and i[PHASE] & SUMS:
        i[ANSWER] = digits_lost(stats)


@inline
def _flush(own, t, partial):
    for j in range(2):
        for k in range(own.shape[1]):
            partial[t, j, k] += own[j, k]
            own[j, k] = 0


@inline
def _backward_task(t, i, shape, ones, zeros, stats, partial):
    _, width, block, _, centred = shape
    start, end = _extent(t, shape)
    totals = np.empty((2, block))
    mine = np.empty((4, block))
    coef = np.empty((6, block), ones.dtype)
    own = np.zeros((2, width), ones.dtype)
    for j in range(2):
        for k in range(width):
            partial[t, j, k] = 0.0
    s, q = address(totals, 0), address(totals, block)
    h, a, b = address(coef, 0), address(coef, block), address(coef, 2 * block)
    more = (address(coef, 3 * block), address(coef, 4 * block), address(coef, 5 * block))
    sums = (address(own, 0), address(own, width))
    since = 0
    for r0 in range(start, end, block):
        n = min(block, end - r0)
        copy_columns(stats, r0, mine, 0, n)
        affine_of_lines(0, n, 1, mine, ones, zeros, coef)
        for k in range(n):
            totals[0, k] = 0.0
            totals[1, k] = 0.0
        byte = r0 * width * i[ITEM]
        g, x = i[G] + byte, i[X] + byte
        weights = (i[WEIGHT], i[BIAS])
        gated = i[GATED] + byte
        run(i[SUMS_SWEEP], (n, width, width, g, x, gated, h, a, b, *weights, s, q), (coef, totals))
        gradient_of_rows(n, totals, mine, width, centred, coef)
        # what came out of the first sweep needs no activation's derivative any more
        streams = (gated if i[REUSED] else g, x, i[OTHER] + byte, i[DX] + byte)
        numbers = (h, a, b, *more, i[WEIGHT])
        run(i[GRADIENT_SWEEP], (n, width, width, *streams, *numbers, *sums), (coef, own))
        since += n
        if since >= RUN or r0 + block >= end:
            _flush(own, t, partial)
            since = 0


def elements_backward(t, integers, floats, computed):
    """Give the input's gradient, and the sums of g and g * xhat down the columns.

    Integers: see ``words``; OTHER is what reaches the input past the norm.  The scratch is
    partial (chunks, 2, width).
    """
    i, shape = integers, _shape(integers)
    chunks = (shape[0] + shape[3] - 1) // shape[3]
    stats = carray(pointer_at(floats, i[STATS]), (4, shape[0]))
    partial = carray(pointer_at(floats, i[SCRATCH]), (chunks, 2, shape[1]))
    if t >= 0:
        ones = np.ones(1, carray(pointer_at(computed, i[WEIGHT]), (1,)).dtype)
        _backward_task(t, i, shape, ones, np.zeros(1, ones.dtype), stats, partial)
    elif t == AFTER:
        write_gradients(i, partial, floats, computed)
