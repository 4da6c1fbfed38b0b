"""Groups of channels that fit in registers: GroupNorm and InstanceNorm, in any layout.

A program holds a tile of channels x positions of one sample.  It is one statistic, the ``per``
channels of a group; or, where each channel has statistics ``ALONE``, several of them.  Offsets are
int64.

Sweeps over memory: 1 read and 1 write forward, 2 reads and 1 write backward; what is added is read
once in either direction.  Weights' gradients: sums of each channel of each sample, then
``torch.sum`` over samples; no atomics.
"""

import triton
import triton.language as tl

# what is annotated as constexpr is given as a plain value
# pyright: reportArgumentType=none, reportGeneralTypeIssues=none, reportAssignmentType=none
from equipoise.ops.moments.gpu import moments_of_tile
from equipoise.ops.normalize.gpu_formulas import (
    gradients,
    input_gradient,
    inverse_std,
    load_parameter,
    load_row,
    normalized,
    number,
    store_statistics,
    wide,
)


@triton.jit
def _tile(channels, length, per, ALONE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Give sample, offsets of channels and positions, and which of them exist."""
    pid = tl.program_id(0).to(tl.int64)
    if ALONE:
        blocks = tl.cdiv(channels, CHANNELS)
        first, end = pid % blocks * CHANNELS, channels
    else:
        blocks = channels // per
        first = pid % blocks * per
        end = first + per
    o_channel = first + tl.arange(0, CHANNELS)[:, None]
    o_position = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    return pid // blocks, o_channel, o_position, o_channel < end, o_position < length


@triton.jit
def _statistic(sample, o_channel, m_channel, channels, per, ALONE: tl.constexpr):
    """Give which statistics the tile has, and which of them exist."""
    if ALONE:
        at, mask = sample * channels + o_channel, m_channel
    else:
        at = number(tl.program_id(0), tl.int64)
        mask = at >= 0
    return at, mask


@triton.jit
def groups_forward(
    p_x, p_weight, p_bias, p_add, p_y, p_stats, samples, channels, length, stride_c, stride_p, per,
    EPS: tl.constexpr, SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, CENTRED: tl.constexpr,
    COMPUTE: tl.constexpr, ALONE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize a tile by its own statistics."""
    sample, o_channel, o_position, m_channel, m_position = _tile(
        channels, length, per, ALONE, CHANNELS, BLOCK
    )
    at = sample * channels * length + o_channel * stride_c + o_position * stride_p
    mask = m_channel & m_position
    x = tl.load(p_x + at, mask=mask, other=0.0).to(COMPUTE)
    count = number(length, COMPUTE) * number(per, COMPUTE)
    axis: tl.constexpr = 1 if ALONE else None
    deviation, shift, rest, m2 = moments_of_tile(x, mask, count, axis, CENTRED)
    variance = m2 / count
    invstd = inverse_std(variance, EPS)
    o_stat, m_stat = _statistic(sample, o_channel, m_channel, channels, per, ALONE)
    mean = shift.to(tl.float64) + rest.to(tl.float64)
    statistics = wide(samples) * (channels // per)
    store_statistics(p_stats, o_stat, m_stat, statistics, mean, variance, invstd)
    weight = load_parameter(p_weight, o_channel, m_channel, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_channel, m_channel, 0.0, COMPUTE)
    y = normalized(deviation * invstd, weight, bias, p_add, at, mask, SLOPE, ACTIVATION)
    tl.store(p_y + at, y.to(p_y.dtype.element_ty), mask=mask)


@triton.jit
def groups_backward(
    p_g, p_x, p_other, p_weight, p_bias, p_stats, p_dx, p_dother, p_sums,
    samples, channels, length, stride_c, stride_p, per,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, FROM_OUTPUT: tl.constexpr,
    CENTRED: tl.constexpr, COMPUTE: tl.constexpr, ALONE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a tile's input gradient, and its channels' sums of g and g * xhat in (2, lines)."""
    sample, o_channel, o_position, m_channel, m_position = _tile(
        channels, length, per, ALONE, CHANNELS, BLOCK
    )
    at = sample * channels * length + o_channel * stride_c + o_position * stride_p
    mask = m_channel & m_position
    weight = load_parameter(p_weight, o_channel, m_channel, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_channel, m_channel, 0.0, COMPUTE)
    o_stat, m_stat = _statistic(sample, o_channel, m_channel, channels, per, ALONE)
    statistics = wide(samples) * (channels // per)
    high, low, invstd = load_row(p_stats, o_stat, m_stat, statistics, COMPUTE)
    g, xhat = gradients(
        p_g, p_x, p_other, at, mask, weight, bias, high, low, invstd,
        SLOPE, ACTIVATION, FROM_OUTPUT, COMPUTE,
    )  # fmt: skip
    total, moment = tl.sum(g, 1, keep_dims=True), tl.sum(g * xhat, 1, keep_dims=True)
    line = p_sums + sample * channels + o_channel
    tl.store(line, total, mask=m_channel)
    line += wide(samples) * channels
    tl.store(line, moment, mask=m_channel)
    if p_dother is not None:
        tl.store(p_dother + at, g.to(p_dother.dtype.element_ty), mask=mask)
    total, moment = total * weight, moment * weight
    if not ALONE:
        total = tl.sum(tl.where(m_channel, total, 0.0), 0, keep_dims=True)
        moment = tl.sum(tl.where(m_channel, moment, 0.0), 0, keep_dims=True)
    inverse = 1.0 / (number(length, COMPUTE) * number(per, COMPUTE))
    dx = input_gradient(g * weight, xhat, total * inverse, moment * inverse, invstd, CENTRED)
    tl.store(p_dx + at, dx.to(p_dx.dtype.element_ty), mask=mask)
