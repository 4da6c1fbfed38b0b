"""Compile CPU kernels with Numba: cached on disk by a hash of all kernel sources.

Torch is imported before Numba, so that both share one OpenMP pool.
"""

import os
import threading
from functools import cache
from typing import Any

import torch  # noqa: F401 - first: Numba then links the OpenMP library that torch has loaded

# isort: split
import numba
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from equipoise.ops import cache as disk
from equipoise.ops import threads as torchs

_config: Any = numba.config


def _decorate(decorator, function, form: str, *args, **options):
    """Compile with one of Numba's decorators, the disk cache in our own folder.

    Numba's index knows functions, not options: each form has a folder of its own.
    """
    folder = disk.folder(function.__code__.co_filename)
    if folder is None:
        return decorator(*args, error_model="numpy", **options)(function)
    # the locator reads CACHE_DIR when the decorator runs; the user's own setting comes back after
    before, _config.CACHE_DIR = _config.CACHE_DIR, os.path.join(folder, form)
    try:
        return decorator(*args, error_model="numpy", cache=True, **options)(function)
    finally:
        _config.CACHE_DIR = before


def _compile(function, **options):
    form = "parallel" if options else "serial"
    return _decorate(numba.njit, function, form, nogil=True, **options)


def emits(function) -> Any:
    """Make a function that emits LLVM code; callers leave out its typing context."""
    return intrinsic(function)


# helpers are never called from Python: without wrappers they compile in half the time
_HELPER = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def inline(function):
    """Compile a helper that kernels call; LLVM inlines it into them, multiply-adds fused."""
    return numba.njit(**_HELPER, fastmath={"contract"})(function)


def splice(function):
    """Compile a helper into its callers before LLVM sees it.

    For what only arranges the loops: each level of calls that LLVM sees is optimised again in
    every level above it.
    """
    return numba.njit(**_HELPER, inline="always", fastmath={"contract"})(function)


def fast(function):
    """Compile a helper whose sums may be reordered into vector lanes, always in the same way.

    It is optimised by itself before a kernel inlines it, so every kernel runs the same order.
    """
    return numba.njit(**_HELPER, fastmath={"reassoc", "contract"})(function)


@emits
def window(typingctx, array, start, size):
    """Borrow ``array[start:start + size]``: no bounds are clipped and no references counted.

    Slices count references with atomic operations that threads fight over; where a kernel
    walks short runs that cost more than the arithmetic.  The caller keeps ``array`` alive.
    """
    result = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        source = context.make_array(signature.args[0])(context, builder, args[0])
        view = context.make_array(result)(context, builder)
        item = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(array.dtype))
        )
        populate_array(
            view, data=builder.gep(source.data, [args[1]]), shape=[args[2]], strides=[item],
            itemsize=item, meminfo=None,
        )  # fmt: skip
        return view._getvalue()

    return result(array, types.int64, types.int64), codegen


@cache
def _threadsafe_layer() -> bool:
    """Tell whether Numba's threading layer may be entered from several threads at once."""
    from importlib.util import find_spec

    wanted = _config.THREADING_LAYER
    if wanted in ("workqueue",):
        return False
    for layer in ("omppool", "tbbpool"):
        if find_spec(f"numba.np.ufunc.{layer}") is not None:
            return True
    return False


def threads() -> int:
    """Count the threads of Numba's pool that a kernel may use now."""
    n = min(torchs.threads(), _config.NUMBA_NUM_THREADS)
    if n > 1 and not _threadsafe_layer() and threading.current_thread() is not _main():
        return 1
    return n


def _main():
    return threading.main_thread()


_local = threading.local()


class Kernel:
    """A function with ``prange`` loops, compiled in parallel and serial form on first use.

    Blocks are fixed and merged in a fixed order, so both forms give the same bits.
    """

    def __init__(self, function):
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.function = function
        self._serial = None
        self._parallel = None

    def serial(self):
        """Give the form that runs on the calling thread alone."""
        if self._serial is None:
            disk.announce()
            self._serial = _compile(self.function)
        return self._serial

    def parallel(self):
        """Give the form whose ``prange`` loops run on the pool."""
        if self._parallel is None:
            disk.announce()
            self._parallel = _compile(self.function, parallel=True)
        return self._parallel

    def __call__(self, work: int, *args):
        """Run on ``args``; ``work`` is the number of bytes touched and decides on threads."""
        n = threads() if work >= torchs.SERIAL_BYTES else 1
        if n == 1:
            return self.serial()(*args)
        if getattr(_local, "threads", None) != n:
            numba.set_num_threads(n)
            _local.threads = n
        return self.parallel()(*args)
