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

from equipoise.ops.jit import apart, fast, inline, splice, window
from equipoise.ops.normalize.activations import NONE, RELU, activate, gate
from equipoise.ops.normalize.statistics import (
    APPLY,
    SUMS,
    affine_of_rows,
    gradient_of_rows,
    merge_gradient_sums,
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


@inline
def _add(z, other):
    apart()
    for i in range(z.size):
        z[i] += widen(other[i])


@inline
def _store(z, y):
    apart()
    for i in range(z.size):
        y[i] = narrow(y, z[i])


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
            _add(block, window(other, i, m))
        activate(block, act, slope)
        _store(block, window(y, i, m))


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


@fast
def _gradient_sums(g, x, shift):
    s = shift * 0
    q = shift * 0
    for i in range(x.size):
        v = widen(g[i])
        s += v
        q += v * _minus(widen(x[i]), shift)
    return s, q


@fast
def _gradient_sums_relu(g, x, shift, scale, offset):
    s = shift * 0
    q = shift * 0
    for i in range(x.size):
        d = _minus(widen(x[i]), shift)
        v = widen(g[i])
        v = shift * 0 if _affine_at(d, scale, offset) <= 0 else v
        s += v
        q += v * d
    return s, q


@inline
def _affine_at(d, scale, offset):
    return d * scale + offset


@inline
def _input_gradient(g, x, dx, shift, a, b, c):
    for i in range(x.size):
        dx[i] = narrow(dx, a * widen(g[i]) + (b * (widen(x[i]) - shift) + c))


@inline
def _input_gradient_relu(g, x, dx, shift, scale, offset, a, b, c):
    zero = shift * 0
    for i in range(x.size):
        d = widen(x[i]) - shift
        v = zero if d * scale + offset <= 0 else widen(g[i])
        dx[i] = narrow(dx, a * v + (b * d + c))


@inline
def _scale(g, dx, a):
    # in evaluation x plays no part, be it NaN
    for i in range(dx.size):
        dx[i] = narrow(dx, a * g[i])


@inline
def _load(g, block):
    apart()
    for i in range(block.size):
        block[i] = widen(g[i])


@inline
def _gated(g, x, other, z, block, shift, scale, offset, act, slope, from_output):
    """Give in ``block`` the gradient before the activation."""
    apart()
    _load(g, block)
    if from_output:
        _load(other, z)
    else:
        _affine(x, z, shift, scale, offset)
        if other.size:
            _add(z, other)
    gate(z, block, act, slope)


@splice
def _gated_sums(
    g, x, other, at, size, shift, scale, offset, act, slope, from_output, z, block
):  # fmt: skip
    total, moment = 0.0, 0.0
    for i in range(at, at + size, BLOCK):
        m = min(BLOCK, at + size - i)
        if act == NONE:
            s, q = _gradient_sums(window(g, i, m), window(x, i, m), shift)
        elif act == RELU and other.size == 0:
            s, q = _gradient_sums_relu(window(g, i, m), window(x, i, m), shift, scale, offset)
        else:
            part, o = window(block, 0, m), window(other, i, m) if other.size else other
            _gated(
                window(g, i, m), window(x, i, m), o, window(z, 0, m), part, shift, scale, offset,
                act, slope, from_output,
            )  # fmt: skip
            s, q = _gradient_sums(part, window(x, i, m), shift)
        total += s
        moment += q
    return total, moment


@splice
def _gated_apply(
    g, x, other, dx, dother, at, size, shift, scale, offset, a, b, c, act, slope, from_output,
    training, z, block,
):  # fmt: skip
    if training and act <= RELU and other.size == 0 and dother.size == 0:
        i, m = at, size
        if act == NONE:
            _input_gradient(window(g, i, m), window(x, i, m), window(dx, i, m), shift, a, b, c)
        else:
            _input_gradient_relu(
                window(g, i, m), window(x, i, m), window(dx, i, m), shift, scale, offset, a, b, c
            )  # fmt: skip
        return
    for i in range(at, at + size, BLOCK):
        m = min(BLOCK, at + size - i)
        part, o = window(block, 0, m), window(other, i, m) if other.size else other
        _gated(
            window(g, i, m), window(x, i, m), o, window(z, 0, m), part, shift, scale, offset,
            act, slope, from_output,
        )  # fmt: skip
        if dother.size:
            _store(part, window(dother, i, m))
        if training:
            _input_gradient(part, window(x, i, m), window(dx, i, m), shift, a, b, c)
        else:
            _scale(part, window(dx, i, m), a)


@splice
def _gradient_chunk(
    g, x, other, r0, r1, k, shape, coef, act, slope, from_output, partial, z, block
):  # fmt: skip
    for r in range(r0, r1):
        partial[k, 0, r] = 0.0
        partial[k, 1, r] = 0.0
    for v in range(k * shape[6], min(_counts(shape)[0], (k + 1) * shape[6])):
        for r in range(r0, r1):
            at, size = _piece(v, r, shape)
            shift, scale, offset = coef[0, r - r0], coef[1, r - r0], coef[2, r - r0]
            s, q = _gated_sums(
                g, x, other, at, size, shift, scale, offset, act, slope, from_output, z, block
            )
            partial[k, 0, r] += s
            partial[k, 1, r] += q


@inline
def _backward_task(
    t, g, x, other, dx, dother, shape, phase, training, weight, bias, act, slope, from_output,
    stats, sums, partial,
):  # fmt: skip
    r0, r1, first, last = _extent(t, shape, phase)
    z = np.empty(BLOCK, weight.dtype)
    block = np.empty(BLOCK, weight.dtype)
    coef = affine_of_rows(r0, r1, stats, weight, bias)
    if phase & SUMS:
        for k in range(first, last):
            _gradient_chunk(
                g, x, other, r0, r1, k, shape, coef, act, slope, from_output, partial, z, block
            )
        if phase & APPLY:
            for r in range(r0, r1):
                merge_gradient_sums(r, partial, stats, coef[0, r - r0], sums)
    if phase & APPLY:
        count = np.float64(shape[1] * shape[2])
        grad = gradient_of_rows(r0, r1, stats, weight, sums, count, training)
        for v in range(first * shape[6], min(_counts(shape)[0], last * shape[6])):
            for r in range(r0, r1):
                at, size = _piece(v, r, shape)
                shift, scale, offset = coef[0, r - r0], coef[1, r - r0], coef[2, r - r0]
                a, b, c = grad[0, r - r0], grad[1, r - r0], grad[2, r - r0]
                _gated_apply(
                    g, x, other, dx, dother, at, size, shift, scale, offset, a, b, c, act, slope,
                    from_output, training, z, block,
                )  # fmt: skip


@TaskKernel
def rows_backward(t, integers, floats, tag, computed):
    """Sums of the gradient (phase 1), the input's gradient (phase 2), or both a group (phase 3).

    Integers: addresses of the upstream gradient, x, other, dx, dother (stored type), weight,
    bias (compute type), stats (4, rows), sums (2, rows: the bias's gradient and the weight's),
    partial (chunks, 2, rows) (float64); whether there is an ``other`` (what was added, or the
    output), whether it is the output, whether its gradient is wanted; phase, whether the
    statistics were the batch's own, activation, shape.  Floats: negative_slope.
    """
    i = integers
    has_other, from_output, want_other = i[10], i[11], i[12]
    phase, training, act = i[13], i[14], i[15]
    shape = _shape(integers, 16)
    rows = shape[0]
    weight, bias = stored(computed, i[5], rows), stored(computed, i[6], rows)
    stats = carray(float64_at(floats, i[7]), (4, rows))
    sums = carray(float64_at(floats, i[8]), (2, rows))
    partial = carray(float64_at(floats, i[9]), (_counts(shape)[1], 2, rows))
    if t >= 0:
        _backward_task(
            t, stored(tag, i[0], ALL), stored(tag, i[1], ALL), stored(tag, i[2], has_other * ALL),
            stored(tag, i[3], ALL), stored(tag, i[4], want_other * ALL), shape, phase, training,
            weight, bias, act, floats[0], from_output, stats, sums, partial,
        )  # fmt: skip
    elif t == AFTER and phase == SUMS:
        for r in range(rows):
            merge_gradient_sums(r, partial, stats, weight.dtype.type(stats[0, r]), sums)


def tasks(shape: tuple[int, ...], phase: int, chunks: int) -> int:
    """Count the tasks of a phase."""
    groups = -(-shape[0] // shape[7])
    return groups if phase == SUMS | APPLY else groups * chunks
