"""LayerNorm, RMSNorm, LayerNorm2d: statistics of each row, or of each position's channels."""

from typing import Any

from torch import Tensor, nn

from equipoise import functional as F
from equipoise._checks import fit
from equipoise.nn.norm import Norm
from equipoise.ops.normalize.layout import format_of
from equipoise.ops.normalize.op import transforming


class LayerNorm(Norm, nn.LayerNorm):
    """Normalize over the last axes, after a residual and before an activation.

        s = x + residual
        y = act((s - mean) / sqrt(var + eps) * weight + bias)

    Mean and biased variance are those of the last axes, in training and evaluation alike.
    Drop-in for ``torch.nn.LayerNorm``: the same constructor and ``state_dict``, and
    ``isinstance`` holds.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The extents of the last axes.
    eps : float
        Added to the variance.
    elementwise_affine, bias : bool
        Learn ``weight`` and ``bias``, of ``normalized_shape`` each.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, residual, output : (\\*, \\*normalized_shape), float32, float64, bfloat16 or float16.
    Sums are taken in short runs of the compute type (float32 for half) and merged in float64.

    Raises
    ------
    ValueError
        A residual that does not broadcast to the input, an unknown activation.
    RuntimeError
        An input whose last axes are not ``normalized_shape``.

    Notes
    -----
    Ba, Kiros and Hinton, arXiv 1607.06450.

    Examples
    --------
    >>> import torch
    >>> layer = LayerNorm(8)
    >>> x, stream = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    >>> y, stream = layer(x, residual=stream, return_residual=True)
    >>> y.shape, stream.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 8]))
    """

    def forward(self, input: Tensor, *, residual: Tensor | None = None, return_residual=False):
        """Normalize ``input + residual``; with ``return_residual`` give that sum as well."""
        if self._traced(input, residual):
            return self._as_leaf(
                input, residual=residual, return_residual=True if return_residual else None
            )
        return F.layer_norm(
            input, self.normalized_shape, self.weight, self.bias, self.eps,
            residual=residual, return_residual=return_residual, **self._extras(),
        )  # fmt: skip


class RMSNorm(Norm, nn.RMSNorm):
    """Divide by the root mean square of the last axes, after a residual, before an activation.

        s = x + residual
        y = act(s / sqrt(mean(s²) + eps) * weight)

    Drop-in for ``torch.nn.RMSNorm``: the same constructor and ``state_dict``, and ``isinstance``
    holds.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The extents of the last axes.
    eps : float or None
        Added to the mean square; None is the smallest step of the type that is computed in.
    elementwise_affine : bool
        Learn ``weight``, of ``normalized_shape``.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    x, residual, output : (\\*, \\*normalized_shape), float32, float64, bfloat16 or float16.
    Sums are taken in short runs of the compute type (float32 for half) and merged in float64.

    Raises
    ------
    ValueError
        A residual that does not broadcast to the input, an unknown activation.
    RuntimeError
        An input whose last axes are not ``normalized_shape``.

    Notes
    -----
    Zhang and Sennrich, arXiv 1910.07467.

    Examples
    --------
    >>> import torch
    >>> layer = RMSNorm(8)
    >>> y = layer(torch.randn(2, 5, 8))
    >>> bool(((y * y).mean(-1) - 1).abs().max() < 1e-4)
    True
    """

    def forward(self, x: Tensor, *, residual: Tensor | None = None, return_residual=False):
        """Normalize ``x + residual``; with ``return_residual`` give that sum as well."""
        if self._traced(x, residual):
            return self._as_leaf(
                x, residual=residual, return_residual=True if return_residual else None
            )
        return F.rms_norm(
            x, self.normalized_shape, self.weight, self.eps,
            residual=residual, return_residual=return_residual, **self._extras(),
        )  # fmt: skip


class LayerNorm2d(LayerNorm):
    """Normalize each position of an image over its channels, in the layout that it has.

        s = x + residual
        y = act((s - mean) / sqrt(var + eps) * weight + bias)

    What ``LayerNorm(C)`` does on (N, H, W, C), for (N, C, H, W): no axis is moved by the caller,
    contiguous images stay contiguous and channels_last ones channels_last.  A
    ``torch.nn.LayerNorm`` of shape (C,): its ``state_dict`` loads both ways.

    Parameters
    ----------
    num_channels : int
        C, the number of channels.
    eps : float
        Added to the variance.
    elementwise_affine, bias : bool
        Learn ``weight`` and ``bias``, (C,) each.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, residual, output : (N, C, H, W), float32, float64, bfloat16 or float16.

    Raises
    ------
    ValueError
        An input that is not (N, C, H, W), a residual that does not broadcast to it, an unknown
        activation.
    RuntimeError
        An input with another number of channels.

    Notes
    -----
    Ba, Kiros and Hinton, arXiv 1607.06450; in ConvNeXt, arXiv 2201.03545.

    Examples
    --------
    >>> import torch
    >>> layer = LayerNorm2d(6)
    >>> y = layer(torch.randn(2, 6, 5, 5))
    >>> bool((y.mean(1).abs() < 1e-5).all())
    True
    """

    def __init__(self, num_channels: int, *args, **kwargs):
        if isinstance(num_channels, bool) or not isinstance(num_channels, int) or num_channels < 1:
            raise ValueError(f"num_channels must be a positive int; got {num_channels!r}")
        super().__init__(num_channels, *args, **kwargs)

    def forward(self, input: Tensor, *, residual: Tensor | None = None, return_residual=False):
        """Normalize ``input + residual``; with ``return_residual`` give that sum as well."""
        if self._traced(input, residual):
            return self._as_leaf(
                input, residual=residual, return_residual=True if return_residual else None
            )
        self._check_image(input)
        residual = fit(residual, input, "residual", "input")
        found: Any = super().forward(
            input.permute(0, 2, 3, 1),
            residual=None if residual is None else residual.permute(0, 2, 3, 1),
            return_residual=return_residual,
        )
        if not return_residual:
            return _as_image(found, input)
        return tuple(_as_image(t, input) for t in found)

    def _check_image(self, input: Tensor):
        (channels,) = self.normalized_shape
        if input.dim() != 4:
            raise ValueError(
                f"LayerNorm2d normalizes (N, C, H, W): expected 4D input (got {input.dim()}D input "
                f"of shape {tuple(input.shape)}); add or flatten axes, or use LayerNorm where the "
                "channels are last"
            )
        if input.shape[1] != channels:
            raise RuntimeError(
                f"LayerNorm2d expects {channels} channels on axis 1; the input is "
                f"{tuple(input.shape)}: set num_channels to its channels"
            )

    def extra_repr(self) -> str:
        """Say the number of channels instead of a shape."""
        (channels,) = self.normalized_shape
        return super().extra_repr().replace(f"({channels},)", str(channels), 1)


def _as_image(y: Tensor, like: Tensor) -> Tensor:
    """Give (N, H, W, C) as (N, C, H, W) in the memory format of ``like``."""
    y = y.permute(0, 3, 1, 2)
    return y if transforming() else y.contiguous(memory_format=format_of(like))
