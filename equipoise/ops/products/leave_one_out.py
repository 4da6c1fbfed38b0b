"""Errors of rows that are left out, for many alphas: a block of rows, and never what it becomes.

With T = Z B the squares of T's first columns make leverages and its others predictions, both by
factors of low rank: each goes through a few columns to all alphas.
"""

from equipoise.ops.jit import inline
from equipoise.ops.products.layout import BLOCK, ITEM, LINE, SIDE
from equipoise.ops.products.rows import numbers, shifted
from equipoise.ops.products.tile import multiply, strips
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import HEAD, SCRATCH

(
    # rows, columns and targets; columns that are squared, ranks of both factors, and alphas
    N, P, Q, SQUARED, LEVER_RANK, RANK, ALPHAS,
    # columns of Z that are worked on together; numbers between rows of Z, T, leverages, and alphas
    WIDTH, Z_PITCH, T_PITCH, H_PITCH, A_PITCH,
    # bytes of a row of X where rows follow each other, 0 where they do not
    STRETCH,
    # addresses and steps: of X in the compute type, and chosen rows (0: all)
    X, X_DOWN, X_ACROSS, ROWS,
    # float64: the offset (p,), residuals without coefficients (n, q), weights (n,) (0: none)
    OFFSET, TARGET, WEIGHTS,
    # float64, rows a pitch apart: B, and the two factors of leverages and of predictions
    BASIS, LEVER, LEVER_OUT, OUT_OF_RANK,
    # float64 (n, q, alphas)
    ERRORS,
) = range(HEAD, HEAD + 25)  # fmt: skip
# leverage of the intercept, and the least that may be left of a row
BASE, LEAST = 0, 1


def leave_one_out(task, integers, floats, computed):
    """Fill the errors, block by block."""
    if task < 0:
        return
    i = integers
    z = i[SCRATCH]
    t = z + ITEM * BLOCK * i[Z_PITCH]
    h = t + ITEM * BLOCK * i[T_PITCH]
    rest = h + ITEM * BLOCK * i[H_PITCH]
    e = rest + ITEM * BLOCK * i[A_PITCH]
    # rows beyond the last are computed, and not kept
    numbers(floats, z, BLOCK * i[Z_PITCH])[:] = 0.0
    for first in range(0, i[N], BLOCK):
        count = min(BLOCK, i[N] - first)
        _rotate(integers, floats, computed, first, count, z, t)
        _leverages(integers, floats, first, count, t, h, rest)
        for target in range(i[Q]):
            _errors(integers, floats, first, count, target, t, rest, e)


@inline
def _rotate(integers, floats, computed, first, count, z, t):
    """Set T to (X - offset) B."""
    i = integers
    x, indices = pointer_at(computed, i[X]), pointer_at(integers, i[ROWS])
    block, offset = numbers(floats, z, BLOCK * i[Z_PITCH]), numbers(floats, i[OFFSET], i[P])
    numbers(floats, t, BLOCK * i[T_PITCH])[:] = 0.0
    vectors = (i[SQUARED] + i[Q] * i[RANK] + SIDE - 1) // SIDE
    tiles = strips(vectors) * ((count + SIDE - 1) // SIDE)
    lines = (BLOCK * i[STRETCH] + LINE * tiles - 1) // (LINE * tiles)
    for c in range(0, i[P], i[WIDTH]):
        some, steps = offset[c : c + i[WIDTH]], (i[X_DOWN], i[X_ACROSS])
        start = c * i[X_ACROSS]
        shifted(x, start, steps, indices, i[ROWS], first, count, some, block, i[Z_PITCH])
        multiply(
            z, i[Z_PITCH], 1, i[BASIS] + ITEM * c * i[T_PITCH], i[T_PITCH], t, i[T_PITCH],
            count, vectors, some.shape[0], i[X] + (first + BLOCK) * i[STRETCH], lines,
        )  # fmt: skip


@inline
def _leverages(integers, floats, first, count, t, h, rest):
    """Set ``rest`` to what the leverages leave: 1 - w h, for each alpha."""
    i = integers
    for r in range(count):
        row = numbers(floats, t + ITEM * r * i[T_PITCH], i[SQUARED])
        for j in range(row.shape[0]):
            row[j] *= row[j]
    numbers(floats, h, BLOCK * i[H_PITCH])[:] = 0.0
    vectors = (i[LEVER_RANK] + SIDE - 1) // SIDE
    multiply(
        t, i[T_PITCH], 1, i[LEVER], i[H_PITCH], h, i[H_PITCH], count, vectors, i[SQUARED], 0, 0
    )
    numbers(floats, rest, BLOCK * i[A_PITCH])[:] = floats[BASE]
    vectors = (i[ALPHAS] + SIDE - 1) // SIDE
    multiply(
        h, i[H_PITCH], 1, i[LEVER_OUT], i[A_PITCH], rest, i[A_PITCH], count, vectors,
        i[LEVER_RANK], 0, 0,
    )  # fmt: skip
    weights, least = pointer_at(floats, i[WEIGHTS]), floats[LEAST]
    for r in range(count):
        weight = 1.0 if i[WEIGHTS] == 0 else weights[first + r]
        row = numbers(floats, rest + ITEM * r * i[A_PITCH], SIDE * vectors)
        for a in range(row.shape[0]):
            left = 1.0 - weight * row[a]
            # a row that alone decides a coefficient has leverage 1: rounding must not pass it
            row[a] = left if left > least else least


@inline
def _errors(integers, floats, first, count, target, t, rest, e):
    """Write the errors of one target."""
    i = integers
    numbers(floats, e, BLOCK * i[A_PITCH])[:] = 0.0
    of_target = t + ITEM * (i[SQUARED] + target * i[RANK])
    factor = i[OUT_OF_RANK] + ITEM * target * i[RANK] * i[A_PITCH]
    vectors = (i[ALPHAS] + SIDE - 1) // SIDE
    multiply(
        of_target, i[T_PITCH], 1, factor, i[A_PITCH], e, i[A_PITCH], count, vectors, i[RANK], 0, 0
    )
    y, alphas = pointer_at(floats, i[TARGET]), i[ALPHAS]
    for r in range(count):
        at = (first + r) * i[Q] + target
        out = numbers(floats, i[ERRORS] + ITEM * at * alphas, alphas)
        row = numbers(floats, e + ITEM * r * i[A_PITCH], SIDE * vectors)
        left = numbers(floats, rest + ITEM * r * i[A_PITCH], SIDE * vectors)
        value = y[at]
        for a in range(row.shape[0]):
            row[a] = (value - row[a]) / left[a]
        for a in range(alphas):
            out[a] = row[a]
