"""What both kernel families do between their sweeps: from sums to coefficients, in float64.

A statistic covers ``per`` neighbouring lines (1 for BatchNorm and InstanceNorm, a group's
channels for GroupNorm); line l takes the weight of channel l % channels.  ``stats``
(4, statistics) float64 holds mean, biased variance, 1 / sqrt(variance + eps) and a flag that
digits were lost.
"""

import math

import numpy as np
from numba import carray

from equipoise.ops.jit import inline
from equipoise.ops.moments.formula import from_shifted, is_far
from equipoise.ops.normalize.words import CHANNELS, DBIAS, SUMMED
from equipoise.ops.sweep.call import pointer_at


@inline
def merge_chunks(partial, l0, l1):
    """Add up the chunks' (chunks, 2, lines) sums of lines l0 to l1 in their order, in the first."""
    for k in range(1, partial.shape[0]):
        for j in range(2):
            for line in range(l0, l1):
                partial[0, j, line] += partial[k, j, line]


@inline
def write_statistics(partial, r, per, count, eps, centred, stats):
    """Write statistic ``r`` from the merged sums about the shift in ``stats[0, r]``.

    Where the mean is not taken away (``centred`` 0), it is 0 and the variance is the mean square.

    ``stats[3, r]`` tells that digits were lost (far shift) or sums overflowed: the caller then
    takes the statistics anew, in float64.
    """
    total, squares = 0.0, 0.0
    for line in range(r * per, (r + 1) * per):
        total += partial[0, 0, line]
        squares += partial[0, 1, line]
    lost = not np.isfinite(squares)
    mean, m2 = 0.0, squares
    if centred:
        lost = lost or is_far(count, total, squares)
        mean, m2 = from_shifted(count, stats[0, r], total, squares)
    stats[0, r] = mean
    stats[1, r] = m2 / count
    stats[2, r] = 1.0 / math.sqrt(m2 / count + eps)
    stats[3, r] = 1.0 if lost else 0.0


@inline
def copy_columns(source, first, target, begin, n):
    """Copy n statistics: a loop over rows that lie without gaps becomes vector code."""
    for j in range(4):
        a, b = source[j, first : first + n], target[j, begin : begin + n]
        for k in range(n):
            b[k] = a[k]


@inline
def digits_lost(stats):
    """Tell whether any statistic is to be taken anew."""
    lost = 0
    for r in range(stats.shape[1]):
        if stats[3, r] != 0.0:
            lost = 1
    return lost


@inline
def affine_of_lines(l0, l1, per, stats, weight, bias, coef):
    """Write (3, lines) shift, scale and offset: the layer is (x - shift) * scale + offset."""
    c = l0 % weight.size
    for first in range(l0, l1, per):
        r = first // per
        shift, invstd = weight.dtype.type(stats[0, r]), stats[2, r]
        rest = stats[0, r] - shift
        for k in range(first - l0, first - l0 + per):
            scale = weight[c] * invstd
            coef[0, k] = shift
            coef[1, k] = scale
            coef[2, k] = bias[c] - rest * scale
            c = c + 1 if c + 1 < weight.size else 0


@inline
def gradient_sums_of_lines(l0, l1, per, partial, stats, weight, sums):
    """Write the sums of g and of g * xhat over each line: the gradients of bias and weight."""
    for first in range(l0, l1, per):
        r = first // per
        rest, invstd = stats[0, r] - weight.dtype.type(stats[0, r]), stats[2, r]
        for line in range(first, first + per):
            sums[0, line] = partial[0, 0, line]
            sums[1, line] = (partial[0, 1, line] - rest * partial[0, 0, line]) * invstd


@inline
def gradient_of_lines(l0, l1, per, stats, weight, sums, count, training, centred, coef):
    """Write (3, lines) a, b, c: the input's gradient is a * g + b * (x - shift) + c.

    dx = invstd * (w * g - mean(w * g) - xhat * mean(w * g * xhat)), the means over a statistic's
    lines, the first of them only where the mean was taken away; in evaluation invstd * w * g.
    """
    c = l0 % weight.size
    for first in range(l0, l1, per):
        r, begin = first // per, first - l0
        total, moment = 0.0, 0.0
        for k in range(begin, begin + per):
            w = weight[c]
            coef[0, k] = w * stats[2, r]
            total += w * sums[0, l0 + k] * centred
            moment += w * sums[1, l0 + k]
            c = c + 1 if c + 1 < weight.size else 0
        b = -stats[2, r] * stats[2, r] * moment / count
        rest = stats[0, r] - weight.dtype.type(stats[0, r])
        for k in range(begin, begin + per):
            coef[1, k] = b if training else 0.0
            coef[2, k] = -stats[2, r] * total / count - b * rest if training else 0.0


@inline
def gradient_of_rows(n, totals, stats, width, centred, coef):
    """Write coef[3:6], a, b, c of n rows: dx = a * g * weight + b * (x - shift) + c.

    ``totals`` (2, n) are the sums of g * weight, and of it times x - shift, in each row.
    """
    for k in range(n):
        invstd = stats[2, k]
        rest = stats[0, k] - coef[0, k]
        moment = (totals[1, k] - rest * totals[0, k]) * invstd
        slope = -invstd * invstd * moment / width
        coef[3, k] = invstd
        coef[4, k] = slope
        coef[5, k] = -invstd * totals[0, k] * centred / width - slope * rest


@inline
def round_gradients(i, sums, size, computed):
    """Write sums (2, size or more) of g and g * xhat where the gradients of bias and weight go."""
    for j in range(2):
        if i[DBIAS + j] != 0:
            gradient = carray(pointer_at(computed, i[DBIAS + j]), (size,))
            for c in range(size):
                gradient[c] = sums[j, c]


@inline
def add_samples(i, sums, computed):
    """Add up the samples' (2, samples * channels) sums in their order, in the first sample's."""
    channels = i[CHANNELS]
    for j in range(2):
        for first in range(channels, sums.shape[1], channels):
            for c in range(channels):
                sums[j, c] += sums[j, first + c]
    round_gradients(i, sums, channels, computed)


@inline
def write_gradients(i, partial, floats, computed):
    """Add up the chunks' (chunks, 2, width) sums of g and g * xhat in their order, and write them.

    In float64, in the compute type as the gradients of bias and weight, or both.
    """
    width = partial.shape[2]
    merge_chunks(partial, 0, width)
    if i[SUMMED] != 0:
        sums = carray(pointer_at(floats, i[SUMMED]), (2, width))
        for j in range(2):
            for c in range(width):
                sums[j, c] = partial[0, j, c]
    round_gradients(i, partial[0], width, computed)
