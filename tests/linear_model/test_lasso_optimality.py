"""Optimality of ElasticNet and GroupLasso on any data: the conditions of the objective itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from equipoise.linear_model import ElasticNet, GroupLasso

# far columns leave gaps of rounding of 1e-11 of the square of y, and slopes the root of a gap
TOL, BOUND = 1e-9, 1e-4


@st.composite
def problems(draw):
    """Draw X with zero, constant, equal and far columns, y, and weights, some of them 0."""
    n, p = draw(st.integers(1, 30)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    X = rng.standard_normal((n, p))
    X[:, rng.random(p) < 0.2] = 0.0
    X[:, rng.random(p) < 0.2] = X[:, rng.integers(p)][:, None]
    X[:, rng.random(p) < 0.1] = 1.0
    X += draw(st.sampled_from([0.0, 100.0])) * (rng.random(p) < 0.3)
    X *= 10.0 ** draw(st.floats(-8, 8))
    y = rng.standard_normal(n) * 10.0 ** draw(st.floats(-8, 8))
    weights = rng.integers(0, 3, n).astype(float) if draw(st.booleans()) else np.ones(n)
    weights[0] = 1.0
    return X, y, weights


def slopes(model, X, y, weights):
    """Give Xᵀ(y - Xw - b) / n of centred columns, and the size that they are measured by."""
    s = weights / weights.sum()
    offset, mean = (s @ X, s @ y) if model.fit_intercept else (np.zeros(X.shape[1]), 0.0)
    Z, t = (X - offset) * np.sqrt(s)[:, None], (y - mean) * np.sqrt(s)
    size = np.linalg.norm(X * np.sqrt(s)[:, None], axis=0) * np.linalg.norm(t)
    return Z.T @ (t - Z @ model.coef_), np.maximum(size, 1e-300)


def steepest(X, y):
    return np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    problems(), st.floats(0.01, 0.9), st.sampled_from([1.0, 0.5]), st.booleans(), st.booleans(),
    st.sampled_from(["C", "F", "csc"]),
)  # fmt: skip
def test_elastic_net(problem, fraction, l1_ratio, positive, intercept, layout):
    X, y, weights = problem
    alpha = fraction * steepest(X, y)
    # where nothing varies there is nothing but rounding to fit
    if not alpha > 1e-12 * np.abs(X).max() * np.abs(y).max():
        return
    model = ElasticNet(
        alpha, l1_ratio=l1_ratio, positive=positive, fit_intercept=intercept, tol=TOL,
        max_iter=10_000,
    )  # fmt: skip
    model.fit(sparse.csc_array(X) if layout == "csc" else np.asarray(X, order=layout), y, weights)
    assert model.dual_gap_ <= max(model.solver_info_["target"], 1e-300)
    g, size = slopes(model, X, y, weights)
    w, l1 = model.coef_, alpha * l1_ratio
    c = g - alpha * (1 - l1_ratio) * w
    over = np.maximum((c if positive else np.abs(c)) - l1, 0.0)
    wrong = np.where(w != 0.0, np.abs(c - l1 * np.sign(w)), over)
    assert (wrong / size).max() < BOUND
    assert not positive or (w >= 0.0).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems(), st.floats(0.1, 0.9), st.integers(1, 5))
def test_group_lasso(problem, fraction, width):
    X, y, weights = problem
    groups = np.arange(X.shape[1]) // width
    alpha = fraction * steepest(X, y)
    if not alpha > 1e-12 * np.abs(X).max() * np.abs(y).max():
        return
    model = GroupLasso(alpha, groups=groups, tol=TOL, max_iter=10_000)
    model.fit(X, y, weights)
    assert model.dual_gap_ <= max(model.solver_info_["target"], 1e-300)
    g, size = slopes(model, X, y, weights)
    for label in np.unique(groups):
        mine = groups == label
        w, c, l1 = model.coef_[mine], g[mine], alpha * np.sqrt(mine.sum())
        norm = np.linalg.norm(w)
        wrong = c - l1 * w / norm if norm else max(np.linalg.norm(c) - l1, 0.0)
        assert np.linalg.norm(wrong) / size[mine].max() < BOUND


@pytest.mark.parametrize("fault", [0.999, 1.001])
def test_bite_coefficients_that_are_off_are_caught(fault, monkeypatch):
    def off(self, coef, centring, dtype):
        kept(self, coef * fault, centring, dtype)

    kept = ElasticNet._set_coef
    monkeypatch.setattr(ElasticNet, "_set_coef", off)
    with pytest.raises(AssertionError):
        test_elastic_net()
