"""The norms' formulas in Triton, each once: activations, their derivatives, statistics to scale."""

import math

import triton
import triton.language as tl

# what is annotated as constexpr is given as a plain value
# pyright: reportArgumentType=none, reportGeneralTypeIssues=none

HALF_ROOT = tl.constexpr(math.sqrt(0.5))
PEAK = tl.constexpr(1.0 / math.sqrt(2.0 * math.pi))


@triton.jit
def number(n, TYPE: tl.constexpr):
    """Give an integer argument, which may be a constant, in another type."""
    return tl.full((1, 1), n, TYPE)


@triton.jit
def wide(n):
    """Give an integer argument, which may be a constant, as an int64."""
    return tl.full((), n, tl.int64)


@triton.jit
def activate(z, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """Give act(z)."""
    if ACTIVATION == "relu":
        z = tl.where(z < 0.0, 0.0, z)
    elif ACTIVATION == "leaky_relu":
        z = tl.where(z < 0.0, z * SLOPE, z)
    elif ACTIVATION == "silu":
        z = z / (1.0 + tl.exp(-z))
    elif ACTIVATION == "gelu":
        z = 0.5 * z * (1.0 + tl.erf(z * HALF_ROOT))
    return z


@triton.jit
def gate(g, z, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """Give g * act'(z)."""
    if ACTIVATION == "relu":
        # NaN passes; where(z <= 0, 0, g) crashes LLVM on half types for sm_90
        g = tl.where((z > 0.0) | (z != z), g, 0.0)
    elif ACTIVATION == "leaky_relu":
        g = tl.where(z > 0.0, g, g * SLOPE)
    elif ACTIVATION == "silu":
        p = 1.0 / (1.0 + tl.exp(-z))
        g = g * p * (1.0 + z * (1.0 - p))
    elif ACTIVATION == "gelu":
        g = g * (0.5 * (1.0 + tl.erf(z * HALF_ROOT)) + z * PEAK * tl.exp(-0.5 * z * z))
    return g


@triton.jit
def inverse_std(variance, EPS: tl.constexpr):
    """Give 1 / sqrt(variance + eps), all its digits."""
    return 1.0 / tl.sqrt(variance + EPS)


@triton.jit
def parts(mean, COMPUTE: tl.constexpr):
    """Give the float64 mean as two numbers of the compute type, whose sum keeps its digits."""
    high = mean.to(COMPUTE)
    low = (mean - high.to(tl.float64)).to(COMPUTE)
    # an infinite mean has no rest
    return high, tl.where(low == low, low, 0.0)


@triton.jit
def load_parameter(pointer, offsets, mask, DEFAULT: tl.constexpr, COMPUTE: tl.constexpr):
    """Load a weight or bias in the compute type, or take the default where there is none."""
    if pointer is None:
        value = tl.full(offsets.shape, DEFAULT, COMPUTE)
    else:
        value = tl.load(pointer + offsets, mask=mask, other=0.0).to(COMPUTE)
    return value


@triton.jit
def normalized(
    xhat, weight, bias, p_add, at, mask, SLOPE: tl.constexpr, ACTIVATION: tl.constexpr
):  # fmt: skip
    """Give act(xhat * weight + bias + add)."""
    z = xhat * weight + bias
    if p_add is not None:
        z += tl.load(p_add + at, mask=mask, other=0.0).to(z.dtype)
    return activate(z, ACTIVATION, SLOPE)


@triton.jit
def gradients(
    p_g, p_x, p_other, at, mask, weight, bias, high, low, invstd, SLOPE: tl.constexpr,
    ACTIVATION: tl.constexpr, FROM_OUTPUT: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """Give the gradient before the activation and the normalized input, both 0 off the mask.

    ``p_other`` is what was added, or the layer's output where ``FROM_OUTPUT``.
    """
    g = tl.load(p_g + at, mask=mask, other=0.0).to(COMPUTE)
    x = tl.load(p_x + at, mask=mask, other=0.0).to(COMPUTE)
    xhat = tl.where(mask, ((x - high) - low) * invstd, 0.0)
    if ACTIVATION is not None:
        z = xhat * weight + bias
        if p_other is not None:
            other = tl.load(p_other + at, mask=mask, other=0.0).to(COMPUTE)
            z = other if FROM_OUTPUT else z + other
        g = gate(g, z, ACTIVATION, SLOPE)
    return g, xhat


@triton.jit
def input_gradient(g, xhat, total, moment, invstd, CENTRED: tl.constexpr):
    """Give invstd * (g - mean(g) - xhat * mean(g * xhat)), g with its weight."""
    dx = g - xhat * moment
    if CENTRED:
        dx -= total
    return dx * invstd


@triton.jit
def load_row(p_stats, at, mask, count, COMPUTE: tl.constexpr):
    """Load statistics ``at`` of ``count``: the mean in two parts, and 1 / std."""
    high, low = parts(tl.load(p_stats + at, mask=mask, other=0.0), COMPUTE)
    invstd = tl.load(p_stats + (at + 2 * wide(count)), mask=mask, other=0.0)
    return high, low, invstd.to(COMPUTE)


@triton.jit
def store_statistics(p_stats, at, mask, count, mean, variance, invstd):
    """Write statistics ``at`` of ``count``: mean, biased variance, 1 / std; no digits were lost."""
    tl.store(p_stats + at, mean.to(tl.float64), mask=mask)
    at += wide(count)
    tl.store(p_stats + at, variance.to(tl.float64), mask=mask)
    at += wide(count)
    tl.store(p_stats + at, invstd.to(tl.float64), mask=mask)
    at += wide(count)
    tl.store(p_stats + at, tl.zeros(invstd.shape, tl.float64), mask=mask)
