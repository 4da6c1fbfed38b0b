"""Ridge by iteration, under scikit-learn's solver names, and with coefficients of one sign."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from equipoise.linear_model.exact import Cholesky, Factors
from equipoise.linear_model.products import is_sparse

# features up to which the positive solution is found on the Gram matrix
MOST = 5000


def sparse_cg(design, target, factors: Factors, alphas, tol, max_iter):
    """Conjugate gradients on the normal equations, or on the kernel for n < p.

    Stops where the residual is ``tol`` times the right-hand side.
    """
    inner = design.scaled(_part(factors))
    pays = np.ones((design.p, 1))
    pays[factors.free] = 0.0
    if design.n < design.p and not len(factors.free):
        # a residual that is a multiple of 1 is no part of the centred problem
        c, steps = conjugate_gradients(
            lambda v: inner.kernel_dot(v) + alphas * v, target, rtol=tol,
            limit=max_iter or 10 * design.n,
        )  # fmt: skip
        b = inner.tdot(c)
    else:
        b, steps = conjugate_gradients(
            lambda v: inner.gram_dot(v) + alphas * pays * v, inner.tdot(target), rtol=tol,
            limit=max_iter or 10 * design.p,
        )  # fmt: skip
    if steps is None and max_iter is None:
        _warn("sparse_cg", 10 * min(design.n, design.p), tol)
    return b * _part(factors)[:, None], None


def _part(factors):
    """Scale with 0 for what is out."""
    scale = np.zeros_like(factors.scale)
    used = np.concatenate([factors.paid, factors.free])
    scale[used] = factors.scale[used]
    return scale


def conjugate_gradients(
    apply, right, precondition=None, *, rtol: float, limit: int, hasty: bool = False
):
    """Solve A x = right for each column, A positive definite; give (x, iterations).

    Stops where ‖right - A x‖ ≤ rtol ‖right‖ in each column; iterations is None where that was not
    reached within ``limit``, or with ``hasty`` where the first two steps were too short for it.
    """
    precondition = precondition or (lambda v: v)
    x, r = np.zeros_like(right), right.copy()
    goal = rtol * np.linalg.norm(right, axis=0)
    z = precondition(r)
    d, rz = z.copy(), (r * z).sum(0)
    for iteration in range(limit + 1):
        if (np.linalg.norm(r, axis=0) <= goal).all():
            return x, iteration
        if iteration == limit or (hasty and iteration == 2 and _slow(r, goal, rtol)):
            break
        Ad = apply(d)
        curve = (d * Ad).sum(0)
        step = np.divide(rz, curve, out=np.zeros_like(rz), where=curve > 0)
        x += step * d
        r -= step * Ad
        z = precondition(r)
        before, rz = rz, (r * z).sum(0)
        d = z + np.divide(rz, before, out=np.zeros_like(rz), where=before > 0) * d
    return x, None


def _slow(r, goal, rtol):
    """Tell whether two steps came less than a sixth of the way to the goal, which 12 must reach."""
    return bool((np.linalg.norm(r, axis=0) > goal * rtol ** (-5 / 6)).any())


def lsqr(design, target, factors: Factors, alphas, tol, max_iter):
    """SciPy's LSQR on X̃ itself, never its square; ``tol`` is its atol and btol."""
    from scipy.sparse.linalg import LinearOperator
    from scipy.sparse.linalg import lsqr as solve

    _need_equal("lsqr", factors)
    inner = design.scaled(_part(factors))
    make: Any = LinearOperator
    operator = make(
        (design.n, design.p),
        matvec=lambda v: inner.dot(v.reshape(-1, 1))[:, 0],
        rmatvec=lambda r: inner.tdot(r.reshape(-1, 1))[:, 0],
        dtype=np.float64,
    )
    b, steps = np.zeros((design.p, target.shape[1])), np.zeros(target.shape[1], np.int32)
    for i, y in enumerate(target.T):
        found = solve(operator, y, np.sqrt(alphas[i]), atol=tol, btol=tol, iter_lim=max_iter)
        b[:, i], steps[i] = found[0], found[2]
    return b * _part(factors)[:, None], steps


