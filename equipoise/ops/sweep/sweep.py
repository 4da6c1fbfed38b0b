"""A sweep: one formula over a matrix of numbers, compiled to vector code for one number format.

A matrix has rows of ``columns`` numbers, ``pitch`` numbers apart.  What a formula sees has the
shape of the matrix (streams), of one row (``columns``: a number per column) or of one column
(``rows``: a number per row); what it adds up is summed along ``axis``, as NumPy counts axes.

    axis 1   row after row; a row's sums stay in registers
    axis 0   strips of columns down ``block`` rows at a time; the columns' numbers and sums stay
             in registers meanwhile.  From memory one row at a time is up to twice as fast as
             several, which are as many streams; within the caches it is the other way round
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from llvmlite import ir

from equipoise.ops.sweep import machine
from equipoise.ops.sweep.lanes import LONG, POINTER, WORD, Lanes, intrinsic, suffix

# bytes of a vector, vectors of a strip
VECTOR, STRIP = 64, 4
# numbers of a row that are summed in the compute type before float64 takes over
RUN = 1024

_FLOAT, _DOUBLE, _HALF = ir.FloatType(), ir.DoubleType(), ir.HalfType()
_STORED = {
    torch.float32: (_FLOAT, _FLOAT),
    torch.float64: (_DOUBLE, _DOUBLE),
    torch.bfloat16: (ir.IntType(16), _FLOAT),
    torch.float16: (_HALF, _FLOAT),
}
_SIZE = {"float": 4, "double": 8, "i16": 2, "half": 2}


class _Bfloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not know."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _Bfloat)

    def __hash__(self):
        return hash(_Bfloat)


@dataclass(frozen=True)
class Sweep:
    """What a formula reads, writes and sums.

    ``formula`` takes a namespace of all that is read (streams, row and column numbers) and gives
    a dict of what is written and summed; what it leaves alone costs nothing, so that sweeps of
    one kind take the same operands.  While rows are worked on, those of ``ahead`` that follow
    them come into the second cache: that pays where arithmetic takes longer than memory.
    ``strip`` vectors are worked on together: a long formula leaves registers for two.
    """

    name: str
    formula: Callable
    axis: int
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    strip: int = STRIP

    @property
    def operands(self) -> tuple[str, ...]:
        """The names in the order of the C function's addresses."""
        return (*self.reads, *self.writes, *self.rows, *self.columns, *self.sums)


# the C function takes one array: these, then the operands' addresses
HEAD = ("row_count", "column_count", "pitch")


