"""The one place that picks what runs: our CPU kernels, aten, or the plain formula.

Order of choice: ``EQUIPOISE_BACKEND`` (reference, aten, cpu), then measured rules.
"""

import os

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
