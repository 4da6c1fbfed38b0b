"""Products of rows with rows, X̃ X̃ᵀ, from numbers rounded to bfloat16 and added up in float32.

A stretch of columns of X̃ is packed: panels of as many rows as a tile is wide, pair after pair of
neighbours in a row.  Then each panel meets those from it on.
"""

from llvmlite import ir
from numba import carray, float32, types

from equipoise.ops.jit import emits, inline
from equipoise.ops.products.layout import AISLE, CHUNK, ITEM, PANEL, SHORT, SIDE
from equipoise.ops.products.rows import numbers, place
from equipoise.ops.products.tile import pairs
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.lanes import WORD
from equipoise.ops.sweep.loop import HEAD, PHASE, SCRATCH

(
    # rows, and the stretch of columns
    N, FIRST, LAST,
    # addresses and steps: of X in the compute type, and chosen rows (0: all)
    X, X_DOWN, X_ACROSS, ROWS,
    # float64: the offset and the factors of the columns (p,), and the factors of the rows (n,)
    OFFSET, SCALE, ROOT,
    # addresses of float32: panels, and the products (n, n), of which the upper triangle is made
    PACKED, OUT,
) = range(HEAD, HEAD + 12)  # fmt: skip
PACK, MULTIPLY = 1, 2


@emits
def _bfloat(typingctx, value):
    """Give the bits of a float32 number rounded to bfloat16, ties to even."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], WORD)
        odd = builder.and_(builder.lshr(bits, WORD(16)), WORD(1))
        bits = builder.add(builder.add(bits, WORD(32767)), odd)
        return builder.trunc(builder.lshr(bits, WORD(16)), ir.IntType(16))

    return types.uint16(types.float32), codegen


def _pointers(kind):
    def at(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], ir.PointerType())

        return types.CPointer(kind)(types.int64), codegen

    return emits(at)


_singles, _halves = _pointers(types.float32), _pointers(types.uint16)


def outer_products(task, integers, floats, computed):
    """Pack a panel, or add its products with the panels from it on."""
    if task < 0:
        return
    if integers[PHASE] == PACK:
        _pack(integers, floats, computed, task)
    else:
        _multiply(integers, task)


@inline
def _steps(integers):
    """Count the pairs that a row of a panel has."""
    return (integers[LAST] - integers[FIRST] + 1) // 2


@inline
def _pack(integers, floats, computed, panel):
    """Fill a panel, some pairs of all its rows at a time."""
    i, steps = integers, _steps(integers)
    out = carray(_singles(i[PACKED] + SHORT * panel * steps * PANEL), (steps * PANEL,))
    block = i[SCRATCH] + SHORT * panel * PANEL * AISLE
    # rows beyond the last, and half a pair, are zeros
    z = carray(_singles(block), (PANEL * AISLE,))
    z[:] = 0.0
    rows = min(PANEL, i[N] - panel * PANEL)
    for k in range(0, steps, CHUNK):
        count = min(CHUNK, steps - k)
        first = i[FIRST] + 2 * k
        last = min(first + 2 * count, i[LAST])
        if last - first < 2 * count:
            z[:] = 0.0
        for r in range(rows):
            _convert(integers, floats, computed, panel * PANEL + r, first, last, block, r)
        for c in range(count):
            row = out[(k + c) * PANEL : (k + c + 1) * PANEL]
            for r in range(PANEL):
                row[r] = z[r * AISLE + c]


@inline
def _convert(integers, floats, computed, r, first, last, block, line):
    """Shift, scale and round some columns of row r: offset and factors count in float64."""
    i = integers
    x, step, size = pointer_at(computed, i[X]), i[X_ACROSS], last - first
    at = place(pointer_at(integers, i[ROWS]), i[ROWS], r) * i[X_DOWN] + first * step
    offset = numbers(floats, i[OFFSET] + ITEM * first, size)
    scale = numbers(floats, i[SCALE] + ITEM * first, size)
    factor = numbers(floats, i[ROOT], i[N])[r]
    halves = carray(_halves(block + SHORT * line * AISLE), (size,))
    if step == 1:
        for c in range(size):
            halves[c] = _bfloat(float32((x[at + c] - offset[c]) * (scale[c] * factor)))
    else:
        for c in range(size):
            halves[c] = _bfloat(float32((x[at + c * step] - offset[c]) * (scale[c] * factor)))


@inline
def _multiply(integers, panel):
    """Add the products of a panel with itself and those after it.

    Columns beyond the last are zeros, which change nothing where they are added: to the lower
    triangle of the rows below, or behind the last one.
    """
    i = integers
    n, steps = i[N], _steps(integers)
    size = SHORT * steps * PANEL
    mine = i[PACKED] + panel * size
    for other in range(panel, (n + PANEL - 1) // PANEL):
        theirs = i[PACKED] + other * size
        for r in range(0, PANEL, SIDE):
            out = i[OUT] + SHORT * ((panel * PANEL + r) * n + other * PANEL)
            pairs(mine + SHORT * r, 1, PANEL, theirs, PANEL, out, n, steps)
