"""The variance formula in Triton: a tile's own moments, and the merge of two summaries (Chan).

Every GPU kernel inlines these; nothing else in the package contains a variance formula for the
GPU.  A tile is read once into registers, and its mean is taken twice there: the second time of
small numbers.  So no digit is lost where |mean| is large against the standard deviation, whatever
the tile's first numbers are, and nothing is ever to be taken anew.
"""

import triton
import triton.language as tl

# what is annotated as constexpr is given as a plain value
# pyright: reportArgumentType=none


@triton.jit
def moments_of_tile(x, mask, count, axis: tl.constexpr, CENTRED: tl.constexpr):
    """Give the deviations of the ``count`` unmasked numbers, and (shift, rest, m2) along the axis.

    The mean is shift + rest.  Where it is not taken away, both are 0.  Axes are kept, of extent 1;
    ``axis`` None takes all numbers together.
    """
    x = tl.where(mask, x, 0.0)
    deviation = x
    inverse = 1.0 / count
    shift = tl.sum(x * inverse, axis, keep_dims=True)
    rest = shift * 0.0
    if CENTRED:
        deviation = tl.where(mask, x - shift, 0.0)
        rest = tl.sum(deviation, axis, keep_dims=True) * inverse
        deviation = tl.where(mask, deviation - rest, 0.0)
        # an infinite mean has no rest
        rest = tl.where(rest == rest, rest, 0.0)
    else:
        shift = rest
    m2 = tl.sum(deviation * deviation, axis, keep_dims=True)
    return deviation, shift, rest, m2


@triton.jit
def merge(count_a, mean_a, m2_a, count_b, mean_b, m2_b):
    """Merge two summaries (count, mean, m2) in float64 into one; either count may be 0."""
    count = count_a + count_b
    share = count_b / tl.maximum(count, 1.0)
    delta = mean_b - mean_a
    return count, mean_a + delta * share, m2_a + m2_b + delta * delta * count_a * share


@triton.jit
def pool(count, mean, m2, axis: tl.constexpr):
    """Merge summaries in float64 along an axis, which is kept; empty ones have count 0."""
    whole = tl.sum(count, axis, keep_dims=True)
    inverse = 1.0 / tl.maximum(whole, 1.0)
    middle = tl.sum(count * mean, axis, keep_dims=True) * inverse
    delta = mean - middle
    middle += tl.sum(count * delta, axis, keep_dims=True) * inverse
    delta = mean - middle
    return whole, middle, tl.sum(m2 + count * delta * delta, axis, keep_dims=True)
