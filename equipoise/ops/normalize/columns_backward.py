"""Backward of the column family: see ``columns`` for how a tensor is walked."""

import numpy as np
from numba import carray

from equipoise.ops.jit import apart, inline, splice, window
from equipoise.ops.normalize.activations import NONE, RELU, gate
from equipoise.ops.normalize.blocks import add, load, store
from equipoise.ops.normalize.columns import (
    RUN,
    _affine,
    _channels,
    _chunks,
    _clear,
    _extent,
    _flush,
    _pitch,
    _shape,
    _spread_affine,
    _spread_gradient,
    _width,
)
from equipoise.ops.normalize.statistics import (
    APPLY,
    SUMS,
    merge_gradient_sums,
)
from equipoise.ops.numbers import narrow, widen
from equipoise.ops.tasks import AFTER, ALL, BEFORE, TaskKernel, float64_at, stored


@inline
def _gradient_row(g, x, h, s, q):
    for j in range(x.size):
        v = widen(g[j])
        s[j] += v
        q[j] += v * (widen(x[j]) - h[j])


@inline
def _gradient_row_relu(g, x, h, a, b, s, q):
    zero = h.dtype.type(0)
    for j in range(x.size):
        d = widen(x[j]) - h[j]
        v = zero if d * a[j] + b[j] <= zero else widen(g[j])
        s[j] += v
        q[j] += v * d


@inline
def _scale(g, dx, a):
    # in evaluation x plays no part, be it NaN
    for j in range(dx.size):
        dx[j] = narrow(dx, a[j] * g[j])


@inline
def _gated_row(g, x, other, at, n, h, a, b, act, slope, from_output, z, row):
    """Give in ``row`` the gradient before the activation."""
    load(window(g, at, n), row)
    if from_output:
        load(window(other, at, n), z)
    else:
        _affine(window(x, at, n), z, h, a, b)
        if other.size:
            add(z, window(other, at, n))
    gate(z, row, act, slope)


@inline
def _gradient_rows(g, x, i0, i1, c0, columns, shape, h, a, b, act, s, q):
    apart()
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        if act == NONE:
            _gradient_row(window(g, at, n), window(x, at, n), h, s, q)
        else:
            _gradient_row_relu(window(g, at, n), window(x, at, n), h, a, b, s, q)


@inline
def _gradient_run(
    g, x, other, i0, i1, c0, columns, shape, h, a, b, act, slope, from_output, s, q
):  # fmt: skip
    apart()
    if act == NONE or (act == RELU and other.size == 0):
        _gradient_rows(g, x, i0, i1, c0, columns, shape, h, a, b, act, s, q)
        return
    z, row = np.empty(columns, h.dtype), np.empty(columns, h.dtype)
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        part = window(row, 0, n)
        _gated_row(g, x, other, at, n, h, a, b, act, slope, from_output, window(z, 0, n), part)
        _gradient_row(part, window(x, at, n), h, s, q)


@inline
def _input_gradient(g, x, dx, h, a, b, c):
    for j in range(x.size):
        dx[j] = narrow(dx, a[j] * widen(g[j]) + (b[j] * (widen(x[j]) - h[j]) + c[j]))


@inline
def _input_gradient_relu(g, x, dx, h, a, offset, b, c):
    zero = h.dtype.type(0)
    for j in range(x.size):
        d = widen(x[j]) - h[j]
        v = zero if d * a[j] + offset[j] <= zero else widen(g[j])
        dx[j] = narrow(dx, a[j] * v + (b[j] * d + c[j]))


@inline
def _gradient_out(g, x, dx, i0, i1, c0, columns, shape, h, a, offset, b, c, act):
    apart()
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        if act == NONE:
            _input_gradient(window(g, at, n), window(x, at, n), window(dx, at, n), h, a, b, c)
        else:
            _input_gradient_relu(
                window(g, at, n), window(x, at, n), window(dx, at, n), h, a, offset, b, c
            )


