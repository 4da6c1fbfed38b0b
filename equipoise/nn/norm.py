"""What all norm layers share: the fused extras in the constructor, ``repr``, and tracing."""

from typing import Any

import torch.fx
from torch import nn
from torch.fx.proxy import TraceError

from equipoise._checks import check_activation


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

    def _extras(self) -> dict[str, Any]:
        return {"activation": self.activation, "negative_slope": self.negative_slope}

    def _traced(self, *tensors) -> bool:
        # a loop: any() over a generator takes twice as long, in each call
        for t in tensors:
            if isinstance(t, torch.fx.Proxy):
                return True
        return False

    def _as_leaf(self, input, **extras) -> Any:
        # torch.fx takes the modules of torch.nn as leaves by their package's name; so are we
        extras = {name: value for name, value in extras.items() if value is not None}
        tensors = (input, *extras.values())
        tracer: Any = next(t.tracer for t in tensors if isinstance(t, torch.fx.Proxy))
        path = tracer.path_of_module(self)
        if not path:
            raise TraceError(
                f"torch.fx keeps {type(self).__name__} whole, as a module of what is traced, and "
                "here it is the traced module itself: trace torch.nn.Sequential(layer)"
            )
        return tracer.create_proxy("call_module", path, (input,), extras)


class Lazy(Norm):
    """Mixin of the layers that take the number of channels from their first input."""

    def initialize_parameters(self, input, **extras):
        """Take ``num_features`` from the first input, whatever else forward is given."""
        super().initialize_parameters(input)  # pyright: ignore[reportAttributeAccessIssue]


def wrong_rank(layer, input, wanted: str, hint: str, family: str = "BatchNorm"):
    """Say which ranks a layer takes."""
    raise ValueError(
        f"{type(layer).__name__} normalizes {wanted}: expected {hint} input (got {input.dim()}D "
        f"input of shape {tuple(input.shape)}); add or flatten axes, or use the {family} of "
        "that rank"
    )
