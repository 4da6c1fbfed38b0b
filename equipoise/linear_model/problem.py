"""A penalised least-squares problem between the estimators and their solver."""

import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from equipoise.linear_model.base import (
    Centring,
    check_finite,
    column_moments,
    constant_columns,
    y_mean,
    y_zero,
)
from equipoise.ops.descend import design as designs
from equipoise.ops.descend import share
from equipoise.ops.descend.group_solve import GroupSolver
from equipoise.ops.descend.solve import Fit, Solver

SOLVERS = ("auto", "follow", "descend")
# what every estimator of this solver takes, as scikit-learn checks it
PARAMETERS: dict[str, list] = {
    "fit_intercept": ["boolean"],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "copy_X": ["boolean"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "positive": ["boolean"],
    "random_state": ["random_state"],
    "selection": [StrOptions({"cyclic", "random"})],
    "standardize": ["boolean"],
    "penalty_weights": ["array-like", None],
    "solver": [StrOptions(set(SOLVERS))],
}


# rows a column, and values, from which some of the rows are tried first
TALL, LARGE = 40, 1 << 20
# features from which a path starts with those that enter
MANY = 256
# rows a column that are tried, in runs of so many
SHARE, RUN = 4, 128
# sums of squares that float32 can hold
LEAST, MOST = 1e-24, 1e30
# that fit ends at moves of slopes by this share of their penalty; features whose slopes reach
# this share of it are likely to be in use
NEARLY, SWEEPS, LIKELY = 0.1, 40, 0.7
# share of a free column's square that the others leave, from which it is one of its own
SEPARATE = 1e-10


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
        self.X, self.weights = X, weights
        self.fit_intercept, self.standardize = fit_intercept, standardize
        self.n, self.p = X.shape
        self.factors = np.ones(self.p) if factors is None else factors
        self.y = np.asarray(y, np.float64)
        self.y_offset = y_mean(self.y, weights) if fit_intercept else y_zero(self.y)
        offset, scale, lazy = np.zeros(self.p), np.ones(self.p), False
        if standardize:
            mean, scale = column_moments(X, weights)
            offset = mean if fit_intercept else offset
        elif fit_intercept:
            # only columns that are read on their own need a mean
            lazy = True
        self.design = designs.make(X, weights, offset, scale, lazy)
        self._gram = None
        self._leave_to_the_intercept()

    def _leave_to_the_intercept(self):
        """Leave out free features that are constant: nothing else decides their coefficients."""
        free = np.flatnonzero(self.factors == 0.0)
        if self.fit_intercept and len(free):
            self.factors = self.factors.copy()
            self.factors[free[constant_columns(self.X[:, free], self.weights)]] = np.inf

    def _dependent(self) -> bool:
        """Tell whether free features depend on each other linearly, to rounding."""
        free = np.flatnonzero(self.factors == 0.0)
        if len(free) < 2:
            return False
        gram = self.design.products(free, len(free))[0]
        try:
            # what is not finite is named where X is multiplied with y
            with np.errstate(all="ignore"):
                size = np.sqrt(gram.diagonal())
                pivots = np.linalg.cholesky(gram / size / size[:, None]).diagonal()
        except np.linalg.LinAlgError:
            return True
        return not pivots.min() ** 2 >= SEPARATE

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

    def take(self, gram, means):
        """Use these cross products (p, p) of the centred columns, and their means (p,)."""
        if self.design.lazy:
            self.design.offset[:], self.design.known[:] = means, True
        self._gram = gram / (self.design.scale[:, None] * self.design.scale)

    def solver(
        self, y, settings: Settings, l1_ratio=1.0, many=False, estimator=None, alone=None,
        ahead=False,
    ) -> Solver:  # fmt: skip
        """Prepare to solve for the target ``y``; ``many`` penalties are worth a Gram matrix.

        ``alone`` is the one alpha that will be asked for, where it is known; `Ahead` does without
        a Gram matrix.
        """
        method, why = self._method(settings, l1_ratio, many)
        gram = settings.gram if isinstance(settings.gram, np.ndarray) else None
        if gram is None and self._worth(settings.gram, many and not ahead):
            gram = self.gram()
        guess = None
        if alone is not None and gram is None and l1_ratio > 0.0 and is_tall(self.X):
            guess = self._share(settings, l1_ratio, alone)
        q = None
        if guess is None:
            one = gram is None and not ahead
            q = self.design.survey(y) if one else self.design.correlate(y)
        solver = Solver(
            self.design, y, self.factors, q, gram,
            positive=settings.positive, seed=settings.seed, method=method, share=guess,
        )  # fmt: skip
        if q is not None and not np.isfinite(q).all():
            # overflow of finite numbers is reported with the coefficients
            check_finite(estimator, self.X)
        solver.why = f"{why}; " + (
            "cross products of all columns are known" if gram is not None
            else "columns and their cross products by a share of the rows" if guess is not None
            else "cross products only of columns that enter" if self.design.dense
            else "cross products of columns that enter, where they cost less than sweeps"
        )  # fmt: skip
        return solver

    def _share(self, settings, l1_ratio, alpha):
        """Fit to a share of the rows: (features that will be in use, coefficients).

        None where they are many.  A feature that is missed costs one more pass over X.
        """
        count = max(SHARE * self.p, self.n // 32) // RUN + 1
        # float32 of a column far from zero would lose what it varies by
        shift = self.X[0].astype(np.float64) * self.fit_intercept
        assert isinstance(self.design, designs.Dense)
        X, y = self.design.runs(count, RUN, shift), some_rows(self.y, count)
        weights = np.ones(len(y)) if self.weights is None else some_rows(self.weights, count)
        if not weights.sum() > 0.0:
            return None
        means, squares, w, c = (
            np.empty(self.p),
            np.empty(self.p),
            np.zeros(self.p),
            np.zeros(self.p),
        )
        share.prepare(X.nbytes, X.T, weights, self.fit_intercept, means, squares)
        y = (y - self.fit_intercept * np.average(y, weights=weights)) * np.sqrt(weights)
        unit, largest = float(np.abs(y).max()), float(squares.max())
        # what float32 can square; what is not finite is named elsewhere
        if not (LEAST < largest < MOST and 0.0 < unit < np.inf):
            return None
        with np.errstate(invalid="ignore"):
            l1 = alpha * l1_ratio * weights.sum() * self.factors * self.design.scale / unit
            l2 = alpha * (1.0 - l1_ratio) * weights.sum() * self.factors * self.design.scale**2
        share.fit(
            0, X.T, (y / unit).astype(np.float32), squares, l1, l2, settings.positive, NEARLY,
            SWEEPS, w, c,
        )  # fmt: skip
        # what nearly enters on few rows may well enter on all
        likely = (w != 0.0) | ((c if settings.positive else np.abs(c)) >= LIKELY * l1)
        if 2 * np.count_nonzero(likely) > self.p or not likely.any():
            return None
        if self.design.lazy:
            self.design.offset[:] = shift + means
        index = np.flatnonzero(likely)
        return index, w[index] * self.design.scale[index] * unit

    def worth_ahead(self, settings, l1_ratio):
        """Tell whether a path may cost less on the features that enter than all cross products."""
        auto = isinstance(settings.gram, str) and settings.solver == "auto" and not settings.seed
        tall = self.p >= MANY and is_tall(self.X) and self.design.by_column
        paid = bool((self.factors > 0.0).all())
        return auto and tall and paid and l1_ratio > 0.0 and self._gram is None

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
        if self._dependent():
            return "descend", "free features depend on each other: no solution is the only one"
        if many and self.p <= self.n and self.p > 200:
            return (
                "descend",
                "many penalties and n >= p: sweeps from one to the next",
            )
        return "follow", "the exact solution is followed as the penalty falls"


def is_tall(X) -> bool:
    """Tell whether a fit to some of the rows costs far less than one pass over X."""
    return isinstance(X, np.ndarray) and X.shape[0] >= TALL * X.shape[1] and X.size >= LARGE


def some_rows(a, count):
    """Copy ``count`` runs of entries from all over ``a`` (n,)."""
    step = len(a) // count
    return a[: count * step].reshape(count, step)[:, :RUN].reshape(-1)


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
        "gram_bytes": solver.work.G.nbytes,
        "dual_gap": fit.gap / n,
        "target": target / n,
    }


def warn_of_no_penalty(alpha, stacklevel=4):
    """Warn of an alpha of 0, and say what it means."""
    if alpha == 0:
        warnings.warn(
            "alpha=0 asks for least squares without a penalty, whose solution need not be "
            "unique. Use LinearRegression, or Ridge with a small alpha.",
            stacklevel=stacklevel,
        )


def warn_unless_converged(name, gap, target, X, max_iter, stacklevel=3):
    """Warn of a fit that stopped above its target: the gap, the target, and what to try.

    Raises
    ------
    ValueError
        Products of X and y overflowed.
    """
    n = X.shape[0]
    if np.isnan(gap) or not np.isfinite(target) or (gap > target and _overflows(X)):
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


def _overflows(X) -> bool:
    """Tell whether the sum of squares of a column may leave float64."""
    values = X if isinstance(X, np.ndarray) else X.data
    largest = max(abs(float(values.min(initial=0.0))), float(values.max(initial=0.0)))
    return largest > np.sqrt(np.finfo(np.float64).max / X.shape[0])
