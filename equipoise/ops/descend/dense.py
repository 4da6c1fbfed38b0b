"""Sums over the columns of a dense matrix where it lies: C or Fortran order, float32 or float64.

Products and sums are float64 whatever the matrix holds.  Blocks are fixed, so the bits do not
depend on the number of threads.
"""

import numpy as np
from numba import prange

from equipoise.ops.fetch import fetch_run
from equipoise.ops.jit import Kernel, fast, inline, window

# rows whose vectors stay in the first-level cache beside the columns
ROWS = 1024
# columns whose sums stay in the first-level cache while rows go by
TILE = 1024
# columns from which on four rows at once are read as fast as one
WIDE = 256
# groups of rows that are summed apart
GROUPS = 8
# rows of a few hundred columns that stay in the second-level cache
NEAR = 256


@fast
def _dot(a, v):
    s = 0.0
    for i in range(v.shape[0]):
        s += np.float64(a[i]) * v[i]
    return s


@fast
def _dot_squares(a, offset, weights):
    s = 0.0
    for i in range(a.shape[0]):
        x = np.float64(a[i]) - offset
        s += x * x * weights[i] if weights.shape[0] else x * x
    return s


def _correlate_columns(x, n, chosen, v, out):
    """Fill ``out`` (k, m) with the products of k vectors with the chosen columns of flat ``x``.

    One column after the other: memory read in one stream came out up to twice as fast as four.
    """
    out[:] = 0.0
    flat_v = v.reshape(-1)
    for column in prange(chosen.shape[0]):
        j = np.int64(column)
        first = chosen[j] * n
        for row in range(0, n, ROWS):
            size = min(ROWS, n - row)
            for k in range(v.shape[0]):
                part = window(flat_v, k * n + row, size)
                out[k, j] += _dot(window(x, first + row, size), part)


@inline
def _add_four(a, b, c, d, va, vb, vc, vd, sums):
    for j in range(sums.shape[0]):
        sums[j] += (np.float64(a[j]) * va + np.float64(b[j]) * vb) + (
            np.float64(c[j]) * vc + np.float64(d[j]) * vd
        )


@inline
def _add_one(a, va, sums):
    for j in range(sums.shape[0]):
        sums[j] += np.float64(a[j]) * va


