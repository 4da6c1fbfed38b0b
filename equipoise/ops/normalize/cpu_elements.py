"""LayerNorm and RMSNorm on the CPU: the calls of ``elements``' kernels."""

from functools import lru_cache

import torch

from equipoise.ops.normalize import elements, formulas
from equipoise.ops.normalize.cpu import (
    BLOCK,
    STREAM,
    _address,
    _parameter,
    _slope,
)
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.reference import moments_in_float64
from equipoise.ops.numbers import COMPUTE
from equipoise.ops.sweep import compiled

# numbers of a block of rows, which stays in the second cache with its gradient
NUMBERS = 32768
# chunks of rows: tasks enough for many threads, and few enough to merge
CHUNKS = 64


@lru_cache(maxsize=4096)
def plan(rows: int, width: int, centred: int) -> tuple[int, ...]:
    """Give the shape that the kernels walk; the result depends on nothing else."""
    block = max(1, min(rows, NUMBERS // max(width, 1)))
    chunk = -(-rows // (CHUNKS * block)) * block
    return rows, width, block, max(chunk, 1), centred


@lru_cache(maxsize=1024)
def _forward_sweeps(dtype, streaming, added, centred, activation, slope, weighted, biased):
    output = formulas.row_output(activation, _slope(activation, slope), weighted, biased)
    return (
        compiled.address(formulas.row_first(added), dtype),
        compiled.address(formulas.row_moments(added, bool(centred)), dtype, streaming and added),
        compiled.address(output, dtype, streaming),
    )


@lru_cache(maxsize=1024)
def _backward_sweeps(dtype, streaming, passed, activation, slope, weighted, biased):
    kind = (activation, _slope(activation, slope), weighted, biased)
    return (
        compiled.address(formulas.row_gradient_sums(*kind), dtype),
        compiled.address(formulas.row_input_gradient(weighted, passed), dtype, streaming, BLOCK),
    )


def compile_sweeps(dtype: torch.dtype) -> None:
    """Compile the sweeps that layers over tensors of a dtype use most; the rest take 30 ms."""
    for streaming in (False, True):
        for centred, biased in ((1, True), (0, False)):
            for other in (False, True):
                _forward_sweeps(dtype, streaming, other, centred, None, 0.0, True, biased)
                _backward_sweeps(dtype, streaming, other, None, 0.0, True, biased)


def _streams(x: torch.Tensor, width: int, *outputs: torch.Tensor) -> bool:
    size = x.element_size()
    return x.numel() * size >= STREAM and all(
        (width * size) % 64 == 0 and t.data_ptr() % 64 == 0 for t in outputs
    )


def forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    """Normalize rows of ``width`` numbers of x, or of x + residual.

    Returns y, the sum (x without a residual) and stats (4, rows) float64.
    """
    x = dense(x).contiguous()
    rows, dtype = x.numel() // width, COMPUTE[x.dtype]
    total = x
    if residual is not None:
        residual = dense(residual.to(x.dtype)).contiguous()
        total = torch.empty_like(x)
    y = torch.empty_like(x)
    stats = torch.empty((4, rows), dtype=torch.float64, device="cpu")
    shape = plan(rows, width, centred)
    sweeps = _forward_sweeps(
        x.dtype, _streams(x, width, y, total), residual is not None, centred, activation, slope,
        weight is not None, bias is not None,
    )  # fmt: skip
    w, b = _parameter(weight, 1.0, width, dtype), _parameter(bias, 0.0, width, dtype)
    at = _address(x)
    integers = (
        x.element_size(), 0, 1, 0, 0, at, at if residual is None else _address(residual),
        y.data_ptr(), 0, 0, total.data_ptr(), w.data_ptr(), b.data_ptr(), stats.data_ptr(), 0,
        *sweeps, 0, 0, *shape,
    )  # fmt: skip
    work, count = x.numel() * x.element_size() * 3, -(-rows // shape[3])
    kernel = elements.elements_forward
    if kernel(work, dtype, [(elements.WHOLE, count)], 0, integers, (eps,)):
        moments_in_float64(total.view(rows, 1, width), eps, stats, 1, bool(centred))
        kernel(work, dtype, [(elements.AGAIN, count)], 0, integers, (eps,))
    return y, total, stats


def backward(g, passed, x, stats, weight, bias, activation, slope, width, centred):
    """Give the gradients of the input, of weight and of bias (the last two float64)."""
    x, g = x.contiguous(), dense(g).contiguous()
    passed = None if passed is None else dense(passed.to(x.dtype)).contiguous()
    rows, dtype = x.numel() // width, COMPUTE[x.dtype]
    dx = torch.empty_like(x)
    sums = torch.empty((2, width), dtype=torch.float64, device="cpu")
    shape = plan(rows, width, centred)
    sweeps = _backward_sweeps(
        x.dtype, _streams(x, width, dx), passed is not None, activation, slope,
        weight is not None, bias is not None,
    )  # fmt: skip
    w, b = _parameter(weight, 1.0, width, dtype), _parameter(bias, 0.0, width, dtype)
    at, count = _address(x), -(-rows // shape[3])
    integers = (
        x.element_size(), 0, 1, int(activation is not None), 0, at,
        at if passed is None else _address(passed), 0, _address(g), dx.data_ptr(), dx.data_ptr(),
        w.data_ptr(), b.data_ptr(), stats.data_ptr(), sums.data_ptr(), 0, 0, 0, *sweeps, *shape,
    )  # fmt: skip
    elements.elements_backward(
        x.numel() * x.element_size() * 3, dtype, [(elements.WHOLE, count)], count * 2 * width,
        integers, (),
    )  # fmt: skip
    return dx, sums[1], sums[0]
