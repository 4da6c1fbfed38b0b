"""Lasso, ElasticNet, paths and cross-validation against scikit-learn, and at their limits."""

import warnings

import numpy as np
import pytest
import sklearn.linear_model as peer
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit
from tolerances import DESCENT

from equipoise import linear_model as ours
from equipoise.ops.descend.solve import Solver


def problem(n=60, p=25, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * rng.choice([0.5, 5.0], p) + rng.choice([0.0, 3.0], p)
    return X, X[:, :4] @ [1.0, -2.0, 0.5, 1.0] + rng.standard_normal(n)


def near(a, b):
    return np.abs(np.asarray(a) - b).max() <= 30 * DESCENT.bound * max(np.abs(b).max(), 1e-3)


@pytest.mark.parametrize("layout", ["C", "F", "csc", "csr"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("l1_ratio, positive", [(1.0, False), (0.4, False), (1.0, True)])
def test_equals_scikit_learn(layout, intercept, weighted, l1_ratio, positive):
    X, y = problem()
    X[np.abs(X) < 0.3] = 0.0
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    options = {"alpha": 0.1, "l1_ratio": l1_ratio, "positive": positive, "fit_intercept": intercept}
    expected = peer.ElasticNet(**options, tol=1e-13, max_iter=50_000).fit(X, y, weights)
    view = sparse.csc_array(X).asformat(layout) if len(layout) > 1 else np.asarray(X, order=layout)
    found = ours.ElasticNet(**options, tol=1e-13).fit(view, y, weights)
    assert near(found.coef_, expected.coef_)
    assert near(found.intercept_, np.array(expected.intercept_))
    assert near(found.predict(view), expected.predict(X))
    assert found.dual_gap_ <= 1e-13 * np.var(y) * 60
    assert found.solver_info_["solver"] == "follow"
    assert "followed" in found.solver_info_["why"]


def test_ratio_one_is_the_lasso_and_ratio_zero_is_ridge():
    X, y = problem()
    lasso, net = ours.Lasso(alpha=0.2).fit(X, y), ours.ElasticNet(alpha=0.2, l1_ratio=1.0).fit(X, y)
    assert np.array_equal(lasso.coef_, net.coef_)
    net = ours.ElasticNet(alpha=0.2, l1_ratio=0.0, tol=1e-13).fit(X, y)
    assert near(net.coef_, peer.Ridge(alpha=0.2 * len(y)).fit(X, y).coef_)


def test_weights_are_repetitions_and_groups_of_one_are_the_lasso():
    X, y = problem()
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    repeated = np.repeat(X, counts, axis=0), np.repeat(y, counts)
    for model in (ours.Lasso(alpha=0.1, tol=1e-13), ours.GroupLasso(alpha=0.1, tol=1e-13)):
        weighted = model.fit(X, y, sample_weight=counts).coef_
        assert near(weighted, model.fit(*repeated).coef_)
    a, b = (m(alpha=0.1, tol=1e-13).fit(X, y).coef_ for m in (ours.Lasso, ours.GroupLasso))
    assert near(a, b)


def test_standardize_is_a_fit_on_standardized_columns():
    X, y = problem()
    std = X.std(axis=0)
    for model in (ours.Lasso(alpha=0.1, standardize=True), ours.GroupLasso(0.1, standardize=True)):
        plain = type(model)(alpha=0.1).fit(X / std, y)
        assert near(model.fit(X, y).coef_, plain.coef_ / std)


def test_penalty_weights_scale_columns_free_and_exclude():
    X, y = problem()
    factors = np.linspace(0.5, 2.0, 25)
    found = ours.Lasso(alpha=0.1, penalty_weights=factors, tol=1e-13).fit(X, y)
    scaled = ours.Lasso(alpha=0.1, tol=1e-13).fit(X / factors, y)
    assert near(found.coef_, scaled.coef_ / factors)
    factors[:2], factors[5:] = 0.0, np.inf
    found = ours.Lasso(alpha=1e6, penalty_weights=factors).fit(X, y)
    least = peer.LinearRegression().fit(X[:, :2], y)
    assert near(found.coef_[:2], least.coef_)
    assert not found.coef_[2:].any()


@pytest.mark.parametrize("shape", [(80, 30), (30, 80)])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
@pytest.mark.parametrize("solver", ["auto", "follow", "descend"])
def test_path_equals_scikit_learn_and_single_fits(shape, l1_ratio, solver):
    X, y = problem(*shape)
    options = {"l1_ratio": l1_ratio, "alphas": 12, "eps": 0.01}
    expected = peer.enet_path(X, y, **options, tol=1e-13, max_iter=100_000)
    alphas, coefs, gaps, iterations = ours.enet_path(
        X, y, **options, tol=1e-13, solver=solver, return_n_iter=True
    )
    assert np.allclose(alphas, expected[0])
    assert near(coefs, expected[1])
    assert (gaps <= 1e-13 * np.mean(y**2)).all()
    assert len(iterations) == 12
    single = ours.ElasticNet(
        alpha=alphas[-1], l1_ratio=l1_ratio, fit_intercept=False, tol=1e-13
    ).fit(X, y)
    assert near(single.coef_, coefs[:, -1])


@pytest.mark.parametrize("shape", [(90, 20), (40, 60)])
@pytest.mark.parametrize("cv", [4, ShuffleSplit(3, random_state=0)])
@pytest.mark.parametrize("weighted, order", [(False, "C"), (True, "C"), (False, "F")])
def test_cross_validation_equals_scikit_learn(shape, cv, weighted, order):
    X, y = problem(*shape)
    X = np.asarray(X, order=order)
    weights = np.random.default_rng(0).random(len(y)) if weighted else None
    options = {"cv": cv, "alphas": 15, "eps": 0.02, "tol": 1e-10, "max_iter": 50_000}
    expected = peer.LassoCV(**options).fit(X, y, weights)
    found = ours.LassoCV(**options, n_jobs=2).fit(X, y, weights)
    assert np.allclose(found.mse_path_, expected.mse_path_, rtol=1e-3)
    assert found.alpha_ == pytest.approx(expected.alpha_)
    assert found.best_score_ == pytest.approx(-found.mse_path_.mean(axis=1).min())
    assert ours.LassoCV(**options, rule="1se").fit(X, y, weights).alpha_ >= found.alpha_


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 0.7])
def test_both_penalties_fall_along_a_path(l1_ratio):
    X, y = problem(60, 25)
    X, y = X - X.mean(0), y - y.mean()
    alphas = np.geomspace(2.0, 1e-3, 12)
    coefs = ours.enet_path(X, y, l1_ratio=l1_ratio, alphas=alphas)[1]
    _, exact, _ = peer.enet_path(X, y, l1_ratio=l1_ratio, alphas=alphas, tol=1e-15, max_iter=10**6)
    # the tolerance asked for is the usual 1e-4: what is followed is exact all the same
    assert near(coefs, exact)
    stored = ours.enet_path(sparse.csc_array(X), y, l1_ratio=l1_ratio, alphas=alphas)[1]
    assert near(coefs, stored)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_given_gram_matrix_is_used_checked_or_left(weighted):
    X, y = problem()
    weights = np.random.default_rng(3).random(60) + 0.1 if weighted else None
    exact = ours.Lasso(alpha=0.05).fit(X, y, weights)
    s = np.ones(60) if weights is None else weights * 60 / weights.sum()
    centred = X - s @ X / 60
    gram = (centred.T * s) @ centred
    model = ours.Lasso(alpha=0.05, precompute=gram).fit(centred, y, weights)
    assert near(model.coef_, exact.coef_)
    assert model.solver_info_["passes"] == 0
    with pytest.raises(ValueError, match="single element"):
        ours.Lasso(precompute=gram + 1.0).fit(centred, y, weights)
    with pytest.warns(UserWarning, match="centered to fit intercept"):
        shifted = ours.Lasso(alpha=0.05, precompute=gram).fit(X + 1.0, y, weights)
    assert near(shifted.coef_, exact.coef_)
    with pytest.warns(UserWarning, match="standardized"):
        ours.Lasso(precompute=gram, standardize=True).fit(centred, y, weights)


@pytest.mark.parametrize("solver", ["follow", "descend"])
def test_products_that_overflow_are_an_error(solver):
    X = np.finfo(np.float64).max * np.random.default_rng(0).random((10, 3))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="overflow"):
        ours.Lasso(alpha=0.1, solver=solver).fit(X, X[:, 0] / np.finfo(np.float64).max)


