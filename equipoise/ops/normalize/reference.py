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


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give x - mean, the mean and the biased variance of each channel.

    The mean is taken twice: the second time of small numbers, so that no digit is lost where
    |mean| is large against the standard deviation.
    """
    axes, _ = axes_of(x)
    shift = x.detach().mean(axes, keepdim=True)
    rest = (x - shift).mean(axes, keepdim=True)
    centred = (x - shift) - rest
    variance = (centred * centred).mean(axes, keepdim=True)
    return centred, (shift + rest).flatten(), variance.flatten()


def activate(y: Tensor, activation: str | None, negative_slope: float) -> Tensor:
    """Apply the activation by torch's own operation."""
    if activation is None:
        return y
    if activation == "leaky_relu":
        return F.leaky_relu(y, negative_slope)
    return {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}[activation](y)


def normalize(
    x, weight, bias, add, mean, variance, activation, negative_slope, eps
) -> tuple[Tensor, Tensor, Tensor]:
    """y = act((x - mean) / sqrt(variance + eps) * weight + bias + add).

    With ``mean`` None the batch's own are used.  Returns y, mean and variance.
    """
    _, shape = axes_of(x)
    wide = x if x.dtype == torch.float64 else x.float()
    if mean is None:
        centred, mean, variance = moments(wide)
    else:
        centred = wide - mean.to(wide.dtype).view(shape)
    y = centred * torch.rsqrt(variance.to(wide.dtype).view(shape) + eps)
    if weight is not None:
        y = y * weight.to(wide.dtype).view(shape)
    if bias is not None:
        y = y + bias.to(wide.dtype).view(shape)
    if add is not None:
        y = y + add
    return activate(y, activation, negative_slope).to(x.dtype), mean, variance


def moments_in_float64(x: Tensor, eps: float, stats: Tensor) -> None:
    """Write mean, biased variance and 1 / sqrt(variance + eps) taken in float64 into ``stats``."""
    wide = x.detach().double()
    _, mean, variance = moments(wide)
    # an infinite value has an infinite mean; its distance to that mean is no number
    mean = torch.where(mean.isnan(), wide.mean(axes_of(x)[0]), mean)
    stats[0], stats[1], stats[2] = mean, variance, torch.rsqrt(variance + eps)


def update_by_torch(running_mean, running_var, stats, momentum, count) -> None:
    """Move the running buffers towards the batch's mean and unbiased variance, in place.

    ``momentum`` may be a tensor; ``stats`` is (2 or more, C): mean, biased variance.
    """
    unbiased = stats[1] * (count / (count - 1))
    for buffer, value in ((running_mean, stats[0]), (running_var, unbiased)):
        wide = buffer.to(value.dtype)
        buffer.copy_((1 - momentum) * wide + momentum * value)
