"""RidgeCV against models that really leave a row out, and against scikit-learn."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn import linear_model as theirs
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold, ShuffleSplit

from equipoise.linear_model import Ridge, RidgeCV, plot_cv, plot_path, ridge_path
from equipoise.ops.products.op import LeaveOneOut

ALPHAS = np.logspace(-3, 3, 7)


def data(n, p, q=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(0.1, 10, p) + 3
    return X, rng.standard_normal(n if q is None else (n, q)) + (X[:, 0] if q is None else X[:, :1])


@pytest.mark.parametrize("shape", [(25, 6), (9, 20)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"standardize": True}, {"fit_intercept": False}, {"penalty_weights": True}],
    ids=repr,
)
def test_every_row_is_really_left_out(shape, weighted, options):
    X, y = data(*shape)
    n = len(y)
    if "penalty_weights" in options:
        factors = np.random.default_rng(1).random(shape[1]) + 0.5
        factors[[0, 2]], factors[1] = 0.0, np.inf
        options = {"penalty_weights": factors}
    weights = np.random.default_rng(2).random(n) + 0.1 if weighted else None
    model = RidgeCV(ALPHAS, store_cv_results=True, **options).fit(X, y, weights)
    if options.get("standardize"):
        # the scale of a column is that of all rows, as for every alpha
        mean = np.average(X, axis=0, weights=weights)
        std = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
        options = {"penalty_weights": std**2}
    for k in (0, 3, 6):
        inner = Ridge(ALPHAS[k], **options)
        for i in range(n):
            rest = np.arange(n) != i
            inner.fit(X[rest], y[rest], None if weights is None else weights[rest])
            error = (y[i] - inner.predict(X[i : i + 1])[0]) ** 2
            error *= 1.0 if weights is None else weights[i]
            assert model.cv_results_[i, k] == pytest.approx(error, rel=1e-6, abs=1e-12)
    again = Ridge(model.alpha_, **options).fit(X, y, weights)
    assert np.allclose(model.coef_, again.coef_, rtol=1e-7)
    assert model.intercept_ == pytest.approx(again.intercept_, rel=1e-7)
    assert np.allclose(model.mean_scores_, -model.cv_results_.mean(0))
    spread = model.cv_results_.std(0, ddof=1) / np.sqrt(n)
    assert np.allclose(model.score_errors_, spread)


@pytest.mark.parametrize("shape", [(400, 9), (30, 50)])
@pytest.mark.parametrize("q", [None, 3])
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_scikit_learns_choice(shape, q, scoring):
    X, y = data(*shape, q)
    # theirs cannot score one target by itself
    for per_target in (False, True) if q or scoring is None else (False,):
        ours, other = (
            kind(ALPHAS, scoring=scoring, alpha_per_target=per_target, store_cv_results=True)
            for kind in (RidgeCV, theirs.RidgeCV)
        )
        ours.fit(X, y)
        other.fit(X, y)
        assert np.array_equal(ours.alpha_, other.alpha_)
        assert np.allclose(ours.best_score_, other.best_score_, rtol=1e-8)
        assert np.allclose(ours.coef_, other.coef_, rtol=1e-6, atol=1e-9)
        assert np.allclose(ours.cv_results_, other.cv_results_, rtol=1e-6)


@pytest.mark.parametrize("shape", [(90, 7), (30, 50)])
@pytest.mark.parametrize(
    "cv", [3, KFold(4, shuffle=True, random_state=0), ShuffleSplit(3, random_state=0)]
)
def test_folds_choose_as_scikit_learn_does(shape, cv):
    X, y = data(*shape)
    weights = np.random.default_rng(0).random(len(y)) + 0.2
    for given in (None, weights):
        ours = RidgeCV(ALPHAS, cv=cv).fit(X, y, given)
        other = theirs.RidgeCV(ALPHAS, cv=cv).fit(X, y, given)
        assert ours.alpha_ == other.alpha_
        assert ours.best_score_ == pytest.approx(other.best_score_, rel=1e-7)
        assert np.allclose(ours.coef_, other.coef_, rtol=1e-6)


def test_weights_of_zero_are_rows_left_out():
    for shape in ((30, 5), (10, 20)):
        X, y = data(*shape)
        weights = (np.arange(len(y)) % 3 > 0).astype(float)
        y[weights == 0] *= 1e3
        for scoring in (None, "neg_mean_squared_error"):
            some = RidgeCV(ALPHAS, scoring=scoring).fit(X, y, weights)
            rest = RidgeCV(ALPHAS, scoring=scoring).fit(X[weights > 0], y[weights > 0])
            assert some.alpha_ == rest.alpha_
            assert np.allclose(some.coef_, rest.coef_, rtol=1e-8)


def test_one_standard_error_takes_the_simplest_of_equals():
    X, y = load_diabetes(return_X_y=True)
    alphas = np.logspace(-4, 2, 30)
    for cv in (None, 5):
        best = RidgeCV(alphas, cv=cv).fit(X, y)
        simple = RidgeCV(alphas, cv=cv, rule="1se").fit(X, y)
        assert simple.alpha_ > best.alpha_
        place = int(np.argmax(best.mean_scores_))
        floor = best.mean_scores_[place] - best.score_errors_[place]
        assert simple.best_score_ >= floor
        assert (best.mean_scores_[alphas > simple.alpha_] < floor).all()


def test_path_is_ridge_at_each_alpha():
    for shape in ((40, 6), (8, 20)):
        for q in (None, 2):
            X, y = data(*shape, q)
            alphas, coefs = ridge_path(X, y, alphas=ALPHAS, standardize=True)
            for k, alpha in enumerate(alphas):
                model = Ridge(alpha, standardize=True).fit(X, y)
                assert np.allclose(coefs[..., k], model.coef_, rtol=1e-6, atol=1e-10)


def broken_intercept(monkeypatch):
    from equipoise.linear_model import loo

    def without(offset, base, *args):
        return LeaveOneOut(offset, 0.0, *args)

    monkeypatch.setattr(loo, "LeaveOneOut", without)


def broken_weights(monkeypatch):
    from equipoise.linear_model import loo

    whole = loo.TallLOO.__init__

    def unweighted(self, *args):
        whole(self, *args)
        self.weights = None

    monkeypatch.setattr(loo.TallLOO, "__init__", unweighted)


@pytest.mark.parametrize("break_it", [broken_intercept, broken_weights])
def test_broken_leverages_are_caught(break_it, monkeypatch):
    break_it(monkeypatch)
    with pytest.raises(AssertionError):
        test_every_row_is_really_left_out((25, 6), True, {})


def test_pictures_show_themselves_and_are_saved(tmp_path):
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = RidgeCV(np.logspace(-3, 2, 20)).fit(X, y)
    alphas, coefs = ridge_path(X, y, alphas=np.logspace(-3, 2, 20))
    path, curve = plot_path(alphas, coefs, names=X.columns, chosen=model.alpha_), plot_cv(model)
    both = path + curve
    assert "<iframe" in both._repr_html_()
    for name in X.columns[coefs.max(1).argsort()[-2:]]:
        assert name in path.to_html()
    for name in ("a.svg", "a.html"):
        text = both.save(tmp_path / name).read_text("utf-8")
        assert text.count('class="chart') == 2
        assert "nan" not in text
        ids = re.findall(r'<svg id="([^"]*)"', text)
        assert len(set(ids)) == len(ids) == 2
    ElementTree.parse(tmp_path / "a.svg")
    with pytest.raises(ValueError, match=r"saved as \.svg or \.html; got"):
        path.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"coefs must be .* got shapes \(3, 2\) and \(3,\)"):
        plot_path([1, 2, 3], np.ones((3, 2)))
    with pytest.raises(ValueError, match="alphas must be above 0"):
        plot_path([0.0, 1], np.ones((3, 2)))
    with pytest.raises(ValueError, match="alphas must be above 0 for a log scale; got none"):
        plot_path([], np.ones((3, 0)))
    with pytest.raises(ValueError, match="coefs must be finite"):
        plot_path([1.0], np.full((3, 1), np.nan))
    with pytest.raises(ValueError, match="names must name the 3 features; got 1"):
        plot_path([1.0, 2], np.ones((3, 2)), names=["a"])
    with pytest.raises(ValueError, match="needs a fitted RidgeCV"):
        plot_cv(Ridge())
