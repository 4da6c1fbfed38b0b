"""Torch's own layers with the extras composed from torch's operations.

They stand in for equipoise's classes to validate the tests themselves, and are their oracle.
"""

import torch
import torch.nn.functional as F

ACTIVATIONS = (None, "relu", "leaky_relu", "silu", "gelu")


def activate(y, activation=None, negative_slope=0.01):
    """Apply an activation by name with torch's own function."""
    if activation is None:
        return y
    if activation == "leaky_relu":
        return F.leaky_relu(y, negative_slope)
    return getattr(F, activation)(y)


def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    *,
    activation=None,
    negative_slope=0.01,
    add=None,
):
    """Compose torch's batch_norm, the addition and the activation."""
    y = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return activate(y if add is None else y + add, activation, negative_slope)


class _Extras:
    def __init__(self, *args, activation=None, negative_slope=0.01, **kwargs):
        super().__init__(*args, **kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {ACTIVATIONS}, got {activation!r}")
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, input, *, add=None):
        y = super().forward(input)
        return activate(y if add is None else y + add, self.activation, self.negative_slope)

    def extra_repr(self):
        extra = "" if self.activation is None else f", activation={self.activation!r}"
        return super().extra_repr() + extra


class BatchNorm1d(_Extras, torch.nn.BatchNorm1d):
    """Stand-in of equipoise.nn.BatchNorm1d."""


class BatchNorm2d(_Extras, torch.nn.BatchNorm2d):
    """Stand-in of equipoise.nn.BatchNorm2d."""


class BatchNorm3d(_Extras, torch.nn.BatchNorm3d):
    """Stand-in of equipoise.nn.BatchNorm3d."""


class _Lazy(_Extras):
    # the hook that materialises gets all that forward gets
    def initialize_parameters(self, input, *, add=None):
        super().initialize_parameters(input)


class LazyBatchNorm1d(_Lazy, torch.nn.LazyBatchNorm1d):
    """Stand-in of equipoise.nn.LazyBatchNorm1d."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_Lazy, torch.nn.LazyBatchNorm2d):
    """Stand-in of equipoise.nn.LazyBatchNorm2d."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_Lazy, torch.nn.LazyBatchNorm3d):
    """Stand-in of equipoise.nn.LazyBatchNorm3d."""

    cls_to_become = BatchNorm3d
