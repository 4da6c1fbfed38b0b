"""Sums over the columns of a dense matrix where it lies: C or Fortran order, float32 or float64.

Products and sums are float64 whatever the matrix holds.  Blocks are fixed, so the bits do not
depend on the number of threads.
"""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, fast, inline, window

# rows whose vectors stay in the first-level cache beside the columns
ROWS = 1024
# columns that a thread takes at once
BLOCK = 64
# columns whose sums stay in the first-level cache while rows go by
TILE = 1024
# groups of rows that are summed apart
GROUPS = 8
# rows that are gathered together: a line of the cache in each column of the copy
LINE = 8


@fast
def _dot(a, v):
    s = 0.0
    for i in range(v.shape[0]):
        s += np.float64(a[i]) * v[i]
    return s


def _correlate_columns(x, n, p, v, out):
    """Fill ``out`` (k, p) with the products of k vectors with each column of flat ``x``.

    One column after the other: memory read in one stream came out up to twice as fast as four.
    """
    out[:] = 0.0
    for block in prange(-(-p // BLOCK)):
        for j in range(block * BLOCK, min(p, (block + 1) * BLOCK)):
            for row in range(0, n, ROWS):
                size = min(ROWS, n - row)
                for k in range(v.shape[0]):
                    out[k, j] += _dot(window(x, j * n + row, size), v[k, row : row + size])


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
    groups = sums.shape[0]
    per = -(-n // groups)
    tiles = -(-p // TILE)
    for task in prange(groups * tiles):
        group, tile = np.int64(task) // tiles, np.int64(task) % tiles
        first, size = tile * TILE, min(TILE, p - tile * TILE)
        i, last = group * per, min(n, (group + 1) * per)
        for k in range(v.shape[0]):
            sums[group, k, first : first + size] = 0.0
        while i + 4 <= last:
            o = i * p + first
            for k in range(v.shape[0]):
                _add_four(
                    window(x, o, size), window(x, o + p, size),
                    window(x, o + 2 * p, size), window(x, o + 3 * p, size),
                    v[k, i], v[k, i + 1], v[k, i + 2], v[k, i + 3],
                    sums[group, k, first : first + size],
                )  # fmt: skip
            i += 4
        while i < last:
            for k in range(v.shape[0]):
                _add_one(
                    window(x, i * p + first, size), v[k, i], sums[group, k, first : first + size]
                )
            i += 1
    for k in range(v.shape[0]):
        out[k] = 0.0
        for group in range(groups):
            out[k] += sums[group, k]


@inline
def _copy_shifted(a, offset, factor, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor


@inline
def _copy_weighted(a, offset, factor, weights, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor * weights[i]


def _gather(x, step_row, step_column, first, chosen, order, offset, scale, roots, out):
    """Copy columns, centred and scaled, into the rows of ``out`` (m, rows), from row ``first``.

    ``order`` sorts the chosen columns: rows are read forward, as processors read ahead.
    ``roots`` are the square roots of the rows' weights, or empty.
    """
    m, rows = out.shape
    if step_row == 1:
        for k in prange(m):
            j = chosen[k]
            column = window(x, first + j * step_column, rows)
            if roots.shape[0] == 0:
                _copy_shifted(column, offset[j], 1.0 / scale[j], out[k])
            else:
                _copy_weighted(
                    column, offset[j], 1.0 / scale[j], roots[first : first + rows], out[k]
                )
    else:
        columns, means, factors = chosen[order], np.empty(m), np.empty(m)
        for k in range(m):
            means[k], factors[k] = offset[columns[k]], 1.0 / scale[columns[k]]
        for low in range(0, rows, LINE):
            high = min(rows, low + LINE)
            for i in range(low, high):
                row = window(x, (first + i) * step_row, step_row)
                root = 1.0 if roots.shape[0] == 0 else roots[first + i]
                for k in range(m):
                    value = (np.float64(row[columns[k]]) - means[k]) * factors[k]
                    out[order[k], i] = value * root


def _sums(x, step_row, step_column, chosen, weights, out):
    """Fill ``out`` with the weighted sums of the chosen columns."""
    n = weights.shape[0]
    out[:] = 0.0
    if step_row == 1:
        for k in range(chosen.shape[0]):
            for row in range(0, n, ROWS):
                size = min(ROWS, n - row)
                column = window(x, chosen[k] * step_column + row, size)
                out[k] += _dot(column, weights[row : row + size])
    else:
        for i in range(n):
            for k in range(chosen.shape[0]):
                out[k] += np.float64(x[i * step_row + chosen[k]]) * weights[i]


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


combine = Kernel(_combine)
sums = Kernel(_sums)
correlate_columns = Kernel(_correlate_columns)
correlate_rows = Kernel(_correlate_rows)
gather = Kernel(_gather)
