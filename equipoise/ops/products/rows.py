"""Rows of a matrix in any layout, shifted in float64 into memory that stays in the cache."""

from numba import carray

from equipoise.ops.jit import inline
from equipoise.ops.products.layout import BLOCK
from equipoise.ops.sweep.call import pointer_at


@inline
def numbers(floats, address, count):
    """Give ``count`` float64 numbers at an address as an array."""
    return carray(pointer_at(floats, address), (count,))


@inline
def place(indices, chosen, r):
    """Give the place of row r: where rows are chosen (not 0), their indices tell."""
    return indices[r] if chosen != 0 else r


@inline
def shifted(x, start, steps, indices, chosen, first, count, shift, z, pitch):
    """Set z[r pitch + j] to x[first + r, j] - shift[j], for ``count`` rows.

    x begins at ``start``; ``steps`` numbers lie between neighbours of its rows and its columns.
    """
    down, across = steps
    if across == 1:
        for r in range(count):
            at, row = start + place(indices, chosen, first + r) * down, z[r * pitch :]
            for j in range(shift.shape[0]):
                row[j] = x[at + j] - shift[j]
        return
    # columns of as many rows as lie in the cache together
    for r0 in range(0, count, BLOCK):
        r1 = min(r0 + BLOCK, count)
        for j in range(shift.shape[0]):
            for r in range(r0, r1):
                at = start + place(indices, chosen, first + r) * down
                z[r * pitch + j] = x[at + j * across] - shift[j]
