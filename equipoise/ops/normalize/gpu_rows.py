"""LayerNorm and RMSNorm on the GPU: rows of ``width`` numbers, the weight along the row.

Rows that fit in registers are read once, as a tile of ``ROWS`` x ``BLOCK``; longer ones are walked
in blocks, whose summaries merge in float64.  Rows lie one after the other (``places`` 1), or across
memory, as the channels at each of an image's ``places``.  Offsets are int64.

Sweeps over memory: 1 read and 1 write forward (2 and 2 with a residual), 2 reads and 1 write
backward (3 with what passes the norm by).  Long rows are read once more forward (twice
with a residual), when the second cache may still hold them, and twice more backward.

Weights' gradients: a program sums over its own rows, then ``torch.sum`` over programs; no atomics.
"""

import triton
import triton.language as tl

# what is annotated as constexpr is given as a plain value
# pyright: reportArgumentType=none, reportGeneralTypeIssues=none
from equipoise.ops.moments.gpu import merge, moments_of_tile
from equipoise.ops.normalize.gpu_formulas import (
    gradients,
    input_gradient,
    inverse_std,
    load_parameter,
    load_row,
    normalized,
    number,
    parts,
    store_statistics,
    wide,
)


@triton.jit
def _offsets(o_row, o_column, width, places):
    """Give where numbers of rows lie."""
    return o_row // places * places * width + o_row % places + o_column * places


@triton.jit
def _load_sum(p_x, p_residual, p_total, at, mask, COMPUTE: tl.constexpr):
    """Load x, or x + residual, rounded as the sum that is handed out; write it, if asked to."""
    x = tl.load(p_x + at, mask=mask, other=0.0)
    if p_residual is not None:
        x = (x.to(COMPUTE) + tl.load(p_residual + at, mask=mask, other=0.0).to(COMPUTE)).to(x.dtype)
        if p_total is not None:
            tl.store(p_total + at, x, mask=mask)
    return x.to(COMPUTE)


@triton.jit
def _output(
    xhat, p_weight, p_bias, p_y, at, o_column, m_column, mask, SLOPE: tl.constexpr,
    ACTIVATION: tl.constexpr,
):  # fmt: skip
    """Write act(xhat * weight + bias)."""
    weight = load_parameter(p_weight, o_column, m_column, 1.0, xhat.dtype)
    bias = load_parameter(p_bias, o_column, m_column, 0.0, xhat.dtype)
    y = normalized(xhat, weight, bias, None, at, mask, SLOPE, ACTIVATION)
    tl.store(p_y + at, y.to(p_y.dtype.element_ty), mask=mask)


