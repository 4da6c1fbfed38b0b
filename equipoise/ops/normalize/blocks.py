"""Loops over a block in the compute type that both kernel families share."""

from equipoise.ops.jit import apart, inline
from equipoise.ops.numbers import narrow, widen


@inline
def add(z, other):
    """Add a stored block to ``z``."""
    apart()
    for j in range(z.size):
        z[j] += widen(other[j])


@inline
def load(g, z):
    """Read a stored block into ``z``."""
    apart()
    for j in range(z.size):
        z[j] = widen(g[j])


@inline
def store(z, y):
    """Write ``z`` to a stored block."""
    apart()
    for j in range(z.size):
        y[j] = narrow(y, z[j])
