"""The activations that may follow a norm, as loops over a block that LLVM turns into vectors.

There is no SVML here: exp and erf in float32 are polynomials of our own accuracy (2 ulp),
in float64 they are libm's.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from equipoise.ops.jit import apart, inline
from equipoise.ops.numbers import power_of_two

NONE, RELU, LEAKY_RELU, SILU, GELU = range(5)
CODES = {None: NONE, "relu": RELU, "leaky_relu": LEAKY_RELU, "silu": SILU, "gelu": GELU}


@inline
def _exp32(x):
    """exp(x) in float32: Cody-Waite reduction and a polynomial on [-ln2/2, ln2/2]."""
    f = np.float32
    large, tiny = x > f(88.72), x < f(-87.33)
    # comparisons, not min and max: NaN then stays NaN
    x = f(88.0) if x > f(88.0) else x
    x = f(-87.0) if x < f(-87.0) else x
    # numpy's floor stays in float32, math's would go through int64 to float64
    k = np.floor(x * f(1.44269504) + f(0.5))
    r = x - k * f(0.693359375) - k * f(-2.12194440e-4)
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    whole = np.int32(k) if k == k else np.int32(0)
    y = (p * r * r + r + f(1.0)) * power_of_two(whole)
    return f(np.inf) if large else (f(0.0) if tiny else y)


@inline
def _erf32(x):
    """erf(x) in float32: an odd rational function on [-4, 4]."""
    f = np.float32
    x = f(4.0) if x > f(4.0) else x
    x = f(-4.0) if x < f(-4.0) else x
    t = x * x
    p = f(-2.72614225801306e-10)
    p = p * t + f(2.77068142495902e-08)
    p = p * t + f(-2.10102402082508e-06)
    p = p * t + f(-5.69250639462346e-05)
    p = p * t + f(-7.34990630326855e-04)
    p = p * t + f(-2.95459980854025e-03)
    p = p * t + f(-1.60960333262415e-02)
    q = f(-1.45660718464996e-05)
    q = q * t + f(-2.13374055278905e-04)
    q = q * t + f(-1.68282697438203e-03)
    q = q * t + f(-7.37332916720468e-03)
    q = q * t + f(-1.42647390514189e-02)
    return x * p / q


def _exp(x):
    raise NotImplementedError("only inside kernels")


@overload(_exp)
def _exp_of(x):
    if x == types.float64:
        return lambda x: math.exp(x)
    return lambda x: _exp32(x)


def _erf(x):
    raise NotImplementedError("only inside kernels")


@overload(_erf)
def _erf_of(x):
    if x == types.float64:
        return lambda x: math.erf(x)
    return lambda x: _erf32(x)


@inline
def _relu(z):
    zero = z.dtype.type(0)
    for j in range(z.size):
        z[j] = zero if z[j] < zero else z[j]


@inline
def _leaky(z, slope):
    for j in range(z.size):
        z[j] = z[j] * slope if z[j] < 0 else z[j]


@inline
def _silu(z):
    one = z.dtype.type(1)
    for j in range(z.size):
        z[j] = z[j] / (one + _exp(-z[j]))


@inline
def _gelu(z):
    half, one, root = z.dtype.type(0.5), z.dtype.type(1), z.dtype.type(math.sqrt(0.5))
    for j in range(z.size):
        z[j] = half * z[j] * (one + _erf(z[j] * root))


@inline
def activate(z, code, slope):
    """Apply the activation to the block ``z`` in place."""
    apart()
    if code == RELU:
        _relu(z)
    elif code == LEAKY_RELU:
        _leaky(z, z.dtype.type(slope))
    elif code == SILU:
        _silu(z)
    elif code == GELU:
        _gelu(z)


@inline
def _gate_relu(z, g):
    zero = g.dtype.type(0)
    for j in range(z.size):
        g[j] = zero if z[j] <= 0 else g[j]


@inline
def _gate_leaky(z, g, slope):
    for j in range(z.size):
        g[j] = g[j] if z[j] > 0 else g[j] * slope


@inline
def _gate_silu(z, g):
    one = z.dtype.type(1)
    for j in range(z.size):
        p = one / (one + _exp(-z[j]))
        g[j] = g[j] * p * (one + z[j] * (one - p))


@inline
def _gate_gelu(z, g):
    half, one, root = z.dtype.type(0.5), z.dtype.type(1), z.dtype.type(math.sqrt(0.5))
    peak = z.dtype.type(1 / math.sqrt(2 * math.pi))
    for j in range(z.size):
        v = z[j]
        g[j] = g[j] * (half * (one + _erf(v * root)) + v * peak * _exp(-half * v * v))


@inline
def gate(z, g, code, slope):
    """Multiply the gradient block ``g`` by the activation's derivative at ``z``, in place."""
    apart()
    if code == RELU:
        _gate_relu(z, g)
    elif code == LEAKY_RELU:
        _gate_leaky(z, g, g.dtype.type(slope))
    elif code == SILU:
        _gate_silu(z, g)
    elif code == GELU:
        _gate_gelu(z, g)
