"""The GPU kernels' Python side for norms of channels: which family, which tiles, and the calls.

The signatures of ``cpu``.  Tensors are read in place, contiguous or channels_last; other strides
are copied once to the layout that torch would give the output.  Results depend on nothing but the
input and the number of the GPU's processors: no atomics, sums in a fixed order.
"""

from dataclasses import dataclass

import torch

from equipoise.ops.normalize import gpu_columns, gpu_groups
from equipoise.ops.normalize.gpu_launch import (
    COMPUTE,
    cdiv,
    contiguous,
    launch,
    processors,
    slope_of,
    upper,
    warps,
)
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.op import parameter_gradients
from equipoise.ops.normalize.reference import update_by_torch
from equipoise.ops.numbers import COMPUTE as COMPUTED

# bytes, in the compute type, of the largest group that a program holds at once, by direction
WHOLE_FORWARD, WHOLE_BACKWARD = 64 << 10, 32 << 10
# bytes of a tile in the compute type, and channels of one in channels_last
TILE, CHANNELS = 8 << 10, 64
# tiles whose gradients are summed in the compute type before float64 takes over
RUN = 128
# programs for each processor
PROGRAMS = 4
# statistics, and summaries of each, that are merged at a time
MERGED, SUMMARIES = 8, 64


@dataclass(frozen=True)
class Plan:
    """How a tensor is walked: sizes and strides, then tiles."""

    outer: int
    samples: int
    channels: int
    length: int
    stride_c: int
    stride_p: int
    per: int
    # channels and positions of a tile, and tiles of a program
    tile: tuple[int, int]
    chunk: int

    @property
    def statistics(self) -> int:
        """Count the statistics."""
        return self.outer * self.channels // self.per

    @property
    def count(self) -> int:
        """Count the numbers of a statistic."""
        return self.samples * self.length * self.per

    @property
    def chunks(self) -> int:
        """Count the chunks of a line."""
        return cdiv(self.samples * cdiv(self.length, self.tile[1]), self.chunk)

    @property
    def programs(self) -> int:
        """Count the programs of a sweep."""
        return self.outer * self.chunks * cdiv(self.channels, self.tile[0])


def _view(x: torch.Tensor, groups: int) -> tuple[int, ...]:
    """Give outer, samples, channels, length, the strides of channels and positions, and per."""
    n, channels = x.shape[:2]
    length = x.numel() // (n * channels)
    if x.is_contiguous() and length > 1:
        strides = (length, 1)
    else:
        strides = (1, channels)
    if groups:
        return n, 1, channels, length, *strides, channels // groups
    if strides[0] == 1:
        # positions of all samples lie one after the other
        return 1, 1, channels, n * length, *strides, 1
    return 1, n, channels, length, *strides, 1


