"""A copy of X in bytes: products with it, and how far they may be from those with X.

A column x is kept as whole numbers k of steps h from a middle m, x = m + h (k + e), |e| <= 1/2.
Then x·v lies within h ‖e‖ ‖v‖ of m Σv + h k·v, and ‖e‖ is known.  An eighth of X is read to tell
which columns of float64 need not be.
"""

import numpy as np
from numba import prange

from equipoise.ops.descend.dense import GROUPS, ROWS
from equipoise.ops.jit import Kernel, fast, inline, window

# steps on either side of the middle
STEPS = 127
# how far from their mean values may lie that are squared safely
LEAST, MOST = 1e-140, 1e140
# the least unit of a vector
TINY = 1e-290
# of a step, what float32 takes from a place between two
ROUNDING = 1e-4
# rows that tell how far values reach, and how much farther others may
SOME, BEYOND = 64, 2.0
# columns that a thread takes at once
BLOCK = 64
# columns whose sums stay in the first-level cache while rows go by
TILE = 1024


@inline
def step_of(low, high):
    """Give (middle, step) by the extremes of some values; the step is inf where none is safe."""
    middle, reach = low + 0.5 * (high - low), BEYOND * 0.5 * (high - low)
    # zeros and ones, say, of which one kind was seen
    reach = reach if reach > 0.0 else max(abs(middle), 1.0)
    return middle, reach / STEPS if LEAST < reach < MOST else np.inf


@inline
def blur_of(n, step, e, depth):
    """Give how far products with a vector of norm 1 may be off; ``depth`` sums are in float32."""
    lost = np.sqrt(np.float64(e)) * (1.0 + ROUNDING)
    return step * (lost + (ROUNDING + (depth + 8.0) * 2.0**-24 * STEPS) * np.sqrt(n))


@fast
def _sums(a, shift, v):
    s, t = 0.0, 0.0
    for i in range(v.shape[0]):
        x = np.float64(a[i])
        s += x * v[i]
        t += x - shift
    return s, t


@fast
def _round(a, middle, per, out):
    e = np.float32(0.0)
    for i in range(out.shape[0]):
        z = np.float32((np.float64(a[i]) - middle) * per)
        k = np.rint(min(max(z, np.float32(-STEPS)), np.float32(STEPS)))
        e += (z - k) * (z - k)
        out[i] = np.int8(np.int32(k))
    return e


