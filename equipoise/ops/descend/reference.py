"""Coordinate descent in plain NumPy, float64: what the solver is tested against."""

import numpy as np


def solve(X, y, l1, l2, positive=False, sweeps=20_000):
    """Minimise ½‖y − X w‖² + Σ l1|w| + ½ Σ l2 w², with ``l1`` and ``l2`` (p,)."""
    w, r = np.zeros(X.shape[1]), np.array(y, np.float64)
    squares = (X**2).sum(0)
    for _ in range(sweeps):
        before = w.copy()
        for j in np.flatnonzero(squares + l2 * (l1 < np.inf)):
            z = X[:, j] @ r + squares[j] * w[j]
            size = max((z if positive else abs(z)) - l1[j], 0.0)
            new = np.sign(z) * size / (squares[j] + l2[j])
            r -= X[:, j] * (new - w[j])
            w[j] = new
        if np.abs(w - before).max() <= 1e-15 * np.abs(w).max():
            break
    return w


def optimality(X, y, l1, l2, w, positive=False):
    """Give how far each feature is from its condition, in units of the largest |Xᵀy|.

    X_jᵀ(y − X w) − l2 w must equal l1 sign(w), and lie within ± l1 (below l1 where ``positive``)
    where w is zero.
    """
    c = X.T @ (y - X @ w) - l2 * w
    inside = np.maximum((c if positive else np.abs(c)) - l1, 0.0)
    with np.errstate(invalid="ignore"):
        apart = np.where(w != 0.0, np.abs(c - l1 * np.sign(w)), inside)
    return np.where(l1 == np.inf, np.abs(w), apart) / max(np.abs(X.T @ y).max(), 1e-300)


def duality_gap(X, y, l1, l2, w):
    """Give the primal value less the dual value, all l1 above zero, by their definitions.

    L2 is written as rows √l2 below X, with zeros below y, which leaves the Lasso.
    """
    tall, long = np.vstack([X, np.diag(np.sqrt(l2))]), np.append(y, np.zeros(len(w)))
    r = long - tall @ w
    s = min(1.0, (l1 / np.maximum(np.abs(tall.T @ r), 1e-300)).min())
    primal = 0.5 * r @ r + l1 @ np.abs(w)
    return primal - (s * long @ r - 0.5 * s * s * (r @ r))
