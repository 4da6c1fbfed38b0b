"""What every call of a GPU kernel shares: types, sizes, and the launch."""

from functools import cache
from typing import Any

import torch
import triton.language as tl

from equipoise.ops import dispatch
from equipoise.ops.normalize.layout import dense

COMPUTE = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.bfloat16: tl.float32,
    torch.float16: tl.float32,
}
# numbers of a tile that one thread holds
NUMBERS = 8


def cdiv(n: int, d: int) -> int:
    """Divide and round up: Triton's own is typed for kernels."""
    return -(-n // d)


def upper(n: int) -> int:
    """Give the next power of two."""
    return 1 << (n - 1).bit_length()


def contiguous(x: torch.Tensor | None) -> Any:
    """Give a tensor, or None, with its numbers one after the other."""
    return None if x is None else dense(x).contiguous()


def slope_of(activation: str | None, slope: float) -> float:
    """Give the slope, part of the machine code, where it plays a part."""
    return float(slope) if activation == "leaky_relu" else 0.0


def warps(numbers: int) -> int:
    """Give how many warps share a tile."""
    return max(1, min(32, numbers // (32 * NUMBERS)))


@cache
def processors(device: torch.device) -> int:
    """Give a GPU's multiprocessors; the interpreter counts as two."""
    if device.type != "cuda":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count


def launch(kernel, grid: tuple[int, ...], *args, **settings) -> None:
    """Run a kernel on its tensors' device; products and sums may fuse."""
    if dispatch.heard() is not None:
        count = " x ".join(str(n) for n in grid)
        dispatch.note(dispatch.Ran("gpu", kernel.__name__, f"{count} programs"))
    with torch.cuda.device_of(next(t for t in args if isinstance(t, torch.Tensor))):
        kernel[grid](*args, **settings, enable_fp_fusion=True)
