"""Coordinate descent on cross products: w minimises ½ wᵀG w − qᵀw + Σ λ|w| + ½ Σ μ w².

``g`` is q − G w throughout.  An update costs one row of G; a coordinate that stays at zero
costs nothing.
"""

import numpy as np

from equipoise.ops.jit import Kernel, fast, inline, window


@inline
def row(G, i, k):
    """Give the first k entries of row i."""
    return window(G, i * G.shape[1], k)


@inline
def triangle(inverse, s):
    """Give row s of a lower triangle that is kept row after row."""
    return window(inverse, s * (s + 1) // 2, s + 1)


@inline
def shrink(z, l1, curvature, positive):
    """Minimise ½ curvature w² − z w + l1 |w|, over w ≥ 0 where ``positive``."""
    if curvature <= 0.0:
        return 0.0
    if z > l1:
        return (z - l1) / curvature
    if z < -l1 and not positive:
        return (z + l1) / curvature
    return 0.0


@inline
def axpy(step, row, g):
    for i in range(g.shape[0]):
        g[i] -= step * row[i]


@fast
def dot(a, b):
    s = 0.0
    for i in range(a.shape[0]):
        s += a[i] * b[i]
    return s


@inline
def duality_gap(w, g, l1, l2, diagonal, squares, most, positive):
    """Give the primal value less the dual value at s r, for the best s that is feasible.

    ``squares`` is ‖r‖², ``most`` what the features that are not here allow s to be.  With
    c = g − μ w and R = ‖r‖² + Σ μ w², the gap is ½ (1 − s)² R + Σ (λ|w| − s c w), and
    (μ w − s g)² / 2μ for a feature without L1: terms that are not negative, so that nothing
    cancels.  Where every μ > 0 the conjugate of the whole penalty gives a second bound.
    """
    whole, along, smooth = squares, 0.0, most >= 1.0
    for j in range(w.shape[0]):
        if l1[j] > 0.0 and l1[j] < np.inf:
            c = g[j] - l2[j] * w[j]
            along += c * w[j]
            whole += l2[j] * w[j] * w[j]
            size = c if positive else abs(c)
            if size * most > l1[j]:
                most = l1[j] / size
            smooth = smooth and l2[j] > 0.0
    s = min(most, max(0.0, 1.0 + along / whole)) if whole > 0.0 else min(most, 1.0)
    gap, conjugate = 0.5 * (1.0 - s) ** 2 * whole, 0.0
    for j in range(w.shape[0]):
        if l1[j] == 0.0:
            gap += without_l1(w[j], g[j], s, l2[j], diagonal[j], positive)
            conjugate += without_l1(w[j], g[j], 1.0, l2[j], diagonal[j], positive)
        elif l1[j] < np.inf:
            gap += l1[j] * abs(w[j]) - s * (g[j] - l2[j] * w[j]) * w[j]
            if smooth:
                over = max(0.0, (g[j] if positive else abs(g[j])) - l1[j])
                conjugate += l1[j] * abs(w[j]) + 0.5 * l2[j] * w[j] ** 2 - g[j] * w[j]
                conjugate += 0.5 * over * over / l2[j]
    return conjugate if smooth and conjugate < gap else gap


@inline
def without_l1(w, g, s, l2, diagonal, positive):
    """Give the share in the gap of a feature without L1.

    A free one (no L2 either) has no dual value: what one more step would gain stands for it.
    """
    up = max(g, 0.0) if positive and w == 0.0 else g
    if l2 > 0.0:
        return 0.5 * (l2 * w - s * up) ** 2 / l2
    return abs(up * w) + (up * up / diagonal if diagonal > 0.0 else 0.0)


@inline
def squared_residual(w, g, q, yy):
    """Give ‖y − X w‖² from cross products."""
    total = yy
    for j in range(w.shape[0]):
        total -= (q[j] + g[j]) * w[j]
    return max(total, 0.0)


@inline
def next_random(state):
    """Advance a xorshift generator (Marsaglia, 2003)."""
    x = state
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    return x


def _descend(G, q, w, g, l1, l2, yy, positive, target, epochs, seed):
    """Sweep until the gap on these features is at most ``target``; give (gap, sweeps).

    ``seed`` other than 0 draws the coordinates at random.
    """
    k = w.shape[0]
    diagonal = np.empty(k)
    for j in range(k):
        diagonal[j] = G[j, j]
    state = np.uint64(seed)
    gap = np.inf
    for epoch in range(epochs):
        for step in range(k):
            j = step
            if seed != 0:
                state = next_random(state)
                j = np.int64(state % np.uint64(k))
            old = w[j]
            z = g[j] + diagonal[j] * old
            new = shrink(z, l1[j], diagonal[j] + l2[j], positive)
            if new != old:
                axpy(new - old, row(G, j, k), g)
                w[j] = new
        squares = squared_residual(w, g, q, yy)
        gap = duality_gap(w, g, l1, l2, diagonal, squares, 1.0, positive)
        if gap <= target:
            return gap, epoch + 1
    return gap, epochs


def _measure(w, g, l1, l2, diagonal, squares, most, positive):
    return duality_gap(w, g, l1, l2, diagonal, squares, most, positive)


def _widen(memory, k, old, new):
    """Move k rows of k in place, from ``old`` apart in flat ``memory`` to ``new`` >= old apart."""
    for i in range(k - 1, 0, -1):
        for j in range(k - 1, -1, -1):
            memory[i * new + j] = memory[i * old + j]


def _agree(G, step, change, support, m, inverse):
    """Let G take ``step`` to ``change``, by BFGS, and the inverse of it on the support as well."""
    k = step.shape[0]
    along, z = np.empty(k), np.empty(m)
    for i in range(k):
        along[i] = dot(row(G, i, k), step)
    curvature, known = dot(step, change), dot(step, along)
    if not (curvature > 0.0 and known > 0.0):
        return
    for way in range(2):
        v, size = (change, curvature) if way == 0 else (along, -known)
        for i in range(k):
            axpy(-v[i] / size, v, row(G, i, k))
        for s in range(m):
            z[s] = 0.0
            for t in range(m):
                z[s] += triangle(inverse, max(s, t))[min(s, t)] * v[support[t]]
        left = size
        for s in range(m):
            left += v[support[s]] * z[s]
        for s in range(m):
            axpy(z[s] / left, window(z, 0, s + 1), triangle(inverse, s))


def _mirror(G, k, m):
    """Fill m columns from the k-th on with the rows that they equal."""
    for i in range(k):
        for j in range(m):
            G[i, k + j] = G[k + j, i]


def _add_rows(G, factors, out):
    """Add Σ factors_j G[j] to ``out``."""
    for j in range(factors.shape[0]):
        if factors[j] != 0.0:
            axpy(-factors[j], row(G, j, out.shape[0]), out)


mirror = Kernel(_mirror)
add_rows = Kernel(_add_rows)
agree = Kernel(_agree)
descend = Kernel(_descend)
measure = Kernel(_measure)
widen = Kernel(_widen)
