"""X in bytes: how far its products may be off, and fits that trust it no further."""

import numpy as np
import pytest
from tolerances import DESCENT

from equipoise.linear_model import Lasso, lasso_path
from equipoise.ops.descend import coarse, rank, reference
from equipoise.ops.descend import design as designs
from equipoise.ops.descend.coarse import Coarse
from equipoise.ops.descend.solve import Solver

N, P = 90, 2500


@pytest.fixture(autouse=True)
def _any_size(monkeypatch):
    monkeypatch.setattr(designs, "COARSE", 0)
    monkeypatch.setattr(designs, "LARGE", 0)


def columns(n=N, p=40):
    """Draw columns of every kind that bytes find hard."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    X[:, 1] = 7.0
    X[:, 2] = 0.0
    X[3, 2] = 1.0
    X[:, 3] += 1e9
    X[5, 4] = 1e6
    X[:, 5] = rng.standard_cauchy(n)
    X[:, 6] *= 1e-8
    X[:, 7] *= 1e8
    X[:, 8] = np.arange(n)
    X[:, 9] = np.exp(10.0 * X[:, 9])
    X[:, 10] *= 1e-200
    X[:, 11] = np.where(np.arange(n) % 2, 1e5, -1e-5)
    return X


def off(X, v, order, dtype):
    """Give how far products in bytes are off, and how far they may be."""
    X = np.asarray(X, dtype=dtype, order=order)
    found = Coarse(X.reshape(-1, order="A"), v, order == "F", 0)
    near, far = found.products(v)
    return np.abs(near - X.T.astype(np.float64) @ v), far, found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("n", [1, 3, 90, 3000])
def test_products_are_no_further_off_than_they_say(n, order, dtype):
    X = columns(n) if n > 5 else np.random.default_rng(0).standard_normal((n, 40))
    for seed, unit in enumerate((1.0, 1e-9, 1e200)):
        v = unit * np.random.default_rng(seed).standard_normal(n)
        v -= v.mean() * (n > 1)
        with np.errstate(invalid="ignore"):
            error, far, found = off(X, v, order, dtype)
        # what float64 rounds away of columns that are far from zero
        with np.errstate(over="ignore"):
            rounding = 1e-15 * n * np.abs(X).max(0) * np.abs(v).max()
        sure = np.isfinite(far)
        assert sure.sum() >= 39
        assert (error <= far + rounding)[sure].all()
        means = X.astype(dtype).mean(0, np.float64)
        assert (np.abs(found.means - means) <= 1e-15 * n * np.abs(X).max(0)).all()


@pytest.mark.parametrize("order", "CF")
def test_products_of_plain_columns_are_near(order):
    rng = np.random.default_rng(0)
    X, v = rng.standard_normal((400, 60)), rng.standard_normal(400)
    error, far, found = off(X, v, order, np.float64)
    assert error.max() < 0.05 * np.linalg.norm(v)
    assert far.max() < 0.4 * np.linalg.norm(v)
    np.testing.assert_allclose(found.first, X.T @ v, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", "CF")
def test_a_glance_is_near_the_correlations_of_the_design(order, weighted, lazy):
    rng = np.random.default_rng(0)
    X, y, r = rng.standard_normal((N, P)) + 3.0, rng.standard_normal(N), rng.standard_normal(N)
    weights = rng.random(N) if weighted else None
    arguments = weights, rng.random(P) * (not lazy), rng.random(P) + 0.5, lazy
    design = designs.Dense(np.asarray(X, order=order), *arguments)
    np.testing.assert_allclose(design.survey(y), design.correlate(y), rtol=1e-10, atol=1e-10)
    near, far = design.glance(r)
    error = np.abs(near - design.correlate(r))
    assert (error <= far).all()
    assert error.max() > 0.0


def problem(order, seed=0):
    rng = np.random.default_rng(seed)
    X = np.asarray(rng.standard_normal((N, P)) + rng.standard_normal(P), order=order)
    return X, X[:, :20].sum(1) + rng.standard_normal(N)


def solver(X, y, factors=None, **options):
    design = designs.make(X, None, np.zeros(P), np.ones(P))
    return Solver(design, y, np.ones(P) if factors is None else factors, **options)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l2", [0.0, 3.0])
def test_a_fit_meets_its_conditions_and_reads_less(order, positive, l2, monkeypatch):
    X, y = problem(order)
    factors = np.random.default_rng(1).choice([0.5, 1.0, 2.0, np.inf], P)
    factors[0] = 0.0
    l1 = 0.05 * np.abs(X.T @ y).max()
    found = solver(X, y, factors, positive=positive).solve(l1, l2, 1e-12 * (y @ y), 1000)
    with np.errstate(invalid="ignore"):
        L1 = np.where(factors == np.inf, np.inf, l1 * factors)
    L2 = np.where(factors == np.inf, 0.0, l2) * np.minimum(factors, 2.0)
    assert found.gap <= 1e-12 * (y @ y)
    assert reference.optimality(X, y, L1, L2, found.w, positive).max() < DESCENT.bound
    monkeypatch.setattr(designs, "COARSE", np.inf)
    monkeypatch.setattr(designs, "LARGE", np.inf)
    every = solver(X, y, factors, positive=positive).solve(l1, l2, 1e-12 * (y @ y), 1000)
    assert found.passes < every.passes
    bound = DESCENT.bound * np.abs(every.w).max()
    np.testing.assert_allclose(found.w, every.w, rtol=0, atol=bound)


def true_gap(X, y, w, l1):
    """Give the duality gap of a Lasso, in float64 from X alone."""
    r = y - X @ w
    scale = min(1.0, l1 / np.abs(X.T @ r).max())
    return 0.5 * (1 - scale) ** 2 * (r @ r) + l1 * np.abs(w).sum() - scale * (X.T @ r) @ w


def alike(order):
    """Draw columns of which each has twins that float32 hardly tells from it."""
    X, y = problem(order)
    for twin in range(1, 5):
        X[:, twin * 400 : (twin + 1) * 400] = X[:, :400]
        X[:, twin * 400] += 10.0 ** (-2 * twin)
    return np.asarray(X + 1e-7 * np.random.default_rng(2).standard_normal(X.shape), order=order), y


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("draw", [problem, alike])
def test_a_gap_that_cross_products_in_float32_lead_to_is_what_it_says(order, draw):
    X, y = draw(order)
    l1 = 0.02 * np.abs(X.T @ y).max()
    work = solver(X, y)
    fit = work.solve(l1, 0.0, 1e-6 * (y @ y), 1000)
    assert fit.gap <= 1e-6 * (y @ y)
    assert abs(fit.gap - true_gap(X, y, fit.w, l1)) <= 1e-12 * (y @ y)
    if draw is problem:
        assert work.work.G.dtype == np.float32
    # a finer one is more than they say
    fit = work.solve(l1, 0.0, 1e-11 * (y @ y), 1000)
    assert work.work.G.dtype == np.float64
    assert fit.gap <= 1e-11 * (y @ y)
    assert true_gap(X, y, fit.w, l1) <= 2e-11 * (y @ y)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_residual_by_columns_in_float32_is_no_further_off_than_it_says(weighted):
    X, y = problem("C")
    weights = np.random.default_rng(3).uniform(0.0, 4.0, N) if weighted else None
    design = designs.make(X * 1e3, weights, np.zeros(P), np.ones(P))
    work = Solver(design, y, np.ones(P)).work
    work.add(np.arange(30))
    work.set(np.random.default_rng(4).standard_normal(30))
    r, off = work.nearly()
    error = np.linalg.norm(r - work.residual())
    assert 0.01 * off < error <= off
    c = design.correlate(work.residual())
    near, far = design.glance(r, off)
    assert (np.abs(near - c) <= far).all()
    assert (far > design.glance(r)[1]).all()


def test_a_fit_that_runs_out_of_rounds_says_the_gap_it_has():
    X, y = problem("F")
    l1 = 0.01 * np.abs(X.T @ y).max()
    fit = solver(X, y).solve(l1, 0.0, 0.0, 1)
    assert 0.0 < fit.gap <= 1.01 * true_gap(X, y, fit.w, l1)
    assert fit.gap > 1e-3 * (y @ y)


@pytest.mark.parametrize("order", "CF")
def test_estimators_and_paths_find_what_they_find_without_bytes(order, monkeypatch):
    X, y = problem(order)
    X[:, 0] *= 1e-160
    model = Lasso(alpha=0.3, tol=1e-10).fit(X, y)
    path = lasso_path(X, y, n_alphas=12, eps=1e-2, tol=1e-10)
    monkeypatch.setattr(designs, "COARSE", np.inf)
    monkeypatch.setattr(designs, "LARGE", np.inf)
    same, other = (
        Lasso(alpha=0.3, tol=1e-10).fit(X, y),
        lasso_path(X, y, n_alphas=12, eps=1e-2, tol=1e-10),
    )
    bound = DESCENT.bound * np.abs(other[1]).max()
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=0, atol=bound)
    np.testing.assert_allclose(model.intercept_, same.intercept_, rtol=1e-9)
    np.testing.assert_allclose(path[0], other[0], rtol=1e-12)
    np.testing.assert_allclose(path[1], other[1], rtol=0, atol=bound)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(value):
    X, y = problem("F")
    X[3, 70] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        Lasso().fit(X, y)


def test_bite_a_bound_that_is_too_small_is_caught(monkeypatch):
    taken = coarse.Coarse.products
    monkeypatch.setattr(
        coarse.Coarse, "products", lambda self, *v: (taken(self, *v)[0], 0.0 * taken(self, *v)[1])
    )
    with pytest.raises(AssertionError):
        test_a_glance_is_near_the_correlations_of_the_design("F", False, False)


@pytest.mark.parametrize("positive", [False, True])
def test_who_may_reach_the_penalty_is_listed_and_who_surely_does_is_told(positive):
    c = np.array([0.5, -0.9, 0.95, np.nan, 0.99, 2.0, 0.1, 3.0])
    far = np.array([0.1, 0.2, 0.1, 0.0, 0.2, 0.0, np.inf, 0.0])
    factors = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, np.inf])
    member, out = np.arange(8) == 5, np.empty(8, np.int64)
    count = rank.doubtful(0, c, far, factors, member, 1.0, positive, out)
    assert out[:count].tolist() == ([2, 3, 4, 6] if positive else [1, 2, 3, 4, 6])
    member[5] = False
    assert rank.doubtful(0, c, far, factors, member, 1.0, positive, out) == -1
