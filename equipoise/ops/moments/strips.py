"""Sums of strips: 16 neighbouring lanes down some rows, their sums in registers meanwhile.

In compiled Numba loops the sums of a lane are read and written for every few values, which takes
longer than reading the values from memory.  Where strips jump from row to row memory would be
slow: so while strip after strip of some rows is summed, the rows behind the next as many are
fetched in their order, into the second-level cache (into the first it took twice as long).
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from equipoise.ops.jit import emits
from equipoise.ops.moments.layout import MAX_LANES
from equipoise.ops.moments.layout import RUN as LANES

# constants between the sums of a lane let LLVM see that they never overlap; 16 more than a
# power of two, so that they do not compete for the same cache sets, and for a last strip
PITCH = MAX_LANES + 16
SHIFT, TOTAL, SQUARES, LOW, HIGH, MISSING = (k * PITCH for k in range(6))
# the sums are float64; what no rounding touches has the type of the values and an array of its own
# (at the same places), and merges without a conversion
ENDS = (LOW, HIGH, MISSING)

# what is summed: all but MISSING, where NaNs spoil their TOTAL; or all.  Where extremes are enough
# TOTAL sums the values times 0, which only NaNs and infinities spoil, or MISSING counts NaNs
PLAIN, OMIT, EXTREMES, EXTREMES_OMIT = range(4)
_SUMMED = {
    PLAIN: (TOTAL, SQUARES, LOW, HIGH),
    OMIT: (TOTAL, SQUARES, LOW, HIGH, MISSING),
    EXTREMES: (TOTAL, LOW, HIGH),
    EXTREMES_OMIT: (LOW, HIGH, MISSING),
}

_SHORT, _WORD, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_WIDE, _POINTER = ir.VectorType(_DOUBLE, LANES), ir.PointerType()
_START = {LOW: float("inf"), HIGH: float("-inf")}
# bytes that are fetched at once, and how near: 3 is the first-level cache
_LINE, _NEAR = 64, 2
# how many groups of rows ahead: of one, the first lines came too late
_GROUPS = 2


def _all(kind, value):
    return ir.Constant(kind, [value] * LANES)


class _Strips:
    """Emits the loops over strips and rows."""

    def __init__(self, context, builder, signature, args, form):
        self.b, self.summed = builder, _SUMMED[form]
        x, start, self.rows, self.step, self.lanes, sums, ends = args
        kinds = signature.args
        self.x = builder.gep(context.make_array(kinds[0])(context, builder, x).data, [start])
        self.sums = context.make_array(kinds[-2])(context, builder, sums).data
        self.ends = context.make_array(kinds[-1])(context, builder, ends).data
        self.element = context.get_data_type(kinds[0].dtype)
        self.size = context.get_abi_sizeof(self.element)
        self.stored = ir.VectorType(self.element, LANES)

    def emit(self):
        """Emit strip after strip, what is left of the last one under a mask."""
        b = self.b
        group = b.mul(self.rows, self.step)
        self.ahead = cgutils.alloca_once_value(b, b.mul(_WORD(_GROUPS), group))
        self.ahead_lane = cgutils.alloca_once_value(b, _WORD(0))
        whole = b.and_(self.lanes, _WORD(-LANES))
        with cgutils.for_range_slice(b, _WORD(0), whole, _WORD(LANES), _WORD) as (lane, _):
            self._strip(lane)
        with b.if_then(b.icmp_signed("<", whole, self.lanes)):
            words = ir.VectorType(_WORD, LANES)
            none = ir.Constant(words, ir.Undefined)
            one = b.insert_element(none, b.sub(self.lanes, whole), _SHORT(0))
            left = b.shuffle_vector(one, none, _all(ir.VectorType(_SHORT, LANES), 0))
            self._strip(whole, b.icmp_signed("<", ir.Constant(words, list(range(LANES))), left))

    def _strip(self, lane, mask=None):
        """Emit the loop over the rows of one strip, and what follows it."""
        b = self.b
        wide = (TOTAL, SQUARES) if SQUARES in self.summed else ()
        kinds = {k: _WIDE if k in wide else self.stored for k in self.summed}
        slots = {k: cgutils.alloca_once(b, kind) for k, kind in kinds.items()}
        for k, slot in slots.items():
            b.store(_all(kinds[k], _START.get(k, 0.0)), slot)
        shift = b.load(self._field(lane, SHIFT, _WIDE), align=8)
        with cgutils.for_range(b, self.rows, intp=_WORD) as loop:
            # a single strip of whole rows lies in line, which the processor sees by itself
            with b.if_then(b.icmp_signed(">", self.lanes, _WORD(LANES))):
                self._fetch()
            index = b.add(b.mul(loop.index, self.step), lane)
            values = self._load(b.gep(self.x, [index]), mask)
            sums = {k: b.load(slot) for k, slot in slots.items()}
            for k, value in self._add(values, shift, sums).items():
                b.store(value, slots[k])
        for k, slot in slots.items():
            value = b.load(slot)
            self._keep(k, value if k in ENDS else self._widen(value), lane, mask)

    def _fetch(self):
        """Emit the prefetch of the next 16 values of rows further on, row after row."""
        b = self.b
        at, lane = b.load(self.ahead), b.load(self.ahead_lane)
        for i in range(0, LANES, _LINE // self.size):
            pointer = b.bitcast(b.gep(self.x, [b.add(at, _WORD(i))]), _POINTER)
            words = [_SHORT(0), _SHORT(_NEAR), _SHORT(1)]
            self._intrinsic("llvm.prefetch.p0", ir.VoidType(), [pointer, *words])
        behind = b.add(lane, _WORD(LANES))
        more = b.icmp_signed("<", behind, self.lanes)
        b.store(b.add(at, b.select(more, _WORD(LANES), b.sub(self.step, lane))), self.ahead)
        b.store(b.select(more, behind, _WORD(0)), self.ahead_lane)

    def _load(self, pointer, mask):
        b = self.b
        if mask is None:
            return b.load(b.bitcast(pointer, self.stored.as_pointer()), align=self.size)
        name = f"llvm.masked.load.v{LANES}f{8 * self.size}.p0"
        where, zeros = b.bitcast(pointer, _POINTER), _all(self.stored, 0.0)
        return self._intrinsic(name, self.stored, [where, _SHORT(self.size), mask, zeros])

    def _intrinsic(self, name, result, args):
        kind = ir.FunctionType(result, [value.type for value in args])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), args)

    def _add(self, stored, shift, sums):
        """Emit one row's share of the sums."""
        b, new = self.b, {}
        if SQUARES in sums:
            d = b.fsub(self._widen(stored), shift)
            if MISSING in sums:
                known = b.fcmp_ordered("ord", stored, stored)
                d = b.select(known, d, _all(_WIDE, 0.0))
            new[TOTAL] = b.fadd(sums[TOTAL], d)
            # one instruction where there is one, and then everywhere: the same bits in any form
            new[SQUARES] = self._multiply_add(d, d, sums[SQUARES])
        elif TOTAL in sums:
            zeros = _all(self.stored, 0.0)
            new[TOTAL] = self._multiply_add(stored, zeros, sums[TOTAL])
        if MISSING in sums:
            known = b.fcmp_ordered("ord", stored, stored)
            more = b.select(known, _all(self.stored, 0.0), _all(self.stored, 1.0))
            new[MISSING] = b.fadd(sums[MISSING], more)
        return new | {k: self._further(k, stored, sums[k]) for k in (LOW, HIGH)}

    def _multiply_add(self, a, b, c):
        name = f"llvm.fmuladd.v{LANES}f{8 * self.size if a.type == self.stored else 64}"
        return self._intrinsic(name, a.type, [a, b, c])

    def _further(self, k, value, than):
        # ordered comparisons: a NaN is never chosen
        beyond = self.b.fcmp_ordered("<" if k == LOW else ">", value, than)
        return self.b.select(beyond, value, than)

    def _field(self, lane, k, kind):
        fields = self.ends if k in ENDS else self.sums
        at = self.b.gep(fields, [self.b.add(lane, _WORD(k))])
        return self.b.bitcast(at, kind.as_pointer())

    def _widen(self, value):
        return value if value.type == _WIDE else self.b.fpext(value, _WIDE)

    def _keep(self, k, value, lane, mask):
        """Emit the merge of what a strip summed into its lanes in memory."""
        b, at = self.b, self._field(lane, k, value.type)
        align = self.size if k in ENDS else 8
        before = b.load(at, align=align)
        merged = self._further(k, value, before) if k in _START else b.fadd(before, value)
        # lanes beyond the row may be others' own
        b.store(merged if mask is None else b.select(mask, merged, before), at, align=align)


def _emits(form):
    def strips(typingctx, x, start, rows, step, lanes, sums, ends):
        def codegen(context, builder, signature, args):
            _Strips(context, builder, signature, args, form).emit()
            return context.get_dummy_value()

        return types.none(x, *(types.int64,) * 4, sums, ends), codegen

    return strips


# add ``rows`` rows of ``lanes`` values, ``step`` apart, from x[start] on to the lanes of ``sums``
# and ``ends``, whose fields begin at SHIFT to MISSING
add_plain = emits(_emits(PLAIN))
add_omit = emits(_emits(OMIT))
add_extremes = emits(_emits(EXTREMES))
add_extremes_omit = emits(_emits(EXTREMES_OMIT))
