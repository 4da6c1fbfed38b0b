"""LassoCV and ElasticNetCV: the penalty chosen by cross-validation, folds as weights on one X."""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.model_selection import check_cv
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from equipoise.linear_model.base import LinearRegressor, check_finite, check_fit, penalty_factors
from equipoise.linear_model.folds import check_folds, fold_errors, routed
from equipoise.linear_model.lasso import ElasticNet, Lasso, as_gram
from equipoise.linear_model.path import alpha_grid, enet_path, lasso_path
from equipoise.linear_model.problem import PARAMETERS, Problem, Settings, seed_of
from equipoise.linear_model.ridge_cv import one_standard_error


class ElasticNetCV(LinearRegressor):
    """`ElasticNet` with alpha, and l1_ratio where several are given, chosen by cross-validation.

    A fold is a set of weights on the rows of one X: nothing is copied.  Where n >= p each row
    adds to the cross products once, and every fold's training set is a sum of the other folds'.

    Parameters
    ----------
    l1_ratio : float in (0, 1] or list of them, default 0.5
    eps : float, default 1e-3
        alpha_min / alpha_max of the grid.
    alphas : int or array, default 100
        How many alphas, or which ones.
    cv : None, int, splitter or iterable, default None (5 folds)
    n_jobs : None or int
        Folds at a time, on threads; None is 1.
    rule : {"min", "1se"}, default "min"
        "min" takes the least mean error; "1se" the largest alpha whose mean error is within one
        standard error (over folds) of it.
    fit_intercept, precompute, max_iter, tol, copy_X, positive, random_state, selection
        As in `ElasticNet`; ``precompute="auto"`` computes all cross products where n >= p.
    standardize, penalty_weights, solver
        As in `ElasticNet`; columns are standardized by the training rows of each fold.
    verbose
        Accepted for scikit-learn's sake.

    Attributes
    ----------
    alpha_, l1_ratio_ : float
        Those chosen.
    alphas_ : array (n_alphas,) or (n_l1_ratio, n_alphas)
    mse_path_ : array (n_alphas, folds) or (n_l1_ratio, n_alphas, folds)
    best_score_ : float
        Minus the mean error of the choice.
    coef_, intercept_, dual_gap_, n_iter_, solver_info_
        Of the fit to all rows at the choice.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from equipoise.linear_model import ElasticNetCV
    >>> X, y = make_regression(n_features=2, random_state=0)
    >>> model = ElasticNetCV(cv=5).fit(X, y)
    >>> round(model.alpha_, 4), model.coef_.round(2)
    (0.1995, array([26.36, 87.66]))
    """

    _parameter_constraints: ClassVar[dict] = {
        **PARAMETERS,
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
        "eps": [Interval(Real, 0, None, closed="neither")],
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "precompute": [StrOptions({"auto"}), "array-like", "boolean"],
        "cv": ["cv_object"],
        "verbose": ["verbose"],
        "n_jobs": [Integral, None],
        "rule": [StrOptions({"min", "1se"})],
    }

    path = staticmethod(enet_path)

    def __init__(
        self,
        *,
        l1_ratio=0.5,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        precompute="auto",
        max_iter=1000,
        tol=1e-4,
        cv=None,
        copy_X=True,
        verbose=0,
        n_jobs=None,
        positive=False,
        random_state=None,
        selection="cyclic",
        standardize=False,
        penalty_weights=None,
        rule="min",
        solver="auto",
    ):
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.standardize = standardize
        self.penalty_weights = penalty_weights
        self.rule = rule
        self.solver = solver

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, **params):
        """Choose the penalty on folds of X (n, p) and y (n,), then fit to all rows.

        ``params`` go to the splitter, with metadata routing enabled.

        Raises
        ------
        ValueError
            NaN or infinity, lengths that differ, more folds than rows, y with several targets.
        """
        y = self._one_target(y)
        X, y, weights = check_fit(self, X, y, sample_weight, finite=False)
        check_finite(self, X)
        splits = self._splitter().split(X, y, **routed(self, sample_weight, params))
        folds = check_folds(splits, len(y), weights, weights)
        ratios = np.atleast_1d(np.asarray(self.l1_ratio, np.float64))
        if not ((ratios >= 0.0) & (ratios <= 1.0)).all():
            raise ValueError(f"l1_ratio must lie in [0, 1]; got {self.l1_ratio}")
        problem = self._problem(X, y, weights)
        grids = self._grids(problem, ratios)
        errors = fold_errors(self, X, y, weights, folds, ratios, grids)
        self._choose(ratios, grids, errors)
        return self._refit(X, y, sample_weight)

    def _splitter(self) -> Any:
        check: Any = check_cv
        return check(self.cv)

    def _one_target(self, y):
        """Refuse several targets, as scikit-learn's message does."""
        if y is None:
            return y
        y = np.asarray(y)
        if y.ndim > 1 and y.shape[1] > 1:
            raise ValueError(
                f"{type(self).__name__} fits one target; got y of shape {y.shape}. Fit one model "
                "for each column, or RidgeCV, which takes several."
            )
        return column_or_1d(y, warn=True) if y.ndim > 1 else y

    def _problem(self, X, y, weights):
        return Problem(
            X, y, weights, fit_intercept=self.fit_intercept, standardize=self.standardize,
            factors=penalty_factors(self.penalty_weights, X.shape[1]),
        )  # fmt: skip

    def _settings(self, problem, fold=False):
        given = not isinstance(self.precompute, str | bool | np.bool_)
        # cross products of all rows are no fold's
        gram = True if given and fold else as_gram(self.precompute, problem)
        return Settings(
            self.positive, self.tol, self.max_iter, seed_of(self.random_state, self.selection),
            self.solver, gram,
        )  # fmt: skip

    def _grids(self, problem, ratios):
        """Give the alphas for each l1_ratio, (ratios, alphas)."""
        level = 0.0
        if isinstance(self.alphas, Integral):
            free = self._settings(problem)._replace(gram=False)
            level = problem.solver(problem.target(), free, estimator=self).level
        grids = [alpha_grid(level, problem.n, r, self.alphas, self.eps) for r in ratios]
        return np.array(grids)

    def _choose(self, ratios, grids, errors):
        """Set the choice and the path from ``errors`` (ratios, alphas, folds)."""
        mean = errors.mean(axis=2)
        at, best = np.unravel_index(int(np.argmin(mean)), mean.shape)
        if self.rule == "1se":
            spread = errors[at].std(axis=1, ddof=1) / np.sqrt(errors.shape[2])
            best = one_standard_error(grids[at], -mean[at], spread, best)
        one = len(ratios) == 1
        self.mse_path_ = errors[0] if one else errors
        given = not isinstance(self.alphas, Integral)
        self.alphas_ = grids[0] if one or given else grids
        self.alpha_ = float(grids[at][best])
        self.best_score_ = float(-mean[at, best])
        self._set_ratio(float(ratios[at]))

    def _set_ratio(self, ratio):
        self.l1_ratio_ = ratio

    def _model(self):
        """Give the estimator that is fitted to all rows."""
        return ElasticNet(alpha=self.alpha_, l1_ratio=self.l1_ratio_)

    def _refit(self, X, y, sample_weight):
        model = self._model()
        shared = model.get_params().keys() & self.get_params().keys() - {"l1_ratio"}
        model.set_params(**{name: getattr(self, name) for name in shared})
        if isinstance(self.precompute, str):
            model.precompute = False
        model.fit(X, y, sample_weight=sample_weight)
        for name in ("coef_", "intercept_", "dual_gap_", "n_iter_", "solver_info_"):
            setattr(self, name, getattr(model, name))
        return self

    def get_metadata_routing(self):
        """Give the routing of metadata: ``fit`` hands what the splitter asks for to it."""
        mapping = MethodMapping().add(caller="fit", callee="split")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(splitter=self._splitter(), method_mapping=mapping)


