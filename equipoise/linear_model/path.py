"""Paths: the coefficients at many penalties, each started from the one before."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_scalar
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_y

from equipoise.linear_model.base import FLOATS, check_weights, penalty_factors
from equipoise.linear_model.blocks import one_blas_thread
from equipoise.linear_model.problem import (
    PARAMETERS,
    Problem,
    Settings,
    seed_of,
    warn_unless_converged,
)
from equipoise.ops.descend.ahead import Ahead

# what a path takes, as scikit-learn checks it
_CONSTRAINTS = PARAMETERS | {
    "l1_ratio": [Interval(Real, 0, 1, closed="both")],
    "eps": [Interval(Real, 0, None, closed="neither")],
    "n_alphas": [Interval(Integral, 1, None, closed="left"), None],
    "alphas": [Interval(Integral, 1, None, closed="left"), "array-like", None],
    "precompute": [StrOptions({"auto"}), "boolean", "array-like"],
    "coef_init": ["array-like", None],
    "return_n_iter": ["boolean"],
}


def enet_path(
    X,
    y,
    *,
    l1_ratio=0.5,
    eps=1e-3,
    n_alphas=None,
    alphas=100,
    precompute="auto",
    Xy=None,
    copy_X=True,
    coef_init=None,
    verbose=False,
    return_n_iter=False,
    positive=False,
    check_input=True,
    tol=1e-4,
    max_iter=1000,
    random_state=None,
    selection="cyclic",
    fit_intercept=False,
    standardize=False,
    penalty_weights=None,
    sample_weight=None,
    solver="auto",
):
    """Fit `ElasticNet` at many penalties, the largest first.

    Parameters
    ----------
    X : array or CSC matrix (n, p)
    y : array (n,)
    l1_ratio : float in (0, 1], or 0 with given ``alphas``
    eps : float
        alpha_min / alpha_max of the grid, which is geometric.
    alphas : int, array, or None
        How many, or which ones; None is 100.  ``n_alphas`` is the older name of the number.
    precompute : "auto", bool or array (p, p)
        Compute the cross products of all columns first; "auto" does where n >= p, but for large X
        in Fortran order with n >= 40 p, where it takes those of the features that enter if they
        are fewer than half.
    Xy, coef_init : None or array (p,)
        Xᵀy where it is known is not used: one pass over X gives it.  Coefficients to start from.
    fit_intercept : bool, default False
        As in scikit-learn, the path expects centred data; True centres it implicitly.
    return_n_iter : bool
        Also give the number of iterations for each alpha.
    copy_X, verbose, check_input
        Accepted for scikit-learn's sake: nothing is copied or printed, input is always checked.

    Returns
    -------
    alphas : array (n_alphas,), descending
    coefs : array (p, n_alphas)
    dual_gaps : array (n_alphas,)
    n_iters : list, with ``return_n_iter``

    Raises
    ------
    ValueError
        NaN or infinity, lengths that differ, a parameter outside its range.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import enet_path
    >>> X, y = np.array([[1.0, 2.0, 3.1], [2.3, 5.4, 4.3]]).T, np.array([1.0, 2.0, 3.1])
    >>> alphas, coefs, gaps = enet_path(X, y, l1_ratio=1.0, alphas=[5.0, 1.0, 0.5])
    >>> coefs.round(3)
    array([[0.   , 0.   , 0.469],
           [0.216, 0.443, 0.237]])
    """
    given = locals()
    named = {name: given[name] for name in _CONSTRAINTS}
    validate_parameter_constraints(_CONSTRAINTS, named, caller_name="enet_path")
    X, y = _checked(X, y)
    if coef_init is not None and np.shape(coef_init) != (X.shape[1],):
        raise ValueError(
            f"coef_init must hold one coefficient for each of the {X.shape[1]} features; got shape "
            f"{np.shape(coef_init)}"
        )
    problem = Problem(
        X, y, check_weights(X, sample_weight), fit_intercept=fit_intercept,
        standardize=standardize, factors=penalty_factors(penalty_weights, X.shape[1]),
    )  # fmt: skip
    from equipoise.linear_model.lasso import as_gram

    settings = Settings(
        positive, tol, max_iter, seed_of(random_state, selection), solver,
        as_gram(precompute, problem),
    )  # fmt: skip
    grid, coefs, gaps, iterations = follow_path(
        problem, settings, l1_ratio, alphas if n_alphas is None else n_alphas, eps, coef_init
    )
    coefs = np.asfortranarray((coefs / problem.design.scale).T, dtype=X.dtype)
    found = grid, coefs, gaps
    return (*found, iterations) if return_n_iter else found


def lasso_path(X, y, **options):
    """Fit `Lasso` at many penalties: `enet_path` with ``l1_ratio=1``, and its other parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import lasso_path
    >>> X, y = np.array([[1.0, 2.0, 3.1], [2.3, 5.4, 4.3]]).T, np.array([1.0, 2.0, 3.1])
    >>> lasso_path(X, y, alphas=[5.0, 1.0, 0.5])[1].round(3)
    array([[0.   , 0.   , 0.469],
           [0.216, 0.443, 0.237]])
    """
    return enet_path(X, y, l1_ratio=1.0, **options)


def follow_path(problem, settings, l1_ratio, alphas, eps=1e-3, start=None, name="The path"):
    """Give (alphas, coefficients of the scaled columns (alphas, p), gaps, iterations)."""
    y, n = problem.target(), problem.n
    ahead = start is None and problem.worth_ahead(settings, l1_ratio)
    solver = problem.solver(y, settings, l1_ratio, many=True, ahead=ahead)
    grid = alpha_grid(solver.level, n, l1_ratio, alphas, eps)
    target = settings.tol * float(y @ y)
    penalties = grid * l1_ratio * n, grid * (1.0 - l1_ratio) * n, target, settings.max_iter
    with one_blas_thread():
        fits = Ahead(solver, *penalties).solve() if ahead and grid[-1] > 0.0 else None
    if fits is None:
        if ahead:
            solver = problem.solver(y, settings, l1_ratio, many=True)
        if start is not None:
            solver.start(np.asarray(start, np.float64) * problem.design.scale)
        with one_blas_thread():
            fits = [
                solver.solve(l1, l2, *penalties[2:]) for l1, l2 in zip(*penalties[:2], strict=True)
            ]
    coefs, gaps = np.empty((len(grid), problem.p)), np.empty(len(grid))
    iterations, reachable = [], solver.reachable(target)
    for i, (alpha, fit) in enumerate(zip(grid, fits, strict=True)):
        coefs[i], gaps[i] = fit.w, fit.gap / n
        iterations.append(max(fit.rounds + fit.sweeps, 1))
        warn_unless_converged(
            f"{name} at alpha={alpha:.3g}", fit.gap, reachable, problem.X, settings.max_iter,
            stacklevel=4,
        )  # fmt: skip
    return grid, coefs, gaps, iterations


def alpha_grid(level, n, l1_ratio, alphas, eps):
    """Give the alphas, descending; ``level`` / n is the one that all coefficients are zero at."""
    if alphas is not None and not isinstance(alphas, Integral):
        return np.sort(_checked_alphas(alphas))[::-1]
    if l1_ratio == 0.0:
        raise ValueError(
            "Automatic alpha grid generation is not supported for l1_ratio=0. Please supply a "
            "grid by providing your estimator with the appropriate `alphas=` argument. RidgeCV "
            "tries its own."
        )
    largest = level / (n * l1_ratio)
    count = 100 if alphas is None else int(alphas)
    # a y that no column explains
    tiny = np.finfo(np.float64).resolution
    return np.full(count, tiny) if largest <= tiny else np.geomspace(largest, largest * eps, count)


def _checked_alphas(alphas):
    """Check alphas one by one, and name the first that is wrong."""
    for i, alpha in enumerate(np.atleast_1d(alphas) if np.ndim(alphas) == 0 else alphas):
        check_scalar(alpha, f"alphas[{i}]", Real, min_val=0.0)
        if not np.isfinite(alpha):
            raise ValueError(f"alphas[{i}] == {alpha}, must be finite.")
    if not np.size(alphas):
        raise ValueError("alphas must hold at least one strength to try; got none")
    return np.atleast_1d(np.asarray(alphas, np.float64))


def _checked(X, y):
    """Check what a path function got."""
    check: Any = check_array
    # the first products with y show what is not finite
    X = check(
        X, accept_sparse="csc", dtype=FLOATS, accept_large_sparse=False, ensure_all_finite=False
    )
    if isinstance(X, np.ndarray) and not (X.flags.c_contiguous or X.flags.f_contiguous):
        X = np.ascontiguousarray(X)
    y = _check_y(y, y_numeric=True)
    check_consistent_length(X, y)
    return X, y
