"""Backward of the row family: see ``rows`` for how a row is walked."""

import numpy as np
from numba import carray

from equipoise.ops.jit import apart, fast, inline, splice, window
from equipoise.ops.normalize.activations import NONE, RELU, gate
from equipoise.ops.normalize.blocks import add, load, store
from equipoise.ops.normalize.rows import (
    BLOCK,
    _affine,
    _counts,
    _extent,
    _minus,
    _piece,
    _shape,
)
from equipoise.ops.normalize.statistics import (
    APPLY,
    SUMS,
    affine_of_rows,
    gradient_of_rows,
    merge_gradient_sums,
)
from equipoise.ops.numbers import narrow, widen
from equipoise.ops.tasks import AFTER, ALL, TaskKernel, float64_at, stored


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
def _gated(g, x, other, z, block, shift, scale, offset, act, slope, from_output):
    """Give in ``block`` the gradient before the activation."""
    apart()
    load(g, block)
    if from_output:
        load(other, z)
    else:
        _affine(x, z, shift, scale, offset)
        if other.size:
            add(z, other)
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
            store(part, window(dother, i, m))
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
