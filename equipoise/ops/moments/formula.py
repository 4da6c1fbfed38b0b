"""The variance formula's one home: shifted sums, and the merge of two summaries (Chan).

Every kernel inlines these; nothing else in the package contains a variance formula.
Sources: Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983).
"""

from math import inf

from equipoise.ops.jit import inline

# (mean - shift)^2 beyond this many variances loses digits: then the shift moves to the mean
FAR = 4.0


@inline
def from_shifted(count, shift, total, squares):
    """Give (mean, m2) of ``count`` values from the sums of (x - shift) and (x - shift)^2."""
    if count <= 0:
        return 0.0, 0.0
    delta = total / count
    m2 = squares - total * delta
    # a comparison, not max(): NaN stays NaN
    return shift + delta, 0.0 if m2 < 0.0 else m2


@inline
def is_far(count, total, squares):
    """Tell whether the shift lies so far from the mean that the sums must be taken anew."""
    delta = total / count
    return delta * delta * count > FAR * (squares - total * delta)


@inline
def merge(count_a, mean_a, m2_a, count_b, mean_b, m2_b):
    """Merge two summaries (count, mean, m2) into one."""
    count = count_a + count_b
    if count_b == 0.0:
        return count_a, mean_a, m2_a
    if count_a == 0.0:
        return count_b, mean_b, m2_b
    delta = mean_b - mean_a
    share = count_b / count
    return count, mean_a + delta * share, m2_a + m2_b + delta * delta * count_a * share


@inline
def split(shift, delta):
    """Give shift + delta as (mean, rest): rounded, and what the rounding lost (Knuth's TwoSum)."""
    mean = shift + delta
    part = mean - shift
    rest = (shift - (mean - part)) + (delta - part)
    # infinite means have no rest
    return mean, rest if rest == rest else 0.0


@inline
def merge_split(count_a, mean_a, rest_a, m2_a, count_b, mean_b, rest_b, m2_b):
    """Merge two summaries (count, mean, rest, m2) into one.

    A mean rounded to float64 is off by |mean| 2^-53.  Where |mean| / std is 1e8 the distance of
    two such means is off by 1e-8 std, and the variance of many merged blocks by 1e-10.
    """
    if count_b == 0.0:
        return count_a, mean_a, rest_a, m2_a
    if count_a == 0.0:
        return count_b, mean_b, rest_b, m2_b
    count = count_a + count_b
    delta = (mean_b - mean_a) + (rest_b - rest_a)
    share = count_b / count
    if not abs(delta) < inf:
        # infinite means, or a distance too large for float64
        mean = mean_a * (count_a / count) + mean_b * share
        return count, mean, 0.0, m2_a + m2_b + delta * delta
    mean, rest = split(mean_a, rest_a + delta * share)
    return count, mean, rest, m2_a + m2_b + delta * delta * count_a * share
