"""``group_norm``, ``instance_norm``: statistics of each sample's channels, in groups or alone."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from equipoise._batch_norm import batch_norm
from equipoise._checks import (
    check_activation,
    check_backend,
    check_floating,
    explain_transforms,
    fit,
    refuse_vector,
)
from equipoise.ops import dispatch
from equipoise.ops.normalize import op, reference
from equipoise.ops.normalize.layout import format_of


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
    add: Tensor | None = None,
) -> Tensor:
    """Normalize each sample's channels in groups.

        y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    Mean and biased variance are those of a group of C / num_groups neighbouring channels over
    all positions of one sample.  torch's arguments, and keyword-only extras.

    Parameters
    ----------
    input : Tensor, (N, C, \\*)
        float32, float64, bfloat16 or float16, in any layout; channels_last stays so.
    num_groups : int
        Divides C; 1 takes all channels together, C each alone.
    weight, bias : Tensor or None, (C,)
        Scale and offset of each channel.
    eps : float
        Added to the variance.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused, with ``negative_slope`` for leaky_relu.
    add : Tensor or None
        Added after the norm and before the activation; broadcasts to the input.

    Returns
    -------
    Tensor
        Of the input's shape, dtype and memory format.  Half precision is computed in float32.

    Raises
    ------
    ValueError
        An unknown activation, one value per group, an ``add`` that does not broadcast.
    RuntimeError
        Groups that do not divide the channels, vectors whose length is not C.

    Notes
    -----
    Wu and He, arXiv 1803.08494.  The error does not grow with \\|mean\\| / std, in any layout.

    Examples
    --------
    >>> x = torch.randn(2, 6, 5, 5)
    >>> group_norm(x, 3, activation="silu").shape
    torch.Size([2, 6, 5, 5])
    """
    _check(input, num_groups, weight, bias, eps, activation)
    args = (input, num_groups, weight, bias, eps)
    return _run(args, activation, negative_slope, add, True)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
    add: Tensor | None = None,
) -> Tensor:
    """Normalize each channel of each sample over its positions.

        y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    With ``use_input_stats`` each sample's own statistics, which then move the running buffers,
    if there are any; else the running ones.  torch's arguments, and keyword-only extras as for
    ``batch_norm``.

    Parameters
    ----------
    input : Tensor, (N, C, \\*)
        float32, float64, bfloat16 or float16, in any layout; channels_last stays so.
    running_mean, running_var : Tensor or None, (C,)
        The mean over samples of means and unbiased variances.
    weight, bias : Tensor or None, (C,)
        Scale and offset of each channel.
    use_input_stats : bool
        Whether the statistics are the sample's own.
    momentum : float
        Weight of the newest batch in the buffers.
    eps : float
        Added to the (biased) variance.

    Returns
    -------
    Tensor
        Of the input's shape, dtype and memory format.

    Raises
    ------
    ValueError
        One position per channel, an unknown activation, no running buffers where they are used.
    RuntimeError
        Vectors whose length is not C.

    Notes
    -----
    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022.

    Examples
    --------
    >>> x = torch.randn(2, 3, 5, 5)
    >>> y = instance_norm(x)
    >>> bool((y.mean((2, 3)).abs() < 1e-5).all())
    True
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(
                "Expected running_mean and running_var to be not None when use_input_stats=False: "
                "pass both, or use the samples' own statistics"
            )
        return batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps,
            activation=activation, negative_slope=negative_slope, add=add,
        )  # fmt: skip
    channels = input.shape[1] if input.dim() > 1 else 0
    _check(input, channels, weight, bias, eps, activation, "instance_norm")
    if prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.size()}: "
            "the variance of one value is zero. Use group_norm or layer_norm over the channels."
        )
    buffers = [b for b in (running_mean, running_var) if b is not None]
    for name, b in (("running_mean", running_mean), ("running_var", running_var)):
        if b is not None and b.numel() != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {b.numel()}: one a channel"
            )
    args = (input, channels, weight, bias, eps)
    if not buffers:
        return _run(args, activation, negative_slope, add, True)
    y, mean, variance = _with_statistics(args, activation, negative_slope, add)
    count = prod(input.shape[2:])
    moved = (
        (running_mean, mean, 1.0),
        (running_var, variance, count / (count - 1)),
    )
    with explain_transforms(), torch.no_grad():
        for buffer, values, factor in moved:
            if buffer is not None:
                value = values.view(-1, channels).mean(0) * factor
                buffer.copy_((1 - momentum) * buffer.to(value.dtype) + momentum * value)
    return y


def _run(args, activation, negative_slope, add, centred):
    return _with_statistics(args, activation, negative_slope, add, centred)[0]


def _with_statistics(args, activation, negative_slope, add, centred=True):
    """Give y, and the flat mean and variance of every group where our code took them."""
    x, groups, weight, bias, eps = args
    add = fit(add, x)
    extras = (activation, negative_slope)
    if x.layout != torch.strided or (centred and _for_torch(x)):
        return _by_torch(args, *extras, add)
    if not torch.compiler.is_compiling():
        backend = dispatch.forced()
        if backend == "aten" and centred:
            return _by_torch(args, *extras, add)
        check_backend(x, backend)
        if backend == "reference" or not op.plain_tensors(x, weight, bias, add):
            return _by_formula(args, *extras, add, centred)
    if not dispatch.kernel_runs(x) or x.numel() == 0:
        return _by_formula(args, *extras, add, centred)
    call = (x, weight, bias, add, None, *extras, eps, groups, centred)
    tracked = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias, add)
    )
    y, stats = op.Normalize.apply(*call) if tracked else op.forward(*call)
    return y, stats[0], stats[1]


def _for_torch(x: Tensor) -> bool:
    # an exported program holds torch's own operator: it runs where we are not installed
    return x.numel() == 0 or torch.compiler.is_exporting()


def _by_torch(args, activation, negative_slope, add):
    x, groups, weight, bias, eps = args
    y = F.group_norm(x, groups, weight, bias, eps)
    y = reference.activate(y if add is None else y + add, activation, negative_slope)
    _, mean, variance = reference.moments(x.detach().double(), groups)
    return y, mean.flatten(), variance.flatten()


def _by_formula(args, activation, negative_slope, add, centred):
    x, groups, weight, bias, eps = args
    y, mean, variance = reference.normalize(
        x, weight, bias, add, None, None, activation, negative_slope, eps, groups, centred
    )
    if not op.transforming():
        y = y.contiguous(memory_format=format_of(x))
    return y, mean.detach(), variance.detach()


def _check(x, groups, weight, bias, eps, activation, name="group_norm"):
    check_activation(activation)
    check_floating(x, name)
    if x.dim() < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {x.dim()}: {name} "
            "normalizes (N, C, ...)"
        )
    if not isinstance(groups, int) or groups < 1 or x.shape[1] % groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(x.shape)} and num_groups={groups}: choose a divisor of {x.shape[1]}"
        )
    if eps < 0:
        raise ValueError(f"eps is not negative, for it is added to a variance; got {eps}")
    if x.numel() and x.shape[0] * (x.shape[1] // groups) * prod(x.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {x.size()} in "
            f"{groups} groups: the variance of one value is zero. Use fewer groups."
        )
    for vector, v in (("weight", weight), ("bias", bias)):
        if v is not None and not (
            v.numel() == x.shape[1] and v.device == x.device and v.is_floating_point()
        ):
            refuse_vector(x, vector, v)
