"""Correlations of the features outside the working set: who enters next, and what is allowed."""

import numpy as np

from equipoise.ops.jit import Kernel, inline


@inline
def reach(c, slope, f, level):
    """Give the fall of the penalty at which c, which moves by −slope of it, meets f × penalty."""
    return (level * f - c) / (f - slope) if f > slope else np.inf


def _entries(c, before, rise, factors, member, level, positive, out):
    """Fill ``out`` (p,) with the penalty at which each feature will enter; -inf for who cannot.

    ``before`` are the correlations at the last penalty, or empty, and ``rise`` is 1 over how far
    it has fallen since.  Free features come first, and what violates its bound has to enter,
    wherever it moves.
    """
    for j in range(c.shape[0]):
        f = factors[j]
        if member[j] or f == np.inf:
            out[j] = -np.inf
        elif f == 0.0:
            out[j] = np.inf
        else:
            out[j] = (c[j] if positive else abs(c[j])) / f
            if before.shape[0] > 0 and out[j] <= level:
                slope = (before[j] - c[j]) * rise
                t = reach(c[j], slope, f, level)
                if not positive:
                    t = min(t, reach(-c[j], -slope, f, level))
                out[j] = level - t


def _largest(c, factors, member, positive):
    """Give the largest |c| / factor of penalised features outside; NaN where one is not finite."""
    most = 0.0
    for j in range(c.shape[0]):
        if not member[j] and 0.0 < factors[j] < np.inf:
            if not np.isfinite(c[j]):
                return np.nan
            most = max(most, (c[j] if positive else abs(c[j])) / factors[j])
    return most


def _doubtful(c, far, factors, member, level, positive, out):
    """List penalised features outside that may reach f × level; give their number.

    Correlations may be off by ``far``.  -1 says that one is beyond it, if it is what it seems.
    """
    m = 0
    for j in range(c.shape[0]):
        if not member[j] and factors[j] < np.inf:
            size, bound = c[j] if positive else abs(c[j]), level * factors[j]
            if size > bound and far[j] < np.inf:
                return -1
            # what is not finite is looked at
            if not size + far[j] < bound:
                out[m] = j
                m += 1
    return m


doubtful = Kernel(_doubtful)
entries = Kernel(_entries)
largest = Kernel(_largest)