def test_warm_start_starts_at_the_solution_and_leaves_when_alpha_changes():
    X, y = problem(30, 80)
    model = ours.Lasso(alpha=0.2, warm_start=True, tol=1e-8).fit(X, y)
    first = model.coef_.copy()
    model.fit(X, y)
    assert model.solver_info_["events"] == model.solver_info_["sweeps"] == 0
    assert near(model.coef_, first)
    model.set_params(alpha=0.05).fit(X, y)
    assert near(model.coef_, ours.Lasso(alpha=0.05, tol=1e-8).fit(X, y).coef_)


def test_several_targets_random_order_and_read_only_memory():
    X, y = problem()
    Y = np.stack([y, -y, y**2], axis=1)
    X.flags.writeable = False
    found = ours.Lasso(alpha=0.3, selection="random", random_state=0, solver="descend").fit(X, Y)
    assert found.coef_.shape == (3, 25)
    one = ours.Lasso(alpha=0.3, tol=1e-12).fit(X, -y).coef_
    assert np.abs(found.coef_[1] - one).max() < 0.05 * np.abs(one).max()
    assert found.predict(X).shape == Y.shape


def test_float32_comes_out_as_float32_and_as_accurate():
    X, y = problem(200, 400)
    a = ours.Lasso(alpha=0.1, tol=1e-8).fit(X.astype(np.float32), y.astype(np.float32))
    b = ours.Lasso(alpha=0.1, tol=1e-8).fit(X, y)
    assert a.coef_.dtype == np.float32
    assert np.abs(a.coef_ - b.coef_).max() < 1e-4 * np.abs(b.coef_).max()


