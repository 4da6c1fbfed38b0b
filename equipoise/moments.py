"""Moments: count, mean, variance, extremes and NaNs of columns, as a statistic that merges."""

from typing import Any

import numpy as np
import torch

from equipoise._comoments import CoMoments
from equipoise.ops.moments import inputs, op

__all__ = ["CoMoments", "Moments"]

POLICIES = ("omit", "propagate")


class Moments:
    """Summary of columns of numbers that merges with the summary of other rows.

    For the values x of a column, counted with weights w (1 without any),

        count = Σ w        mean = Σ w x / count        m2 = Σ w (x - mean)²

    and two summaries a, b of disjoint rows merge by Chan's formula, with δ = mean_b - mean_a:

        mean = mean_a + δ count_b / count        m2 = m2_a + m2_b + δ² count_a count_b / count

    to rounding in any order, to the bit in a fixed one and at any number of threads.

    Parameters
    ----------
    Make one with `Moments.of`, `Moments.empty` or `Moments.from_state`.

    Attributes
    ----------
    count, mean, m2, min, max, nan_count : float64, of x's shape without the reduced axes
        NumPy arrays for what came from NumPy, tensors on the same device for tensors.  Each is
        one number a column.  ``count`` leaves NaNs out (``nan="omit"``) and both counts are sums
        of weights.  Without a sample, mean is NaN, m2 is 0, min is inf and max is -inf.

    Notes
    -----
    Sums are kept in float64 whatever the input's dtype, of values shifted to near their mean and
    shifted anew where that was not near: the error does not grow with |mean| / std.  Integers
    above 2**53 are rounded to float64 first.  An infinite value makes the mean infinite (inf and
    -inf: NaN) and m2 NaN, as IEEE arithmetic does; a spread above 1e154 makes m2 infinite.

    References
    ----------
    Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> x = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 30.0]])
    >>> m = eq.Moments.of(x[:2]) + eq.Moments.of(x[2:])
    >>> m.mean, m.count, m.nan_count
    (array([ 2., 20.]), array([3., 2.]), array([0., 1.]))
    >>> m.std(ddof=1)
    array([ 1.        , 14.14213562])
    """

    __slots__ = ("_device", "_state")

    _state: Any
    _device: torch.device | None

    def __init__(self):
        raise TypeError("make Moments with Moments.of(x), .empty(shape) or .from_state(state)")

    @classmethod
    def _new(cls, state, device):
        # on the CPU a state is NumPy's: small arrays cost less there, and kernels read it
        self = object.__new__(cls)
        self._state, self._device = state, device
        return self

    @classmethod
    def of(cls, x, axis: int | tuple[int, ...] = 0, weights=None, nan: str = "omit") -> "Moments":
        """Summarise ``x`` over ``axis``.

        Parameters
        ----------
        x : array or tensor of real numbers (floats, bfloat16, integers, bool), any strides
        axis : int or tuple of ints
            The axes that are reduced, as ``(0, 2, 3)`` for the channels of NCHW images; the empty
            tuple makes every value a column of one sample.
        weights : array or tensor, broadcastable to x's shape over the reduced axes, ascending
            How often each row counts.  Rows of weight 0 count nowhere.
        nan : "omit" or "propagate"
            Leave NaNs out and count them, column by column; or count them and let them make the
            column's mean, m2, min and max NaN.

        Raises
        ------
        TypeError
            ``x`` or ``weights`` hold no real numbers, or ``axis`` no ints.
        ValueError
            No such axis; weights negative, not finite or of another shape; an unknown policy.

        Examples
        --------
        >>> import torch, equipoise as eq
        >>> eq.Moments.of(torch.arange(8.0).reshape(2, 1, 2, 2), axis=(0, 2, 3))
        Moments(shape=(1,), count=8, mean=[3.5], std=[2.291], device=cpu)
        """
        if nan not in POLICIES:
            raise ValueError(f"nan must be one of {POLICIES}; got {nan!r}")
        device = inputs.device(x)
        x = inputs.array(x)
        axes = inputs.axes(axis, x.shape)
        if weights is not None:
            weights = inputs.weights(weights, x, axes)
        state = op.summarize(x, axes, weights)
        return cls._new(_propagated(state) if nan == "propagate" else state, device)

    @classmethod
    def empty(cls, shape: int | tuple[int, ...], device=None) -> "Moments":
        """Give the summary of no row: merged with any other it gives that other.

        ``shape`` is that of one row; ``device=None`` means NumPy.

        >>> Moments.empty(3).count
        array([0., 0., 0.])
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        device = None if device is None else torch.device(device)
        return cls._new(op.empty(int(np.prod(shape)), device).reshape(op.FIELDS, *shape), device)

    @classmethod
    def from_state(cls, state) -> "Moments":
        """Make the summary whose `state` this is.

        >>> m = Moments.of([1.0, 2.0])
        >>> Moments.from_state(m.state) == m
        True
        """
        device, values = inputs.device(state), inputs.array(state, "state")
        if values.ndim == 0 or len(values) != op.FIELDS:
            raise ValueError(
                f"state must have shape ({op.FIELDS}, ...), as Moments.state gives it; "
                f"got shape {tuple(values.shape)}"
            )
        if isinstance(values, np.ndarray):
            return cls._new(np.array(values, np.float64), device)
        return cls._new(values.to(torch.float64, copy=True), device)

    @property
    def state(self):
        """All that is known of each column, float64 (7, *shape): what to save or send.

        Count, mean, m2, min, max, nan_count, and what rounding the mean to float64 lost.
        """
        return self._give(self._state)

    def _give(self, field):
        if isinstance(field, torch.Tensor):
            return field.clone()
        if self._device is None:
            return field.copy()
        return torch.from_numpy(np.array(field))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: x's without the reduced axes."""
        return tuple(self._state.shape[1:])

    @property
    def device(self) -> torch.device | None:
        """Where the attributes are: a torch device, or None for NumPy arrays."""
        return self._device

    @property
    def count(self):
        """Weight of the rows that count: their number, without weights."""
        return self._give(self._state[0])

    @property
    def mean(self):
        """Mean; NaN where nothing was counted."""
        return self._give(self._state[1])

    @property
    def m2(self):
        """Sum of squared distances to the mean."""
        return self._give(self._state[2])

    @property
    def min(self):
        """Smallest value; inf where nothing was counted."""
        return self._give(self._state[3])

    @property
    def max(self):
        """Largest value; -inf where nothing was counted."""
        return self._give(self._state[4])

    @property
    def nan_count(self):
        """Weight of the NaNs."""
        return self._give(self._state[5])

    def var(self, ddof: float = 0):
        """Give the variance m2 / (count - ddof), NaN where count <= ddof.

        >>> Moments.of([1.0, 2.0, 4.0]).var(ddof=1)
        np.float64(2.333...)
        """
        count, m2 = self._state[0] - ddof, self._state[2]
        if isinstance(count, torch.Tensor):
            return (m2 / count).where(count > 0, torch.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._give(np.where(count > 0, m2 / count, np.nan)[()])

    def std(self, ddof: float = 0):
        """Give the square root of `var`."""
        return self.var(ddof) ** 0.5

    def merge(self, other: "Moments") -> "Moments":
        """Give the summary of the rows of both; ``a + b`` and ``sum(many)`` do the same.

        Where one holds NumPy arrays and the other tensors the result holds tensors.

        Raises
        ------
        TypeError
            ``other`` is no Moments.
        ValueError
            The shapes differ, or both hold tensors of different devices.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"Moments merge with Moments; got {type(other).__name__}")
        if self.shape != other.shape:
            raise ValueError(
                f"Moments must have one shape to merge; got {self.shape} and {other.shape}. "
                "Reduce the same axes of rows with the same columns."
            )
        device = inputs.common_device(self, other)
        a, b = (m if m._device == device else m.to(device) for m in (self, other))
        return Moments._new(op.merge(a._state, b._state), device)

    def __add__(self, other):
        return self.merge(other) if isinstance(other, Moments) else NotImplemented

    def __radd__(self, other):
        # sum() starts at 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to(self, device) -> "Moments":
        """Give the same summary as tensors on ``device``, or as NumPy arrays for None."""
        device = None if device is None else torch.device(device)
        return Moments._new(inputs.keep(self._state, device), device)

    def __eq__(self, other):
        if not isinstance(other, Moments):
            return NotImplemented
        if (self.shape, self._device) != (other.shape, other._device):
            return False
        return np.array_equal(*(inputs.keep(m._state, None) for m in (self, other)), equal_nan=True)

    def __reduce__(self):
        return _restore, (inputs.keep(self._state, None), self._device)

    def __repr__(self):
        return f"Moments({', '.join(_facts(self))})"


def _restore(state, device):
    return Moments._new(inputs.keep(state, device), device)


def _propagated(state):
    """Turn a state whose NaNs were omitted into one where they count and spoil their columns."""
    spoiled = state[5] > 0
    if bool(spoiled.any()):
        state[0] += state[5]
        state[1:5, spoiled] = np.nan
    return state


def _facts(m):
    """Say in a few words what a summary holds."""
    count, nans = (inputs.keep(m._state, None)[i].ravel() for i in (0, 5))
    yield f"shape={m.shape}"
    if count.size:
        low, high = count.min(), count.max()
        yield f"count={low:.15g}" if low == high else f"count={low:.15g}..{high:.15g}"
        if nans.any():
            yield f"nan_count={nans.sum():.15g}"
        if count.size <= 4:
            for name, values in (("mean", m.mean), ("std", m.std())):
                values = np.atleast_1d(inputs.keep(values, None)).ravel()
                yield f"{name}=[{', '.join(f'{v:.4g}' for v in values)}]"
    if m.device is not None:
        yield f"device={m.device}"
