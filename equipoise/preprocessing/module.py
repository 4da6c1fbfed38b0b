"""A fitted scaler as a layer."""

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.errors import UsageError
from equipoise.nn.inputs import MinMax, OnColumns, Standardize, axis_of, float_dtype


def to_module(scaler, channel_axis: int = 1) -> nn.Module:
    """Give the layer that scales as ``scaler.transform`` does, to one rounding.

    A `nn.Standardize`, or a `nn.MinMax`; around it what passes columns that the scaler passes.
    Of a Normalizer, a `UnitNorm`.  Its inputs have all columns of the fit.

    Raises
    ------
    UsageError
        ``columns`` are scaled along another axis than the last of a matrix.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from equipoise.preprocessing import MaxAbsScaler
    >>> to_module(MaxAbsScaler().fit(np.array([[4.0], [2.0]])))(torch.tensor([[2.0]]))
    tensor([[0.5000]])
    """
    if scaler._chosen is not None and channel_axis not in (1, -1):
        raise UsageError(
            "a scaler of some columns becomes a layer for matrices only; got "
            f"channel_axis={channel_axis}"
        )
    if hasattr(scaler, "norm"):
        return UnitNorm(scaler.norm, getattr(scaler, "n_features_in_", None), channel_axis)
    affine, chosen = scaler._affine(), scaler._chosen
    shift, scale = affine.shift, affine.scale
    if chosen is not None:
        # the other columns' values are dropped again
        shift, scale = (np.full(scaler.n_features_in_, fill) for fill in (0.0, 1.0))
        shift[chosen], scale[chosen] = affine.shift, affine.scale
    layer = _layer(scaler, affine, shift, scale, channel_axis)
    return layer if chosen is None else OnColumns(layer, chosen)


def _layer(scaler, affine, shift, scale, axis) -> nn.Module:
    clips = bool(np.isfinite(affine.low))
    if hasattr(scaler, "feature_range"):
        return MinMax.of(shift, scale, scaler.feature_range, clips, axis)
    return (Clipped if clips else Standardize).of(shift, scale, axis)


class Clipped(Standardize):
    """`Standardize` within [-1, 1]: what MaxAbsScaler does with ``clip=True``."""

    def forward(self, x):
        """Give (x - mean) / scale, clipped."""
        return super().forward(x).clamp(-1, 1)


class UnitNorm(nn.Module):
    """Divide the channels at each place by their norm, as `Normalizer` does with rows.

    The arithmetic is float64, of values divided by the largest: norms neither overflow nor
    underflow.  Zeros stay.  It knows no statistics.

    Parameters
    ----------
    norm : {"l1", "l2", "max"}
    num_features : int or None
        How many channels there must be; None is any number.
    channel_axis : int

    Examples
    --------
    >>> UnitNorm("l2")(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """

    def __init__(self, norm: str, num_features: int | None = None, channel_axis: int = 1):
        super().__init__()
        self.norm, self.num_features, self.channel_axis = norm, num_features, channel_axis

    def forward(self, x: Tensor) -> Tensor:
        """Give x / norm(x)."""
        axis = axis_of(self, x, self.num_features)
        if x.shape[axis] == 0:
            return x.to(float_dtype(x))
        values = x.double()
        largest = values.abs().amax(axis, keepdim=True)
        values = values / torch.where(largest == 0, 1.0, largest)
        if self.norm == "l1":
            norms = values.abs().sum(axis, keepdim=True)
        elif self.norm == "l2":
            norms = values.square().sum(axis, keepdim=True).sqrt()
        else:
            norms = torch.ones_like(largest)
        return (values / torch.where(norms == 0, 1.0, norms)).to(float_dtype(x))

    def extra_repr(self) -> str:
        """Say which norm, of how many channels, and where they lie."""
        return f"{self.norm!r}, {self.num_features}, channel_axis={self.channel_axis}"