@triton.jit
def rows_forward(
    p_x, p_residual, p_weight, p_bias, p_y, p_total, p_stats, rows, width, places,
    EPS: tl.constexpr, SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, CENTRED: tl.constexpr,
    COMPUTE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize ``ROWS`` rows that fit in registers."""
    o_row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    o_column = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    m_row, m_column = o_row < rows, o_column < width
    at, mask = _offsets(o_row, o_column, width, places), m_row & m_column
    x = _load_sum(p_x, p_residual, p_total, at, mask, COMPUTE)
    count = number(width, COMPUTE)
    deviation, shift, rest, m2 = moments_of_tile(x, mask, count, 1, CENTRED)
    variance = m2 / count
    invstd = inverse_std(variance, EPS)
    mean = shift.to(tl.float64) + rest.to(tl.float64)
    store_statistics(p_stats, o_row, m_row, rows, mean, variance, invstd)
    _output(
        deviation * invstd, p_weight, p_bias, p_y, at, o_column, m_column, mask, SLOPE, ACTIVATION
    )


@triton.jit
def long_rows_forward(
    p_x, p_residual, p_weight, p_bias, p_y, p_total, p_stats, rows, width, places,
    EPS: tl.constexpr, SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, CENTRED: tl.constexpr,
    COMPUTE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize ``ROWS`` rows block by block: first their statistics, then their output."""
    o_row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    m_row = o_row < rows
    o_block = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    count = tl.zeros((ROWS, 1), tl.float64)
    mean, m2 = count, count
    for first in range(0, width, BLOCK):
        o_column = first + o_block
        mask = m_row & (o_column < width)
        at = _offsets(o_row, o_column, width, places)
        x = _load_sum(p_x, p_residual, p_total, at, mask, COMPUTE)
        n = number(tl.minimum(width - first, BLOCK), COMPUTE)
        _, shift, rest, own = moments_of_tile(x, mask, n, 1, CENTRED)
        middle = shift.to(tl.float64) + rest.to(tl.float64)
        count, mean, m2 = merge(
            count, mean, m2, n.to(tl.float64), middle, own.to(tl.float64)
        )  # fmt: skip
    variance = m2 / count
    invstd = inverse_std(variance, EPS)
    store_statistics(p_stats, o_row, m_row, rows, mean, variance, invstd)
    high, low = parts(mean, COMPUTE)
    scale = invstd.to(COMPUTE)
    for first in range(0, width, BLOCK):
        o_column = first + o_block
        m_column = o_column < width
        at, mask = _offsets(o_row, o_column, width, places), m_row & m_column
        # the sum is computed again, not read: another thread may have written it
        x = _load_sum(p_x, p_residual, None, at, mask, COMPUTE)
        xhat = ((x - high) - low) * scale
        _output(xhat, p_weight, p_bias, p_y, at, o_column, m_column, mask, SLOPE, ACTIVATION)


@triton.jit
def long_rows_sums(
    p_g, p_x, p_stats, p_weight, p_bias, p_sums, rows, width, places,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, COMPUTE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the sums over rows of w * g and of w * g * xhat into (2, rows)."""
    o_row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    m_row = o_row < rows
    o_block = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    high, low, invstd = load_row(p_stats, o_row, m_row, rows, COMPUTE)
    total = tl.zeros((ROWS, BLOCK), COMPUTE)
    moment = total
    for first in range(0, width, BLOCK):
        o_column = first + o_block
        m_column = o_column < width
        at, mask = _offsets(o_row, o_column, width, places), m_row & m_column
        weight = load_parameter(p_weight, o_column, m_column, 1.0, COMPUTE)
        bias = load_parameter(p_bias, o_column, m_column, 0.0, COMPUTE)
        g, xhat = gradients(
            p_g, p_x, None, at, mask, weight, bias, high, low, invstd,
            SLOPE, ACTIVATION, False, COMPUTE,
        )  # fmt: skip
        total += g * weight
        moment += g * weight * xhat
    tl.store(p_sums + o_row, tl.sum(total, 1, keep_dims=True), mask=m_row)
    tl.store(p_sums + (wide(rows) + o_row), tl.sum(moment, 1, keep_dims=True), mask=m_row)


@triton.jit
def rows_backward(
    p_g, p_passed, p_x, p_stats, p_weight, p_bias, p_sums, p_dx, p_partial, rows, width, places,
    chunk,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, CENTRED: tl.constexpr, COMPUTE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write dx of a chunk of rows, a multiple of ``ROWS``, and their part (2, width) of
    the weight's and bias' gradients.

    A tile holds whole rows where ``p_sums`` is None; else a block of columns of each, whose row
    sums ``long_rows_sums`` wrote.
    """
    o_column = (tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK))[None, :]
    m_column = o_column < width
    weight = load_parameter(p_weight, o_column, m_column, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_column, m_column, 0.0, COMPUTE)
    dweight = tl.zeros((ROWS, BLOCK), COMPUTE)
    dbias = dweight
    first = tl.program_id(0).to(tl.int64) * chunk
    for step in range(0, chunk, ROWS):
        o_row = first + step + tl.arange(0, ROWS)[:, None]
        m_row = o_row < rows
        at, mask = _offsets(o_row, o_column, width, places), m_row & m_column
        high, low, invstd = load_row(p_stats, o_row, m_row, rows, COMPUTE)
        g, xhat = gradients(
            p_g, p_x, None, at, mask, weight, bias, high, low, invstd,
            SLOPE, ACTIVATION, False, COMPUTE,
        )  # fmt: skip
        dbias += g
        dweight += g * xhat
        g *= weight
        if p_sums is None:
            total = tl.sum(g, 1, keep_dims=True)
            moment = tl.sum(g * xhat, 1, keep_dims=True)
        else:
            total = tl.load(p_sums + o_row, mask=m_row, other=0.0)
            moment = tl.load(p_sums + (wide(rows) + o_row), mask=m_row, other=0.0)
        inverse = 1.0 / number(width, COMPUTE)
        dx = input_gradient(g, xhat, total * inverse, moment * inverse, invstd, CENTRED)
        if p_passed is not None:
            dx += tl.load(p_passed + at, mask=mask, other=0.0).to(COMPUTE)
        tl.store(p_dx + at, dx.to(p_dx.dtype.element_ty), mask=mask)
    at = tl.program_id(0).to(tl.int64) * 2 * width + o_column
    tl.store(p_partial + at, tl.sum(dbias, 0, keep_dims=True), mask=m_column)
    tl.store(p_partial + (at + width), tl.sum(dweight, 0, keep_dims=True), mask=m_column)
