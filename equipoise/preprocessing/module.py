"""A fitted scaler as a layer."""

import numpy as np
from torch import nn

from equipoise.errors import UsageError
from equipoise.nn.inputs import MinMax, OnColumns, Standardize


def to_module(scaler, channel_axis: int = 1) -> nn.Module:
    """Give the layer that scales as ``scaler.transform`` does, to one rounding.

    A `nn.Standardize`, or a `nn.MinMax`; around it what passes columns that the scaler passes.
    Its inputs have all columns of the fit.

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
