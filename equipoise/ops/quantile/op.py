"""Exact quantiles of columns in three reads and little memory, more for the oddest columns.

The first read finds extremes, the second counts equal bins between them, the third collects what
lies in the bins of the wanted ranks.  Where that is too much, as with a few huge values, the
columns go through `narrow`.
"""

from typing import Any

import numpy as np

from equipoise.moments import Moments
from equipoise.ops import jit
from equipoise.ops.moments.op import flat
from equipoise.ops.quantile import linear
from equipoise.ops.quantile.narrow import Search
from equipoise.ops.quantile.reference import between, ranks
from equipoise.ops.quantile.reference import quantiles as by_sorting
from equipoise.ops.scale.op import walk

# fewer values are sorted
SMALL = 1 << 14
# bytes of counts, and of collected values: at least, and as a share of the matrix
COUNTS = 1 << 20
COLLECT, SHARE = 1 << 21, 1 / 64


def quantiles(x: np.ndarray, q, moments: Moments | None = None) -> np.ndarray:
    """Give the quantiles ``q`` (t,), ascending within [0, 1], of the columns of ``x`` as (t, p).

    ``moments`` are those of ``x`` where they are known.  NaNs are left out; infinities are not
    expected.
    """
    if x.dtype.char not in "fd":
        x = x.astype(np.float32 if x.dtype == np.float16 else np.float64)
    if x.size <= SMALL or walk(x, x) is None:
        return by_sorting(x, q)
    m = Moments.of(x) if moments is None else moments
    count, low, high = m.count, m.min, m.max
    step = max(1, COUNTS // (4 * linear.bins_for(len(x)) * jit.threads()))
    parts = []
    for i in range(0, x.shape[1], step):
        known = [v[i : i + step] for v in (count, low, high)]
        parts.append(_quantiles(x[:, i : i + step], q, known))
    return np.concatenate(parts, axis=1)


def _quantiles(x, q, known):
    count = np.rint(known[0]).astype(np.int64)
    below, above, part = ranks(count, q)
    # ascending, and each as often as it is wanted
    every = np.sort(np.concatenate([below, above], axis=1), axis=1)
    columns = np.arange(x.shape[1])[:, None]
    found = _ranked(x, (count, *known[1:], every))
    low, high = (found[columns, _places(every, wanted)] for wanted in (below, above))
    return np.where(count > 0, between(low, high, part).T, np.nan)


def _places(every, wanted):
    """Find where in each row of ``every`` (ascending) the wanted ones stand."""
    return (every[:, None, :] < wanted[:, :, None]).sum(axis=-1)


def _ranked(x, known):
    """Give the values of the wanted ranks, (columns, ranks)."""
    groups = jit.threads()
    every = known[3]
    if every.shape[1] > linear.SLOTS:
        return Search(x, known, groups).run()
    found, done = _Linear(x, known, groups).run()
    for first, last in _stretches(~done):
        part = [v[first:last] for v in known]
        found[first:last] = Search(x[:, first:last], part, groups).run()
    return found


def _stretches(marked):
    """Give the (first, last) of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


class _Linear:
    """Two reads of a few columns: count by bins of equal width, then collect."""

    def __init__(self, x, known, groups):
        self.x, self.groups = x, groups
        self.count, low, high, self.every = known
        self.columns = np.arange(x.shape[1])
        self.bins = linear.bins_for(len(x))
        empty = self.count == 0
        self.low, high = (np.where(empty, 0, end).astype(x.dtype) for end in (low, high))
        with np.errstate(all="ignore"):
            factor = x.dtype.type(self.bins) / (high - self.low)
            # what overflows or underflows is left to `Search`, and constants need no bins
            self.sound = np.isfinite(factor) & np.isfinite(1 / factor)
        self.factor = np.where(self.sound, factor, 0).astype(x.dtype)
        self.constant = high == self.low
        self.plan: Any = walk(x, x)
        self.memory = flat(x, tuple(s // x.itemsize for s in x.strides))

    def _sweep(self, wanted, collecting, counts, keep, places, found, least, most):
        one_column = self.plan[7]
        line = self.columns if one_column else np.tile(self.columns, self._copies())
        linear.sweep(
            self.x.nbytes, self.memory, (*self.plan, False),
            *(np.ascontiguousarray(v[line]) for v in (self.low, self.factor)), line,
            np.ascontiguousarray(wanted[:, line]).reshape(-1), collecting, counts, keep, places,
            found, least, most,
        )  # fmt: skip

    def _copies(self):
        return max(1, min(self.plan[4], self.plan[1]) // self.x.shape[1])

    def run(self):
        """Give the values of the ranks, and for which columns they were found."""
        p, slots = self.x.shape[1], linear.SLOTS
        shape, dtype = (self.groups, p * slots), self.x.dtype
        counts = np.zeros((self.groups, p * self.bins), np.uint32)
        wanted = np.full((slots, p), -2, np.int32)
        ends = np.full(shape, np.inf, dtype), np.full(shape, -np.inf, dtype)
        none = np.zeros(p, bool), np.zeros(shape, np.int64), np.empty(0, dtype)
        self._sweep(wanted, False, counts, *none, *ends)
        at, before = self._bins_of_ranks(counts)
        slot = _slot_of(at)
        np.put_along_axis(wanted.T, slot, at.astype(np.int32), axis=1)
        sizes = self._sizes(counts, wanted)
        keep = self._kept(sizes)
        sizes = sizes * keep[None, :, None]
        # the groups' shares of a slot lie side by side
        stop = sizes.transpose(1, 2, 0).reshape(-1).cumsum().reshape(p, slots, -1)
        stop = stop.transpose(2, 0, 1)
        places = np.ascontiguousarray(stop - sizes).reshape(shape)
        starts = places[0].reshape(p, slots).copy()
        found = np.empty(int(sizes.sum()), dtype)
        self._sweep(wanted, True, counts, keep, places, found, *ends)
        return self._values(slot, before, keep, starts, stop[-1], found, ends)

    def _bins_of_ranks(self, counts):
        """Find the bin of each rank, and how many values lie below that bin."""
        p = self.x.shape[1]
        total = counts.sum(axis=0, dtype=np.uint32).reshape(p, -1).cumsum(axis=1, dtype=np.int64)
        at: Any = np.empty(self.every.shape, np.int64)
        for t in range(at.shape[1]):
            at[:, t] = (total <= self.every[:, t, None]).sum(axis=1)
        at = np.minimum(at, self.bins - 1)
        before = np.where(at > 0, total[self.columns[:, None], np.maximum(at - 1, 0)], 0)
        return at, before

    def _sizes(self, counts, wanted):
        """Count what each group will collect, (groups, columns, slots)."""
        counts = counts.reshape(self.groups, self.x.shape[1], -1)
        sizes = counts[:, self.columns[:, None], np.maximum(wanted.T, 0)].astype(np.int64)
        return np.where(wanted.T >= 0, sizes, 0)

    def _kept(self, sizes):
        """Choose the columns whose values are collected: as many as fit."""
        room = max(COLLECT, self.x.nbytes * SHARE) // self.x.itemsize
        each = sizes.sum(axis=(0, 2))
        order = np.argsort(each, kind="stable")
        keep = np.zeros(len(each), bool)
        keep[order] = each[order].cumsum() <= room
        return keep & self.sound

    def _values(self, slot, before, keep, starts, stop, found, ends):
        least = ends[0].reshape(self.groups, -1, linear.SLOTS).min(axis=0)
        most = ends[1].reshape(self.groups, -1, linear.SLOTS).max(axis=0)
        rows = self.columns[:, None]
        # bins that hold one value again and again need no collecting
        values = np.where(self.constant[:, None], self.low[:, None], least[rows, slot])
        done = self.constant | (self.sound & (least == most)[rows, slot].all(axis=1))
        for c in np.flatnonzero(keep & ~done):
            for s in range(slot[c].max() + 1):
                found[starts[c, s] : stop[c, s]].sort()
            values[c] = found[starts[c, slot[c]] + self.every[c] - before[c]]
        return values, done | keep


def _slot_of(at):
    """Number the different bins of each row, which ascend."""
    fresh = np.zeros(at.shape, np.int64)
    fresh[:, 1:] = at[:, 1:] != at[:, :-1]
    return fresh.cumsum(axis=1)
