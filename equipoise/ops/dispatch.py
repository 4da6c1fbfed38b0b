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
    """Tell whether aten is quicker on a tensor of this size, and safe to call."""
    return x.numel() <= SMALL and x.dtype in (torch.float32, torch.float64) and not _forked


def near(mean: np.ndarray, invstd: np.ndarray) -> bool:
    """Tell whether every |mean| / std is so small that aten is accurate."""
    # NaN is no number to be accurate about: aten's NaN is as good as ours
    scaled = mean * invstd
    # the dot product bounds the maximum, and costs one call where that costs two
    return not scaled.dot(scaled) > NEAR * NEAR or not np.abs(scaled).max() > NEAR
