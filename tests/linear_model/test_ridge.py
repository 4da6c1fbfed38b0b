"""Ridge against its optimality conditions, scikit-learn, and cases that must coincide."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import linear_model as theirs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from equipoise.linear_model import Ridge, RidgeCV, exact, kernel
from equipoise.penalties import L2

# how many times n + p roundings a gradient may be: thousands of draws came to 2 where n >= p
BACKWARD = 100


@pytest.fixture(autouse=True)
def small_halves(monkeypatch):
    """Let kernel matrices in float32 begin at small sizes."""
    monkeypatch.setattr(kernel, "HALF", 100)


def data(n, p, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + offset
    return X, rng.standard_normal(n) + X[:, 0]


def residual(model, X, y, weights=None, factors=None):
    """Give the gradient of the objective at the fit over what rounding may make of it.

    Entries of X and y are known to eps of their size, before X is centred, and a factor of the
    normal equations A, scaled to a unit diagonal, is backward stable: the fit solves equations
    that differ from the exact ones by a few eps √(A_jj A_kk).  Hence, with a_j = √(‖x_j‖² + D_j),

        |gradient_j| ≤ c (n + p) eps a_j (Σ_k a_k |b_k| + ‖y‖)

    with a small c, whatever the condition; what comes back is c.  With one unknown a row, rounding
    of a kernel matrix of condition κ adds up to κ to c.
    (Demmel 1989; Higham, "Accuracy and stability", theorem 10.5.)
    """
    X, y = np.asarray(X, np.longdouble), np.asarray(y, np.longdouble)
    W = np.ones(len(X)) if weights is None else np.asarray(weights)
    b = model.coef_.astype(np.longdouble)
    left = W * (y - X @ b - model.intercept_)
    D = np.full(len(b), model.alpha, np.longdouble)
    mean = W @ X / W.sum()
    if model.standardize:
        var = W @ (X - mean) ** 2 / W.sum()
        D *= np.where(var > 1e-28 * mean**2, var, 1.0)
    if factors is not None:
        D = D * factors
    gradient = (X - mean * model.fit_intercept).T @ left - D * b
    a = np.sqrt(W @ (X * X) + D)
    bound = a * (a @ np.abs(b) + np.sqrt(W @ (y * y)))
    parts = np.abs(gradient) / np.where(bound > 0, bound, 1.0)
    size = W @ (np.abs(y) + np.abs(X) @ np.abs(b) + abs(model.intercept_))
    sums = abs(left.sum()) / (size or 1.0)
    error = float(max(parts.max(), sums if model.fit_intercept else 0.0))
    return error / (sum(X.shape) * np.finfo(np.float64).eps)


@st.composite
def problems(draw):
    n, p = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    X = rng.standard_normal((n, p)) * 10.0 ** draw(st.integers(-8, 8))
    for kind in draw(st.lists(st.sampled_from(["zero", "constant", "copy", "scale"]), max_size=3)):
        j, k = rng.integers(p, size=2)
        X[:, j] = {"zero": 0 * X[:, j], "constant": 0 * X[:, j] + 3.0, "copy": X[:, k]}.get(
            kind, X[:, j] * 10.0 ** rng.integers(-8, 9)
        )
    y = rng.standard_normal(n) * 10.0 ** draw(st.integers(-8, 8)) + draw(st.integers(-5, 5))
    weights = rng.random(n) + 0.1 if draw(st.booleans()) else None
    alpha = 10.0 ** draw(st.integers(-3, 8)) * max(np.square(X).sum(), 1e-16) / n
    return X, y, weights, alpha


@settings(max_examples=150, deadline=None)
@given(problems(), st.booleans(), st.booleans(), st.sampled_from("CF"))
def test_the_gradient_vanishes(problem, fit_intercept, standardize, order):
    X, y, weights, alpha = problem
    model = Ridge(alpha, fit_intercept=fit_intercept, standardize=standardize)
    if standardize:
        # relative to columns of variance 1, as alpha is to those of X
        model.alpha = min(alpha * len(X) / max(np.square(X).sum(), 1e-16), 1e6)
    model.fit(np.asarray(X, order=order), y, sample_weight=weights)
    # one unknown a row: a kernel matrix is taken as it is to this reciprocal condition, times a few
    allowed = BACKWARD if len(X) >= X.shape[1] else 10 / exact.ROUGH
    assert residual(model, X, y, weights) < allowed


@pytest.mark.parametrize("alpha", [1e-4, 1e-8, 1e-11, 1e-13])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_gradient_vanishes_on_few_rows_that_depend_on_each_other(alpha, fit_intercept):
    X, y = data(10, 30)
    X[5] = X[:4].sum(0)
    model = Ridge(alpha, fit_intercept=fit_intercept).fit(X, y)
    assert residual(model, X, y) < BACKWARD


@pytest.mark.parametrize("shape", [(300, 20), (20, 60), (30, 30), (120, 150)])
@pytest.mark.parametrize("weighted", [False, True])
def test_free_heavy_and_absent_features(shape, weighted):
    X, y = data(*shape, offset=2.0)
    factors = np.random.default_rng(1).random(shape[1]) + 0.5
    factors[[0, 3]], factors[[1, 5]] = 0.0, np.inf
    weights = np.random.default_rng(2).random(shape[0]) if weighted else None
    model = Ridge(5.0, penalty_weights=factors).fit(X, y, weights)
    assert not model.coef_[[1, 5]].any()
    kept = np.isfinite(factors)
    inner = Ridge(5.0, penalty_weights=factors[kept]).fit(X[:, kept], y, weights)
    assert np.allclose(model.coef_[kept], inner.coef_, rtol=1e-8, atol=1e-10)
    assert residual(inner, X[:, kept], y, weights, factors[kept]) < BACKWARD


def test_factors_are_those_of_the_penalty():
    X, y = data(80, 6)
    factors = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])
    model = Ridge(4.0, penalty_weights=factors, fit_intercept=False).fit(X, y)
    # a fixed point of the proximal step of eq.penalties is a solution
    step = 1e-3
    moved = model.coef_ - step * X.T @ (X @ model.coef_ - y)
    assert np.allclose(L2(4.0, weights=factors).prox(moved, step), model.coef_, rtol=1e-12)


def test_standardize_is_a_fit_to_standardized_columns():
    X, y = data(60, 5, offset=1e3)
    X *= np.geomspace(1e-6, 1e6, 5)
    std = X.std(0)
    ours = Ridge(3.0, standardize=True).fit(X, y)
    scaled = theirs.Ridge(3.0, solver="svd").fit((X - X.mean(0)) / std, y)
    assert np.allclose(ours.coef_, scaled.coef_ / std, rtol=1e-9)
    assert np.allclose(ours.predict(X), scaled.predict((X - X.mean(0)) / std), rtol=1e-9)
    wide = Ridge(3.0, standardize=True).fit(X[:4], y[:4])
    std = X[:4].std(0)
    scaled = theirs.Ridge(3.0, solver="svd").fit((X[:4] - X[:4].mean(0)) / std, y[:4])
    assert np.allclose(wide.coef_, scaled.coef_ / std, rtol=1e-9)


@pytest.mark.parametrize("shape", [(200, 6), (20, 40), (120, 140)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_weights_are_repetitions_and_offsets_cost_nothing(shape, offset):
    X, y = data(*shape, offset=offset)
    times = np.random.default_rng(0).integers(0, 4, shape[0])
    weighted = Ridge(2.0).fit(X, y, times)
    again = Ridge(2.0).fit(np.repeat(X, times, 0), np.repeat(y, times))
    assert np.allclose(weighted.coef_, again.coef_, rtol=1e-7, atol=1e-9)
    near = theirs.Ridge(2.0, solver="svd").fit(X - offset, y, times)
    assert np.allclose(weighted.coef_, near.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(5000, 12), (300, 600)])
def test_float32_is_as_accurate_as_float64(shape):
    X, y = data(*shape, offset=5.0)
    X, y = X.astype(np.float32), y.astype(np.float32)
    ours, exact = Ridge(1.0).fit(X, y), Ridge(1.0).fit(X.astype(np.float64), y.astype(np.float64))
    assert ours.coef_.dtype == np.float32
    assert np.abs(ours.coef_ - exact.coef_).max() < 1e-6 * np.abs(exact.coef_).max()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("offset, targets, raw, direct", [
    (0.3, 1, True, True), (3.0, 1, False, True), (300.0, 1, False, False), (0.3, 9, True, False),
])  # fmt: skip
def test_wide_x_is_multiplied_where_it_lies(order, offset, targets, raw, direct, monkeypatch):
    X, y = data(120, 400, offset=offset)
    X = np.asarray(X, np.float32, order=order)
    Y = np.outer(y, np.arange(1, targets + 1)).astype(np.float32)
    seen, make = [], kernel.Kernel

    def made(design, *args, **options):
        seen.append((design, make(design, *args, **options)))
        return seen[-1][1]

    monkeypatch.setattr(kernel, "Kernel", made)
    ours = Ridge(2.0).fit(X, Y)
    design, found = seen[0]
    assert found.matrix.dtype == np.float32
    assert (design._raw(), found.design.direct) == (raw, direct)
    exact = theirs.Ridge(2.0, solver="svd").fit(X.astype(np.float64), Y.astype(np.float64))
    expected = np.atleast_2d(exact.coef_)
    assert np.abs(np.atleast_2d(ours.coef_) - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.allclose(ours.predict(X), exact.predict(X), rtol=0, atol=1e-4 * np.abs(Y).max())


def test_ill_conditioned_columns_get_the_digits_of_a_qr():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((400, 8)))[0]
    X = basis * np.geomspace(1, 1e-7, 8) @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    beta = rng.standard_normal(8)
    for alpha in (1e-18, 1e-14, 1e-10):
        model = Ridge(alpha, fit_intercept=False).fit(X, X @ beta)
        exact = theirs.Ridge(alpha, fit_intercept=False, solver="svd").fit(X, X @ beta)
        assert np.allclose(model.predict(X), exact.predict(X), rtol=1e-10, atol=1e-12)
        assert np.abs(model.coef_ - exact.coef_).max() < 1e-7 * np.abs(exact.coef_).max()


@pytest.mark.parametrize("shape", [(30, 5), (8, 20)])
def test_alpha_zero_is_least_squares_and_says_so(shape):
    X, y = data(*shape)
    with pytest.warns(UserWarning, match="alpha=0 is ordinary least squares"):
        model = Ridge(0.0).fit(X, y)
    least = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
    assert np.allclose(model.coef_, least, rtol=1e-8)
    X[:, 1] = X[:, 0]
    with pytest.warns(UserWarning, match="alpha=0"):
        model = Ridge(0.0).fit(X, y)
    least = np.linalg.lstsq(X - X.mean(0), y - y.mean(), rcond=None)[0]
    assert np.allclose(model.coef_, least, rtol=1e-6)


@pytest.mark.parametrize("shape", [(200, 30), (20, 60)])
def test_positive_coefficients_are_optimal(shape):
    X, y = data(*shape)
    model = Ridge(0.5, positive=True).fit(X, y)
    assert (model.coef_ >= 0).all()
    assert (model.coef_ > 0).any()
    slope = (X - X.mean(0)).T @ (y - X @ model.coef_ - model.intercept_) - 0.5 * model.coef_
    assert np.abs(slope[model.coef_ > 0]).max() < 1e-9
    assert slope[model.coef_ == 0].max() < 1e-9
    near = Ridge(0.5, positive=True, solver="lbfgs", tol=1e-10).fit(X, y)
    assert np.allclose(model.coef_, near.coef_, atol=1e-5)


@pytest.mark.parametrize("shape", [(300, 40), (40, 300)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_is_dense(shape, weighted):
    rng = np.random.default_rng(0)
    S = sparse.random_array(shape, density=0.1, rng=rng, format="csr")
    y, weights = rng.standard_normal(shape[0]), rng.random(shape[0]) if weighted else None
    for options in ({}, {"standardize": True}, {"solver": "sparse_cg", "tol": 1e-13}):
        a = Ridge(0.3, **options).fit(S, y, weights)
        b = Ridge(0.3, **options).fit(S.toarray(), y, weights)
        assert np.allclose(a.coef_, b.coef_, rtol=1e-8, atol=1e-11)
        assert a.intercept_ == pytest.approx(b.intercept_, rel=1e-8)
    c = RidgeCV([0.1, 1.0]).fit(S, y, weights)
    assert c.best_score_ == pytest.approx(
        RidgeCV([0.1, 1.0]).fit(S.toarray(), y, weights).best_score_
    )


def test_large_sparse_takes_conjugate_gradients(monkeypatch):
    from equipoise.linear_model import ridge

    monkeypatch.setattr(ridge, "EXACT", 10)
    S = sparse.random_array((60, 40), density=0.2, rng=np.random.default_rng(0), format="csr")
    model = Ridge(1.0, tol=1e-12).fit(S, S.sum(1))
    assert model.solver_info_["solver"] == "sparse_cg"
    assert np.allclose(model.coef_, Ridge(1.0).fit(S.toarray(), S.sum(1)).coef_, rtol=1e-8)
    with pytest.warns(ConvergenceWarning, match=r"did not converge.*tol"):
        Ridge(1e-9, solver="sparse_cg", tol=0.0).fit(S, S.sum(1) + np.arange(60.0))


@pytest.mark.parametrize("order", "CF")
def test_x_is_neither_copied_nor_changed(order):
    X, y = data(100_000, 20)
    X = np.asarray(X, order=order)
    before = X.copy()
    X.setflags(write=False)
    Ridge().fit(X[:1000], y[:1000])
    RidgeCV().fit(X[:1000], y[:1000])
    for model in (Ridge(), RidgeCV(np.logspace(-3, 3, 20))):
        tracemalloc.start()
        model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.2 * X.nbytes + 8 * 2 * y.nbytes
    assert np.array_equal(X, before)


def test_the_same_bits_at_any_thread_count():
    import torch

    X, y = data(30_000, 12)
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 1):
            torch.set_num_threads(n)
            found.append(RidgeCV([0.1, 1.0]).fit(X, y))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert np.array_equal(found[0].coef_, other.coef_)
        assert np.array_equal(found[0].mean_scores_, other.mean_scores_)


ESTIMATORS = [
    Ridge(), Ridge(positive=True), Ridge(standardize=True), Ridge(fit_intercept=False),
    RidgeCV(), RidgeCV(cv=3), RidgeCV(rule="1se", standardize=True),
]  # fmt: skip


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
def test_scikit_learns_checks(model):
    results = check_estimator(model, on_skip=None)
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert sum(r["status"] == "passed" for r in results) > 50


X0, Y0 = data(10, 3)
BAD = [
    (lambda: Ridge().fit(np.where(X0 > 1, np.nan, X0), Y0), "contains NaN"),
    (lambda: Ridge().fit(np.where(X0 > 1, np.inf, X0), Y0), "contains infinity"),
    (lambda: Ridge().fit(np.where(X0 > 1, np.nan, X0).T, Y0[:3]), "contains NaN"),
    (lambda: Ridge().fit(X0, np.where(Y0 > 0, np.nan, Y0)), "y contains NaN"),
    (lambda: Ridge().fit(X0, Y0[:4]), "inconsistent numbers of samples"),
    (lambda: Ridge(-1.0).fit(X0, Y0), "'alpha' parameter of Ridge"),
    (lambda: Ridge([1.0, 2.0]).fit(X0, Y0), "targets and number of penalties .* 2 != 1"),
    (lambda: Ridge([-1.0]).fit(X0, Y0), "alpha must be finite and at least 0"),
    (lambda: Ridge().fit(X0, Y0, np.zeros(10)), "at least one non-zero number"),
    (lambda: Ridge().fit(X0, Y0, -np.ones(10)), "Negative values"),
    (lambda: Ridge(penalty_weights=[1, 2]).fit(X0, Y0), r"each of the 3 features; got shape \(2,"),
    (lambda: Ridge(penalty_weights=[1, 2, -1]).fit(X0, Y0), "at least 0; got -1.0 for feature 2"),
    (lambda: Ridge(solver="lsqr", penalty_weights=[0, 1, 1]).fit(X0, Y0), "every feature to pay"),
    (lambda: Ridge().fit(X0 * 1e200, Y0 * 1e200), "overflow"),
    (lambda: RidgeCV([0.0, 1.0]).fit(X0, Y0), r"alphas\[0\] == 0.0, must be > 0"),
    (lambda: RidgeCV([]).fit(X0, Y0), "at least one strength"),
    (lambda: RidgeCV(scoring="r2", rule="1se").fit(X0, Y0), "rule='1se' needs a standard error"),
    (lambda: RidgeCV().fit(X0[:1], Y0[:1]), "at least 2 rows"),
]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("call, words", BAD, ids=[words for _, words in BAD])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("factor", [0.0, np.inf])
def test_no_feature_is_left_to_penalise(factor, capfd):
    X, y = np.random.default_rng(0).standard_normal((30, 5)), np.arange(30.0)
    found = Ridge(penalty_weights=np.full(5, factor)).fit(X, y)
    least = theirs.LinearRegression().fit(X, y).coef_ if factor == 0.0 else np.zeros(5)
    assert np.allclose(found.coef_, least)
    # LAPACK writes of what it does not like where nobody looks
    assert capfd.readouterr() == ("", "")
