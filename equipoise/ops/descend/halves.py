"""Cross products to three digits: columns rounded to bfloat16, multiplied pair by pair of rows.

The columns of a block of rows are rounded into memory that stays in the cache; a tile of four by
four of them keeps its sums in registers.  The processor must have
``products.layout.PAIRS``.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import prange, types

from equipoise.ops.jit import Kernel, emits, fast, inline, window
from equipoise.ops.sweep.lanes import LONG, POINTER, intrinsic, suffix

# llvmlite has no name for the instruction
llvm.initialize_native_asmparser()

# rows of a block, columns along a side of a tile, and groups of rows that are summed apart
ROWS, SIDE, GROUPS = 1024, 4, 8
# bytes of a vector, and of a number
BYTES, ITEM = 64, 2
FLOAT = ir.FloatType()
SUMS = ir.VectorType(FLOAT, BYTES // 4)


class _Tile:
    """Emits the products of SIDE columns at one address with SIDE at another."""

    def __init__(self, builder, left, right, stride):
        self.b, self.stride = builder, stride
        self.left, self.right = (
            [builder.add(base, builder.mul(stride, LONG(k))) for k in range(SIDE)]
            for base in (left, right)
        )

    def emit(self):
        """Emit the loop over vectors of both; give the sums, lane by lane."""
        b = self.b
        before, body, after = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        at, *sums = [b.phi(kind) for kind in [LONG] + [SUMS] * SIDE**2]
        mine, theirs = ([self._load(c, at) for c in side] for side in (self.left, self.right))
        pairs = [(x, y) for x in mine for y in theirs]
        added = [self._add(x, y, total) for (x, y), total in zip(pairs, sums, strict=True)]
        zeros = ir.Constant(SUMS, [0.0] * SUMS.count)
        new = [b.add(at, LONG(BYTES)), *added]
        for phi, first, value in zip([at, *sums], [LONG(0)] + [zeros] * SIDE**2, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", new[0], self.stride), body, after)
        b.position_at_end(after)
        return added

    def _load(self, column, at):
        place = self.b.inttoptr(self.b.add(column, at), POINTER)
        return self.b.load(place, typ=SUMS, align=ITEM)

    def _add(self, x, y, total):
        kind = ir.FunctionType(SUMS, [SUMS] * 3)
        return self.b.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, x, y], False)


@emits
def _tile(typingctx, z, a, b, size, out):
    """Fill ``out`` with the products of columns a to a + 3 of flat ``z`` with columns b to b + 3.

    A column holds ``size`` numbers, whole vectors of them.
    """

    def codegen(context, builder, signature, args):
        source, target = (
            context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 4)
        )
        stride, base = builder.mul(args[3], LONG(ITEM)), builder.ptrtoint(source, LONG)
        left, right = (builder.add(base, builder.mul(stride, first)) for first in args[1:3])
        name = f"llvm.vector.reduce.fadd.{suffix(SUMS)}"
        for k, lanes in enumerate(_Tile(builder, left, right, stride).emit()):
            total = intrinsic(builder, name, FLOAT, [FLOAT(0.0), lanes], ("reassoc",))
            builder.store(total, builder.gep(target, [LONG(k)]))
        return context.get_dummy_value()

    return types.none(z, types.int64, types.int64, types.int64, out), codegen


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
        line = np.zeros(ROWS, np.float32)
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
                for b in range(a, wide, SIDE):
                    _tile(z, a, b, ROWS, tile)
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
