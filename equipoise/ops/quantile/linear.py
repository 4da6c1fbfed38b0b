"""Cut each column into bins of equal width, then collect what lies in a few of them.

Memory is walked in lines, as `equipoise.ops.scale.cpu` does.  The bin of a value is computed the
same way in both reads, and it never falls where the value rises, so ranks carry over.
"""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline, window
from equipoise.ops.scale.words import LINE

# of a long column, and of a short one: then more columns fit side by side
MANY_BINS, FEW_BINS, LONG = 2048, 512, 400_000
# bins of a column that may hold a wanted rank
SLOTS = 6


@inline
def _bins(x, low, factor, bins, last):
    """Give the bin of each value, ``last`` at most, -1 for NaN."""
    top = factor.dtype.type(last)
    for j in range(x.size):
        t = (x[j] - low[j]) * factor[j]
        t = t if t < top else top
        bins[j] = np.int32(t if x[j] == x[j] else factor.dtype.type(-1))


@inline
def _count_line(bins, n, column, counts, many):
    for j in range(n):
        if bins[j] >= 0:
            counts[np.uint64(column[j] * many + bins[j])] += np.uint32(1)


@inline
def _hits(bins, n, wanted, width, hits):
    """Mark the values whose bin is wanted."""
    for j in range(n):
        b = bins[j]
        hit = (b == wanted[j]) | (b == wanted[j + width]) | (b == wanted[j + 2 * width])
        hit |= (b == wanted[j + 3 * width]) | (b == wanted[j + 4 * width])
        hits[j] = hit | (b == wanted[j + 5 * width])


@inline
def _take(value, slot, keep, places, found, least, most):
    """Note a value of a wanted bin."""
    least[slot] = min(least[slot], value)
    most[slot] = max(most[slot], value)
    if keep:
        found[places[slot]] = value
        places[slot] += 1


@inline
def _collect_line(x, bins, hits, n, column, wanted, width, keep, places, found, least, most):
    words = hits.view(np.uint64)
    for word in range((n + 7) // 8):
        if words[word] != 0:
            for j in range(word * 8, min(n, word * 8 + 8)):
                if hits[j]:
                    s = 0
                    while bins[j] != wanted[j + s * width]:
                        s += 1
                    c = column[j]
                    _take(x[j], c * SLOTS + s, keep[c], places, found, least, most)


@inline
def _spread(c, low, factor, wanted, own_low, own_factor, own_wanted, own_column):
    """Repeat what one column needs along a line."""
    own_low[:] = low[c]
    own_factor[:] = factor[c]
    own_column[:] = c
    width = own_low.shape[0]
    for s in range(SLOTS):
        own_wanted[s * width : (s + 1) * width] = wanted[s * low.shape[0] + c]


def _sweep(
    x, plan, low, factor, column, wanted, collecting, counts, keep, places, found, least, most
):  # fmt: skip
    """Count values by bin, or collect those of the wanted bins, one share of the lines a group.

    ``plan`` as for `equipoise.ops.scale.cpu.scale`.  Along a line lie ``low``, ``factor`` and
    ``column``, and SLOTS times ``wanted``; where a line is of one column they hold one number a
    column.  ``counts`` (groups, columns · bins); ``places``, ``least`` and ``most`` (groups,
    columns · SLOTS); ``keep`` (columns,).
    """
    lines, length, sx, _, piece, pieces, _, constant, _ = plan
    groups, many = counts.shape[0], counts.shape[1] // keep.shape[0]
    for task in prange(groups):
        g = np.int64(task)
        size = min(piece, LINE) if constant else low.shape[0]
        bins, hits = np.empty(size, np.int32), np.zeros((size + 7) // 8 * 8, np.bool_)
        own_low, own_factor = low, factor
        own_column, own_wanted = column, wanted
        if constant:
            own_low, own_factor = np.empty(size, low.dtype), np.empty(size, low.dtype)
            own_column, own_wanted = np.empty(size, np.int64), np.empty(SLOTS * size, np.int32)
        mine, own_places = counts[g], places[g]
        own_least, own_most = least[g], most[g]
        at_column = np.int64(-1)
        for line in range(g * lines // groups, (g + 1) * lines // groups):
            major, at = line // pieces, line % pieces * piece
            n = min(piece, length - at)
            if constant and major != at_column:
                at_column = major
                _spread(
                    major, low, factor, wanted, own_low, own_factor, own_wanted, own_column
                )  # fmt: skip
            source = window(x, major * sx + at, n)
            _bins(source, own_low, own_factor, bins, many - 1)
            if collecting:
                hits[n:] = False
                _hits(bins, n, own_wanted, size, hits)
                _collect_line(
                    source, bins, hits, n, own_column, own_wanted, size, keep, own_places, found,
                    own_least, own_most,
                )  # fmt: skip
            else:
                _count_line(bins, n, own_column, mine, many)


sweep = Kernel(_sweep)


def bins_for(rows: int) -> int:
    """Give the number of bins for columns of this length."""
    return MANY_BINS if rows > LONG else FEW_BINS
