"""Standardize, MinMax: the scale of a data set as the first layer of a model."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.errors import UsageError
from equipoise.ops.scale import constant

if TYPE_CHECKING:
    from equipoise.moments import Moments


class InputScale(nn.Module):
    """Base of the layers that scale inputs by statistics of a data set.

    The statistics are float64 buffers and stay so: `half`, `float` and `to` move them and leave
    their dtype, for a mean rounded to float32 is off by more than what one value may be.  They
    have no element until `adapt`, `load_state_dict` or a constructor's numbers give them.
    """

    # names of the buffers
    _statistics: tuple[str, ...] = ()

    def __init__(self, num_features: int | None = None, *, channel_axis: int = 1):
        super().__init__()
        if isinstance(channel_axis, bool) or not isinstance(channel_axis, int):
            raise TypeError(f"channel_axis must be an int; got {channel_axis!r}")
        if num_features is not None and not (isinstance(num_features, int) and num_features > 0):
            raise ValueError(f"num_features must be a positive int or None; got {num_features!r}")
        self.num_features, self.channel_axis = num_features, channel_axis
        for name in self._statistics:
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def adapt(self, source, columns=None, batch_size: int | None = None):
        """Learn the statistics of a data set, forgetting what was learnt before; give the layer.

        Parameters
        ----------
        source : what `equipoise.data.chunks` takes
            Rows whose channels lie along ``channel_axis``, the batch along axis 0: a matrix or
            table, images (N, C, H, W), a DataLoader of them.  NaNs are left out.
        columns : names or positions, optional
            Of a table's columns, those that the model will get, in this order.
        batch_size : int, optional
            The most rows read at once.

        Raises
        ------
        ValueError
            No row; a channel without a number, or with an infinity; another number of channels
            than ``num_features``.
        """
        self._set(_statistics(source, columns, batch_size, self.channel_axis))
        return self

    def _set(self, moments: "Moments") -> None:
        raise NotImplementedError

    def _fill(self, **statistics) -> None:
        """Make the numbers, one a channel, the buffers."""
        device = getattr(self, self._statistics[0]).device
        values = {
            name: torch.as_tensor(value, dtype=torch.float64).clone().to(device)
            for name, value in statistics.items()
        }
        (width,) = {v.numel() for v in values.values()}
        if self.num_features not in (None, width):
            raise UsageError(
                f"{type(self).__name__} is made for {self.num_features} channels; the data has "
                f"{width} along axis {self.channel_axis}"
            )
        self.num_features = width
        for name, value in values.items():
            setattr(self, name, value.reshape(-1))

    def _along(self, statistic: Tensor, x: Tensor) -> Tensor:
        """Shape a statistic so that it lies along x's channels."""
        width = statistic.numel()
        if width == 0:
            raise RuntimeError(
                f"{type(self).__name__} knows no statistics yet: call adapt(source) or "
                "load_state_dict(...) first"
            )
        axis = axis_of(self, x, width)
        shape = [1] * x.dim()
        shape[axis] = width
        return statistic.reshape(shape)

    def _apply(self, fn, recurse: bool = True):
        before = {name: getattr(self, name) for name in self._statistics}
        super()._apply(fn, recurse)
        for name, value in before.items():
            moved = getattr(self, name)
            if moved.dtype != torch.float64:
                setattr(self, name, value.to(moved.device))
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in self._statistics:
            saved = state_dict.get(prefix + name)
            mine = getattr(self, name)
            fits = self.num_features is None or saved is None or len(saved) == self.num_features
            if isinstance(saved, Tensor) and saved.dim() == 1 and fits:
                setattr(self, name, mine.new_empty(len(saved)))
        super()._load_from_state_dict(state_dict, prefix, *args)
        found = getattr(self, self._statistics[0]).numel()
        self.num_features = found or self.num_features

    def extra_repr(self) -> str:
        """Say how many channels there are, and where."""
        return f"{self.num_features}, channel_axis={self.channel_axis}"


