"""Number formats in kernels: read any float as the type that is computed in, and write it back.

Numba knows neither bfloat16 nor float16 on the CPU, so bfloat16 arrives as a uint16 view and
float16 as an int16 view, without a copy; the compute type of both is float32.
"""

import numpy as np
import torch
from llvmlite import ir
from numba import types

from equipoise.ops.jit import emits, inline

# torch dtype -> (integer view or None, compute dtype)
_VIEWS = {
    torch.bfloat16: (torch.uint16, np.uint16),
    torch.float16: (torch.int16, np.int16),
}
COMPUTE = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """View a dense CPU tensor's memory, in storage order, as a flat array that kernels can read."""
    view = _VIEWS.get(tensor.dtype)
    if view is not None:
        tensor = tensor.view(view[0])
    if not tensor.is_contiguous():
        tensor = torch.as_strided(tensor, (tensor.numel(),), (1,))
    return tensor.numpy().reshape(-1)


@emits
def _float_of_bits(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


@inline
def power_of_two(n):
    """Give 2^n as float32 for an int32 n in [-126, 127], from its bits."""
    return _float_of_bits(np.uint32(n + np.int32(127)) << np.uint32(23))


def _float_of_bfloat(builder, stored):
    bits = builder.shl(builder.zext(stored, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
    return builder.bitcast(bits, ir.FloatType())


def _bfloat_of_float(builder, value):
    word = ir.IntType(32)
    bits = builder.bitcast(value, word)
    # round to nearest even; a NaN keeps a bit of its payload whatever is cut off
    odd = builder.and_(builder.lshr(bits, word(16)), word(1))
    rounded = builder.add(bits, builder.add(word(0x7FFF), odd))
    quiet = builder.or_(bits, word(0x00400000))
    is_number = builder.fcmp_ordered("ord", value, value)
    kept = builder.select(is_number, rounded, quiet)
    return builder.trunc(builder.lshr(kept, word(16)), ir.IntType(16))


@emits
def widen(typingctx, value):
    """Read a stored number as the type that is computed in."""

    def codegen(context, builder, signature, args):
        if value == types.uint16:
            return _float_of_bfloat(builder, args[0])
        if value == types.int16:
            return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())
        return args[0]

    computed = types.float32 if value in (types.uint16, types.int16) else value
    return computed(value), codegen


@emits
def narrow(typingctx, array, value):
    """Round a computed number to the format that ``array`` stores."""

    def codegen(context, builder, signature, args):
        if array.dtype == types.uint16:
            return _bfloat_of_float(builder, args[1])
        if array.dtype == types.int16:
            return builder.bitcast(builder.fptrunc(args[1], ir.HalfType()), ir.IntType(16))
        return args[1]

    computed = array.dtype if isinstance(array.dtype, types.Float) else types.float32
    return array.dtype(array, computed), codegen
