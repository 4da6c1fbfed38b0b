"""A step that coordinate descent takes many sweeps for: solve on the support, search the line."""

from typing import Any

import numpy as np


def newton(G, w, g, l1, l2, positive):
    """Move ``w`` (k,) to the best point towards the solution on its support; update ``g``.

    On the support, with signs kept, the optimum solves (G + μ) d = g − μ w − λ sign(w).  Where a
    coordinate would change sign, the objective along d is piecewise quadratic, and its minimum
    is found exactly.  The objective never grows.

    Returns
    -------
    exact : bool
        The full step was taken: the optimum on this support, up to rounding.
    """
    k = len(w)
    s = np.flatnonzero((w != 0.0) | ((l1 == 0.0) & ((g > 0.0) | (not positive))))
    if len(s) == 0:
        return True
    ws, l1s, l2s = w[s], l1[s], l2[s]
    slope = g[s] - l2s * ws - l1s * np.sign(ws)
    A = G[:k, :k][s[:, None], s] if len(s) < k else G[:k, :k].copy()
    A.flat[:: len(s) + 1] += l2s
    d = solve(A, slope)
    if d is None:
        return False
    t = _search(d, slope, ws, l1s, positive)
    moved = ws + t * d
    # what reaches zero is zero
    moved[(np.abs(moved) <= 1e-15 * np.abs(ws)) & (l1s > 0.0)] = 0.0
    if positive:
        np.maximum(moved, 0.0, out=moved)
    w[s] = moved
    g -= (moved - ws) @ G[s, :k]
    return bool(t == 1.0)


def solve(A, slope):
    """Solve A d = slope; duplicate columns make A singular, and a little is added to it."""
    import scipy.linalg

    lapack: Any = scipy.linalg.lapack
    trace = float(np.trace(A)) / len(A)
    for jitter in (0.0, 1e-12, 1e-9, 1e-6):
        B = A.copy() if jitter == 0.0 else A + np.eye(len(A)) * (jitter * trace)
        _, d, info = lapack.dposv(B.T, slope, lower=1, overwrite_a=1)
        if info == 0 and np.isfinite(d).all():
            return d
    return None


def _search(d, slope, w, l1, positive):
    """Give the t in (0, 1] that minimises the objective at w + t d.

    Its derivative at t is (t − 1) slope·d plus 2 λ|d| for each coordinate that has crossed zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where((d * w < 0.0) & (l1 > 0.0), -w / d, np.inf)
    if positive:
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(d * w < 0.0, -w / d, np.inf)
        return min(1.0, float(at.min()))
    if not at.min() < 1.0:
        return 1.0
    order = np.argsort(at)
    kinks, jumps = at[order], np.cumsum(2.0 * l1[order] * np.abs(d[order]))
    curvature = float(slope @ d)
    for i in range(len(kinks)):
        if not kinks[i] < 1.0:
            break
        before = jumps[i - 1] if i else 0.0
        # the piece that ends at this kink
        if (kinks[i] - 1.0) * curvature + before >= 0.0:
            return max(1.0 - before / curvature, 0.0)
        if (kinks[i] - 1.0) * curvature + jumps[i] >= 0.0:
            return float(kinks[i])
    crossed = jumps[np.searchsorted(kinks, 1.0) - 1]
    return max(1.0 - crossed / curvature, 0.0)


def inverse_of(G, s, l2):
    """Give the inverse of G + μ on the support ``s``, its lower triangle row after row.

    None where it has none.
    """
    import scipy.linalg

    lapack: Any = scipy.linalg.lapack
    if len(s) == 0:
        return np.empty(0)
    A = G[s[:, None], s]
    A.flat[:: len(s) + 1] += l2[s]
    L, info = lapack.dpotrf(A.T, lower=1, clean=0, overwrite_a=1)
    # a pivot that is left with little belongs to a column that the others span
    least = 1e-10 if G.dtype == np.float64 else 1e-5
    if info != 0 or not (np.diagonal(L) ** 2 > least * (np.diagonal(G)[s] + l2[s])).all():
        return None
    inverse, info = lapack.dpotri(L, lower=1, overwrite_c=1)
    if info != 0:
        return None
    return inverse[np.tril_indices(len(s))]
