"""The working set: the features that a solution is sought on, with their cross products."""

import numpy as np

from equipoise.ops.descend.follow import follow
from equipoise.ops.descend.gram import add_rows, agree, descend, measure, mirror, widen
from equipoise.ops.descend.newton import inverse_of, newton

# kept columns and X in bytes may take this share of X, or columns this many bytes
SHARE, LEAST = 0.15, 1 << 21
# cross products of features that join later get this share of room
ROOM = 32
# sweeps before a step on the support is tried
SWEEPS = 10
# sweeps on the residual before cross products are made after all
LIMIT = 100
# the largest support whose inverse is kept
LARGEST = 3000
# steps on cross products of some rows, each of which should leave this share of the gap at most
STEPS, SLOWEST = 20, 0.5
# rows a feature, or this share of all, whose cross products make a step leave little
EACH, PART = 32, 16
# what rounding in float32 takes from sums of squares, with room to spare
ROUNDING = 1e-3
# of the gap that is aimed at, what rounding in float32 may add
BLUR = 0.1
# a support from which on a change of it costs more than a sweep
MANY = 300
# features for each stored entry of a column from which a row of cross products is the longer
FEWER = 4


class Working:
    """Features in order of entry, and what a solver needs of them.

    Attributes
    ----------
    index : int64 (k,)
        The features.
    w, g, q : float64 (k,)
        Coefficients, q − G w, and products with y.
    G : float64 (room, room)
        Cross products; the first ``crossed`` rows and columns are filled.
    diagonal : float64 (k,)
        Sums of squares of the columns.
    kind : dtype
        Of G: where it is float32, `anchor` sets right what it says.
    rough : bool
        G is of some of the rows, for `refine`; `settle` makes it exact, as it does float32.
    sweeps, events : int
        Sweeps of descent, and changes of the support that were followed.
    """

    def __init__(self, design, y, q, single=False):
        self.design, self.y, self.all_q = design, y, q
        self.kind = kind = np.dtype(np.float32 if single else np.float64)
        self.yy = float(y @ y)
        self.member = np.zeros(design.p, bool)
        self.index = np.empty(0, np.int64)
        self.w, self.g, self.q = np.empty(0), np.empty(0), np.empty(0)
        self.G, self.memory = np.empty((0, 0), kind), np.empty(0, kind)
        self.crossed, self.diagonal = 0, np.empty(0)
        # columns in the order of the features; None where they are not kept
        kept = design.dense and not (single and design.by_column)
        self.Z: np.ndarray | None = np.empty((0, design.n), kind) if kept else None
        self.rough = False
        # the residual at w, where it is known
        self.left: np.ndarray | None = None
        self.sweeps = self.events = 0
        # the support that ``inverse`` belongs to, its size, the signs on it, and the penalties
        self.m, self.inverse = 0, np.empty(0)
        self.support, self.signs = np.empty(0, np.int64), np.empty(0)
        self.l2 = np.empty(0)

    @classmethod
    def of_gram(cls, design, y, q, G):
        """Take all features at once, their cross products known."""
        self = cls(design, y, q)
        self.Z, self.G = None, np.ascontiguousarray(G)
        self.index, self.crossed = np.arange(design.p), design.p
        self.diagonal = np.diagonal(self.G).copy()
        self.member[:] = True
        self.w, self.g, self.q = np.zeros(design.p), q.copy(), q
        return self

    @classmethod
    def of_share(cls, design, y, features, w):
        """Take features and their coefficients as a share of the rows gives them."""
        self = cls(design, y, None)
        self.Z, self.rough = None, True
        self.index, self.w = features, w
        self.member[features] = True
        return self

    def copies(self):
        """Tell whether the features may be copied in float32."""
        most = max(SHARE * self.design.X.nbytes, LEAST)
        return 4 * self.design.n * len(self.index) <= most

    @property
    def exact(self):
        """Tell whether cross products are what they are in float64."""
        return not self.rough and self.kind == np.float64

    def settle(self):
        """Compute the cross products that some of the rows stood for, or float32."""
        self.kind, self.Z = np.dtype(np.float64), None
        self.G, self.memory, self.crossed = np.empty((0, 0)), np.empty(0), 0
        made = self.cross()
        self.q = made if self.all_q is None else self.all_q[self.index]
        self.rough, self.left = False, None
        self.diagonal = np.diagonal(self.G)[: len(self.w)].copy()
        self.set(self.w)

    def add(self, features, c=None):
        """Let features join, at zero; ``c`` (p,) are correlations with the residual, if known."""
        features = np.asarray(features, np.int64)
        k = len(self.index)
        self.index = np.concatenate([self.index, features])
        self.member[features] = True
        if self.rough:
            self.w = np.concatenate([self.w, np.zeros(len(features))])
            return
        # sparse columns may do without cross products
        late = c is not None and not self.design.dense
        made = np.empty(0) if late else self.cross()
        q = made if self.all_q is None else self.all_q[features]
        self.q = np.concatenate([self.q, q])
        both = len(self.index)
        squares = self.design.squares(features) if late else np.diagonal(self.G)[k:both]
        self.diagonal = np.concatenate([self.diagonal, squares])
        # without a copy in float64
        fresh = q - np.einsum("ij,j->i", self.G[k:both, :k], self.w) if c is None else c[features]
        self.g = np.concatenate([self.g, fresh])
        self.w = np.concatenate([self.w, np.zeros(len(features))])

    def cross(self):
        """Make the cross products of features that have none; give their products with y, or 0."""
        k, m = self.crossed, len(self.index) - self.crossed
        if m == 0:
            return np.empty(0)
        self._reserve(k + m)
        rows, self.crossed = self.G[k : k + m], k + m
        y = self.y if self.all_q is None else None
        if self.Z is not None:
            self.Z.resize((k + m, self.design.n), refcheck=False)
            new = self.design.columns(self.index[k:], out=self.Z[k:])
            np.matmul(new, self.Z.T, out=rows[:, : k + m])
            q = np.zeros(m) if y is None else new @ y
        else:
            q = self.design.products(self.index, m, y, rows[:, : k + m])[1]
        mirror(0, self.G, k, m)
        return q

    def _reserve(self, k):
        """Make room for k features; their columns are kept while they are few."""
        old, stride = self.crossed, len(self.G)
        if k > stride:
            room = min(self.design.p, max(k, stride + stride // ROOM))
            # in place: a copy would be as large again
            self.G = np.empty((0, 0), self.kind)
            self.memory.resize(room * room, refcheck=False)
            self.G = self.memory.reshape(room, room)
            widen(0, self.memory, old, stride, room)
        if self.Z is not None and self.kind.itemsize * k * self.design.n > self._most():
            self.Z = None

    def _most(self):
        """Give the bytes that kept columns may take."""
        kept = self.design.coarse.kept.nbytes if self.design.coarse else 0
        return max(SHARE * self.design.X.nbytes - kept, LEAST)

    def set(self, w):
        """Start from the coefficients ``w`` (k,) of these features."""
        self.cross()
        k = len(self.index)
        self.w = w
        self.g = self.q - self.G[:k, :k] @ w
        self.m = -1

    def anchor(self, g):
        """Take the exact g at w, around which cross products in float32 then hold."""
        self.g = g
        if self.kind == np.float32:
            self.q = g.copy()
            add_rows(0, self.G, self.w, self.q)

    def minimise(self, l0, l1, l2, positive, target, budget, seed=0, method="follow"):
        """Move to a gap of ``target`` on these features at penalties l1 and l2, (k,).

        ``l0`` is the penalty at which the present coefficients are optimal, as far as they are.
        """
        # of many features and far more rows the columns are nearly orthogonal: a few sweeps do
        used = np.count_nonzero((self.w != 0.0) | (np.abs(self.g) > l1))
        if method == "follow" and MANY < used < self.design.n // 4:
            gap, sweeps = self._sweep(l1, l2, positive, target, budget, seed)
            self.sweeps, self.m, budget = self.sweeps + sweeps, -1, budget - sweeps
            if gap <= target:
                return
        self.cross()
        if method == "follow" and self._ready(l2):
            self._follow(l0, l1, l2, positive)
            if self.gap(l1, l2, positive) <= target:
                return
        if not l1.any() and len(l1) <= LARGEST:
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

    def _sweep(self, l1, l2, positive, target, budget, seed):
        """Sweep on cross products, or on the residual where columns hold far less than those."""
        if not self.design.dense and FEWER * self.design.fill < len(self.index):
            return self.design.sweep(
                self.index, self.residual(), self.diagonal, self.w, self.g, l1, l2, positive,
                target, min(LIMIT, budget), seed,
            )  # fmt: skip
        self.cross()
        return descend(
            0, self.G, self.q, self.w, self.g, l1, l2, self.yy, positive, target,
            min(3 * SWEEPS, budget), seed,
        )  # fmt: skip

    def refine(self, l1, l2, positive, target, budget, seed=0, method="follow"):
        """Move to a gap of ``target`` by steps on cross products of some of the rows.

        With g exact at w, the minimum of ½ (v − w)ᵀG(v − w) − gᵀ(v − w) + the penalties is
        nearer to the solution by a factor of about √(features / rows of G).  A step reads the
        columns twice, where their cross products take a multiplication for each pair.
        (Pilanci and Wainwright, "Iterative Hessian sketch", 2016, arXiv:1411.0347.)
        """
        k = len(self.index)
        near, self.G = self.design.near(self.index, max(EACH * k, self.design.n // PART))
        self.crossed = k
        self.diagonal, self.m = np.diagonal(self.G).copy(), -1
        yy, gap, limit = self.yy, np.inf, self.sweeps + budget
        w, g, r = self.w, None, self.y
        for _ in range(STEPS):
            r, self.g = near.slope(self.w, self.y)
            if g is not None:
                agree(0, self.G, self.w - w, g - self.g, self.support, max(self.m, 0), self.inverse)
            self.q = self.g + self.G @ self.w
            # the model has the value of the problem here
            self.yy = float(r @ r) + (self.q + self.g) @ self.w
            last, gap = gap, self.gap(l1, l2, positive)
            if not gap < last:
                self.w = w
            if gap <= target or not gap < SLOWEST * last or self.sweeps >= limit:
                break
            w, g = self.w.copy(), self.g.copy()
            aim = 0.1 * target
            self.minimise(l1, l1, l2, positive, aim, limit - self.sweeps, seed, method)
        self.yy = yy
        # of products and slopes whose rounding errors are as random as they come
        blur = 2.0**-23 * np.sqrt(k * float(self.w**2 @ self.diagonal) * float(r @ r))
        self.left = r if gap <= target and blur <= BLUR * target else None

    def gap(self, l1, l2, positive):
        """Measure the duality gap on these features."""
        squares = max(self.yy - (self.q + self.g) @ self.w, 0.0)
        return measure(0, self.w, self.g, l1, l2, self.diagonal, squares, 1.0, positive)

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
        self._make_room(l2)
        return True

    def _make_room(self, l2):
        """Let the inverse hold the largest support that the features allow."""
        # without L2 no more columns than rows are independent
        rank = len(self.index) if l2.any() else min(len(self.index), self.design.n + 1)
        room = min(rank, LARGEST)
        if len(self.support) >= room:
            return
        # in place: a copy would be as large again
        self.inverse.resize(room * (room + 1) // 2, refcheck=False)
        m, support, signs = self.m, np.empty(room, np.int64), np.ones(room)
        support[:m], signs[:m] = self.support[:m], self.signs[:m]
        self.support, self.signs = support, signs

    def _follow(self, l0, l1, l2, positive):
        """Follow the solution to the penalty l1, and refine what rounding left."""
        most = 20 * len(self.index) + 100
        self.m, count = follow(
            0, self.G, self.q, self.w, self.g, l0, l1, l2, self.support, self.signs, self.m,
            self.inverse, positive, most,
        )  # fmt: skip
        self.events += count

    def residual(self):
        """Give y − X w, (n,)."""
        if self.left is not None:
            r, self.left = self.left, None
            return r
        if self.Z is not None and self.kind == np.float64:
            return self.y - self.w @ self.Z
        s = np.flatnonzero(self.w)
        return self.y - self.design.combine(self.index[s], self.w[s])

    def nearly(self):
        """Give y − X w (n,) by kept columns in float32, and how far off it may be, in norm."""
        if self.Z is None or self.kind == np.float64:
            return self.residual(), 0.0
        off = 2.0**-24 * float(np.abs(self.w) @ np.sqrt(self.diagonal))
        r = self.y.copy()
        add_rows(0, self.Z, -self.w, r)
        return r, (1.0 + ROUNDING) * off
