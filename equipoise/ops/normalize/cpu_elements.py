"""LayerNorm and RMSNorm on the CPU: the calls of the kernels of ``elements`` and ``positions``."""

from functools import lru_cache
from typing import NamedTuple

import torch

from equipoise.ops.normalize import formulas
from equipoise.ops.normalize.cpu import (
    BLOCK,
    DEAR,
    NOWHERE_YET,
    STREAM,
    Call,
    _address,
    _slope,
    aligned,
    floats,
    kernel_of,
    parameter,
)
from equipoise.ops.normalize.layout import crossed, dense
from equipoise.ops.normalize.reference import moments_in_float64
from equipoise.ops.normalize.words import APPLY, NO_VECTORS, SUMS
from equipoise.ops.numbers import COMPUTE
from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.tasks import words_of

# numbers of a block of rows, which stays in the second cache with its gradient; and how many are
# worth a task
NUMBERS, FEW = 65536, 8192
# positions of a tile at the least, so that a piece of a row fills lines of the cache, and what
# they are a multiple of
PLACES, VECTOR = 64, 16
# chunks of rows: tasks enough for many threads, and few enough to merge, whose sums are as many
# bytes as 4 rows; so of some rows at the least, unless tasks get too few
CHUNKS, ROWS, TASKS = 64, 64, 16

FAMILIES = {1: "elements", 0: "positions"}
FORWARD = {axis: kernel_of(family, "forward") for axis, family in FAMILIES.items()}
BACKWARD = {axis: kernel_of(family, "backward") for axis, family in FAMILIES.items()}


class Walk(NamedTuple):
    """How a tensor's rows are walked; the result depends on nothing but its shape and layout."""

    # 1 where a row lies along memory, 0 across
    axis: int
    rows: int
    # what lies between two neighbours across the lines of a block, in numbers
    pitch: int
    shape: tuple[int, ...]
    tasks: int


