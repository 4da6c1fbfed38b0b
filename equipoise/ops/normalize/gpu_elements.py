"""LayerNorm and RMSNorm on the GPU: the calls of ``gpu_rows``' kernels."""

from typing import NamedTuple

import torch

from equipoise.ops.normalize import gpu_rows
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
from equipoise.ops.normalize.layout import crossed, dense
from equipoise.ops.numbers import COMPUTE as COMPUTED

# bytes, in the compute type, of the most that a program holds at once, by direction
WHOLE_FORWARD, WHOLE_BACKWARD = 128 << 10, 32 << 10
# bytes, likewise, of a tile where rows are short, and of one of blocks of rows
TILE, BLOCK = 4 << 10, 32 << 10
# bytes that memory is read by: as many of each number's neighbours across rows
SECTOR = 32
# rows whose gradients are summed in the compute type before float64 takes over
RUN = 128


class Walk(NamedTuple):
    """How a tensor's rows are walked."""

    rows: int
    width: int
    # 1, or the positions of a sample whose channels lie across memory
    places: int
    # rows and columns of a tile, and whether it holds whole rows
    tile: tuple[int, int]
    whole: bool


def plan(x: torch.Tensor, width: int, limit: int) -> Walk:
    """Choose tiles of at most ``limit`` bytes."""
    rows, item = x.numel() // width, COMPUTED[x.dtype].itemsize
    places = rows // x.shape[0] if crossed(x, width) else 1
    least, most = 1, BLOCK
    if places > 1:
        # offsets take registers too
        least, most, limit = SECTOR // x.element_size(), BLOCK // 4, limit // 2
    block = upper(width)
    if block * least * item > limit:
        return Walk(rows, width, places, (least, max(1, most // item // least)), False)
    return Walk(rows, width, places, (max(least, TILE // item // block), block), True)


def _laid_out(tensor: torch.Tensor, x: torch.Tensor, across: bool) -> torch.Tensor:
    """Give a tensor in the type of ``x``, without gaps, its rows along or across memory."""
    tensor = tensor.to(x.dtype)
    if not across:
        return contiguous(tensor)
    return contiguous(dense(tensor).movedim(-1, 1)).movedim(1, -1)


def _settings(walk: Walk, dtype: torch.dtype, activation, slope) -> dict:
    lines, block = walk.tile
    return {
        "SLOPE": slope_of(activation, slope), "ACTIVATION": activation, "COMPUTE": COMPUTE[dtype],
        "ROWS": lines, "BLOCK": block, "num_warps": warps(lines * block),
    }  # fmt: skip


def forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    """Normalize rows of ``width`` numbers of x, or of x + residual.

    Returns y, the sum (x without a residual) and stats (4, rows) float64.
    """
    walk = plan(x, width, WHOLE_FORWARD)
    x = _laid_out(x, x, walk.places > 1)
    residual = None if residual is None else _laid_out(residual, x, walk.places > 1)
    total = None if residual is None else torch.empty_like(x)
    y = torch.empty_like(x)
    stats = torch.empty((4, walk.rows), dtype=torch.float64, device=x.device)
    launch(
        gpu_rows.rows_forward if walk.whole else gpu_rows.long_rows_forward,
        (cdiv(walk.rows, walk.tile[0]),), x, residual, contiguous(weight), contiguous(bias),
        y, total, stats, *walk[:3], EPS=float(eps), CENTRED=bool(centred),
        **_settings(walk, x.dtype, activation, slope),
    )  # fmt: skip
    return y, x if total is None else total, stats


def _chunk(walk: Walk, device: torch.device) -> int:
    """Give the rows of a program: whole tiles, and few enough for every processor to have some."""
    rows = max(1, min(RUN, walk.rows // (2 * processors(device))))
    return cdiv(rows, walk.tile[0]) * walk.tile[0]


def backward(g, passed, x, stats, weight, bias, activation, slope, width, centred):
    """Give the input's gradient, and (2, width) float64 of bias and weight."""
    walk = plan(x, width, WHOLE_BACKWARD)
    x, g = (_laid_out(t, x, walk.places > 1) for t in (x, g))
    passed = None if passed is None else _laid_out(passed, x, walk.places > 1)
    weight, bias = contiguous(weight), contiguous(bias)
    settings = _settings(walk, x.dtype, activation, slope)
    dx, sums = torch.empty_like(x), None
    if not walk.whole:
        sums = x.new_empty((2, walk.rows), dtype=COMPUTED[x.dtype])
        launch(
            gpu_rows.long_rows_sums, (cdiv(walk.rows, walk.tile[0]),), g, x, stats, weight,
            bias, sums, *walk[:3], **settings,
        )  # fmt: skip
    chunk = _chunk(walk, x.device)
    chunks = cdiv(walk.rows, chunk)
    partial = x.new_empty((chunks, 2, width), dtype=COMPUTED[x.dtype])
    launch(
        gpu_rows.rows_backward, (chunks, cdiv(width, walk.tile[1])), g, passed, x, stats,
        weight, bias, sums, dx, partial, *walk[:3], chunk, CENTRED=bool(centred), **settings,
    )  # fmt: skip
    return dx, partial.sum(0, dtype=torch.float64)
