"""Scale columns in plain float64: what the kernel is tested against."""

import numpy as np


def affine(x, shift, scale, factor=1.0, offset=0.0, low=-np.inf, high=np.inf):
    """Give (x - shift) / scale · factor + offset within [low, high], columns last."""
    y = (np.asarray(x, np.float64) - shift) / scale * factor + offset
    return np.clip(y, low, high)


def affine_back(y, shift, scale, factor=1.0, offset=0.0):
    """Give (y - offset) · scale / factor + shift, columns last."""
    return (np.asarray(y, np.float64) - offset) * (np.asarray(scale) / factor) + shift


def unit_rows(x, norm):
    """Divide each row by its norm, "l1", "l2" or "max"; rows of zeros stay."""
    x = np.asarray(x, np.float64)
    order = {"l1": 1, "l2": 2, "max": np.inf}[norm]
    norms = np.linalg.norm(x, order, axis=1, keepdims=True)
    return x / np.where(norms == 0, 1.0, norms)
