"""Kernels as tasks: one compiled function, called by address from one shared loop.

A parallel Numba kernel takes seconds to compile, and its serial twin as long again.  Here each
kernel is compiled once, as a C function of a task's number, and a loop that is compiled once for
all kernels runs it, on the pool or on the calling thread: the same machine code, so the same
bits.  Arguments travel as two arrays: addresses and integers, and floats.
"""

import ctypes
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from equipoise.ops import cache as disk
from equipoise.ops.sweep import loop, machine
from equipoise.ops.threads import threads_for


class TaskKernel:
    """The kernel ``name(task, integers, floats, computed)`` of a module.

    Parameters
    ----------
    module, name : str
        The module is imported where the kernel is not on disk yet, or its source is asked for.
    """

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name
        self._addresses = {}

    @property
    def function(self) -> Any:
        """The function in Python."""
        return getattr(import_module(self.module), self.name)

    def address(self, dtype: torch.dtype) -> int:
        """Give the address of the C function for a compute dtype, compiled on first use."""
        found = self._addresses.get(dtype)
        if found is None:
            found = self._addresses[dtype] = _task(self, dtype)
        return found

    def __call__(self, work: int, dtype: torch.dtype, integers, floats) -> int:
        """Run tasks BEFORE, 0 to count - 1, and AFTER for each phase; give the answer.

        ``work`` is the number of bytes touched and decides on threads; ``integers`` as
        ``words_of`` gives them, written to; ``floats`` as ``floats_of`` does.
        """
        if not loop.run(self.address(dtype), integers, floats, threads_for(work)):
            raise self._no_memory()
        return integers[loop.ANSWER]

    def prepared(self, work: int, dtype: torch.dtype, integers, place: slice) -> Callable:
        """Give ``call(addresses, floats)``, which runs with ``addresses`` at a place of integers.

        On the threads of today: nothing is left to be asked or looked up.
        """
        task, copy = self.address(dtype), type(integers).from_buffer_copy
        go, threads = loop.entry(threads_for(work))

        def call(addresses, floats):
            words = copy(integers)
            words[place] = addresses
            if go(task, words, floats, *threads):
                raise self._no_memory()
            return words[loop.ANSWER]

        return call

    def _no_memory(self) -> MemoryError:
        return MemoryError(f"kernel {self.name} found no memory for what it works with")


def _task(kernel: TaskKernel, dtype: torch.dtype) -> int:
    def make(target):
        from equipoise.ops.sweep.frontend import task_object

        return task_object(kernel.function, dtype, target)

    # the source is found without importing it: it imports Numba
    spec = find_spec(kernel.module)
    folder = disk.folder(spec.origin) if spec and spec.origin else None
    return machine.load("task", f"{kernel.module}.{kernel.name} {dtype}", make, folder)


def words_of(phases, scratch: int, integers) -> Any:
    """Lay out what a kernel is told: one or two (phase, count), numbers of scratch, its integers.

    ``scratch`` numbers of float64 are lent to the kernel.
    """
    (p1, n1), (p2, n2) = phases[0], phases[1] if len(phases) > 1 else (0, 0)
    words = (0, 0, scratch, 0, p1, n1, p2, n2, *integers)
    return (ctypes.c_int64 * len(words))(*words)


def copy_of(integers) -> Any:
    """Give integers of ``words_of`` for one call."""
    return type(integers).from_buffer_copy(integers)


def floats_of(*values: float) -> Any:
    """Lay out a kernel's floats."""
    return (ctypes.c_double * len(values))(*values)