def _need_equal(solver, factors: Factors):
    if len(factors.free):
        raise ValueError(
            f"solver='{solver}' needs every feature to pay; got {len(factors.free)} features with "
            "a penalty weight of 0. Use solver='auto', which projects them out."
        )


def sag(fit, alphas, solver):
    """scikit-learn's own stochastic solvers, on the copy of X that they make."""
    from sklearn.linear_model import Ridge

    _need_equal(solver, fit.factors)
    model, part = fit.model, _part(fit.factors)
    X, weights = fit.X, fit.weights
    if not (part == 1).all():
        X = X.multiply(part[None, :]).tocsr() if is_sparse(X) else X * part
    theirs = Ridge(
        alphas, fit_intercept=model.fit_intercept, solver=solver, tol=model.tol,
        max_iter=model.max_iter, random_state=model.random_state,
    ).fit(X, fit.y, weights)  # fmt: skip
    b = np.atleast_2d(theirs.coef_).T * part[:, None]
    # so that the intercept comes out as the solver's own
    fit.y_offset = np.atleast_1d(theirs.intercept_) + fit.offset @ b
    return b, np.atleast_1d(theirs.n_iter_)


def lbfgs(apply, xy, tol, max_iter, p: int):
    """Minimise ½ bᵀAb - bᵀxy over b ≥ 0 by SciPy's L-BFGS-B, target by target.

    ``apply(b, target)`` is A b for A = X̃ᵀX̃ + α D.
    """
    from scipy.optimize import minimize

    b = np.zeros((p, xy.shape[1]))
    options = {"maxiter": max_iter or 15_000, "maxfun": 10**9}
    for i in range(xy.shape[1]):

        def value(w, i=i):
            Aw = apply(w, i)
            return 0.5 * w @ Aw - w @ xy[:, i], Aw - xy[:, i]

        found = minimize(
            value, np.zeros(p), jac=True, method="L-BFGS-B", tol=tol, bounds=[(0, None)] * p,
            options=options,
        )  # fmt: skip
        if not found.success:
            _warn("lbfgs", options["maxiter"], tol)
        b[:, i] = found.x
    return b


def not_negative(A, right):
    """Minimise ½ bᵀAb - bᵀright over b ≥ 0 exactly, A (r, r) positive definite.

    Block principal pivoting: whole sets of features change sides while that lowers the number
    that are on the wrong one, a single feature where it does not.  None where A is singular.

    References
    ----------
    Kim, Park, "Fast nonnegative matrix factorization", SIAM J. Sci. Comput. 33, 2011.
    """
    r = len(right)
    slack = 1e-13 * max(abs(right).max(initial=0.0), 1e-300)
    inside = np.zeros(r, bool)
    b, gradient = np.zeros(r), -right
    fewest, chances = r + 1, 3
    for _ in range(20 * r + 20):
        wrong = (inside & (b < 0)) | (~inside & (gradient < -slack))
        count = int(wrong.sum())
        if count == 0:
            return b
        if count < fewest:
            fewest, chances = count, 3
        elif chances > 0:
            chances -= 1
        else:
            wrong[: np.flatnonzero(wrong)[-1]] = False
        inside ^= wrong
        b = np.zeros(r)
        if inside.any():
            factor = Cholesky(A[np.ix_(inside, inside)], 0.0)
            if factor.rcond < 1e-14:
                return None
            b[inside] = factor.solve(right[inside][:, None])[:, 0]
        gradient = A @ b - right
    return None


def _warn(solver, max_iter, tol):
    warnings.warn(
        f"{solver} solver did not converge after {max_iter} iterations to tol={tol}. Try a larger "
        "max_iter or tol, columns of one scale (standardize=True), or solver='auto', which is "
        "exact.",
        ConvergenceWarning,
        stacklevel=4,
    )
