"""The running buffers' update: a moving average, the variance unbiased."""

from numba import carray

from equipoise.ops.jit import inline
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import HEAD

RUNNING_MEAN, RUNNING_VAR, BATCH, FEATURES = range(HEAD, HEAD + 4)
MOMENTUM, COUNT = range(2)


@inline
def move(means, variances, batch, momentum, count):
    """running = (1 - momentum) * running + momentum * batch, in float64.

    ``batch`` (2 or more, channels) float64 begins with mean and biased variance.
    """
    unbiased = count / (count - 1.0)
    for r in range(batch.shape[1]):
        means[r] = (1.0 - momentum) * means[r] + momentum * batch[0, r]
        variances[r] = (1.0 - momentum) * variances[r] + momentum * (batch[1, r] * unbiased)


def update_running(task, integers, floats, computed):
    """Move buffers by themselves: their addresses, and that of the batch's statistics."""
    if task < 0:
        return
    channels = integers[FEATURES]
    means = carray(pointer_at(computed, integers[RUNNING_MEAN]), (channels,))
    variances = carray(pointer_at(computed, integers[RUNNING_VAR]), (channels,))
    batch = carray(pointer_at(floats, integers[BATCH]), (2, channels))
    move(means, variances, batch, floats[MOMENTUM], floats[COUNT])
