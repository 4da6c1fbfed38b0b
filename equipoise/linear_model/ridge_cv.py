"""RidgeCV: Ridge with its alpha chosen by exact leave-one-out, or by folds."""

import numbers
import warnings
from functools import reduce
from numbers import Real
from typing import Any, ClassVar, cast

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, _fit_context
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, _routing_enabled

from equipoise.linear_model.base import LinearRegressor
from equipoise.linear_model.folds import check_folds
from equipoise.linear_model.loo import TallLOO, WideLOO, predictions, squared_errors
from equipoise.linear_model.products import Rows, is_sparse, state
from equipoise.linear_model.ridge import Ridge, check_ridge, set_solution
from equipoise.linear_model.ridge_fit import RidgeFit
from equipoise.moments import Moments
from equipoise.ops.moments.comoments import merge


class RidgeCV(MultiOutputMixin, LinearRegressor):
    """Ridge whose alpha is chosen by cross-validation, by default exact leave-one-out.

    For row i of leverage h_i, the error of the model fitted without it is

        e_i = (y_i - x_iᵀ b - b₀) / (1 - h_i)

    for every alpha from one eigendecomposition of the Gram matrix, and one more pass over X.

    Parameters
    ----------
    alphas : float or array (alphas,)
        Strengths to try, above 0 (0 too, with ``cv``).
    fit_intercept : bool
    scoring : str, callable or None
        A scorer; None is minus the mean squared error for leave-one-out, R² for folds.
    cv : None, int, splitter or iterable of (train, test)
        None is leave-one-out.
    gcv_mode : {None, 'auto', 'svd', 'eigen'}
        'svd' decomposes the triangle of a QR of X where n >= p, in place of the Gram matrix;
        everything else is 'eigen'.
    store_cv_results : bool
        Keep ``cv_results_``, for leave-one-out.
    alpha_per_target : bool
        Choose an alpha for each target, for leave-one-out.
    penalty_weights, standardize :
        As of `Ridge`.
    rule : {'min', '1se'}
        'min' takes the best mean score; '1se' the largest alpha whose mean is within one standard
        error of it, a simpler model that is as good as one can tell.

    Attributes
    ----------
    alpha_ : float or array (targets,)
    best_score_ : float or array (targets,)
        The mean score of ``alpha_``.
    alphas_ : float64 (alphas,)
        As given.
    mean_scores_, score_errors_ : float64 (alphas,), or (targets, alphas) with alpha_per_target
        Mean score of each alpha over rows (leave-one-out) or folds, and its standard error; NaN
        for a scorer that sees all rows at once.
    coef_, intercept_ :
        Of the fit to all rows at ``alpha_``.
    cv_results_ : array (n, alphas) or (n, targets, alphas)
        Weighted squared errors, or predictions where ``scoring`` is given.

    References
    ----------
    Rifkin, Lippert, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025.
    Hastie, Tibshirani, Friedman, "The elements of statistical learning", 7.10 (one standard error).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from equipoise.linear_model import RidgeCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> alphas = [0.001, 0.01, 0.1, 1.0]
    >>> float(RidgeCV(alphas).fit(X, y).alpha_), float(RidgeCV(alphas, rule="1se").fit(X, y).alpha_)
    (0.01, 0.1)
    """

    _parameter_constraints: ClassVar[dict] = {
        "alphas": ["array-like", Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "cv": ["cv_object"],
        "gcv_mode": [StrOptions({"auto", "svd", "eigen"}), None],
        "store_cv_results": ["boolean"],
        "alpha_per_target": ["boolean"],
        "penalty_weights": ["array-like", None],
        "standardize": ["boolean"],
        "rule": [StrOptions({"min", "1se"})],
    }

    def __init__(
        self,
        alphas=(0.1, 1.0, 10.0),
        *,
        fit_intercept=True,
        scoring=None,
        cv=None,
        gcv_mode=None,
        store_cv_results=False,
        alpha_per_target=False,
        penalty_weights=None,
        standardize=False,
        rule="min",
    ):
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target
        self.penalty_weights = penalty_weights
        self.standardize = standardize
        self.rule = rule

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, **params):
        """Choose alpha, and fit to all rows with it.

        Parameters
        ----------
        X : array or sparse matrix (n, p)
        y : array (n,) or (n, targets)
        sample_weight : None, number or array (n,)
        **params :
            For the scorer, where scikit-learn's metadata routing is enabled.

        Returns
        -------
        self
        """
        self.alphas_ = check_grid(self.alphas, self.cv)
        if self.cv is not None:
            for name in ("store_cv_results", "alpha_per_target"):
                if getattr(self, name):
                    raise ValueError(f"cv!=None and {name}=True are incompatible")
        if params and not _routing_enabled():
            raise ValueError(
                f"fit takes {sorted(params)} only with metadata routing: see "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        X, y, weights = check_ridge(self, X, y, sample_weight)
        matrix = y.reshape(len(y), -1).astype(np.float64, copy=False)
        if self.cv is None:
            self._leave_one_out(X, y, matrix, weights, params)
        else:
            self._folds(X, y, matrix, weights)
        return self

    def _leave_one_out(self, X, y, matrix, weights, params):
        rows = None
        if weights is not None and not weights.all():
            rows = np.flatnonzero(weights)
        if (len(matrix) if rows is None else len(rows)) < 2:
            raise ValueError(
                "leave-one-out needs at least 2 rows of weight above 0; got n_samples = 1. Fit "
                "Ridge instead."
            )
        fit = RidgeFit(self, X, matrix, weights, rows)
        tall = fit.n >= fit.p and fit.n > 1
        if self.gcv_mode == "svd" and is_sparse(X):
            warnings.warn(
                "The 'svd' mode is not supported for sparse X, we fallback to `gcv_mode='eigen'`. "
                "Leave gcv_mode out.",
                FutureWarning,
                stacklevel=4,
            )
        loo = TallLOO(fit, self.gcv_mode == "svd" and not is_sparse(X)) if tall else WideLOO(fit)
        if self.scoring is None:
            scores, errors = self._squared(loo, fit, X.dtype, y)
        else:
            if weights is not None:
                params = {"sample_weight": weights, **params}
            scores, errors = self._scored(loo, fit, y, params, X.dtype)
        best = self._choose(scores, errors)
        alphas = np.broadcast_to(np.atleast_1d(self.alpha_), matrix.shape[1])
        self._take(loo.solve(alphas), fit, y, X.dtype, scores, best)

    def _squared(self, loo, fit, dtype, y):
        """Score by minus the mean squared error: means over all rows, those of weight 0 too."""
        store = None
        alphas, (n, q) = self.alphas_, fit.y.shape
        if self.store_cv_results:
            store = np.empty((fit.n, q, len(alphas)))
        weights = fit.weights if fit.rows is None or fit.weights is None else fit.weights[fit.rows]
        found = squared_errors(loo, alphas, weights, store)
        if store is not None:
            whole = np.zeros((n, q, len(alphas)), dtype)
            whole[slice(None) if fit.rows is None else fit.rows] = store
            self.cv_results_ = whole[:, 0] if y.ndim == 1 else whole
        m, share = found.each if self._per_target(q) else found.mean, fit.n / n
        shape = (q, -1) if self._per_target(q) else (-1,)
        error = m.std(ddof=1) / np.sqrt(fit.n) if fit.n > 1 else m.mean * np.nan
        return -share * m.mean.reshape(shape), share * error.reshape(shape)

    def _per_target(self, q):
        return self.alpha_per_target and q > 1

    def _scored(self, loo, fit, y, params, dtype):
        """Score by a scorer that sees what each row is predicted to be without itself."""
        scorer: Any = check_scoring(self, scoring=self.scoring, allow_none=True)
        alphas, (n, q) = self.alphas_, fit.y.shape
        kept = np.empty((n, q, len(alphas)), dtype) if self.store_cv_results else None
        scores = np.empty((q if self._per_target(q) else 1, len(alphas)))
        # a few alphas at a time: predictions for all may be as large as X
        step = max(1, fit.p // (10 * q))
        for start in range(0, len(alphas), step):
            some = alphas[start : start + step]
            predicted = self._predicted(loo, fit, some)
            if kept is not None:
                kept[:, :, start : start + step] = predicted
            for k in range(len(some)):
                given = predicted[:, :, k]
                if self._per_target(q):
                    for t in range(q):
                        scores[t, start + k] = scorer(_Identity(), given[:, t], y[:, t], **params)
                else:
                    given = given[:, 0] if y.ndim == 1 else given
                    scores[0, start + k] = scorer(_Identity(), given, y, **params)
        if kept is not None:
            self.cv_results_ = kept[:, 0] if y.ndim == 1 else kept
        scores = scores if self._per_target(q) else scores[0]
        return scores, scores * np.nan

    def _predicted(self, loo, fit, alphas):
        if fit.rows is None:
            return predictions(loo, alphas, fit.y)
        # a row of weight 0 is predicted by the fit, which it is no part of
        out = np.empty((*fit.y.shape, len(alphas)))
        B = loo.coefficients(alphas)
        rest = np.setdiff1d(np.arange(len(fit.y)), fit.rows)
        for k in range(len(alphas)):
            out[rest, :, k] = (fit.X[rest] @ B[:, :, k]) + (fit.y_offset - fit.offset @ B[:, :, k])
        out[fit.rows] = predictions(loo, alphas, fit.y[fit.rows])
        return out

    def _choose(self, scores, errors):
        """Set ``alpha_``; give the place of the chosen alpha, one a target with two axes."""
        self.mean_scores_, self.score_errors_ = scores, errors
        # the first of equal scores, as in scikit-learn; NaN is never best
        best = np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=-1)
        if self.rule == "1se":
            if np.isnan(errors).all():
                raise ValueError(
                    "rule='1se' needs a standard error: leave scoring out, or give cv, since a "
                    "scorer of leave-one-out sees all rows at once"
                )
            best = one_standard_error(self.alphas_, scores, errors, best)
        chosen = self.alphas_[best]
        self.alpha_ = chosen if np.ndim(best) else self.alphas_[best]
        return best

    def _folds(self, X, y, matrix, weights):
        """Score every split: one decomposition serves all alphas, and no rows are copied."""
        scorer: Any = check_scoring(self, scoring=self.scoring, allow_none=True)
        splitter: Any = check_cv(cast(Any, self.cv), y, classifier=False)
        weighable = getattr(scorer, "_accept_sample_weight", lambda: True)()
        tested = weights if weighable else None
        splits = check_folds(splitter.split(X, y), len(y), weights, tested)
        shared = _shared_states(X, matrix, weights, splits)

        def weighing(test):
            return {} if tested is None else {"sample_weight": tested[test]}

        scores = np.empty((len(splits), len(self.alphas_)))
        for i, (train, test) in enumerate(splits):
            fit = _FoldFit(self, X, matrix, weights, train, shared[i])
            tall = fit.n >= fit.p
            B = (TallLOO(fit) if tall else WideLOO(fit)).coefficients(self.alphas_)
            X_test, y_test = X[test], y[test]
            for k in range(len(self.alphas_)):
                model: Any = Ridge(alpha=self.alphas_[k], fit_intercept=self.fit_intercept)
                set_solution(model, B[:, :, k], fit.offset, fit.y_offset, y.ndim, X.dtype)
                model.n_features_in_ = fit.p
                scores[i, k] = scorer(model, X_test, y_test, **weighing(test))
        summary = Moments.of(scores, nan="propagate")
        error = (
            summary.std(ddof=1) / np.sqrt(len(splits)) if len(splits) > 1 else scores[0] * np.nan
        )
        best = self._choose(summary.mean, error)
        whole: Any = Ridge(
            alpha=float(np.asarray(self.alpha_)), fit_intercept=self.fit_intercept,
            penalty_weights=self.penalty_weights, standardize=self.standardize,
        )  # fmt: skip
        fit = RidgeFit(whole, X, matrix, weights)
        solver = "sparse_cg" if is_sparse(X) and whole._choose(X)[0] == "sparse_cg" else "cholesky"
        B = fit.run(solver, np.full(matrix.shape[1], self.alpha_))[0]
        self._take(B, fit, y, X.dtype, summary.mean, best)

    def _take(self, B, fit, y, dtype, scores, best):
        """Set what is fitted, in scikit-learn's shapes."""
        set_solution(self, B, fit.offset, fit.y_offset, y.ndim, dtype)
        if scores.ndim == 2:
            self.best_score_ = scores[np.arange(len(scores)), best]
        else:
            self.best_score_ = scores[best]

    def get_metadata_routing(self):
        """Say which metadata the scorer and the splitter get; see scikit-learn's user guide."""
        methods = MethodMapping().add(caller="fit", callee="score")
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(scorer=self._scorer_of_routing(), method_mapping=methods)
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        )

    def _scorer_of_routing(self):
        if _routing_enabled() and self.scoring is None:
            return get_scorer("r2").set_score_request(sample_weight=True)
        return check_scoring(self, scoring=self.scoring, allow_none=True)


