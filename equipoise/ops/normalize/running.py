"""The running buffers' update as a kernel: a moving average, the variance unbiased."""

from numba import carray

from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import HEAD

RUNNING_MEAN, RUNNING_VAR, BATCH, FEATURES = range(HEAD, HEAD + 4)
MOMENTUM, COUNT = range(2)


def update_running(task, integers, floats, computed):
    """running = (1 - momentum) * running + momentum * batch, in float64.

    Addresses of the float32 buffers and of the batch's (2 or more, channels) float64 statistics.
    """
    if task < 0:
        return
    channels = integers[FEATURES]
    means = carray(pointer_at(computed, integers[RUNNING_MEAN]), (channels,))
    variances = carray(pointer_at(computed, integers[RUNNING_VAR]), (channels,))
    batch = carray(pointer_at(floats, integers[BATCH]), (2, channels))
    momentum, count = floats[MOMENTUM], floats[COUNT]
    unbiased = count / (count - 1.0)
    for r in range(channels):
        means[r] = (1.0 - momentum) * means[r] + momentum * batch[0, r]
        variances[r] = (1.0 - momentum) * variances[r] + momentum * (batch[1, r] * unbiased)