@inline
def _input_rows(
    g, x, other, dx, dother, i0, i1, c0, columns, shape, h, a, offset, b, c, act, slope,
    from_output, training,
):  # fmt: skip
    apart()
    if training and act <= RELU and other.size == 0 and dother.size == 0:
        _gradient_out(g, x, dx, i0, i1, c0, columns, shape, h, a, offset, b, c, act)
        return
    z, row = np.empty(columns, h.dtype), np.empty(columns, h.dtype)
    for i in range(i0, i1):
        at, n = i * shape[1] + c0, _width(i, c0, columns, shape)
        part = window(row, 0, n)
        _gated_row(g, x, other, at, n, h, a, offset, act, slope, from_output, window(z, 0, n), part)
        if dother.size:
            store(part, window(dother, at, n))
        if training:
            _input_gradient(part, window(x, at, n), window(dx, at, n), h, a, b, c)
        else:
            _scale(part, window(dx, at, n), a)


@splice
def _merge_sums(c0, columns, shape, partial, stats, weight, sums):
    r0, r1 = _channels(c0, columns, shape)
    for r in range(r0, r1):
        merge_gradient_sums(r, partial, stats, weight.dtype.type(stats[0, r]), sums)


@splice
def _backward_task(
    t, g, x, other, dx, dother, shape, phase, training, weight, bias, act, slope, from_output,
    stats, sums, partial, wide,
):  # fmt: skip
    c0, columns, i0, i1, k = _extent(t, shape, phase)
    fused, p = phase == SUMS | APPLY, _pitch(shape)
    h, a = window(wide, c0, columns), window(wide, p + c0, columns)
    offset = window(wide, 2 * p + c0, columns)
    if fused:
        _spread_affine(c0, columns, shape, stats, weight, bias, wide)
    if phase & SUMS:
        s, q = np.zeros(columns, wide.dtype), np.zeros(columns, wide.dtype)
        _clear(c0, columns, k, shape, partial)
        for i in range(i0, i1, RUN):
            _gradient_run(
                g, x, other, i, min(i + RUN, i1), c0, columns, shape, h, a, offset, act, slope,
                from_output, s, q,
            )  # fmt: skip
            _flush(s, q, c0, shape, k, partial)
        if fused:
            _merge_sums(c0, columns, shape, partial, stats, weight, sums)
            _spread_gradient(c0, columns, shape, stats, weight, sums, training, wide)
    if phase & APPLY:
        b, c = window(wide, 3 * p + c0, columns), window(wide, 4 * p + c0, columns)
        _input_rows(
            g, x, other, dx, dother, i0, i1, c0, columns, shape, h, a, offset, b, c, act, slope,
            from_output, training,
        )  # fmt: skip


@TaskKernel
def columns_backward(t, integers, floats, tag, computed):
    """Sums of the gradient (phase 1), the input's gradient (phase 2), or both a tile (phase 3).

    Integers and floats as for ``rows_backward``; before the shape the address of ``wide``, flat
    (5 * (width + 16)).
    """
    i = integers
    has_other, from_output, want_other = i[10], i[11], i[12]
    phase, training, act = i[13], i[14], i[15]
    shape = _shape(integers, 17)
    channels, width = shape[2], shape[1]
    weight, bias = stored(computed, i[5], channels), stored(computed, i[6], channels)
    wide = stored(computed, i[16], ALL)
    stats = carray(float64_at(floats, i[7]), (4, channels))
    sums = carray(float64_at(floats, i[8]), (2, channels))
    partial = carray(float64_at(floats, i[9]), (_chunks(shape), 2, channels))
    if t >= 0:
        _backward_task(
            t, stored(tag, i[0], ALL), stored(tag, i[1], ALL),
            stored(tag, i[2], has_other * ALL), stored(tag, i[3], ALL),
            stored(tag, i[4], want_other * ALL), shape, phase, training, weight, bias, act,
            floats[0], from_output, stats, sums, partial, wide,
        )  # fmt: skip
    elif t == BEFORE and phase != SUMS | APPLY:
        _spread_affine(0, width, shape, stats, weight, bias, wide)
        if phase == APPLY:
            _spread_gradient(0, width, shape, stats, weight, sums, training, wide)
    elif t == AFTER and phase == SUMS:
        _merge_sums(0, width, shape, partial, stats, weight, sums)
