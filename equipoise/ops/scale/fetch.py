"""Ask memory for what comes next, so that reading it and computing overlap."""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from equipoise.ops.jit import emits

_LINE = 64
# read, into the second-level cache, data
_HOW = (0, 2, 1)


@emits
def fetch(typingctx, x, ahead):
    """Prefetch as many values as the vector ``x`` has, ``ahead`` values further on.

    A prefetch behind the end of the memory does nothing.
    """

    def codegen(context, builder, signature, args):
        word, short, pointer = ir.IntType(64), ir.IntType(32), ir.PointerType()
        kind = ir.FunctionType(ir.VoidType(), [pointer, short, short, short])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        view = context.make_array(signature.args[0])(context, builder, args[0])
        (n,) = cgutils.unpack_tuple(builder, view.shape)
        step = word(_LINE // context.get_abi_sizeof(context.get_data_type(x.dtype)))
        with cgutils.for_range_slice(builder, word(0), n, step, word) as (i, _):
            at = builder.gep(view.data, [builder.add(i, args[1])])
            builder.call(prefetch, [builder.bitcast(at, pointer), *map(short, _HOW)])
        return context.get_dummy_value()

    return types.none(x, types.int64), codegen
