"""What the kernels are told: the places of their integers, the same for all of them.

First what the loop over tasks uses itself, then sizes, flags and addresses (0 where a direction
has no use for one), then the plan's shape.  And what the loop's phases are.
"""

from equipoise.ops.sweep.loop import HEAD

(
    # bytes of a stored number; channels; were the statistics the batch's own; does the second
    # phase of backward start from what the first one wrote; does the second phase walk chunks
    # backwards
    ITEM, CHANNELS, TRAINING, REUSED, REVERSED,
    # tensors of stored numbers: input, what was added (or the output), output; upstream
    # gradient, the input's gradient, the gradient before the activation
    X, OTHER, Y, G, DX, GATED,
    # (channels,) in the compute type
    WEIGHT, BIAS,
    # float64: (4, statistics), and (2, lines) sums of g and g * xhat, those of all samples first
    STATS, SUMMED,
    # (channels,) in the compute type, 0 where there is none: the running buffers; where the sums
    # go as the gradients of bias and, next to it, weight
    RUNNING_MEAN, RUNNING_VAR, DBIAS, DWEIGHT,
    # int64, the number of batches that moved the buffers
    BATCHES,
    # the sweeps' code
    FIRST_SWEEP, MOMENTS_SWEEP, OUTPUT_SWEEP, SUMS_SWEEP, GRADIENT_SWEEP,
    SHAPE,
) = range(HEAD, HEAD + 26)  # fmt: skip

# a phase: statistics or sums of gradients, what is made of them, or both
SUMS, APPLY = 1, 2

# rows of a column family that are summed in the compute type before float64 takes over
RUN = 128

# what differs from call to call on tensors of one shape and kind
ADDRESSES = slice(X, BATCHES + 1)
# its end: neither running buffers nor gradients of parameters, nor a count
NO_VECTORS = (0, 0, 0, 0, 0)
