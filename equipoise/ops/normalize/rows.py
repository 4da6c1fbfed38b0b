"""The row family on the CPU: what is reduced lies in runs (BatchNorm on contiguous images).

A row is ``runs`` runs of ``length`` numbers; run k of row r begins at
``r * row_stride + k * run_stride``.  Runs are cut into pieces of at most ``piece`` numbers,
``chunk`` pieces are summed together, and chunks merge in order.  ``group`` neighbouring rows are
walked together, run by run, so that short runs still read memory in long stretches.  The tuple
``shape`` says all that: (rows, runs, length, row_stride, run_stride, piece, chunk, group); it
depends on the tensor's shape alone, so the bits are the same at any thread count.

A task is one group with both phases while it is in cache, or one chunk of a group and one phase
where groups are fewer than threads.  Sweeps over memory while a group stays in cache: 1 read
and 1 write forward, 2 and 1 backward.
"""

import numpy as np
from numba import carray

from equipoise.ops.jit import fast, inline, splice, window
from equipoise.ops.normalize.activations import NONE, RELU, activate
from equipoise.ops.normalize.blocks import add, store
from equipoise.ops.normalize.statistics import (
    APPLY,
    SUMS,
    affine_of_rows,
    write_statistics,
)
from equipoise.ops.numbers import narrow, widen
from equipoise.ops.tasks import AFTER, ALL, TaskKernel, float64_at, stored

# the run that is summed in the compute type before float64 takes over
BLOCK = 1024
# how many numbers give the first shift
FIRST = 256


@inline
def _minus(a, b):
    # apart from the sums: there the compiler may reassociate, here it must not
    return a - b


@fast
def _sum(x, zero):
    s = zero
    for i in range(x.size):
        s += widen(x[i])
    return s


@fast
def _shifted_sums(x, shift):
    s = shift * 0
    q = shift * 0
    for i in range(x.size):
        d = _minus(widen(x[i]), shift)
        s += d
        q += d * d
    return s, q


@splice
def _shape(integers, k):
    i = integers
    return i[k], i[k + 1], i[k + 2], i[k + 3], i[k + 4], i[k + 5], i[k + 6], i[k + 7]


