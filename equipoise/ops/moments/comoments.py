"""Cross products of columns: chunks that are centred first, then multiplied, then merged.

A state is (count, mean (p,), rest (p,), m2 (p, p)) in float64, where rest is what rounding the
mean lost.  The same lines serve NumPy and torch.
"""

from functools import reduce

import numpy as np
import torch

from equipoise.ops.moments import inputs

# values in a chunk: a megabyte of float64, and at least the rows that keep the products busy
CHUNK = 1 << 17
ROWS = 256


def empty(columns: int):
    """Give the state of no row: merged with any other it gives that other."""
    return 0.0, np.full(columns, np.nan), np.zeros(columns), np.zeros((columns, columns))


def summarize(x, y=None, weights=None):
    """Give the state of the rows of [x y], each (n, columns)."""
    columns = x.shape[1] + (0 if y is None else y.shape[1])
    # as large as half of m2, which is merged once a chunk
    step = max(ROWS, columns // 2, CHUNK // max(columns, 1))
    parts = (
        _chunk(*(v if v is None else v[i : i + step] for v in (x, y, weights)))
        # no row is a chunk too
        for i in range(0, max(len(x), 1), step)
    )
    return reduce(merge, parts)


def _chunk(x, y, weights):
    """Give the state of a few rows."""
    z = _side_by_side(x, y)
    if weights is not None:
        z, weights = z[weights > 0], weights[weights > 0]
    if len(z) == 0:
        return 0.0, z.sum(0) * np.nan, z.sum(0), z.T @ z
    if weights is None:
        return float(len(z)), *_centred(z, float(len(z)))
    return float(weights.sum()), *_centred(z, float(weights.sum()), weights)


def _centred(z, count, weights=None):
    """Give (mean, rest, m2) of a few rows: centred twice, for the first mean is rounded."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = z[0] + _mean(z - z[0], count, weights)
        d = z - mean
        rest = _mean(d, count, weights)
        m2 = _products(d, weights) - rest[:, None] * rest * count
        return *_split(mean, rest), m2


def _mean(d, count, weights):
    return (d if weights is None else d * weights[:, None]).sum(0) / count


def _products(d, weights):
    """Give Σ w d dᵀ over the rows of ``d``."""
    if isinstance(d, torch.Tensor):
        return d.T @ (d if weights is None else d * weights[:, None])
    # imports Numba
    from equipoise.ops.moments.gram import gram

    (n, p), (rows, columns) = d.shape, (-(-size // 4) * 4 for size in d.shape)
    padded, factors = np.zeros((rows, columns)), np.zeros(rows)
    padded[:n, :p] = d
    factors[:n] = 1.0 if weights is None else weights
    out = np.empty((columns, columns))
    # every value is read once for four columns
    gram(padded.nbytes * (columns // 4), padded.reshape(-1), factors, out)
    return out[:p, :p]


def _split(shift, delta):
    """Give shift + delta as the rounded sum and what the rounding lost; see ``formula.split``."""
    mean = shift + delta
    part = mean - shift
    rest = (shift - (mean - part)) + (delta - part)
    # infinite means have no rest
    rest[~(abs(rest) < np.inf)] = 0.0
    return mean, rest


def _side_by_side(x, y):
    """Give [x y] in float64."""
    if isinstance(x, torch.Tensor):
        return torch.cat([x.double()] if y is None else [x.double(), y.double()], 1)
    parts = [inputs.widen(v, np.float64) for v in (x, y) if v is not None]
    return parts[0] if y is None else np.concatenate(parts, 1)


def merge(a, b):
    """Merge two states of the same columns: Chan's formula, matrix form."""
    if b[0] == 0:
        return a
    if a[0] == 0:
        return b
    count = a[0] + b[0]
    share = b[0] / count
    with np.errstate(invalid="ignore", over="ignore"):
        delta = (b[1] - a[1]) + (b[2] - a[2])
        between = delta[:, None] * delta * (a[0] * share)
        mean, rest = _split(a[1], a[2] + delta * share)
        # infinite means, or a distance too large for float64
        lost = ~(abs(delta) < np.inf)
        mean[lost] = (a[1] * (a[0] / count) + b[1] * share)[lost]
        return count, mean, rest, a[3] + b[3] + between
