"""GroupNorm, the InstanceNorms, FilterResponseNorm: statistics of each sample's channels."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from equipoise import functional as F
from equipoise._checks import fit
from equipoise._group_norm import filter_response_norm
from equipoise.nn.norm import Lazy, Norm, wrong_rank


class GroupNorm(Norm, nn.GroupNorm):
    """Normalize each sample's channels in groups.

        y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    Mean and biased variance are taken of each sample over C / num_groups neighbouring channels
    and all positions, in training and evaluation alike.  Drop-in for ``torch.nn.GroupNorm``: the
    same constructor and ``state_dict``, and ``isinstance`` holds.

    Parameters
    ----------
    num_groups : int
        Divides num_channels; 1 takes all channels together, num_channels each alone.
    num_channels : int
        C, the number of channels.
    eps : float
        Added to the variance.
    affine, bias : bool
        Learn ``weight`` and ``bias``, (C,) each.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, add, output : (N, C, \\*), float32, float64, bfloat16 or float16; the output keeps the
    input's memory format.  Sums are taken in short runs of the compute type (float32 for half)
    and merged in float64.

    Raises
    ------
    ValueError
        num_groups that does not divide num_channels, one value per group, an unknown activation.
    RuntimeError
        An input with another number of channels.

    Notes
    -----
    Wu and He, arXiv 1803.08494.

    Examples
    --------
    >>> import torch
    >>> layer = GroupNorm(2, 6, activation="silu")
    >>> layer(torch.randn(8, 6, 5, 5)).shape
    torch.Size([8, 6, 5, 5])
    """

    def __init__(self, num_groups: int, num_channels: int, *args, **kwargs):
        if not hasattr(num_groups, "__index__"):
            raise TypeError(
                f"num_groups must be int, not {type(num_groups).__name__}; got {num_groups!r}: "
                f"give a divisor of num_channels ({num_channels})"
            )
        if num_groups < 1:
            raise ValueError(
                f"num_groups ({num_groups}) must be at least 1, and divide num_channels "
                f"({num_channels})"
            )
        super().__init__(num_groups, num_channels, *args, **kwargs)

    def forward(self, input: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Normalize ``input``; ``add`` is added after the norm and before the activation."""
        if self._traced(input, add):
            return self._as_leaf(input, add=add)
        if not self.affine and input.dim() > 1 and input.shape[1] != self.num_channels:
            warnings.warn(
                f"input's size at dim=1, {input.shape[1]}, does not match num_channels, "
                f"{self.num_channels}, which is not used because affine=False: set it to the "
                "number of channels",
                stacklevel=2,
            )
        return F.group_norm(
            input, self.num_groups, self.weight, self.bias, self.eps, add=add, **self._extras()
        )


_DOC = """Normalize each channel of each sample over its positions.

    y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    Mean and variance are those of one channel of one sample; with ``track_running_stats`` the
    running ones are used in evaluation.  Drop-in for ``torch.nn.{name}``: the same constructor,
    buffers and ``state_dict``, and ``isinstance`` holds.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the (biased) variance.
    momentum : float or None
        Weight of the newest batch in the running buffers; None leaves them, as in torch.
    affine, bias : bool
        Learn ``weight`` and ``bias``, (C,) each; not by default.
    track_running_stats : bool
        Keep ``running_mean`` and ``running_var``, the means over samples; not by default.
    activation : {{None, "relu", "leaky_relu", "silu", "gelu"}}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, add, output : {shape}, float32, float64, bfloat16 or float16; the output keeps the
    input's memory format.  Sums are taken in short runs of the compute type (float32 for half)
    and merged in float64.

    Raises
    ------
    ValueError
        An input of another rank, or with other channels where ``affine``; one position per
        channel; an unknown activation.

    Notes
    -----
    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022.

    Examples
    --------
    >>> import torch
    >>> layer = {name}(4, activation="relu")
    >>> layer(torch.randn({example})).shape
    torch.Size([{example}])
    """


