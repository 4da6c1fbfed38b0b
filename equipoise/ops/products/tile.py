"""Products of small matrices, tile by tile: the sums of a tile stay in registers.

BLAS packs its operands anew for each call, which takes longer than the products themselves where
a matrix has few columns.  Here blocks of rows lie ready in the cache.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from equipoise.ops.jit import emits, inline
from equipoise.ops.products.layout import ITEM, LINE, SHORT, SIDE
from equipoise.ops.sweep.lanes import LONG, POINTER, WORD, intrinsic, suffix

# vectors of a tile
STRIP = 3


class _Tile:
    """Emits out[i, j] += Σ_k a[i, k] b[k, j] for a few rows and a few vectors of columns."""

    element, item = ir.DoubleType(), ITEM

    def __init__(self, builder, rows, vectors, args):
        self.b, self.rows, self.vectors = builder, rows, vectors
        # as many bytes as SIDE numbers of float64
        self.lanes = SIDE * ITEM // self.item
        self.vector = ir.VectorType(self.element, self.lanes)
        self.a, self.a_row, self.a_step, self.b_at, self.b_step, self.out, self.pitch, self.k = args

    def emit(self):
        """Emit the loop over k between the loads and the stores of the sums."""
        b = self.b
        places = [
            self._at(self.out, b.mul(self.pitch, LONG(i)), v)
            for i in range(self.rows)
            for v in range(self.vectors)
        ]
        start = [b.load(place, typ=self.vector, align=self.item) for place in places]
        rows = [b.mul(self.a_row, LONG(i)) for i in range(self.rows)]
        before, body, after = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        kinds = [LONG] * 3 + [self.vector] * len(start)
        phis = [b.phi(kind) for kind in kinds]
        k, a, row, *sums = phis
        new = [
            b.add(k, LONG(1)),
            b.add(a, b.mul(self.a_step, LONG(self.item))),
            b.add(row, b.mul(self.b_step, LONG(self.item))),
            *self._step(a, rows, row, sums),
        ]
        for phi, first, value in zip(phis, [LONG(0), self.a, self.b_at, *start], new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", new[0], self.k), body, after)
        b.position_at_end(after)
        for place, value in zip(places, new[3:], strict=True):
            b.store(value, place, align=self.item)

    def _step(self, a, rows, row, sums):
        """Emit one k: each number of a times the vectors of a row of b."""
        b, item = self.b, self.item
        vectors = [
            b.load(self._at(row, LONG(0), v), typ=self.vector, align=item)
            for v in range(self.vectors)
        ]
        for i, offset in enumerate(rows):
            number = self._splat(b.load(self._at(a, offset), typ=self.element))
            for v, vector in enumerate(vectors):
                yield self._add(number, vector, sums[i * self.vectors + v])

    def _add(self, x, y, total):
        name = f"llvm.fmuladd.{suffix(self.vector)}"
        return intrinsic(self.b, name, self.vector, [x, y, total])

    def _at(self, address, offset, vector=0):
        """Give a pointer ``offset`` numbers and some vectors behind an address."""
        index = self.b.add(offset, LONG(self.lanes * vector))
        return self.b.inttoptr(self.b.add(address, self.b.mul(index, LONG(self.item))), POINTER)

    def _splat(self, number):
        none = ir.Constant(self.vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(WORD, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(none, number, WORD(0)), none, zeros)


class _Pairs(_Tile):
    """The same, each number two of bfloat16: two products a lane, added up in float32."""

    element, item = ir.FloatType(), SHORT

    def _add(self, x, y, total):
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.b.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, x, y], False)


def _emits(rows, vectors, tile_type=_Tile):
    def tile(typingctx, a, a_row, a_step, b, b_step, out, pitch, k):
        def codegen(context, builder, signature, args):
            tile_type(builder, rows, vectors, args).emit()
            return context.get_dummy_value()

        return types.none(*(types.int64,) * 8), codegen

    return emits(tile)


_one, _two, _three = (_emits(SIDE, vectors) for vectors in range(1, STRIP + 1))
# STRIP vectors of pairs; addresses are those of float32 numbers
pairs = _emits(SIDE, STRIP, _Pairs)
_row_of_one, _row_of_four = _emits(1, 1), _emits(1, 4)


@emits
def _fetch(typingctx, address, lines):
    """Begin to read some lines of memory into the second-level cache; they need not exist."""

    def codegen(context, builder, signature, args):
        with cgutils.for_range(builder, args[1], intp=LONG) as loop:
            at = builder.add(args[0], builder.mul(loop.index, LONG(LINE)))
            words = [builder.inttoptr(at, POINTER), WORD(0), WORD(2), WORD(1)]
            intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), words)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), codegen


@inline
def strips(vectors):
    """Count the tiles beside each other that `multiply` takes for some vectors."""
    return (vectors + STRIP - 1) // STRIP


@inline
def multiply(a, a_row, a_step, b, b_step, out, pitch, rows, vectors, k, ahead, lines):
    """Add a b to ``out``: a is (rows, k), b is (k, columns), ``rows`` a multiple of SIDE.

    All are addresses of float64 numbers; ``a_row`` and ``a_step`` numbers lie between neighbours
    of a's rows and columns, ``b_step`` and ``pitch`` between the rows of b and of ``out``, whose
    columns lie without gaps and fill ``vectors`` vectors.  Before each tile ``lines`` more lines
    of memory from ``ahead`` on are fetched: what follows comes while arithmetic keeps busy.
    """
    at = 0
    while at < vectors:
        left, o = vectors - at, ITEM * SIDE * at
        # 4 are two pairs: a single vector leaves the processor waiting
        width = STRIP if left == STRIP or left > STRIP + 1 else min(left, 2)
        for i in range(0, rows, SIDE):
            _fetch(ahead, lines)
            ahead += LINE * lines
            ai, oi = a + ITEM * i * a_row, out + ITEM * i * pitch + o
            if width == 3:
                _three(ai, a_row, a_step, b + o, b_step, oi, pitch, k)
            elif width == 2:
                _two(ai, a_row, a_step, b + o, b_step, oi, pitch, k)
            else:
                _one(ai, a_row, a_step, b + o, b_step, oi, pitch, k)
        at += width


@inline
def combine(a, a_step, b, b_step, out, vectors, k):
    """Add Σ_k a[k] b[k] to the numbers at ``out``: `multiply` for a single row of a."""
    at = 0
    while at < vectors:
        o = ITEM * SIDE * at
        if vectors - at >= 4:
            _row_of_four(a, 0, a_step, b + o, b_step, out + o, 0, k)
            at += 4
        else:
            _row_of_one(a, 0, a_step, b + o, b_step, out + o, 0, k)
            at += 1
