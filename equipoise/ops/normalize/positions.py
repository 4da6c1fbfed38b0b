"""Rows that lie across memory: the channels at each position of a contiguous image (LayerNorm2d).

A sample is a matrix of ``width`` channels x ``places`` positions; what ``elements`` does along
rows is done down its columns.  A *tile* is a block of positions with all their channels, and
stays in cache from the first sweep to the last; a task is a chunk of tiles.  Sums down the
columns are taken in short runs of the compute type, the runs in float64; the weights' gradients,
sums along the rows, in float64, and chunks merge in order.  The tuple ``shape`` says all that:
(samples, width, places, block, chunk, centred); it depends on the tensor's shape alone, so the
bits are the same at any thread count.

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

# channels that are summed in the compute type before float64 takes over
RUN = 32
# how many channels give the first shift
FIRST = 8


@splice
def _shape(i):
    k = SHAPE
    return i[k], i[k + 1], i[k + 2], i[k + 3], i[k + 4], i[k + 5]


@splice
def _tiles(shape):
    return (shape[2] + shape[3] - 1) // shape[3]


@splice
def _chunks(shape):
    return (shape[0] * _tiles(shape) + shape[4] - 1) // shape[4]


@splice
def _extent(t, shape):
    """Give the first and the end tile of chunk ``t``."""
    return t * shape[4], min(shape[0] * _tiles(shape), (t + 1) * shape[4])


@splice
def _tile(k, shape):
    """Give a tile's positions, its first number, and its first statistic."""
    places, block = shape[2], shape[3]
    sample, p0 = k // _tiles(shape), k % _tiles(shape) * block
    return min(block, places - p0), sample * shape[1] * places + p0, sample * places + p0


@inline
def _flush(own, n, totals):
    for j in range(2):
        for k in range(n):
            totals[0, j, k] += own[j, k]
            own[j, k] = 0


@inline
def _clear(totals):
    for j in range(2):
        for k in range(totals.shape[2]):
            totals[0, j, k] = 0.0


@inline
def _tile_statistics(i, n, byte, shape, eps, own, totals, coef, mine):
    """Write the statistics of n positions."""
    _, width, places, block, _, centred = shape
    s, q = address(own, 0), address(own, block)
    for k in range(n):
        coef[0, k] = 0
    if centred:
        first = min(width, FIRST)
        words = (first, n, places, i[X] + byte, i[OTHER] + byte)
        run(i[FIRST_SWEEP], (*words, s), own)
        for k in range(n):
            coef[0, k] = own[0, k] / first
            own[0, k] = 0
    _clear(totals)
    for c in range(0, width, RUN):
        at = byte + c * places * i[ITEM]
        words = (min(RUN, width - c), n, places, i[X] + at, i[OTHER] + at, i[GATED] + at)
        run(i[MOMENTS_SWEEP], (*words, address(coef, 0), s, q), (coef, own))
        _flush(own, n, totals)
    for k in range(n):
        mine[0, k] = coef[0, k]
        write_statistics(totals, k, 1, np.float64(width), eps, centred, mine)


@inline
def _forward_task(t, i, shape, eps, ones, zeros, stats):
    _, width, places, block, _, _ = shape
    start, end = _extent(t, shape)
    totals = np.empty((1, 2, block))
    own = np.zeros((2, block), ones.dtype)
    mine = np.empty((4, block))
    coef = np.empty((3, block), ones.dtype)
    numbers = (address(coef, 0), address(coef, block), address(coef, 2 * block))
    for tile in range(start, end):
        n, first, line = _tile(tile, shape)
        byte = first * i[ITEM]
        if i[PHASE] & SUMS:
            _tile_statistics(i, n, byte, shape, eps, own, totals, coef, mine)
            copy_columns(mine, 0, stats, line, n)
        else:
            copy_columns(stats, line, mine, 0, n)
        affine_of_lines(0, n, 1, mine, ones, zeros, coef)
        streams = (i[GATED] + byte, i[Y] + byte)
        words = (width, n, places, *streams, i[WEIGHT], i[BIAS])
        run(i[OUTPUT_SWEEP], (*words, *numbers), coef)


def positions_forward(t, integers, floats, computed):
    """Statistics and normalization (phase 3), or normalization alone (phase 2), of chunks.

    Integers, floats and answer as for ``elements_forward``.
    """
    i, shape = integers, _shape(integers)
    stats = carray(pointer_at(floats, i[STATS]), (4, shape[0] * shape[2]))
    if t >= 0:
        ones = np.ones(1, carray(pointer_at(computed, i[WEIGHT]), (1,)).dtype)
        _forward_task(t, i, shape, floats[0], ones, np.zeros(1, ones.dtype), stats)
    elif t == AFTER and i[PHASE] & SUMS:
        i[ANSWER] = digits_lost(stats)


@inline
def _backward_task(t, i, shape, ones, zeros, stats, partial):
    _, width, places, block, _, centred = shape
    start, end = _extent(t, shape)
    totals = np.empty((1, 2, block))
    own = np.zeros((2, block), ones.dtype)
    mine = np.empty((4, block))
    coef = np.empty((6, block), ones.dtype)
    for j in range(2):
        for k in range(width):
            partial[t, j, k] = 0.0
    s, q = address(own, 0), address(own, block)
    affine = (address(coef, 0), address(coef, block), address(coef, 2 * block))
    more = (address(coef, 3 * block), address(coef, 4 * block), address(coef, 5 * block))
    sums = (address(partial, 2 * t * width), address(partial, (2 * t + 1) * width))
    for tile in range(start, end):
        n, first, line = _tile(tile, shape)
        byte = first * i[ITEM]
        copy_columns(stats, line, mine, 0, n)
        affine_of_lines(0, n, 1, mine, ones, zeros, coef)
        _clear(totals)
        for c in range(0, width, RUN):
            at, past = byte + c * places * i[ITEM], c * ones.itemsize
            words = (min(RUN, width - c), n, places, i[G] + at, i[X] + at, i[GATED] + at)
            weights = (i[WEIGHT] + past, i[BIAS] + past)
            run(i[SUMS_SWEEP], (*words, *weights, *affine, s, q), (coef, own))
            _flush(own, n, totals)
        gradient_of_rows(n, totals[0], mine, width, centred, coef)
        # what came out of the first sweep needs no activation's derivative any more
        g = i[GATED] if i[REUSED] else i[G]
        words = (width, n, places, g + byte, i[X] + byte, i[OTHER] + byte, i[DX] + byte)
        run(i[GRADIENT_SWEEP], (*words, i[WEIGHT], *affine, *more, *sums), (coef, partial))


def positions_backward(t, integers, floats, computed):
    """Give the input's gradient, and the sums of g and g * xhat along the rows.

    Integers as for ``elements_backward``.  The scratch is partial (chunks, 2, width).
    """
    i, shape = integers, _shape(integers)
    width = shape[1]
    stats = carray(pointer_at(floats, i[STATS]), (4, shape[0] * shape[2]))
    partial = carray(pointer_at(floats, i[SCRATCH]), (_chunks(shape), 2, width))
    if t >= 0:
        ones = np.ones(1, carray(pointer_at(computed, i[WEIGHT]), (1,)).dtype)
        _backward_task(t, i, shape, ones, np.zeros(1, ones.dtype), stats, partial)
    elif t == AFTER:
        write_gradients(i, partial, floats, computed)