class Standardize(InputScale):
    """Scale each channel of an input to mean 0 and variance 1 over a data set.

        y = (x - mean) / scale        scale = √var, 1 in a constant channel

    `adapt` learns mean and (biased) variance through `Moments`; nothing is learnt in training.
    The arithmetic is float64 and divides, as `preprocessing.StandardScaler.transform` does, so
    that a model gives what the pipeline gave, to one rounding.

    Parameters
    ----------
    num_features : int or None
        C, the number of channels; None takes it from the data.
    channel_axis : int
        Where the channels lie: 1 in (N, C), (N, C, L) and (N, C, H, W), -1 in (N, L, C).

    Attributes
    ----------
    mean, scale : float64 (C,)
        Buffers, in the ``state_dict``; without an element before `adapt`.

    Shapes
    ------
    input, output : any with C channels along ``channel_axis``, or (C,); floats keep their dtype,
    and integers give torch's default dtype.

    Raises
    ------
    RuntimeError
        No statistics yet.
    ValueError
        An input with other channels.

    Examples
    --------
    >>> import torch
    >>> layer = Standardize().adapt(torch.tensor([[0.0, 10.0], [2.0, 30.0]]))
    >>> layer(torch.tensor([[2.0, 20.0]]))
    tensor([[1., 0.]])
    >>> layer.inverse(torch.tensor([[1.0, 0.0]]))
    tensor([[ 2., 20.]])
    """

    _statistics = ("mean", "scale")
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, mean, scale, channel_axis: int = 1) -> "Standardize":
        """Make the layer from its numbers, one a channel.

        >>> Standardize.of([1.0, 2.0], [4.0, 4.0])(torch.tensor([[5.0, 2.0]]))
        tensor([[1., 0.]])
        """
        layer = cls(channel_axis=channel_axis)
        layer._fill(mean=mean, scale=scale)
        return layer

    def _set(self, moments: "Moments") -> None:
        scale = constant.usable(moments.std(), moments.mean, constant.SMALLEST**0.5)
        self._fill(mean=moments.mean, scale=scale)

    def forward(self, x: Tensor) -> Tensor:
        """Give (x - mean) / scale."""
        mean, scale = self._along(self.mean, x), self._along(self.scale, x)
        return ((x.double() - mean) / scale).to(float_dtype(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Give y · scale + mean."""
        mean, scale = self._along(self.mean, y), self._along(self.scale, y)
        return (y.double() * scale + mean).to(float_dtype(y))


class MinMax(InputScale):
    """Scale each channel of an input so that a data set's values fill a range.

        y = (x - data_min) / data_range · (high - low) + low

    with ``data_range = data_max - data_min``, 1 in a constant channel.  The data's own extremes
    give ``low`` and ``high`` exactly.  As `preprocessing.MinMaxScaler`; see `Standardize`.

    Parameters
    ----------
    feature_range : (float, float)
        low < high.
    clip : bool
        Bring values outside the data's range to ``low`` and ``high``; NaN stays.
    num_features, channel_axis
        As in `Standardize`.

    Attributes
    ----------
    data_min, data_range : float64 (C,)
        Buffers, in the ``state_dict``.

    Examples
    --------
    >>> import torch
    >>> layer = MinMax((-1, 1), clip=True).adapt(torch.tensor([[0.0, 5.0], [4.0, 6.0]]))
    >>> layer(torch.tensor([[1.0, 9.0]]))
    tensor([[-0.5000,  1.0000]])
    """

    _statistics = ("data_min", "data_range")
    data_min: Tensor
    data_range: Tensor

    def __init__(
        self,
        feature_range: tuple[float, float] = (0, 1),
        clip: bool = False,
        num_features: int | None = None,
        *,
        channel_axis: int = 1,
    ):
        super().__init__(num_features, channel_axis=channel_axis)
        if not (isinstance(feature_range, tuple | list) and len(feature_range) == 2):
            raise TypeError(f"feature_range must be (low, high); got {feature_range!r}")
        self.low, self.high = map(float, feature_range)
        if not self.low < self.high:
            raise ValueError(f"feature_range must have low < high; got {feature_range!r}")
        self.clip = clip

    @classmethod
    def of(
        cls, data_min, data_range, feature_range=(0, 1), clip=False, channel_axis: int = 1
    ) -> "MinMax":
        """Make the layer from its numbers, one a channel.

        >>> MinMax.of([1.0], [4.0])(torch.tensor([[3.0]]))
        tensor([[0.5000]])
        """
        layer = cls(feature_range, clip, channel_axis=channel_axis)
        layer._fill(data_min=data_min, data_range=data_range)
        return layer

    def _set(self, moments: "Moments") -> None:
        low, high = moments.min, moments.max
        self._fill(data_min=low, data_range=constant.usable(high - low, abs(low).clip(abs(high))))

    def forward(self, x: Tensor) -> Tensor:
        """Give (x - data_min) / data_range · (high - low) + low."""
        low, width = self._along(self.data_min, x), self._along(self.data_range, x)
        y = (x.double() - low) / width * (self.high - self.low) + self.low
        return (y.clamp(self.low, self.high) if self.clip else y).to(float_dtype(x))

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`, where nothing was clipped."""
        low, width = self._along(self.data_min, y), self._along(self.data_range, y)
        return ((y.double() - self.low) * (width / (self.high - self.low)) + low).to(float_dtype(y))

    def extra_repr(self) -> str:
        """Say the range as well."""
        clip = ", clip=True" if self.clip else ""
        return f"({self.low:g}, {self.high:g}){clip}, {super().extra_repr()}"


class OnColumns(nn.Module):
    """Scale some columns of a matrix and pass the others through, to the bit.

    >>> layer = OnColumns(Standardize.of([0.0, 1.0], [1.0, 2.0]), [1])
    >>> layer(torch.tensor([[0.3, 5.0]]))
    tensor([[0.3000, 2.0000]])
    """

    scaled: Tensor

    def __init__(self, layer: nn.Module, columns):
        super().__init__()
        self.layer = layer
        (statistic, *_) = layer.buffers()
        scaled = torch.zeros(len(statistic), dtype=torch.bool)
        scaled[list(columns)] = True
        self.register_buffer("scaled", scaled)

    def forward(self, x: Tensor) -> Tensor:
        """Give the layer's values in its columns."""
        y = self.layer(x)
        return torch.where(self.scaled, y, x.to(y.dtype))

    def inverse(self, y: Tensor) -> Tensor:
        """Undo `forward`."""
        x = self.layer.inverse(y)  # type: ignore[operator]
        return torch.where(self.scaled, x, y.to(x.dtype))


def axis_of(layer, x: Tensor, width: int | None) -> int:
    """Give the axis of an input along which a layer's ``width`` channels lie; None is any number.

    Raises
    ------
    ValueError
        There is no such axis, or it has other channels.
    """
    # a single row without a batch axis has its channels last
    axis = layer.channel_axis if x.dim() > 1 else -1
    if not -x.dim() <= axis < x.dim() or width not in (None, x.shape[axis]):
        channels = "channels" if width is None else f"{width} channels"
        raise ValueError(
            f"{type(layer).__name__} expects {channels} along axis {layer.channel_axis}; "
            f"got an input of shape {tuple(x.shape)}"
        )
    return axis


def float_dtype(x: Tensor) -> torch.dtype:
    """Give the dtype of what a layer makes of an input: its own, or torch's default."""
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def _statistics(source, columns, batch_size, channel_axis: int) -> "Moments":
    """Summarise the channels of a source, and refuse what gives no scale."""
    from equipoise.data.block import Choice
    from equipoise.data.read import blocks
    from equipoise.moments import Moments

    total, names = None, None
    for block in blocks(source, Choice.of(columns), batch_size):
        part = Moments.of(block.values, _reduced(block.values, channel_axis)).to(None)
        if total is not None and total.shape != part.shape:
            raise UsageError(
                f"chunks must have the same channels; got {part.shape[0]} after {total.shape[0]}"
            )
        total = part if total is None else total.merge(part)
        names = names or block.names
    if total is None:
        raise UsageError("a data set must hold at least one row to learn from; it holds none")
    _require_numbers(total, names)
    return total


def _reduced(values: Any, channel_axis: int) -> tuple[int, ...]:
    """Give all axes but the channels'."""
    ndim = values.ndim
    if ndim == 1 and channel_axis == 1:
        raise UsageError(
            "rows must have an axis of channels; got a vector. Use x[:, None] for one channel."
        )
    if not -ndim <= channel_axis < ndim:
        raise UsageError(
            f"channel_axis={channel_axis} must be an axis of the data, of shape "
            f"{tuple(values.shape)}"
        )
    return tuple(i for i in range(ndim) if i != channel_axis % ndim)


def _require_numbers(moments: "Moments", names) -> None:
    for channel, (count, low, high) in enumerate(
        zip(moments.count, moments.min, moments.max, strict=True)
    ):
        name = f"column {names[channel]!r}" if names else f"channel {channel}"
        if count == 0:
            raise UsageError(f"{name} must hold a number; it holds only NaN")
        if not abs(low) + abs(high) < float("inf"):
            raise UsageError(
                f"{name} must be finite or NaN; it holds infinity, or values above 1e308"
            )
