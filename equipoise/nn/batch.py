"""The BatchNorms: each one of torch's classes with our forward."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equipoise import functional as F
from equipoise._checks import explain_transforms
from equipoise.nn.norm import Lazy, Norm, wrong_rank
from equipoise.ops.normalize import again_channels
from equipoise.ops.normalize.op import transforming

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
        if self._traced(input, add):
            return self._as_leaf(input, add=add)
        self._check_input_dim(input)
        training = self.training
        tracks = training and self.track_running_stats
        if tracks and add is None:
            y = self._again(input)
            if y is not None:
                return y
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
            add=add,
            **self._extras(),
        )

    def _again(self, input: Tensor) -> Tensor | None:
        """Take the short way of a step that repeats; None where there is none."""
        # ``Module.__getattr__`` takes longer than the rest of this line
        vectors, buffers = self._parameters, self._buffers
        return again_channels.step(
            input,
            vectors.get("weight"),
            vectors.get("bias"),
            buffers.get("running_mean"),
            buffers.get("running_var"),
            self.momentum,
            self.eps,
            self.activation,
            self.negative_slope,
            buffers.get("num_batches_tracked"),
        )


class BatchNorm1d(BatchStatistics, nn.BatchNorm1d):
    __doc__ = _DOC.format(name="BatchNorm1d", shape="(N, C) or (N, C, L)", example="8, 4, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() not in (2, 3):
            wrong_rank(self, input, "(N, C) or (N, C, L)", "2D or 3D")


class BatchNorm2d(BatchStatistics, nn.BatchNorm2d):
    __doc__ = _DOC.format(name="BatchNorm2d", shape="(N, C, H, W)", example="8, 4, 5, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() != 4:
            wrong_rank(self, input, "(N, C, H, W)", "4D")


class BatchNorm3d(BatchStatistics, nn.BatchNorm3d):
    __doc__ = _DOC.format(name="BatchNorm3d", shape="(N, C, D, H, W)", example="8, 4, 3, 5, 5")

    def _check_input_dim(self, input: Tensor):
        if input.dim() != 5:
            wrong_rank(self, input, "(N, C, D, H, W)", "5D")


class LazyBatchNorm1d(Lazy, BatchStatistics, nn.LazyBatchNorm1d):
    """A ``BatchNorm1d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm1d
    _check_input_dim = BatchNorm1d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyBatchNorm2d(Lazy, BatchStatistics, nn.LazyBatchNorm2d):
    """A ``BatchNorm2d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm2d
    _check_input_dim = BatchNorm2d._check_input_dim  # pyright: ignore[reportAssignmentType]


class LazyBatchNorm3d(Lazy, BatchStatistics, nn.LazyBatchNorm3d):
    """A ``BatchNorm3d`` that takes ``num_features`` from its first input."""

    cls_to_become = BatchNorm3d
    _check_input_dim = BatchNorm3d._check_input_dim  # pyright: ignore[reportAssignmentType]


def _count_batch(count: Tensor) -> None:
    if torch.compiler.is_compiling() or not transforming():
        count.add_(1)
    else:
        with explain_transforms():
            count.add_(1)


def _average_factor(count: Tensor) -> float | Tensor:
    # tensor arithmetic compiles and exports where float() would break the graph
    return 1.0 / count.double() if torch.compiler.is_compiling() else 1.0 / float(count)
