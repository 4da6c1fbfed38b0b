"""Data of the regression benchmark, and the one gap that every contender's coefficients face."""

import subprocess
import sys
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.model import NoData

INFORMATIVE, NOISE = 100, 10.0
NCI60 = (64, 6830)
# a package of data for a textbook (James et al., 2023); its wheel is read, not installed
PACKAGE, FOLDER = "ISLP==0.6.0", Path(__file__).parent.parent / "build" / "data"


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


@lru_cache(maxsize=1)
def nci60(order: str):
    """Read the expression of 6830 genes in 64 tumours, and whether each is a melanoma.

    Raises
    ------
    NoData
        The package index cannot be reached.
    """
    if not list(FOLDER.glob("islp-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", FOLDER]
        if subprocess.run([*pip, PACKAGE], check=False).returncode:
            raise NoData(f"pip cannot download {PACKAGE} to {FOLDER}")
    with zipfile.ZipFile(next(FOLDER.glob("islp-*.whl"))) as wheel:
        with wheel.open("ISLP/data/NCI60data.npy") as file:
            X = np.load(file)
        labels = wheel.read("ISLP/data/NCI60labs.csv").decode().split()[1:]
    y = np.array([label.strip('"') == "MELANOMA" for label in labels], np.float64)
    return np.asarray(X, order=order), y  # type: ignore[call-overload]


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
