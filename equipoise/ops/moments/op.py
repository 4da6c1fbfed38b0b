"""Moments of an array: the kernel where it can sweep memory in order, pieces where it cannot.

A state is a float64 array (7, columns): count, mean, m2, min, max, number of NaNs, and what
rounding the mean to float64 lost.
"""

from functools import lru_cache, reduce
from math import prod
from typing import Any

import numpy as np
import torch

from equipoise.ops.moments import inputs, reference
from equipoise.ops.moments.layout import layout, matrix
from equipoise.ops.moments.words import COUNT, FIELDS, MAX, MEAN, MIN, NANS, OUT, X
from equipoise.ops.sweep.tasks import TaskKernel, copy_of, floats_of, words_of

SUMMARIZE = TaskKernel("equipoise.ops.moments.cpu", "summarize")
MERGE = TaskKernel("equipoise.ops.moments.cpu", "merge")
_NO_FLOATS = floats_of()
_EXTREMES = np.array([COUNT, NANS, MIN, MAX])
_DTYPES = {"f": torch.float32, "d": torch.float64}
# values converted at once: half a megabyte of float64 on the CPU
PIECE = 1 << 16
DEVICE_PIECE = 1 << 24


def empty(columns: int, device: torch.device | None = None):
    """Give the state of no sample: merged with any other it gives that other."""
    state = np.zeros((FIELDS, columns))
    state[MEAN], state[MIN], state[MAX] = np.nan, np.inf, -np.inf
    on_cpu = device is None or device.type == "cpu"
    return state if on_cpu else torch.from_numpy(state).to(device)


def summarize(x, axes: tuple[int, ...], weights=None):
    """Give the state of ``x`` (of ``inputs.array``), (6, *kept shape), reduced over ``axes``."""
    kept = tuple(size for i, size in enumerate(x.shape) if i not in axes)
    if 0 in x.shape:
        return empty(prod(kept), None if isinstance(x, np.ndarray) else x.device).reshape(
            FIELDS, *kept
        )
    if weights is None:
        state = _in_place(x, axes)
        if state is not None:
            return state
    return _by_pieces(x, axes, weights).reshape(FIELDS, *kept)


def of_columns(columns, what) -> np.ndarray:
    """Give ``what``, `summarize` or `extremes`, of vectors that lie apart, side by side."""
    return np.stack([what(column, (0,)) for column in columns], axis=1)


def extremes(x, axes: tuple[int, ...] = (0,)):
    """Give (count, number of NaNs, min, max) of ``x``, (4, *kept shape): less arithmetic."""
    state: Any = _in_place(x, axes, extremes=True) if 0 not in x.shape else None
    if state is None:
        state = summarize(x, axes)
    return state.take(_EXTREMES, axis=0)


def merge(a, b):
    """Merge two states of the same shape and kind."""
    if isinstance(a, torch.Tensor):
        return reference.merge(a, b)
    out = np.empty(a.shape)
    states = [np.ascontiguousarray(s, np.float64) for s in (a, b)]
    addresses = (s.ctypes.data for s in (*states, out))
    words = words_of([(1, 0)], 0, (*addresses, out.size // FIELDS))
    MERGE(0, torch.float64, words, _NO_FLOATS)
    return out


def _in_place(x, axes, extremes=False):
    """Sweep ``x`` where it lies; None where its kind or its strides allow no sweep in order."""
    if not isinstance(x, np.ndarray) or x.dtype.char not in "fd":
        return None
    if not (x.flags.aligned and x.dtype.isnative):
        return None
    size = x.itemsize
    strides = tuple(s // size if s % size == 0 else -1 for s in x.strides)
    where = layout(x.shape, strides, axes)
    if where is None:
        return None
    (outer, step), plan = where.outer, where.plan
    out = _sweep(x, 0, plan, extremes)
    if outer > 1:
        parts = [_sweep(x, i * step, plan, extremes) for i in range(1, outer)]
        out = np.stack([out, *parts], axis=1)
    out = out.reshape(FIELDS, *where.sizes)
    return out.transpose(0, *(1 + i for i in where.order))


def _sweep(x, offset, plan, extremes=False):
    """Give the state (7, columns) of what the plan names of x's memory, ``offset`` values on."""
    out = np.empty((FIELDS, plan[2]))
    words = copy_of(_words(plan, extremes))
    words[X] = x.__array_interface__["data"][0] + offset * x.itemsize
    words[OUT] = out.__array_interface__["data"][0]
    SUMMARIZE(x.nbytes, _DTYPES[x.dtype.char], words, _NO_FLOATS)
    return out


@lru_cache(maxsize=1024)
def _words(plan, extremes):
    """Lay out what the kernel is told of a plan; addresses are left out."""
    columns, groups, span = plan[2], plan[9], plan[10]
    tasks = groups * -(-columns // span)
    return words_of([(1, tasks)], groups * FIELDS * columns, (0, extremes, 0, *plan))


def flat(x, strides):
    """View the memory of ``x`` as one flat array, of the one type the kernel is compiled for."""
    if x.flags.c_contiguous and x.flags.writeable:
        return x.reshape(-1)
    return np.asarray(_Memory(x, strides))


class _Memory:
    """The array interface of memory that the kernel reads: never written, said to be writable.

    A read-only array is another type to Numba, and would be another four seconds of compiling.
    """

    def __init__(self, x, strides):
        self.owner = x
        span = 1 + sum((n - 1) * s for n, s in zip(x.shape, strides, strict=True))
        address = x.__array_interface__["data"][0]
        self.__array_interface__ = {
            "shape": (span,),
            "typestr": x.dtype.str,
            "data": (address, False),
            "version": 3,
        }


def _by_pieces(x, axes, weights):
    """Convert ``x`` piece by piece to matrices (rows, columns) and merge their states."""
    on_cpu = isinstance(x, np.ndarray)
    order = (*axes, *(i for i in range(x.ndim) if i not in axes))
    x = x.transpose(order) if on_cpu else x.permute(order)
    shape, columns = x.shape[: len(axes)], prod(x.shape[len(axes) :])
    cut = pieces(tuple(shape), columns, PIECE if on_cpu else DEVICE_PIECE)
    state = _piece if on_cpu else _device_piece
    parts = (
        state(x[box].reshape(-1, columns), None if weights is None else weights[box].reshape(-1))
        for box in cut
    )
    return reduce(merge, parts)


def _piece(x, weights):
    if weights is not None:
        # imports Numba
        from equipoise.ops.moments import weighted

        out = np.empty((FIELDS, x.shape[1]))
        weighted.summarize_weighted(
            0, inputs.widen(x, np.float64), inputs.widen(weights, np.float64), out
        )
        return out
    x = inputs.widen(x)
    return _sweep(x, 0, matrix(*x.shape))


def _device_piece(x, weights):
    return reference.summarize(x, weights)


def pieces(shape: tuple[int, ...], columns: int, limit: int):
    """Cut the reduced axes into boxes (tuples of slices) of about ``limit`` values or fewer."""
    if len(shape) == 0:
        yield ()
        return
    inner = prod(shape[1:]) * columns
    if inner > limit and len(shape) > 1:
        for i in range(shape[0]):
            for rest in pieces(shape[1:], columns, limit):
                yield (slice(i, i + 1), *rest)
        return
    step = max(1, limit // inner)
    for i in range(0, shape[0], step):
        yield (slice(i, i + step), *(slice(None) for _ in shape[1:]))