def plan(x: torch.Tensor, groups: int) -> Plan:
    """Choose tiles for a dense tensor."""
    outer, samples, channels, length, stride_c, stride_p, per = _view(x, groups)
    tile = TILE // COMPUTED[x.dtype].itemsize
    if stride_c == 1:
        width = min(upper(channels), CHANNELS)
        block = min(upper(length), tile // width)
    else:
        block = min(upper(length), tile)
        width = min(upper(channels), tile // block)
    tiles = samples * cdiv(length, block)
    work = outer * tiles * cdiv(channels, width)
    chunk = max(1, min(RUN, tiles, work // (PROGRAMS * processors(x.device))))
    return Plan(
        outer, samples, channels, length, stride_c, stride_p, per, (width, block), chunk
    )  # fmt: skip


def whole(p: Plan, groups: int, dtype: torch.dtype, limit: int) -> dict | None:
    """Give the settings of kernels that hold a group at once, or None where none can."""
    if not groups:
        return None
    width, block = upper(p.per), upper(p.length)
    if width * block * COMPUTED[dtype].itemsize > limit:
        return None
    if p.per == 1:
        width = max(1, min(upper(p.channels), TILE // COMPUTED[dtype].itemsize // block))
    return {
        "ALONE": p.per == 1, "CHANNELS": width, "BLOCK": block, "num_warps": warps(width * block),
    }  # fmt: skip


def _whole_grid(p: Plan, settings: dict) -> tuple[int, ...]:
    blocks = cdiv(p.channels, settings["CHANNELS"] if settings["ALONE"] else p.per)
    return (p.outer * blocks,)


def _sweep(p: Plan, dtype: torch.dtype) -> tuple[tuple[int, ...], dict]:
    """Give the numbers and the settings that every sweep over the columns takes."""
    numbers = (p.outer, p.samples, p.channels, p.length, p.stride_c, p.stride_p, p.chunk)
    width, block = p.tile
    return numbers, {
        "COMPUTE": COMPUTE[dtype], "CHANNELS": width, "BLOCK": block,
        "num_warps": warps(width * block),
    }  # fmt: skip


def _statistics(x, p: Plan, eps, centred, stats) -> None:
    numbers, settings = _sweep(p, x.dtype)
    lines = p.outer * p.channels
    partial = x.new_empty((3, p.chunks, lines), dtype=torch.float64)
    launch(
        gpu_columns.columns_statistics, (p.programs,), x, partial, *numbers, CENTRED=bool(centred),
        **settings,
    )  # fmt: skip
    launch(
        gpu_columns.columns_merge, (cdiv(p.statistics, MERGED),), partial, stats, p.chunks,
        p.statistics, p.per, EPS=float(eps), STATISTICS=MERGED, BLOCK=SUMMARIES, num_warps=4,
    )  # fmt: skip


def forward(
    x, weight, bias, other, stats, activation, slope, eps, groups=0, centred=1, moved=None
):  # fmt: skip
    """Normalize ``x``; with ``stats`` None by its own statistics.

    These move the running buffers ``moved`` (mean, variance, momentum), if there are any.
    Returns the output in the layout of ``x`` and stats (4, statistics) float64: mean, biased
    variance, 1 / sqrt(variance + eps), zero.
    """
    y, stats = _normalize(x, weight, bias, other, stats, activation, slope, eps, groups, centred)
    if moved is not None:
        mean, variance, momentum = moved
        running(mean, variance, stats, momentum, x.numel() // x.shape[1])
    return y, stats


def _normalize(x, weight, bias, other, stats, activation, slope, eps, groups, centred):
    x = dense(x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    weight, bias = contiguous(weight), contiguous(bias)
    y = torch.empty_like(x)
    p = plan(x, groups)
    formula = {"SLOPE": slope_of(activation, slope), "ACTIVATION": activation}
    on_chip = whole(p, groups, x.dtype, WHOLE_FORWARD) if stats is None else None
    own = stats is None
    if own:
        stats = torch.empty((4, p.statistics), dtype=torch.float64, device=x.device)
    if on_chip:
        launch(
            gpu_groups.groups_forward, _whole_grid(p, on_chip), x, weight, bias, other, y, stats,
            p.outer, p.channels, p.length, p.stride_c, p.stride_p, p.per, EPS=float(eps),
            CENTRED=bool(centred), COMPUTE=COMPUTE[x.dtype], **formula, **on_chip,
        )  # fmt: skip
        return y, stats
    if own:
        _statistics(x, p, eps, centred, stats)
    numbers, settings = _sweep(p, x.dtype)
    launch(
        gpu_columns.columns_forward, (p.programs,), x, weight, bias, other, stats, y, *numbers,
        p.per, **formula, **settings,
    )  # fmt: skip
    return y, stats


def backward(
    g, x, other, stats, weight, bias, activation, slope, from_output, training, want_other,
    groups=0, centred=1, rounded=False,
):  # fmt: skip
    """Give the gradients of input and ``other``, and (2, C) float64 of bias and weight.

    ``other`` is what was added, or the layer's output where ``from_output``; ``rounded`` gives
    those of bias and weight in the type that both have, as a pair.
    """
    x = dense(x)
    g = dense(g, like=x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    weight, bias = contiguous(weight), contiguous(bias)
    dx = torch.empty_like(x)
    gated = torch.empty_like(x) if want_other and activation is not None else None
    formula = {
        "SLOPE": slope_of(activation, slope), "ACTIVATION": activation,
        "FROM_OUTPUT": bool(from_output),
    }  # fmt: skip
    p = plan(x, groups)
    tensors = (g, x, other, weight, bias, stats)
    on_chip = whole(p, groups, x.dtype, WHOLE_BACKWARD) if training else None
    run = _backward_whole if on_chip else _backward_columns
    sums = run(tensors, p, dx, gated, bool(training), bool(centred), formula, on_chip)
    gated = g if gated is None else gated
    sums = sums.view(2, p.outer, p.channels).sum(1, dtype=torch.float64)
    if rounded:
        sums = parameter_gradients(sums, weight, bias)
    return dx, gated if want_other else None, sums


def _backward_whole(tensors, p: Plan, dx, gated, training, centred, formula, settings):
    x = tensors[1]
    sums = x.new_empty((2, p.outer * p.channels), dtype=COMPUTED[x.dtype])
    launch(
        gpu_groups.groups_backward, _whole_grid(p, settings), *tensors, dx, gated, sums, p.outer,
        p.channels, p.length, p.stride_c, p.stride_p, p.per, CENTRED=centred,
        COMPUTE=COMPUTE[x.dtype], **formula, **settings,
    )  # fmt: skip
    return sums


def _backward_columns(tensors, p: Plan, dx, gated, training, centred, formula, _):
    x, weight = tensors[1], tensors[3]
    numbers, settings = _sweep(p, x.dtype)
    partial = x.new_empty((2, p.chunks, p.outer * p.channels), dtype=COMPUTED[x.dtype])
    launch(
        gpu_columns.columns_sums, (p.programs,), *tensors, partial, *numbers, p.per, **formula,
        **settings,
    )  # fmt: skip
    sums = partial.sum(1, dtype=torch.float64)
    means = None
    if training:
        weighted = sums.view(2, p.outer, p.channels)
        weighted = weighted if weight is None else weighted * weight.double()
        means = weighted.reshape(2, p.statistics, p.per).sum(2) / p.count
    launch(
        gpu_columns.columns_backward, (p.programs,), *tensors, means, dx, gated, *numbers, p.per,
        CENTRED=centred, **formula, **settings,
    )  # fmt: skip
    return sums


def running(running_mean, running_var, stats, momentum: float, count: int) -> None:
    """Move the running buffers towards the batch's statistics, in place, without a wait."""
    both = (running_mean, running_var)
    with torch.no_grad():
        if any(
            b.dtype != torch.float32 or not b.is_contiguous() or type(b) is not torch.Tensor
            for b in both
        ):
            update_by_torch(running_mean, running_var, stats, momentum, count)
            return
        channels = stats.shape[1]
        launch(
            gpu_columns.update_running, (cdiv(channels, 256),), running_mean, running_var,
            stats, channels, float(momentum), count / (count - 1), BLOCK=256, num_warps=4,
        )  # fmt: skip
    torch.autograd.graph.increment_version(both)
