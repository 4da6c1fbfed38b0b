"""The layers: each one of torch's classes with our forward."""

from torch import Tensor, nn

from equipoise.nn.norm import BatchStatistics

_DOC = """Normalize each channel of {shape} over the batch.

    y = act((x - mean) / sqrt(var + eps) * weight + bias + add)

    Mean and variance are taken of each channel over the batch and all positions; in evaluation
    the running ones are used.  Drop-in for ``torch.nn.{name}``: the same constructor, buffers and
    ``state_dict``, and ``isinstance`` holds.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the (biased) variance.
    momentum : float or None
        Weight of the newest batch in the running buffers; None averages all batches equally.
    affine : bool
        Learn ``weight`` and ``bias``, (C,) each.
    track_running_stats : bool
        Keep ``running_mean`` and ``running_var`` (unbiased); without them, evaluation uses the
        batch's statistics too.
    activation : {{None, "relu", "leaky_relu", "silu", "gelu"}}
        Fused; keyword only.
    negative_slope : float
        Of leaky_relu; keyword only.

    Shapes
    ------
    input, add, output : {shape}, float32, float64, bfloat16 or float16.
    Sums are taken in short runs of the compute type (float32 for half) and merged in float64.

    Raises
    ------
    ValueError
        An input of another rank, one value per channel in training, an unknown activation.
    RuntimeError
        An input with another number of channels.

    Notes
    -----
    Ioffe and Szegedy, arXiv 1502.03167.

    Examples
    --------
    >>> import torch
    >>> layer = {name}(4, activation="relu")
    >>> layer(torch.randn({example})).shape
    torch.Size([{example}])
    """


def _wrong_rank(layer, input, wanted: str, hint: str):
    raise ValueError(
        f"{type(layer).__name__} normalizes {wanted}: expected {hint} input (got {input.dim()}D "
        f"input of shape {tuple(input.shape)}); add or flatten axes, or use the BatchNorm of "
        "that rank"
    )


class BatchNorm1d(BatchStatistics, nn.BatchNorm1d):
    __doc__ = _DOC.format(name="BatchNorm1d", shape="(N, C) or (N, C, L)", example="8, 4, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() not in (2, 3):
            _wrong_rank(self, input, "(N, C) or (N, C, L)", "2D or 3D")


class BatchNorm2d(BatchStatistics, nn.BatchNorm2d):
    __doc__ = _DOC.format(name="BatchNorm2d", shape="(N, C, H, W)", example="8, 4, 5, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() != 4:
            _wrong_rank(self, input, "(N, C, H, W)", "4D")


class BatchNorm3d(BatchStatistics, nn.BatchNorm3d):
    __doc__ = _DOC.format(name="BatchNorm3d", shape="(N, C, D, H, W)", example="8, 4, 3, 5, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() != 5:
            _wrong_rank(self, input, "(N, C, D, H, W)", "5D")


class _Lazy(BatchStatistics):
    def initialize_parameters(self, input: Tensor, **extras):
        """Take ``num_features`` from the first input, whatever else forward is given."""
        super().initialize_parameters(input)  # pyright: ignore[reportAttributeAccessIssue]


class LazyBatchNorm1d(_Lazy, nn.LazyBatchNorm1d):
    """A ``BatchNorm1d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm1d
    _check_input_dim = BatchNorm1d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyBatchNorm2d(_Lazy, nn.LazyBatchNorm2d):
    """A ``BatchNorm2d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm2d
    _check_input_dim = BatchNorm2d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyBatchNorm3d(_Lazy, nn.LazyBatchNorm3d):
    """A ``BatchNorm3d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm3d
    _check_input_dim = BatchNorm3d._check_input_dim  # pyright: ignore[reportAssignmentType]
