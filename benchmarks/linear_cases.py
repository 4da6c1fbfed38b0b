"""Data of the regression benchmark, and the one gap that every contender's coefficients face."""

from functools import lru_cache

import numpy as np

INFORMATIVE, NOISE = 100, 10.0


@lru_cache(maxsize=1)
def data(n: int, p: int, rho: float, order: str, density: float, seed: int, dtype: str):
    """Draw X and y = X w + noise; neighbouring columns of a dense X correlate by ``rho``."""
    rng = np.random.default_rng(seed)
    w = np.zeros(p)
    chosen = rng.choice(p, min(INFORMATIVE, max(p // 5, 1)), replace=False)
    w[chosen] = 100.0 * rng.random(len(chosen))
    if density < 1.0:
        from scipy import sparse

        X = sparse.random_array((n, p), density=density, format="csc", rng=rng)
        X.data[:] = rng.standard_normal(X.nnz)
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    else:
        X = rng.standard_normal((n, p))
        for j in range(1, p if rho else 0):
            X[:, j] = rho * X[:, j - 1] + np.sqrt(1.0 - rho**2) * X[:, j]
        X = np.asarray(X, dtype=dtype, order=order)  # type: ignore[call-overload]
    y = X @ w
    return X, (y + NOISE * rng.standard_normal(n)).astype(dtype)


def centred(X, y, intercept: bool):
    """Give (column means, y less its mean); zeros and y without an intercept."""
    if not intercept:
        return np.zeros(X.shape[1]), np.asarray(y, np.float64)
    return np.asarray(X.mean(axis=0), np.float64).ravel(), y - np.mean(y, dtype=np.float64)


def alpha_max(X, y, intercept: bool) -> float:
    """Give the least alpha at which every coefficient is zero."""
    _, left = centred(X, y, intercept)
    return float(np.abs(X.T @ left).max()) / len(y)


def relative_gap(X, y, intercept: bool, alpha: float, coef) -> float:
    """Give the Lasso's duality gap over the sum of squares of the centred y."""
    means, target = centred(X, y, intercept)
    w = np.asarray(coef, np.float64)
    used = np.flatnonzero(w)
    r = target - (X[:, used] @ w[used] - means[used] @ w[used])
    c = X.T @ r - means * r.sum()
    level = alpha * len(y)
    largest = np.abs(c).max()
    s = min(1.0, level / largest) if largest > 0 else 1.0
    gap = 0.5 * (1.0 - s) ** 2 * (r @ r) + level * np.abs(w).sum() - s * (c @ w)
    return float(gap / (target @ target))
