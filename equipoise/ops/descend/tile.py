"""Products of a few columns with a few, all at once: their sums stay in registers."""

from llvmlite import ir
from numba import types

from equipoise.ops.jit import emits, inline
from equipoise.ops.products import layout
from equipoise.ops.sweep.lanes import LONG, POINTER, intrinsic, suffix

# columns along a side of a tile
SIDE = 4


class Tile:
    """Emits the products of SIDE columns with SIDE others, given where each of them begins."""

    # type of the sums, bytes of a number in a column, sums in a vector, and bytes of it
    element, item, lanes, width = ir.DoubleType(), layout.ITEM, layout.SIDE, 8 * layout.SIDE

    def __init__(self, builder, left, right, length):
        self.b, self.left, self.right, self.length = builder, left, right, length
        self.sums = ir.VectorType(self.element, self.lanes)

    def emit(self):
        """Emit the loop over vectors of both; give the sums, lane by lane."""
        b, kind = self.b, self.sums
        before, body, after = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(body)
        b.position_at_end(body)
        at, *sums = [b.phi(one) for one in [LONG] + [kind] * SIDE**2]
        mine, theirs = ([self._load(c, at) for c in side] for side in (self.left, self.right))
        pairs = [(x, y) for x in mine for y in theirs]
        added = [self._add(x, y, total) for (x, y), total in zip(pairs, sums, strict=True)]
        zeros = ir.Constant(kind, [0.0] * self.lanes)
        new = [b.add(at, LONG(self.width)), *added]
        for phi, first, value in zip([at, *sums], [LONG(0)] + [zeros] * SIDE**2, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", new[0], self.length), body, after)
        b.position_at_end(after)
        return added

    def _load(self, column, at):
        place = self.b.inttoptr(self.b.add(column, at), POINTER)
        return self.b.load(place, typ=self.sums, align=self.item)

    def _add(self, x, y, total):
        name = f"llvm.fmuladd.{suffix(self.sums)}"
        return intrinsic(self.b, name, self.sums, [x, y, total])


def emits_tile(kind):
    """Give ``tile(x, left, z, right, size, out)`` for a kind of `Tile`.

    It fills ``out`` with the products of the SIDE columns of flat ``x`` that begin at the places
    ``left`` with those of flat ``z`` at the places ``right``, each of ``size`` numbers: whole
    vectors of them.
    """

    def tile(typingctx, x, left, z, right, size, out):
        def codegen(context, builder, signature, args):
            data = [
                None if k == 4 else context.make_array(array)(context, builder, args[k]).data
                for k, array in enumerate(signature.args)
            ]
            item = LONG(kind.item)

            def columns(base, places):
                base = builder.ptrtoint(base, LONG)
                for k in range(SIDE):
                    place = builder.load(builder.gep(places, [LONG(k)]))
                    yield builder.add(base, builder.mul(item, place))

            sides = list(columns(*data[:2])), list(columns(*data[2:4]))
            made = kind(builder, *sides, builder.mul(item, args[4])).emit()
            name = f"llvm.vector.reduce.fadd.{suffix(made[0].type)}"
            for k, lanes in enumerate(made):
                first = [kind.element(0.0), lanes]
                total = intrinsic(builder, name, kind.element, first, ("reassoc",))
                builder.store(total, builder.gep(data[5], [LONG(k)]))
            return context.get_dummy_value()

        return types.none(x, left, z, right, types.int64, out), codegen

    return emits(tile)


@inline
def neighbours(first, pitch, places):
    """Fill ``places`` with where SIDE columns begin, ``pitch`` apart."""
    for k in range(SIDE):
        places[k] = (first + k) * pitch
