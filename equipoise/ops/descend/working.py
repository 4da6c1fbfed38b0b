"""The working set: the features that a solution is sought on, with their cross products."""

import numpy as np

from equipoise.ops.descend.follow import follow
from equipoise.ops.descend.gram import descend, measure
from equipoise.ops.descend.newton import inverse_of, newton

# kept columns may take this share of X, or this many bytes
SHARE, LEAST = 0.15, 1 << 21
# sweeps before a step on the support is tried
SWEEPS = 10
# the largest support whose inverse is kept
LARGEST = 3000
# a support from which on a change of it costs more than a sweep
MANY = 300


class Working:
    """Features in order of entry, and what a solver needs of them.

    Attributes
    ----------
    index : int64 (k,)
        The features.
    w, g, q : float64 (k,)
        Coefficients, q − G w, and products with y.
    G : float64 (room, room)
        Cross products; the first k rows and columns are filled.
    sweeps, events : int
        Sweeps of descent, and changes of the support that were followed.
    """

    def __init__(self, design, y, q):
        self.design, self.y, self.all_q = design, y, q
        self.yy = float(y @ y)
        self.member = np.zeros(design.p, bool)
        self.index = np.empty(0, np.int64)
        self.w, self.g, self.q = np.empty(0), np.empty(0), np.empty(0)
        self.G = np.empty((0, 0))
        self.Z = np.empty((0, design.n))
        self.kept = design.dense
        self.sweeps = self.events = 0
        # the support that ``inverse`` belongs to, its size, the signs on it, and the penalties
        self.m, self.inverse = 0, np.empty((0, 0))
        self.support, self.signs = np.empty(0, np.int64), np.empty(0)
        self.l2 = np.empty(0)

    @classmethod
    def of_gram(cls, design, y, q, G):
        """Take all features at once, their cross products known."""
        self = cls(design, y, q)
        self.kept, self.G = False, np.ascontiguousarray(G)
        self.index = np.arange(design.p)
        self.member[:] = True
        self.w, self.g, self.q = np.zeros(design.p), q.copy(), q
        return self

    def add(self, features):
        """Let features join, at zero."""
        features = np.asarray(features, np.int64)
        k, m = len(self.index), len(features)
        self._reserve(k + m)
        index = np.concatenate([self.index, features])
        if self.kept:
            self.design.columns(features, out=self.Z[k : k + m])
            block = self.Z[k : k + m] @ self.Z[: k + m].T
            q = self.Z[k : k + m] @ self.y if self.all_q is None else self.all_q[features]
        else:
            block, q = self.design.products(index, m, self.y if self.all_q is None else None)
            q = q if self.all_q is None else self.all_q[features]
        self.G[k : k + m, : k + m] = block
        self.G[:k, k : k + m] = block[:, :k].T
        self.index = index
        self.member[features] = True
        self.q = np.concatenate([self.q, q])
        self.g = np.concatenate([self.g, q - block[:, :k] @ self.w])
        self.w = np.concatenate([self.w, np.zeros(m)])

    def _reserve(self, k):
        """Make room for k features; their columns are kept while they are few."""
        old, n = len(self.index), self.design.n
        if k > len(self.G):
            G = np.empty((min(self.design.p, max(k, 2 * len(self.G), 64)),) * 2)
            G[:old, :old] = self.G[:old, :old]
            self.G = G
        if self.kept and k > len(self.Z):
            most = max(SHARE * self.design.X.nbytes, LEAST) // (8 * n)
            self.kept = k <= most
            Z = np.empty((int(min(most, max(k, 1.5 * len(self.Z)))), n) if self.kept else (0, n))
            Z[: old if self.kept else 0] = self.Z[: old if self.kept else 0]
            self.Z = Z

    def set(self, w):
        """Start from the coefficients ``w`` (k,) of these features."""
        k = len(self.index)
        self.w = w
        self.g = self.q - self.G[:k, :k] @ w
        self.m = -1

    def minimise(self, l0, l1, l2, positive, target, budget, seed=0, method="follow"):
        """Move to a gap of ``target`` on these features at penalties l1 and l2, (p,).

        ``l0`` is the penalty at which the present coefficients are optimal, as far as they are.
        """
        i = self.index
        l0, l1, l2 = l0[i], l1[i], l2[i]
        # of many features and far more rows the columns are nearly orthogonal: a few sweeps do
        used = np.count_nonzero((self.w != 0.0) | (np.abs(self.g) > l1))
        if method == "follow" and MANY < used < self.design.n // 4:
            gap, sweeps = descend(
                0, self.G, self.q, self.w, self.g, l1, l2, self.yy, positive, target,
                min(3 * SWEEPS, budget), seed,
            )  # fmt: skip
            self.sweeps, self.m, budget = self.sweeps + sweeps, -1, budget - sweeps
            if gap <= target:
                return
        if method == "follow" and self._ready(l2):
            self._follow(l0, l1, l2, positive)
            if self.gap(l1, l2, positive) <= target:
                return
        if not l1.any() and len(i) <= LARGEST:
            # no kinks: one step is exact, and sweeps only polish it
            newton(self.G, self.w, self.g, l1, l2, positive)
        # a step costs about as much as this many sweeps
        burst = max(SWEEPS, np.count_nonzero(self.w) // 16)
        while budget > 0:
            gap, used = descend(
                0, self.G, self.q, self.w, self.g, l1, l2, self.yy, positive, target,
                min(burst, budget), seed,
            )  # fmt: skip
            budget -= used
            self.sweeps += used
            if gap <= target:
                break
            newton(self.G, self.w, self.g, l1, l2, positive)
        self.m = -1

    def gap(self, l1, l2, positive):
        """Measure the duality gap on these features."""
        squares = max(self.yy - (self.q + self.g) @ self.w, 0.0)
        diagonal = np.diagonal(self.G)[: len(self.w)].copy()
        return measure(0, self.w, self.g, l1, l2, diagonal, squares, 1.0, positive)

    def _ready(self, l2):
        """Make the inverse fit the support; tell whether it does."""
        known = len(self.l2)
        if self.m < 0 or not np.array_equal(self.l2, l2[:known]):
            s = np.flatnonzero(self.w)
            if len(s) > LARGEST:
                return False
            inverse = inverse_of(self.G, s, l2)
            if inverse is None:
                return False
            self.m, self.inverse = len(s), inverse
            self.support, self.signs = s, np.sign(self.w[s])
        self.l2 = l2
        k = min(len(self.index), LARGEST)
        if len(self.inverse) < k:
            m, room = self.m, min(len(self.G), LARGEST)
            inverse, support, signs = (
                np.empty((room, room)),
                np.empty(room, np.int64),
                np.ones(room),
            )
            inverse[:m, :m], support[:m] = self.inverse[:m, :m], self.support[:m]
            signs[:m] = self.signs[:m]
            self.inverse, self.support, self.signs = inverse, support, signs
        return True

    def _follow(self, l0, l1, l2, positive):
        """Follow the solution to the penalty l1, and refine what rounding left."""
        k = len(self.index)
        most = 20 * k + 100
        self.m, count = follow(
            0, self.G, self.w, self.g, l0, l1, l2, self.support, self.signs, self.m,
            self.inverse, positive, most,
        )  # fmt: skip
        self.events += count
        s, signs = self.support[: self.m], self.signs[: self.m]
        inverse, rows = self.inverse[: self.m, : self.m], self.G[s, :k]
        self.g = self.q - self.w[s] @ rows
        d = inverse @ (self.g[s] - l2[s] * self.w[s] - l1[s] * signs)
        moved = self.w[s] + d
        if np.isfinite(d).all() and (moved * signs >= 0.0)[(l1[s] > 0.0) | positive].all():
            self.w[s] = moved
            self.g -= d @ rows

    def residual(self):
        """Give y − X w, (n,)."""
        if self.kept:
            return self.y - self.w @ self.Z[: len(self.w)]
        s = np.flatnonzero(self.w)
        return self.y - self.design.combine(self.index[s], self.w[s])
