"""The CPU kernels' Python side: which family, which shape, and the calls.

Tensors are read in place, contiguous or channels_last; other strides are copied once to the
layout that torch would give the output.
"""

from functools import lru_cache
from typing import NamedTuple

import torch

from equipoise.ops import jit
from equipoise.ops.normalize import columns, columns_backward, rows, rows_backward
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.reference import moments_in_float64, update_by_torch
from equipoise.ops.normalize.running import update_running
from equipoise.ops.normalize.statistics import APPLY, SUMS
from equipoise.ops.numbers import COMPUTE

# numbers that one task sums, enough to pay for its start and few enough to stay in cache
CHUNK = 65536
# runs up to this length are walked as columns: a row of columns is long where a run is short
SHORT = 64
# numbers in a folded row or in a tile of short runs, so that coefficients stay in the L1 cache
WIDTH = 1024


class Plan(NamedTuple):
    """How a tensor of one shape and layout is walked."""

    family: str
    shape: tuple[int, ...]
    chunks: int
    groups: int
    whole: bool
    channels: int


def _rows_plan(n: int, channels: int, length: int) -> Plan:
    pieces = n * -(-length // CHUNK)
    chunk = max(1, CHUNK // length)
    group = max(1, min(WIDTH * 4 // length, channels // 8))
    shape = (channels, n, length, length, channels * length, CHUNK, chunk, group)
    return Plan("rows", shape, -(-pieces // chunk), -(-channels // group), True, channels)


def _tiles_plan(n: int, channels: int, inner: int) -> Plan:
    """Tiles of whole channels, each with all its rows, both phases in cache."""
    width = channels * inner
    wanted = max(WIDTH // inner, 1)
    tile = min(width, wanted * inner)
    shape = (n * width, width, channels, inner, tile, n)
    return Plan("columns", shape, 1, -(-width // tile), True, channels)


def _folded_plan(m: int, channels: int) -> Plan:
    width = channels * max(1, WIDTH // channels)
    count = -(-m * channels // width)
    chunk = columns.RUN if count > 8 * columns.RUN else max(16, -(-count // 8))
    shape = (m * channels, width, channels, 1, width, chunk)
    return Plan("columns", shape, -(-count // chunk), 1, False, channels)


@lru_cache(maxsize=4096)
def plan(size: tuple[int, ...], contiguous: bool) -> Plan:
    """Choose family and shape for a tensor of this size; the result depends on nothing else."""
    n, channels = size[0], size[1]
    length = 1
    for extent in size[2:]:
        length *= extent
    if contiguous and length > SHORT:
        return _rows_plan(n, channels, length)
    if contiguous and length > 1:
        return _tiles_plan(n, channels, length)
    return _folded_plan(n * length, channels)


def _phases(p: Plan) -> tuple[int, ...]:
    """Both phases at once where groups keep every thread busy, else one after the other."""
    n = jit.threads()
    if p.whole and (n == 1 or p.chunks == 1 or p.groups % n == 0 or p.groups >= 4 * n):
        return (SUMS | APPLY,)
    return (SUMS, APPLY)


@lru_cache(maxsize=256)
def _constant(value: float, n: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((n,), value, dtype=dtype, device="cpu")


def _parameter(tensor: torch.Tensor | None, value: float, n: int, dtype: torch.dtype):
    """Give a parameter in the compute type, or ``value`` everywhere where there is none."""
    if tensor is None:
        return _constant(value, n, dtype)
    return dense(tensor.to(dtype))


def _address(tensor: torch.Tensor | None) -> int:
    if tensor is None:
        return 0
    address = tensor.data_ptr()
    if address == 0 and tensor.numel():
        raise RuntimeError(
            f"kernels read a tensor's memory, and this one of shape {tuple(tensor.shape)} on "
            f"{tensor.device} has none: materialize it, or set EQUIPOISE_BACKEND=reference"
        )
    return address


KERNELS = {
    ("rows", "forward"): rows.rows_forward,
    ("rows", "backward"): rows_backward.rows_backward,
    ("columns", "forward"): columns.columns_forward,
    ("columns", "backward"): columns_backward.columns_backward,
}


def _run(direction, p, phases, x, tensors, options, floats):
    """Call a kernel of the plan's family for each phase, with scratch of its own."""
    family = rows if p.family == "rows" else columns
    kernel = KERNELS[p.family, direction]
    scratch = torch.empty(p.chunks * 2 * p.channels, dtype=torch.float64, device="cpu")
    addresses = [_address(t) for t in tensors] + [scratch.data_ptr()]
    wide = None
    if p.family == "columns":
        size = (3 if direction == "forward" else 5) * (p.shape[1] + 16)
        wide = torch.empty(size, dtype=COMPUTE[x.dtype], device="cpu")
    work = x.numel() * x.element_size() * 3
    for phase in phases:
        before, after = options
        extra = () if wide is None else (wide.data_ptr(),)
        integers = (*addresses, *before, phase, *after, *extra, *p.shape)
        kernel(work, x.dtype, family.tasks(p.shape, phase, p.chunks), integers, floats)


def forward(x, weight, bias, other, stats, act, slope, eps):
    """Normalize ``x``; with ``stats`` None by its own statistics.

    Returns the output in the layout of ``x`` and stats (4, C) float64: mean, biased variance,
    1 / sqrt(variance + eps), scratch.
    """
    x = dense(x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    y = torch.empty_like(x)
    dtype, channels = COMPUTE[x.dtype], x.shape[1]
    p = plan(tuple(x.shape), x.is_contiguous())
    own = stats is None
    if own:
        stats = torch.empty((4, channels), dtype=torch.float64, device="cpu")
    weight = _parameter(weight, 1.0, channels, dtype)
    bias = _parameter(bias, 0.0, channels, dtype)
    tensors = (x, other, y, weight, bias, stats)
    options = ((other is not None,), (act,))
    _run("forward", p, _phases(p) if own else (APPLY,), x, tensors, options, (eps, slope))
    if own and stats.numpy()[3].any():
        moments_in_float64(x, eps, stats)
        _run("forward", p, (APPLY,), x, tensors, options, (eps, slope))
    return y, stats


def backward(g, x, other, stats, weight, bias, act, slope, from_output, training, want_other):
    """Give the gradients of input, ``other``, weight and bias (the last two float64).

    ``other`` is what was added, or the layer's output where ``from_output``.
    """
    x = dense(x)
    g = dense(g, like=x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    dtype, channels = COMPUTE[x.dtype], x.shape[1]
    dx = torch.empty_like(x)
    dother = torch.empty_like(x) if want_other and act else None
    sums = torch.empty((2, channels), dtype=torch.float64, device="cpu")
    p = plan(tuple(x.shape), x.is_contiguous())
    weight = _parameter(weight, 1.0, channels, dtype)
    bias = _parameter(bias, 0.0, channels, dtype)
    tensors = (g, x, other, dx, dother, weight, bias, stats, sums)
    options = ((other is not None, from_output, dother is not None), (training, act))
    _run("backward", p, _phases(p), x, tensors, options, (slope,))
    if want_other and dother is None:
        dother = g
    return dx, dother, sums[1], sums[0]


def running(running_mean, running_var, stats, momentum: float, count: int) -> None:
    """Move the running buffers towards the batch's statistics, in place."""
    both = (running_mean, running_var)
    if not all(
        b.dtype == torch.float32 and b.is_contiguous() and type(b) is torch.Tensor for b in both
    ):
        with torch.no_grad():
            return update_by_torch(running_mean, running_var, stats, momentum, count)
    update_running(
        0, running_mean.detach().numpy(), running_var.detach().numpy(), stats.numpy(),
        float(momentum), float(count),
    )  # fmt: skip
    torch.autograd.graph.increment_version((running_mean, running_var))
    return None
