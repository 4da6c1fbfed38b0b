"""``layer_norm`` and ``rms_norm``: statistics of each row of the last axes."""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from equipoise._checks import (
    check_activation,
    check_floating,
    check_tensors,
    fit,
    wanted_whole,
    widened,
)
from equipoise.ops import dispatch
from equipoise.ops.normalize import again_rows, layer, reference
from equipoise.ops.normalize.library import whole


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
    residual: Tensor | None = None,
    return_residual: bool = False,
):
    """Normalize over the last axes, after a residual and before an activation.

        s = x + residual
        y = act((s - mean) / sqrt(var + eps) * weight + bias)

    Mean and biased variance are those of the last axes, ``normalized_shape``.  torch's
    arguments, and keyword-only extras.

    Parameters
    ----------
    input : Tensor, (..., \\*normalized_shape)
        float32, float64, bfloat16 or float16.
    normalized_shape : sequence of int
        The extents of the last axes.
    weight, bias : Tensor or None
        Of that shape.
    eps : float
        Added to the variance.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused, with ``negative_slope`` for leaky_relu.
    residual : Tensor or None
        Added before the norm; broadcasts to the input.
    return_residual : bool
        Give ``(y, s)``: the next block's residual, without another pass.

    Returns
    -------
    Tensor or tuple of two Tensors
        Of the input's shape and dtype, contiguous.  Half precision is computed in float32.

    Raises
    ------
    ValueError
        An unknown activation, a residual that does not broadcast.
    RuntimeError
        An input whose last axes are not ``normalized_shape``, parameters of another shape.

    Notes
    -----
    Ba, Kiros and Hinton, arXiv 1607.06450.  The error does not grow with \\|mean\\| / std.

    Examples
    --------
    >>> x, r = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    >>> y, s = layer_norm(x, (8,), residual=r, return_residual=True)
    >>> bool((s == x + r).all())
    True
    """
    args = (input, residual, weight, bias, activation, negative_slope, eps)
    return _run("layer_norm", args, normalized_shape, True, return_residual)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
    residual: Tensor | None = None,
    return_residual: bool = False,
):
    """Divide by the root mean square of the last axes, after a residual, before an activation.

        s = x + residual
        y = act(s / sqrt(mean(s^2) + eps) * weight)

    torch's arguments, and the extras of ``layer_norm``.

    Parameters
    ----------
    input : Tensor, (..., \\*normalized_shape)
        float32, float64, bfloat16 or float16.
    normalized_shape : sequence of int
        The extents of the last axes.
    weight : Tensor or None
        Of that shape.
    eps : float or None
        Added to the mean square; None is the smallest step of the type that is computed in,
        as in torch.

    Returns
    -------
    Tensor or tuple of two Tensors
        Of the input's shape and dtype, contiguous; with ``return_residual`` also s.

    Raises
    ------
    ValueError, RuntimeError
        As ``layer_norm``.

    Notes
    -----
    Zhang and Sennrich, arXiv 1910.07467.

    Examples
    --------
    >>> x = torch.randn(2, 5, 8)
    >>> y = rms_norm(x, (8,))
    >>> bool(((y * y).mean(-1) - 1).abs().max() < 1e-5)
    True
    """
    if eps is None:
        # what is no tensor is refused below
        double = getattr(input, "dtype", None) == torch.float64
        wide = torch.float64 if double else torch.float32
        eps = torch.finfo(wide).eps
    args = (input, residual, weight, None, activation, negative_slope, eps)
    return _run("rms_norm", args, normalized_shape, False, return_residual)


def _run(name, args, normalized_shape, centred, return_residual):
    x, residual, weight, bias, activation, slope, eps = args
    shape = tuple(normalized_shape)
    if wanted_whole(x):
        y, total = _whole(name, *args, shape, centred)
        return (y, x if residual is None else total) if return_residual else y
    again = again_rows.found(*args, shape, centred)
    if again is not None:
        y, total = again(x, residual, weight, bias)
        return (y, total) if return_residual else y
    _check(name, args, shape)
    if return_residual and residual is None:
        return _run(name, args, normalized_shape, centred, False), x
    x, weight, bias = widened(name, x, weight, bias)
    residual = fit(residual, x, "residual", "input")
    residual = residual if residual is None else residual.to(x.dtype)
    call = (x, residual, weight, bias, activation, slope, eps, prod(shape), centred)
    y, total = _normalize(call, shape)
    return (y, total) if return_residual else y


def _within(name, *args):
    """Do what ``_run`` does within ``_whole``."""
    x, residual, *_, shape, centred = args
    y, total = _run(name, args[:-2], shape, centred, True)
    # an operator's results are its own: none may be its argument
    return y, x.new_empty(0) if residual is None else total


_whole = whole(
    "layer_norm",
    "(str name, Tensor input, Tensor? residual, Tensor? weight, Tensor? bias, str? activation, "
    "float negative_slope, float eps, SymInt[] normalized_shape, bool centred) -> (Tensor, Tensor)",
    _within,
)


def _normalize(call, shape):
    x, residual, weight, bias = call[:4]
    for_torch = x.numel() == 0 or torch.compiler.is_exporting()
    how = dispatch.choose(x, (weight, bias), residual, for_torch=for_torch, small_calls=False)
    if how == "aten":
        return _by_torch(call, shape)
    if how == "formula":
        return layer.formula(*call)
    again_rows.keep(*call[:7], shape, call[8])
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, residual, weight, bias)
    ):
        found = layer.NormalizeRows.apply(*call)
        return (found, x) if residual is None else found
    return layer.forward(*call)[:2]


def _by_torch(call, shape):
    x, residual, weight, bias, activation, slope, eps, _, centred = call
    total = x if residual is None else x + residual
    if centred:
        y = F.layer_norm(total, shape, weight, bias, eps)
    else:
        y = F.rms_norm(total, shape, weight, eps)
    return reference.activate(y, activation, slope), total


def _check(name, args, shape) -> None:
    x, residual, weight, bias, activation, _, eps = args
    check_activation(activation)
    check_tensors(name, x, weight=weight, bias=bias, residual=residual)
    check_floating(x, name)
    if not shape:
        raise RuntimeError(
            f"Expected normalized_shape to be at least 1-dimensional, got {shape}: name the last "
            "axes"
        )
    if tuple(x.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(x.shape)}"
        )
    if eps < 0:
        raise ValueError(f"eps is not negative, for it is added to a variance; got {eps}")
    for vector, v in (("weight", weight), ("bias", bias)):
        if v is None:
            continue
        if tuple(v.shape) != shape:
            raise RuntimeError(
                f"Expected {vector} to be of same shape as normalized_shape, but got {vector} of "
                f"shape {list(v.shape)} and normalized_shape = {list(shape)}"
            )
        if v.device != x.device:
            raise RuntimeError(
                f"Expected all tensors on one device, but the input is on {x.device} and {vector} "
                f"on {v.device}: move one of them with .to()"
            )
        if not v.is_floating_point():
            raise RuntimeError(
                f"{vector} is floating point, as the input is; it is {v.dtype}: call "
                f"{vector}.float()"
            )
