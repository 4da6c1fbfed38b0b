"""Copy columns of a dense matrix, or runs of its rows: centred, scaled, as float32 or float64.

Where rows are contiguous each line of the cache holds several columns, and a copy is made of
pieces that are whole lines on either side.
"""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline, window

# rows that a thread takes at once
ROWS = 1024
# rows of a wide matrix that are read one column after the other
STRIP = 16
# rows that are gathered together: a few lines of the cache in each column of the copy
LINE = 64


@inline
def _copy_shifted(a, offset, factor, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor


@inline
def _copy_weighted(a, offset, factor, weights, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor * weights[i]


@inline
def _copy(a, out):
    for i in range(out.shape[0]):
        out[i] = a[i]


@inline
def _pick(row, columns, means, factors, root, lines):
    for k in range(columns.shape[0]):
        lines[k * LINE] = (row[columns[k]] - means[k]) * factors[k] * root


@inline
def _pick_down(x, at, p, size, columns, means, factors, roots, order, place, rows, out):
    for k in range(columns.shape[0]):
        start, target = at + columns[k], order[k] * rows + place
        if roots.shape[0] == 0:
            for i in range(size):
                out[target + i] = (x[start + i * p] - means[k]) * factors[k]
        else:
            for i in range(size):
                out[target + i] = (x[start + i * p] - means[k]) * factors[k] * roots[i]


@inline
def _spread(lines, out):
    for i in range(out.shape[0]):
        out[i] = lines[i]


def _columns(x, step_column, first, chosen, offset, scale, roots, out):
    """Copy columns, centred and scaled, into the rows of ``out`` (m, rows), from row ``first``.

    ``roots`` are the square roots of the rows' weights, or empty.
    """
    for k in prange(out.shape[0]):
        j = chosen[k]
        column = window(x, first + j * step_column, out.shape[1])
        if roots.shape[0] == 0:
            _copy_shifted(column, offset[j], 1.0 / scale[j], out[k])
        else:
            _copy_weighted(
                column, offset[j], 1.0 / scale[j], roots[first : first + out.shape[1]], out[k]
            )


def _rows(x, p, first, chosen, order, offset, scale, roots, out):
    """Do the same for a matrix in C order; ``order`` sorts the chosen columns."""
    m, rows = out.shape
    flat_out = out.reshape(-1)
    columns, means, factors = chosen[order], offset[chosen[order]], 1.0 / scale[chosen[order]]
    for part in prange(-(-rows // ROWS)):
        low = np.int64(part) * ROWS
        lines, whole = np.empty(m * LINE, out.dtype), np.empty(p)
        for row in range(low, min(rows, low + ROWS), LINE):
            size = min(LINE, rows - row)
            for i in range(size):
                root = 1.0 if roots.shape[0] == 0 else roots[first + row + i]
                # memory is read ahead where all of it is read
                _copy(window(x, (first + row + i) * p, p), whole)
                _pick(whole, columns, means, factors, root, window(lines, i, m * LINE - i))
            for k in range(m):
                _spread(
                    window(lines, k * LINE, size), window(flat_out, order[k] * rows + row, size)
                )


def _strips(x, p, first, chosen, order, offset, scale, roots, out):
    """Do the same where rows are long: what lies between the chosen columns is not read."""
    rows = out.shape[1]
    flat_out = out.reshape(-1)
    columns, means, factors = chosen[order], offset[chosen[order]], 1.0 / scale[chosen[order]]
    for part in prange(-(-rows // ROWS)):
        low = np.int64(part) * ROWS
        for row in range(low, min(rows, low + ROWS), STRIP):
            size = min(STRIP, rows - row)
            weights = window(roots, first + row, size if roots.shape[0] else 0)
            _pick_down(
                x, (first + row) * p, p, size, columns, means, factors, weights, order, row, rows,
                flat_out,
            )  # fmt: skip


def _take_runs(x, step_row, step_column, step, run, shift, out):
    """Copy ``run`` of every ``step`` rows, less a shift of each column, into columns (p, rows).

    ``run`` is a multiple of LINE.
    """
    p, rows = out.shape
    if step_row == 1:
        for column in prange(p):
            j = np.int64(column)
            for first in range(0, rows, run):
                source = window(x, j * step_column + first // run * step, run)
                _copy_shifted(source, shift[j], 1.0, out[j, first : first + run])
    else:
        for some in prange(rows // LINE):
            at = np.int64(some) * LINE
            first = at // run * step + at % run
            lines = np.empty(p * LINE, out.dtype)
            for i in range(LINE):
                row = window(x, (first + i) * step_row, p)
                for j in range(p):
                    lines[j * LINE + i] = np.float64(row[j]) - shift[j]
            for j in range(p):
                for i in range(LINE):
                    out[j, at + i] = lines[j * LINE + i]


columns = Kernel(_columns)
rows = Kernel(_rows)
strips = Kernel(_strips)
take_runs = Kernel(_take_runs)
