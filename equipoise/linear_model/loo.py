"""Leave-one-out errors of Ridge for many alphas, exact, from one decomposition.

With the leverage h_i of row i, its residual without itself is (y_i - x_iᵀ b - b₀) / (1 - h_i), or
c_i / d_i by the inverse of the kernel matrix, whose entries these are.
"""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from equipoise.linear_model import exact
from equipoise.linear_model.blocks import BLOCK, over, spans
from equipoise.linear_model.exact import Reduced, inverse_filter, spectrum
from equipoise.linear_model.kernel import Kernel
from equipoise.linear_model.products import is_sparse
from equipoise.moments import Moments
from equipoise.ops.products.op import LeaveOneOut


class Errors(NamedTuple):
    """Summaries of weighted squared errors: of each target and alpha, and of their mean."""

    each: Moments
    mean: Moments


class TallLOO:
    """Leverages from the Gram matrix: one more pass over X for all alphas.

    Parameters
    ----------
    fit : RidgeFit
        With n >= p.
    svd : bool
        Decompose the triangle of a QR of X in place of the Gram matrix.
    """

    def __init__(self, fit, svd: bool = False):
        self.fit = fit
        self.G, self.xy = fit.gram()
        self.reduced = Reduced(self.G, fit.factors)
        self.right = self.reduced.right(self.xy)
        if svd and fit.factors.plain:
            R = fit.design().triangle(np.empty((fit.n, 0)))
            _, s, Vt = np.linalg.svd(R)
            values = np.zeros(fit.p)
            values[: len(s)] = s * s
            self.values, self.V = values, Vt.T
        else:
            self.values, self.V = spectrum(self.reduced.gram)
        rows = slice(None) if fit.rows is None else fit.rows
        self.weights = None if fit.weights is None else fit.weights[rows]
        self.y = fit.y[rows] - fit.y_offset

    def sweep(self, alphas, use):
        """Call ``use(span, errors)``, errors (rows, q, alphas) unweighted; give the results."""
        fit, base = self.fit, 0.0
        if fit.model.fit_intercept:
            base = 1.0 / (fit.n if self.weights is None else self.weights.sum())
        free = len(fit.factors.free)
        ones = np.ones((free, len(alphas)))
        filters = np.concatenate([inverse_filter(self.values, alphas), ones])
        scale = np.concatenate([self.values + alphas.min(), ones[:, 0]])
        coefs = self.coefficients(alphas)
        left_out = LeaveOneOut(fit.offset, base, self._basis(), filters, scale, coefs)

        def part(span):
            weights = None if self.weights is None else self.weights[span]
            X, rows = self._rows(span)
            return use(span, left_out.errors(X, self.y[span], weights, rows))

        # errors and their squares stay in the cache, and far below X
        size = coefs[0].size
        step = min(4 * BLOCK // size, fit.n * fit.p // (32 * size))
        return over(spans(fit.n, max(64, step)), part)

    def _rows(self, span):
        """Give a matrix and the rows of it that a span means, None for all of them."""
        X, rows = self.fit.X, self.fit.rows
        if is_sparse(X):
            return (X[span] if rows is None else X[rows[span]]).toarray(), None
        return (X[span], None) if rows is None else (X, rows[span])

    def _basis(self):
        """Give M, the squares of whose products with a row make its leverage."""
        if self.fit.factors.plain:
            return self.V
        reduced, (_, paid, free) = self.reduced, self.fit.factors
        rotated = reduced.scale[:, None] * self.V
        basis = np.zeros((self.fit.p, len(paid) + len(free)))
        basis[paid, : len(paid)] = rotated
        if len(free):
            basis[free, : len(paid)] = -reduced.share @ rotated
            values, U = spectrum(reduced.inverse)
            basis[free, len(paid) :] = U * np.sqrt(values)
        return basis

    def coefficients(self, alphas):
        """Give (p, q, alphas)."""
        filters = inverse_filter(self.values, alphas)
        rotated = self.V.T @ self.right
        found = [self.reduced.back(self.V @ (rotated * f[:, None]), self.xy) for f in filters.T]
        return np.stack(found, axis=-1)

    def solve(self, alphas):
        """Give (p, q) for one alpha a target, refined where that is due."""
        fit = self.fit
        return exact.by_gram(self.G, self.xy, fit.factors, alphas, fit.design(), fit.target)[0]


class WideLOO:
    """Errors from the inverse of the kernel matrix, for n < p: no further pass over X."""

    def __init__(self, fit):
        self.fit = fit
        design, self.target = fit.centre()
        self.kernel = Kernel(design, fit.factors, fit.model.fit_intercept, apart=True)
        values, U = np.linalg.eigh(self.kernel.matrix)
        # the intercept and the free features come last: they were set apart
        kept = len(values) - (0 if self.kernel.Q is None else self.kernel.Q.shape[1])
        self.values, self.U = np.maximum(values[:kept], 0.0), U[:, :kept]
        self.root = design.root

    def _dual(self, alphas):
        filters = inverse_filter(self.values, alphas)
        C = (self.U.T @ self.target)[:, :, None] * filters[:, None]
        return filters, C.reshape(len(C), -1)

    def sweep(self, alphas, use):
        """Call ``use(span, errors)``, errors (rows, q, alphas) unweighted; give the results."""
        filters, C = self._dual(alphas)

        def part(span):
            U = self.U[span]
            c, d = (U @ C).reshape(len(U), -1, len(alphas)), (U * U) @ filters
            errors = c / np.maximum(d, np.finfo(np.float64).tiny)[:, None]
            return use(span, errors if self.root is None else errors / self.root[span, None, None])

        return over(spans(self.fit.n, max(16, BLOCK // self.fit.n)), part)

    def coefficients(self, alphas):
        """Give (p, q, alphas)."""
        _, C = self._dual(alphas)
        q = self.target.shape[1]
        target = np.repeat(self.target, len(alphas), axis=1)
        return self.kernel.coefficients(self.U @ C, target).reshape(-1, q, len(alphas))

    def solve(self, alphas):
        """Give (p, q) for one alpha a target."""
        c = self.U @ ((self.U.T @ self.target) * inverse_filter(self.values, alphas))
        return self.kernel.coefficients(c, self.target)


def squared_errors(loo, alphas, weights, store=None) -> Errors:
    """Summarise w e² over the rows, block by block; keep them in ``store`` (n, q, a) too."""

    def use(span, errors):
        squares: Any = errors * errors
        if weights is not None:
            squares *= weights[span, None, None]
        if store is not None:
            store[span] = squares
        each = Moments.of(squares.reshape(len(squares), -1), nan="propagate")
        if squares.shape[1] == 1:
            return each, None
        return each, Moments.of(squares.mean(1), nan="propagate")

    each, mean = zip(*loo.sweep(alphas, use), strict=True)
    total = reduce(add, each)
    return Errors(total, total if mean[0] is None else reduce(add, mean))


def predictions(loo, alphas, y):
    """Give what each row is predicted to be without itself, (n, q, alphas)."""
    out = np.empty((*y.shape, len(alphas)))

    def use(span, errors):
        out[span] = y[span, :, None] - errors

    loo.sweep(alphas, use)
    return out
