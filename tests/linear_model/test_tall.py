"""Tall problems: some of the rows choose the features that all rows are then solved on."""

import numpy as np
import pytest

from equipoise.linear_model import ElasticNet, Lasso
from equipoise.linear_model.problem import LARGE, RUN, SHARE, TALL, is_tall

P = 40
N = LARGE // P + 1
OPTIONS = [
    {},
    {"fit_intercept": False},
    {"standardize": True},
    {"positive": True},
    {"penalty_weights": np.r_[0.0, np.inf, np.ones(P - 2)]},
]


def drawn(order="F", mean=3.0):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((N, P)) * np.geomspace(0.1, 10, P) + mean, order=order)
    return X, X[:, :6] @ [3.0, -2.0, 1.0, 5.0, 0.01, -4.0] + rng.standard_normal(N)


def same(model, X, y, **fit):
    """Fit with all cross products too, which asks no part of the rows, and compare."""
    assert is_tall(X)
    found = model.fit(X, y, **fit)
    coef, intercept = found.coef_, found.intercept_
    whole = model.set_params(precompute=True).fit(X, y, **fit)
    assert "share of the rows" not in whole.solver_info_["why"]
    np.testing.assert_allclose(coef, whole.coef_, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(intercept, whole.intercept_, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o), "plain"))
def test_it_is_the_solution(order, options):
    X, y = drawn(order)
    model = ElasticNet(alpha=0.1, l1_ratio=0.9, tol=1e-10, **options)
    same(model, X, y)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: next(iter(o), "plain"))
def test_steps_on_cross_products_of_a_share_reach_the_gap(order, options):
    X, y = drawn(order, mean=3.0 * options.get("fit_intercept", True))
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float)
    model = ElasticNet(alpha=0.12, l1_ratio=0.9, tol=1e-7, **options)
    near(model, X, y, sample_weight=weights)


def near(model, X, y, **fit):
    """Fit to tol, and hold the coefficients to the exact ones."""
    assert is_tall(X)
    found = model.fit(X, y, **fit)
    assert "share of the rows" in found.solver_info_["why"]
    assert found.dual_gap_ <= found.tol * np.var(y) * 1.5
    exact = type(model)(**{**model.get_params(), "tol": 1e-14, "precompute": True}).fit(X, y, **fit)
    size = np.sqrt(found.tol) * np.std(y)
    np.testing.assert_allclose(found.coef_ * X.std(0), exact.coef_ * X.std(0), atol=size)
    np.testing.assert_allclose(found.predict(X), exact.predict(X), atol=20 * size)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("factor", [1e-4, 3.0])
def test_rows_that_mislead(order, factor):
    X, y = drawn(order)
    step = N // (max(SHARE * P, N // 32) // RUN + 1)
    seen = np.arange(N) % step < RUN
    # columns that these rows tell apart by another measure, and in part not at all
    X[seen, ::2] *= factor
    X[seen, 1] = X[seen, 3]
    near(Lasso(alpha=0.15, tol=1e-7), X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_equal_and_tiny_columns(dtype):
    X, y = drawn("C")
    X[:, 7], X[:, 8], X[:, 9], X[:, 10] = 5.0, X[:, 3], 0.0, X[:, 5] * 1e-30
    X, y = X.astype(dtype), y.astype(dtype)
    found = Lasso(alpha=0.1, tol=1e-6).fit(X, y)
    whole = Lasso(alpha=0.1, tol=1e-12, precompute=True).fit(X, y)
    assert found.dual_gap_ <= 1e-6 * np.var(y)
    np.testing.assert_allclose(found.predict(X), whole.predict(X), atol=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_sizes_that_float32_cannot_square(scale):
    X, y = drawn("F", mean=0.0)
    found = Lasso(alpha=0.1 * scale, tol=1e-7).fit(X * scale, y).coef_ * scale
    np.testing.assert_allclose(found, Lasso(alpha=0.1, tol=1e-12).fit(X, y).coef_, atol=1e-3)


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-7])
@pytest.mark.parametrize("order", ["C", "F"])
def test_one_pass_is_enough(order, tol):
    X, y = drawn(order)
    info = Lasso(alpha=0.1, tol=tol).fit(X, y).solver_info_
    assert "share of the rows" in info["why"]
    assert info["passes"] == 1
    assert info["working_set"] < P // 2


def test_weights_and_far_means():
    X, y = drawn("C", mean=1e5)
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float)
    same(Lasso(alpha=0.1, tol=1e-10), X, y, sample_weight=weights)


@pytest.mark.parametrize("tol", [1e-10, 1e-7])
def test_a_feature_that_the_chosen_rows_do_not_show(tol):
    X, y = drawn()
    rare = np.zeros(N)
    # between two runs of rows
    rare[N // 2 : N // 2 + 40] = 50.0
    X[:, -1] = rare
    for shift in range(0, 2000, 40):
        X[:, -1] = np.roll(rare, shift)
        model = Lasso(alpha=0.1, tol=tol).fit(X, y + X[:, -1])
        if model.solver_info_["passes"] > 1:
            break
    else:
        pytest.fail("every place was seen")
    check = same if tol < 1e-8 else near
    check(model, X, y + X[:, -1])


@pytest.mark.parametrize("column", [0, P - 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(column, value):
    X, y = drawn()
    for row in range(N // 2, N // 2 + 1000, 250):
        X[row, column] = value
        with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity"):
            Lasso(alpha=0.1).fit(X, y)
        X[row, column] = 0.0


def test_many_features_in_use_take_the_other_way():
    X, y = drawn()
    info = Lasso(alpha=1e-4).fit(X, X.sum(1) + y).solver_info_
    assert "share of the rows" not in info["why"]


def test_fewer_rows_are_not_tall():
    assert not is_tall(np.zeros((TALL * P - 1, P)))
    assert not is_tall(np.zeros((2000, 40)))
