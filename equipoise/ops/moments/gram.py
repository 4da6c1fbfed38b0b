"""Cross products of the columns of a chunk of rows: Zᵀ W Z, the same bits at any thread count.

BLAS splits its sums by the number of its threads, and the last bits follow.  Here each task owns
four rows of the result, and adds the products of four rows of Z at a time to them.
"""

import numpy as np
from numba import prange

from equipoise.ops.jit import Kernel, inline, window

# columns of the result that stay in the first-level cache, and their distance in the sums
TILE = 512
PITCH = TILE + 16


@inline
def _add_products(a, b, c, d, fa, fb, fc, fd, sums):
    """Add the products of four rows a to d with four factors each to four rows of sums."""
    a0, a1, a2, a3 = fa[0], fa[1], fa[2], fa[3]
    b0, b1, b2, b3 = fb[0], fb[1], fb[2], fb[3]
    c0, c1, c2, c3 = fc[0], fc[1], fc[2], fc[3]
    d0, d1, d2, d3 = fd[0], fd[1], fd[2], fd[3]
    for j in range(a.shape[0]):
        va, vb, vc, vd = a[j], b[j], c[j], d[j]
        sums[j] += (a0 * va + b0 * vb) + (c0 * vc + d0 * vd)
        sums[j + PITCH] += (a1 * va + b1 * vb) + (c1 * vc + d1 * vd)
        sums[j + 2 * PITCH] += (a2 * va + b2 * vb) + (c2 * vc + d2 * vd)
        sums[j + 3 * PITCH] += (a3 * va + b3 * vb) + (c3 * vc + d3 * vd)


@inline
def _fill(z, weights, p, i, sums, factors, out):
    """Fill rows i to i + 3 of the upper triangle of ``out``."""
    for j in range(i, p, TILE):
        size = min(TILE, p - j)
        sums[:] = 0.0
        for r in range(0, weights.shape[0], 4):
            for k in range(16):
                factors[k] = z[(r + k // 4) * p + i + k % 4] * weights[r + k // 4]
            o = r * p + j
            _add_products(
                window(z, o, size), window(z, o + p, size),
                window(z, o + 2 * p, size), window(z, o + 3 * p, size),
                factors[0:4], factors[4:8], factors[8:12], factors[12:16], sums,
            )  # fmt: skip
        for k in range(4):
            out[i + k, j : j + size] = sums[k * PITCH : k * PITCH + size]


def _gram(z, weights, out):
    """Fill ``out`` (p, p) with Σ w z zᵀ over the rows of flat ``z``; both counts divide by 4."""
    p = out.shape[0]
    strips = p // 4
    for task in prange(strips):
        # long and short strips alternate, so that every share of the tasks is as long
        t = np.int64(task)
        i = 4 * (t // 2 if t % 2 == 0 else strips - 1 - t // 2)
        _fill(z, weights, p, i, np.empty(4 * PITCH), np.empty(16), out)
    for i in range(1, p):
        for j in range(i):
            out[i, j] = out[j, i]


gram = Kernel(_gram)
