"""Divide rows by their norm on the CPU: each row is read twice, the second time from cache."""

import numpy as np
from numba import carray

from equipoise.ops.jit import fast, inline, window
from equipoise.ops.scale.words import NORM, ROWS_PLAN, ROWS_X, ROWS_Y, WRITE
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import ANSWER

# sums of squares outside of these have lost digits
TINY, HUGE = 1e-280, 1e300
# largest values between these have squares, and sums of them, that lose none
SMALL, LARGE, STRIDE = 2.0**-128, 2.0**128, 2.0**64


@fast
def _sum_abs(x, factor):
    total = 0.0
    for i in range(x.size):
        total += abs(np.float64(x[i]) * factor)
    return total


@fast
def _sum_squares(x, factor):
    total = 0.0
    for i in range(x.size):
        v = np.float64(x[i]) * factor
        total += v * v
    return total


@inline
def _largest(x):
    """Give the largest absolute value; NaN where there is a NaN."""
    most = 0.0
    for i in range(x.size):
        v = abs(np.float64(x[i]))
        most = v if v > most or v != v else most
        if most != most:
            break
    return most


@inline
def _norm(x, kind):
    if kind == 2:
        return _largest(x)
    total = _sum_abs(x, 1.0) if kind == 0 else _sum_squares(x, 1.0)
    if (total > TINY and total < HUGE) or total != total:
        return total if kind == 0 else np.sqrt(total)
    most = _largest(x)
    if most == 0.0 or not most < np.inf:
        return most
    # a power of two: exact to multiply by
    factor = 1.0
    while most * factor < SMALL:
        factor *= STRIDE
    while most * factor > LARGE:
        factor /= STRIDE
    scaled = _sum_abs(x, factor) if kind == 0 else np.sqrt(_sum_squares(x, factor))
    return scaled / factor


@inline
def _divide(x, y, norm):
    for i in range(x.size):
        y[i] = np.float64(x[i]) / norm


@inline
def _divide_rows(task, x, y, plan, kind, write):
    """Divide the rows of a task; tell whether any holds a NaN or an infinity."""
    rows, width, sx, sy, per_task, same = plan
    strange = False
    for row in range(task * per_task, min(rows, (task + 1) * per_task)):
        source = window(x, row * sx, width)
        norm = _norm(source, kind)
        if not norm < np.inf:
            strange = True
            # the norm itself may be beyond float64 where no value is
            norm = np.inf
        elif write and norm > 0.0 and same:
            _divide(source, source, norm)
        elif write:
            _divide(source, window(y, row * sy, width), norm if norm > 0.0 else 1.0)
    return strange


def unit_rows(task, integers, floats, computed):
    """Divide the rows of x into y, and answer whether any holds a NaN or an infinity.

    Plan: rows, their width, their distance in x and in y, rows in a task, whether y is x.
    """
    if task < 0:
        return
    i = integers
    x = carray(pointer_at(computed, i[ROWS_X]), (1,))
    y = carray(pointer_at(computed, i[ROWS_Y]), (1,))
    k = ROWS_PLAN
    plan = (i[k], i[k + 1], i[k + 2], i[k + 3], i[k + 4], i[k + 5] != 0)
    if _divide_rows(task, x, y, plan, i[NORM], i[WRITE] != 0):
        # all that write it write the same
        i[ANSWER] = 1
