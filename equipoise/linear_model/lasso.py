"""Lasso and ElasticNet: scikit-learn's estimators on the solver of ``ops.descend``."""

import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import MultiOutputMixin, _fit_context
from sklearn.utils._param_validation import Interval

from equipoise.linear_model.base import LinearRegressor, check_finite, check_fit, penalty_factors
from equipoise.linear_model.blocks import one_blas_thread
from equipoise.linear_model.path import enet_path, lasso_path
from equipoise.linear_model.problem import (
    PARAMETERS,
    Problem,
    Settings,
    info,
    seed_of,
    warn_of_no_penalty,
    warn_unless_converged,
)
from equipoise.linear_model.stream import FromStream
from equipoise.ops.descend import design as designs


class ElasticNet(FromStream, MultiOutputMixin, LinearRegressor):
    """Linear regression with a penalty between L1 and L2.

    Minimises, over coefficients w and an intercept b, with weights s that sum to n,

        1/(2n) Σ s_i (y_i − x_i·w − b)² + alpha Σ_j f_j (l1_ratio |w_j| + ½ (1 − l1_ratio) w_j²)

    scikit-learn's objective, and the factors f.  X is never copied while it is float32 or
    float64, dense in C or Fortran order or CSC: it is centred and scaled implicitly.  Sums are
    kept in float64.

    Parameters
    ----------
    alpha : float, default 1.0
        Strength of the penalty, at least 0.
    l1_ratio : float in [0, 1], default 0.5
        1 is the Lasso, 0 is Ridge.
    fit_intercept : bool, default True
    precompute : bool or array (p, p), default False
        True computes the cross products of all columns first.  An array holds them, for columns
        that are centred where there is an intercept, and weighted as the rows are; one entry is
        checked.
    max_iter : int, default 1000
        The most sweeps over the coordinates.
    copy_X : bool, default True
        X is never written to, whatever this says.
    tol : float, default 1e-4
        The fit ends when the duality gap is at most tol times the sum of squares of the centred
        y.  It mostly ends at the gap of an exact solution, about 1e-15; where rows are many and
        tol is at least 1e-8, at the smaller of tol and 1e-6.
    warm_start : bool, default False
        Start from the coefficients of the last fit.
    positive : bool, default False
        No coefficient below zero.
    random_state, selection : default None and "cyclic"
        ``selection="random"`` sweeps in random order.
    standardize : bool, default False
        Penalise coefficients of columns divided by their standard deviation (ddof 0), as glmnet
        does; ``coef_`` is on the scale of X.
    penalty_weights : None or array (p,)
        The factors f: 0 leaves a feature free, inf leaves it out.
    solver : "auto", "follow" or "descend"
        Follow the exact solution as the penalty falls, or sweep over coordinates.

    Attributes
    ----------
    coef_ : array (p,) or (targets, p)
    intercept_ : float or array (targets,)
    n_iter_ : int or list
        Sweeps, or where the solution was followed, rounds of it; 0 where a warm start was optimal.
    dual_gap_ : float or array (targets,)
        Of the objective above.
    solver_info_ : dict or list
        Which solver ran, why, and what it did.

    References
    ----------
    Osborne, Presnell and Turlach (2000); Efron et al., "Least angle regression" (2004);
    Friedman, Hastie and Tibshirani, "Regularization paths" (2010).

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import ElasticNet
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> model = ElasticNet(alpha=0.1).fit(X, X[:, 0] * 2)
    >>> model.coef_.round(3), round(float(model.intercept_), 3)
    (array([1.885, 0.   ]), 0.173)
    """

    _parameter_constraints: ClassVar[dict] = {
        **PARAMETERS,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "precompute": ["boolean", "array-like"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "warm_start": ["boolean"],
    }

    path = staticmethod(enet_path)

    def __init__(
        self,
        alpha=1.0,
        *,
        l1_ratio=0.5,
        fit_intercept=True,
        precompute=False,
        max_iter=1000,
        copy_X=True,
        tol=1e-4,
        warm_start=False,
        positive=False,
        random_state=None,
        selection="cyclic",
        standardize=False,
        penalty_weights=None,
        solver="auto",
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.copy_X = copy_X
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.standardize = standardize
        self.penalty_weights = penalty_weights
        self.solver = solver

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, check_input=True):
        """Fit to X (n, p) and y (n,) or (n, targets), each target on its own.

        Parameters
        ----------
        X : array or CSC matrix (n, p)
            With ``y`` a name, any source that `equipoise.data.chunks` takes, read once.
        y : array (n,) or (n, targets), or the name of the source's target column
        sample_weight : None, number or array (n,)
            Only their proportions matter.
        check_input : bool
            Accepted for scikit-learn's sake; input is checked in any case.

        Raises
        ------
        ValueError
            NaN or infinity, lengths that differ, weights or penalty_weights that are negative.
        """
        del check_input
        if hasattr(self, "comoments_"):
            del self.comoments_
        if isinstance(y, str):
            return self._fit_source(X, y, sample_weight)
        warn_of_no_penalty(self.alpha)
        X, y, weights = check_fit(self, X, y, sample_weight, multi_output=True, finite=False)
        problem = Problem(
            X, y, weights, fit_intercept=self.fit_intercept, standardize=self.standardize,
            factors=penalty_factors(self.penalty_weights, X.shape[1]),
        )  # fmt: skip
        many = y.ndim == 2
        start = self._start(problem)
        with one_blas_thread():
            found = [
                self._fit_target(problem, k if many else None, None if start is None else start[k])
                for k in range(y.shape[1] if many else 1)
            ]
        coefs, gaps, iterations, infos = zip(*found, strict=True)
        one = len(found) == 1
        centring = problem.centring()
        if many and one:
            centring = centring._replace(y_offset=centring.y_offset[0])
        self._set_coef(coefs[0] if one else np.array(coefs), centring, X.dtype)
        self.dual_gap_ = gaps[0] if one else np.array(gaps)
        self.n_iter_ = iterations[0] if one else list(iterations)
        self.solver_info_ = infos[0] if one else list(infos)
        return self

    def _start(self, problem):
        """Give the last fit's coefficients on the scale of the design, (targets, p)."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        return np.atleast_2d(self.coef_).astype(np.float64) * problem.design.scale

    def _fit_target(self, problem, k, start):
        """Give (coefficients, gap, iterations, what the solver says) for one target."""
        y, n = problem.target(k), problem.n
        settings = Settings(
            self.positive, self.tol, self.max_iter or 1000,
            seed_of(self.random_state, self.selection), self.solver,
            as_gram(self.precompute, problem),
        )  # fmt: skip
        alone = None if start is not None or k is not None else self.alpha
        solver = problem.solver(y, settings, self.l1_ratio, estimator=self, alone=alone)
        if start is not None:
            solver.start(start)
        target = self.tol * float(y @ y)
        penalties = self.alpha * self.l1_ratio * n, self.alpha * (1.0 - self.l1_ratio) * n
        fit = solver.solve(*penalties, target, settings.max_iter)
        if solver.method == "follow" != self.solver and fit.gap > max(target, 0.5 * float(y @ y)):
            # all zeros would be better: columns that depend on each other led it astray
            settings = settings._replace(solver="descend")
            solver = problem.solver(y, settings, self.l1_ratio, estimator=self)
            solver.why = "dependent columns led away from the exact solution: sweeps instead"
            fit = solver.solve(*penalties, target, settings.max_iter)
        if np.isnan(fit.gap):
            check_finite(self, problem.X)
        target = solver.reachable(target)
        name = type(self).__name__
        warn_unless_converged(name, fit.gap, target, problem.X, settings.max_iter, stacklevel=5)
        # 0 says that the start was good enough
        iterations = max(fit.rounds + fit.sweeps, int(start is None))
        return fit.w, fit.gap / n, iterations, info(solver, fit, target, n)

    @property
    def sparse_coef_(self):
        """``coef_`` as a sparse array (targets, p)."""
        return sparse.csr_array(np.atleast_2d(self.coef_))


class Lasso(ElasticNet):
    """Linear regression with an L1 penalty: few coefficients other than zero.

    Minimises, over coefficients w and an intercept b, with weights s that sum to n,

        1/(2n) Σ s_i (y_i − x_i·w − b)² + alpha Σ_j f_j |w_j|

    Parameters and attributes are those of `ElasticNet`, without ``l1_ratio``.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import Lasso
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> model = Lasso(alpha=0.1).fit(X, X[:, 0] * 2)
    >>> model.coef_.round(3), model.predict(X[:1]).round(3)
    (array([1.92, 0.  ]), array([0.12]))
    """

    _parameter_constraints: ClassVar[dict] = {**ElasticNet._parameter_constraints}
    _parameter_constraints.pop("l1_ratio")

    path = staticmethod(lasso_path)

    def __init__(
        self,
        alpha=1.0,
        *,
        fit_intercept=True,
        precompute=False,
        copy_X=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        positive=False,
        random_state=None,
        selection="cyclic",
        standardize=False,
        penalty_weights=None,
        solver="auto",
    ):
        super().__init__(
            alpha=alpha,
            l1_ratio=1.0,
            fit_intercept=fit_intercept,
            precompute=precompute,
            copy_X=copy_X,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            positive=positive,
            random_state=random_state,
            selection=selection,
            standardize=standardize,
            penalty_weights=penalty_weights,
            solver=solver,
        )


def as_gram(precompute, problem):
    """Give what ``precompute`` says: True, False, "auto", or cross products that can be used."""
    if isinstance(precompute, str | bool | np.bool_):
        return precompute
    gram = np.asarray(precompute, np.float64)
    if gram.shape != (problem.p, problem.p):
        raise ValueError(
            f"precompute must be XᵀX of shape {(problem.p, problem.p)}; got shape {gram.shape}. "
            "Give True to have it computed."
        )
    design = problem.design
    if (design.scale != 1.0).any():
        warnings.warn(
            "A Gram matrix was given but columns are standardized: recomputing Gram matrix.",
            stacklevel=6,
        )
        return True
    means = designs.means(problem.X, problem.weights) if problem.fit_intercept else np.zeros(1)
    if not np.allclose(means, 0.0):
        warnings.warn(
            "Gram matrix was provided but X was centered to fit intercept: recomputing Gram "
            "matrix. Centre the columns before it is computed.",
            stacklevel=6,
        )
        return True
    if design.lazy:
        design.offset[:], design.known[:] = means, True
    _check_entry(gram, design, problem.X.dtype)
    return gram


def _check_entry(gram, design, dtype):
    """Hold one entry of a given Gram matrix to the columns that it is of, as scikit-learn does."""
    pair = np.sort(np.argsort(np.diagonal(gram))[-2:])
    found, given = design.products(pair, len(pair))[0][0, -1], gram[pair[0], pair[-1]]
    size = np.sqrt(np.prod(np.diagonal(gram)[pair]))
    if not abs(found - given) <= 1e-4 * abs(found) + (1e-4 if dtype == np.float32 else 1e-7) * size:
        raise ValueError(
            "Gram matrix passed in via 'precompute' parameter did not pass validation when a "
            f"single element was checked: expected {found}, got {given} for features {pair[0]} "
            f"and {pair[-1]}. It must be XᵀX, weighted as the rows are; True has it computed."
        )