class _Emitter:
    """Emits one sweep as a C function of an array of integers."""

    def __init__(self, sweep: Sweep, dtype: torch.dtype, streaming: bool, block: int):
        self.sweep, self.streaming, self.block = sweep, streaming, block
        self.stored, self.compute = _STORED[dtype]
        self.count = VECTOR // _SIZE[str(self.compute)]
        self.vector = ir.VectorType(self.compute, self.count)
        # the processor takes subnormal numbers for zeros there, as our exp does
        self.rounds = self.stored == ir.IntType(16) and machine.rounds_to_bfloat16()
        self.module = ir.Module("sweep")
        kind = ir.FunctionType(ir.VoidType(), [POINTER])
        self.function = ir.Function(self.module, kind, "sweep")
        self.function.args[0].add_attribute("noalias")
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    def emit(self) -> str:
        """Give the module's text."""
        arguments = [self._argument(k) for k in range(len(HEAD) + len(self.sweep.operands))]
        self.row_count, self.column_count, self.pitch = arguments[: len(HEAD)]
        self.address = {
            name: self.b.inttoptr(a, POINTER)
            for name, a in zip(self.sweep.operands, arguments[len(HEAD) :], strict=True)
        }
        (self._down if self.sweep.axis == 0 else self._across)()
        if self.streaming:
            # such stores are ordered by nothing else, and another thread may read them next
            self.b.fence("seq_cst")
        self.b.ret_void()
        return str(self.module)

    def _argument(self, k):
        at = self.b.gep(self.function.args[0], [LONG(k)], source_etype=LONG)
        return self.b.load(at, typ=LONG)

    # --- control flow -----------------------------------------------------------------------

    def _slot(self, kind):
        with self.b.goto_entry_block():
            return self.b.alloca(kind)

    @contextmanager
    def _loop(self, start, end, step):
        b, slot = self.b, self._slot(LONG)
        b.store(start, slot)
        test, body, done = (self.function.append_basic_block() for _ in range(3))
        b.branch(test)
        b.position_at_end(test)
        at = b.load(slot, typ=LONG)
        b.cbranch(b.icmp_signed("<", at, end), body, done)
        b.position_at_end(body)
        yield at
        b.store(b.add(at, LONG(step)), slot)
        b.branch(test)
        b.position_at_end(done)

    def _min(self, x, y):
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def _strips(self, start, end, body):
        """Call ``body(at, vectors, mask)`` for strips, single vectors, and a rest under a mask."""
        b, n, strip = self.b, self.count, self.sweep.strip
        size = b.sub(end, start)
        wide = b.add(start, b.mul(b.sdiv(size, LONG(n * strip)), LONG(n * strip)))
        whole = b.add(start, b.mul(b.sdiv(size, LONG(n)), LONG(n)))
        with self._loop(start, wide, n * strip) as at:
            body(at, strip, None)
        with self._loop(wide, whole, n) as at:
            body(at, 1, None)
        with b.if_then(b.icmp_signed("<", whole, end)):
            lanes = ir.VectorType(WORD, n)
            iota = ir.Constant(lanes, list(range(n)))
            rest = self._splat(b.trunc(b.sub(end, whole), WORD), lanes)
            body(whole, 1, b.icmp_signed("<", iota, rest))

    # --- memory -----------------------------------------------------------------------------

    def _splat(self, value, kind):
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, WORD(0))
        zeros = ir.Constant(ir.VectorType(WORD, kind.count), [0] * kind.count)
        return self.b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def _at(self, name, index, kind):
        return self.b.gep(self.address[name], [index], source_etype=kind)

    def _read(self, pointer, element, mask):
        kind = ir.VectorType(element, self.count)
        align = _SIZE[str(element)]
        if mask is None:
            return self.b.load(pointer, typ=kind, align=align)
        name = f"llvm.masked.load.{suffix(kind)}.p0"
        zero = ir.Constant(kind, [0.0 if element != ir.IntType(16) else 0] * self.count)
        return intrinsic(self.b, name, kind, [pointer, WORD(align), mask, zero])

    def _write(self, value, pointer, element, mask, streaming=False):
        align = _SIZE[str(element)]
        if mask is None:
            size = align * self.count
            store = self.b.store(value, pointer, align=size if streaming else align)
            if streaming:
                one = self.module.add_metadata([WORD(1)])
                store.set_metadata("nontemporal", one)
            return
        name = f"llvm.masked.store.{suffix(value.type)}.p0"
        intrinsic(self.b, name, ir.VoidType(), [value, pointer, WORD(align), mask])

    def _fetch(self, name, index):
        """Begin to read what lies as many rows further on as there are; it need not exist."""
        far = self.b.add(index, self.b.mul(self.row_count, self.pitch))
        # read, into the second cache, data
        words = [self._at(name, far, self.stored), WORD(0), WORD(2), WORD(1)]
        intrinsic(self.b, "llvm.prefetch.p0", ir.VoidType(), words)

    def _stream(self, name, index, mask):
        if name in self.sweep.ahead and mask is None:
            self._fetch(name, index)
        value = self._read(self._at(name, index, self.stored), self.stored, mask)
        b, n = self.b, self.count
        if self.stored == _HALF:
            value = b.fpext(value, self.vector)
        elif self.stored != self.compute:
            # a zero before each: one instruction, where to widen and to shift are two
            places = [n if k % 2 == 0 else k // 2 for k in range(2 * n)]
            zeros = ir.Constant(value.type, [0] * n)
            both = b.shuffle_vector(value, zeros, ir.Constant(ir.VectorType(WORD, 2 * n), places))
            value = b.bitcast(both, self.vector)
        return Lanes(b, value)

    def _store(self, name, index, lanes, mask):
        value = self._narrow(lanes.value)
        at = self._at(name, index, self.stored)
        self._write(value, at, self.stored, mask, self.streaming)

    def _narrow(self, value):
        b = self.b
        if self.stored == self.compute:
            return value
        if self.stored == _HALF:
            return b.fptrunc(value, ir.VectorType(_HALF, self.count))
        if self.rounds:
            kind = ir.VectorType(_Bfloat(), self.count)
            rounded = intrinsic(b, "llvm.x86.avx512bf16.cvtneps2bf16.512", kind, [value])
            return b.bitcast(rounded, ir.VectorType(self.stored, self.count))
        words = ir.VectorType(WORD, self.count)

        def word(c):
            return ir.Constant(words, [c] * self.count)

        # bfloat16, rounded to even; a NaN keeps a bit of its payload whatever is cut off
        bits = b.bitcast(value, words)
        odd = b.and_(b.lshr(bits, word(16)), word(1))
        rounded = b.add(bits, b.add(word(0x7FFF), odd))
        number = b.fcmp_ordered("ord", value, value)
        kept = b.select(number, rounded, b.or_(bits, word(0x00400000)))
        return b.trunc(b.lshr(kept, word(16)), ir.VectorType(ir.IntType(16), self.count))

    def _column(self, name, index, mask):
        value = self._read(self._at(name, index, self.compute), self.compute, mask)
        return Lanes(self.b, value)

    def _row(self, name, r):
        one = self.b.load(self._at(name, r, self.compute), typ=self.compute)
        return Lanes(self.b, self._splat(one, self.vector))

    # --- the formula ------------------------------------------------------------------------

    def _apply(self, base, vectors, mask, numbers, sums):
        """Run the formula on some vectors at ``base``; ``numbers[k]`` are vector k's own."""
        sweep, b = self.sweep, self.b
        outputs = []
        for k in range(vectors):
            index = b.add(base, LONG(k * self.count))
            streams = {name: self._stream(name, index, mask) for name in sweep.reads}
            out = sweep.formula(SimpleNamespace(**streams, **numbers[k]))
            outputs += [(name, index, out[name]) for name in sweep.writes if name in out]
            for name in sweep.sums:
                term = out[name].value
                if mask is not None:
                    term = b.select(mask, term, ir.Constant(self.vector, [0.0] * self.count))
                slot = sums[name][k]
                b.store(b.fadd(b.load(slot, typ=self.vector), term), slot)
        # last: a store keeps what is read after it from moving up, for all that LLVM knows
        for name, index, lanes in outputs:
            self._store(name, index, lanes, mask)

    def _across(self):
        """Emit axis 1: a row's sums in registers."""
        sweep, b = self.sweep, self.b
        slots = {name: [self._slot(self.vector) for _ in range(sweep.strip)] for name in sweep.sums}
        totals = {name: self._slot(_DOUBLE) for name in sweep.sums}
        with self._loop(LONG(0), self.row_count, 1) as r:
            rows = {name: self._row(name, r) for name in sweep.rows}
            base = b.mul(r, self.pitch)
            for slot in totals.values():
                b.store(_DOUBLE(0.0), slot)

            def strip(at, vectors, mask, rows=rows, base=base):
                step = [b.add(at, LONG(k * self.count)) for k in range(vectors)]
                numbers = [
                    rows | {name: self._column(name, i, mask) for name in sweep.columns}
                    for i in step
                ]
                self._apply(b.add(base, at), vectors, mask, numbers, slots)

            if not sweep.sums:
                self._strips(LONG(0), self.column_count, strip)
            else:
                self._runs(slots, totals, strip)
            for name, total in totals.items():
                at = self._at(name, r, _DOUBLE)
                b.store(b.fadd(b.load(at, typ=_DOUBLE), b.load(total, typ=_DOUBLE)), at)

    def _runs(self, slots, totals, strip):
        """Sum a row in short runs of the compute type, and the runs in float64."""
        b = self.b
        zero = ir.Constant(self.vector, [0.0] * self.count)
        with self._loop(LONG(0), self.column_count, RUN) as start:
            for kept in slots.values():
                for slot in kept:
                    b.store(zero, slot)
            self._strips(start, self._min(b.add(start, LONG(RUN)), self.column_count), strip)
            for name, total in totals.items():
                found = b.fadd(b.load(total, typ=_DOUBLE), self._total(slots[name]))
                b.store(found, total)

    def _total(self, slots):
        b = self.b
        values = [b.load(slot, typ=self.vector) for slot in slots]
        while len(values) > 1:
            values = [b.fadd(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
        name = f"llvm.vector.reduce.fadd.{suffix(self.vector)}"
        start = self.compute(-0.0)
        total = intrinsic(b, name, self.compute, [start, values[0]], ("reassoc",))
        return total if self.compute == _DOUBLE else b.fpext(total, _DOUBLE)

    def _down(self):
        """Emit axis 0: strips of columns down a few rows, whose sums stay in registers."""
        sweep, b = self.sweep, self.b
        slots = {name: [self._slot(self.vector) for _ in range(sweep.strip)] for name in sweep.sums}
        with self._loop(LONG(0), self.row_count, self.block) as r0:
            r1 = self._min(b.add(r0, LONG(self.block)), self.row_count)

            def strip(at, vectors, mask, r0=r0, r1=r1):
                step = [b.add(at, LONG(k * self.count)) for k in range(vectors)]
                columns = [
                    {name: self._column(name, i, mask) for name in sweep.columns} for i in step
                ]
                for name in sweep.sums:
                    for k, i in enumerate(step):
                        b.store(self._column(name, i, mask).value, slots[name][k])
                with self._loop(r0, r1, 1) as r:
                    rows = {name: self._row(name, r) for name in sweep.rows}
                    base = b.add(b.mul(r, self.pitch), at)
                    self._apply(base, vectors, mask, [rows | own for own in columns], slots)
                for name in sweep.sums:
                    for k, i in enumerate(step):
                        value = b.load(slots[name][k], typ=self.vector)
                        self._write(value, self._at(name, i, self.compute), self.compute, mask)

            self._strips(LONG(0), self.column_count, strip)


def emit(sweep: Sweep, dtype: torch.dtype, streaming: bool = False, block: int = 1) -> str:
    """Give the LLVM module of a sweep over tensors of a dtype."""
    return _Emitter(sweep, dtype, streaming, block).emit()
