"""Quantiles of columns by sorting them: what the kernel is tested against, and what few rows run.

The quantile q of n values is that of NumPy's "linear" method: with h = q (n - 1) and x₍ₖ₎ the
sorted values from k = 0, it lies between x₍⌊h⌋₎ and the next in the proportion that h does.
"""

import numpy as np


def ranks(count, q):
    """Give (k, next k, weight of the next) of each quantile ``q`` (t,) of ``count`` (p,) values."""
    h = np.maximum(count[:, None] - 1, 0) * np.asarray(q, np.float64)
    low = np.floor(h)
    part = h - low
    high = np.minimum(low + (part > 0), np.maximum(count[:, None] - 1, 0))
    return low.astype(np.int64), high.astype(np.int64), part


def between(low, high, part):
    """Interpolate as NumPy does: from the nearer end."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    # halves first: the distance of two large numbers may be beyond float64
    gap = high / 2 - low / 2
    near_low, near_high = low + gap * (2 * part), high - gap * (2 * (1 - part))
    return np.where(part < 0.5, near_low, near_high)


def quantiles(x, q):
    """Give the quantiles ``q`` (t,), ascending, of the columns of ``x`` (n, p) as (t, p).

    NaNs are left out; without any number the quantiles are NaN.
    """
    values = np.sort(x, axis=0)
    count = len(x) - np.isnan(x).sum(axis=0)
    low, high, part = ranks(count, q)
    columns = np.arange(x.shape[1])[:, None]
    found = between(values[low, columns], values[high, columns], part)
    return np.where(count > 0, found.T, np.nan)


def weighted_quantiles(x, weights, q):
    """Give the quantiles of rows that count ``weights`` times, as (t, p).

    With whole weights this is `quantiles` of the rows repeated; other weights stretch the same
    formula, h = q (Σ w - 1), so they must add up to more than one row.
    """
    x = np.asarray(x, np.float64)
    return np.stack([_weighted(column, weights, q) for column in x.T], axis=1)


def _weighted(values, weights, q):
    kept = (weights > 0) & ~np.isnan(values)
    values, weights = values[kept], weights[kept]
    if not len(values):
        return np.full(len(q), np.nan)
    order = np.argsort(values, kind="stable")
    values, total = values[order], np.cumsum(weights[order])
    h = np.maximum(total[-1] - 1, 0) * np.asarray(q, np.float64)
    low = np.floor(h)
    part = h - low
    ends = [np.minimum(np.searchsorted(total, k, "right"), len(values) - 1) for k in (low, low + 1)]
    return between(values[ends[0]], values[ends[1]], part)
