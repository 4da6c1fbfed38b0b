"""Tall problems: some of the rows choose the features that all rows are then solved on."""

import numpy as np
import pytest

from equipoise.linear_model import ElasticNet, Lasso
from equipoise.linear_model.problem import LARGE, TALL, is_tall

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


def test_one_pass_is_enough():
    X, y = drawn()
    info = Lasso(alpha=0.1).fit(X, y).solver_info_
    assert "share of the rows" in info["why"]
    assert info["passes"] == 1
    assert info["working_set"] < P // 2


def test_weights_and_far_means():
    X, y = drawn("C", mean=1e5)
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float)
    same(Lasso(alpha=0.1, tol=1e-10), X, y, sample_weight=weights)


def test_a_feature_that_the_chosen_rows_do_not_show():
    X, y = drawn()
    rare = np.zeros(N)
    # between two runs of rows
    rare[N // 2 : N // 2 + 40] = 50.0
    X[:, -1] = rare
    for shift in range(0, 2000, 40):
        X[:, -1] = np.roll(rare, shift)
        model = Lasso(alpha=0.1, tol=1e-10).fit(X, y + X[:, -1])
        if model.solver_info_["passes"] > 1:
            break
    else:
        pytest.fail("every place was seen")
    same(model, X, y + X[:, -1])


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
