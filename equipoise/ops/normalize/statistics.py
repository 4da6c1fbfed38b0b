"""What both kernel families do between their sweeps: from sums to coefficients, in float64.

``stats`` (4, rows) float64 holds mean, biased variance, 1 / sqrt(variance + eps) and a flag that
digits were lost.  The mean
reaches the sweeps as a shift in the compute type and a rest that goes into the offset, so that
no digit of it is lost: x - shift is exact where x is near the mean.
"""

import math

import numpy as np

from equipoise.ops.jit import inline
from equipoise.ops.moments.formula import from_shifted, is_far

SUMS, APPLY = 1, 2


@inline
def merged(partial, r):
    """Add up row ``r`` of the chunks' (chunks, 2, rows) sums, in their order."""
    first, second = 0.0, 0.0
    for k in range(partial.shape[0]):
        first += partial[k, 0, r]
        second += partial[k, 1, r]
    return first, second


@inline
def write_statistics(partial, r, count, eps, stats):
    """Write row ``r``'s statistics from its chunks' sums about the shift in ``stats[0, r]``.

    ``stats[3, r]`` tells that digits were lost (far shift) or sums overflowed: the caller then
    takes the statistics anew, in float64.
    """
    total, squares = merged(partial, r)
    lost = not np.isfinite(squares) or is_far(count, total, squares)
    mean, m2 = from_shifted(count, stats[0, r], total, squares)
    stats[0, r] = mean
    stats[1, r] = m2 / count
    stats[2, r] = 1.0 / math.sqrt(m2 / count + eps)
    stats[3, r] = 1.0 if lost else 0.0


@inline
def affine_of_rows(r0, r1, stats, weight, bias):
    """Give (3, rows) shift, scale and offset: the layer is (x - shift) * scale + offset."""
    coef = np.empty((3, r1 - r0), weight.dtype)
    for r in range(r0, r1):
        shift = weight.dtype.type(stats[0, r])
        scale = weight[r] * stats[2, r]
        coef[0, r - r0] = shift
        coef[1, r - r0] = scale
        coef[2, r - r0] = bias[r] - (stats[0, r] - shift) * scale
    return coef


@inline
def merge_gradient_sums(r, partial, stats, shift, sums):
    """Write the gradients of bias and weight from the chunks' sums of g and g * (x - shift)."""
    total, moment = merged(partial, r)
    sums[0, r] = total
    sums[1, r] = (moment - (stats[0, r] - shift) * total) * stats[2, r]


@inline
def gradient_of_rows(r0, r1, stats, weight, sums, count, training):
    """Give (3, rows) a, b, c: the input's gradient is a * g + b * (x - shift) + c.

    dx = weight * invstd * (g - mean(g) - xhat * mean(g * xhat)); in evaluation a * g alone.
    """
    coef = np.zeros((3, r1 - r0), weight.dtype)
    for r in range(r0, r1):
        a = weight[r] * stats[2, r]
        coef[0, r - r0] = a
        if training:
            b = -a * stats[2, r] * sums[1, r] / count
            rest = stats[0, r] - weight.dtype.type(stats[0, r])
            coef[1, r - r0] = b
            coef[2, r - r0] = -a * sums[0, r] / count - b * rest
    return coef
