"""How rows lie in a kernel's memory; this needs no Numba."""

from equipoise.ops.sweep.machine import processor

_FEATURES = processor()[1].split(",")
# rows of a tile and lanes of a vector: as many as fill the registers of the processor
SIDE = 8 if "+avx512f" in _FEATURES else 4
# whether the processor multiplies pairs of bfloat16, twice as fast as float32
PAIRS = SIDE == 8 and "+avx512bf16" in _FEATURES
# rows of a panel: a tile of float32 has as many columns
PANEL = 6 * SIDE
# numbers of its rows that are packed at a time, and their distance: an odd number of lines
CHUNK, AISLE = 64, 80
# rows that are worked on together: with up to 50 columns they fit the first-level cache
BLOCK = 64
# bytes of a number of float64 and of float32, and of a line of the cache
ITEM, SHORT, LINE = 8, 4, 64


def pitch_of(columns: int) -> int:
    """Give the distance of rows of ``columns`` numbers: whole vectors, an odd number of them.

    Numbers a power of two apart would compete for the same few sets of the cache.
    """
    return SIDE * (-(-columns // SIDE) | 1)
