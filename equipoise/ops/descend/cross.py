"""Cross products of a few columns of a dense matrix where it lies, centred and scaled, in float64.

A block of rows of the columns is copied into memory that stays in the cache, where each of the
new columns meets all of them, four by four.
"""

import numpy as np
from numba import prange

from equipoise.ops.descend.gather import (
    STRIP,
    copy_down,
    copy_down_weighted,
    copy_shifted,
    copy_weighted,
)
from equipoise.ops.descend.tile import SIDE, Tile, emits_tile, neighbours
from equipoise.ops.fetch import fetch_run
from equipoise.ops.jit import Kernel, inline, window
from equipoise.ops.products.layout import SIDE as LANES

# numbers of a block, half of the second-level cache, and the most rows of it
BLOCK, ROWS = 1 << 16, 384
# rows of columns that meet vectors as they lie
RUN = 512
# groups of rows that are summed apart, and numbers in the sums of all of them
GROUPS, ROOM = 8, 1 << 18

_tile = emits_tile(Tile)


@inline
def _fill_columns(x, n, row, size, chosen, offset, scale, roots, pitch, z):
    for k in range(chosen.shape[0]):
        j = chosen[k]
        column, out = window(x, j * n + row, size), window(z, k * pitch, size)
        if roots.shape[0] == 0:
            copy_shifted(column, offset[j], 1.0 / scale[j], out)
        else:
            copy_weighted(column, offset[j], 1.0 / scale[j], window(roots, row, size), out)


@inline
def _fill_rows(x, p, row, size, chosen, offset, scale, roots, pitch, z):
    for first in range(0, size, STRIP):
        count = min(STRIP, size - first)
        for k in range(chosen.shape[0]):
            j = chosen[k]
            at, out = (row + first) * p + j, window(z, k * pitch + first, count)
            if roots.shape[0] == 0:
                copy_down(x, at, p, offset[j], 1.0 / scale[j], out)
            else:
                weights = window(roots, row + first, count)
                copy_down_weighted(x, at, p, offset[j], 1.0 / scale[j], weights, out)


def _cross(x, n, step_row, step_column, chosen, offset, scale, roots, pitch, parts):
    """Fill ``parts`` (groups, m, wide) with the products of the last m of the columns with all.

    ``x`` is flat, and ``chosen`` holds ``wide`` columns, m of them new and both whole tiles.
    Columns that lie between the new ones and before them in a tile are those of the lower
    triangle: they are left out.
    """
    groups, m, wide = parts.shape
    first = wide - m
    blocks = -(-n // pitch)
    for task in prange(groups):
        group = np.int64(task)
        parts[group] = 0.0
        z, tile = np.zeros(wide * pitch), np.empty(SIDE * SIDE)
        left, right = np.empty(SIDE, np.int64), np.empty(SIDE, np.int64)
        for block in range(group * blocks // groups, (group + 1) * blocks // groups):
            row = block * pitch
            size = min(pitch, n - row)
            if size < pitch:
                z[:] = 0.0
            if step_row == 1:
                _fill_columns(x, step_column, row, size, chosen, offset, scale, roots, pitch, z)
            else:
                _fill_rows(x, step_row, row, size, chosen, offset, scale, roots, pitch, z)
            for a in range(0, m, SIDE):
                neighbours(first + a, pitch, left)
                for b in range(0, first + a + SIDE, SIDE):
                    neighbours(b, pitch, right)
                    _tile(z, left, z, right, pitch, tile)
                    for s in range(SIDE * SIDE):
                        parts[group, a + s // SIDE, b + s % SIDE] += tile[s]


def _meet(x, n, chosen, v, out):
    """Fill ``out`` (k, m) with the products of k vectors with the chosen columns of float64."""
    k, m = out.shape
    out[:] = 0.0
    flat_v = v.reshape(-1)
    for some in prange(-(-m // SIDE)):
        first = np.int64(some) * SIDE
        tile = np.empty(SIDE * SIDE)
        left, right = np.empty(SIDE, np.int64), np.empty(SIDE, np.int64)
        for row in range(0, n, RUN):
            size = min(RUN, n - row)
            whole = size // LANES * LANES
            for s in range(SIDE):
                # beyond the last the last once more, for nothing
                left[s] = chosen[min(first + s, m - 1)] * n + row
                fetch_run(x, left[s] + size, min(RUN, n - row - size))
            for b in range(0, k, SIDE):
                for s in range(SIDE):
                    right[s] = min(b + s, k - 1) * n + row
                if whole > 0:
                    _tile(x, left, flat_v, right, whole, tile)
                for s in range(min(SIDE, m - first)):
                    for t in range(min(SIDE, k - b)):
                        total = tile[s * SIDE + t] if whole > 0 else 0.0
                        for i in range(whole, size):
                            total += x[left[s] + i] * flat_v[right[t] + i]
                        out[b + t, first + s] += total


cross = Kernel(_cross)
meet = Kernel(_meet)


def cross_products(work, x, n, steps, index, m, offset, scale, roots):
    """Give products (m, k) of the last m of the k columns of flat ``x`` with all of them."""
    k = len(index)
    # whole tiles, filled up with columns that are there anyway
    before, own = -(k - m) % SIDE, -m % SIDE
    chosen = np.concatenate([index[: k - m], index[:1].repeat(before), index[k - m :]])
    chosen = np.concatenate([chosen, index[:1].repeat(own)])
    wide, new = len(chosen), m + own
    pitch = max(64, min(ROWS, BLOCK // wide // 64 * 64))
    groups = max(2, min(GROUPS, ROOM // (new * wide)))
    parts = np.empty((groups, new, wide))
    cross(work, x, n, *steps, chosen, offset, scale, roots, pitch, parts)
    total = parts.sum(0)[:m]
    out = np.empty((m, k))
    out[:, : k - m] = total[:, : k - m]
    square = total[:, k - m + before : k + before]
    out[:, k - m :] = np.tril(square) + np.tril(square, -1).T
    return out
