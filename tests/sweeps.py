"""Sweeps on guarded memory, and what NumPy makes of the same formula."""

import ctypes
import math
from types import SimpleNamespace

import numpy as np
import torch

COMPUTED = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.float32,
    torch.float16: np.float32,
}
# what stands where nothing may be written: a number that every format holds
GUARD = -96.0
# numbers before and after what a sweep may touch
MARGIN = 512

_C = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def call(address, words):
    """Call a sweep's C function with counts, pitch and the operands' addresses."""
    words = np.array(words, np.int64)
    _C(address)(words.ctypes.data)


def sums_dtype(sweep, dtype):
    """Give the type that a sweep keeps sums in: float64 a row, the compute type a column."""
    return np.float64 if sweep.axis else COMPUTED[dtype]


class Guarded:
    """A matrix with a pitch, or a vector, inside memory whose other numbers are known."""

    def __init__(self, values, dtype, pitch=None, around=GUARD, aligned=True):
        values = torch.as_tensor(values)
        rows, columns = values.shape if values.dim() == 2 else (1, len(values))
        pitch = columns if pitch is None else pitch
        self.size, self.pitch, self.shape = rows * pitch, pitch, (rows, columns)
        self.around = around
        whole = torch.full((self.size + 2 * MARGIN + 64,), around, dtype=dtype)
        # where vectors begin is up to the caller: a multiple of 64 bytes, or a number beyond it
        past = (-whole.data_ptr() // whole.element_size()) % (64 // whole.element_size())
        self.start = MARGIN + past + (0 if aligned else 1)
        self.whole = whole
        self.matrix.copy_(values.view(rows, columns))

    @property
    def matrix(self):
        """The numbers themselves (rows, columns), a view."""
        return torch.as_strided(self.whole, self.shape, (self.pitch, 1), self.start)

    @property
    def address(self):
        return self.whole.data_ptr() + self.start * self.whole.element_size()

    def assert_rest_untouched(self):
        rest = self.whole.clone()
        torch.as_strided(rest, self.shape, (self.pitch, 1), self.start).fill_(self.around)
        assert (rest == self.around).all(), "a number outside the matrix was written"


def expected(sweep, dtype, reads, lines, before):
    """Run the formula on NumPy arrays of the compute type; give what is written and summed.

    ``reads`` are (rows, columns) tensors, ``lines`` the rows' or columns' numbers, ``before``
    what the sums held.
    """
    computed = COMPUTED[dtype]
    given = {name: t.to(torch.float64).numpy().astype(computed) for name, t in reads.items()}
    for name, values in lines.items():
        values = np.asarray(values, computed)
        given[name] = values[:, None] if name in sweep.rows else values[None, :]
    shape = np.broadcast_shapes(*(v.shape for v in given.values()))
    with np.errstate(all="ignore"):
        found = sweep.formula(SimpleNamespace(**given))
        out = {k: np.broadcast_to(v, shape) for k, v in found.items()}
        for name in sweep.sums:
            wide = out[name].astype(np.float64)
            out[name] = wide.sum(sweep.axis) + np.asarray(before[name], np.float64)
    return out


def run(
    sweep, address, dtype, reads, lines=None, before=None, pitch=None, aligned=True, shape=None
):
    """Run compiled code on guarded copies; give what was written and summed (missing: untouched).

    Gaps and margins of what is read hold NaN, those of what is written a guard, which is checked.
    """
    lines, before = lines or {}, before or {}
    shape = shape or next(iter(reads.values())).shape
    pitch = shape[1] if pitch is None else pitch
    computed = torch.float64 if COMPUTED[dtype] is np.float64 else torch.float32
    summed = torch.float64 if sweep.axis else computed
    operands = {n: Guarded(t, dtype, pitch, math.nan, aligned) for n, t in reads.items()}
    blank = torch.full(tuple(shape), GUARD, dtype=dtype)
    operands |= {n: Guarded(blank, dtype, pitch, GUARD, aligned) for n in sweep.writes}
    operands |= {n: Guarded(v, computed, around=math.nan) for n, v in lines.items()}
    operands |= {n: Guarded(before[n], summed, around=GUARD) for n in sweep.sums}
    call(address, (*shape, pitch, *(operands[name].address for name in sweep.operands)))
    for name in (*sweep.writes, *sweep.sums):
        operands[name].assert_rest_untouched()
    out = {name: operands[name].matrix.clone() for name in sweep.writes}
    return out | {name: operands[name].matrix[0].clone() for name in sweep.sums}