def _take_columns(x, n, v, depth, out, kept, means, middles, steps, blurs):
    """Fill ``kept`` (p n) with columns in bytes, and ``out`` with products of v and the columns.

    Steps are chosen by some of the rows; what lies further away is cut off, and counted.
    """
    p = out.shape[0]
    for block in prange(-(-p // BLOCK)):
        for j in range(block * BLOCK, min(p, (block + 1) * BLOCK)):
            # first all of it in order, as memory is read best
            shift, s, t, e = np.float64(x[j * n]), 0.0, 0.0, 0.0
            for row in range(0, n, ROWS):
                size = min(ROWS, n - row)
                part = _sums(window(x, j * n + row, size), shift, v[row : row + size])
                s, t = s + part[0], t + part[1]
            low = high = shift
            for i in range(0, n, max(1, n // SOME)):
                value = np.float64(x[j * n + i])
                low, high = min(low, value), max(high, value)
            middle, step = step_of(low, high)
            for row in range(0, n, ROWS):
                size, at = min(ROWS, n - row), j * n + row
                e += _round(window(x, at, size), middle, 1.0 / step, window(kept, at, size))
            out[j], means[j], middles[j], steps[j] = s, shift + t / n, middle, step
            blurs[j] = blur_of(n, step, e, depth)


@inline
def _widen(a, low, high):
    for j in range(a.shape[0]):
        x = np.float64(a[j])
        low[j], high[j] = min(low[j], x), max(high[j], x)


@inline
def _place(x, middle, per):
    """Give the place of x between whole numbers, and the nearest of those."""
    z = np.float32((x - middle) * per)
    return z, np.rint(min(max(z, np.float32(-STEPS)), np.float32(STEPS)))


@inline
def _take_row(a, v, middles, per, products, sums, e, out):
    for j in range(a.shape[0]):
        x = np.float64(a[j])
        products[j] += x * v
        sums[j] += x - middles[j]
        z, k = _place(x, middles[j], per[j])
        e[j] += (z - k) * (z - k)
        out[j] = np.int8(np.int32(k))


@inline
def _take_four(a, b, c, d, v, w, s, t, middles, per, products, sums, e, oa, ob, oc, od):
    """Do the same for four rows at once: what is summed is loaded and stored once for them."""
    for j in range(a.shape[0]):
        xa, xb, xc, xd = np.float64(a[j]), np.float64(b[j]), np.float64(c[j]), np.float64(d[j])
        middle, unit = middles[j], per[j]
        products[j] += (xa * v + xb * w) + (xc * s + xd * t)
        sums[j] += ((xa - middle) + (xb - middle)) + ((xc - middle) + (xd - middle))
        za, ka = _place(xa, middle, unit)
        zb, kb = _place(xb, middle, unit)
        zc, kc = _place(xc, middle, unit)
        zd, kd = _place(xd, middle, unit)
        e[j] += ((za - ka) * (za - ka) + (zb - kb) * (zb - kb)) + (
            (zc - kc) * (zc - kc) + (zd - kd) * (zd - kd)
        )
        oa[j], ob[j] = np.int8(np.int32(ka)), np.int8(np.int32(kb))
        oc[j], od[j] = np.int8(np.int32(kc)), np.int8(np.int32(kd))


def _take_rows(x, n, p, v, depth, out, kept, means, middles, steps, blurs):
    """Do the same for a matrix in C order, whose bytes are in C order too."""
    for part in prange(-(-p // TILE)):
        first = np.int64(part) * TILE
        size = min(TILE, p - first)
        low, high, per = np.empty(size), np.empty(size), np.empty(size)
        e = np.zeros(size, np.float32)
        products, sums = window(out, first, size), window(means, first, size)
        middle = window(middles, first, size)
        for j in range(size):
            low[j] = high[j] = np.float64(x[first + j])
            products[j] = sums[j] = 0.0
        for i in range(0, n, max(1, n // SOME)):
            _widen(window(x, i * p + first, size), low, high)
        for j in range(size):
            middle[j], steps[first + j] = step_of(low[j], high[j])
            per[j] = 1.0 / steps[first + j]
        i = 0
        while i + 4 <= n:
            o = i * p + first
            _take_four(
                window(x, o, size), window(x, o + p, size), window(x, o + 2 * p, size),
                window(x, o + 3 * p, size), v[i], v[i + 1], v[i + 2], v[i + 3],
                middle, per, products, sums, e, window(kept, o, size), window(kept, o + p, size),
                window(kept, o + 2 * p, size), window(kept, o + 3 * p, size),
            )  # fmt: skip
            i += 4
        while i < n:
            o = i * p + first
            _take_row(
                window(x, o, size), v[i], middle, per, products, sums, e, window(kept, o, size)
            )
            i += 1
        for j in range(size):
            sums[j] = middle[j] + sums[j] / n
            blurs[first + j] = blur_of(n, steps[first + j], e[j], depth)


@fast
def _dot(a, v):
    s = np.float32(0.0)
    for i in range(v.shape[0]):
        s += np.float32(a[i]) * v[i]
    return s


def _multiply_columns(kept, v, out):
    """Fill ``out`` (p,) with the products of v (n,), in float32, and columns in bytes."""
    p, n = out.shape[0], v.shape[0]
    for block in prange(-(-p // BLOCK)):
        for j in range(block * BLOCK, min(p, (block + 1) * BLOCK)):
            s = 0.0
            for row in range(0, n, ROWS):
                size = min(ROWS, n - row)
                s += np.float64(_dot(window(kept, j * n + row, size), window(v, row, size)))
            out[j] = s


@inline
def _add_four(a, b, c, d, va, vb, vc, vd, sums):
    for j in range(sums.shape[0]):
        sums[j] += (np.float32(a[j]) * va + np.float32(b[j]) * vb) + (
            np.float32(c[j]) * vc + np.float32(d[j]) * vd
        )


@inline
def _add_one(a, va, sums):
    for j in range(sums.shape[0]):
        sums[j] += np.float32(a[j]) * va


def _multiply_rows(kept, v, out, sums):
    """Do the same where bytes are in C order; ``sums`` (GROUPS, p) of float32 is scratch."""
    groups, p = sums.shape
    n = v.shape[0]
    per = -(-n // groups)
    tiles = -(-p // TILE)
    flat = sums.reshape(-1)
    for task in prange(groups * tiles):
        group, first = np.int64(task) // tiles, np.int64(task) % tiles * TILE
        size = min(TILE, p - first)
        total = window(flat, group * p + first, size)
        for j in range(size):
            total[j] = np.float32(0.0)
        i, last = group * per, min(n, (group + 1) * per)
        while i + 4 <= last:
            o = i * p + first
            _add_four(
                window(kept, o, size), window(kept, o + p, size),
                window(kept, o + 2 * p, size), window(kept, o + 3 * p, size),
                v[i], v[i + 1], v[i + 2], v[i + 3], total,
            )  # fmt: skip
            i += 4
        while i < last:
            _add_one(window(kept, i * p + first, size), v[i], total)
            i += 1
    for j in range(p):
        out[j] = 0.0
        for group in range(groups):
            out[j] += np.float64(sums[group, j])


take_columns = Kernel(_take_columns)
take_rows = Kernel(_take_rows)
multiply_columns = Kernel(_multiply_columns)
multiply_rows = Kernel(_multiply_rows)


class Coarse:
    """A matrix in bytes.

    Parameters
    ----------
    x : flat array
        A matrix (n, p) in Fortran order where ``by_column``, else in C order.
    v : float64 (n,)
        A vector that it is multiplied with on the way.
    work : int
        Bytes of x, as kernels count them.

    Attributes
    ----------
    first : float64 (p,)
        The exact products with v.
    means : float64 (p,)
        The means of the columns.
    """

    def __init__(self, x, v, by_column, work):
        n, p = len(v), len(x) // len(v)
        self.by_column, self.work = by_column, work // x.itemsize
        self.kept = np.empty(len(x), np.int8)
        self.first, self.means = np.empty(p), np.empty(p)
        self.middles, self.steps, self.blurs = np.empty(p), np.empty(p), np.empty(p)
        depth = float(min(n, ROWS) if by_column else -(-n // GROUPS))
        own = self.first, self.kept, self.means, self.middles, self.steps, self.blurs
        if by_column:
            take_columns(work, x, n, v, depth, *own)
        else:
            take_rows(work, x, n, p, v, depth, *own)

    def products(self, v, off=0.0):
        """Give the products of the columns with ``v`` (n,), and how far each may be off.

        ``off`` is how far ``v`` may be off, in norm.
        """
        unit, out = float(np.abs(v).max(initial=0.0)), np.zeros(len(self.steps))
        if not TINY < unit < np.inf:
            return out, np.full(len(out), np.inf)
        u = v / unit
        single = u.astype(np.float32)
        if self.by_column:
            multiply_columns(self.work, self.kept, single, out)
        else:
            sums = np.empty((GROUPS, len(out)), np.float32)
            multiply_rows(self.work, self.kept, single, out, sums)
        with np.errstate(invalid="ignore", over="ignore"):
            out = (out * self.steps) * unit + self.middles * v.sum()
            far = self.blurs * (float(np.sqrt(u @ u)) * unit)
            if off > 0.0:
                most = np.abs(self.middles) + STEPS * self.steps
                far += (off * np.sqrt(len(v))) * most + off * self.blurs
            return out, far
