"""A rough fit to some of the rows, which says what features the fit to all of them will use.

Coordinate descent on the residual of a float32 copy: it ends where one more sweep would move
less than the rows that are missing do.
"""

import numpy as np
from numba import prange

from equipoise.ops.descend.dense import _dot, _dot_same
from equipoise.ops.descend.gram import shrink
from equipoise.ops.jit import Kernel, inline

# in one of so many sweeps features that are at zero may leave it
WHOLE = 4


@inline
def _scale(mean, roots, column):
    for i in range(column.shape[0]):
        column[i] = (column[i] - mean) * roots[i]


@inline
def _move(step, column, r):
    for i in range(r.shape[0]):
        r[i] -= step * column[i]


def _prepare(x, weights, centred, means, squares):
    """Centre the rows of ``x`` (p, n) in place, and multiply them by the roots of ``weights`` (n,).

    Fills ``means`` (p,), zero unless ``centred``, and ``squares`` (p,), the sums of squares.
    """
    total, roots = weights.sum(), np.sqrt(weights)
    for column in prange(x.shape[0]):
        j = np.int64(column)
        means[j] = _dot(x[j], weights) / total if centred else 0.0
        _scale(means[j], roots, x[j])
        squares[j] = _dot_same(x[j], x[j])


def _fit(x, r, squares, l1, l2, positive, aim, sweeps, w, c):
    """Descend from w = 0 until no coefficient moves its slope by ``aim`` of its penalty.

    ``x`` (p, n) and ``r`` (n,), y at first and then the residual, are float32.  Fills ``w`` and
    ``c`` (p,), the products with the residual as they were last seen.
    """
    for sweep in range(sweeps):
        most, whole = 0.0, sweep % WHOLE == 0
        for j in range(x.shape[0]):
            if l1[j] == np.inf or (w[j] == 0.0 and not whole):
                continue
            c[j] = np.float64(_dot_same(x[j], r))
            new = shrink(c[j] + squares[j] * w[j], l1[j], squares[j] + l2[j], positive)
            if new != w[j]:
                step, w[j] = new - w[j], new
                _move(np.float32(step), x[j], r)
                most = max(most, abs(step) * squares[j] / l1[j] if l1[j] > 0.0 else 0.0)
        if most <= aim and whole:
            break


prepare = Kernel(_prepare)
fit = Kernel(_fit)
