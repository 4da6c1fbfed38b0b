"""The running buffers' update as a kernel: a moving average, the variance unbiased."""

from numba import carray, types

from equipoise.ops.jit import Kernel, emits


def _pointer(kind):
    @emits
    def at(typingctx, address):
        """Turn an address into a pointer, for ``carray``."""

        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return at


_single, _double = _pointer(types.float32), _pointer(types.float64)


@Kernel
def update_running(running_mean, running_var, stats, channels, momentum, count):
    """running = (1 - momentum) * running + momentum * batch, in float64.

    Addresses of the float32 buffers and of the batch's (2 or more, channels) float64 statistics.
    """
    means = carray(_single(running_mean), (channels,))
    variances = carray(_single(running_var), (channels,))
    batch = carray(_double(stats), (2, channels))
    unbiased = count / (count - 1.0)
    for r in range(channels):
        means[r] = (1.0 - momentum) * means[r] + momentum * batch[0, r]
        variances[r] = (1.0 - momentum) * variances[r] + momentum * (batch[1, r] * unbiased)
