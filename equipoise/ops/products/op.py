"""Cross products of rows of [X y], and errors of rows left out, from NumPy arrays in any layout."""

import numpy as np
import torch

from equipoise.ops.products.layout import AISLE, BLOCK, PANEL, SIDE, pitch_of
from equipoise.ops.sweep.tasks import TaskKernel, floats_of, words_of

_DTYPES = {"f": torch.float32, "d": torch.float64}
# numbers of a chunk: they stay in the second-level cache
CHUNK = 1 << 15
# tasks, each with a matrix of its own, and how many of these fit in X
TASKS, ROOM = 16, 12

# columns that are packed at a time
STRETCH = 1024
# columns whose products with a block of rows are summed at a time
WIDTH = 512
EPS = float(np.finfo(np.float64).eps)

CROSS = TaskKernel("equipoise.ops.products.cross", "cross_products")
OUTER = TaskKernel("equipoise.ops.products.outer", "outer_products")
LEAVE_ONE_OUT = TaskKernel("equipoise.ops.products.leave_one_out", "leave_one_out")


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
        n, p, q, chunk, chunks, tasks, pitch, _stretch(X, rows), *_place(X), *_place(y),
        *_addresses(weights, rows, shift, counts, means, totals),
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


def _stretch(X, rows):
    """Give the bytes of a row where all rows follow each other, else 0."""
    return X.strides[0] if rows is None and X.flags.c_contiguous else 0


def _place(a):
    return a.ctypes.data, *(step // a.itemsize for step in a.strides)


def _addresses(*arrays):
    return (0 if a is None else a.ctypes.data for a in arrays)


class LeaveOneOut:
    """Errors of rows left out of a linear fit, for many coefficients b_a of one target or more.

    A row z (X less its offset) of weight w has the leverage h_a = base + Σ_j (z M)²_j F_ja, and

        e_a = (target - z b_a) / (1 - w h_a)

    F and the coefficients go through factors of as low a rank as float64 can tell from the whole.

    Parameters
    ----------
    offset : float64 (p,)
    base : float
        Leverage of the intercept.
    basis : float64 (p, k)
        M.
    filters : float64 (k, alphas)
        F, not negative.
    scale : float64 (k,)
        Above 0: scale F stays within a few powers of ten.
    coefficients : float64 (p, q, alphas)
    """

    def __init__(self, offset, base, basis, filters, scale, coefficients):
        self.p, self.q, self.alphas = coefficients.shape
        self.squared = basis.shape[1]
        lever, self.out_of_lever = _factors(filters * scale[:, None])
        predict, out = _factors(coefficients.transpose(1, 0, 2))
        self.rank, self.lever_rank = predict.shape[2], lever.shape[1]
        self.offset, self.base = np.ascontiguousarray(offset), base
        parts = [basis, *predict]
        self.basis = _padded(np.concatenate(parts, 1))
        self.lever = _padded(lever / scale[:, None])
        self.out_of_lever = _padded(self.out_of_lever)
        self.out_of_rank = _padded(out.reshape(-1, self.alphas))

    def errors(self, X, target, weights=None, rows=None):
        """Give the errors (m, q, alphas) on the calling thread.

        Parameters
        ----------
        X : float32 or float64 (n, p)
        target : float64 (m, q)
        weights : float64 (m,), optional
        rows : int64 (m,), optional
            The rows of X; all by default.
        """
        X, target = _readable(X), np.ascontiguousarray(target)
        weights = None if weights is None else np.ascontiguousarray(weights)
        rows = None if rows is None else np.ascontiguousarray(rows, np.int64)
        out = np.empty((*target.shape, self.alphas))
        width = min(self.p, WIDTH)
        pitches = (
            pitch_of(width), *(a.shape[1] for a in (self.basis, self.lever, self.out_of_lever)),
        )  # fmt: skip
        own = (
            len(target), self.p, self.q, self.squared, self.lever_rank, self.rank, self.alphas,
            width, *pitches, _stretch(X, rows), *_place(X),
            *_addresses(rows, self.offset, target, weights),
            *_addresses(self.basis, self.lever, self.out_of_lever, self.out_of_rank, out),
        )  # fmt: skip
        words = words_of([(1, 1)], BLOCK * (sum(pitches) + pitches[-1]), own)
        LEAVE_ONE_OUT(0, _DTYPES[X.dtype.char], words, floats_of(self.base, EPS))
        return out


def _factors(A):
    """Give (…, m, r) and (…, r, n) whose product is A (…, m, n) to the rounding of each column."""
    size = np.linalg.norm(A, axis=-2, keepdims=True)
    U, s, V = np.linalg.svd(A / np.where(size > 0, size, 1.0), full_matrices=False)
    rank = max(1, int((s > EPS * s.max(initial=0.0)).sum(-1).max(initial=0)))
    return U[..., :rank] * s[..., None, :rank], V[..., :rank, :] * size


def _padded(A):
    """Give rows a pitch apart, filled up with zeros."""
    out = np.zeros((len(A), pitch_of(A.shape[1])))
    out[:, : A.shape[1]] = A
    return out


def outer_products(X, offset, scale, root, rows):
    """Give K = X̃ X̃ᵀ with X̃ = diag(root) (X - offset) diag(scale), float32 (n, n).

    Parameters
    ----------
    X : float32 or float64 (n, p)
    offset : float64 (p,)
    scale : float64 (p,), or None
    root : float64 (m,), or None
    rows : int64 (m,), or None
        The rows that count; all by default.

    Notes
    -----
    X̃ is rounded to bfloat16: half the time of float32, and three digits.  The processor must have
    ``layout.PAIRS``.
    """
    X, offset = _readable(X), np.ascontiguousarray(offset)
    rows = None if rows is None else np.ascontiguousarray(rows, np.int64)
    n, p = len(X) if rows is None else len(rows), X.shape[1]
    scale = np.ones(p) if scale is None else np.ascontiguousarray(scale)
    root = np.ones(n) if root is None else np.ascontiguousarray(root)
    panels = -(-n // PANEL)
    # tiles write beyond the last row
    memory = np.zeros((panels * PANEL + 1) * n + PANEL, np.float32)
    packed = np.empty(panels * PANEL * STRETCH // 2, np.float32)
    for first in range(0, p, STRETCH):
        own = (
            n, first, min(first + STRETCH, p), *_place(X),
            *_addresses(rows, offset, scale, root, packed, memory),
        )  # fmt: skip
        words = words_of([(1, panels), (2, panels)], panels * PANEL * AISLE // 2, own)
        OUTER(packed.nbytes, _DTYPES[X.dtype.char], words, floats_of())
    K = memory[: n * n].reshape(n, n)
    for i in range(0, n, 256):
        j = min(i + 256, n)
        K[i:j, i:j] = np.triu(K[i:j, i:j]) + np.triu(K[i:j, i:j], 1).T
        K[j:, i:j] = K[i:j, j:].T
    return K
