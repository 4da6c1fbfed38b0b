"""What all functional norms ask of their arguments, and say where it fails."""

import logging
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipoise.ops import dispatch
from equipoise.ops.normalize import op

log = logging.getLogger("equipoise")
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@contextmanager
def explain_transforms(
    name="BatchNorm",
    advice="call torch.func.replace_all_batch_norm_modules_(model) first, or use",
):
    """Say what to do where a ``torch.func`` transform forbids to update buffers in place."""
    try:
        yield
    except RuntimeError as error:
        if not op.transforming():
            raise
        raise RuntimeError(
            f"{error}\n{name} in training mode updates its running statistics in place, which "
            f"torch.func transforms forbid: {advice} track_running_stats=False or eval()."
        ) from error


def fit(extra: Tensor | None, x: Tensor, name: str = "add", place: str = "output"):
    """Expand what is added to the input's shape."""
    if extra is None or (extra.shape == x.shape and extra.device == x.device):
        return extra
    if extra.device != x.device:
        raise RuntimeError(
            f"Expected all tensors on one device, but the input is on {x.device} and {name} on "
            f"{extra.device}: move one of them with .to()"
        )
    try:
        return extra.expand_as(x)
    except RuntimeError:
        raise ValueError(
            f"{name} is added to the {place}, and has or broadcasts to the input's shape; the "
            f"input is {tuple(x.shape)}, {name} {tuple(extra.shape)}"
        ) from None


def check_activation(activation: str | None) -> None:
    """Refuse an activation that is not fused."""
    if activation not in op.ACTIVATIONS:
        raise ValueError(
            f"activation is one of {op.ACTIVATIONS}; got {activation!r}: choose one, or apply "
            "the activation after the layer"
        )


def check_floating(x: Tensor, name: str) -> None:
    """Refuse integers, booleans and complex numbers."""
    if not x.is_floating_point():
        raise NotImplementedError(
            f'"{name}" not implemented for {x.dtype}: statistics need a floating-point '
            "input; call input.float() first"
        )


def check_backend(x: Tensor, backend: str | None) -> None:
    """Refuse a tensor that the forced kernels cannot take."""
    if backend == "cpu" and x.device.type != "meta" and not dispatch.kernel_runs(x):
        raise RuntimeError(
            "EQUIPOISE_BACKEND=cpu runs on strided CPU tensors of 16, 32 or 64 bits; the "
            f"input is {x.dtype} on {x.device}: unset the variable or move the input"
        )


def check_vectors(x: Tensor, **vectors: Tensor | None) -> None:
    """Refuse vectors that are not one floating-point number a channel, on the input's device."""
    channels, device = x.shape[1], x.device
    for name, v in vectors.items():
        if v is None:
            continue
        if not (v.numel() == channels and v.device == device and v.dtype in FLOATS):
            refuse_vector(x, name, v)
        if v.requires_grad and name.startswith("running"):
            raise RuntimeError(
                f"{name} is a buffer, updated in place or taken as a constant, and cannot "
                "require gradients: pass it detached"
            )


def refuse_vector(x: Tensor, name: str, vector: Tensor):
    """Say what is wrong with a vector of the channels."""
    channels = x.shape[1]
    if vector.numel() != channels:
        raise RuntimeError(
            f"{name} should contain {channels} elements not {vector.numel()}: the input "
            f"{tuple(x.shape)} has {channels} channels on axis 1; set num_features to that"
        )
    if vector.device != x.device:
        raise RuntimeError(
            f"Expected all tensors on one device, but the input is on {x.device} and {name} "
            f"on {vector.device}: move one of them with .to()"
        )
    raise RuntimeError(
        f"{name} is floating point, as the input is; it is {vector.dtype}: call {name}.float()"
    )


# the norms that autocast computes and returns in float32, by device: everything else keeps its type
_WIDENED = {
    "cuda": ("group_norm", "layer_norm", "rms_norm"),
    "xpu": ("group_norm", "layer_norm", "rms_norm"),
    "mps": ("group_norm", "layer_norm", "batch_norm"),
}


def widened(name: str, *tensors: Tensor | None) -> tuple[Any, ...]:
    """Give the tensors, first the input, in float32 where autocast does so for this norm."""
    device = tensors[0].device.type  # pyright: ignore[reportOptionalMemberAccess]
    if name not in _WIDENED.get(device, ()) or not torch.is_autocast_enabled(device):
        return tensors
    return tuple(t if t is None or t.dtype == torch.float64 else t.float() for t in tensors)


@cache
def _fell_back(why: str) -> None:
    log.debug("equipoise takes the plain formula: %s", why)


def choose(
    x: Tensor, vectors, extra: Tensor | None, *, exporting: bool, aten: bool = True,
    small: bool = True,
) -> str:  # fmt: skip
    """Pick aten, formula, small (aten, if it turns out accurate) or kernel for one call.

    ``vectors`` are of the channels, ``extra`` is what is added; ``aten`` tells whether torch has
    this norm, ``small`` whether its calls are worth trying on small tensors.
    """
    if x.layout != torch.strided or exporting:
        return "aten" if aten else "formula"
    if torch.compiler.is_compiling():
        return "kernel" if dispatch.kernel_runs(x) else "formula"
    backend = dispatch.forced()
    if backend == "aten" and aten:
        return "aten"
    check_backend(x, backend)
    if backend == "reference":
        return "formula"
    if not op.plain_tensors(x, extra, *vectors):
        _fell_back("a transform, forward AD or a tensor subclass looks on")
        return "formula"
    if not dispatch.kernel_runs(x):
        _fell_back(f"no kernel takes {x.dtype} on {x.device.type}")
        return "formula"
    alike = small and backend is None and dispatch.small(x) and op.direct()
    alike = alike and all(v is None or v.dtype == x.dtype for v in vectors)
    return "small" if alike else "kernel"
