"""Ask for memory before it is needed, where the processor would not guess."""

from llvmlite import ir
from numba import types

from equipoise.ops.jit import emits, inline
from equipoise.ops.sweep.lanes import WORD, intrinsic

# bytes of a line of the cache
LINE = 64


@emits
def fetch(typingctx, x, at):
    """Begin to read ``x[at]`` into the second-level cache; it need not exist."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        # to read, in the second-level cache, data
        words = [builder.gep(data, [args[1]]), WORD(0), WORD(2), WORD(1)]
        intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), words)
        return context.get_dummy_value()

    return types.none(x, types.int64), codegen


@inline
def fetch_run(x, at, size):
    """Begin to read ``size`` numbers of ``x`` from ``at`` on."""
    for i in range(0, size, LINE // x.itemsize):
        fetch(x, at + i)


@inline
def fetch_down(x, at, step, size):
    """Begin to read ``size`` numbers of ``x`` from ``at`` on, ``step`` apart."""
    for i in range(size):
        fetch(x, at + i * step)
