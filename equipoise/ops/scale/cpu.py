"""Scale columns on the CPU: one read and one write, in float64 whatever is stored.

Memory is walked as lines of neighbouring values.  Where columns lie side by side a line is as
many rows as fill ``LINE`` values, laid end to end, and the coefficients are repeated as often;
where rows do, a line is a piece of one column and its coefficients are two numbers.
"""

import numpy as np
from numba import carray

from equipoise.ops.fetch import fetch_run
from equipoise.ops.jit import inline, window
from equipoise.ops.scale.words import (
    BACK,
    CHECK,
    DIVIDE,
    FACTOR,
    FORM,
    HIGHEST,
    LINE,
    LOWEST,
    MULTIPLY,
    OFFSET,
    PLAN,
    A,
    B,
    X,
    Y,
)
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import ANSWER

# in place: values at a time, and how far ahead memory is asked for as many
STEP, AHEAD = 256, 512


@inline
def _divide(x, y, a, b, c):
    """Store (x - a) / b · factor + offset within the limits; tell whether any x is infinite."""
    infinite = np.int64(0)
    factor, offset, low, high = c[0], c[1], c[2], c[3]
    for i in range(x.size):
        v = np.float64(x[i])
        infinite |= np.int64(abs(v) == np.inf)
        t = (v - a[i]) / b[i] * factor + offset
        t = low if t < low else t
        y[i] = high if t > high else t
    return infinite


@inline
def _multiply(x, y, a, b, c):
    """Store (x - a) · b · factor + offset within the limits: 1 / b was rounded in float64."""
    infinite = np.int64(0)
    factor, offset, low, high = c[0], c[1], c[2], c[3]
    for i in range(x.size):
        v = np.float64(x[i])
        infinite |= np.int64(abs(v) == np.inf)
        t = (v - a[i]) * b[i] * factor + offset
        t = low if t < low else t
        y[i] = high if t > high else t
    return infinite


@inline
def _back(x, y, a, b, c):
    """Store (x - offset) · b + a."""
    infinite = np.int64(0)
    offset = c[1]
    for i in range(x.size):
        v = np.float64(x[i])
        infinite |= np.int64(abs(v) == np.inf)
        y[i] = (v - offset) * b[i] + a[i]
    return infinite


@inline
def _check(x):
    infinite = np.int64(0)
    for i in range(x.size):
        infinite |= np.int64(abs(x[i]) == np.inf)
    return infinite


@inline
def _store(x, y):
    for i in range(x.size):
        y[i] = x[i]


@inline
def _line(form, x, y, a, b, c):
    if form == DIVIDE:
        return _divide(x, y, a, b, c)
    if form == MULTIPLY:
        return _multiply(x, y, a, b, c)
    if form == BACK:
        return _back(x, y, a, b, c)
    return _check(x)


@inline
def _lines(t, x, y, a, b, c, plan, form):
    """Map the lines of a task; tell whether any value is infinite."""
    lines, length, sx, sy, piece, pieces, per_task, constant, in_place = plan
    infinite = np.int64(0)
    size = min(piece, LINE) if constant else 0
    own_a, own_b = np.empty(size), np.empty(size)
    buffer = np.empty(min(piece, STEP) if in_place else 0, x.dtype)
    column = np.int64(-1)
    for line in range(t * per_task, min(lines, (t + 1) * per_task)):
        major, at = line // pieces, line % pieces * piece
        n = min(piece, length - at)
        if constant and major != column:
            column = major
            own_a[:] = a[column]
            own_b[:] = b[column]
        line_a = window(own_a, 0, n) if constant else window(a, 0, n)
        line_b = window(own_b, 0, n) if constant else window(b, 0, n)
        start = major * sx + at
        if in_place:
            # by way of a buffer: a loop that overwrites what it reads was not made of vectors
            for first in range(0, n, STEP):
                k = min(STEP, n - first)
                source, mapped = window(x, start + first, k), window(buffer, 0, k)
                step_a, step_b = window(line_a, first, k), window(line_b, first, k)
                fetch_run(source, AHEAD, source.shape[0])
                infinite |= _line(form, source, mapped, step_a, step_b, c)
                if form != CHECK:
                    _store(mapped, source)
        else:
            source = window(x, start, n)
            target = window(y, major * sy + at, n)
            infinite |= _line(form, source, target, line_a, line_b, c)
    return infinite


def scale(task, integers, floats, computed):
    """Map the lines of x to those of y, and answer whether any value is infinite.

    Plan: lines; values in a run of lines, its distance to the next in x and in y; values in a
    line, lines in a run, lines in a task; whether a run is one column, and whether y is x.
    """
    if task < 0:
        return
    i = integers
    x, y = carray(pointer_at(computed, i[X]), (1,)), carray(pointer_at(computed, i[Y]), (1,))
    a, b = carray(pointer_at(floats, i[A]), (1,)), carray(pointer_at(floats, i[B]), (1,))
    c = (floats[FACTOR], floats[OFFSET], floats[LOWEST], floats[HIGHEST])
    plan = (
        i[PLAN], i[PLAN + 1], i[PLAN + 2], i[PLAN + 3], i[PLAN + 4], i[PLAN + 5], i[PLAN + 6],
        i[PLAN + 7], i[PLAN + 8],
    )  # fmt: skip
    if _lines(task, x, y, a, b, c, plan, i[FORM]) != 0:
        # all that write it write the same
        i[ANSWER] = 1
