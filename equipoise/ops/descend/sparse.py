"""Sums over the columns of a CSC matrix (data, indices, indptr); centring is left to the caller."""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline

# columns that a thread takes at once
BLOCK = 64


@inline
def column_dot(data, indices, first, last, v):
    s = 0.0
    for i in range(first, last):
        s += data[i] * v[indices[i]]
    return s


def _correlate(data, indices, indptr, v, out):
    """Fill ``out`` (k, p) with the products of k vectors with each column."""
    p = out.shape[1]
    for block in prange(-(-p // BLOCK)):
        for j in range(block * BLOCK, min(p, (block + 1) * BLOCK)):
            for k in range(v.shape[0]):
                out[k, j] = column_dot(data, indices, indptr[j], indptr[j + 1], v[k])


def _combine(data, indices, indptr, chosen, factors, out):
    """Add the chosen columns times their factors to ``out`` (n,)."""
    for k in range(chosen.shape[0]):
        j = chosen[k]
        for i in range(indptr[j], indptr[j + 1]):
            out[indices[i]] += factors[k] * data[i]


def _products(data, indices, indptr, new, old, weights, starts, out):
    """Fill ``out`` (new, old) with weighted products of columns; ``starts`` (n + 2,) is zero.

    The old columns are put in order of rows first: then only entries that share a row are met.
    """
    for b in range(old.shape[0]):
        for i in range(indptr[old[b]], indptr[old[b] + 1]):
            starts[indices[i] + 2] += 1
    for row in range(2, starts.shape[0]):
        starts[row] += starts[row - 1]
    places = np.empty(starts[starts.shape[0] - 1], np.int64)
    values = np.empty(places.shape[0])
    for b in range(old.shape[0]):
        for i in range(indptr[old[b]], indptr[old[b] + 1]):
            at = starts[indices[i] + 1]
            starts[indices[i] + 1] += 1
            places[at] = b
            values[at] = data[i]
    for a in range(new.shape[0]):
        out[a] = 0.0
        for i in range(indptr[new[a]], indptr[new[a] + 1]):
            row = indices[i]
            value = np.float64(data[i])
            if weights.shape[0] > 0:
                value *= weights[row]
            for at in range(starts[row], starts[row + 1]):
                out[a, places[at]] += value * values[at]


correlate = Kernel(_correlate)
combine = Kernel(_combine)
products = Kernel(_products)
