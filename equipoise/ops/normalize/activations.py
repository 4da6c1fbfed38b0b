"""The activations that may follow a norm, on vectors or NumPy arrays."""

import math

from equipoise.ops.sweep.lanes import erf, normal, one_and_exp, where

NAMES = (None, "relu", "leaky_relu", "silu", "gelu")


def activate(z, name: str | None, slope: float):
    """Give act(z)."""
    if name == "relu":
        return where(z < 0.0, 0.0, z)
    if name == "leaky_relu":
        return where(z < 0.0, z * slope, z)
    if name == "silu":
        return z / one_and_exp(-z)
    if name == "gelu":
        return 0.5 * z * (1.0 + erf(z * math.sqrt(0.5)))
    return z


def gate(g, z, name: str | None, slope: float):
    """Give g * act'(z)."""
    if name == "relu":
        return where(z <= 0.0, 0.0, g)
    if name == "leaky_relu":
        return where(z > 0.0, g, g * slope)
    if name == "silu":
        p = 1.0 / one_and_exp(-z)
        return g * p * (1.0 + z * (1.0 - p))
    if name == "gelu":
        below, bell = normal(z)
        return g * (below + z * bell * (1.0 / math.sqrt(2.0 * math.pi)))
    return g
