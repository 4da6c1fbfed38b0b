"""``group_norm``, ``instance_norm``: statistics of each sample's channels, in groups or alone."""

from functools import partial
from math import prod
from operator import index

import torch
import torch.nn.functional as F
from torch import Tensor

from equipoise._batch_norm import batch_norm
from equipoise._checks import (
    check_activation,
    check_floating,
    check_tensors,
    check_vectors,
    explain_transforms,
    fit,
    wanted_whole,
    widened,
)
from equipoise.ops import dispatch
from equipoise.ops.normalize import again_channels, op, reference
from equipoise.ops.normalize.layout import format_of
from equipoise.ops.normalize.library import whole
from equipoise.ops.normalize.reference import then


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
        An unknown activation, one value per group, an ``add`` that does not broadcast, a
        negative eps.
    RuntimeError
        Groups that do not divide the channels, vectors that are not (C,).
    NotImplementedError
        An input that is not floating point.

    Notes
    -----
    Wu and He, arXiv 1803.08494.  The error does not grow with \\|mean\\| / std, in any layout.

    Examples
    --------
    >>> x = torch.randn(2, 6, 5, 5)
    >>> group_norm(x, 3, activation="silu").shape
    torch.Size([2, 6, 5, 5])
    """
    if type(num_groups) is int and wanted_whole(input):
        extras = (activation, negative_slope, add)
        return _whole("group_norm", input, num_groups, weight, bias, eps, *extras)
    if add is None:
        how = (activation, negative_slope, eps, num_groups)
        y = again_channels.normalized(input, weight, bias, *how)
        if y is not None:
            return y
    num_groups = _check(input, num_groups, weight, bias, eps, activation)
    input, weight, bias = widened("group_norm", input, weight, bias)
    args = (input, num_groups, weight, bias, eps)
    return _with_statistics(args, activation, negative_slope, add)[0]


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
        One position per channel, an unknown activation, one running buffer without the other,
        an ``add`` that does not broadcast.
    RuntimeError
        Vectors whose length is not C, no running buffers where they are used.
    NotImplementedError
        An input that is not floating point.

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
    extras = {"activation": activation, "negative_slope": negative_slope, "add": add}
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined when use_input_stats is "
                "false: pass both, or use the samples' own statistics"
            )
        return batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps, **extras
        )
    if running_mean is None and running_var is None and wanted_whole(input):
        return _whole("instance_norm", input, 0, weight, bias, eps, *extras.values())
    check_tensors("instance_norm", input, running_mean=running_mean, running_var=running_var)
    if prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.size()}: "
            "the variance of one value is zero. Use group_norm or layer_norm over the channels."
        )
    channels = input.shape[1]
    if running_mean is None and running_var is None and add is None:
        how = (activation, negative_slope, eps, channels)
        y = again_channels.normalized(input, weight, bias, *how)
        if y is not None:
            return y
    _check(input, channels, weight, bias, eps, activation, "instance_norm")
    _check_buffers(input, running_mean, running_var)
    args = (input, channels, weight, bias, eps)
    # an empty batch has no statistics: torch's layer would make the buffers NaN
    if running_mean is None or input.numel() == 0:
        return _with_statistics(args, activation, negative_slope, add)[0]
    by_torch = partial(
        F.instance_norm, input, running_mean, running_var, weight, bias, True, momentum, eps
    )
    y, mean, variance = _with_statistics(args, activation, negative_slope, add, by_torch=by_torch)
    if mean is not None:
        buffers = (running_mean, running_var)
        _update(*buffers, mean, variance, momentum, prod(input.shape[2:]), by_torch)
    return y


def _within(name, input, groups, weight, bias, eps, activation, negative_slope, add):
    """Do what a norm does within ``_whole``."""
    extras = {"activation": activation, "negative_slope": negative_slope, "add": add}
    if name == "group_norm":
        return group_norm(input, groups, weight, bias, eps, **extras)
    return instance_norm(input, weight=weight, bias=bias, eps=eps, **extras)


_whole = whole(
    "group_norm",
    "(str name, Tensor input, int num_groups, Tensor? weight, Tensor? bias, float eps, "
    "str? activation, float negative_slope, Tensor? add) -> Tensor",
    _within,
)


def filter_response_norm(input, weight, bias, eps, activation, negative_slope, add) -> Tensor:
    """Divide each channel of each sample by its root mean square; see the layer."""
    check_activation(activation)
    check_tensors("filter_response_norm", input)
    check_floating(input, "filter_response_norm")
    channels = input.shape[1] if input.dim() > 1 else 0
    if input.dim() < 2 or channels != weight.numel():
        raise ValueError(
            f"FilterResponseNorm expects (N, C, ...) with C = {weight.numel()} on axis 1; the "
            f"input is {tuple(input.shape)}: set num_channels to its channels"
        )
    if add is None:
        how = (activation, negative_slope, eps, channels, False)
        y = again_channels.normalized(input, weight, bias, *how)
        if y is not None:
            return y
    args = (input, channels, weight, bias, eps)
    return _with_statistics(args, activation, negative_slope, add, centred=False)[0]


def _with_statistics(args, activation, negative_slope, add, centred=True, by_torch=None):
    """Give y, and the flat mean and variance of every group, or None where torch took them.

    ``by_torch`` is what torch does instead of ``group_norm``.  It moves the running buffers
    itself, and so the statistics are wanted exactly.
    """
    x, groups, weight, bias, eps = args
    add = fit(add, x)
    # an exported program holds torch's own operators: it runs where we are not installed
    exporting = torch.compiler.is_exporting()
    # torch's gradient of the weight is NaN where there are channels without positions
    empty = x.numel() == 0 and not exporting
    how = dispatch.choose(
        x, (weight, bias), add, for_torch=exporting or empty, aten=centred and not empty,
        small_calls=centred and by_torch is None,
    )  # fmt: skip
    if how == "aten":
        y = by_torch() if by_torch else F.group_norm(*args)
        return then(y, add, activation, negative_slope), None, None
    if how == "formula":
        return _by_formula(args, activation, negative_slope, add, centred)
    if how == "small":
        y = _small(args)
        if y is not None:
            return then(y, add, activation, negative_slope), None, None
        dispatch.note(dispatch.LOST)
    if add is None and by_torch is None:
        how = (activation, negative_slope, eps, groups, centred)
        again_channels.keep_call(x, weight, bias, None, None, *how)
    call = (x, weight, bias, add, None, activation, negative_slope, eps, groups, centred)
    tracked = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias, add)
    )
    y, stats = op.Normalize.apply(*call) if tracked else op.forward(*call)
    return y, stats[0], stats[1]


def _small(args):
    """Let aten normalize; give None where its statistics lost digits."""
    x, groups, weight, bias, eps = args
    n, channels = x.shape[:2]
    if groups == channels:
        # each channel of each sample as a channel of its own
        weight, bias = (v if v is None else v.repeat(n) for v in (weight, bias))
        wide = x.reshape(1, n * channels, -1)
        y, mean, invstd = torch.native_batch_norm(wide, weight, bias, None, None, True, 0.0, eps)
        y = y.view(x.shape)
    else:
        positions = x.numel() // (n * channels)
        y, mean, invstd = torch.native_group_norm(
            x, weight, bias, n, channels, positions, groups, eps
        )
    return y if dispatch.near(mean.detach().numpy(), invstd.detach().numpy()) else None


def _by_formula(args, activation, negative_slope, add, centred):
    x, groups, weight, bias, eps = args
    # nothing has no statistics; any will do
    mean = x.new_zeros(x.shape[1]) if x.numel() == 0 else None
    y, mean, variance = reference.normalize(
        x, weight, bias, add, mean, mean, activation, negative_slope, eps, groups, centred
    )
    if not op.transforming():
        y = y.contiguous(memory_format=format_of(x))
    return y, mean.detach(), variance.detach()


def _update(running_mean, running_var, mean, variance, momentum, count, by_torch):
    """Move the running buffers towards the means over samples, in place."""
    with explain_transforms("InstanceNorm", "use"), torch.no_grad():
        if not torch.compiler.is_compiling() and op.transforming():
            # only torch's own operator may write through a transform
            by_torch()
            return
        channels = running_mean.numel()
        moved = ((running_mean, mean, 1.0), (running_var, variance, count / (count - 1)))
        for buffer, values, factor in moved:
            value = values.view(-1, channels).mean(0) * factor
            buffer.copy_((1 - momentum) * buffer.to(value.dtype) + momentum * value)


def _check(x, groups, weight, bias, eps, activation, name="group_norm") -> int:
    check_activation(activation)
    check_tensors(name, x, weight=weight, bias=bias)
    check_floating(x, name)
    if x.dim() < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {x.dim()}: {name} "
            "normalizes (N, C, ...)"
        )
    if name == "group_norm":
        groups = _check_groups(x, groups)
    if eps < 0:
        raise ValueError(f"eps is not negative, for it is added to a variance; got {eps}")
    if groups and x.shape[0] * (x.shape[1] // groups) * prod(x.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {x.size()} in "
            f"{groups} groups: the variance of one value is zero. Use fewer groups."
        )
    check_vectors(x, weight=weight, bias=bias)
    return groups


def _check_groups(x, groups) -> int:
    if isinstance(groups, bool):
        raise TypeError(f"num_groups must be int, not bool; got {groups}: give a divisor of C")
    groups = groups if torch.compiler.is_compiling() else index(groups)
    if groups < 1:
        raise RuntimeError(
            f"Expected num groups to be greater than 0, got {groups}: give a divisor of "
            f"{x.shape[1]}, the number of channels"
        )
    if x.shape[1] % groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(x.shape)} and num_groups={groups}: choose a divisor of {x.shape[1]}"
        )
    return groups


def _check_buffers(x, running_mean, running_var):
    if (running_mean is None) != (running_var is None):
        raise ValueError(
            "running_mean and running_var must either both be None or neither be None: they are "
            "updated together"
        )
    check_vectors(x, running_mean=running_mean, running_var=running_var)