class _Identity(RegressorMixin, BaseEstimator):
    """What a scorer gets where predictions are there already."""

    def predict(self, predicted):
        return predicted


class _FoldFit(RidgeFit):
    """A fit whose Gram matrix is merged from those of the other folds."""

    def __init__(self, model, X, y, weights, rows, summary):
        super().__init__(model, X, y, weights, rows)
        self._summary = summary

    def gram(self):
        if self._summary is None:
            return super().gram()
        return self.take(self._summary)


def _shared_states(X, y, weights, splits) -> list[Any]:
    """Give the state of each split's training rows, from one pass where the tests partition X."""
    tests = [test for _, test in splits]
    n, p = X.shape
    complete = len(tests) > 2 and np.array_equal(np.sort(np.concatenate(tests)), np.arange(n))
    complete = complete and all(
        len(train) + len(test) == n and len(train) >= p for train, test in splits
    )
    # each of the states is as large as the Gram matrix
    if not complete or len(splits) > 20:
        return [None] * len(splits)
    found = [state(Rows(X, y, weights, np.sort(test))) for test in tests]
    return [reduce(merge, found[:i] + found[i + 1 :]) for i in range(len(found))]


def one_standard_error(alphas, scores, errors, best) -> Any:
    """Give the place of the largest alpha whose score is within an error of the best one.

    >>> one_standard_error(np.array([1.0, 10.0, 100.0]), np.array([-3.0, -2.0, -2.4]),
    ...                    np.array([0.5, 0.5, 0.5]), 1)
    2
    """
    if scores.ndim == 2:
        rows = zip(scores, errors, best, strict=True)
        return np.asarray([one_standard_error(alphas, *row) for row in rows])
    good = np.flatnonzero(scores >= scores[best] - errors[best])
    return int(good[np.argmax(alphas[good])]) if len(good) else int(best)


def check_grid(alphas, cv):
    """Give the alphas as float64 (alphas,), by scikit-learn's rules and messages."""
    bounds = "neither" if cv is None else "left"
    several = np.ndim(alphas) > 0
    for i, alpha in enumerate(alphas if several else [alphas]):
        name = f"alphas[{i}]" if several and len(alphas) > 1 else "alphas"
        check_scalar(alpha, name, target_type=numbers.Real, min_val=0.0, include_boundaries=bounds)
        if not np.isfinite(alpha):
            raise ValueError(f"{name} == {alpha}, must be finite.")
    if several and not len(alphas):
        raise ValueError("alphas must hold at least one strength to try; got none")
    return np.asarray(alphas, np.float64).reshape(-1)
