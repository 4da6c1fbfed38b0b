"""Groups that enter and leave together: the working set of `solve`, with norms for moduli."""

import numpy as np

from equipoise.ops.descend.groups import descend_groups, measure_groups
from equipoise.ops.descend.solve import ROUNDING, Fit
from equipoise.ops.descend.working import Working

# groups that may join at once, or as many as are in use
JOIN = 20


class GroupSolver:
    """One design and one target, solved for penalties on norms of groups.

    Parameters
    ----------
    design, y
        As for `solve.Solver`.
    groups : list of int64 arrays
        A partition of the features.
    factors : float64 (groups,)
        Of each group's penalty: 0 is free, inf is out.
    """

    method, why = "descend", "groups are minimised one after the other, each exactly"

    def __init__(self, design, y, groups, factors, q=None):
        self.design, self.groups, self.factors = design, groups, factors
        self.passes = int(q is None)
        self.q = design.correlate(y) if q is None else q
        self.work = Working(design, y, self.q)
        self.inside = np.zeros(len(groups), bool)
        self.order = []
        self.bounds, self.starts = np.zeros(1, np.int64), np.zeros(0, np.int64)
        self.values, self.vectors = np.empty(0), np.empty(0)
        self.place = np.empty(design.p, np.int64)
        for k, group in enumerate(groups):
            self.place[group] = k
        self.c = self.q
        self.level = self._scores().max(initial=0.0, where=factors > 0)

    def start(self, w):
        """Start from the coefficients ``w`` (p,)."""
        new = np.unique(self.place[np.flatnonzero((w != 0.0) & ~self.work.member)])
        self._add([k for k in new if self.factors[k] < np.inf])
        self.work.set(np.ascontiguousarray(w[self.work.index], np.float64))
        self._pass()
        self.level = 0.0

    def solve(self, l1, target, budget):
        """Minimise ½‖y − X w‖² + l1 Σ f_g ‖w_g‖ to a gap of ``target``."""
        work, rounds = self.work, 0
        before = work.sweeps, self.passes
        target = max(target, ROUNDING * work.yy)
        limit = work.sweeps + budget
        while True:
            level = self._grow(l1)
            aim = 0.2 * target if level == l1 else max(0.2 * target, 1e-4 * work.yy)
            if self.order:
                _, used = descend_groups(
                    0, work.G, work.q, work.w, work.g, self.bounds,
                    level * self.factors[self.order], self.values, self.vectors, self.starts,
                    work.yy, aim, max(limit - work.sweeps, 1),
                )  # fmt: skip
                work.sweeps += used
            gap = self._certify(level, l1)
            rounds += 1
            if gap <= target or work.sweeps >= limit or rounds >= budget:
                break
        w = np.zeros(self.design.p)
        # no negative zeros
        w[work.index] = work.w + 0.0
        return Fit(w, gap, work.sweeps - before[0], 0, self.passes - before[1], rounds)

    def reachable(self, target):
        """Give the gap that is aimed at: ``target``, or what rounding leaves."""
        return max(target, ROUNDING * self.work.yy)

    def _scores(self):
        """Give the penalty at which each group would enter now; -inf for those inside or out."""
        norms = np.sqrt(np.bincount(self.place, self.c**2, len(self.groups)))
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(self.factors == 0.0, np.inf, norms / self.factors)
        scores[self.inside | (self.factors == np.inf)] = -np.inf
        return scores

    def _grow(self, l1):
        scores, level = self._scores(), l1
        late = np.flatnonzero(scores > l1)
        room = max(JOIN, len(self.order))
        if len(late) > room:
            late = late[np.argsort(-scores[late], kind="stable")]
            level = max(l1, min(0.9 * scores[late[room]], 0.7 * self.level or np.inf))
            late = late[:room]
        self._add(late)
        return level

    def _add(self, late):
        for k in late:
            first = len(self.work.index)
            self.work.add(self.groups[k])
            size = len(self.groups[k])
            block = self.work.G[first : first + size, first : first + size]
            values, vectors = np.linalg.eigh(block)
            self.starts = np.append(self.starts, len(self.vectors))
            self.values = np.append(self.values, np.maximum(values, 0.0))
            self.vectors = np.append(self.vectors, vectors.reshape(-1))
            self.bounds = np.append(self.bounds, first + size)
            self.order.append(k)
            self.inside[k] = True

    def _pass(self):
        r = self.work.residual()
        self.c = self.design.correlate(r)
        self.passes += 1
        self.work.g = self.c[self.work.index]
        return float(r @ r)

    def _certify(self, level, l1):
        squares = self._pass()
        self.level = level
        largest = self._scores().max(initial=0.0)
        most = l1 / largest if largest > l1 else 1.0
        return measure_groups(
            0, self.work.w, self.work.g, self.bounds, l1 * self.factors[self.order], self.values,
            self.vectors, self.starts, squares, most,
        )  # fmt: skip