class LassoCV(ElasticNetCV):
    """`Lasso` with alpha chosen by cross-validation.

    Parameters and attributes are those of `ElasticNetCV`, without ``l1_ratio``.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from equipoise.linear_model import LassoCV
    >>> X, y = make_regression(noise=4, random_state=0)
    >>> model = LassoCV(cv=5).fit(X, y)
    >>> round(model.score(X, y), 4), round(model.alpha_, 3)
    (0.9994, 0.396)
    """

    _parameter_constraints: ClassVar[dict] = {**ElasticNetCV._parameter_constraints}
    _parameter_constraints.pop("l1_ratio")

    path = staticmethod(lasso_path)

    def __init__(
        self,
        *,
        eps=1e-3,
        alphas=100,
        fit_intercept=True,
        precompute="auto",
        max_iter=1000,
        tol=1e-4,
        copy_X=True,
        cv=None,
        verbose=False,
        n_jobs=None,
        positive=False,
        random_state=None,
        selection="cyclic",
        standardize=False,
        penalty_weights=None,
        rule="min",
        solver="auto",
    ):
        super().__init__(
            l1_ratio=1.0,
            eps=eps,
            alphas=alphas,
            fit_intercept=fit_intercept,
            precompute=precompute,
            max_iter=max_iter,
            tol=tol,
            copy_X=copy_X,
            cv=cv,
            verbose=verbose,
            n_jobs=n_jobs,
            positive=positive,
            random_state=random_state,
            selection=selection,
            standardize=standardize,
            penalty_weights=penalty_weights,
            rule=rule,
            solver=solver,
        )

    def _set_ratio(self, ratio):
        del ratio

    def _model(self):
        return Lasso(alpha=self.alpha_)
