"""A KLL quantile sketch a column, as a summary that merges (Apache DataSketches)."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import ceil
from typing import Any

import numpy as np
import torch
from scipy import sparse

from equipoise.moments import Moments
from equipoise.ops.quantile import reference
from equipoise.preprocessing.containers import summary_of
from equipoise.preprocessing.summaries import Counted, beside

# rows that are turned into contiguous columns at once
ROWS = 1 << 16


def _kll():
    try:
        import datasketches
    except ImportError as error:
        raise ImportError(
            "RobustScaler needs datasketches for streams, partial_fit and merge: "
            "pip install 'equipoise[sketch]'. fit on a whole array is exact and does without."
        ) from error
    return getattr(datasketches, "kll_doubles_sketch")  # noqa: B009, compiled: pyright sees no names


def available() -> bool:
    """Tell whether datasketches is there."""
    return find_spec("datasketches") is not None


def size_for(rank_error: float) -> int:
    """Give KLL's k for a rank error: error = 2.296 / k^0.9723, as DataSketches measured it.

    >>> size_for(0.0133)
    200
    """
    return min(65535, ceil((2.296 / rank_error) ** (1 / 0.9723)))


class QuantileSketches(Counted):
    """Sketches of the columns of the rows seen: immutable for all who hold it.

    Parameters
    ----------
    Make one with `QuantileSketches.of` or `from_arrays`.
    """

    __slots__ = ("_sketches", "moments", "rank_error")

    def __init__(self, sketches, moments: Moments, rank_error: float):
        self._sketches, self.moments, self.rank_error = sketches, moments, rank_error

    @classmethod
    def of(cls, X, rank_error: float) -> "QuantileSketches":
        """Sketch the columns of a matrix, NaNs left out and counted."""
        new = _kll()
        moments = summary_of(X).to(None)
        sketches = [new(size_for(rank_error)) for _ in range(X.shape[1])]
        for start in range(0, X.shape[0], ROWS):
            for sketch, column in zip(sketches, _columns(X, start), strict=True):
                sketch.update(column)
        return cls(sketches, moments, rank_error)

    def merge(self, other: "QuantileSketches") -> "QuantileSketches":
        """Give the sketches of the rows of both."""
        merged = [_merged(a, b) for a, b in zip(self._sketches, other._sketches, strict=True)]
        worse = max(self.rank_error, other.rank_error)
        return QuantileSketches(merged, self.moments.merge(other.moments), worse)

    def beside(self, others: "Sequence[QuantileSketches]") -> "QuantileSketches":
        """Give the sketches of these columns and, to the right, the others' of the same rows."""
        every = (self, *others)
        sketches = [sketch for one in every for sketch in one._sketches]
        return QuantileSketches(sketches, beside(s.moments for s in every), self.rank_error)

    @property
    def known(self) -> Moments:
        """What has counts and extremes."""
        return self.moments

    def exact(self, shared: bool = False) -> bool:
        """Tell whether the sketches still hold every value."""
        return not any(sketch.is_estimation_mode() for sketch in self._of(shared))

    def quantiles(self, q, shared: bool = False) -> np.ndarray:
        """Give the quantiles ``q`` of each column, (t, columns); the same in all if ``shared``."""
        found = np.stack([_quantiles(sketch, q) for sketch in self._of(shared)], axis=1)
        return np.broadcast_to(found, (len(q), len(self._sketches))).copy()

    def _of(self, shared):
        if not shared:
            return self._sketches
        whole = _kll()(self._sketches[0].k)
        for sketch in self._sketches:
            whole.merge(sketch)
        return [whole]

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all that is known as arrays."""
        parts = [np.frombuffer(sketch.serialize(), np.uint8) for sketch in self._sketches]
        sizes = np.array([len(part) for part in parts], np.int64)
        return {
            "moments": np.asarray(self.moments.state),
            "sketches": np.concatenate(parts),
            "sketch_sizes": sizes,
            "rank_error": np.array([self.rank_error]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "QuantileSketches":
        """Make the summary whose `arrays` these are."""
        kll = _kll()
        sizes = np.asarray(arrays["sketch_sizes"])
        parts = np.split(np.asarray(arrays["sketches"]), sizes.cumsum()[:-1])
        sketches = [kll.deserialize(part.tobytes()) for part in parts]
        rank_error = float(np.asarray(arrays["rank_error"])[0])
        return cls(sketches, Moments.from_state(arrays["moments"]), rank_error)

    def __reduce__(self):
        return QuantileSketches.from_arrays, (self.arrays(),)

    def __repr__(self):
        columns = len(self._sketches)
        return f"QuantileSketches(columns={columns}, rank_error={self.rank_error:g})"


def _columns(X, start):
    """Give some rows as contiguous float64 columns."""
    part: Any = X[start : start + ROWS]
    if isinstance(part, torch.Tensor):
        part = part.double().cpu().numpy()
    if sparse.issparse(part):
        part = part.toarray()
    # a copy: datasketches takes no read-only arrays
    return np.array(part.T, np.float64, order="C")


def _merged(a, b):
    whole = type(a).deserialize(a.serialize())
    whole.merge(b)
    return whole


def _quantiles(sketch, q):
    if sketch.is_empty():
        return np.full(len(q), np.nan)
    if not sketch.is_estimation_mode():
        values = np.array([item for item, _ in sketch])
        return reference.quantiles(values[:, None], q)[:, 0]
    return np.array(sketch.get_quantiles(list(q), True))
