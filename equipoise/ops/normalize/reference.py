"""The plain formula: what every kernel must compute, in torch operations that anyone can read.

It is also what runs where kernels cannot: under ``torch.func``, forward AD, double backward,
tensor subclasses, other devices.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def axes_of(x: Tensor) -> tuple[list[int], list[int]]:
    """Give BatchNorm's reduced axes and the shape in which a channel vector broadcasts."""
    return [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)


def folded(x: Tensor, groups: int) -> tuple[Tensor, list[int]]:
    """Give ``x`` so that each statistic has axes of its own, and these axes.

    ``groups`` 0 shares statistics over the batch, else each sample's channels fall into groups.
    """
    if groups:
        return x.reshape(x.shape[0], groups, -1), [2]
    return x, axes_of(x)[0]


def moments(x: Tensor, axes: list[int], centred: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Give x - mean, the mean and the biased variance over some axes, to broadcast.

    The mean is taken twice: the second time of small numbers, so that no digit is lost where
    |mean| is large against the standard deviation.  Where it is not taken away (``centred``
    False) it is 0, and the variance is the mean square.
    """
    if not centred:
        square = (x * x).mean(axes, keepdim=True)
        return x, torch.zeros_like(square), square
    shift = x.detach().mean(axes, keepdim=True)
    rest = (x - shift).mean(axes, keepdim=True)
    deviation = (x - shift) - rest
    return deviation, shift + rest, (deviation * deviation).mean(axes, keepdim=True)


def activate(y: Tensor, activation: str | None, negative_slope: float) -> Tensor:
    """Apply the activation by torch's own operation."""
    if activation is None:
        return y
    if activation == "leaky_relu":
        return F.leaky_relu(y, negative_slope)
    return {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}[activation](y)


def then(y: Tensor, add: Tensor | None, activation: str | None, negative_slope: float) -> Tensor:
    """Add and activate what torch normalized."""
    y = y if add is None else y + add.to(y.dtype)
    return activate(y, activation, negative_slope)


def normalize(
    x, weight, bias, add, mean, variance, activation, negative_slope, eps, groups=0, centred=True
) -> tuple[Tensor, Tensor, Tensor]:
    """y = act((x - mean) / sqrt(variance + eps) * weight + bias + add).

    With ``mean`` None the input's own are used.  Returns y, mean and variance, flat.
    """
    _, shape = axes_of(x)
    wide = x if x.dtype == torch.float64 else x.float()
    if mean is None:
        deviation, mean, variance = moments(*folded(wide, groups), centred)
    else:
        mean, variance = mean.to(wide.dtype).view(shape), variance.to(wide.dtype).view(shape)
        deviation = wide - mean
    y = (deviation * torch.rsqrt(variance + eps)).reshape(x.shape)
    if weight is not None:
        y = y * weight.to(wide.dtype).view(shape)
    if bias is not None:
        y = y + bias.to(wide.dtype).view(shape)
    if add is not None:
        y = y + add
    y = activate(y, activation, negative_slope).to(x.dtype)
    return y, mean.flatten(), variance.flatten()


def moments_in_float64(x: Tensor, eps: float, stats: Tensor, groups=0, centred=True) -> None:
    """Write mean, biased variance and 1 / sqrt(variance + eps) taken in float64 into ``stats``."""
    plain, axes = folded(x.detach().double(), groups)
    _, mean, variance = (t.flatten() for t in moments(plain, axes, bool(centred)))
    # an infinite value has an infinite mean; its distance to that mean is no number
    mean = torch.where(mean.isnan(), plain.mean(axes).flatten(), mean)
    stats[0], stats[1], stats[2] = mean, variance, torch.rsqrt(variance + eps)


def update_by_torch(running_mean, running_var, stats, momentum, count) -> None:
    """Move the running buffers towards the batch's mean and unbiased variance, in place.

    ``momentum`` may be a tensor; ``stats`` is (2 or more, C): mean, biased variance.
    """
    unbiased = stats[1] * (count / (count - 1))
    for buffer, value in ((running_mean, stats[0]), (running_var, unbiased)):
        wide = buffer.to(value.dtype)
        buffer.copy_((1 - momentum) * wide + momentum * value)