@splice
def _counts(shape):
    """Give the pieces and the chunks of a row."""
    _, runs, length, _, _, piece, chunk, _ = shape
    pieces = runs * ((length + piece - 1) // piece)
    return pieces, (pieces + chunk - 1) // chunk


@splice
def _piece(v, r, shape):
    """Give the first index and the size of piece ``v`` of row ``r``."""
    _, _, length, row_stride, run_stride, piece, _, _ = shape
    of_run = (length + piece - 1) // piece
    at = v % of_run * piece
    return r * row_stride + v // of_run * run_stride + at, min(piece, length - at)


@splice
def _first_shift(x, r, shape, weight):
    """Take the mean of the row's first numbers as its shift, rounded to the compute type."""
    cast = weight.dtype.type
    size = min(shape[2], FIRST)
    return cast(_sum(window(x, r * shape[3], size), cast(0)) / cast(size))


@splice
def _sums(x, at, size, shift):
    total, squares = 0.0, 0.0
    for i in range(at, at + size, BLOCK):
        s, q = _shifted_sums(window(x, i, min(BLOCK, at + size - i)), shift)
        total += s
        squares += q
    return total, squares


@inline
def _affine(x, y, shift, scale, offset):
    for i in range(x.size):
        y[i] = narrow(y, (widen(x[i]) - shift) * scale + offset)


@inline
def _affine_relu(x, y, shift, scale, offset):
    zero = shift * 0
    for i in range(x.size):
        v = (widen(x[i]) - shift) * scale + offset
        y[i] = narrow(y, zero if v < zero else v)


@splice
def _apply(x, other, y, at, size, shift, scale, offset, act, slope, z):
    if act <= RELU and other.size == 0:
        if act == NONE:
            _affine(window(x, at, size), window(y, at, size), shift, scale, offset)
        else:
            _affine_relu(window(x, at, size), window(y, at, size), shift, scale, offset)
        return
    for i in range(at, at + size, BLOCK):
        m = min(BLOCK, at + size - i)
        block = window(z, 0, m)
        _affine(window(x, i, m), block, shift, scale, offset)
        if other.size:
            add(block, window(other, i, m))
        activate(block, act, slope)
        store(block, window(y, i, m))


@splice
def _extent(t, shape, phase):
    """Give the range of rows and the range of chunks of task ``t``."""
    chunks, group = _counts(shape)[1], shape[7]
    g, first, last = t, 0, chunks
    if phase != SUMS | APPLY:
        g, first, last = t // chunks, t % chunks, t % chunks + 1
    return g * group, min(shape[0], (g + 1) * group), first, last


@splice
def _sum_chunk(x, r0, r1, k, shape, weight, partial, stats):
    for r in range(r0, r1):
        partial[k, 0, r] = 0.0
        partial[k, 1, r] = 0.0
    for v in range(k * shape[6], min(_counts(shape)[0], (k + 1) * shape[6])):
        for r in range(r0, r1):
            at, size = _piece(v, r, shape)
            s, q = _sums(x, at, size, weight.dtype.type(stats[0, r]))
            partial[k, 0, r] += s
            partial[k, 1, r] += q


@inline
def _forward_task(
    t, x, other, y, shape, phase, eps, weight, bias, act, slope, stats, partial
):  # fmt: skip
    r0, r1, first, last = _extent(t, shape, phase)
    if phase & SUMS:
        for r in range(r0, r1):
            stats[0, r] = _first_shift(x, r, shape, weight)
        for k in range(first, last):
            _sum_chunk(x, r0, r1, k, shape, weight, partial, stats)
        if phase & APPLY:
            for r in range(r0, r1):
                write_statistics(partial, r, np.float64(shape[1] * shape[2]), eps, stats)
    if phase & APPLY:
        z = np.empty(BLOCK, weight.dtype)
        coef = affine_of_rows(r0, r1, stats, weight, bias)
        for v in range(first * shape[6], min(_counts(shape)[0], last * shape[6])):
            for r in range(r0, r1):
                at, size = _piece(v, r, shape)
                shift, scale, offset = coef[0, r - r0], coef[1, r - r0], coef[2, r - r0]
                _apply(x, other, y, at, size, shift, scale, offset, act, slope, z)


@TaskKernel
def rows_forward(t, integers, floats, tag, computed):
    """Statistics (phase 1), normalization (phase 2), or both a group (phase 3).

    Integers: addresses of x, other, y (stored type), weight, bias (compute type), stats
    (4, rows), partial (chunks, 2, rows) (float64); whether ``other`` is added before the
    activation; phase, activation, shape.  Floats: eps, negative_slope.
    """
    added, phase, act, shape = integers[7], integers[8], integers[9], _shape(integers, 10)
    rows = shape[0]
    stats = carray(float64_at(floats, integers[5]), (4, rows))
    partial = carray(float64_at(floats, integers[6]), (_counts(shape)[1], 2, rows))
    if t >= 0:
        _forward_task(
            t, stored(tag, integers[0], ALL), stored(tag, integers[1], added * ALL),
            stored(tag, integers[2], ALL), shape, phase, floats[0],
            stored(computed, integers[3], rows), stored(computed, integers[4], rows), act,
            floats[1], stats, partial,
        )  # fmt: skip
    elif t == AFTER and phase == SUMS:
        for r in range(rows):
            write_statistics(partial, r, np.float64(shape[1] * shape[2]), floats[0], stats)


def tasks(shape: tuple[int, ...], phase: int, chunks: int) -> int:
    """Count the tasks of a phase."""
    groups = -(-shape[0] // shape[7])
    return groups if phase == SUMS | APPLY else groups * chunks
