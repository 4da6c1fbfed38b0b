"""The solver: continuation in the penalty on a growing working set, certified by passes over X."""

from typing import Any, NamedTuple

import numpy as np

from equipoise.ops.descend.gram import measure
from equipoise.ops.descend.rank import doubtful, entries, largest
from equipoise.ops.descend.working import Working

# features that may join at once, or half as many as are in use
JOIN = 100
# a gap this small, relative to ‖y‖², is rounding
ROUNDING = 1e-14
NOTHING = np.empty(0)
# gaps, relative to ‖y‖², between which steps on a share's cross products end
FINE, COARSE = 1e-8, 1e-6


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
    share : None or (features (m,), coefficients (m,))
        What a share of the rows says, to begin with, without a pass over X that ranks all.
    gram : None or float64 (p, p)
        Cross products of all columns; with them no pass over X is needed.
    method : "follow" or "descend"
        How the problem on the working set is solved: by following the exact solution as the
        penalty falls, or by sweeps with steps on the support.
    """

    def __init__(
        self, design, y, factors, q=None, gram=None, positive=False, seed=0, method="follow",
        share=None,
    ):  # fmt: skip
        self.design, self.factors = design, factors
        self.bounded = bool((factors < np.inf).all())
        self.positive, self.seed, self.method = positive, seed, method
        self.passes = int(q is None and share is None)
        q = design.survey(y) if q is None and share is None else q
        if share is not None:
            self.work = Working.of_share(design, y, *share)
        elif gram is None:
            self.work = Working(design, y, q, design.single)
        else:
            self.work = Working.of_gram(design, y, q, gram)
        self.certain = gram is not None
        self.why = ""
        # correlations of all features with the residual, None before the first pass
        self.c: Any = q
        self.before, self.rise = NOTHING, 0.0
        self.level = 0.0 if share is not None else self.entry(q, factors)
        self.warm, self.squares = False, 0.0
        # correlations on the way are nearly right
        self.coarse = design.coarse is not None and gram is None

    def entry(self, c, f):
        """Give the penalty above which no coefficient leaves zero, of features with factors f."""
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
        self.squares = self._pass(self.level) if not self.certain else 0.0

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
            same = last < np.inf and known == len(work.index)
            crowded = work.rough and not work.copies()
            if not work.exact and (target < FINE * work.yy or same or crowded):
                work.settle()
            L1, L2 = self._penalties(level), self._penalties(l2)
            l0 = np.maximum(self._penalties(min(self.level, 1e300)), L1)
            aim = 0.2 * target if level == l1 else max(0.2 * target, 1e-4 * work.yy)
            left = limit - work.sweeps
            if work.rough:
                aim = 0.5 * min(target, COARSE * work.yy)
                work.refine(L1, L2, self.positive, aim, left, self.seed, self.method)
            elif len(work.index):
                work.minimise(l0, L1, L2, self.positive, aim, left, self.seed, self.method)
            gap = self._certify(level, l1, l2)
            rounds += 1
            # nothing joined and nothing was gained: this is what rounding allows
            stuck = level == l1 and same and gap > 0.9 * last
            if gap <= target or stuck or np.isnan(gap) or work.sweeps >= limit or rounds >= budget:
                break
        if gap == np.inf:
            self.coarse = False
            gap = self._certify(level, l1, l2, last=True)
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
        """Give the penalty of each feature of the working set, none of which is out."""
        factors = self.factors[self.work.index]
        if self.bounded:
            return level * factors
        # 0 × inf is out as well
        with np.errstate(invalid="ignore"):
            return np.where(factors == np.inf, np.inf, level * factors)

    def _grow(self, l1):
        """Let those join that enter first as the penalty falls; give how far they suffice."""
        if self.certain or self.c is None:
            return l1
        work, level = self.work, l1
        scores = self._scores()
        late = np.flatnonzero(scores > l1)
        used = np.count_nonzero(work.w)
        # products of sparse columns cost less than passes
        room = max(JOIN, used // 2) if self.design.dense else max(3 * JOIN, used)
        if len(late) > room:
            order = np.argpartition(-scores[late], room)
            level = max(l1, 0.95 * min(self.level, scores[late[order[room]]]))
            late = late[order[:room]]
        if len(late):
            work.add(late, None if self.coarse else self.c)
        return level

    def _scores(self):
        """Give, for each feature outside, the penalty at which it will enter; -inf inside.

        As the penalty falls by t, correlations are taken to move on as they last did.
        """
        scores = np.empty(self.design.p)
        entries(
            0, self.c, self.before, self.rise, self.factors, self.work.member, self.level,
            self.positive, scores,
        )  # fmt: skip
        return scores

    def _pass(self, level, nearly=False):
        """Correlate all features with the residual; give its sum of squares.

        That is inf where the residual is nearly right only.
        """
        work, design = self.work, self.design
        # the step that left the residual has read the features in use
        known = work.left is not None and design.by_column
        r, off = work.nearly() if nearly else (work.residual(), 0.0)
        self.passes += 1
        if known:
            c, others = np.empty(design.p), np.flatnonzero(~work.member)
            c[work.index], c[others] = work.g, design.correlate_some(r, others)
        else:
            c = design.correlate(r)
        self._see(c, level)
        work.anchor(self.c[work.index])
        return np.inf if off > 0.0 else float(r @ r)

    def _glance(self, level, l1):
        """Correlate all features nearly; give the residual's sum of squares, or inf on the way.

        The end is near at l1 where no feature outside seems to break its bound: then those that
        may are correlated exactly, and those in use.
        """
        work = self.work
        r, off = work.nearly()
        c, far = self.design.glance(r, off)
        self._see(c, level)
        rest = np.empty(len(c), np.int64)
        count = doubtful(0, c, far, self.factors, work.member, l1, self.positive, rest)
        if level > l1 or count < 0:
            return np.inf
        chosen = np.concatenate([work.index, rest[:count]])
        r = work.residual() if off > 0.0 else r
        c[chosen] = self.design.correlate_some(r, chosen)
        self.passes += 1
        work.anchor(c[work.index])
        return float(r @ r)

    def _see(self, c, level):
        """Take correlations at the penalty ``level``, and how they moved since the last ones."""
        moved = self.c is not None and level < self.level
        self.before = self.c if moved else NOTHING
        self.rise = 1.0 / (self.level - level) if moved else 0.0
        self.c, self.level = c, level

    def _certify(self, level, l1, l2, fresh=True, last=False):
        """Measure the gap at the penalty asked for, over all features; pass over X if ``fresh``.

        It may be inf on the way there, save where it is the last to be measured.
        """
        work = self.work
        if self.certain:
            squares, most = max(work.yy - (work.q + work.g) @ work.w, 0.0), 1.0
        else:
            if fresh:
                nearly = level > l1 and not last
                self.squares = self._glance(level, l1) if self.coarse else self._pass(level, nearly)
            squares = self.squares
            if squares == np.inf:
                return np.inf
            size = largest(0, self.c, self.factors, work.member, self.positive)
            if not np.isfinite(size):
                return np.nan
            most = l1 / size if size > l1 else 1.0
        self.level = level
        L1, L2 = self._penalties(l1), self._penalties(l2)
        return measure(0, work.w, work.g, L1, L2, work.diagonal, squares, most, self.positive)
