"""The design of a sparse matrix: zeros are never filled in."""

import numpy as np

from equipoise.ops.descend import sparse
from equipoise.ops.descend.base import EMPTY, Design, flat, into


class Sparse(Design):
    """A CSC matrix; zeros are never filled in."""

    dense = False

    def __init__(self, X, weights, offset, scale, lazy=False):
        super().__init__(X, weights, offset, scale, lazy)
        self.parts = flat(X.data), flat(X.indices), flat(X.indptr)
        # stored entries of a column
        self.fill = X.nnz / max(self.p, 1)

    def _correlate(self, v, out):
        sparse.correlate(self.work, *self.parts, v, out)

    def _sums(self, chosen, weights):
        if len(chosen) > self.p // 8:
            return self._plain(weights)[chosen]
        return self.X[:, chosen].T @ weights

    def products(self, index, m, y=None, out=None):
        """Give products of the last m of k columns with them all (m, k), and with y (m,) or 0."""
        new = index[len(index) - m :]
        self._see(new)
        weights = EMPTY if self.weights is None else self.weights
        starts = np.zeros(self.n + 2, np.int64)
        made = np.empty((m, len(index)))
        sparse.products(0, *self.parts, new, index, weights, starts, made)
        # Σ s (a − m_a)(b − m_b), where the offset is the weighted mean or 0
        made -= self.total * self.offset[new][:, None] * self.offset[index]
        made /= self.scale[new][:, None] * self.scale[index]
        return into(out, made), np.zeros(m) if y is None else self.correlate(y)[new]

    def squares(self, chosen):
        """Give the sums of squares of the chosen columns, (m,)."""
        self._see(chosen)
        out = np.empty(len(chosen))
        weights = EMPTY if self.weights is None else self.weights
        sparse.squares(0, *self.parts, chosen, self.offset, weights, self.total, out)
        return out / self.scale[chosen] ** 2

    def sweep(self, chosen, r, diagonal, w, g, *rest):
        """Sweep over the chosen columns from the residual ``r``; see `sparse.sweep`."""
        weights = EMPTY if self.weights is None else self.weights
        return sparse.sweep(
            0, *self.parts, chosen, self.offset, self.scale, weights, self.total,
            self.weighted(r).copy(), diagonal, w, g, *rest,
        )  # fmt: skip

    def gram(self):
        """Give the cross products (p, p) of all columns."""
        return self.products(np.arange(self.p), self.p)[0]

    def combine(self, chosen, factors):
        """Give Σ columns × factors, (n,)."""
        factors = factors / self.scale[chosen]
        out = np.full(self.n, -float(factors @ self.offset[chosen]))
        sparse.combine(0, *self.parts, chosen, factors, out)
        return self.weighted(out)
