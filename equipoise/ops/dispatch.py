"""The one place that picks what runs: our CPU kernels, aten, or the plain formula.

Order of choice: ``EQUIPOISE_BACKEND`` (reference, aten, cpu), then measured rules.
"""

import os

import numpy as np
import torch

BACKENDS = ("reference", "aten", "cpu")
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def forced() -> str | None:
    """Give the backend that the environment forces, or None."""
    name = os.environ.get("EQUIPOISE_BACKEND") or None
    if name is not None and name not in BACKENDS:
        raise ValueError(
            f"EQUIPOISE_BACKEND is one of {', '.join(BACKENDS)}; it is {name!r}: change or unset it"
        )
    return name


def kernel_runs(x: torch.Tensor) -> bool:
    """Tell whether the CPU kernels take this tensor."""
    return x.device.type == "cpu" and x.dtype in _FLOATS and x.layout == torch.strided


# below this many numbers a call costs more than its arithmetic, and aten's calls cost less
SMALL = 16384
# |mean| / std up to which aten's float32 statistics meet the bar of 2e-6
NEAR = 4.0


_forked = False


def _after_fork():
    global _forked
    _forked = True


# GNU OpenMP hangs or aborts a forked child that enters a parallel region, and aten enters one
# even for small tensors
os.register_at_fork(after_in_child=_after_fork)


def forked() -> bool:
    """Tell whether this process is a forked child, which must stay on one thread."""
    return _forked


def small(x: torch.Tensor) -> bool:
    """Tell whether aten is quicker on a tensor of this size, and as good.

    In channels_last its sums depend on the number of threads and lose digits, and tensors
    without extent count as such.
    """
    if x.numel() > SMALL or x.dtype not in (torch.float32, torch.float64) or _forked:
        return False
    return x.dim() > 2 and x.is_contiguous() and x.numel() > x.shape[0] * x.shape[1] > x.shape[0]


def near(mean: np.ndarray, invstd: np.ndarray) -> bool:
    """Tell whether every |mean| / std is so small that aten is accurate."""
    # an overflowing variance leaves 1 / std = 0, and NaN compares as false: ours are right there
    return bool(invstd.min() > 0.0 and np.abs(mean * invstd).max() <= NEAR)
