"""Tasks that threads take one after the other, instead of each its share from the start.

A thread that wakes late, or that the system holds up, would keep all the others waiting for its
share; one alone reads almost as fast as memory gives.
"""

from llvmlite import ir
from numba import types

from equipoise.ops.jit import emits


@emits
def take(typingctx, taken):
    """Add 1 to the first number of an int64 vector, among threads; give what it was."""

    def codegen(context, builder, signature, args):
        view = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", view.data, ir.IntType(64)(1), "monotonic")

    return types.int64(taken), codegen
