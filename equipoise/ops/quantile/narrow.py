"""Find ranks of columns whatever their values: intervals of keys, narrowed by counting.

Each read cuts the interval that holds a wanted rank into bins and keeps one of them; once few
values are left in all intervals they are collected and sorted.  At most three reads of float32
and six of float64 leave one value each.
"""

import numpy as np

from equipoise.ops.moments.op import flat
from equipoise.ops.quantile import cpu

# the bins of an interval at first and after
FIRST_BINS, BINS = 2048, 256
# collect once no more values than this are left
COLLECT = 1 << 16
# each leaves a 256th of an interval of at most 2^64 keys
READS = 9
_BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def keys(values: np.ndarray) -> np.ndarray:
    """Give the keys of floats: int64 in the same order."""
    bits = values.view(_BITS[values.dtype]).astype(np.int64)
    return bits ^ ((bits >> 63) & _mask(values.dtype))


def _mask(dtype) -> np.int64:
    return np.int64(np.iinfo(_BITS[np.dtype(dtype)]).max)


def values_of(found: np.ndarray, dtype) -> np.ndarray:
    """Give the floats that have these keys."""
    bits = found ^ ((found >> 63) & _mask(dtype))
    return bits.astype(_BITS[np.dtype(dtype)]).view(dtype)


class Search:
    """The search for ``ranks`` (columns, t), ascending, of a few columns.

    ``known`` are the columns' numbers of values, minima, maxima, and the ranks.
    """

    def __init__(self, x, known, groups):
        self.x, self.groups = x, groups
        self.count, low, high, self.ranks = known
        empty = self.count == 0
        ends = (np.where(empty, 0.0, end).astype(x.dtype) for end in (low, high))
        first, last = (keys(end + 0.0) for end in ends)
        # -0.0 is as good a minimum as 0.0, and has another key
        first = np.where(first == 0, -1, first)
        self.shape = self.ranks.shape
        self.low = np.repeat(first[:, None], self.shape[1], axis=1)
        width = np.where(empty, 0, last - first).astype(np.uint64)
        self.width = np.repeat(width[:, None], self.shape[1], axis=1)
        # values of the column below its interval, and how many are left in it
        self.before = np.zeros(self.shape, np.int64)
        self.left = np.repeat(self.count[:, None], self.shape[1], axis=1)

    def run(self) -> np.ndarray:
        """Give the values of the ranks: narrow until they are one value each, or few are left."""
        for bins in (FIRST_BINS, *[BINS] * READS):
            slots = self._slots()
            if not slots.width.any():
                break
            if slots.left.sum() <= COLLECT:
                self._collect(slots)
                break
            self._narrow(slots, bins)
        else:
            raise RuntimeError("quantiles need X to stay as it is while they are searched")
        return values_of(self.low, self.x.dtype)

    def _slots(self):
        return _Slots(self.low, self.width, self.left)

    def _memory(self):
        item = self.x.itemsize
        steps = tuple(s // item for s in self.x.strides)
        bits = flat(self.x, steps).view(_BITS[self.x.dtype])
        return bits, (self.x.shape[0], *steps, _mask(self.x.dtype))

    def _narrow(self, slots, bins):
        """Count, and keep the bin of each rank."""
        shift = np.maximum(_bit_length(slots.width) - int(np.log2(bins)), 0).astype(np.uint64)
        shape = (self.groups, *slots.width.shape)
        counts = np.zeros((*shape, bins), np.uint32)
        least = np.full(shape, np.iinfo(np.uint64).max)
        most = np.zeros(shape, np.uint64)
        cpu.count(
            self.x.nbytes, *self._memory(), slots.low, slots.width, shift, slots.used, counts,
            least, most,
        )  # fmt: skip
        at = self._keep(counts.sum(axis=0, dtype=np.uint32), slots)
        columns = np.arange(self.shape[0])[:, None]
        shifts = shift[columns, slots.of]
        start = at.astype(np.uint64) << shifts
        least, most = (v[columns, slots.of] for v in (least.min(axis=0), most.max(axis=0)))
        stop = np.minimum(start + ((np.uint64(1) << shifts) - np.uint64(1)), most)
        start = np.maximum(start, least)
        known = self.count[:, None] > 0
        self.low = self.low + np.where(known, start, 0).astype(np.int64)
        self.width = np.where(known, stop - start, 0)

    def _keep(self, counts, slots):
        """Find the bin of each rank; note what lies below it and how much is in it."""
        total = counts.cumsum(axis=-1, dtype=np.int64)
        columns = np.arange(self.shape[0])
        at = np.empty(self.shape, np.int64)
        for t in range(self.shape[1]):
            mine = total[columns, slots.of[:, t]]
            place = self.ranks[:, t] - self.before[:, t]
            # a column without numbers has no bin to find
            here = np.minimum((mine <= place[:, None]).sum(axis=1), mine.shape[1] - 1)
            passed = np.where(here > 0, mine[columns, np.maximum(here - 1, 0)], 0)
            self.left[:, t] = mine[columns, here] - passed
            self.before[:, t] += passed
            at[:, t] = here
        return at

    def _collect(self, slots):
        """Sort what is left."""
        shape = (self.groups, *slots.width.shape)
        # an interval may be wider than 2^63
        counts = np.zeros((*shape, 2), np.uint32)
        spare = np.zeros(shape, np.uint64)
        whole = np.full(slots.width.shape, 63, np.uint64)
        memory = self._memory()
        work = self.x.nbytes
        cpu.count(
            work, *memory, slots.low, slots.width, whole, slots.used, counts, spare, spare.copy()
        )
        # the groups' shares of an interval lie side by side
        sizes = counts.sum(axis=-1, dtype=np.int64).transpose(1, 2, 0)
        ends = sizes.reshape(-1).cumsum().reshape(sizes.shape)
        found = np.empty(int(sizes.sum()), np.uint64)
        places = np.ascontiguousarray((ends - sizes).transpose(2, 0, 1))
        starts = places[0].copy()
        cpu.collect(work, *memory, slots.low, slots.width, slots.used, places, found)
        for c in range(self.shape[0]):
            for s in range(slots.used[c]):
                found[starts[c, s] : ends[c, s, -1]].sort()
        columns = np.arange(self.shape[0])[:, None]
        at = starts[columns, slots.of] + self.ranks - self.before
        known = self.count[:, None] > 0
        # something is left in some interval: else the search had ended
        steps = np.where(known, found[np.where(known, at, 0)], np.uint64(0))
        self.low = self.low + steps.astype(np.int64)


class _Slots:
    """The different intervals of each column, in ascending order."""

    def __init__(self, low, width, left):
        fresh = np.ones(low.shape, bool)
        fresh[:, 1:] = low[:, 1:] != low[:, :-1]
        self.of = fresh.cumsum(axis=1) - 1
        self.used = fresh.sum(axis=1)
        most = int(self.used.max(initial=1))
        rows = np.nonzero(fresh)[0]
        shape = (low.shape[0], most)
        self.low, self.width = np.zeros(shape, np.int64), np.zeros(shape, np.uint64)
        self.left = np.zeros(shape, np.int64)
        at = rows, self.of[fresh]
        self.low[at], self.width[at], self.left[at] = low[fresh], width[fresh], left[fresh]


def _bit_length(width):
    """Count the bits of unsigned integers."""
    bits = np.zeros(width.shape, np.int64)
    left = width.copy()
    for step in (32, 16, 8, 4, 2, 1):
        big = left >= np.uint64(1) << np.uint64(step)
        bits[big] += step
        left[big] >>= np.uint64(step)
    return bits + (left > 0)