def test_a_fit_that_stops_early_says_gap_target_and_what_to_try():
    X, y = problem(40, 100)
    with pytest.warns(ConvergenceWarning, match=r"did not converge.*max_iter.*gap is .* target"):
        ours.Lasso(alpha=1e-3, max_iter=1, tol=1e-10, solver="descend").fit(X, y)
    with pytest.warns(UserWarning, match="least squares without a penalty"):
        ours.Lasso(alpha=0.0).fit(*problem())


@pytest.mark.parametrize("bad, message", [
    ({"alpha": -1.0}, "alpha"),
    ({"l1_ratio": 2.0}, "l1_ratio"),
    ({"penalty_weights": [1.0]}, "one factor for each of the 25 features"),
    ({"penalty_weights": -np.ones(25)}, "at least 0"),
    ({"precompute": np.eye(3)}, "precompute must be"),
])  # fmt: skip
def test_bad_parameters_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        ours.ElasticNet(**bad).fit(*problem())


def test_bad_data_is_named():
    X, y = problem()
    with pytest.raises(ValueError, match=r"at least one non-zero|must not all be zero"):
        ours.Lasso().fit(X, y, sample_weight=np.zeros(60))
    X[3, 4] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        ours.LassoCV().fit(X, y)
    X[3, 4] = np.nan
    for model in (ours.Lasso(), ours.GroupLasso()):
        with pytest.raises(ValueError, match="NaN"):
            model.fit(X, y)


@pytest.mark.parametrize("groups, message", [
    ([[0, 1], [1, 2]], "feature 1 is in 2 groups"),
    ([[0, 1]], "is in 0 groups"),
    ([[0, 99]], "features 0 to 24"),
    ([[0, 1.5]], r"numbers, 0 to 24; got \[0, 1.5\]"),
    ([[True, False]], "numbers, 0 to 24"),
    ([["a"]], "numbers, 0 to 24"),
    ([None] * 25, "None or NaN"),
    ([np.nan] * 25, "None or NaN"),
])  # fmt: skip
def test_groups_must_partition(groups, message):
    with pytest.raises(ValueError, match=message):
        ours.GroupLasso(groups=groups).fit(*problem())


