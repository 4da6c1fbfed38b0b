"""Sums of neighbouring values: where one column is contiguous its sums can stay in registers.

Each of the 16 lanes sums every sixteenth value.  In compiled Numba loops the sums of a lane are
read and written for every few values, which takes longer than reading the values from memory.
"""

from llvmlite import ir
from numba import types

from equipoise.ops.jit import emits
from equipoise.ops.moments.layout import RUN as LANES

_DOUBLE, _WORD = ir.DoubleType(), ir.IntType(64)
_WIDE = ir.VectorType(_DOUBLE, LANES)
# products and sums may be one instruction; nothing else is reordered
_FUSED = ("contract",)


class _Run:
    """Emits one loop over ``rows`` rows; the fields are vectors in registers."""

    def __init__(self, context, builder, signature, args, omit):
        self.b, self.omit = builder, omit
        x, start, self.rows, sums, *offsets = args
        kinds = signature.args
        self.x = builder.gep(context.make_array(kinds[0])(context, builder, x).data, [start])
        self.sums = context.make_array(kinds[3])(context, builder, sums).data
        self.total, self.squares, self.low, self.high, self.missing = offsets
        self.element = context.get_data_type(kinds[0].dtype)
        self.size = context.get_abi_sizeof(self.element)
        self.stored = ir.VectorType(self.element, LANES)

    def _load(self, pointer, kind, align):
        return self.b.load(self.b.bitcast(pointer, kind.as_pointer()), align=align)

    def _field(self, offset):
        return self.b.bitcast(self.b.gep(self.sums, [offset]), _WIDE.as_pointer())

    def _narrow(self, value):
        return value if self.stored == _WIDE else self.b.fptrunc(value, self.stored)

    def _widen(self, value):
        return value if self.stored == _WIDE else self.b.fpext(value, _WIDE)

    def emit(self):
        """Emit the loop, then add what it summed to the lanes in memory."""
        b, zero = self.b, ir.Constant(_WIDE, [0.0] * LANES)
        shift = b.load(self._field(_WORD(0)), align=8)
        extremes = [b.load(self._field(o), align=8) for o in (self.low, self.high)]
        first = [zero, zero, zero, *map(self._narrow, extremes)]
        before, body, after = (b.append_basic_block() for _ in range(3))
        b.branch(before)
        b.position_at_end(before)
        b.cbranch(b.icmp_signed(">", self.rows, _WORD(0)), body, after)
        b.position_at_end(body)
        row = b.phi(_WORD)
        row.add_incoming(_WORD(0), before)
        carried = [b.phi(value.type) for value in first]
        new = self._add(b.mul(row, _WORD(LANES)), shift, *carried)
        following = b.add(row, _WORD(1))
        row.add_incoming(following, body)
        b.cbranch(b.icmp_signed("<", following, self.rows), body, after)
        b.position_at_end(after)
        for k, value in enumerate(first):
            carried[k].add_incoming(value, before)
            carried[k].add_incoming(new[k], body)
        self._keep(first, new, before, body)

    def _add(self, index, shift, total, squares, missing, low, high):
        """Add one row."""
        b = self.b
        stored = self._load(b.gep(self.x, [index]), self.stored, self.size)
        wide = self._widen(stored)
        d = b.fsub(wide, shift, flags=_FUSED)
        if self.omit:
            zero, one = (ir.Constant(_WIDE, [c] * LANES) for c in (0.0, 1.0))
            known = b.fcmp_ordered("ord", wide, wide)
            d = b.select(known, d, zero)
            missing = b.fadd(missing, b.select(known, zero, one))
        total = b.fadd(total, d, flags=_FUSED)
        squares = b.fadd(squares, b.fmul(d, d, flags=_FUSED), flags=_FUSED)
        # ordered comparisons: a NaN is never chosen
        low = b.select(b.fcmp_ordered("<", stored, low), stored, low)
        high = b.select(b.fcmp_ordered(">", stored, high), stored, high)
        return total, squares, missing, low, high

    def _keep(self, first, new, before, body):
        b, found = self.b, []
        for k, value in enumerate(first):
            merged = b.phi(value.type)
            merged.add_incoming(value, before)
            merged.add_incoming(new[k], body)
            found.append(merged)
        offsets = (self.total, self.squares, self.missing)
        for offset, value in zip(offsets, found, strict=False):
            at = self._field(offset)
            b.store(b.fadd(b.load(at, align=8), value), at, align=8)
        for offset, value in zip((self.low, self.high), found[3:], strict=True):
            b.store(self._widen(value), self._field(offset), align=8)


def _emits(omit):
    def run(typingctx, x, start, rows, sums, total, squares, low, high, missing):
        def codegen(context, builder, signature, args):
            _Run(context, builder, signature, args, omit).emit()
            return context.get_dummy_value()

        offsets = (types.int64,) * 5
        return types.none(x, types.int64, types.int64, sums, *offsets), codegen

    return run


# add ``rows`` rows of 16 values from x[start] on to the lanes of ``sums``, whose fields begin at
# the offsets total to missing; a NaN spoils its lane's total, or is left out and counted
add_run = emits(_emits(False))
add_run_omit = emits(_emits(True))
