"""The variance formula's one home: shifted sums, and the merge of two summaries (Chan).

Every kernel inlines these; nothing else in the package contains a variance formula.
Sources: Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983).
"""

from equipoise.ops.jit import inline

# (mean - shift)^2 beyond this many variances loses digits: then the shift moves to the mean
FAR = 4.0


@inline
def from_shifted(count, shift, total, squares):
    """Give (mean, m2) of ``count`` values from the sums of (x - shift) and (x - shift)^2."""
    if count <= 0:
        return 0.0, 0.0
    delta = total / count
    return shift + delta, max(squares - total * delta, 0.0)


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
