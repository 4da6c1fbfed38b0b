"""What a fitted scaler can leave as: a file, or a layer of a model."""

import os

from sklearn.utils.validation import check_is_fitted
from torch import nn


class Saved:
    """Mixin of `save`."""

    def save(self, path: str | os.PathLike) -> None:
        """Write the scaler to a safetensors file, whole or not at all; `load` reads it.

        Raises
        ------
        ValueError
            It is not fitted, or the file cannot be written.
        """
        from equipoise.preprocessing import saved

        saved.save(self, path)


class Shipped(Saved):
    """Mixin of `save` and `to_module`."""

    def to_module(self, channel_axis: int = 1) -> nn.Module:
        """Give a layer that scales as `transform` does, to one rounding.

        Parameters
        ----------
        channel_axis : int
            Where the columns of the fit lie in the layer's input: 1 in (N, C) and (N, C, H, W).

        Returns
        -------
        equipoise.nn.Standardize or equipoise.nn.MinMax, within what passes other columns; of a
        Normalizer, which needs no fit, what divides by the norm of the channels.
        """
        from equipoise.preprocessing import module

        check_is_fitted(self)
        return module.to_module(self, channel_axis)
