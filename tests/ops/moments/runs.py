"""What the vector code of ``ops/moments/run`` does, in NumPy."""

import numpy as np

from equipoise.ops.moments.layout import RUN


def run_rows(x, start, rows, sums, total, squares, low, high, missing, omit):
    """Add rows of 16 values on to the lanes of ``sums``."""
    lanes = np.arange(RUN)
    v = x[start : start + rows * RUN].reshape(rows, RUN).astype(np.float64)
    known = ~np.isnan(v)
    d = np.where(known | (not omit), v - sums[lanes], 0.0)
    sums[lanes + total] += d.sum(0)
    sums[lanes + squares] += (d * d).sum(0)
    sums[lanes + low] = np.fmin.reduce(np.vstack([sums[lanes + low], v]))
    sums[lanes + high] = np.fmax.reduce(np.vstack([sums[lanes + high], v]))
    sums[lanes + missing] += (~known).sum(0) * omit
