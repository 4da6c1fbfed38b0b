"""GroupLasso: features that enter and leave the model together."""

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from equipoise.linear_model.base import LinearRegressor, check_finite, check_fit, penalty_factors
from equipoise.linear_model.problem import Problem, info, warn_of_no_penalty, warn_unless_converged
from equipoise.ops.descend.group_solve import GroupSolver


class GroupLasso(LinearRegressor):
    """Linear regression with a penalty on the norms of groups of coefficients.

    Minimises, over coefficients w and an intercept b, with weights s that sum to n,

        1/(2n) Σ s_i (y_i − x_i·w − b)² + alpha Σ_g f_g √p_g ‖w_g‖₂

    where group g has p_g features.  With groups of one it is the Lasso.

    Parameters
    ----------
    alpha : float, default 1.0
    groups : None, array (p,), or list of lists
        The label of each feature's group, or the features of each group; None makes each
        feature a group.  Groups must partition the features.
    fit_intercept, max_iter, tol, warm_start, standardize
        As in `ElasticNet`.
    penalty_weights : None or array (groups,)
        The factors f, in the order of the lists, or of the sorted labels.

    Attributes
    ----------
    coef_ : array (p,)
    intercept_, n_iter_, dual_gap_, solver_info_
        As in `ElasticNet`.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables" (2006).

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import GroupLasso
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> y = X[:, 0] - X[:, 1]
    >>> GroupLasso(alpha=0.1, groups=[0, 0, 1, 1]).fit(X, y).coef_ != 0
    array([ True,  True, False, False])
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "groups": ["array-like", None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "standardize": ["boolean"],
        "penalty_weights": ["array-like", None],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        groups=None,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        standardize=False,
        penalty_weights=None,
    ):
        self.alpha = alpha
        self.groups = groups
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.standardize = standardize
        self.penalty_weights = penalty_weights

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit to X (n, p), dense or sparse, and y (n,).

        Raises
        ------
        ValueError
            Groups that do not partition the features; NaN or infinity; lengths that differ.
        """
        warn_of_no_penalty(self.alpha)
        X, y, weights = check_fit(self, X, y, sample_weight, finite=False)
        groups = partition(self.groups, X.shape[1])
        factors = penalty_factors(self.penalty_weights, len(groups), "group")
        sizes = np.sqrt([len(g) for g in groups])
        sizes = sizes if factors is None else sizes * factors
        each = np.empty(X.shape[1])
        for group, size in zip(groups, sizes, strict=True):
            each[group] = size
        problem = Problem(
            X, y, weights, fit_intercept=self.fit_intercept, standardize=self.standardize,
            factors=each,
        )  # fmt: skip
        # a free group that is constant throughout is out by now
        sizes = np.array([problem.factors[group].min() for group in groups])
        target_y, n = problem.target(), problem.n
        q = problem.design.correlate(target_y)
        if not np.isfinite(q).all():
            check_finite(self, X)
        solver = GroupSolver(problem.design, target_y, groups, sizes, q)
        if self.warm_start and hasattr(self, "coef_"):
            solver.start(self.coef_ * problem.design.scale)
        target = self.tol * float(target_y @ target_y)
        fit = solver.solve(self.alpha * n, target, self.max_iter)
        target = solver.reachable(target)
        warn_unless_converged(type(self).__name__, fit.gap, target, X, self.max_iter, stacklevel=4)
        self._set_coef(fit.w, problem.centring(), X.dtype)
        self.dual_gap_ = fit.gap / n
        self.n_iter_ = max(fit.rounds + fit.sweeps, 1)
        self.solver_info_ = info(solver, fit, target, n)
        return self


def _numbers(group, p):
    """Give the features of a group as int64."""
    found = np.asarray(group)
    if found.dtype.kind not in "iuf" or (found != found.astype(np.int64)).any():
        raise ValueError(f"groups must name features by their numbers, 0 to {p - 1}; got {group}.")
    return found.astype(np.int64)


def partition(groups, p):
    """Give the groups as a list of int64 arrays that hold each of p features once.

    Raises
    ------
    ValueError
        A feature is missing, occurs twice, or does not exist.
    """
    if groups is None:
        return [np.array([j]) for j in range(p)]
    if len(groups) == p and all(np.ndim(g) == 0 for g in groups):
        labels = np.asarray(groups)
        if not (labels == labels).all() or any(label is None for label in groups):
            raise ValueError("groups must label each feature; got None or NaN for some of them.")
        labels = np.unique(labels, return_inverse=True)[1]
        order = np.argsort(labels, kind="stable")
        return np.split(order, np.cumsum(np.bincount(labels))[:-1])
    if any(np.ndim(g) != 1 for g in groups):
        raise ValueError(
            f"groups must be {p} labels, one a feature, or a list of lists of features; got "
            f"{len(groups)} entries."
        )
    found = [_numbers(g, p) for g in groups if len(g)]
    every = np.concatenate(found) if found else np.empty(0, np.int64)
    outside = every[(every < 0) | (every >= p)]
    if len(outside):
        raise ValueError(f"groups must name features 0 to {p - 1}; got {outside[0]}.")
    counts = np.bincount(every, minlength=p)
    if (counts != 1).any():
        j = int(np.flatnonzero(counts != 1)[0])
        raise ValueError(
            f"groups must partition the {p} features; feature {j} is in {counts[j]} groups. Give "
            "each feature exactly one group, a group of its own if need be."
        )
    return found
