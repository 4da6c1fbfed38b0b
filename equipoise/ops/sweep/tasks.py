"""Kernels as tasks: one compiled function, called by address from one shared parallel loop.

A parallel Numba kernel takes seconds to compile, and its serial twin as long again.  Here each
kernel is compiled once, as a C function of a task's number, and a loop that is compiled once for
all kernels runs it, on the pool or on the calling thread: the same machine code, so the same
bits.  Arguments travel as two arrays: addresses and integers, and floats.
"""

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array

from equipoise.ops import dispatch, jit
from equipoise.ops.sweep.call import address as address_of

# tasks before and after the loop, for what runs once
BEFORE, AFTER = -1, -2

# where a kernel's integers hold what the loop uses, and where its own begin
PHASE, SCRATCH, NUMBERS, ANSWER, PHASES, HEAD = 0, 1, 2, 3, 4, 8

_COMPUTED = {torch.float32: types.float32, torch.float64: types.float64}


@jit.emits
def _call(typingctx, address, task, integers, floats):
    """Call the C function at ``address``."""
    word, real = ir.IntType(64), ir.DoubleType()

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(
            ir.VoidType(), [word, word.as_pointer(), real.as_pointer(), real.as_pointer()]
        )
        function = builder.inttoptr(args[0], kind.as_pointer())
        views = [make_array(signature.args[k])(context, builder, args[k]).data for k in (2, 3)]
        nothing = ir.Constant(real.as_pointer(), None)
        builder.call(function, [args[1], *views, nothing])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, integers, floats), codegen


@jit.emits
def pointer_at(typingctx, tag, address):
    """Turn an address into a pointer of the type of ``tag``, for ``carray``."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], args[0].type)

    return tag(tag, types.int64), codegen


def _loop(address, integers, floats):
    scratch = np.empty(integers[NUMBERS] + 1)
    integers[SCRATCH] = address_of(scratch, 0)
    for k in (PHASES, PHASES + 2):
        phase, count = integers[k], integers[k + 1]
        if phase:
            integers[PHASE] = phase
            _call(address, BEFORE, integers, floats)
            for task in numba.prange(count):
                _call(address, np.int64(task), integers, floats)
            _call(address, AFTER, integers, floats)
    # the scratch must live until here: Numba frees an array after its last use
    scratch[0] = 0.0


_run = jit.Kernel(_loop)


class TaskKernel:
    """A kernel ``function(task, integers, floats, computed)``.

    The integers begin with the loop's own: the phase, the address of the scratch, its size in
    float64 numbers, what the kernel answers, and the phases with their numbers of tasks.
    ``computed`` is a null pointer whose type says what numbers are computed in.
    """

    def __init__(self, function):
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.function = function
        self._compiled = {}

    def compiled(self, dtype: torch.dtype):
        """Give the C function for a compute dtype, compiled on first use."""
        found = self._compiled.get(dtype)
        if found is None:
            jit._announce()
            pointer = types.CPointer
            signature = types.void(
                types.int64, pointer(types.int64), pointer(types.float64),
                pointer(_COMPUTED[dtype]),
            )  # fmt: skip
            found = jit._decorate(numba.cfunc, self.function, "task", signature)
            self._compiled[dtype] = found
        return found

    def __call__(self, work: int, dtype: torch.dtype, words: np.ndarray, floats: np.ndarray):
        """Run tasks BEFORE, 0 to count - 1, and AFTER for each phase; give the answer.

        ``work`` as for ``Kernel``; ``words`` as ``words_of`` gives them, written to; ``floats`` of
        float64.
        """
        _run(work, self.compiled(dtype).address, words, floats)
        if dispatch.heard() is not None:
            n = jit.threads_for(work)
            place = "one thread" if n == 1 else f"{n} threads"
            dispatch.note(dispatch.Ran("cpu", self.name, place))
        return words[ANSWER]


def words_of(phases, scratch: int, integers) -> np.ndarray:
    """Lay out what a kernel is told: one or two (phase, count), numbers of scratch, its integers.

    ``scratch`` numbers of float64 are lent to the kernel.
    """
    (p1, n1), (p2, n2) = phases[0], phases[1] if len(phases) > 1 else (0, 0)
    return np.array((0, 0, scratch, 0, p1, n1, p2, n2, *integers), np.int64)