class SampleStatistics(Norm):
    """Forward of the InstanceNorm family: each sample's statistics, or the running ones."""

    # what torch's classes beside this mixin hold
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    num_features: int
    momentum: float | None
    eps: float
    affine: bool
    track_running_stats: bool
    _check_input_dim: Callable[[Tensor], None]
    _get_no_batch_dim: Callable[[], int]

    def forward(self, input: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Normalize ``input``; ``add`` is added after the norm and before the activation."""
        if self._traced(input, add):
            return self._as_leaf(input, add=add)
        self._check_input_dim(input)
        alone = input.dim() == self._get_no_batch_dim()
        self._check_channels(input, 0 if alone else 1)
        if not alone:
            return self._normalize(input, add)
        add = fit(add, input)
        return self._normalize(input[None], add if add is None else add[None])[0]

    def _normalize(self, input: Tensor, add: Tensor | None) -> Tensor:
        return F.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            add=add,
            **self._extras(),
        )

    def _check_channels(self, input: Tensor, axis: int) -> None:
        found, wanted = input.shape[axis], self.num_features
        if found == wanted:
            return
        if self.affine:
            raise ValueError(
                f"expected input's size at dim={axis} to match num_features ({wanted}), but got: "
                f"{found}. The input is {tuple(input.shape)}: set num_features to its channels"
            )
        warnings.warn(
            f"input's size at dim={axis} does not match num_features. You can silence this "
            "warning by not passing in num_features, which is not used because affine=False: "
            f"{found} came for {wanted}",
            stacklevel=3,
        )


class InstanceNorm1d(SampleStatistics, nn.InstanceNorm1d):
    __doc__ = _DOC.format(name="InstanceNorm1d", shape="(N, C, L) or (C, L)", example="8, 4, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() not in (2, 3):
            wrong_rank(self, input, "(N, C, L) or (C, L)", "2D or 3D", "InstanceNorm")


class InstanceNorm2d(SampleStatistics, nn.InstanceNorm2d):
    __doc__ = _DOC.format(
        name="InstanceNorm2d", shape="(N, C, H, W) or (C, H, W)", example="8, 4, 5, 5"
    )

    def _check_input_dim(self, input: Tensor):
        if input.dim() not in (3, 4):
            wrong_rank(self, input, "(N, C, H, W) or (C, H, W)", "3D or 4D", "InstanceNorm")


class InstanceNorm3d(SampleStatistics, nn.InstanceNorm3d):
    __doc__ = _DOC.format(
        name="InstanceNorm3d", shape="(N, C, D, H, W) or (C, D, H, W)", example="8, 4, 3, 5, 5"
    )

    def _check_input_dim(self, input: Tensor):
        if input.dim() not in (4, 5):
            wrong_rank(self, input, "(N, C, D, H, W) or (C, D, H, W)", "4D or 5D", "InstanceNorm")


class LazyInstanceNorm1d(Lazy, SampleStatistics, nn.LazyInstanceNorm1d):
    """An ``InstanceNorm1d`` that takes ``num_features`` from its first input."""

    cls_to_become = InstanceNorm1d
    _check_input_dim = InstanceNorm1d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyInstanceNorm2d(Lazy, SampleStatistics, nn.LazyInstanceNorm2d):
    """An ``InstanceNorm2d`` that takes ``num_features`` from its first input."""

    cls_to_become = InstanceNorm2d
    _check_input_dim = InstanceNorm2d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyInstanceNorm3d(Lazy, SampleStatistics, nn.LazyInstanceNorm3d):
    """An ``InstanceNorm3d`` that takes ``num_features`` from its first input."""

    cls_to_become = InstanceNorm3d
    _check_input_dim = InstanceNorm3d._check_input_dim  # pyright: ignore[reportAssignmentType]


class _Channels(nn.Module):
    """Weight and bias of each channel: what torch would hold, had it the layer."""

    def __init__(self, num_channels: int, eps: float = 1e-6, device=None, dtype=None):
        super().__init__()
        if isinstance(num_channels, bool) or not isinstance(num_channels, int) or num_channels < 1:
            raise ValueError(f"num_channels must be a positive int; got {num_channels!r}")
        if not eps > 0:
            raise ValueError(f"eps must be positive, for a silent channel divides by it; got {eps}")
        self.num_channels, self.eps = num_channels, eps
        self.weight = nn.Parameter(torch.empty(num_channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(num_channels, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"


class FilterResponseNorm(Norm, _Channels):
    """Divide each channel of each sample by its root mean square over the positions.

        y = act(x / sqrt(mean(x²) + eps) * weight + bias + add)

    No mean is taken away and nothing is shared between samples.  The paper follows it with a
    thresholded linear unit, max(y, tau), which is not part of this layer.

    Parameters
    ----------
    num_channels : int
        C, the number of channels.
    eps : float
        Added to the mean square.
    activation : {None, "relu", "leaky_relu", "silu", "gelu"}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, add, output : (N, C, \\*), float32, float64, bfloat16 or float16; the output keeps the
    input's memory format.  ``weight`` and ``bias`` are (C,).  Sums are taken in short runs of
    the compute type (float32 for half) and merged in float64.

    Raises
    ------
    ValueError
        An input with another number of channels, an unknown activation, a num_channels or eps
        that is not positive.

    Notes
    -----
    Singh and Krishnan, arXiv 1911.09737.

    Examples
    --------
    >>> import torch
    >>> layer = FilterResponseNorm(3)
    >>> y = layer(torch.randn(2, 3, 5, 5))
    >>> bool(((y * y).mean((2, 3)) - 1).abs().max() < 1e-4)
    True
    """

    def forward(self, input: Tensor, *, add: Tensor | None = None) -> Tensor:
        """Normalize ``input``; ``add`` is added after the norm and before the activation."""
        if self._traced(input, add):
            return self._as_leaf(input, add=add)
        return filter_response_norm(
            input, self.weight, self.bias, self.eps, **self._extras(), add=add
        )
