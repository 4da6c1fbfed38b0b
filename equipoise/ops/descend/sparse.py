"""Sums over the columns of a CSC matrix (data, indices, indptr); centring is left to the caller."""

from equipoise.ops.jit import Kernel, inline


@inline
def column_dot(data, indices, first, last, v):
    s = 0.0
    for i in range(first, last):
        s += data[i] * v[indices[i]]
    return s


def _correlate(data, indices, indptr, v, out):
    """Fill ``out`` (k, p) with the products of k vectors with each column."""
    for j in range(out.shape[1]):
        for k in range(v.shape[0]):
            out[k, j] = column_dot(data, indices, indptr[j], indptr[j + 1], v[k])


def _combine(data, indices, indptr, chosen, factors, out):
    """Add the chosen columns times their factors to ``out`` (n,)."""
    for k in range(chosen.shape[0]):
        j = chosen[k]
        for i in range(indptr[j], indptr[j + 1]):
            out[indices[i]] += factors[k] * data[i]


def _products(data, indices, indptr, new, old, weights, work, out):
    """Fill ``out`` (new, old) with weighted products of columns; ``work`` (n,) is zero."""
    for a in range(new.shape[0]):
        j = new[a]
        for i in range(indptr[j], indptr[j + 1]):
            row = indices[i]
            work[row] = data[i] if weights.shape[0] == 0 else data[i] * weights[row]
        for b in range(old.shape[0]):
            k = old[b]
            out[a, b] = column_dot(data, indices, indptr[k], indptr[k + 1], work)
        for i in range(indptr[j], indptr[j + 1]):
            work[indices[i]] = 0.0


correlate = Kernel(_correlate)
combine = Kernel(_combine)
products = Kernel(_products)
