"""What the kernels of moments are told, and how a state lies; this needs no Numba."""

from equipoise.ops.sweep.loop import HEAD

# an address of numbers, whether extremes are enough, the address of the state to fill, and
# `layout.plan`; or two states' addresses, a third's, and their columns
X, EXTREMES_ONLY, OUT, PLAN = range(HEAD, HEAD + 4)
STATE_A, STATE_B, MERGED, COLUMNS = range(HEAD, HEAD + 4)

# rows of a state; rest is what rounding the mean to float64 lost
COUNT, MEAN, M2, MIN, MAX, NANS, REST = range(7)
FIELDS = 7
