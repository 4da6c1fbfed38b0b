"""CoMoments: means and centred cross products of columns, as a statistic that merges."""

from typing import Any

import numpy as np
import torch

from equipoise.ops.moments import comoments, inputs


class CoMoments:
    """Summary of the rows of a matrix, and of targets, that merges with that of other rows.

    With weights w (1 without any) and the columns of X and y side by side, z = [X y],

        count = Σ w        mean = Σ w z / count        m2 = Σ w (z - mean)(z - mean)ᵀ

    and two summaries of disjoint rows merge, with δ = mean_b - mean_a, as

        m2 = m2_a + m2_b + δ δᵀ count_a count_b / count

    This is all that Ridge, Lasso and whitening need to know about the rows.

    Parameters
    ----------
    Make one with `CoMoments.of`.

    Attributes
    ----------
    count : float
        Weight of the rows: their number, without weights.
    mean, y_mean : float64 (p,), (q,) or () where y had one axis
        NaN without any row.
    m2, xy, yy : float64 (p, p), (p, q) or (p,), (q, q) or ()
        Centred cross products of X with itself, of X with y, of y with itself.  NumPy arrays for
        what came from NumPy, tensors on the same device for tensors.

    Notes
    -----
    Chunks of rows are centred before they are multiplied (in float64), so nothing cancels as
    in XᵀX - n mean meanᵀ.  A NaN or an infinity spoils the entries of its column; rows of weight
    0 count nowhere.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> X, y = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]]), np.array([1.0, 2.0, 6.0])
    >>> c = eq.CoMoments.of(X[:2], y[:2]) + eq.CoMoments.of(X[2:], y[2:])
    >>> c.covariance(ddof=1)
    array([[4., 3.],
           [3., 3.]])
    >>> c.mean, c.xy, c.yy
    (array([2., 2.]), array([10.,  9.]), np.float64(14.0))
    """

    __slots__ = ("_count", "_device", "_features", "_m2", "_mean", "_rest", "_targets")

    _count: float
    _mean: Any
    _rest: Any
    _m2: Any
    _features: int
    _targets: tuple[int, ...] | None
    _device: torch.device | None

    def __init__(self):
        raise TypeError("make CoMoments with CoMoments.of(X, y)")

    @classmethod
    def _new(cls, state, features, targets, device):
        self = object.__new__(cls)
        self._count, self._mean, self._rest, self._m2 = state
        self._features, self._targets, self._device = features, targets, device
        return self

    @classmethod
    def of(cls, X, y=None, weights=None) -> "CoMoments":
        """Summarise the rows of ``X`` (n, p), with targets ``y`` (n,) or (n, q).

        ``weights`` (n,) say how often each row counts.

        Raises
        ------
        TypeError
            No real numbers.
        ValueError
            X is no matrix, y or the weights have other rows, or a weight is negative or not
            finite; X and y lie on different devices.
        """
        device = inputs.device(X)
        x = inputs.array(X, "X")
        if x.ndim != 2:
            raise ValueError(
                f"X must be a matrix (rows, columns); got shape {tuple(x.shape)}. "
                "Use X.reshape(len(X), -1)."
            )
        targets = None
        if y is not None:
            y, targets = _targets(y, x, device)
        if weights is not None:
            weights = inputs.weights(weights, x, (0,))
        return cls._new(comoments.summarize(x, y, weights), x.shape[1], targets, device)

    @classmethod
    def empty(cls, features: int, targets: tuple[int, ...] | None = None) -> "CoMoments":
        """Give the summary of no row of ``features`` columns, with y rows of shape ``targets``.

        >>> CoMoments.empty(2) + CoMoments.of([[1.0, 2.0]]) == CoMoments.of([[1.0, 2.0]])
        True
        """
        columns = features + (0 if targets is None else int(np.prod(targets)))
        return cls._new(comoments.empty(columns), features, targets, None)

    def _state(self):
        return self._count, self._mean, self._rest, self._m2

    def _give(self, values):
        if isinstance(values, torch.Tensor):
            return values.clone()
        return values.copy() if self._device is None else torch.from_numpy(np.array(values))

    @property
    def count(self) -> float:
        """Weight of the rows: their number, without weights."""
        return self._count

    @property
    def device(self) -> torch.device | None:
        """Where the attributes are: a torch device, or None for NumPy arrays."""
        return self._device

    @property
    def mean(self):
        """Means of the columns of X, (p,)."""
        return self._give(self._mean[: self._features])

    @property
    def m2(self):
        """Centred cross products of the columns of X, (p, p)."""
        return self._give(self._m2[: self._features, : self._features])

    @property
    def y_mean(self):
        """Mean of y, of the shape of one row of it."""
        return self._give(self._mean[self._features :].reshape(self._rows_of_y())[()])

    @property
    def xy(self):
        """Centred cross products of X with y, (p, q), or (p,) where y had one axis."""
        shape = self._rows_of_y()
        p = self._features
        return self._give(self._m2[:p, p:].reshape(p, *shape))

    @property
    def yy(self):
        """Centred cross products of y with itself, (q, q), or a number where y had one axis."""
        shape = self._rows_of_y()
        p = self._features
        return self._give(self._m2[p:, p:].reshape(shape + shape)[()])

    def _rows_of_y(self):
        if self._targets is None:
            raise AttributeError("these CoMoments hold no targets; give them as CoMoments.of(X, y)")
        return self._targets

    def covariance(self, ddof: float = 0):
        """Give m2 / (count - ddof) of the columns of X, (p, p); NaN where count <= ddof."""
        p = self._features
        left = self._count - ddof
        return self._give(self._m2[:p, :p] / left if left > 0 else self._m2[:p, :p] * np.nan)

    def merge(self, other: "CoMoments") -> "CoMoments":
        """Give the summary of the rows of both; ``a + b`` and ``sum(many)`` do the same.

        Raises
        ------
        TypeError
            ``other`` is no CoMoments.
        ValueError
            The columns of X or y differ, or both hold tensors of different devices.
        """
        if not isinstance(other, CoMoments):
            raise TypeError(f"CoMoments merge with CoMoments; got {type(other).__name__}")
        if (self._features, self._targets) != (other._features, other._targets):
            raise ValueError(
                "CoMoments must have the same columns to merge; got X with "
                f"{self._features} and {other._features} columns, rows of y of shape "
                f"{self._targets} and {other._targets} (None: no y)."
            )
        device = inputs.common_device(self, other)
        a, b = (c if c._device == device else c.to(device) for c in (self, other))
        state = comoments.merge(a._state(), b._state())
        return CoMoments._new(state, self._features, self._targets, device)

    def __add__(self, other):
        return self.merge(other) if isinstance(other, CoMoments) else NotImplemented

    def __radd__(self, other):
        # sum() starts at 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to(self, device) -> "CoMoments":
        """Give the same summary as tensors on ``device``, or as NumPy arrays for None."""
        return _restore(self._state(), self._features, self._targets, device)

    def __eq__(self, other):
        if not isinstance(other, CoMoments):
            return NotImplemented
        if _facts(self) != _facts(other):
            return False
        pairs = zip(_on(self._state(), None), _on(other._state(), None), strict=True)
        return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)

    def __reduce__(self):
        state = _on(self._state(), None)
        return _restore, (state, self._features, self._targets, self._device)

    def __repr__(self):
        targets = "" if self._targets is None else f", targets={self._targets}"
        place = "" if self._device is None else f", device={self._device}"
        return f"CoMoments(features={self._features}{targets}, count={self._count:.15g}{place})"


def _facts(c):
    return c._features, c._targets, c._device


def _on(state, device):
    count, *arrays = state
    return count, *(inputs.keep(values, device) for values in arrays)


def _restore(state, features, targets, device):
    device = None if device is None else torch.device(device)
    return CoMoments._new(_on(state, device), features, targets, device)


def _targets(y, x, device):
    """Give y as a matrix next to ``x``, and the shape of one of its rows."""
    if inputs.device(y) is not None and inputs.device(y) != (device or torch.device("cpu")):
        raise ValueError(
            f"X and y must lie on one device; got X on {device} and y on {inputs.device(y)}. "
            "Move one with .to(...)."
        )
    y = inputs.array(y, "y")
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise ValueError(
            f"y must be (rows,) or (rows, targets) with the rows of X; got shape "
            f"{tuple(y.shape)} for X of shape {tuple(x.shape)}"
        )
    if isinstance(x, torch.Tensor) and not isinstance(y, torch.Tensor):
        y = torch.as_tensor(y, device=x.device)
    return y[:, None] if y.ndim == 1 else y, tuple(y.shape[1:])
