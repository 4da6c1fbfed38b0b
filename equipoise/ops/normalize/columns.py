"""The column family on the CPU: what is kept lies innermost (BatchNorm on channels_last images).

The tensor is a matrix of ``rows`` x ``width`` whose column j belongs to channel
``j // inner % channels``; narrow tensors are folded so that a row holds each channel several
times and vectors stay long whatever the number of channels.  The last row may be shorter.  The
tuple ``shape`` says all that: (numbers, width, channels, inner, tile, chunk); it depends on the
tensor's shape alone, so the bits are the same at any thread count.

A task is a tile of columns with both phases where a tile stays in cache, or a chunk of a tile's
rows and one phase.  Rows are walked upwards, as they lie: the prefetchers lose descending rows.
Sweeps over memory: 2 reads and 1 write forward, 4 reads and 1 write backward; in cached tiles
1 and 1, 2 and 1.
"""

import numpy as np
from numba import carray

from equipoise.ops.jit import apart, inline, splice, window
from equipoise.ops.normalize.activations import NONE, RELU, activate
from equipoise.ops.normalize.blocks import add, store
from equipoise.ops.normalize.statistics import (
    APPLY,
    SUMS,
    affine_of_rows,
    gradient_of_rows,
    write_statistics,
)
from equipoise.ops.numbers import narrow, widen
from equipoise.ops.tasks import AFTER, ALL, BEFORE, TaskKernel, float64_at, stored

# rows that are summed in the compute type before float64 takes over
RUN = 128
# rows whose mean is the first shift
FIRST = 8


@splice
def _pitch(shape):
    # apart by an odd number of cache lines: rows a page apart would share one set of the cache
    return shape[1] + 16


@splice
def _rows(shape):
    return (shape[0] + shape[1] - 1) // shape[1]


@splice
def _extent(t, shape, phase):
    """Give first column, columns, first row, end row and chunk of task ``t``."""
    _, width, _, _, tile, chunk = shape
    rows = _rows(shape)
    if phase == SUMS | APPLY:
        return t * tile, min(tile, width - t * tile), 0, rows, 0
    tiles = (width + tile - 1) // tile
    k, c = t // tiles, t % tiles
    return c * tile, min(tile, width - c * tile), k * chunk, min(rows, (k + 1) * chunk), k


@splice
def _shape(integers, k):
    i = integers
    return i[k], i[k + 1], i[k + 2], i[k + 3], i[k + 4], i[k + 5]


@splice
def _chunks(shape):
    return (_rows(shape) + shape[5] - 1) // shape[5]


