"""Cross products of centred rows: of each task's rows, the same bits at any thread count.

A chunk of rows is shifted by what all rows are shifted by, and stays in the second-level cache
while its mean is taken, and while block by block is centred and multiplied in the first-level
one.  Only the upper triangle is made.
"""

import math

from equipoise.ops.jit import inline
from equipoise.ops.products.layout import BLOCK, ITEM, LINE, SIDE
from equipoise.ops.products.rows import numbers, place, shifted
from equipoise.ops.products.tile import combine, multiply, strips
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import HEAD, NUMBERS, SCRATCH

(
    # rows and columns of X, columns of y, rows in a chunk, chunks, tasks, numbers between rows
    N, P, Q, CHUNK, CHUNKS, TASKS, PITCH,
    # bytes of a row of X where rows follow each other, 0 where they do not
    STRETCH,
    # addresses and steps: of X in the compute type, y, weights (0: none) and chosen rows (0: all)
    X, X_DOWN, X_ACROSS, Y, Y_DOWN, Y_ACROSS, WEIGHTS, ROWS,
    # float64: the shift (p + q,), and per chunk weights (chunks,) and shifted means
    SHIFT, COUNTS, MEANS,
    # float64 (tasks, pitch, pitch): upper triangles
    TOTALS,
) = range(HEAD, HEAD + 20)  # fmt: skip


def cross_products(task, integers, floats, computed):
    """Add up m2 of the chunks of a task, each centred by its own mean."""
    if task < 0:
        return
    i = integers
    pitch, chunk = i[PITCH], i[CHUNK]
    # rows, their mean, a vector of -1, and weights
    size = i[NUMBERS] // i[TASKS]
    at = i[SCRATCH] + ITEM * task * size
    scratch = numbers(floats, at, size)
    scratch[:] = 0.0
    scratch[(chunk + 1) * pitch] = -1.0
    for c in range(task * i[CHUNKS] // i[TASKS], (task + 1) * i[CHUNKS] // i[TASKS]):
        first = c * chunk
        count = min(chunk, i[N] - first)
        _read(integers, floats, computed, first, count, scratch)
        weights = scratch[(chunk + 1) * pitch + SIDE :]
        _weigh(integers, floats, c, count, weights)
        _take_mean(integers, floats, c, count, at)
        _add_products(integers, floats, first, count, weights, at, task)


@inline
def _read(integers, floats, computed, first, count, z):
    """Fill ``z`` with rows of [X y] - shift."""
    i = integers
    indices, chosen, pitch = pointer_at(integers, i[ROWS]), i[ROWS], i[PITCH]
    shift = numbers(floats, i[SHIFT], i[P] + i[Q])
    x, y = pointer_at(computed, i[X]), pointer_at(floats, i[Y])
    steps = i[X_DOWN], i[X_ACROSS]
    shifted(x, 0, steps, indices, chosen, first, count, shift[: i[P]], z, pitch)
    steps = i[Y_DOWN], i[Y_ACROSS]
    shifted(y, 0, steps, indices, chosen, first, count, shift[i[P] :], z[i[P] :], pitch)


@inline
def _weigh(integers, floats, c, count, weights):
    """Gather the weights of a chunk's rows, and note their sum."""
    i = integers
    given, indices = pointer_at(floats, i[WEIGHTS]), pointer_at(integers, i[ROWS])
    total = 0.0
    for r in range(count):
        weight = 1.0
        if i[WEIGHTS] != 0:
            weight = given[place(indices, i[ROWS], c * i[CHUNK] + r)]
        weights[r] = weight
        total += weight
    numbers(floats, i[COUNTS], i[CHUNKS])[c] = total


@inline
def _take_mean(integers, floats, c, count, z):
    """Note the mean of a chunk's rows, and leave it behind them in whole vectors."""
    i = integers
    columns, pitch = i[P] + i[Q], i[PITCH]
    at = z + ITEM * i[CHUNK] * pitch
    mean = numbers(floats, at, columns)
    mean[:] = 0.0
    weights = at + ITEM * (pitch + SIDE)
    combine(weights, 1, z, pitch, at, (columns + SIDE - 1) // SIDE, count)
    total = numbers(floats, i[COUNTS], i[CHUNKS])[c]
    share = 1.0 / total if total > 0.0 else 1.0
    noted = numbers(floats, i[MEANS] + ITEM * c * columns, columns)
    for j in range(columns):
        mean[j] *= share
        noted[j] = mean[j]


@inline
def _add_products(integers, floats, first, count, weights, z, task):
    """Centre and weigh a chunk's rows, and add zᵀz to the upper triangle of the task's sums."""
    i = integers
    pitch, vectors = i[PITCH], (i[P] + i[Q] + SIDE - 1) // SIDE
    total = i[TOTALS] + ITEM * task * pitch * pitch
    mean = z + ITEM * i[CHUNK] * pitch
    tiles = 0
    for v in range(vectors):
        tiles += strips(v + 1)
    lines = (BLOCK * i[STRETCH] + LINE * tiles - 1) // (LINE * tiles)
    for r in range(0, count, BLOCK):
        # the same rows of the next chunk
        ahead = i[X] + (first + i[CHUNK] + r) * i[STRETCH]
        rows, block = min(BLOCK, count - r), z + ITEM * r * pitch
        # the mean times -1; rows beyond the last lie in the chunk's memory, and are not read
        multiply(mean + ITEM * pitch, 0, 0, mean, 0, block, pitch, rows, vectors, 1, 0, 0)
        if i[WEIGHTS] != 0:
            _scale_rows(numbers(floats, block, rows * pitch), weights[r : r + rows], pitch)
        for v in range(vectors):
            o = ITEM * SIDE * v
            out = total + o + ITEM * SIDE * v * pitch
            multiply(
                block + o, 1, pitch, block + o, pitch, out, pitch, SIDE, vectors - v, rows,
                ahead, lines,
            )  # fmt: skip
            ahead += LINE * lines * strips(vectors - v)


@inline
def _scale_rows(z, weights, pitch):
    """Multiply rows by the roots of their weights."""
    for k in range(weights.shape[0]):
        root, row = math.sqrt(weights[k]), z[k * pitch : (k + 1) * pitch]
        for j in range(pitch):
            row[j] *= root
