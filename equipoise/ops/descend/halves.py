"""Cross products to three digits: columns rounded to bfloat16, multiplied pair by pair of rows.

The columns of a block of rows are rounded into memory that stays in the cache; a tile of four by
four of them keeps its sums in registers.  The processor must have
``products.layout.PAIRS``.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import prange

from equipoise.ops.descend.tile import SIDE, Tile, emits_tile, neighbours
from equipoise.ops.jit import Kernel, fast, inline, window

# llvmlite has no name for the instruction
llvm.initialize_native_asmparser()

# rows of a block, and groups of rows that are summed apart
ROWS, GROUPS = 1024, 8


class _Halves(Tile):
    """The same of numbers in bfloat16, two to a lane of float32."""

    element, item, lanes, width = ir.FloatType(), 2, 16, 64

    def _add(self, x, y, total):
        kind = ir.FunctionType(self.sums, [self.sums] * 3)
        return self.b.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, x, y], False)


_tile = emits_tile(_Halves)


@inline
def _weigh(a, roots, out):
    for i in range(out.shape[0]):
        out[i] = a[i] * roots[i] if roots.shape[0] else a[i]


@fast
def _total(a, roots):
    s = 0.0
    for i in range(a.shape[0]):
        s += np.float64(a[i]) * roots[i] if roots.shape[0] else np.float64(a[i])
    return s


@inline
def _round(bits, out):
    """Keep the upper halves of float32 numbers, rounded with ties to even."""
    for i in range(out.shape[0]):
        out[i] = (bits[i] + np.uint32(0x7FFF) + ((bits[i] >> np.uint32(16)) & np.uint32(1))) >> (
            np.uint32(16)
        )


def _halves(x, n, roots, sums, parts, out):
    """Fill ``out`` (k, k) with products of the k columns, and ``sums`` (GROUPS, k) with their sums.

    ``x`` is flat float32, and ``roots`` the square roots of the rows' weights, or empty.
    ``parts`` (GROUPS, wide, wide) is scratch, ``wide`` k, rounded up to whole tiles.
    """
    k = out.shape[0]
    groups, wide = parts.shape[:2]
    blocks = -(-n // ROWS)
    for task in prange(groups):
        group = np.int64(task)
        parts[group], sums[group] = 0.0, 0.0
        z, tile = np.zeros(wide * ROWS, np.uint16), np.empty(SIDE * SIDE, np.float32)
        line, left, right = (
            np.zeros(ROWS, np.float32),
            np.empty(SIDE, np.int64),
            np.empty(SIDE, np.int64),
        )
        for block in range(group * blocks // groups, (group + 1) * blocks // groups):
            row = block * ROWS
            size = min(ROWS, n - row)
            weights = window(roots, row, size if roots.shape[0] else 0)
            line[size:] = 0.0
            for j in range(k):
                column = window(line, 0, size)
                _weigh(window(x, j * n + row, size), weights, column)
                sums[group, j] += _total(column, weights)
                _round(line.view(np.uint32), window(z, j * ROWS, ROWS))
            for a in range(0, wide, SIDE):
                neighbours(a, ROWS, left)
                for b in range(a, wide, SIDE):
                    neighbours(b, ROWS, right)
                    _tile(z, left, z, right, ROWS, tile)
                    for s in range(SIDE * SIDE):
                        parts[group, a + s // SIDE, b + s % SIDE] += tile[s]
    for a in range(k):
        for b in range(a, k):
            total = 0.0
            for group in range(groups):
                total += parts[group, a, b]
            out[a, b] = out[b, a] = total


halves = Kernel(_halves)


def cross_products(work, x, n, k, roots):
    """Give the cross products (k, k) of the columns of flat float32 ``x``, and their sums (k,)."""
    wide = -(-k // SIDE) * SIDE
    sums, parts, out = np.empty((GROUPS, k)), np.empty((GROUPS, wide, wide)), np.empty((k, k))
    halves(work, x, n, roots, sums, parts, out)
    return out, sums.sum(0)
