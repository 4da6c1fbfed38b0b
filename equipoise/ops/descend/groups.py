"""Descent over groups on cross products: w minimises ½ wᵀG w − qᵀw + Σ λ_g ‖w_g‖.

A group is minimised exactly, by the eigenvectors of its block of G: with z = g + G_gg w on the
group, w_g is 0 where ‖z‖ ≤ λ, else (G_gg + λ/‖w_g‖)⁻¹ z, whose norm solves a scalar equation.
(Qin, Scheinberg and Goldfarb, 2013.)
"""

import numpy as np

from equipoise.ops.descend.gram import axpy, squared_residual
from equipoise.ops.jit import Kernel, inline

# steps of Newton's method on a convex scalar equation: it converges in about six
STEPS = 50
# share of the largest below which an eigenvalue is rounding, and a penalty as good as none
FLAT = 1e-13


@inline
def floor_of(z, values, l1):
    """Give what an eigenvalue must be above to count.

    Where no penalty holds them, directions that nothing varies in stay at zero.
    """
    squares = 0.0
    for i in range(z.shape[0]):
        squares += z[i] * z[i]
    return FLAT * values[values.shape[0] - 1] if l1 <= FLAT * np.sqrt(squares) else -1.0


@inline
def group_norm(z, values, l1, floor):
    """Give ν > 0 with Σ (z / (values ν + λ))² = 1, where ‖z‖ > λ; z is in eigenvectors.

    The reciprocal of the root of the sum is convex or concave enough for Newton's method to
    converge from below, as in trust regions (Moré and Sorensen, 1983).  It starts where the root
    were if all values equalled the largest.
    """
    squares = 0.0
    for i in range(z.shape[0]):
        squares += z[i] * z[i] if values[i] > floor else 0.0
    top = values[values.shape[0] - 1]
    nu = (np.sqrt(squares) - l1) / top if top > 0.0 else 0.0
    if not nu > 0.0:
        return 0.0
    for _ in range(STEPS):
        total, slope = 0.0, 0.0
        for i in range(z.shape[0]):
            if values[i] > floor:
                d = values[i] * nu + l1
                total += (z[i] / d) ** 2
                slope += (z[i] / d) ** 2 * values[i] / d
        root = np.sqrt(total)
        if slope <= 0.0 or not root > 1.0:
            break
        step = (root - 1.0) * total / slope
        nu += step
        if step <= 1e-15 * nu:
            break
    return nu


@inline
def move(G, w, g, first, last, l1, values, vectors, z):
    """Minimise over the features first to last; tell whether they moved."""
    size = last - first
    for a in range(size):
        z[a] = g[first + a]
        for b in range(size):
            z[a] += G[first + a, first + b] * w[first + b]
    squares = 0.0
    for a in range(size):
        squares += z[a] * z[a]
    inside = squares <= l1 * l1
    for a in range(size):
        z[size + a] = 0.0
        if not inside:
            for b in range(size):
                z[size + a] += vectors[b * size + a] * z[b]
    floor = floor_of(z[size : 2 * size], values, l1)
    nu = 0.0 if inside else group_norm(z[size : 2 * size], values, l1, floor)
    for a in range(size):
        held = nu > 0.0 and values[a] > floor
        z[size + a] = z[size + a] * nu / (values[a] * nu + l1) if held else 0.0
    moved = False
    for a in range(size):
        new = 0.0
        for b in range(size):
            new += vectors[a * size + b] * z[size + b]
        if new != w[first + a]:
            moved = True
            axpy(new - w[first + a], G[first + a, : g.shape[0]], g)
            w[first + a] = new
    return moved


@inline
def gain(g, values, vectors):
    """Give what a free group would gain by one more step; it has no dual value, as `without_l1`."""
    size, found = g.shape[0], 0.0
    for a in range(size):
        along = 0.0
        for b in range(size):
            along += vectors[b * size + a] * g[b]
        found += along * along / values[a] if values[a] > FLAT * values[size - 1] else 0.0
    return found


@inline
def group_gap(w, g, bounds, l1, values, vectors, starts, squares, most):
    """Give the duality gap, as `gram.duality_gap` does, with norms of groups."""
    along = 0.0
    for k in range(l1.shape[0]):
        size = 0.0
        for j in range(bounds[k], bounds[k + 1]):
            along += g[j] * w[j]
            size += g[j] * g[j]
        if l1[k] > 0.0 and np.sqrt(size) * most > l1[k]:
            most = l1[k] / np.sqrt(size)
    s = min(most, max(0.0, 1.0 + along / squares)) if squares > 0.0 else min(most, 1.0)
    gap = 0.5 * (1.0 - s) ** 2 * squares
    for k in range(l1.shape[0]):
        first, last = bounds[k], bounds[k + 1]
        norm, product = 0.0, 0.0
        for j in range(first, last):
            norm += w[j] * w[j]
            product += g[j] * w[j]
        if l1[k] > 0.0:
            gap += l1[k] * np.sqrt(norm) - s * product
        else:
            gap += abs(product) + gain(g[first:last], values[first:last], vectors[starts[k] :])
    return gap


def _descend_groups(G, q, w, g, bounds, l1, values, vectors, starts, yy, target, epochs):
    """Sweep over groups until the gap on them is at most ``target``; give (gap, sweeps).

    Group k holds the features bounds[k] to bounds[k + 1]; ``values`` are eigenvalues of its block
    of G, and ``vectors`` from starts[k] on its eigenvectors, row by row.
    """
    widest = 1
    for k in range(l1.shape[0]):
        widest = max(widest, bounds[k + 1] - bounds[k])
    z = np.empty(2 * widest)
    gap = np.inf
    for epoch in range(epochs):
        for k in range(l1.shape[0]):
            first, last = bounds[k], bounds[k + 1]
            size = last - first
            move(
                G, w, g, first, last, l1[k], values[first:last],
                vectors[starts[k] : starts[k] + size * size], z,
            )  # fmt: skip
        squares = squared_residual(w, g, q, yy)
        gap = group_gap(w, g, bounds, l1, values, vectors, starts, squares, 1.0)
        if gap <= target:
            return gap, epoch + 1
    return gap, epochs


def _measure_groups(w, g, bounds, l1, values, vectors, starts, squares, most):
    return group_gap(w, g, bounds, l1, values, vectors, starts, squares, most)


descend_groups = Kernel(_descend_groups)
measure_groups = Kernel(_measure_groups)
