"""Statistics that no program holds alone: BatchNorm, and large groups, in any layout.

A tensor is walked in tiles of channels x positions of one sample, ``chunk`` of them a program.
Statistics of a chunk merge tile by tile, those of chunks in a second kernel, in a fixed order; a
third kernel applies them, last chunks first, which the second cache may still hold.  Where
statistics are the batch's, one ``outer`` part has all ``samples``; else each sample is a part of
its own.  Offsets are int64; line o * channels + c is channel c of part o.

Sweeps over memory: 2 reads and 1 write forward, 4 reads and 1 write backward; in evaluation 1 and
1, and 4 and 1.  What is added is read once forward, and twice backward where an activation follows.
"""

import triton
import triton.language as tl

# what is annotated as constexpr is given as a plain value
# pyright: reportArgumentType=none, reportGeneralTypeIssues=none
from equipoise.ops.moments.gpu import merge, moments_of_tile, pool
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
def _extent(
    outer, samples, channels, length, chunk, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    """Give the program's part, chunk, chunks, tiles (from, to) and channels."""
    pid = tl.program_id(0).to(tl.int64)
    if REVERSE:
        pid = tl.num_programs(0) - 1 - pid
    blocks = tl.cdiv(channels, CHANNELS)
    tiles = wide(samples) * tl.cdiv(length, BLOCK)
    chunks = tl.cdiv(tiles, chunk)
    o_channel = pid % blocks * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    k = pid // blocks % chunks
    first = k * chunk
    return pid // blocks // chunks, k, chunks, first, tl.minimum(tiles, first + chunk), o_channel


@triton.jit
def _tile(
    t, part, samples, channels, length, stride_c, stride_p, o_channel, m_channel,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Give the offsets of a tile, which of them exist, and how many of each channel."""
    of_sample = tl.cdiv(length, BLOCK)
    first = t % of_sample * BLOCK
    o_position = first + tl.arange(0, BLOCK)[None, :]
    begin = (part * samples + t // of_sample) * channels * length
    at = begin + o_channel * stride_c + o_position * stride_p
    return at, m_channel & (o_position < length), tl.minimum(length - first, BLOCK)


@triton.jit
def columns_statistics(
    p_x, p_partial, outer, samples, channels, length, stride_c, stride_p, chunk,
    CENTRED: tl.constexpr, COMPUTE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write count, mean and m2 of a chunk of each channel into (3, chunks, lines) float64."""
    part, k, chunks, first, end, o_channel = _extent(
        outer, samples, channels, length, chunk, CHANNELS, BLOCK, False
    )
    m_channel = o_channel < channels
    count = tl.zeros((CHANNELS, 1), tl.float64)
    mean, m2 = count, count
    for t in range(first, end):
        at, mask, n = _tile(
            t, part, samples, channels, length, stride_c, stride_p, o_channel, m_channel, BLOCK
        )
        x = tl.load(p_x + at, mask=mask, other=0.0).to(COMPUTE)
        _, shift, rest, own = moments_of_tile(x, mask, number(n, COMPUTE), 1, CENTRED)
        middle = shift.to(tl.float64) + rest.to(tl.float64)
        count, mean, m2 = merge(
            count, mean, m2, number(n, tl.float64), middle, own.to(tl.float64)
        )  # fmt: skip
    lines = wide(outer) * channels
    at = p_partial + k * lines + part * channels + o_channel
    tl.store(at, count, mask=m_channel)
    at += chunks * lines
    tl.store(at, mean, mask=m_channel)
    at += chunks * lines
    tl.store(at, m2, mask=m_channel)


@triton.jit
def columns_merge(
    p_partial, p_stats, chunks, statistics, per,
    EPS: tl.constexpr, STATISTICS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Merge the chunks of the ``per`` lines of each statistic, in blocks of a fixed order."""
    o_stat = tl.program_id(0).to(tl.int64) * STATISTICS + tl.arange(0, STATISTICS)[:, None]
    m_stat = o_stat < statistics
    lines = wide(statistics) * per
    count = tl.zeros((STATISTICS, 1), tl.float64)
    mean, m2 = count, count
    for first in range(0, chunks * per, BLOCK):
        entry = first + tl.arange(0, BLOCK)[None, :].to(tl.int64)
        mask = m_stat & (entry < chunks * per)
        at = p_partial + entry // per * lines + o_stat * per + entry % per
        n = tl.load(at, mask=mask, other=0.0)
        at += chunks * lines
        middle = tl.load(at, mask=mask, other=0.0)
        at += chunks * lines
        n, middle, own = pool(n, middle, tl.load(at, mask=mask, other=0.0), 1)
        count, mean, m2 = merge(count, mean, m2, n, middle, own)
    variance = m2 / tl.maximum(count, 1.0)
    invstd = inverse_std(variance, EPS)
    store_statistics(p_stats, o_stat, m_stat, statistics, mean, variance, invstd)


@triton.jit
def columns_forward(
    p_x, p_weight, p_bias, p_add, p_stats, p_y,
    outer, samples, channels, length, stride_c, stride_p, chunk, per,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, COMPUTE: tl.constexpr, CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Normalize a chunk by the statistics of its channels."""
    part, _, _, first, end, o_channel = _extent(
        outer, samples, channels, length, chunk, CHANNELS, BLOCK, True
    )
    m_channel = o_channel < channels
    statistic = (part * channels + o_channel) // per
    statistics = wide(outer) * (channels // per)
    high, low, invstd = load_row(p_stats, statistic, m_channel, statistics, COMPUTE)
    weight = load_parameter(p_weight, o_channel, m_channel, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_channel, m_channel, 0.0, COMPUTE)
    for t in range(first, end):
        at, mask, _ = _tile(
            t, part, samples, channels, length, stride_c, stride_p, o_channel, m_channel, BLOCK
        )
        x = tl.load(p_x + at, mask=mask, other=0.0).to(COMPUTE)
        xhat = ((x - high) - low) * invstd
        y = normalized(xhat, weight, bias, p_add, at, mask, SLOPE, ACTIVATION)
        tl.store(p_y + at, y.to(p_y.dtype.element_ty), mask=mask)


@triton.jit
def columns_sums(
    p_g, p_x, p_other, p_weight, p_bias, p_stats, p_partial,
    outer, samples, channels, length, stride_c, stride_p, chunk, per,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, FROM_OUTPUT: tl.constexpr,
    COMPUTE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a chunk's sums of g and g * xhat of each channel into (2, chunks, lines)."""
    part, k, chunks, first, end, o_channel = _extent(
        outer, samples, channels, length, chunk, CHANNELS, BLOCK, False
    )
    m_channel = o_channel < channels
    statistic = (part * channels + o_channel) // per
    statistics = wide(outer) * (channels // per)
    high, low, invstd = load_row(p_stats, statistic, m_channel, statistics, COMPUTE)
    weight = load_parameter(p_weight, o_channel, m_channel, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_channel, m_channel, 0.0, COMPUTE)
    total = tl.zeros((CHANNELS, BLOCK), COMPUTE)
    moment = total
    for t in range(first, end):
        at, mask, _ = _tile(
            t, part, samples, channels, length, stride_c, stride_p, o_channel, m_channel, BLOCK
        )
        g, xhat = gradients(
            p_g, p_x, p_other, at, mask, weight, bias, high, low, invstd,
            SLOPE, ACTIVATION, FROM_OUTPUT, COMPUTE,
        )  # fmt: skip
        total += g
        moment += g * xhat
    lines = wide(outer) * channels
    at = p_partial + k * lines + part * channels + o_channel
    tl.store(at, tl.sum(total, 1, keep_dims=True), mask=m_channel)
    at += chunks * lines
    tl.store(at, tl.sum(moment, 1, keep_dims=True), mask=m_channel)


@triton.jit
def columns_backward(
    p_g, p_x, p_other, p_weight, p_bias, p_stats, p_means, p_dx, p_dother,
    outer, samples, channels, length, stride_c, stride_p, chunk, per,
    SLOPE: tl.constexpr, ACTIVATION: tl.constexpr, FROM_OUTPUT: tl.constexpr,
    CENTRED: tl.constexpr, COMPUTE: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the input's gradient of a chunk, from the means (2, statistics) of g and g * xhat.

    ``p_means`` is None in evaluation, where the statistics do not depend on the input.
    """
    part, _, _, first, end, o_channel = _extent(
        outer, samples, channels, length, chunk, CHANNELS, BLOCK, True
    )
    m_channel = o_channel < channels
    statistic = (part * channels + o_channel) // per
    statistics = wide(outer) * (channels // per)
    high, low, invstd = load_row(p_stats, statistic, m_channel, statistics, COMPUTE)
    weight = load_parameter(p_weight, o_channel, m_channel, 1.0, COMPUTE)
    bias = load_parameter(p_bias, o_channel, m_channel, 0.0, COMPUTE)
    total = tl.zeros((CHANNELS, 1), COMPUTE)
    moment = total
    if p_means is not None:
        total = tl.load(p_means + statistic, mask=m_channel, other=0.0).to(COMPUTE)
        moment = tl.load(p_means + (statistic + statistics), mask=m_channel, other=0.0).to(COMPUTE)
    for t in range(first, end):
        at, mask, _ = _tile(
            t, part, samples, channels, length, stride_c, stride_p, o_channel, m_channel, BLOCK
        )
        g, xhat = gradients(
            p_g, p_x, p_other, at, mask, weight, bias, high, low, invstd,
            SLOPE, ACTIVATION, FROM_OUTPUT, COMPUTE,
        )  # fmt: skip
        if p_dother is not None:
            tl.store(p_dother + at, g.to(p_dother.dtype.element_ty), mask=mask)
        dx = input_gradient(g * weight, xhat, total, moment, invstd, CENTRED)
        tl.store(p_dx + at, dx.to(p_dx.dtype.element_ty), mask=mask)


@triton.jit
def update_running(
    p_mean, p_var, p_stats, channels,
    momentum: tl.float64,  # pyright: ignore[reportInvalidTypeForm]
    unbiased: tl.float64,  # pyright: ignore[reportInvalidTypeForm]
    BLOCK: tl.constexpr,
):  # fmt: skip
    """running = (1 - momentum) * running + momentum * batch, in float64."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < channels
    mean = tl.load(p_stats + at, mask=mask, other=0.0)
    variance = tl.load(p_stats + (at + channels), mask=mask, other=0.0) * unbiased
    before = tl.load(p_mean + at, mask=mask, other=0.0).to(tl.float64)
    tl.store(p_mean + at, (before + momentum * (mean - before)).to(p_mean.dtype.element_ty), mask)
    before = tl.load(p_var + at, mask=mask, other=0.0).to(tl.float64)
    tl.store(p_var + at, (before + momentum * (variance - before)).to(p_var.dtype.element_ty), mask)
