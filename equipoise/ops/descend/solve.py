"""The solver: continuation in the penalty on a growing working set, certified by passes over X."""

from typing import NamedTuple

import numpy as np

from equipoise.ops.descend.gram import measure
from equipoise.ops.descend.working import Working

# features that may join at once, or half as many as are in use
JOIN = 100
# a gap this small, relative to ‖y‖², is rounding
ROUNDING = 1e-14


class Fit(NamedTuple):
    """A solution: coefficients (p,), its duality gap, and what it took since the last one."""

    w: np.ndarray
    gap: float
    sweeps: int
    events: int
    passes: int
    rounds: int


class Solver:
    """One design and one target, solved for one penalty after the other.

    Parameters
    ----------
    design : Design
    y : float64 (n,)
        Centred as the design is, times the roots of the weights.
    factors : float64 (p,)
        Of each feature's penalty: 0 is free, inf is out.
    q : None or float64 (p,)
        Products of the columns with y, where they are known.
    gram : None or float64 (p, p)
        Cross products of all columns; with them no pass over X is needed.
    method : "follow" or "descend"
        How the problem on the working set is solved: by following the exact solution as the
        penalty falls, or by sweeps with steps on the support.
    """

    def __init__(
        self, design, y, factors, q=None, gram=None, positive=False, seed=0, method="follow"
    ):
        self.design, self.factors = design, factors
        self.positive, self.seed, self.method = positive, seed, method
        self.passes = int(q is None)
        self.q = design.correlate(y) if q is None else q
        if gram is None:
            self.work = Working(design, y, self.q)
        else:
            self.work = Working.of_gram(design, y, self.q, gram)
        self.certain = gram is not None
        self.why = ""
        self.c, self.slope = self.q, None
        self.level = self.entry(self.q)
        self.warm, self.squares = False, 0.0

    def entry(self, c):
        """Give the penalty above which no coefficient of a penalised feature leaves zero."""
        f = self.factors
        chosen = (f > 0) & (f < np.inf)
        size = c[chosen] if self.positive else np.abs(c[chosen])
        return float((size / f[chosen]).max(initial=0.0))

    def start(self, w):
        """Start from the coefficients ``w`` (p,)."""
        features = np.flatnonzero((w != 0.0) & ~self.work.member & (self.factors < np.inf))
        if len(features):
            self.work.add(features)
        self.work.set(np.ascontiguousarray(w[self.work.index], np.float64))
        self.warm = True
        self.squares = self._pass() if not self.certain else 0.0

    def solve(self, l1, l2, target, budget):
        """Minimise ½‖y − X w‖² + l1 Σ f|w| + ½ l2 Σ f w² to a gap of ``target``."""
        work = self.work
        before = work.sweeps, work.events, self.passes
        target = self.reachable(target)
        limit = work.sweeps + budget
        rounds = 0
        if self.warm:
            self.warm = False
            gap = self._certify(self.level, l1, l2, fresh=False)
            if gap <= target:
                return Fit(self.coefficients(), gap, 0, 0, 0, 0)
        gap = np.inf
        while True:
            known, last = len(work.index), gap
            level = self._grow(l1)
            L1, L2 = self._penalties(level), self._penalties(l2)
            l0 = np.maximum(self._penalties(min(self.level, 1e300)), L1)
            aim = 0.2 * target if level == l1 else max(0.2 * target, 1e-4 * work.yy)
            if len(work.index):
                work.minimise(
                    l0, L1, L2, self.positive, aim, limit - work.sweeps, self.seed, self.method
                )
            gap = self._certify(level, l1, l2)
            rounds += 1
            # nothing joined and nothing was gained: this is what rounding allows
            stuck = level == l1 and known == len(work.index) and gap > 0.9 * last
            if gap <= target or stuck or np.isnan(gap) or work.sweeps >= limit or rounds >= budget:
                break
        sweeps, events = work.sweeps - before[0], work.events - before[1]
        passes = self.passes - before[2]
        return Fit(self.coefficients(), gap, sweeps, events, passes, rounds)

    def reachable(self, target):
        """Give the gap that is aimed at: ``target``, or what rounding leaves."""
        return max(target, ROUNDING * self.work.yy)

    def coefficients(self):
        """Give the coefficients of all features."""
        w = np.zeros(self.design.p)
        # no negative zeros
        w[self.work.index] = self.work.w + 0.0
        return w

    def _penalties(self, level):
        # 0 × inf is out as well
        with np.errstate(invalid="ignore"):
            return np.where(self.factors == np.inf, np.inf, level * self.factors)

    def _grow(self, l1):
        """Let those join that enter first as the penalty falls; give how far they suffice."""
        if self.certain:
            return l1
        work, level = self.work, l1
        scores = self._scores()
        late = np.flatnonzero(scores > l1)
        room = max(JOIN, np.count_nonzero(work.w) // 2)
        if len(late) > room:
            order = np.argpartition(-scores[late], room)
            level = max(l1, 0.95 * min(self.level, scores[late[order[room]]]))
            late = late[order[:room]]
        if len(late):
            work.add(late)
        return level

    def _scores(self):
        """Give, for each feature outside, the penalty at which it will enter; -inf inside.

        As the penalty falls by t, correlations have last moved by −t slope.
        """
        c, f, level = self.c, self.factors, self.level
        outside = np.flatnonzero(~self.work.member & (f < np.inf))
        c, f = c[outside], f[outside]
        with np.errstate(divide="ignore", invalid="ignore"):
            now = (c if self.positive else np.abs(c)) / f
            s = now
            if self.slope is not None:
                slope = self.slope[outside]
                t = np.where(f > slope, (level * f - c) / (f - slope), np.inf)
                if not self.positive:
                    u = np.where(f > -slope, (level * f + c) / (f + slope), np.inf)
                    t = np.minimum(t, u)
                # what violates its bound has to enter, wherever it moves
                s = np.where(now > level, now, level - t)
        scores = np.full(self.design.p, -np.inf)
        # free features first
        scores[outside] = np.where(f == 0.0, np.inf, s)
        return scores

    def _pass(self):
        """Correlate all features with the residual."""
        r = self.work.residual()
        self.c = self.design.correlate(r)
        self.passes += 1
        # inner sums drift; this one is fresh
        self.work.g = self.c[self.work.index]
        return float(r @ r)

    def _certify(self, level, l1, l2, fresh=True):
        """Measure the gap at the penalty asked for, over all features; pass over X if ``fresh``."""
        work, before = self.work, self.c
        if self.certain:
            squares, most = max(work.yy - (work.q + work.g) @ work.w, 0.0), 1.0
        else:
            squares = self.squares = self._pass() if fresh else self.squares
            self.slope = (before - self.c) / (self.level - level) if level < self.level else None
            outside = ~work.member & (self.factors > 0) & (self.factors < np.inf)
            size = self.c[outside] if self.positive else np.abs(self.c[outside])
            size = (size / self.factors[outside]).max(initial=0.0)
            most = l1 / size if size > l1 else 1.0
        self.level = level
        i = work.index
        L1, L2 = self._penalties(l1)[i], self._penalties(l2)[i]
        diagonal = np.diagonal(work.G)[: len(i)].copy()
        return measure(0, work.w, work.g, L1, L2, diagonal, squares, most, self.positive)
