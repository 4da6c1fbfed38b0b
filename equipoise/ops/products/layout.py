"""How rows lie in a kernel's memory, and what its integers mean; this needs no Numba."""

from equipoise.ops.sweep.loop import HEAD
from equipoise.ops.sweep.machine import processor

# rows of a tile and lanes of a vector: as many as fill the registers of the processor
SIDE = 8 if "+avx512f" in processor()[1].split(",") else 4
# rows that are worked on together: with up to 50 columns they fit the first-level cache
BLOCK = 64
# bytes of a number
ITEM = 8

(
    # rows and columns of X, columns of y, rows in a chunk, chunks, tasks, numbers between rows
    N, P, Q, CHUNK, CHUNKS, TASKS, PITCH,
    # addresses and steps: of X in the compute type, y, weights (0: none) and chosen rows (0: all)
    X, X_DOWN, X_ACROSS, Y, Y_DOWN, Y_ACROSS, WEIGHTS, ROWS,
    # float64: the shift (p + q,), and per chunk weights (chunks,) and shifted means
    SHIFT, COUNTS, MEANS,
    # float64 (tasks, pitch, pitch): upper triangles
    TOTALS,
) = range(HEAD, HEAD + 19)  # fmt: skip


def pitch_of(columns: int) -> int:
    """Give the distance of rows of ``columns`` numbers: whole vectors, an odd number of them.

    Numbers a power of two apart would compete for the same few sets of the cache.
    """
    return SIDE * (-(-columns // SIDE) | 1)
