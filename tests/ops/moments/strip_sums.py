"""What the vector code of ``ops/moments/strips`` does, in NumPy."""

import numpy as np

from equipoise.ops.moments.strips import (
    EXTREMES,
    EXTREMES_OMIT,
    HIGH,
    LOW,
    MISSING,
    OMIT,
    PLAIN,
    SHIFT,
    SQUARES,
    TOTAL,
)


def add(form, x, start, rows, step, lanes, sums, ends):
    """Add rows of ``lanes`` values, ``step`` apart, on to the lanes of ``sums`` and ``ends``."""
    every = np.arange(lanes)
    v = x[start + step * np.arange(rows)[:, None] + every].astype(np.float64)
    known = ~np.isnan(v)
    if form == EXTREMES:
        sums[TOTAL + every] += (v * 0.0).sum(0)
    if form in (PLAIN, OMIT):
        d = np.where(known | (form == PLAIN), v - sums[SHIFT + every], 0.0)
        sums[TOTAL + every] += d.sum(0)
        sums[SQUARES + every] += (d * d).sum(0)
    if form in (OMIT, EXTREMES_OMIT):
        ends[MISSING + every] += (~known).sum(0)
    ends[LOW + every] = np.fmin.reduce(np.vstack([ends[LOW + every], v]))
    ends[HIGH + every] = np.fmax.reduce(np.vstack([ends[HIGH + every], v]))


FORMS = {
    "add_plain": PLAIN,
    "add_omit": OMIT,
    "add_extremes": EXTREMES,
    "add_extremes_omit": EXTREMES_OMIT,
}
