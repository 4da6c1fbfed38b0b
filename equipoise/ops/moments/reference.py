"""Moments in plain torch, float64: what the kernels are tested against, and what a GPU runs.

A state is a (7, columns) tensor: count, mean, m2, min, max, number of NaNs, and what rounding
the mean to float64 lost.
"""

import torch


def summarize(x, weights=None):
    """Give the state of the rows of ``x`` (n, columns), NaNs omitted and counted."""
    x = x.double()
    w = x.new_ones(len(x)) if weights is None else weights.double()
    x, w = x[w > 0], w[w > 0, None]
    known = ~x.isnan()
    count = (known * w).sum(0)
    mean = _weighted_mean(x, w, known, count)
    d = (x - mean).where(known, 0)
    # what rounding left of the mean
    rest = ((d * w).sum(0) / count).nan_to_num(0, 0, 0)
    m2 = (d * d * w).sum(0)
    pad = x.new_full((1, x.shape[1]), torch.inf)
    low = torch.cat([x.where(known, torch.inf), pad]).amin(0)
    high = torch.cat([x.where(known, -torch.inf), -pad]).amax(0)
    mean = mean.where(count > 0, torch.nan)
    return torch.stack([count, mean, m2, low, high, (~known * w).sum(0), rest])


def _weighted_mean(x, w, known, count):
    """Give the mean, of values shifted to near it by a first, rougher one."""
    mean = torch.zeros_like(count)
    for _ in range(2):
        left = ((x - mean).where(known, 0) * (w / count)).sum(0)
        mean = torch.where(mean.isfinite(), mean + left, mean)
    return mean


def merge(a, b):
    """Merge two states of the same columns: Chan's formula."""
    count = a[0] + b[0]
    share = (b[0] / count).where(count > 0, 0)
    delta = (b[1] - a[1]) + (b[6] - a[6])
    step = a[6] + delta * share
    # infinite means, or a distance too large for float64, have a mean and no rest
    mean = torch.where(delta.isfinite(), a[1] + step, a[1] * (1 - share) + b[1] * share)
    part = mean - a[1]
    rest = ((a[1] - (mean - part)) + (step - part)).nan_to_num(0, 0, 0)
    m2 = a[2] + b[2] + delta * delta * a[0] * share
    # an empty side has no mean to merge with
    mean, rest, m2 = (
        torch.where(b[0] == 0, a[i], torch.where(a[0] == 0, b[i], merged))
        for i, merged in ((1, mean), (6, rest), (2, m2))
    )
    low, high = torch.minimum(a[3], b[3]), torch.maximum(a[4], b[4])
    return torch.stack([count, mean, m2, low, high, a[5] + b[5], rest])
