"""Count and collect the values of columns that lie in given intervals.

A float's bits, with the lower ones of negative numbers turned round, are an integer in the same
order: its key.  An interval of keys is cut into equal bins, and counting narrows it.  Counts are
whole numbers, so the threads' shares add up to the same at any number of them.
"""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline

# intervals of a column, and bins of one
SLOTS = 6


@inline
def _key(bits, mask):
    """Give the key of a float's bits, as int64; ``mask`` has all of its bits but the sign."""
    wide = np.int64(bits)
    return wide ^ ((wide >> np.int64(63)) & mask)


# the arrays are indexed whole: slices of them count references, with atomic operations


@inline
def _count_value(key, c, g, low, width, shift, used, counts, least, most):
    """Count a value of column c in the interval that holds it, if any."""
    for s in range(used[c]):
        distance = np.uint64(key) - np.uint64(low[c, s])
        if distance <= width[c, s]:
            counts[g, c, s, np.int64(distance >> shift[c, s])] += np.uint32(1)
            if distance < least[g, c, s]:
                least[g, c, s] = distance
            if distance > most[g, c, s]:
                most[g, c, s] = distance
            break


@inline
def _collect_value(key, c, g, low, width, used, places, found):
    for s in range(used[c]):
        distance = np.uint64(key) - np.uint64(low[c, s])
        if distance <= width[c, s]:
            found[places[g, c, s]] = distance
            places[g, c, s] += 1
            break


def _count(bits, plan, low, width, shift, used, counts, least, most):
    """Count the values of each column in the bins of its intervals, one table a group of rows.

    ``bits`` are the values' (integers as wide), flat; ``plan``: rows, distance of rows, of
    columns, and the mask of a key.  ``low`` (int64), ``width`` and ``shift`` (uint64) are
    (columns, SLOTS), of which ``used`` (columns,) are in use; ``counts`` is (groups, columns,
    SLOTS or fewer, bins), and ``least`` and ``most`` (groups, columns, SLOTS) are the extreme
    distances from ``low``.
    """
    rows, row_step, column_step, mask = plan
    groups, columns = counts.shape[0], counts.shape[1]
    for task in prange(groups):
        g = np.int64(task)
        first, last = g * rows // groups, (g + 1) * rows // groups
        if column_step == 1:
            for i in range(first, last):
                for c in range(columns):
                    key = _key(bits[i * row_step + c], mask)
                    _count_value(key, c, g, low, width, shift, used, counts, least, most)
        else:
            for c in range(columns):
                for i in range(first, last):
                    key = _key(bits[i * row_step + c * column_step], mask)
                    _count_value(key, c, g, low, width, shift, used, counts, least, most)


def _collect(bits, plan, low, width, used, places, found):
    """Write the distances of the values in each interval to ``found``, from ``places`` on."""
    rows, row_step, column_step, mask = plan
    groups, columns = places.shape[0], places.shape[1]
    for task in prange(groups):
        g = np.int64(task)
        first, last = g * rows // groups, (g + 1) * rows // groups
        if column_step == 1:
            for i in range(first, last):
                for c in range(columns):
                    key = _key(bits[i * row_step + c], mask)
                    _collect_value(key, c, g, low, width, used, places, found)
        else:
            for c in range(columns):
                for i in range(first, last):
                    key = _key(bits[i * row_step + c * column_step], mask)
                    _collect_value(key, c, g, low, width, used, places, found)


count = Kernel(_count)
collect = Kernel(_collect)
