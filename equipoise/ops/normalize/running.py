"""The running buffers' update as a kernel: a moving average, the variance unbiased."""

from equipoise.ops.jit import Kernel


@Kernel
def update_running(running_mean, running_var, stats, momentum, count):
    """running = (1 - momentum) * running + momentum * batch, in float64."""
    unbiased = count / (count - 1.0)
    for r in range(running_mean.size):
        running_mean[r] = (1.0 - momentum) * running_mean[r] + momentum * stats[0, r]
        variance = stats[1, r] * unbiased
        running_var[r] = (1.0 - momentum) * running_var[r] + momentum * variance
