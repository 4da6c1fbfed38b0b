"""The solver against plain coordinate descent: optimality, gaps, limits and hard designs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tolerances import DESCENT

from equipoise.ops.descend import design as designs
from equipoise.ops.descend import gram, reference, working
from equipoise.ops.descend.group_solve import GroupSolver
from equipoise.ops.descend.rank import entries, largest
from equipoise.ops.descend.solve import Solver
from equipoise.ops.descend.working import Working

METHODS = ("follow", "descend")


def problem(n, p, seed=0, rho=0.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    for j in range(1, p if rho else 0):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    return X, X[:, : max(1, p // 5)].sum(1) + rng.standard_normal(n)


def solve(X, y, l1, l2=0.0, factors=None, tol=0.0, **options):
    p = X.shape[1]
    factors = np.ones(p) if factors is None else factors
    solver = Solver(designs.make(X, None, np.zeros(p), np.ones(p)), y, factors, **options)
    return solver.solve(l1, l2, tol * float(y @ y), 10_000)


def penalties(l1, factors):
    with np.errstate(invalid="ignore"):
        return np.where(factors == np.inf, np.inf, l1 * factors)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l2", [0.0, 3.0])
@pytest.mark.parametrize("n, p", [(60, 30), (30, 200), (40, 40), (1, 5), (30, 1)])
def test_meets_its_conditions_and_equals_plain_descent(method, positive, l2, n, p):
    X, y = problem(n, p)
    l1 = 0.1 * np.abs(X.T @ y).max()
    fit = solve(X, y, l1, l2, tol=1e-15, positive=positive, method=method)
    L1, L2 = np.full(p, l1), np.full(p, l2)
    assert reference.optimality(X, y, L1, L2, fit.w, positive).max() < DESCENT.bound
    expected = reference.solve(X, y, L1, L2, positive)
    assert np.abs(fit.w - expected).max() < DESCENT.bound * max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("l2", [0.0, 2.0])
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-12])
def test_reported_gap_is_at_least_as_good_as_the_definition_and_below_the_target(l2, tol):
    X, y = problem(50, 120, rho=0.7)
    l1 = 0.05 * np.abs(X.T @ y).max()
    fit = solve(X, y, l1, l2, tol=tol, method="descend")
    defined = reference.duality_gap(X, y, np.full(120, l1), np.full(120, l2), fit.w)
    assert -1e-14 * (y @ y) <= fit.gap <= defined + 1e-14 * (y @ y)
    assert fit.gap <= tol * (y @ y)
    # weak duality: no primal value lies further above the optimum than the gap
    best = solve(X, y, l1, l2, tol=1e-15).w

    def primal(w):
        return 0.5 * np.sum((y - X @ w) ** 2) + l1 * np.abs(w).sum() + 0.5 * l2 * (w @ w)

    assert primal(fit.w) - primal(best) <= fit.gap + 1e-13 * (y @ y)


@pytest.mark.parametrize("rho", [0.6, 0.95, 0.999])
@pytest.mark.parametrize("fraction", [0.3, 0.01, 0.001])
def test_correlated_designs_are_solved_to_rounding(rho, fraction):
    X, y = problem(80, 300, rho=rho)
    l1 = fraction * np.abs(X.T @ y).max()
    fit = solve(X, y, l1)
    assert fit.gap < 1e-13 * (y @ y)
    assert reference.optimality(X, y, np.full(300, l1), np.zeros(300), fit.w).max() < 1e-9


def test_free_and_excluded_features():
    X, y = problem(60, 40)
    factors = np.ones(40)
    factors[:3], factors[3:9] = 0.0, np.inf
    l1 = 0.2 * np.abs(X.T @ y).max()
    for method in METHODS:
        w = solve(X, y, l1, factors=factors, method=method, tol=1e-15).w
        assert (w[3:9] == 0).all()
        found = reference.optimality(X, y, penalties(l1, factors), np.zeros(40), w)
        assert found.max() < DESCENT.bound


@pytest.mark.parametrize("layout", ["C", "F", "csc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_dtypes_weights_and_centring_agree_with_an_explicit_copy(layout, dtype):
    X, y = problem(90, 35, seed=3)
    X[np.abs(X) < 0.8] = 0.0
    X = X.astype(dtype)
    weights = np.random.default_rng(0).random(90)
    weights *= 90 / weights.sum()
    mean, scale = weights @ X / 90, np.linspace(0.5, 2.0, 35)
    roots = np.sqrt(weights)
    copy = roots[:, None] * (X.astype(np.float64) - mean) / scale
    target = roots * (y - weights @ y / 90)
    view = sparse.csc_array(X) if layout == "csc" else np.asarray(X, order=layout)
    l1 = 0.1 * np.abs(copy.T @ target).max()
    solver = Solver(designs.make(view, weights, mean, scale), target, np.ones(35))
    w = solver.solve(l1, 1.0, 0.0, 1000).w
    assert np.abs(w - solve(copy, target, l1, 1.0).w).max() < DESCENT.bound


def test_lazy_means_are_those_of_all_columns():
    X, y = problem(60, 200)
    X, y = X + 100.0, y - y.mean()
    l1 = 0.1 * np.abs((X - X.mean(0)).T @ y).max()
    lazy = Solver(designs.make(X, None, np.zeros(200), np.ones(200), True), y, np.ones(200))
    eager = Solver(designs.make(X, None, X.mean(0), np.ones(200)), y, np.ones(200))
    a, b = lazy.solve(l1, 0.0, 0.0, 1000).w, eager.solve(l1, 0.0, 0.0, 1000).w
    assert np.abs(a - b).max() < DESCENT.bound
    assert a.any()


def test_gram_mode_equals_residual_mode_along_a_path():
    X, y = problem(100, 60, rho=0.5)
    design = designs.make(X, None, np.zeros(60), np.ones(60))
    modes = [
        Solver(design, y, np.ones(60), gram=g, method=m)
        for g in (None, design.gram())
        for m in METHODS
    ]
    for level in np.geomspace(modes[0].level, 1e-3 * modes[0].level, 15):
        found = [mode.solve(level, 0.0, 1e-15, 1000).w for mode in modes]
        for w in found[1:]:
            assert np.abs(w - found[0]).max() < DESCENT.bound


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 30),
    p=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    scale=st.floats(-8, 8),
    fraction=st.floats(0.001, 0.9),
    l2=st.sampled_from([0.0, 0.1]),
    positive=st.booleans(),
)
def test_any_shape_scale_and_degenerate_columns(n, p, seed, scale, fraction, l2, positive):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * 10.0**scale
    X[:, rng.random(p) < 0.2] = 0.0
    X[:, rng.random(p) < 0.2] = X[:, rng.integers(p)][:, None]
    X[:, rng.random(p) < 0.1] = 10.0**scale
    y = rng.standard_normal(n)
    l1 = fraction * np.abs(X.T @ y).max()
    if l1 == 0.0:
        return
    L2 = l2 * float((X**2).sum() / p)
    fit = solve(X, y, l1, L2, tol=1e-12, positive=positive)
    assert fit.gap <= 1e-12 * (y @ y)
    found = reference.optimality(X, y, np.full(p, l1), np.full(p, L2), fit.w, positive)
    assert found.max() < 1e-5


def test_groups_of_one_are_the_lasso_and_groups_meet_their_conditions():
    X, y = problem(80, 60, rho=0.4)
    design = designs.make(X, None, np.zeros(60), np.ones(60))
    l1 = 0.1 * np.abs(X.T @ y).max()
    ones = GroupSolver(design, y, [np.array([j]) for j in range(60)], np.ones(60))
    w = ones.solve(l1, 1e-15 * (y @ y), 10_000).w
    assert np.abs(w - solve(X, y, l1).w).max() < 1e-6
    groups = np.split(np.random.default_rng(1).permutation(60), [5, 6, 20, 40])
    factors = np.sqrt([len(g) for g in groups])
    w = GroupSolver(design, y, groups, factors).solve(l1, 1e-14 * (y @ y), 10_000).w
    c = X.T @ (y - X @ w)
    assert w.any()
    for group, f in zip(groups, factors, strict=True):
        norm = np.linalg.norm(w[group])
        if norm:
            assert np.linalg.norm(c[group] - l1 * f * w[group] / norm) < 1e-6 * l1
        else:
            assert np.linalg.norm(c[group]) <= l1 * f * (1 + 1e-9)


def test_bite_a_descent_that_skips_a_coordinate_is_caught(monkeypatch):
    X, y = problem(40, 20)
    l1 = 0.01 * np.abs(X.T @ y).max()

    def broken(work, G, q, w, g, *rest):
        found = gram.descend(work, G, q, w, g, *rest)
        w[0] = 0.0
        return 0.0, found[1]

    monkeypatch.setattr("equipoise.ops.descend.working.descend", broken)
    fit = solve(X, y, l1, method="descend", tol=1e-6)
    assert reference.optimality(X, y, np.full(20, l1), np.zeros(20), fit.w).max() > 1e-3
    assert fit.gap > 1e-6 * (y @ y)


@pytest.mark.parametrize("batches", [(1, 2, 1, 3), (40, 5, 60, 2), (130, 3, 7)])
def test_cross_products_grow_in_place(batches):
    X, y = problem(50, 150)
    work = Working(designs.make(X, None, np.zeros(150), np.ones(150)), y, X.T @ y)
    order, k = np.random.default_rng(1).permutation(150), 0
    for m in batches:
        work.add(order[k : k + m])
        k += m
        Z = X[:, order[:k]]
        assert np.abs(work.G[:k, :k] - Z.T @ Z).max() < 1e-12 * (X * X).sum(0).max()
    work.set(np.linspace(-1.0, 1.0, k))
    assert np.allclose(work.residual(), y - Z @ work.w, rtol=0.0, atol=1e-12 * k)


@pytest.mark.parametrize("positive", [False, True])
def test_who_enters_next_meets_its_bound_where_it_is_said_to(positive):
    rng = np.random.default_rng(0)
    p, level, fall = 60, 2.0, 0.5
    factors = rng.uniform(0.5, 2.0, p)
    factors[:2] = 0.0, np.inf
    c = rng.uniform(-1.0, 1.0, p) * factors * level
    c[1:4] = 1.0, 3.0 * factors[2] * level, np.nan
    before = c + rng.uniform(-0.4, 0.4, p)
    member = np.zeros(p, bool)
    member[3] = True
    at = np.empty(p)
    entries(0, c, before, 1 / fall, factors, member, level, positive, at)
    assert at[0] == np.inf
    assert (at[[1, 3]] == -np.inf).all()
    assert at[2] == 3.0 * level
    some = np.flatnonzero(np.isfinite(at) & (np.arange(p) > 3))
    assert len(some) > 20
    there = c[some] - (level - at[some]) * (before - c)[some] / fall
    size = there if positive else np.abs(there)
    assert np.allclose(size, factors[some] * at[some])
    assert largest(0, c, factors, member, positive) == 3.0 * level
    assert np.isnan(largest(0, c, factors, np.zeros(p, bool), positive))


def test_a_support_larger_than_the_inverse_holds_ends_in_sweeps(monkeypatch):
    monkeypatch.setattr(working, "LARGEST", 5)
    X, y = problem(60, 30)
    l1 = 0.01 * np.abs(X.T @ y).max()
    fit = solve(X, y, l1)
    assert np.count_nonzero(fit.w) > 5
    assert reference.optimality(X, y, np.full(30, l1), np.zeros(30), fit.w).max() < DESCENT.bound


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", "CF")
def test_correlations_of_some_columns_are_those_of_all(lazy, weighted, order):
    rng = np.random.default_rng(0)
    X, r = np.asarray(rng.standard_normal((90, 7)) + 3.0, order=order), rng.standard_normal(90)
    weights = rng.random(90) if weighted else None
    design = designs.Dense(X, weights, rng.random(7) * (not lazy), rng.random(7) + 0.5, lazy)
    chosen = np.array([5, 0, 3])
    found, expected = design.correlate_some(r, chosen), design.correlate(r)[chosen]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
