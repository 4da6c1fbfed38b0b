"""Moments of the columns of a sparse matrix: those of what is stored, merged with its zeros."""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline
from equipoise.ops.moments.cpu import (
    COUNT,
    FIELDS,
    M2,
    MAX,
    MEAN,
    MIN,
    NANS,
    PASSES,
    REST,
    clear,
)
from equipoise.ops.moments.formula import from_shifted, is_far, merge_split, split

# stored values that are summed before they merge
RUN = 4096


def summarize_sparse(x, weights=None) -> np.ndarray:
    """Give the state (7, columns) of a SciPy matrix, CSR or CSC, with weights of rows or none."""
    x = x.tocsc()
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    rows, columns = x.shape
    out = np.empty((FIELDS, columns))
    weighted = weights is not None
    factors = np.asarray(weights, np.float64) if weighted else np.empty(0)
    # rows that count, and how much in all
    total = (float((factors > 0).sum()), float(factors.sum())) if weighted else (float(rows),) * 2
    indices = x.indices.astype(np.int64) if weighted else np.empty(0, np.int64)
    data, starts = x.data.astype(np.float64, copy=False), x.indptr.astype(np.int64)
    _kernel(data.nbytes, data, starts, indices, factors, total, out)
    return out


@inline
def _add(data, indices, weights, first, last, shift, omitted):
    """Sum a run; give total, squares, count, low and high, and count rows and NaNs."""
    total, squares, count, low, high = 0.0, 0.0, 0.0, np.inf, -np.inf
    omitted[:] = 0.0
    for i in range(first, last):
        weight = weights[indices[i]] if weights.shape[0] > 0 else 1.0
        v = data[i]
        if weight > 0.0:
            omitted[0] += 1.0
            if v == v:
                d = v - shift
                total += weight * d
                squares += weight * d * d
                count += weight
                low, high = min(low, v), max(high, v)
            else:
                omitted[1] += weight
    return total, squares, count, low, high


@inline
def _guess(data, first, last):
    """Take the run's first finite value as its shift."""
    for i in range(first, last):
        if abs(data[i]) < np.inf:
            return data[i]
    return 0.0


@inline
def _absorb(out, c, count, mean, rest, m2, low, high):
    out[COUNT, c], out[MEAN, c], out[REST, c], out[M2, c] = merge_split(
        out[COUNT, c], out[MEAN, c], out[REST, c], out[M2, c], count, mean, rest, m2
    )
    out[MIN, c] = min(out[MIN, c], low)
    out[MAX, c] = max(out[MAX, c], high)


@inline
def _column(data, indices, weights, first, last, total, out, c):
    """Fill column ``c`` of ``out`` from its stored values and the zeros beside them."""
    seen = np.zeros(2)
    rows, stored = 0.0, 0.0
    for start in range(first, last, RUN):
        stop = min(start + RUN, last)
        shift = _guess(data, start, stop)
        count, sums, squares, low, high = 0.0, 0.0, 0.0, np.inf, -np.inf
        for left in range(PASSES):
            sums, squares, count, low, high = _add(data, indices, weights, start, stop, shift, seen)
            if count == 0.0 or not is_far(count, sums, squares) or left == PASSES - 1:
                break
            moved = shift + sums / count
            if not abs(moved) < np.inf:
                break
            shift = moved
        rows += seen[0]
        stored += count + seen[1]
        out[NANS, c] += seen[1]
        if count > 0.0:
            _, m2 = from_shifted(count, shift, sums, squares)
            mean, rest = split(shift, sums / count)
            _absorb(out, c, count, mean, rest, m2, low, high)
    if rows < total[0]:
        # all that is not stored is zero
        _absorb(out, c, total[1] - stored, 0.0, 0.0, 0.0, 0.0, 0.0)


def _summarize(data, starts, indices, weights, total, out):
    """Fill ``out`` (7, columns); column c holds data[starts[c]:starts[c + 1]]."""
    clear(out)
    for column in prange(out.shape[1]):
        c = np.int64(column)
        _column(data, indices, weights, starts[c], starts[c + 1], total, out, c)


_kernel = Kernel(_summarize)
