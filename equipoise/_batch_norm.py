"""``batch_norm``: statistics of each channel over the batch."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from equipoise._checks import (
    check_activation,
    check_floating,
    check_tensors,
    check_vectors,
    explain_transforms,
    fit,
)
from equipoise.ops import dispatch
from equipoise.ops.normalize import again_channels, op, reference
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.reference import then, update_by_torch


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
    add: Tensor | None = None,
) -> Tensor:
    """Normalize each channel over the batch and all positions, then add and activate.

    y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    Parameters
    ----------
    input : Tensor
        (N, C) or (N, C, ...), float32, float64, bfloat16 or float16.
    running_mean, running_var : Tensor or None
        (C,), updated in place when ``training``, used as mean and var otherwise.
    weight, bias : Tensor or None
        (C,), of any floating dtype.
    training : bool
        Use the batch's own statistics (biased variance; the running one is unbiased).
    momentum : float or 0-d Tensor
        Weight of the batch in the running buffers.
    eps : float
        Added to the variance.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Applied last; gelu is the exact one.
    negative_slope : float
        Of leaky_relu.
    add : Tensor or None
        Broadcast to the input's shape, added before the activation (the shortcut of a ResNet).

    Returns
    -------
    Tensor
        Of the input's shape, dtype and memory format.  Half precision is computed in float32.

    Raises
    ------
    ValueError
        One value per channel when training, an unknown activation, an ``add`` that does not
        broadcast to the input, an eps that is not positive.
    RuntimeError
        Vectors whose length is not C or that are on another device, an input that is not
        floating point.

    Notes
    -----
    Ioffe and Szegedy, arXiv 1502.03167.  Sums are taken in short runs of the compute type and
    merged in float64; the error does not grow with \\|mean\\| / std.

    Examples
    --------
    >>> x = torch.randn(8, 3, 5, 5)
    >>> y = batch_norm(x, None, None, training=True, activation="relu")
    >>> y.shape, bool((y >= 0).all())
    (torch.Size([8, 3, 5, 5]), True)
    """
    if training and add is None:
        vectors = (weight, bias, running_mean, running_var)
        y = again_channels.step(input, *vectors, momentum, eps, activation, negative_slope)
        if y is not None:
            return y
    _check(input, running_mean, running_var, weight, bias, training, eps, activation)
    if momentum is None:
        raise TypeError(
            "momentum is a number here; None, the cumulative average, is BatchNorm's, which "
            "counts the batches"
        )
    add = fit(add, input)
    extras = (activation, negative_slope, add)
    args = (input, running_mean, running_var, weight, bias, training, momentum, eps)
    vectors = (weight, bias, running_mean, running_var)
    for_torch = input.numel() == 0 or _for_torch(momentum)
    return _WAYS[dispatch.choose(input, vectors, add, for_torch=for_torch)](args, *extras)


def _for_torch(momentum) -> bool:
    # an exported program holds torch's own operator: it runs where we are not installed
    return torch.compiler.is_exporting() and not isinstance(momentum, Tensor)


def _by_torch(args, activation, negative_slope, add):
    return then(F.batch_norm(*args), add, activation, negative_slope)


def _small(args, activation, negative_slope, add):
    """Let aten normalize, and do it again by our kernel where aten's statistics lost digits."""
    x, running_mean, running_var, weight, bias, training, momentum, eps = args
    before = []
    if not training:
        invstd = 1.0 / np.sqrt(running_var.detach().numpy() + eps)
        if not dispatch.near(running_mean.detach().numpy(), invstd):
            dispatch.note(dispatch.LOST)
            return _by_kernel(args, activation, negative_slope, add)
        if torch.is_grad_enabled():
            # aten's backward would read the buffers as they are then
            running_mean, running_var = running_mean.clone(), running_var.clone()
    elif running_mean is not None:
        before = [(b, b.clone()) for b in (running_mean, running_var)]
    y, mean, invstd = torch.native_batch_norm(
        x, weight, bias, running_mean, running_var, training, momentum, eps
    )
    if training and not dispatch.near(mean.numpy(), invstd.numpy()):
        for buffer, value in before:
            buffer.copy_(value)
        dispatch.note(dispatch.LOST)
        return _by_kernel(args, activation, negative_slope, add)
    return then(y, add, activation, negative_slope)


def _by_formula(args, activation, negative_slope, add):
    x, running_mean, running_var, weight, bias, training, momentum, eps = args
    mean, variance = (None, None) if training else (running_mean, running_var)
    if not op.transforming():
        x = dense(x)
    y, mean, variance = reference.normalize(
        x, weight, bias, add, mean, variance, activation, negative_slope, eps
    )
    if training and running_mean is not None:
        stats = torch.stack([mean.detach(), variance.detach()])
        with explain_transforms(), torch.no_grad():
            update_by_torch(running_mean, running_var, stats, momentum, x.numel() // x.shape[1])
    return y


def _by_kernel(args, activation, negative_slope, add):
    x, running_mean, running_var, weight, bias, training, momentum, eps = args
    stats = None if training else _running_stats(running_mean, running_var, eps)
    call = (x, weight, bias, add, stats, activation, negative_slope, eps)
    tracked = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias, add)
    )
    moves = training and running_mean is not None
    if moves and op.direct() and not isinstance(momentum, Tensor):
        call = (*call, 0, True, (running_mean, running_var, momentum))
        if add is None:
            vectors = (weight, bias, running_mean, running_var)
            again_channels.keep_call(x, *vectors, activation, negative_slope, eps, 0, True)
        return op.Normalize.apply(*call) if tracked else op.forward(*call)[0]
    if not training:
        return op.Normalize.apply(*call) if tracked else op.forward(*call)[0]
    y, stats = op.Normalize.apply(*call) if tracked else op.forward(*call)
    if moves:
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            update_by_torch(running_mean, running_var, stats, momentum, count)
    return y


_WAYS = {"aten": _by_torch, "formula": _by_formula, "small": _small, "kernel": _by_kernel}


def _running_stats(mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """Give the buffers in the form that the kernels take statistics in."""
    mean, variance = mean.detach().double(), variance.detach().double()
    return torch.stack([mean, variance, torch.rsqrt(variance + eps)])


def _check(x, running_mean, running_var, weight, bias, training, eps, activation):
    check_activation(activation)
    vectors = {"weight": weight, "bias": bias}
    vectors |= {"running_mean": running_mean, "running_var": running_var}
    check_tensors("batch_norm", x, **vectors)
    check_floating(x, "batch_norm")
    if x.dim() < 2:
        raise IndexError(
            f"batch_norm reduces all axes but the second (Dimension out of range), and needs "
            f"(N, C, ...); got shape {tuple(x.shape)}"
        )
    if eps < 0 or (eps == 0 and training):
        raise ValueError(f"eps must be positive, for a constant channel divides by it; got {eps}")
    if training and x.numel() == x.shape[1] != 0:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {x.size()}: "
            "the variance of one value is zero. Use a larger batch (drop_last=True in the "
            "DataLoader), eval(), or a norm that does not need a batch."
        )
    if training and (running_mean is None) != (running_var is None):
        raise ValueError(
            "running_mean and running_var must either both be None or neither be None: they are "
            "updated together"
        )
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when training=False: pass both, "
            "or training=True to use the batch's own statistics"
        )
    check_vectors(x, **vectors)
