"""Copy columns of a dense matrix, or runs of its rows: centred, scaled, as float32 or float64.

Where rows are contiguous each line of the cache holds several columns, and a copy is made of
pieces that are whole lines on either side.
"""

import numpy as np
from numba import prange

from equipoise.ops.fetch import fetch_down, fetch_run
from equipoise.ops.jit import Kernel, inline, window

# rows that a thread takes at once
ROWS = 1024
# rows that are gathered together: a few lines of the cache in each column of the copy
STRIP = 64
# rows ahead of the one that is copied
AHEAD = 4


@inline
def copy_shifted(a, offset, factor, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor


@inline
def copy_weighted(a, offset, factor, weights, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(a[i]) - offset) * factor * weights[i]


@inline
def copy_down(x, at, p, offset, factor, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(x[at + i * p]) - offset) * factor


@inline
def copy_down_weighted(x, at, p, offset, factor, weights, out):
    for i in range(out.shape[0]):
        out[i] = (np.float64(x[at + i * p]) - offset) * factor * weights[i]


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
            copy_shifted(column, offset[j], 1.0 / scale[j], out[k])
        else:
            copy_weighted(
                column, offset[j], 1.0 / scale[j], roots[first : first + out.shape[1]], out[k]
            )


def _rows(x, p, first, chosen, order, offset, scale, roots, out):
    """Do the same for a matrix in C order, strip by strip; ``order`` sorts the chosen columns.

    What a column has in the next strip is asked for in this one; what lies between the columns
    is not read.
    """
    m, rows = out.shape
    flat_out = out.reshape(-1)
    for part in prange(-(-rows // ROWS)):
        low = np.int64(part) * ROWS
        for row in range(low, min(rows, low + ROWS), STRIP):
            size = min(STRIP, rows - row)
            more, start = min(STRIP, rows - row - size), (first + row) * p
            for k in range(m):
                j, at = chosen[order[k]], start + chosen[order[k]]
                fetch_down(x, at + size * p, p, more)
                column, factor = window(flat_out, order[k] * rows + row, size), 1.0 / scale[j]
                if roots.shape[0] == 0:
                    copy_down(x, at, p, offset[j], factor, column)
                else:
                    weights = window(roots, first + row, size)
                    copy_down_weighted(x, at, p, offset[j], factor, weights, column)


def _take_runs(x, step_row, step_column, step, run, shift, out):
    """Copy ``run`` of every ``step`` rows, less a shift of each column, into columns (p, rows).

    ``run`` is a multiple of STRIP.
    """
    p, rows = out.shape
    flat_out = out.reshape(-1)
    if step_row == 1:
        for column in prange(p):
            j = np.int64(column)
            for first in range(0, rows, run):
                at = j * step_column + first // run * step
                if j + 1 < p:
                    fetch_run(x, at + step_column, run)
                part = window(flat_out, j * rows + first, run)
                copy_shifted(window(x, at, run), shift[j], 1.0, part)
    else:
        for some in prange(rows // STRIP):
            at = np.int64(some) * STRIP
            first = at // run * step + at % run
            lines = np.empty(p * STRIP, out.dtype)
            for i in range(STRIP):
                place = (first + i) * step_row
                if i + AHEAD < STRIP:
                    fetch_run(x, place + AHEAD * step_row, p)
                row = window(x, place, p)
                for j in range(p):
                    lines[j * STRIP + i] = np.float64(row[j]) - shift[j]
            for j in range(p):
                _spread(window(lines, j * STRIP, STRIP), window(flat_out, j * rows + at, STRIP))


columns = Kernel(_columns)
rows = Kernel(_rows)
take_runs = Kernel(_take_runs)
