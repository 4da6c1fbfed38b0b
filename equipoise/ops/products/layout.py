"""How rows lie in a kernel's memory; this needs no Numba."""

from equipoise.ops.sweep.machine import processor

# rows of a tile and lanes of a vector: as many as fill the registers of the processor
SIDE = 8 if "+avx512f" in processor()[1].split(",") else 4
# rows that are worked on together: with up to 50 columns they fit the first-level cache
BLOCK = 64
# bytes of a number, and of a line of the cache
ITEM, LINE = 8, 64


def pitch_of(columns: int) -> int:
    """Give the distance of rows of ``columns`` numbers: whole vectors, an odd number of them.

    Numbers a power of two apart would compete for the same few sets of the cache.
    """
    return SIDE * (-(-columns // SIDE) | 1)
