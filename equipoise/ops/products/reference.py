"""What the kernels of this folder compute, in a few lines of NumPy in float64."""

import numpy as np


def cross_products(X, y, weights, rows, shift, chunk):
    """Give weights and shifted means of chunks of rows of [X y], and their summed m2."""
    z = np.concatenate([X, y], 1, dtype=np.float64)
    w = np.ones(len(z)) if weights is None else weights
    if rows is not None:
        z, w = z[rows], w[rows]
    counts, means, within = [], [], np.zeros((z.shape[1], z.shape[1]))
    for i in range(0, len(z), chunk):
        d, v = z[i : i + chunk] - shift, w[i : i + chunk]
        counts.append(v.sum())
        means.append(v @ d / (v.sum() or 1.0))
        d = (d - means[-1]) * np.sqrt(v)[:, None]
        within = within + d.T @ d
    return np.array(counts), np.array(means), within


def leave_one_out(X, target, weights, rows, offset, base, basis, filters, coefficients):
    """Give the errors (m, q, alphas) of rows left out, from leverages and coefficients."""
    z = (X if rows is None else X[rows]).astype(np.float64) - offset
    lever = (base + (z @ basis) ** 2 @ filters) * (1.0 if weights is None else weights[:, None])
    residual = target[:, :, None] - np.einsum("np,pqa->nqa", z, coefficients)
    return residual / np.maximum(1.0 - lever, np.finfo(np.float64).eps)[:, None]
