"""What dense and sparse designs share: an affine map, weights, and offsets found when needed."""

from threading import current_thread, main_thread

import numpy as np

from equipoise.ops.descend.coarse import Coarse

# bytes from which one thread's reading is slower than two threads that wait for each other
POOLED = 1 << 22
EMPTY = np.empty(0)


class _Memory:
    """Memory that kernels only read, said to be writable: one type for Numba, not two."""

    def __init__(self, x):
        self.owner = x
        address = x.__array_interface__["data"][0]
        self.__array_interface__ = {
            "shape": (x.size,), "typestr": x.dtype.str, "data": (address, False), "version": 3,
        }  # fmt: skip


def flat(x):
    """View contiguous memory as one flat array, without a copy."""
    if x.flags.writeable:
        return x.reshape(-1, order="A")
    return np.asarray(_Memory(x))


def into(out, made):
    """Give ``made``, in ``out`` where that is something."""
    if out is None:
        return made
    out[:] = made
    return out


def pooled(size):
    """Give ``size``, in bytes, where a pool of threads reads it faster than one, else 0."""
    beside = current_thread() is not main_thread()
    return 0 if beside or size < POOLED else size


class Design:
    """Columns behind an affine map; see `design.Dense` and `csc.Sparse`.

    Parameters
    ----------
    X : the matrix (n, p)
    weights : None or float64 (n,)
    offset, scale : float64 (p,)
    """

    dense: bool
    # columns are contiguous, and some of them are read alone at the speed of all
    by_column = False
    # X in bytes, where it was surveyed
    coarse: "Coarse | None" = None
    # cross products in float32 will do on the way to a solution
    single = False

    def __init__(self, X, weights, offset, scale, lazy=False):
        self.X = X
        self.n, self.p = X.shape
        self.weights = weights
        self.roots = EMPTY if weights is None else np.sqrt(weights)
        self.offset, self.scale = offset, scale
        self.total = float(self.n if weights is None else weights.sum())
        self.lazy, self.known = lazy, np.zeros(self.p if lazy else 0, bool)
        self.bytes = X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes

    @property
    def work(self):
        """Count the bytes of a pass that is worth a pool of threads; 0 of any other."""
        return pooled(self.bytes)

    def weighted(self, v):
        """Give √s v."""
        return v if self.weights is None else v * self.roots

    def facing(self, r):
        """Give √s r, what columns are multiplied with as they lie, of r (k, n)."""
        v = np.ascontiguousarray(self.weighted(r))
        if self.lazy:
            # of a vector without a mean the columns' means see nothing
            v = v - v.sum(1)[:, None] * (1.0 if self.weights is None else self.weights) / self.total
        return v

    def survey(self, r):
        """Give the products of each column with ``r`` (n,), and get ready to `glance`."""
        return self.correlate(r)

    def correlate(self, r):
        """Give the products of each column with ``r`` (n,) or with each row of r (k, n)."""
        v = self.facing(np.atleast_2d(r))
        out = np.empty((len(v), self.p))
        self._correlate(v, out)
        if not self.lazy:
            # what is not finite is for the caller to see, and to name
            with np.errstate(invalid="ignore", over="ignore"):
                out -= v.sum(1)[:, None] * self.offset
        out /= self.scale
        return out if r.ndim == 2 else out[0]

    def _see(self, chosen):
        """Compute the means of columns that are read on their own for the first time."""
        new = chosen[~self.known[chosen]] if self.lazy else chosen[:0]
        if len(new):
            weights = np.ones(self.n) if self.weights is None else self.weights
            self.offset[new] = self._sums(new, weights) / self.total
            self.known[new] = True

    def _plain(self, v):
        """Give the products of each column, as it lies, with ``v`` (n,)."""
        out = np.empty((1, self.p))
        self._correlate(v[None], out)
        return out[0]

    def _sums(self, chosen, weights) -> np.ndarray:
        raise NotImplementedError

    def _correlate(self, v: np.ndarray, out: np.ndarray) -> None:
        raise NotImplementedError