def test_alpha_zero_and_free_groups_are_least_squares():
    X, y = problem()
    groups = np.repeat(np.arange(5), 5)
    least = peer.LinearRegression().fit(X, y)
    with pytest.warns(UserWarning, match="least squares without a penalty"):
        found = ours.GroupLasso(alpha=0.0, groups=groups, tol=1e-13).fit(X, y)
    assert near(found.coef_, least.coef_)
    free = ours.GroupLasso(alpha=1e6, groups=groups, penalty_weights=[0, 1, np.inf, 1, 0])
    inside = np.flatnonzero(np.isin(groups, [0, 4]))
    found = free.set_params(tol=1e-13).fit(X, y)
    assert near(found.coef_[inside], peer.LinearRegression().fit(X[:, inside], y).coef_)
    assert np.flatnonzero(found.coef_).tolist() == inside.tolist()
    # a column twice in a free group: the coefficients of least norm
    X[:, 1] = X[:, 0]
    found = free.fit(X, y)
    assert found.coef_[0] == pytest.approx(found.coef_[1])
    assert found.dual_gap_ <= 1e-13 * np.var(y)


@pytest.mark.parametrize("model", [ours.Lasso(), ours.ElasticNet(), ours.GroupLasso()])
def test_products_that_overflow_are_named_at_any_scale(model):
    X, y = problem()
    with np.errstate(all="ignore"):
        for data in ((X * 1e200, y), (X, y * 1e200)):
            with pytest.raises(ValueError, match="products overflow float64"):
                model.fit(*data)


@pytest.mark.parametrize("bad", [
    {"alphas": 0}, {"n_alphas": -3}, {"eps": 0.0}, {"tol": -1.0}, {"max_iter": 0},
    {"selection": "all"}, {"solver": "none"}, {"coef_init": np.ones(3)}, {"precompute": "yes"},
], ids=str)  # fmt: skip
def test_parameters_of_a_path_are_named(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name.removeprefix("n_")):
        ours.lasso_path(*problem(), **bad)


