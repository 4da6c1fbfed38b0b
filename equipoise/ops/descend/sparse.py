"""Sums over the columns of a CSC matrix (data, indices, indptr); centring is left to the caller."""

import numpy as np
from numba import prange

from equipoise.ops.descend.gram import duality_gap, next_random, shrink
from equipoise.ops.jit import Kernel, inline

# columns that a thread takes at once
BLOCK = 64
# sweeps after which the gap is measured
LOOK = 3


@inline
def column_dot(data, indices, first, last, v):
    # unsigned: places that cannot be negative are not looked at twice
    s = 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        s += data[i] * v[np.uint64(indices[i])]
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


def _squares(data, indices, indptr, chosen, offset, weights, total, out):
    """Fill ``out`` with the weighted sums of squares of columns less their offsets."""
    for k in range(chosen.shape[0]):
        j = chosen[k]
        squares, stored = 0.0, 0.0
        for i in range(indptr[j], indptr[j + 1]):
            weight = weights[indices[i]] if weights.shape[0] > 0 else 1.0
            squares += weight * (data[i] - offset[j]) ** 2
            stored += weight
        out[k] = squares + offset[j] ** 2 * (total - stored)


def _sweep(
    data, indices, indptr, chosen, offset, scale, weights, total, v, diagonal, w, g, l1, l2,
    positive, target, sweeps, seed,
):  # fmt: skip
    """Sweep on the residual until the gap on these features is at most ``target``.

    ``v`` (n,) are the weights times the residual, whose sum is zero where offsets are not.  What
    the offsets add to it, ``shift`` times the weights, is kept apart: an update costs the stored
    entries of a column.  Gives (gap, sweeps), and leaves ``g`` at the correlations.
    """
    k, shift, gap = w.shape[0], 0.0, np.inf
    state = np.uint64(seed)
    for sweep in range(1, sweeps + 1):
        for step in range(k):
            b = step
            if seed != 0:
                state = next_random(state)
                b = np.int64(state % np.uint64(k))
            j = chosen[b]
            first, last = indptr[j], indptr[j + 1]
            c = column_dot(data, indices, first, last, v) + shift * total * offset[j]
            old = w[b]
            new = shrink(c / scale[j] + diagonal[b] * old, l1[b], diagonal[b] + l2[b], positive)
            if new != old:
                w[b] = new
                change = (new - old) / scale[j]
                shift += change * offset[j]
                for i in range(np.uint64(first), np.uint64(last)):
                    row = np.uint64(indices[i])
                    weight = weights[row] if weights.shape[0] > 0 else 1.0
                    v[row] -= change * weight * data[i]
        if sweep % LOOK == 0 or sweep == sweeps:
            for b in range(k):
                j = chosen[b]
                c = column_dot(data, indices, indptr[j], indptr[j + 1], v)
                g[b] = (c + shift * total * offset[j]) / scale[j]
            squares = 0.0
            for row in range(v.shape[0]):
                weight = weights[row] if weights.shape[0] > 0 else 1.0
                if weight > 0.0:
                    squares += (v[row] + shift * weight) ** 2 / weight
            gap = duality_gap(w, g, l1, l2, diagonal, squares, 1.0, positive)
            if gap <= target:
                return gap, sweep
    return gap, sweeps


correlate = Kernel(_correlate)
combine = Kernel(_combine)
products = Kernel(_products)
squares = Kernel(_squares)
sweep = Kernel(_sweep)