@lru_cache(maxsize=4096)
def plan(rows: int, width: int, centred: int) -> Walk:
    """Walk rows along memory."""
    share = max(FEW // max(width, 1), -(-rows // TASKS))
    block = max(1, min(rows, share, NUMBERS // max(width, 1)))
    wanted = max(-(-rows // CHUNKS), min(ROWS, -(-rows // TASKS)))
    chunk = max(1, -(-wanted // block) * block)
    return Walk(1, rows, width, (rows, width, block, chunk, centred), -(-rows // chunk))


@lru_cache(maxsize=4096)
def plan_across(samples: int, width: int, places: int, centred: int) -> Walk:
    """Walk rows across memory."""
    # tiles of one size, in whole vectors
    tiles = -(-places // max(PLACES, NUMBERS // width))
    block = min(places, -(-places // (tiles * VECTOR)) * VECTOR)
    tiles = samples * -(-places // block)
    chunk = -(-tiles // CHUNKS)
    shape = (samples, width, places, block, chunk, centred)
    return Walk(0, samples * places, places, shape, -(-tiles // chunk))


def walk_of(x: torch.Tensor, width: int, centred: int) -> Walk:
    """Choose how a tensor's rows are walked."""
    rows = x.numel() // width
    if crossed(x, width):
        return plan_across(x.shape[0], width, rows // x.shape[0], centred)
    return plan(rows, width, centred)


def lies(tensor: torch.Tensor, x: torch.Tensor, width: int) -> bool:
    """Tell whether a tensor lies in memory as ``x`` does and a walk wants it."""
    if tensor.dtype != x.dtype or tensor.stride() != x.stride():
        return False
    return tensor.is_contiguous() or crossed(tensor, width)


def _laid_out(tensor: torch.Tensor, x: torch.Tensor, walk: Walk) -> torch.Tensor:
    """Give a tensor in the type of ``x``, without gaps in the order of the walk."""
    tensor = tensor if tensor.dtype == x.dtype else tensor.to(x.dtype)
    if walk.axis:
        return dense(tensor).contiguous()
    return dense(tensor.movedim(-1, 1)).contiguous().movedim(1, -1)


@lru_cache(maxsize=1024)
def _forward_sweeps(axis, dtype, streaming, added, centred, activation, slope, weighted, biased):
    first = formulas.row_first(axis, added)
    moments = formulas.row_moments(axis, added, bool(centred))
    kind = (axis, activation, _slope(activation, slope), weighted, biased)
    # a residual's sum is in the caches already
    output = formulas.row_output(*kind, bool(axis) and activation in DEAR and not added)
    return (
        compiled.address(first, dtype),
        # not past the caches: what is summed is read again at once
        compiled.address(moments, dtype, False, 1 if axis else BLOCK),
        compiled.address(output, dtype, streaming),
    )


@lru_cache(maxsize=1024)
def _backward_sweeps(axis, dtype, streaming, passed, activation, slope, weighted, biased):
    kind = (axis, activation, _slope(activation, slope), weighted, biased)
    gradient = formulas.row_input_gradient(axis, weighted, passed)
    return (
        compiled.address(formulas.row_gradient_sums(*kind), dtype, block=1 if axis else BLOCK),
        compiled.address(gradient, dtype, streaming, BLOCK if axis else 1),
    )


def compile_sweeps(dtype: torch.dtype) -> None:
    """Compile the sweeps that layers over tensors of a dtype use most; the rest take 30 ms."""
    for streaming in (False, True):
        for axis, centred, biased in ((1, 1, True), (1, 0, False), (0, 1, True)):
            for other in (False, True):
                if axis or not other:
                    _forward_sweeps(axis, dtype, streaming, other, centred, None, 0.0, True, biased)
                    _backward_sweeps(axis, dtype, streaming, other, None, 0.0, True, biased)


def _streams(walk: Walk, width: int, dtype: torch.dtype, in_line: bool) -> bool:
    size = dtype.itemsize
    return walk.rows * width * size >= STREAM and in_line and (walk.pitch * size) % 64 == 0


def _call(kernels, walk: Walk, width, dtype, phase, scratch, gated, sweeps) -> Call:
    flags = (dtype.itemsize, 0, 1, gated, 0)
    words = words_of(
        [(phase, walk.tasks)], scratch, (*flags, *NOWHERE_YET, *sweeps, *walk.shape)
    )  # fmt: skip
    work = walk.rows * width * dtype.itemsize * 3
    return Call(kernels[walk.axis], work, COMPUTE[dtype], words)


@lru_cache(maxsize=4096)
def forward_call(
    walk, width, dtype, added, centred, activation, slope, weighted, biased, in_line, phase
) -> Call:
    """Give the forward kernel's call on tensors of one shape and kind."""
    streams = _streams(walk, width, dtype, in_line)
    kind = (walk.axis, dtype, streams, added, centred, activation, slope, weighted, biased)
    sweeps = (*_forward_sweeps(*kind), 0, 0)
    return _call(FORWARD, walk, width, dtype, phase, 0, 0, sweeps)


def forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    """Normalize rows of ``width`` numbers of x, or of x + residual.

    Returns y, the sum (x without a residual) and stats (4, rows) float64.
    """
    walk = walk_of(x, width, centred)
    x, dtype = _laid_out(x, x, walk), COMPUTE[x.dtype]
    total = x
    if residual is not None:
        residual = _laid_out(residual, x, walk)
        total = torch.empty_like(x)
    y = torch.empty_like(x)
    stats = torch.empty((4, walk.rows), dtype=torch.float64, device="cpu")
    kind = (
        walk, width, x.dtype, residual is not None, centred, activation, slope,
        weight is not None, bias is not None, aligned(y, total),
    )  # fmt: skip
    w, b = parameter(weight, 1.0, width, dtype), parameter(bias, 0.0, width, dtype)
    at = _address(x)
    addresses = (
        at, at if residual is None else _address(residual), y.data_ptr(), 0, 0, total.data_ptr(),
        w.data_ptr(), b.data_ptr(), stats.data_ptr(), 0, *NO_VECTORS,
    )  # fmt: skip
    if forward_call(*kind, SUMS | APPLY)(addresses, floats(eps)):
        rows = total.reshape(walk.rows, 1, width)
        moments_in_float64(rows, eps, stats, 1, bool(centred))
        forward_call(*kind, APPLY)(addresses, floats(eps))
    return y, total, stats


@lru_cache(maxsize=4096)
def backward_call(
    walk, width, dtype, passed, activation, slope, weighted, biased, in_line
) -> Call:  # fmt: skip
    """Give the backward kernel's call on tensors of one shape and kind."""
    # the gradient before an activation waits where dx will be, in the caches
    streams = activation is None and _streams(walk, width, dtype, in_line)
    kind = (walk.axis, dtype, streams, passed, activation, slope, weighted, biased)
    sweeps = (0, 0, 0, *_backward_sweeps(*kind))
    scratch, gated = walk.tasks * 2 * width, int(activation is not None)
    return _call(BACKWARD, walk, width, dtype, SUMS | APPLY, scratch, gated, sweeps)


def backward(g, passed, x, stats, weight, bias, activation, slope, width, centred):
    """Give the input's gradient, and (2, width) float64 of bias and weight."""
    walk = walk_of(x, width, centred)
    x, g = _laid_out(x, x, walk), _laid_out(g, x, walk)
    passed = None if passed is None else _laid_out(passed, x, walk)
    dtype = COMPUTE[x.dtype]
    dx = torch.empty_like(x)
    sums = torch.empty((2, width), dtype=torch.float64, device="cpu")
    w, b = parameter(weight, 1.0, width, dtype), parameter(bias, 0.0, width, dtype)
    at = _address(x)
    addresses = (
        at, at if passed is None else _address(passed), 0, _address(g), dx.data_ptr(),
        dx.data_ptr(), w.data_ptr(), b.data_ptr(), stats.data_ptr(), sums.data_ptr(),
        *NO_VECTORS,
    )  # fmt: skip
    call = backward_call(
        walk, width, x.dtype, passed is not None, activation, slope, weight is not None,
        bias is not None, aligned(dx),
    )  # fmt: skip
    call(addresses, floats())
    return dx, sums
