"""Calling sweeps from Numba code, by address."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import make_array

from equipoise.ops.jit import emits


@emits
def run(typingctx, sweep, words, kept):
    """Call the sweep at an address: counts, pitch and the operands' addresses as a tuple.

    ``kept`` are the arrays whose addresses are among the words: Numba frees an array after the
    last line that names it, and an address is no name.
    """

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        # in the entry block: a slot in a loop would grow the stack
        slot = cgutils.alloca_once(builder, word, size=signature.args[1].count)
        for k in range(signature.args[1].count):
            builder.store(builder.extract_value(args[1], k), builder.gep(slot, [word(k)]))
        kind = ir.FunctionType(ir.VoidType(), [word.as_pointer()])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [slot])
        return context.get_dummy_value()

    return types.none(types.int64, words, kept), codegen


@emits
def address(typingctx, array, index):
    """Give the address of a number of a contiguous array, counted in storage order."""

    def codegen(context, builder, signature, args):
        data = make_array(signature.args[0])(context, builder, args[0]).data
        at = builder.gep(data, [args[1]])
        return builder.ptrtoint(at, ir.IntType(64))

    return types.int64(array, types.int64), codegen


@emits
def pointer_at(typingctx, tag, address):
    """Turn an address into a pointer of the type of ``tag``, for ``carray``."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], args[0].type)

    return tag(tag, types.int64), codegen
