"""Moments of weighted rows on the CPU, one thread: for masks and frequencies.

Rows of weight 0 are skipped, so that a NaN or an infinity in them counts nowhere.
"""

import numpy as np

from equipoise.ops.jit import Kernel, inline
from equipoise.ops.moments.cpu import COUNT, M2, MAX, MEAN, MIN, NANS, PASSES, REST, clear
from equipoise.ops.moments.formula import from_shifted, is_far, merge_split, split


def _summarize_weighted(x, weights, out):
    """Fill ``out`` with the state of the rows of ``x`` (n, columns), row i counted weights[i]."""
    n, columns = x.shape
    # as many blocks as rows a block: either is the length of a run of roundings
    rows = np.int64(np.sqrt(n)) + 1
    sums = np.empty((6, columns))
    clear(out)
    for first in range(0, n, rows):
        last = min(first + rows, n)
        _guess_weighted(x, weights, first, last, sums[0])
        for left in range(PASSES - 1, -1, -1):
            _add_weighted(x, weights, first, last, sums)
            if left == 0 or not _move_weighted(sums):
                break
        _absorb_weighted(sums, out)
        for i in range(first, last):
            if weights[i] > 0.0:
                for c in range(columns):
                    out[NANS, c] += 0.0 if x[i, c] == x[i, c] else weights[i]


@inline
def _guess_weighted(x, weights, first, last, shift):
    """Set each column's shift to its first finite value that counts, 0 where there is none."""
    shift[:] = 0.0
    for i in range(last - 1, first - 1, -1):
        for c in range(shift.shape[0]):
            usable = weights[i] > 0.0 and abs(x[i, c]) < np.inf
            shift[c] = x[i, c] if usable else shift[c]


@inline
def _add_weighted(x, weights, first, last, sums):
    """Sum rows anew into the rows of ``sums``: shift, total, squares, count, low, high."""
    sums[1:4] = 0.0
    sums[4] = np.inf
    sums[5] = -np.inf
    for i in range(first, last):
        weight = weights[i]
        if weight > 0.0:
            for c in range(sums.shape[1]):
                v = x[i, c]
                d = v - sums[0, c] if v == v else 0.0
                sums[1, c] += weight * d
                sums[2, c] += weight * d * d
                sums[3, c] += weight if v == v else 0.0
                sums[4, c] = v if v < sums[4, c] else sums[4, c]
                sums[5, c] = v if v > sums[5, c] else sums[5, c]


@inline
def _move_weighted(sums):
    """Move the shifts that lie far from their mean; tell whether any moved."""
    moved = False
    for c in range(sums.shape[1]):
        if sums[3, c] > 0.0 and is_far(sums[3, c], sums[1, c], sums[2, c]):
            mean = sums[0, c] + sums[1, c] / sums[3, c]
            if abs(mean) < np.inf and mean != sums[0, c]:
                sums[0, c] = mean
                moved = True
    return moved


@inline
def _absorb_weighted(sums, out):
    """Merge the block's columns into ``out``."""
    for c in range(sums.shape[1]):
        count = sums[3, c]
        if count > 0.0:
            _, m2 = from_shifted(count, sums[0, c], sums[1, c], sums[2, c])
            mean, rest = split(sums[0, c], sums[1, c] / count)
            out[COUNT, c], out[MEAN, c], out[REST, c], out[M2, c] = merge_split(
                out[COUNT, c], out[MEAN, c], out[REST, c], out[M2, c], count, mean, rest, m2
            )
        out[MIN, c] = min(out[MIN, c], sums[4, c])
        out[MAX, c] = max(out[MAX, c], sums[5, c])


summarize_weighted = Kernel(_summarize_weighted)
