"""Cross products of rows of [X y], from NumPy arrays in any layout."""

import numpy as np
import torch

from equipoise.ops.products.layout import BLOCK, SIDE, pitch_of
from equipoise.ops.sweep.tasks import TaskKernel, floats_of, words_of

_DTYPES = {"f": torch.float32, "d": torch.float64}
# numbers of a chunk: they stay in the second-level cache
CHUNK = 1 << 15
# tasks, each with a matrix of its own, and how many of these fit in X
TASKS, ROOM = 16, 12

CROSS = TaskKernel("equipoise.ops.products.cross", "cross_products")


def cross_products(X, y, weights, rows, shift):
    """Give weights, shifted means and summed m2 of the rows of [X y] in chunks.

    Parameters
    ----------
    X : float32 or float64 (n, p)
    y : float64 (n, q)
    weights : float64 (n,), or None
    rows : int64 (m,), or None
        The rows that count; all by default.
    shift : float64 (p + q,)
        Near the means.

    Returns
    -------
    counts : float64 (chunks,)
    means : float64 (chunks, p + q)
        Means of the chunks less ``shift``.
    within : float64 (p + q, p + q)
        Σ w (z - mean) (z - mean)ᵀ over all rows, the mean that of each row's chunk.
    """
    X, y = _readable(X), _readable(y)
    weights = None if weights is None else np.ascontiguousarray(weights)
    rows = None if rows is None else np.ascontiguousarray(rows, np.int64)
    n, (p, q) = len(X) if rows is None else len(rows), (X.shape[1], y.shape[1])
    pitch = pitch_of(p + q)
    chunk = BLOCK * max(1, CHUNK // (BLOCK * pitch))
    chunks = -(-n // chunk)
    tasks = _tasks(n, pitch, chunks)
    counts, means = np.zeros(chunks), np.zeros((chunks, p + q))
    totals = np.zeros((tasks, pitch, pitch))
    own = (
        n, p, q, chunk, chunks, tasks, pitch, *_place(X), *_place(y), _address(weights),
        _address(rows), _address(shift), _address(counts), _address(means), _address(totals),
    )  # fmt: skip
    # a task's rows, their mean, a vector of -1, and weights
    scratch = tasks * (chunk * pitch + pitch + SIDE + chunk)
    words = words_of([(1, tasks)], scratch, own)
    CROSS(n * (p + q) * X.itemsize, _DTYPES[X.dtype.char], words, floats_of())
    within = totals.sum(0)[: p + q, : p + q]
    return counts, means, np.triu(within) + np.triu(within, 1).T


def _tasks(n, pitch, chunks):
    """Count the tasks: a power of two, the same at any number of threads."""
    most = max(2, min(TASKS, n // (ROOM * pitch), chunks))
    return 1 << (most.bit_length() - 1)


def _readable(a):
    """Give an array whose numbers lie whole numbers apart."""
    whole = a.flags.aligned and all(step % a.itemsize == 0 for step in a.strides)
    return a if whole else np.ascontiguousarray(a)


def _place(a):
    return a.ctypes.data, *(step // a.itemsize for step in a.strides)


def _address(a):
    return 0 if a is None else a.ctypes.data
