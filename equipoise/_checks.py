"""What all functional norms ask of their arguments, and say where it fails."""

from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from equipoise.ops import dispatch
from equipoise.ops.normalize import op

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
    if extra is None:
        return None
    if not isinstance(extra, Tensor):
        raise _no_tensor(name, extra)
    if extra.is_complex():
        raise NotImplementedError(
            f"{name} is added to the {place}, a real one; {name} is {extra.dtype}: pass its .real"
        )
    if extra.shape == x.shape and extra.device == x.device:
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


def check_tensors(name: str, input: Tensor, **others: Tensor | None) -> None:
    """Refuse an input that is no tensor, and others that are neither that nor None."""
    for argument, value in {"input": input, **others}.items():
        if not isinstance(value, Tensor) and (value is not None or argument == "input"):
            raise _no_tensor(f"{name}(): argument {argument!r}", value)


def _no_tensor(what: str, value) -> TypeError:
    return TypeError(
        f"{what} must be Tensor, not {type(value).__name__}: torch.as_tensor() makes one of an "
        "array or a list"
    )


def check_floating(x: Tensor, name: str) -> None:
    """Refuse integers, booleans, complex numbers and floats of 8 bits."""
    if x.dtype not in FLOATS:
        raise NotImplementedError(
            f'"{name}" not implemented for {x.dtype}: the input is floating point, of 16, 32 or 64 '
            "bits; call input.float() first"
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
            f"{tuple(x.shape)} has {channels} channels on axis 1; make the layer for that many"
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


def wanted_whole(input) -> bool:
    """Tell whether Dynamo is to take a call on ``input`` as one operator.

    An export keeps torch's operators, and a compiler's cache knows no forced backend.
    """
    traced = torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting()
    return traced and isinstance(input, Tensor) and dispatch.forced() is None
