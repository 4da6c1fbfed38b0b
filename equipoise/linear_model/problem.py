"""A penalised least-squares problem between the estimators and their solver."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from equipoise.linear_model.base import (
    Centring,
    check_finite,
    column_moments,
    y_mean,
    y_zero,
)
from equipoise.ops.descend import design as designs
from equipoise.ops.descend.group_solve import GroupSolver
from equipoise.ops.descend.solve import Fit, Solver

SOLVERS = ("auto", "follow", "descend")


class Settings(NamedTuple):
    """What the solver is told, apart from data and penalty."""

    positive: bool = False
    tol: float = 1e-4
    max_iter: int = 1000
    seed: int = 0
    solver: str = "auto"
    gram: Any = False


class Problem:
    """A design with its centring, ready to be solved for several targets and penalties.

    Parameters
    ----------
    X, weights : as `base.check_fit` gives them
    y : array (n,) or (n, targets)
    factors : None or float64 (p,)
        Of each feature's penalty.
    """

    def __init__(self, X, y, weights=None, *, fit_intercept=True, standardize=False, factors=None):
        self.X, self.weights, self.fit_intercept = X, weights, fit_intercept
        self.n, self.p = X.shape
        self.factors = np.ones(self.p) if factors is None else factors
        self.y = np.asarray(y, np.float64)
        self.y_offset = y_mean(self.y, weights) if fit_intercept else y_zero(self.y)
        offset, scale, lazy = np.zeros(self.p), np.ones(self.p), False
        if standardize:
            mean, scale = column_moments(X, weights)
            offset = mean if fit_intercept else offset
        elif fit_intercept:
            # where few columns are ever read on their own, only they need a mean
            lazy = designs.can_wait(X)
            if not lazy:
                offset = designs.means(X, weights)
        self.design = designs.make(X, weights, offset, scale, lazy)
        self._gram = None

    def target(self, k=None):
        """Give one target (or the only one), centred, times the roots of the weights."""
        y, offset = (self.y, self.y_offset) if k is None else (self.y[:, k], self.y_offset[k])
        return self.design.weighted(y - offset)

    def centring(self) -> Centring:
        """Give the affine map; offsets of columns that no coefficient needs may be zero."""
        return Centring(self.design.offset, self.design.scale, self.y_offset)

    def gram(self):
        """Give the cross products of all columns, computed once."""
        if self._gram is None:
            self._gram = self.design.gram()
        return self._gram

    def take(self, gram):
        """Use these cross products of the centred columns, (p, p)."""
        self._gram = gram / (self.design.scale[:, None] * self.design.scale)

    def solver(self, y, settings: Settings, l1_ratio=1.0, many=False, estimator=None) -> Solver:
        """Prepare to solve for the target ``y``; ``many`` penalties are worth a Gram matrix."""
        q = self.design.correlate(y)
        if not np.isfinite(q).all():
            # overflow of finite numbers is reported with the coefficients
            check_finite(estimator, self.X)
        method, why = self._method(settings, l1_ratio, many)
        gram = settings.gram if isinstance(settings.gram, np.ndarray) else None
        if gram is None and self._worth(settings.gram, many):
            gram = self.gram()
        solver = Solver(
            self.design, y, self.factors, q, gram,
            positive=settings.positive, seed=settings.seed, method=method,
        )  # fmt: skip
        solver.why = f"{why}; " + (
            "cross products of all columns are known" if gram is not None
            else "cross products only of columns that enter"
        )  # fmt: skip
        return solver

    def _worth(self, asked, many):
        """Tell whether all cross products cost less than the passes that they save."""
        if isinstance(asked, bool | np.bool_):
            return bool(asked)
        known = self._gram is not None
        return many and self.design.dense and (self.p <= self.n or known)

    def _method(self, settings, l1_ratio, many):
        if settings.solver != "auto":
            return settings.solver, "asked for"
        if l1_ratio == 0.0:
            return "descend", "without L1 every feature stays, and one step on them is exact"
        if many and self.p <= self.n and self.p > 200:
            return (
                "descend",
                "many penalties and n >= p: sweeps from one to the next",
            )
        return "follow", "the exact solution is followed as the penalty falls"


def seed_of(random_state, selection) -> int:
    """Give the seed of random sweeps; 0 for sweeps in order."""
    if selection != "random":
        return 0
    return int(check_random_state(random_state).randint(1, 2**31 - 1))


def info(solver: Solver | GroupSolver, fit: Fit, target: float, n: int) -> dict[str, Any]:
    """Say which solver ran, why, and what it did."""
    return {
        "solver": solver.method,
        "why": solver.why,
        "passes": fit.passes,
        "sweeps": fit.sweeps,
        "events": fit.events,
        "working_set": len(solver.work.index),
        "dual_gap": fit.gap / n,
        "target": target / n,
    }


def warn_unless_converged(name, gap, target, n, max_iter, stacklevel=3):
    """Warn of a fit that stopped above its target: the gap, the target, and what to try.

    Raises
    ------
    ValueError
        The gap is NaN: products of X and y overflowed.
    """
    if np.isnan(gap):
        raise ValueError(
            "Coordinate descent iterations resulted in non-finite parameter values: X or y hold "
            "numbers whose products overflow float64. Scale them first, with "
            "eq.preprocessing.StandardScaler for example."
        )
    if gap > target:
        warnings.warn(
            f"{name}: Objective did not converge. You might want to increase the number of "
            f"iterations (max_iter, now {max_iter}) or tol, scale the columns (standardize=True), "
            f"or penalise more. The duality gap is {gap / n:.3e}, the target {target / n:.3e} (tol "
            "times the mean square of the centred y).",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
