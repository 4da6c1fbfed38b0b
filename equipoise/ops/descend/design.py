"""The matrix of a regression as its solver sees it: centred and scaled columns, never copied.

Row i of a design is √s_i (x_i − offset) / scale, with s the weights.  A design gives products of
all columns with a vector, and columns or cross products of a few.
"""

import numpy as np

from equipoise.ops.descend import coarse, cross, dense, gather, halves
from equipoise.ops.descend.base import EMPTY, Design, flat, into, pooled
from equipoise.ops.descend.csc import Sparse
from equipoise.ops.products.layout import PAIRS

# rows that are gathered at once where columns are not kept: a megabyte for a few hundred
CHUNK_BYTES = 1 << 20
# cross products are added up for so many of the features that join
STRIP = 64
# places in a design that rows are taken from
PARTS = 8
# bytes of X from which the way to a solution is computed less exactly than its end
LARGE = 1 << 25
# bytes of X in C order from which a copy in bytes, an eighth of it, is worth its memory
COARSE = 1 << 27


class Dense(Design):
    """A float32 or float64 array, contiguous in C or Fortran order."""

    dense = True

    def __init__(self, X, weights, offset, scale, lazy=False):
        super().__init__(X, weights, offset, scale, lazy)
        self.flat = flat(X)
        self.by_column, self.single = bool(X.flags.f_contiguous), self.bytes >= LARGE
        self.steps = (1, self.n) if self.by_column else (self.p, 1)

    def _work(self, columns):
        """Give the bytes in so many columns, or 0 where one thread is enough."""
        return pooled(self.n * columns * self.X.itemsize)

    def _correlate(self, v, out):
        if self.by_column:
            dense.correlate_columns(self.work, self.flat, self.n, np.arange(self.p), v, out)
        else:
            sums = np.empty((min(dense.GROUPS, self.n), *out.shape))
            dense.correlate_rows(self.work, self.flat, self.n, self.p, v, out, sums)

    def survey(self, r):
        """Give the products of each column with ``r`` (n,), and keep X in bytes for `glance`."""
        tasks = self.p if self.by_column else self.p // coarse.TILE
        least = LARGE if self.by_column else COARSE
        if self.coarse is not None or self.bytes < least or tasks < 2:
            return self.correlate(r)
        v = self.facing(r[None])[0]
        self.coarse = coarse.Coarse(self.flat, v, self.by_column, self.work)
        if self.lazy and self.weights is None:
            self.offset[:], self.known[:] = self.coarse.means, True
        return self._affine(self.coarse.first, v)

    def glance(self, r, off=0.0):
        """Give the products of each column with ``r`` (n,), nearly, and how far off they may be.

        ``off`` is how far, in norm, ``r`` itself may be off.
        """
        assert self.coarse is not None
        v = self.facing(r[None])[0]
        if self.weights is not None:
            off *= float(self.roots.max())
        near, far = self.coarse.products(v, off)
        return self._affine(near, v), far / self.scale

    def _affine(self, products, v):
        if not self.lazy:
            with np.errstate(invalid="ignore", over="ignore"):
                products -= v.sum() * self.offset
        return products / self.scale

    def correlate_some(self, r, chosen):
        """Give the products of the chosen columns with ``r`` (n,) or with each row of r (k, n)."""
        if not self.by_column:
            return self.correlate(r)[..., chosen]
        v = self.facing(np.atleast_2d(r))
        out = np.empty((len(v), len(chosen)))
        meet = len(v) > 1 and self.X.dtype == np.float64
        kernel = cross.meet if meet else dense.correlate_columns
        kernel(self._work(len(chosen)), self.flat, self.n, chosen, v, out)
        if not self.lazy:
            out -= v.sum(1)[:, None] * self.offset[chosen]
        out /= self.scale[chosen]
        return out if r.ndim == 2 else out[0]

    def columns(self, chosen, first=0, last=None, out=None):
        """Copy the rows first to last of the chosen columns, as rows (m, last - first)."""
        self._see(chosen)
        last = self.n if last is None else last
        out = np.empty((len(chosen), last - first)) if out is None else out
        self._gather(chosen, first, self.roots, out)
        return out

    def _gather(self, chosen, first, roots, out):
        work = self._work(len(chosen)) if len(out.T) == self.n else 0
        affine = self.offset, self.scale
        if self.by_column:
            gather.columns(work, self.flat, self.n, first, chosen, *affine, roots, out)
            return
        # columns in order share lines of the cache
        order = np.argsort(chosen)
        gather.rows(work, self.flat, self.p, first, chosen, order, *affine, roots, out)

    def _sums(self, chosen, weights):
        if len(chosen) > self.p // 4 and not self.by_column:
            # the lines of the cache hold most columns anyway
            return self._plain(weights)[chosen]
        sums = np.empty(len(chosen))
        dense.sums(self._work(len(chosen)), self.flat, *self.steps, chosen, weights, sums)
        return sums

    def chunks(self, chosen, kind=np.float64):
        """Yield (first, last, columns) of pieces that stay in the cache."""
        rows = max(256 if kind == np.float64 else 64, CHUNK_BYTES // (8 * max(len(chosen), 1)))
        buffer = np.empty(len(chosen) * min(rows, self.n), kind)
        for first in range(0, self.n, rows):
            last = min(self.n, first + rows)
            part = buffer[: len(chosen) * (last - first)].reshape(len(chosen), -1)
            yield first, last, self.columns(chosen, first, last, part)

    def near(self, chosen, rows):
        """Give a design of these columns, copied in float32 for calls of `slope`, and `nearly`.

        They are copied less offsets that are nearly right: what is left to subtract is small.
        """
        copy = np.empty((len(chosen), self.n), np.float32)
        self._gather(chosen, 0, EMPTY, copy)
        found = Dense(copy.T, self.weights, np.zeros(len(chosen)), np.ones(len(chosen)), self.lazy)
        G = found.nearly(rows)
        if self.lazy:
            self.offset[chosen] += found.offset * self.scale[chosen]
            self.known[chosen] = True
        return found, G

    def slope(self, factors, y):
        """Give r = y − X w, of a float32 X, and its products with all columns, nearly."""
        r, v = np.empty(self.n), np.empty(self.n, np.float32)
        parts = np.empty((dense.GROUPS, self.p))
        base = float(factors @ self.offset)
        with np.errstate(over="ignore"):
            single = factors.astype(np.float32)
        dense.slope(self._work(self.p), self.flat, single, base, y, self.roots, r, v, parts)
        return r, parts.sum(0) - v.sum(dtype=np.float64) * self.offset

    def nearly(self, rows):
        """Give the cross products (p, p) of a float32 X to about three digits.

        Without instructions for those, what ``rows`` rows from all over say of them.
        """
        if PAIRS:
            G, sums = halves.cross_products(
                self._work(self.p), self.flat, self.n, self.p, self.roots
            )
            if self.lazy:
                self.offset[:], self.known[:] = sums / self.total, True
        else:
            self._see(np.arange(self.p))
            G = self._of_some(rows)
        return G - self.total * self.offset[:, None] * self.offset

    def _of_some(self, rows):
        G, seen = np.zeros((self.p, self.p)), 0.0
        step = self.n // PARTS
        for first in range(0, PARTS * step, step):
            part = slice(first, first + min(step, -(-rows // PARTS)))
            z = self.X[part].T
            if self.weights is not None:
                z = z * self.roots[part].astype(np.float32)
            G += z @ z.T
            seen += len(z.T) if self.weights is None else self.weights[part].sum()
        return G * (self.total / seen if seen > 0.0 else 0.0)

    def runs(self, count, size, shift):
        """Copy ``count`` runs of rows from all over X, in float32, less ``shift`` (p,)."""
        out = np.empty((self.p, count * size), np.float32)
        step = self.n // count
        gather.take_runs(pooled(out.nbytes), self.flat, *self.steps, step, size, shift, out)
        return out.T

    def products(self, index, m, y=None, out=None):
        """Give products of the last m of k columns with them all (m, k), and with y (m,) or 0.

        Those in float32 are made where ``out`` is.
        """
        new = index[len(index) - m :]
        self._see(new)
        if out is None or out.dtype == np.float64:
            made = cross.cross_products(
                self._work(len(index)), self.flat, self.n, self.steps, index, m, self.offset,
                self.scale, self.roots,
            )  # fmt: skip
            out = into(out, made)
        else:
            out[:] = 0.0
            for _, _, z in self.chunks(index, out.dtype):
                for strip in range(0, m, STRIP):
                    out[strip : strip + STRIP] += z[len(z) - m :][strip : strip + STRIP] @ z.T
        return out, np.zeros(m) if y is None else self.correlate_some(y, new)

    def squares(self, chosen):
        """Give the sums of squares of the chosen columns, (m,); where columns are contiguous."""
        self._see(chosen)
        out, weights = np.empty(len(chosen)), EMPTY if self.weights is None else self.weights
        work = self._work(len(chosen))
        dense.squares(work, self.flat, self.n, chosen, self.offset, weights, out)
        return out / self.scale[chosen] ** 2

    def gram(self):
        """Give the cross products (p, p) of all columns."""
        X = self.X
        plain = X.dtype == np.float64 and not self.lazy and self.weights is None
        if plain and not self.offset.any() and (self.scale == 1.0).all():
            return X.T @ X
        out = np.zeros((self.p, self.p))
        for _, _, z in self.chunks(np.arange(self.p)):
            out += z @ z.T
        return out

    def combine_many(self, chosen, factors):
        """Do the same for each row of factors (k, m), (k, n), where columns are contiguous."""
        factors = factors / self.scale[chosen]
        out = np.empty((len(factors), self.n))
        out[:] = -(factors @ self.offset[chosen])[:, None]
        dense.combine_many(self._work(len(chosen)), self.flat, chosen, factors, out)
        return self.weighted(out)

    def combine(self, chosen, factors):
        """Give Σ columns × factors, (n,)."""
        factors = factors / self.scale[chosen]
        out = np.full(self.n, -float(factors @ self.offset[chosen]))
        work = self.work if 8 * len(chosen) >= self.p else 0
        dense.combine(work, self.flat, *self.steps, chosen, factors, out)
        return self.weighted(out)


def means(X, weights):
    """Give the weighted means of all columns, (p,)."""
    n, p = X.shape
    design = make(X, None, np.zeros(p), np.ones(p))
    ones = np.ones(n) if weights is None else weights
    return design.correlate(ones) / ones.sum()


def make(X, weights, offset, scale, lazy=False) -> "Dense | Sparse":
    """Give the design of a dense array or a CSC matrix; ``lazy`` lets it find its offsets."""
    kind = Dense if isinstance(X, np.ndarray) else Sparse
    return kind(X, weights, offset, scale, lazy)
