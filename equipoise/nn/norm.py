"""What all norm layers share: the fused extras in the constructor, forward and ``repr``."""

from collections.abc import Callable
from typing import cast

import torch
import torch.fx
from torch import Tensor, nn

from equipoise import functional as F
from equipoise._checks import check_activation, explain_transforms
from equipoise.ops.normalize.op import transforming


class Norm(nn.Module):
    """Mixin that adds ``activation`` and ``negative_slope`` to one of torch's norm classes."""

    activation: str | None = None
    negative_slope: float = 0.01

    def __init__(self, *args, activation=None, negative_slope=0.01, **kwargs):
        check_activation(activation)
        super().__init__(*args, **kwargs)
        self.activation = activation
        self.negative_slope = float(negative_slope)

    def extra_repr(self) -> str:
        """Give torch's text, then the extras that are set."""
        text = super().extra_repr()
        if self.activation is not None:
            text += f", activation={self.activation!r}"
        if self.activation == "leaky_relu":
            text += f", negative_slope={self.negative_slope}"
        return text


class BatchStatistics(Norm):
    """Forward of the BatchNorm family: the batch's statistics, or the running ones."""

    # what torch's classes beside this mixin hold
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    weight: Tensor
    bias: Tensor
    momentum: float | None
    eps: float
    track_running_stats: bool
    _check_input_dim: Callable[[Tensor], None]

    def forward(self, input: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Normalize ``input``; ``add`` is added after the norm and before the activation."""
        if isinstance(input, torch.fx.Proxy):
            return cast(Tensor, self._as_leaf(input, add))
        self._check_input_dim(input)
        training = self.training
        tracks = training and self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        if tracks and self.num_batches_tracked is not None:
            _count_batch(self.num_batches_tracked)
            if self.momentum is None:
                momentum = _average_factor(self.num_batches_tracked)
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(
            input,
            mean if not training or tracks else None,
            variance if not training or tracks else None,
            self.weight,
            self.bias,
            training or (mean is None and variance is None),
            momentum,
            self.eps,
            activation=self.activation,
            negative_slope=self.negative_slope,
            add=add,
        )

    def _as_leaf(self, input, add):
        # torch.fx takes the modules of torch.nn as leaves by their package's name; so are we
        tracer, extras = input.tracer, {} if add is None else {"add": add}
        return tracer.create_proxy("call_module", tracer.path_of_module(self), (input,), extras)


def _count_batch(count: Tensor) -> None:
    if torch.compiler.is_compiling() or not transforming():
        count.add_(1)
    else:
        with explain_transforms():
            count.add_(1)


def _average_factor(count: Tensor) -> float | Tensor:
    # tensor arithmetic compiles and exports where float() would break the graph
    return 1.0 / count.double() if torch.compiler.is_compiling() else 1.0 / float(count)
