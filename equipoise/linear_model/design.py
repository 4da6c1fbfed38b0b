"""The centred and weighted X of a fit as an operator: products with it, never the matrix."""

from copy import copy
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from equipoise.linear_model.blocks import (
    BLOCK,
    each,
    one_blas_thread,
    over,
    row_step,
    spans,
    threads,
)
from equipoise.linear_model.products import Rows, add_products, is_sparse, mirror
from equipoise.ops.descend import design as designs
from equipoise.ops.products.layout import PAIRS
from equipoise.ops.products.op import outer_products

# γ up to which three digits of the kernel matrix are worth having: a condition number of 16
ALIKE = 0.36


class Design:
    """X̃ = √W (X - 1 offsetᵀ) diag(scale), for rows of X that count.

    Dense blocks are copied to float64, shifted and multiplied while they are in the cache, so that
    neither a large offset nor float32 costs digits; sparse X is multiplied as it is stored.

    Parameters
    ----------
    X : array (n, p) or CSR
    offset : float64 (p,)
        The means, or zeros.
    scale : float64 (p,), optional
        Factors of the columns; a column with factor 0 plays no part.
    weights : float64 (n,), optional
    rows : int64 (m,), optional
        The rows that count.
    """

    def __init__(self, X, offset, scale=None, weights=None, rows=None):
        self.X, self.offset, self.scale, self.rows = X, offset, scale, rows
        self.root: Any = None if weights is None else np.sqrt(weights)
        if rows is not None and weights is not None:
            self.root = self.root[rows]
        self.sparse = is_sparse(X)
        # multiply X as it lies, and correct for the offset: set where the offset is small
        self.direct = self.sparse
        self.n = X.shape[0] if rows is None else len(rows)
        self.p = X.shape[1]
        self._stored: Any = X if rows is None or not self.sparse else X[rows]

    def scaled(self, scale) -> "Design":
        """Give the same rows with factors for the columns."""
        other = copy(self)
        other.scale = scale
        return other

    def rows_block(self, span) -> np.ndarray:
        """Give rows of X̃ as float64."""
        if self.sparse:
            x = self._stored[span].toarray()
        else:
            x = self.X[span if self.rows is None else self.rows[span]]
        z = np.subtract(x, self.offset)
        if self.scale is not None:
            z *= self.scale
        if self.root is not None:
            z *= self.root[span][:, None]
        return z

    def columns_block(self, span, dtype=np.float64) -> np.ndarray:
        """Give columns of X̃."""
        if self.sparse:
            x = self._stored[:, span].toarray()
        else:
            x = self.X[:, span] if self.rows is None else self.X[self.rows, span]
        z = np.empty_like(x, dtype)
        np.subtract(x, self.offset[span], out=z, casting="same_kind")
        if self.scale is not None:
            np.multiply(z, self.scale[span], out=z, casting="same_kind")
        if self.root is not None:
            np.multiply(z, self.root[:, None], out=z, casting="same_kind")
        return z

    def row_spans(self):
        """Cut the rows into blocks that stay in the cache."""
        return spans(self.n, max(16, BLOCK // self.p))

    def column_spans(self):
        """Cut the columns into blocks that stay in the cache."""
        return spans(self.p, max(16, BLOCK // self.n))

    def dot(self, B):
        """Give X̃ B, (n, q)."""
        if not self.direct:
            return np.concatenate(self._over(self.row_spans(), lambda s: self.rows_block(s) @ B))
        B = B if self.scale is None else B * self.scale[:, None]
        if self.sparse:
            out = self._stored @ B - self.offset @ B
        else:
            every, columns = np.arange(self.p), self._columns()
            out = np.stack([columns.combine(every, b) for b in B.T], 1)
        return out if self.root is None else out * self.root[:, None]

    def tdot(self, R):
        """Give X̃ᵀ R, (p, q)."""
        if not self.direct:
            if self.n < self.p:
                cuts = self.column_spans()
                return np.concatenate(self._over(cuts, lambda s: self.columns_block(s).T @ R))
            return self._sum(self.row_spans(), lambda s: self.rows_block(s).T @ R[s])
        R = R if self.root is None else R * self.root[:, None]
        if self.sparse:
            out = self._stored.T @ R - self.offset[:, None] * R.sum(0)
        else:
            out = self._columns().correlate(np.ascontiguousarray(R.T)).T
        return out if self.scale is None else out * self.scale[:, None]

    def _columns(self):
        """Give the centred columns, read where they lie and summed in float64."""
        return designs.Dense(self.X, None, self.offset, np.ones(self.p))

    def gram_dot(self, B):
        """Give X̃ᵀ X̃ B in one pass."""
        if self.direct:
            return self.tdot(self.dot(B))

        def part(span):
            z = self.rows_block(span)
            return z.T @ (z @ B)

        return self._sum(self.row_spans(), part)

    def kernel_dot(self, R):
        """Give X̃ X̃ᵀ R in one pass."""
        if self.direct:
            return self.dot(self.tdot(R))

        def part(span):
            z = self.columns_block(span)
            return z @ (z.T @ R)

        return self._sum(self.column_spans(), part)

    def squares(self):
        """Give the sums of squares of the columns, (p,)."""
        return self._sum(self.row_spans(), lambda s: np.square(self.rows_block(s)).sum(0))

    def rough_kernel(self):
        """Give K = X̃ X̃ᵀ to three digits in float32, or None where that would help nobody.

        It helps as a preconditioner, where the processor has instructions for it and rows are far
        from depending on each other: of n rows whose squared cosines have the mean γ / n the
        eigenvalues lie between (1 - √γ)² and (1 + √γ)² times their mean (Marchenko, Pastur).
        """
        if self.sparse or not PAIRS:
            return None
        some = self.rows_block(slice(None, None, -(-self.n // 96)))
        # a second thread of BLAS would wait for more, on the core that the products need next
        with one_blas_thread():
            K = some @ some.T
        d, count = K.diagonal(), len(K)
        if not (d > 0).all():
            return None
        alike = (np.square(K).dot(1 / d).dot(1 / d) - count) / (count * (count - 1))
        if not self.n * alike < ALIKE:
            return None
        K = outer_products(self.X, self.offset, self.scale, self.root, self.rows)
        # sums may be too large for float32
        return K if np.isfinite(K.diagonal()).all() else None

    def kernel(self, dtype=np.float64):
        """Give K = X̃ X̃ᵀ, (n, n), in float32 perhaps before what is constant in a row or column.

        The caller projects that out, where there is an intercept.
        """
        if self.sparse:
            return self._sparse_kernel().astype(dtype, copy=False)
        K = np.zeros((self.n, self.n), dtype)
        if dtype == self.X.dtype == np.float32 and self._raw():
            add_products(K, self.X.T)
            mirror(K)
            return K
        memory = np.empty((self.n, step := row_step(self.p, self.n)), dtype)
        for span in spans(self.p, step):
            width = span.stop - span.start
            z = memory if width == step else np.empty((self.n, width), dtype)
            self._fill(span, z)
            add_products(K, z.T)
        mirror(K)
        return K

    def _raw(self):
        """Tell whether X itself may be multiplied, its means smaller than its spread."""
        if not (in_one_piece(self.X) and self.scale is self.root is self.rows is None):
            return False
        some = self.rows_block(slice(None, None, max(1, self.n // 64)))
        return len(some) * (self.offset @ self.offset) <= np.square(some).sum()

    def _fill(self, columns, z):
        """Fill ``z`` with columns of X̃, on a few threads."""
        rows = spans(self.n, max(16, -(-self.n // threads())))

        def part(span):
            some = self.X[span, columns] if self.rows is None else self.X[self.rows[span], columns]
            if z.dtype == np.float32:
                # in two steps: NumPy converts a result piece by piece
                np.copyto(z[span], some, casting="same_kind")
                z[span] -= self.offset[columns].astype(np.float32)
            else:
                np.subtract(some, self.offset[columns], out=z[span])
            if self.scale is not None:
                np.multiply(z[span], self.scale[columns], out=z[span], casting="same_kind")
            if self.root is not None:
                np.multiply(z[span], self.root[span, None], out=z[span], casting="same_kind")

        each(rows, part)

    def _sparse_kernel(self):
        X = self._stored.astype(np.float64, copy=False)
        scaled = X if self.scale is None else X.multiply(self.scale**2).tocsr()
        K = (X @ scaled.T).toarray()
        cross = scaled @ self.offset
        square = self.offset if self.scale is None else self.offset * self.scale**2
        K += square @ self.offset - cross[:, None] - cross
        if self.root is not None:
            K *= self.root[:, None] * self.root
        return K

    def triangle(self, y=None):
        """Give R of a QR of [X̃ y] (or of X̃ᵀ without y), block by block: no digits are squared."""
        if y is None:
            cuts = spans(self.p, row_step(self.p, 2 * self.n))
            blocks = (self.columns_block(s).T for s in cuts)
        else:
            cuts = spans(self.n, row_step(self.n, 2 * self.p))
            blocks = (np.concatenate([self.rows_block(s), y[s]], 1) for s in cuts)
        R = next(blocks)
        R = np.linalg.qr(R, mode="r") if len(cuts) == 1 else R
        for z in blocks:
            R = np.linalg.qr(np.concatenate([R, z]), mode="r")
        return R

    def normal_residual(self, B, target):
        """Give X̃ᵀ (target - X̃ B) in one pass, as accurate as X̃ is: nothing is squared."""
        if self.direct:
            return self.tdot(target - self.dot(B))

        def part(span):
            z = self.rows_block(span)
            return z.T @ (target[span] - z @ B)

        return self._sum(self.row_spans(), part)

    def _over(self, cuts, part):
        return over(cuts, part, pooled=self.n * self.p > 1 << 18)

    def _sum(self, cuts, part):
        total: Any = 0.0
        # results as large as the blocks are not all kept
        for batch in spans(len(cuts), 32):
            total = reduce(add, self._over(cuts[batch], part), total)
        return total


def in_one_piece(X) -> bool:
    """Tell whether X is an array without gaps."""
    return isinstance(X, np.ndarray) and (X.flags.c_contiguous or X.flags.f_contiguous)


def centred_rows(X, y, weights, rows, fit_intercept):
    """Give the means of [X y] (zeros without an intercept), and y centred and weighted."""
    data = Rows(X, y, weights, rows)
    if not fit_intercept:
        mean = np.zeros(data.p + data.q)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            mean = means(data)
    target = data.of(y, slice(None)) - mean[data.p :]
    if weights is not None:
        target = target * np.sqrt(data.of(weights, slice(None)))[:, None]
    return mean[: data.p], mean[data.p :], target


def means(data: Rows):
    """Give the weighted means of the columns of [X y] in float64."""
    if is_sparse(data.X):
        W = np.ones(data.n) if data.weights is None else data.of(data.weights, slice(None))
        X, y = data.of(data.X, slice(None)), data.of(data.y, slice(None))
        return np.concatenate([X.T @ W, y.T @ W]) / W.sum()
    if data.n < data.p and data.rows is None and in_one_piece(data.X):
        W = np.ones(data.n) if data.weights is None else data.weights
        return np.concatenate([designs.means(data.X, data.weights), W @ data.y / W.sum()])
    shift = data.first_mean()

    def part(span):
        z, weights = data.shifted(span, shift), data.of(data.weights, span)
        return np.ones(len(z)) @ z if weights is None else weights @ z

    total = data.n if data.weights is None else data.of(data.weights, slice(None)).sum()
    return shift + reduce(add, over(spans(data.n, row_step(data.n, data.p)), part)) / total
