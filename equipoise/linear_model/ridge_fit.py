"""One fit of Ridge: the data as the solvers see it, and the solver that was chosen."""

from typing import Any

import numpy as np

from equipoise.linear_model import exact, iterate, kernel
from equipoise.linear_model.base import check_finite, penalty_factors
from equipoise.linear_model.design import Design, centred_rows
from equipoise.linear_model.exact import Factors
from equipoise.linear_model.products import Rows, state


class RidgeFit:
    """X, y and weights of a fit, centred in passes that are made when a solver needs them.

    Parameters
    ----------
    model : Ridge
        Where ``fit_intercept``, ``standardize``, ``penalty_weights`` and the options stand.
    X : array or CSR (n, p)
    y : float64 (n, q)
    weights : float64 (n,), optional
    rows : int64 (m,), optional
        The rows that count.
    """

    def __init__(self, model, X, y, weights=None, rows=None):
        self.model, self.X, self.y, self.weights, self.rows = model, X, y, weights, rows
        self.n, self.p = X.shape[0] if rows is None else len(rows), X.shape[1]
        self.penalties = penalty_factors(model.penalty_weights, self.p)
        self.offset: Any = None
        self.y_offset: Any = None

    def run(self, solver, alphas):
        """Give coefficients (p, q), the name of the solver, and its iterations or None."""
        if solver == "positive":
            return self._not_negative(alphas)
        if solver == "lbfgs":
            return self._lbfgs(alphas), "lbfgs", None
        if solver == "cholesky":
            return *self._direct(alphas), None
        design, target = self.centre()
        if solver == "svd":
            b = np.zeros((self.p, target.shape[1]))
            for alpha, targets in exact.each_alpha(alphas):
                y = target[:, targets]
                b[:, targets] = exact.by_triangle(design, y, self.factors, alpha)
            return b, "svd", None
        if solver in ("sag", "saga"):
            b, steps = iterate.sag(self, alphas, solver)
        else:
            run = {"sparse_cg": iterate.sparse_cg, "lsqr": iterate.lsqr}[solver]
            b, steps = run(
                design, target, self.factors, alphas, self.model.tol, self.model.max_iter
            )
        return b, solver, steps

    def _direct(self, alphas):
        if self.n >= self.p:
            G, xy = self.gram()
            return exact.by_gram(G, xy, self.factors, alphas, self.design(), self.target)
        design, target = self.centre()
        return kernel.by_kernel(design, target, self.factors, alphas, self.model.fit_intercept)

    def gram(self):
        """Give X̃ᵀX̃ and X̃ᵀỹ from one pass, and set offsets and factors."""
        summary = state(Rows(self.X, self.y, self.weights, self.rows))
        self._need_finite(summary[3].diagonal())
        return self.take(summary)

    def _need_finite(self, sums):
        """Raise where sums over X and y are not finite, and say whose fault it is."""
        if not np.isfinite(sums).all():
            check_finite(self.model, self.X)
            raise ValueError(
                "sums over X or y overflow: they hold values up to "
                f"{max(abs(self.X).max(), abs(self.y).max()):.3g}. Scale them first, with "
                "eq.preprocessing.StandardScaler for example."
            )

    def take(self, summary):
        """Give X̃ᵀX̃ and X̃ᵀỹ from a state of `CoMoments`, and set offsets and factors."""
        count, mean, _, m2 = summary
        p = self.p
        spread = standard_deviations(m2.diagonal()[:p], mean[:p], count)
        self.factors = Factors.of(self.penalties, spread if self.model.standardize else None, p)
        if not self.model.fit_intercept:
            m2 = m2 + count * mean[:, None] * mean
            mean = np.zeros_like(mean)
        self.offset, self.y_offset = mean[:p], mean[p:]
        return m2[:p, :p], m2[:p, p:]

    def centre(self):
        """Give X̃ as an operator and ỹ, and set offsets and factors."""
        self.offset, self.y_offset, target = centred_rows(
            self.X, self.y, self.weights, self.rows, self.model.fit_intercept
        )
        if not self.model.fit_intercept:
            check_finite(self.model, self.X)
        self._need_finite(self.offset)
        spread = self._spread() if self.model.standardize else None
        self.factors = Factors.of(self.penalties, spread, self.p)
        return self.design(), target

    def design(self):
        """Give X̃, without the factors of the columns."""
        return Design(self.X, self.offset, None, self.weights, self.rows)

    def target(self):
        """Give ỹ, (n, q)."""
        rows = slice(None) if self.rows is None else self.rows
        y = self.y[rows] - self.y_offset
        return y if self.weights is None else y * np.sqrt(self.weights[rows])[:, None]

    def _spread(self):
        mean = self.offset
        if not self.model.fit_intercept:
            mean = centred_rows(self.X, self.y, self.weights, self.rows, True)[0]
        count = self.n
        if self.weights is not None:
            count = self.weights[slice(None) if self.rows is None else self.rows].sum()
        squares = Design(self.X, mean, None, self.weights, self.rows).squares()
        return standard_deviations(squares, mean, count)

    def by_state(self, summary, alphas):
        """Solve from a state of `CoMoments` alone; give coefficients (p, q) and how."""
        G, xy = self.take(summary)
        if not self.model.positive:
            return exact.by_gram(G, xy, self.factors, alphas)
        b = self._active_set(G, xy, alphas)
        if b is None:
            raise ValueError(
                "positive=True needs columns that are not linearly dependent, or alpha above 0; "
                "raise alpha"
            )
        return b, "active_set"

    def _not_negative(self, alphas):
        """Solve exactly on the Gram matrix; by L-BFGS-B where that is too large or singular."""
        if self.p <= iterate.MOST:
            b = self._active_set(*self.gram(), alphas)
            if b is not None:
                return b, "active_set", None
        return self._lbfgs(alphas, tight=True), "lbfgs", None

    def _active_set(self, G, xy, alphas):
        """Give b ≥ 0, or None where the equations of some support are singular."""
        used = np.sort(np.concatenate([self.factors.paid, self.factors.free]))
        b = np.zeros_like(xy)
        for i, alpha in enumerate(alphas):
            A = (G + np.diag(self._penalty(alpha)))[np.ix_(used, used)]
            found = iterate.not_negative(A, xy[used, i])
            if found is None:
                return None
            b[used, i] = found
        return b

    def _lbfgs(self, alphas, tight=False):
        """Run L-BFGS-B on the Gram matrix, or on X where that would be larger than X."""
        tol = min(self.model.tol, 1e-10) if tight else self.model.tol
        G = None
        if self.n >= self.p or self.p <= 1000:
            G, xy = self.gram()
            operator: Any = G
        else:
            operator, target = self.centre()
            xy = operator.tdot(target)

        def product(b):
            if operator is G:
                return G @ b
            return operator.gram_dot(b[:, None])[:, 0]

        used = np.zeros(self.p, bool)
        used[self.factors.paid] = used[self.factors.free] = True
        weights = [self._penalty(alpha) for alpha in alphas]

        def apply(b, i):
            return np.where(used, product(b * used) + weights[i] * b, 0.0)

        return iterate.lbfgs(apply, xy * used[:, None], tol, self.model.max_iter, self.p)

    def _penalty(self, alpha):
        """Give the diagonal of α D; zero for what is free or out."""
        ones = np.ones((self.p, 1))
        return self.factors.penalty(ones, alpha)[:, 0]


def standard_deviations(squares, mean, count):
    """Give √(squares / count), and 1 for constant columns."""
    var = squares / count
    constant = var <= (8 * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    return np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, var)))