def _correlate_rows(x, n, p, v, out, sums):
    """Do the same for a matrix in C order; ``sums`` (GROUPS, k, p) is scratch."""
    groups, count = sums.shape[0], v.shape[0]
    per = -(-n // groups)
    tiles = -(-p // TILE)
    flat_sums = sums.reshape(-1)
    for task in prange(groups * tiles):
        group, tile = np.int64(task) // tiles, np.int64(task) % tiles
        first, size = tile * TILE, min(TILE, p - tile * TILE)
        place = group * count * p + first
        i, last = group * per, min(n, (group + 1) * per)
        for k in range(count):
            sums[group, k, first : first + size] = 0.0
        while size >= WIDE and i + 4 <= last:
            o = i * p + first
            for k in range(4 if i + 8 <= last else 0):
                fetch_run(x, o + (4 + k) * p, size)
            for k in range(count):
                _add_four(
                    window(x, o, size), window(x, o + p, size),
                    window(x, o + 2 * p, size), window(x, o + 3 * p, size),
                    v[k, i], v[k, i + 1], v[k, i + 2], v[k, i + 3],
                    window(flat_sums, place + k * p, size),
                )  # fmt: skip
            i += 4
        while i < last:
            for k in range(count):
                _add_one(
                    window(x, i * p + first, size), v[k, i], window(flat_sums, place + k * p, size)
                )
            i += 1
    for k in range(v.shape[0]):
        out[k] = 0.0
        for group in range(groups):
            out[k] += sums[group, k]


def _sums(x, step_row, step_column, chosen, weights, out):
    """Fill ``out`` with the weighted sums of the chosen columns."""
    n = weights.shape[0]
    out[:] = 0.0
    if step_row == 1:
        for k in prange(chosen.shape[0]):
            for row in range(0, n, ROWS):
                size = min(ROWS, n - row)
                column = window(x, chosen[k] * step_column + row, size)
                out[k] += _dot(column, window(weights, row, size))
    else:
        for i in range(n):
            for k in range(chosen.shape[0]):
                out[k] += np.float64(x[i * step_row + chosen[k]]) * weights[i]


def _squares(x, n, chosen, offset, weights, out):
    """Fill ``out`` with the weighted sums of squares of the chosen columns less their offsets."""
    out[:] = 0.0
    for k in prange(chosen.shape[0]):
        for row in range(0, n, ROWS):
            size = min(ROWS, n - row)
            column = window(x, chosen[k] * n + row, size)
            part = window(weights, row, size if weights.shape[0] else 0)
            out[k] += _dot_squares(column, offset[chosen[k]], part)


def _combine_many(x, chosen, factors, out):
    """Add the chosen columns times each row of ``factors`` (k, m) to the row of ``out`` (k, n)."""
    count, n = out.shape
    m, flat_out = chosen.shape[0], out.reshape(-1)
    for block in prange(-(-n // NEAR)):
        row = np.int64(block) * NEAR
        size, j = min(NEAR, n - row), 0
        while j + 4 <= m:
            a, b, c, d = (
                window(x, chosen[j] * n + row, size),
                window(x, chosen[j + 1] * n + row, size),
                window(x, chosen[j + 2] * n + row, size),
                window(x, chosen[j + 3] * n + row, size),
            )
            for k in range(count):
                _add_four(
                    a, b, c, d, factors[k, j], factors[k, j + 1], factors[k, j + 2],
                    factors[k, j + 3], window(flat_out, k * n + row, size),
                )  # fmt: skip
            j += 4
        while j < m:
            column = window(x, chosen[j] * n + row, size)
            for k in range(count):
                _add_one(column, factors[k, j], window(flat_out, k * n + row, size))
            j += 1


def _combine(x, step_row, step_column, chosen, factors, out):
    """Add the chosen columns times their factors to ``out`` (n,)."""
    n = out.shape[0]
    if step_row == 1:
        for block in prange(-(-n // ROWS)):
            row = block * ROWS
            size = min(ROWS, n - row)
            for k in range(chosen.shape[0]):
                column = window(x, chosen[k] * step_column + row, size)
                _add_one(column, factors[k], out[row : row + size])
    elif chosen.shape[0] * 8 < step_row:
        for i in range(n):
            s = 0.0
            for k in range(chosen.shape[0]):
                s += np.float64(x[i * step_row + chosen[k]]) * factors[k]
            out[i] += s
    else:
        # zeros for the others: whole rows are read faster than many places of them
        every = np.zeros(step_row)
        for k in range(chosen.shape[0]):
            every[chosen[k]] += factors[k]
        for i in prange(n):
            out[i] += _dot(window(x, i * step_row, step_row), every)


@inline
def _add_same(a, v, sums):
    for i in range(sums.shape[0]):
        sums[i] += a[i] * v


@inline
def _add_four_same(a, b, c, d, va, vb, vc, vd, sums):
    for i in range(sums.shape[0]):
        sums[i] += (a[i] * va + b[i] * vb) + (c[i] * vc + d[i] * vd)


@fast
def _dot_same(a, v):
    s = np.float32(0.0)
    for i in range(v.shape[0]):
        s += a[i] * v[i]
    return s


@fast
def _dot_four_same(a, b, c, d, v):
    s = t = u = w = np.float32(0.0)
    for i in range(v.shape[0]):
        s += a[i] * v[i]
        t += b[i] * v[i]
        u += c[i] * v[i]
        w += d[i] * v[i]
    return s, t, u, w


@inline
def _leave(y, roots, base, r, v):
    if roots.shape[0] == 0:
        for i in range(r.shape[0]):
            r[i] = y[i] - (np.float64(v[i]) - base)
            v[i] = r[i]
    else:
        for i in range(r.shape[0]):
            r[i] = y[i] - roots[i] * (np.float64(v[i]) - base)
            v[i] = roots[i] * r[i]


def _slope(x, factors, base, y, roots, r, v, parts):
    """Fill r = y − √s (Σ columns × factors − base), v = √s r, and multiply columns with v.

    Row i of ``parts`` (GROUPS, p) is the sum over a share of the rows; ``roots`` are the square
    roots of the rows' weights, or empty.  ``x``, ``factors`` and ``v`` are float32, in which
    NEAR rows are summed.
    """
    groups, p = parts.shape
    n = y.shape[0]
    per = -(-n // groups)
    for task in prange(groups):
        group = np.int64(task)
        parts[group] = 0.0
        last = min(n, (group + 1) * per)
        for row in range(group * per, last, NEAR):
            size = min(NEAR, last - row)
            right = window(v, row, size)
            for i in range(size):
                right[i] = 0.0
            j = 0
            while j + 4 <= p:
                o = j * n + row
                _add_four_same(
                    window(x, o, size), window(x, o + n, size),
                    window(x, o + 2 * n, size), window(x, o + 3 * n, size),
                    factors[j], factors[j + 1], factors[j + 2], factors[j + 3], right,
                )  # fmt: skip
                j += 4
            while j < p:
                _add_same(window(x, j * n + row, size), factors[j], right)
                j += 1
            weights = window(roots, row, size if roots.shape[0] else 0)
            _leave(window(y, row, size), weights, base, window(r, row, size), right)
            j = 0
            while j + 4 <= p:
                o = j * n + row
                four = _dot_four_same(
                    window(x, o, size), window(x, o + n, size),
                    window(x, o + 2 * n, size), window(x, o + 3 * n, size), right,
                )  # fmt: skip
                for k in range(4):
                    parts[group, j + k] += np.float64(four[k])
                j += 4
            while j < p:
                parts[group, j] += np.float64(_dot_same(window(x, j * n + row, size), right))
                j += 1


combine = Kernel(_combine)
combine_many = Kernel(_combine_many)
squares = Kernel(_squares)
slope = Kernel(_slope)
sums = Kernel(_sums)
correlate_columns = Kernel(_correlate_columns)
correlate_rows = Kernel(_correlate_rows)
