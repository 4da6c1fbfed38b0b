"""What the kernels of scaling are told, and how memory is walked; this needs no Numba."""

from equipoise.ops.sweep.loop import HEAD

# values in a line, so that its coefficients stay in the first-level cache
LINE = 1024
# values that a task scales
TASK = 1 << 16

# forms of the map
DIVIDE, MULTIPLY, BACK, CHECK = range(4)

# of maps: the addresses of x, y, a and b, the form, and the plan; and, of floats, what is common to
# the columns
X, Y, A, B, FORM, PLAN = range(HEAD, HEAD + 6)
FACTOR, OFFSET, LOWEST, HIGHEST = range(4)

# of rows: the addresses of x and y, which norm, whether to write, and the plan
ROWS_X, ROWS_Y, NORM, WRITE, ROWS_PLAN = range(HEAD, HEAD + 5)
