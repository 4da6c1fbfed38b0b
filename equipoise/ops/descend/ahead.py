"""A path on the features that enter it: passes over X at some penalties vouch for those between.

Between two penalties with exact residuals r₀ and r₁ a solution has the residual
r = θ r₀ + (1 − θ) r₁ + X d, where d is known on the working set, and for each column outside

    |xᵀr| ≤ |θ xᵀr₀ + (1 − θ) xᵀr₁| + ‖x‖ ‖X d‖

Solutions are linear in the penalty but for changes of the support, so that d is small.
"""

from itertools import pairwise

import numpy as np

from equipoise.ops.descend.gram import measure
from equipoise.ops.descend.rank import entries
from equipoise.ops.descend.solve import NOTHING, Fit

# penalties from one exact residual to the next
STEP = 8
# correlations this many times their median are more than noise
BOLD = 3.0
# rounds in which only bold features join before the path is tried, and paths that are tried
CAREFUL, PATHS = 2, 4
# the largest share of all features whose cross products cost less than those of all
MOST = 0.5


class Ahead:
    """Solve for many penalties at once.

    Parameters
    ----------
    solver : Solver
        Fresh, with known products with y and no Gram matrix, of a design whose columns are
        contiguous.
    l1, l2 : float64 (penalties,)
        l1 descends.
    target : float
        The gap to reach.
    budget : int
        The most sweeps for a penalty.
    """

    def __init__(self, solver, l1, l2, target, budget):
        self.solver, self.l1, self.l2 = solver, l1, l2
        self.target, self.budget = solver.reachable(target), budget
        self.work, self.design = solver.work, solver.design
        self.top = max(solver.level, float(l1[0]))
        if not self.work.exact:
            # no pass sets right what float32 says at penalties that are vouched for
            self.work.settle()
        # cross products are made from X as it lies
        self.work.Z = None

    def solve(self):
        """Give a `Fit` for each penalty; None where too many features enter, or a gap stays."""
        if not self._fill():
            return None
        for _ in range(PATHS):
            W, g, counts = self._follow()
            gaps, late = self._certify(W, g)
            if (gaps <= self.target).all():
                return [self._fit(*one) for one in zip(W, gaps, counts, strict=True)]
            if not late.any() or not self._join(late):
                return None
        return None

    def _fit(self, w, gap, counts):
        full, (sweeps, events) = np.zeros(self.design.p), counts
        full[self.work.index] = w + 0.0
        return Fit(full, float(gap), sweeps, events, 0, 1)

    def _scores(self, c):
        """Give the penalty at which each feature outside meets its bound; -inf inside."""
        s = self.solver
        scores = np.empty(self.design.p)
        entries(0, c, NOTHING, 0.0, s.factors, self.work.member, 0.0, s.positive, scores)
        return scores

    def _fill(self):
        """Let features join that will enter, as far as a few solutions at the last penalty show."""
        work, last = self.work, self.l1[-1]
        c = self.solver.c
        for turn in range(CAREFUL + 1):
            scores = self._scores(c)
            late = scores > last
            if not late.any():
                break
            finite = scores[np.isfinite(scores)]
            bold = late & (scores > BOLD * np.median(finite)) if len(finite) else late
            careful = turn < CAREFUL and bold.any()
            if not self._join(bold if careful else late):
                return False
            if not careful:
                break
            self._minimise(self.top if turn == 0 else last, len(self.l1) - 1)
            c = self.design.correlate(work.residual())
            self.solver.passes += 1
        return True

    def _join(self, chosen):
        """Let features join unless they are too many."""
        if len(self.work.index) + np.count_nonzero(chosen) > MOST * self.design.p:
            return False
        self.work.add(np.flatnonzero(chosen))
        return True

    def _penalties(self, i):
        f = self.solver.factors[self.work.index]
        return self.l1[i] * f, self.l2[i] * f

    def _minimise(self, level, i):
        """Move from the solution at the penalty ``level`` to that at penalty i."""
        s = self.solver
        L1, L2 = self._penalties(i)
        l0 = np.maximum(level * s.factors[self.work.index], L1)
        aim = 0.2 * self.target
        self.work.minimise(l0, L1, L2, s.positive, aim, self.budget, s.seed, "follow")

    def _follow(self):
        """Give coefficients, slopes (penalties, k), and (sweeps, events) of each penalty."""
        work, level = self.work, self.top
        W, g = np.empty((2, len(self.l1), len(work.index)))
        counts = []
        work.set(np.zeros(len(work.index)))
        for i in range(len(self.l1)):
            before = work.sweeps, work.events
            self._minimise(level, i)
            level, W[i], g[i] = self.l1[i], work.w, work.g
            counts.append((work.sweeps - before[0], work.events - before[1]))
        return W, g, counts

    def _certify(self, W, g):
        """Give the gap at each penalty, and what features outside break a bound there."""
        others = np.flatnonzero(~self.work.member & (self.solver.factors < np.inf))
        bounds = np.full((len(W), len(others)), np.inf)
        known = np.zeros(len(W), bool)
        known[::STEP] = known[-1] = True
        C = np.empty(bounds.shape)
        self._see(known, others, W, C)
        norms = np.sqrt(self.design.squares(others))
        self._bound(np.flatnonzero(known), norms, W, C, bounds)
        gaps = self._gaps(W, g, bounds, others)
        left = ~known & ~(gaps <= self.target)
        if left.any():
            self._see(left, others, W, C)
            known |= left
            bounds[left] = C[left]
            gaps[left] = self._gaps(W[left], g[left], bounds[left], others, left)
        late = np.zeros(self.design.p, bool)
        wrong = known & ~(gaps <= self.target)
        factors = self.solver.factors[others]
        late[others] = (self._size(bounds[wrong]) > self.l1[wrong, None] * factors).any(0)
        return gaps, late

    def _see(self, at, others, W, C):
        """Correlate features outside with the residuals at some penalties."""
        R = self.work.y - self.design.combine_many(self.work.index, W[at])
        C[at] = self.design.correlate_some(R, others)
        self.solver.passes += 1

    def _bound(self, known, norms, W, C, bounds):
        """Bound the correlations at all penalties by those at the ``known`` ones."""
        k = len(self.work.index)
        G = self.work.G[:k, :k]
        bounds[known] = self._size(C[known])
        for first, last in pairwise(known):
            inner = slice(first + 1, last)
            fall = self.l1[first] - self.l1[last]
            theta = ((self.l1[inner] - self.l1[last]) / fall)[:, None] if fall > 0.0 else 1.0
            d = W[inner] - theta * W[first] - (1.0 - theta) * W[last]
            far = np.sqrt(np.maximum(((d @ G) * d).sum(1), 0.0))
            between = theta * C[first] + (1.0 - theta) * C[last]
            bounds[inner] = self._size(between) + far[:, None] * norms

    def _size(self, c):
        return c if self.solver.positive else np.abs(c)

    def _gaps(self, W, g, bounds, others, at=slice(None)):
        """Measure the gaps, features outside within their bounds."""
        work, s = self.work, self.solver
        factors = s.factors[others]
        most = (bounds / factors).max(1, initial=0.0)
        gaps = np.empty(len(W))
        for row, i in enumerate(np.arange(len(self.l1))[at]):
            L1, L2 = self._penalties(i)
            squares = max(work.yy - (work.q + g[row]) @ W[row], 0.0)
            scale = self.l1[i] / most[row] if most[row] > self.l1[i] else 1.0
            gaps[row] = measure(
                0, W[row], g[row], L1, L2, work.diagonal, squares, scale, s.positive
            )
        return gaps
