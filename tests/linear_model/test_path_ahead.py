"""Paths certified at some penalties, held to the same paths on the whole Gram matrix."""

import numpy as np
import pytest

from equipoise.linear_model import enet_path, path, problem
from equipoise.ops.descend import ahead, design


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(problem, "MANY", 20)
    monkeypatch.setattr(problem, "LARGE", 1000)


@pytest.fixture
def calls(monkeypatch):
    """List what each path solved ahead gave."""
    found = []

    class Watched(ahead.Ahead):
        def solve(self):
            found.append(super().solve())
            return found[-1]

    monkeypatch.setattr(path, "Ahead", Watched)
    return found


def _data(dtype=np.float64, n=2400, p=60, noise=10.0, mean=0.0):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, p)) + mean
    w = np.zeros(p)
    w[rng.permutation(p)[:9]] = 10.0 * rng.standard_normal(9)
    y = X @ w + noise * rng.standard_normal(n)
    return np.asarray(X, dtype, order="F"), y.astype(dtype), rng


def _gaps(X, y, weights, factors, ratio, alphas, coefs, intercept, positive):
    """Give the duality gaps of coefficients, in float64, relative to Σ s y²."""
    s = np.ones(len(y)) if weights is None else weights * (len(y) / weights.sum())
    X, y = X.astype(np.float64), y.astype(np.float64)
    if intercept:
        X, y = X - np.average(X, axis=0, weights=s), y - np.average(y, weights=s)
    X, y = X * np.sqrt(s)[:, None], y * np.sqrt(s)
    paid = np.flatnonzero(factors < np.inf)
    assert not coefs[factors == np.inf].any()
    for alpha, w in zip(alphas, coefs.T, strict=True):
        l1, l2 = (
            alpha * ratio * len(y) * factors[paid],
            alpha * (1 - ratio) * len(y) * factors[paid],
        )
        z, b = X[:, paid], w[paid]
        r = y - z @ b
        c = z.T @ r - l2 * b
        size = c if positive else np.abs(c)
        s_dual = min(1.0, (l1 / np.maximum(size, 1e-300)).min())
        # of the problem with rows √l2 below X
        whole = r @ r + l2 @ (b * b)
        gap = 0.5 * whole + l1 @ np.abs(b) + 0.5 * s_dual**2 * whole - s_dual * (r @ y)
        yield gap / (y @ y)


OPTIONS = {
    "plain": {},
    "float32": {"dtype": np.float32},
    "intercept": {"fit_intercept": True},
    "elastic": {"l1_ratio": 0.6, "eps": 0.2, "fit_intercept": True},
    "positive": {"positive": True, "eps": 0.3},
    "weights": {"sample_weight": True, "fit_intercept": True},
    "factors": {"penalty_weights": True, "fit_intercept": True},
    "standardize": {"standardize": True, "fit_intercept": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_the_path(name, calls):
    options = dict(OPTIONS[name])
    mean = 3.0 if options.get("fit_intercept") else 0.0
    X, y, rng = _data(options.pop("dtype", np.float64), mean=mean)
    if "sample_weight" in options:
        options["sample_weight"] = rng.random(len(y))
    if "penalty_weights" in options:
        options["penalty_weights"] = np.where(np.arange(60) == 3, np.inf, 1.0 + rng.random(60))
    options = {"l1_ratio": 1.0, "tol": 1e-7, "alphas": 40, "eps": 0.02} | options
    alphas, coefs, _ = enet_path(X, y, **options)
    assert len(calls) == 1
    assert calls[0] is not None
    exact = enet_path(X, y, **options | {"precompute": True, "tol": 1e-13, "max_iter": 10**5})
    single = X.dtype == np.float32
    np.testing.assert_allclose(alphas, exact[0])
    np.testing.assert_allclose(coefs, exact[1], atol=1e-4 if single else 2e-3)
    if name == "standardize":
        return
    factors = options.get("penalty_weights", np.ones(60))
    weights, intercept = options.get("sample_weight"), options.get("fit_intercept", False)
    rest = weights, factors, options["l1_ratio"], alphas, coefs, intercept
    true = np.array(list(_gaps(X, y, *rest, options.get("positive", False))))
    assert (true <= (1e-5 if single else 1e-7)).all()


def test_features_that_were_missed_join(monkeypatch, calls):
    def some(self):
        scores = self._scores(self.solver.c)
        return self._join(scores > 0.6 * scores.max())

    monkeypatch.setattr(ahead.Ahead, "_fill", some)
    X, y, _ = _data()
    coefs = enet_path(X, y, l1_ratio=1.0, tol=1e-9, alphas=40, eps=0.05)[1]
    assert calls[0] is not None
    exact = enet_path(X, y, l1_ratio=1.0, tol=1e-13, alphas=40, eps=0.05, precompute=True)[1]
    np.testing.assert_allclose(coefs, exact, atol=1e-4)


def test_bounds_hold(monkeypatch):
    bounds, found = {}, ahead.Ahead._bound

    def watch(self, known, norms, W, C, out):
        found(self, known, norms, W, C, out)
        every = np.empty_like(C)
        others = np.flatnonzero(~self.work.member & (self.solver.factors < np.inf))
        self._see(np.arange(len(W)), others, W, every)
        bounds["slack"] = out - self._size(every)
        bounds["between"] = np.delete(bounds["slack"], known, 0)

    monkeypatch.setattr(ahead.Ahead, "_bound", watch)
    X, y, _ = _data()
    enet_path(X, y, l1_ratio=1.0, tol=1e-7, alphas=40, eps=0.05, fit_intercept=True)
    assert bounds["between"].size
    assert (bounds["slack"] >= -1e-6).all()
    assert (bounds["between"] > 0.0).mean() > 0.5


def test_where_most_features_enter_there_is_a_gram_matrix(calls):
    X, y, _ = _data(noise=300.0)
    coefs = enet_path(X, y, l1_ratio=1.0, tol=1e-9, alphas=20, eps=1e-3)[1]
    assert calls == [None]
    exact = enet_path(X, y, l1_ratio=1.0, tol=1e-13, alphas=20, eps=1e-3, precompute=True)[1]
    np.testing.assert_allclose(coefs, exact, atol=1e-3)


def test_gaps_of_a_large_matrix_are_what_they_say(calls, monkeypatch):
    monkeypatch.setattr(design, "LARGE", 0)
    X, y, _ = _data()
    alphas, coefs, _ = enet_path(X, y, l1_ratio=1.0, n_alphas=30, eps=0.2, tol=1e-6)
    true = list(_gaps(X, y, None, np.ones(X.shape[1]), 1.0, alphas, coefs, False, False))
    (fits,) = calls
    np.testing.assert_allclose([fit.gap / (y @ y) for fit in fits], true, rtol=0, atol=1e-13)
