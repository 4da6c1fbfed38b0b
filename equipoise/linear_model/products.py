"""Means and centred cross products of [X y]: the state of CoMoments, in few passes.

Up to some hundred columns chunks of rows are centred by their own means and merged by Chan's
formula; more are centred block by block and multiplied by BLAS.  Nothing of X's size is made.
"""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

from equipoise.linear_model.blocks import POOLED, buffer, over, row_step, spans
from equipoise.ops.moments.comoments import _split
from equipoise.ops.products.op import cross_products

# sparse columns fuller than this are centred before they are multiplied
DENSE = 0.25


def is_sparse(X) -> bool:
    """Tell a sparse matrix from an array."""
    return not isinstance(X, np.ndarray)


class Rows:
    """Some rows of [X y] with their weights, handed out block by block.

    Parameters
    ----------
    X : array (n, p), or sparse matrix in CSR
    y : float64 (n, q)
    weights : float64 (n,), optional
    rows : int64 (m,), optional
        The rows that count; all of them by default.
    """

    def __init__(self, X, y, weights=None, rows=None):
        self.X, self.y, self.weights, self.rows = X, y, weights, rows
        self.n = len(y) if rows is None else len(rows)
        self.p, self.q = X.shape[1], y.shape[1]

    def of(self, values, span) -> Any:
        """Give the rows of ``values`` in a span; None for None."""
        if values is None:
            return None
        return values[span] if self.rows is None else values[self.rows[span]]

    def x(self, span) -> Any:
        """Give a block of X as an array, a view where it can be."""
        block = self.of(self.X, span)
        return block.toarray() if is_sparse(block) else block

    def shifted(self, span, shift, out=None):
        """Give [X y] - shift of a block in float64."""
        x, y = self.x(span), self.of(self.y, span)
        if out is None or len(out) != len(x):
            out = buffer(len(x), self.p + self.q, x)
        np.subtract(x, shift[: self.p], out=out[:, : self.p])
        np.subtract(y, shift[self.p :], out=out[:, self.p :])
        return out

    def parts(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Give X, y, weights and the rows that count: all at once, sparse ones by the block."""
        if not is_sparse(self.X):
            yield self.X, self.y, self.weights, self.rows
            return
        for span in spans(self.n, row_step(self.n, self.p + self.q)):
            yield self.x(span), self.of(self.y, span), self.of(self.weights, span), None

    def first_mean(self):
        """Give the mean of a few rows: a shift that keeps sums small."""
        span = slice(0, min(self.n, 64))
        return np.concatenate(
            [self.x(span).astype(np.float64).mean(0), self.of(self.y, span).mean(0)]
        )


def state(rows: Rows):
    """Give (count, mean, rest, m2) of the columns of [X y], as `CoMoments` keeps them.

    A NaN or an infinity spoils the entries of its column.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if is_sparse(rows.X) and rows.p > 64 and not _fullest(rows.X) > DENSE * len(rows.y):
            return _sparse(rows)
        if rows.p + rows.q <= POOLED:
            return _merged(rows)
        return _in_two_passes(rows)


def _merged(rows):
    """One pass: chunks of rows are centred by their own means, and all merge at once.

    With the means m_b of the chunks, m2 = Σ_b m2_b + Σ_b count_b (m_b - mean)(m_b - mean)ᵀ,
    Chan's formula for many.
    """
    shift = rows.first_mean()
    found = [cross_products(x, y, w, r, shift) for x, y, w, r in rows.parts()]
    counts, means, within = zip(*found, strict=True)
    counts, means = np.concatenate(counts), np.concatenate(means)
    count = float(counts.sum())
    if count == 0:
        return 0.0, shift * np.nan, shift * 0, np.zeros((len(shift), len(shift)))
    mean = counts @ means / count
    between = (means - mean) * np.sqrt(counts)[:, None]
    return count, *_split(shift, mean), reduce(np.add, within) + between.T @ between


def _in_two_passes(rows):
    """Means first, then products of centred blocks added in place: m2 may be as large as X."""
    cuts = spans(rows.n, row_step(rows.n, rows.p + rows.q))
    shift = rows.first_mean()

    def sums(span):
        z, weights = rows.shifted(span, shift), rows.of(rows.weights, span)
        return np.ones(len(z)) @ z if weights is None else weights @ z

    count = float(rows.n) if rows.weights is None else float(rows.of(rows.weights, _ALL).sum())
    mean, rest = _split(shift, sum(over(cuts, sums)) / count)
    m2, memory = np.zeros((len(mean), len(mean))), None
    for span in cuts:
        memory = rows.shifted(span, mean, memory)
        memory -= rest
        if rows.weights is not None:
            memory *= np.sqrt(rows.of(rows.weights, span))[:, None]
        add_products(m2, memory)
    mirror(m2)
    return count, mean, rest, m2


_ALL = slice(None)


def add_products(total, z):
    """Add zᵀz to the lower triangle of ``total`` in place."""
    from scipy import linalg

    blas: Any = linalg.blas
    syrk = blas.dsyrk if total.dtype == np.float64 else blas.ssyrk
    flat = z.flags.c_contiguous
    syrk(1.0, z.T if flat else z, beta=1.0, c=total.T, trans=not flat, overwrite_c=True)


def mirror(total, step=256):
    """Copy the lower triangle of ``total`` to the upper one, in place."""
    n = len(total)
    for i in range(0, n, step):
        j = min(i + step, n)
        corner = total[i:j, i:j]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
        total[i:j, j:] = total[j:, i:j].T


def _fullest(X):
    """Count the entries of the fullest column."""
    return np.bincount(X.indices, minlength=1).max() if X.nnz else 0


def _sparse(rows):
    """Products of what is stored, then centred: a column that is mostly zeros loses no digits.

    For a share d of entries other than 0, mean² <= d Σ x² / n, so that m2 is at least
    (1 - d) Σ x².
    """
    from scipy import sparse

    X = rows.of(rows.X, _ALL).astype(np.float64, copy=False)
    y = rows.of(rows.y, _ALL)
    weights = rows.of(rows.weights, _ALL)
    count = float(len(y)) if weights is None else float(weights.sum())
    W = np.ones(len(y)) if weights is None else weights
    y_mean = W @ y / count
    y = y - y_mean
    scaled = X if weights is None else sparse.diags_array(weights).tocsr() @ X
    mean = np.concatenate([X.T @ W / count, y_mean])
    p = X.shape[1]
    m2 = np.empty((len(mean), len(mean)))
    m2[:p, :p] = (X.T @ scaled).toarray()
    m2[:p, :p] -= count * mean[:p, None] * mean[:p]
    m2[:p, p:] = scaled.T @ y
    m2[p:, :p] = m2[:p, p:].T
    m2[p:, p:] = y.T @ (W[:, None] * y)
    return count, mean, mean * 0, m2