def test_penalty_weights_of_groups_are_counted_in_groups():
    with pytest.raises(ValueError, match=r"each of the 5 groups; got shape \(25,\)"):
        ours.GroupLasso(groups=np.arange(25) // 5, penalty_weights=np.ones(25)).fit(*problem())


@pytest.mark.parametrize("cv, message", [
    ([], "no folds"),
    ([(np.arange(30), [])], "fold 0 of cv has 0 test rows"),
    ([([], np.arange(30))], "fold 0 of cv has 0 training rows"),
    ([(np.arange(40), np.arange(40, 60)), (np.arange(20), np.arange(20, 60))], "fold 1 of cv"),
])  # fmt: skip
@pytest.mark.parametrize("model", [ours.LassoCV, ours.RidgeCV])
def test_folds_without_rows_that_count_are_named(model, cv, message):
    folds = [(np.asarray(a, int), np.asarray(b, int)) for a, b in cv]
    X, y = problem()
    weights = np.ones(60)
    weights[:20] = 0.0
    with pytest.raises(ValueError, match=message):
        model(cv=folds).fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("model", [ours.LassoCV(), ours.ElasticNetCV(), ours.RidgeCV()])
def test_folds_may_be_masks(model):
    X, y = problem()
    inside = np.arange(60) % 3 > 0
    masks, rows = [(inside, ~inside)], [(np.flatnonzero(inside), np.flatnonzero(~inside))]
    first = model.set_params(cv=rows).fit(X, y)
    alpha, coef = first.alpha_, first.coef_
    assert model.set_params(cv=masks).fit(X, y).alpha_ == alpha
    assert np.array_equal(model.coef_, coef)


@pytest.mark.parametrize("alphas, message", [
    ([], "at least one strength"), ([1.0, np.nan], r"alphas\[1\] == nan"), ([np.inf, 1.0], "inf"),
])  # fmt: skip
@pytest.mark.parametrize("model", [ours.LassoCV, ours.RidgeCV])
def test_alphas_that_are_none_or_not_finite_are_named(model, alphas, message):
    with pytest.raises(ValueError, match=message):
        model(alphas=alphas).fit(*problem())


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("model", [ours.Lasso(), ours.LassoCV(), ours.Ridge(), ours.RidgeCV()])
def test_one_weight_for_all_rows_is_checked(model, weight):
    with pytest.raises(ValueError, match=r"non-zero|Negative|NaN or infinity"):
        model.fit(*problem(), sample_weight=weight)


@pytest.mark.parametrize("scale", [5e-324, 1e308])
def test_only_proportions_of_weights_matter(scale):
    X, y = problem()
    with np.errstate(all="raise"):
        found = ours.Lasso(alpha=0.1).fit(X, y, np.full(60, scale))
    assert np.array_equal(found.coef_, ours.Lasso(alpha=0.1).fit(X, y, np.ones(60)).coef_)


def test_leaving_one_out_needs_two_rows_that_count():
    X, y = problem()
    with pytest.raises(ValueError, match="at least 2 rows of weight above 0"):
        ours.RidgeCV().fit(X, y, sample_weight=np.eye(60)[3])


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("layout", ["C", "csc"])
def test_free_features_may_be_constant_or_depend_on_each_other(intercept, layout):
    X, y = problem()
    X[:, 0], X[:, 1], X[:, 2] = 3.7, np.arange(60) % 2, (np.arange(60) + 1) % 2
    factors = np.ones(25)
    factors[:3] = 0.0
    least = peer.LinearRegression(fit_intercept=intercept).fit(X[:, :3], y).predict(X[:, :3])
    view = sparse.csc_array(X) if layout == "csc" else X
    options = {"alpha": 1e6, "fit_intercept": intercept, "penalty_weights": factors}
    for model in (ours.Lasso(**options), ours.GroupLasso(**options)):
        found = model.set_params(tol=1e-12).fit(view, y)
        assert near(found.predict(view), least)
        assert found.dual_gap_ <= 1e-12 * np.var(y)
        assert np.abs(found.coef_).max() < 100
        assert found.coef_[0] == 0.0 or not intercept
    parts = ours.Lasso(**options)
    for rows in (slice(25), slice(25, 60)):
        parts.partial_fit(X[rows], y[rows])
    assert near(parts.predict(X), least)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_free_columns_may_be_alike(seed):
    X, y = problem(50, 120, seed)
    X[:, ::2] = 3.7
    factors = np.ones(120)
    factors[[0, 2, 4, 6, 8, 10]] = 0.0
    found = ours.Lasso(alpha=1.0, penalty_weights=factors, fit_intercept=False, tol=1e-8).fit(X, y)
    assert "depend on each other" in found.solver_info_["why"]
    assert found.dual_gap_ <= 1e-8 * np.mean(y**2)


@pytest.mark.parametrize("seed", range(20, 30))
def test_a_solution_among_dependent_columns_is_better_than_zeros(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((27, 40))
    X[:, rng.random(40) < 0.2] = 0.0
    X[:, rng.random(40) < 0.2] = X[:, rng.integers(40)][:, None]
    X[:, rng.random(40) < 0.1] = 1.0
    X += 100.0 * (rng.random(40) < 0.3)
    y = rng.standard_normal(27)
    alpha = 0.01 * np.abs((X - X.mean(0)).T @ (y - y.mean())).max() / 27
    model = ours.Lasso(alpha, fit_intercept=False, max_iter=300)
    with warnings.catch_warnings():
        # which of them converge is rounding's
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    # zeros have a gap of at most this
    assert model.dual_gap_ < 0.5 * np.mean(y**2)


def test_a_solution_that_is_lost_is_swept_for(monkeypatch):
    solve = Solver.solve

    def astray(self, *args):
        fit = solve(self, *args)
        return fit._replace(gap=1e9, w=1e6 * fit.w) if self.method == "follow" else fit

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 5)), rng.standard_normal(30)
    expected = ours.Lasso(0.01, tol=1e-12).fit(X, y)
    monkeypatch.setattr(Solver, "solve", astray)
    model = ours.Lasso(0.01, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)
    assert model.solver_info_["solver"] == "descend"
    assert "sweeps instead" in model.solver_info_["why"]