@splice
def _channels(c0, columns, shape):
    """Give the range of channels that the columns belong to."""
    first = c0 // shape[3]
    return first % shape[2], min(first % shape[2] + (columns + shape[3] - 1) // shape[3], shape[2])


@splice
def _width(i, c0, columns, shape):
    """Count the columns of the tile that row ``i`` has."""
    return max(0, min(columns, shape[0] - i * shape[1] - c0))


@inline
def _spread(values, shape, out):
    """Repeat the channels' ``values`` over the columns ``out``."""
    apart()
    inner = shape[3]
    for at in range(0, out.size, values.size * inner):
        if inner == 1:
            part = window(out, at, values.size)
            for r in range(part.size):
                part[r] = values[r]
        else:
            for r in range(values.size):
                part = window(out, at + r * inner, inner)
                for j in range(part.size):
                    part[j] = values[r]


@inline
def _fold(s, shape, out):
    """Add the columns' sums ``s`` to the channels' ``out`` in float64."""
    apart()
    inner = shape[3]
    for at in range(0, s.size, out.size * inner):
        if inner == 1:
            part = window(s, at, out.size)
            for r in range(part.size):
                out[r] += part[r]
        else:
            for r in range(out.size):
                part = window(s, at + r * inner, inner)
                total = 0.0
                for j in range(part.size):
                    total += part[j]
                out[r] += total


@inline
def _plain_sums(x, s):
    for j in range(x.size):
        s[j] += widen(x[j])


@splice
def _first_shift(x, c0, columns, shape, weight, stats):
    """Take the mean of the first rows as each channel's shift, rounded to the compute type."""
    s = np.zeros(columns)
    r0, r1 = _channels(c0, columns, shape)
    rows = max(1, min(FIRST, shape[0] // shape[1]))
    # a lone short row still holds every channel whole: narrow tensors fold in whole channels
    n = min(columns, _width(0, c0, columns, shape))
    for i in range(rows):
        _plain_sums(window(x, i * shape[1] + c0, n), s)
    means = window(stats, r0, r1 - r0)
    for r in range(means.size):
        means[r] = 0.0
    _fold(s, shape, means)
    count = np.float64(rows * n // (r1 - r0))
    for r in range(means.size):
        means[r] = weight.dtype.type(means[r] / count)


@inline
def _add_row(x, h, s, q):
    for j in range(x.size):
        d = widen(x[j]) - h[j]
        s[j] += d
        q[j] += d * d


@inline
def _sum_rows(x, i0, i1, c0, columns, shape, h, s, q):
    # one row after the other, as they lie: several at a time would be as many streams of memory
    apart()
    for i in range(i0, i1):
        n = _width(i, c0, columns, shape)
        _add_row(window(x, i * shape[1] + c0, n), h, s, q)


@splice
def _flush(s, q, c0, shape, k, partial):
    """Move a run's sums over to the channels' in float64."""
    r0, r1 = _channels(c0, s.size, shape)
    at = k * 2 * shape[2] + r0
    _fold(s, shape, window(partial, at, r1 - r0))
    _fold(q, shape, window(partial, at + shape[2], r1 - r0))
    for j in range(s.size):
        s[j] = 0
        q[j] = 0


@splice
def _statistics_of(c0, columns, shape, eps, partial, stats):
    r0, r1 = _channels(c0, columns, shape)
    for r in range(r0, r1):
        write_statistics(partial, r, np.float64(shape[0] // shape[2]), eps, stats)


@splice
def _clear(c0, columns, k, shape, partial):
    r0, r1 = _channels(c0, columns, shape)
    for r in range(r0, r1):
        partial[k, 0, r] = 0.0
        partial[k, 1, r] = 0.0


@splice
def _spread_shift(c0, columns, shape, stats, wide):
    r0, r1 = _channels(c0, columns, shape)
    _spread(window(stats, r0, r1 - r0), shape, window(wide, c0, columns))


@inline
def _spread_affine(c0, columns, shape, stats, weight, bias, wide):
    apart()
    r0, r1 = _channels(c0, columns, shape)
    coef = affine_of_rows(r0, r1, stats, weight, bias)
    for k in range(3):
        _spread(coef[k], shape, window(wide, k * _pitch(shape) + c0, columns))


@splice
def _spread_gradient(c0, columns, shape, stats, weight, sums, training, wide):
    r0, r1 = _channels(c0, columns, shape)
    count = np.float64(shape[0] // shape[2])
    coef = gradient_of_rows(r0, r1, stats, weight, sums, count, training)
    for k in (1, 2):
        _spread(coef[k], shape, window(wide, (k + 2) * _pitch(shape) + c0, columns))


@splice
def _sum_task(x, c0, columns, i0, i1, k, shape, wide, partial):
    h = window(wide, c0, columns)
    s, q = np.zeros(columns, wide.dtype), np.zeros(columns, wide.dtype)
    _clear(c0, columns, k, shape, partial)
    for i in range(i0, i1, RUN):
        _sum_rows(x, i, min(i + RUN, i1), c0, columns, shape, h, s, q)
        _flush(s, q, c0, shape, k, partial)


@inline
def _affine(x, y, h, a, b):
    for j in range(x.size):
        y[j] = narrow(y, (widen(x[j]) - h[j]) * a[j] + b[j])


@inline
def _affine_relu(x, y, h, a, b):
    zero = h.dtype.type(0)
    for j in range(x.size):
        v = (widen(x[j]) - h[j]) * a[j] + b[j]
        y[j] = narrow(y, zero if v < zero else v)


@inline
def _affine_rows(x, y, i0, i1, c0, columns, shape, h, a, b, act):
    apart()
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        if act == NONE:
            _affine(window(x, at, n), window(y, at, n), h, a, b)
        else:
            _affine_relu(window(x, at, n), window(y, at, n), h, a, b)


@inline
def _apply_rows(x, other, y, i0, i1, c0, columns, shape, h, a, b, act, slope):
    apart()
    if other.size == 0 and act <= RELU:
        _affine_rows(x, y, i0, i1, c0, columns, shape, h, a, b, act)
        return
    z = np.empty(columns, h.dtype)
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        row = window(z, 0, n)
        _affine(window(x, at, n), row, h, a, b)
        if other.size:
            add(row, window(other, at, n))
        activate(row, act, slope)
        store(row, window(y, at, n))


@inline
def _forward_task(
    t, x, other, y, shape, phase, eps, weight, bias, act, slope, stats, partial, wide
):  # fmt: skip
    c0, columns, i0, i1, k = _extent(t, shape, phase)
    fused = phase == SUMS | APPLY
    if phase & SUMS:
        if fused:
            _first_shift(x, c0, columns, shape, weight, stats)
            _spread_shift(c0, columns, shape, stats, wide)
        _sum_task(x, c0, columns, i0, i1, k, shape, wide, partial)
        if fused:
            _statistics_of(c0, columns, shape, eps, partial, stats)
            _spread_affine(c0, columns, shape, stats, weight, bias, wide)
    if phase & APPLY:
        h, p = window(wide, c0, columns), _pitch(shape)
        a, b = window(wide, p + c0, columns), window(wide, 2 * p + c0, columns)
        _apply_rows(x, other, y, i0, i1, c0, columns, shape, h, a, b, act, slope)


@TaskKernel
def columns_forward(t, integers, floats, tag, computed):
    """Statistics (phase 1), normalization (phase 2), or both a tile (phase 3).

    Integers and floats as for ``rows_forward``; before the shape the address of ``wide``, flat
    (3 * (width + 16)) in the compute type: scratch for the coefficients of each column.
    """
    added, phase, act, shape = integers[7], integers[8], integers[9], _shape(integers, 11)
    channels, width = shape[2], shape[1]
    x = stored(tag, integers[0], ALL)
    weight, bias = stored(computed, integers[3], channels), stored(computed, integers[4], channels)
    wide = stored(computed, integers[10], ALL)
    stats = carray(float64_at(floats, integers[5]), (4, channels))
    partial = carray(float64_at(floats, integers[6]), (_chunks(shape), 2, channels))
    if t >= 0:
        _forward_task(
            t, x, stored(tag, integers[1], added * ALL),
            stored(tag, integers[2], ALL), shape, phase, floats[0], weight, bias, act, floats[1],
            stats, partial, wide,
        )  # fmt: skip
    elif t == BEFORE and phase == SUMS:
        _first_shift(x, 0, width, shape, weight, stats)
        _spread_shift(0, width, shape, stats, wide)
    elif t == BEFORE and phase == APPLY:
        _spread_affine(0, width, shape, stats, weight, bias, wide)
    elif t == AFTER and phase == SUMS:
        _statistics_of(0, width, shape, floats[0], partial, stats)


def tasks(shape: tuple[int, ...], phase: int, chunks: int) -> int:
    """Count the tasks of a phase."""
    tiles = -(-shape[1] // shape[4])
    return tiles if phase == SUMS | APPLY else tiles * chunks
