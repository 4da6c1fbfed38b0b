"""Moments in exact arithmetic: fractions, straight from the definition, with no formula of ours."""

import math
from fractions import Fraction

import numpy as np

# half the distance from 1 to the next float64
U = Fraction(1, 2**53)
# the smallest float64 above 0: squares below it are lost
SMALLEST = Fraction(math.ulp(0.0))


def column(values, weights=None):
    """Give (count, mean, m2) of finite values as fractions; mean is None where count is 0."""
    weights = [1] * len(values) if weights is None else weights
    pairs = [(Fraction(float(v)), Fraction(float(w))) for v, w in zip(values, weights, strict=True)]
    count = sum((w for _, w in pairs), Fraction(0))
    if count == 0:
        return count, None, Fraction(0)
    mean = sum(v * w for v, w in pairs) / count
    return count, mean, sum(w * (v - mean) ** 2 for v, w in pairs)


def rows(x, axes):
    """Give ``x`` as a matrix (values, columns), reduced axes first, by NumPy's own copying."""
    kept = [i for i in range(x.ndim) if i not in axes]
    x = np.transpose(x, [*axes, *kept])
    return np.array(x).reshape(-1, math.prod(x.shape[len(axes) :]))


def assert_exact(m, x, axes=(0,), weights=None, ulps=8):
    """Assert that Moments ``m`` are those of ``x``: m2 within ``ulps``, the mean within two.

    The mean is rounded once at the end; before, it is off by a few roundings of its distance to
    the shift, which is a few standard deviations at most.
    """
    matrix = rows(np.asarray(x), axes)
    weights = np.ones(len(matrix)) if weights is None else np.asarray(weights, float).reshape(-1)
    fields = [np.asarray(f, dtype=float).reshape(-1) for f in (m.count, m.mean, m.m2, m.min, m.max)]
    nans = np.asarray(m.nan_count).reshape(-1)
    assert m.shape == tuple(s for i, s in enumerate(np.shape(x)) if i not in axes)
    for k, (values, *found) in enumerate(zip(matrix.T, *fields, strict=True)):
        assert_column(values, weights, found, nans[k], ulps)


def assert_column(values, weights, found, nan_count, ulps):
    """Assert one column's count, mean, m2, min, max and number of NaNs."""
    values = np.asarray(values, dtype=float)
    lost = np.isnan(values) & (weights > 0)
    known = ~np.isnan(values) & (weights > 0)
    count, mean, m2 = column(values[known], weights[known])
    assert_near(found[0], count, 2 * len(values) * U * count * (weights % 1 != 0).any())
    assert_near(nan_count, sum(map(Fraction, weights[lost])), 2 * len(values) * U * 2)
    assert found[3] == values[known].min(initial=np.inf)
    assert found[4] == values[known].max(initial=-np.inf)
    if mean is None:
        assert math.isnan(found[1])
        assert found[2] == 0
        return
    spread = Fraction(math.isqrt(int(m2 / count * 2**200) + 1), 2**100)
    assert_near(found[1], mean, 2 * U * abs(mean) + 4 * U * spread + SMALLEST)
    assert_near(found[2], m2, 2 * ulps * U * m2 + len(values) * 2 * SMALLEST)


def assert_near(found, exact, bound):
    """Assert |found - exact| <= bound, all exact."""
    gap = abs(Fraction(float(found)) - exact)
    assert gap <= bound, f"{float(found)!r} is {float(gap):.3g} from {float(exact)!r}"
