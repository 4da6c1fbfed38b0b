"""What the scalers know of the columns they saw: `Moments`, or a quantile sketch a column."""

from functools import reduce
from typing import Any

import numpy as np

from equipoise.moments import Moments
from equipoise.preprocessing.containers import summary_of


class MomentsSummary:
    """`Moments` of the columns as a `Summary`: standard, minmax and maxabs scale by it.

    >>> import numpy as np
    >>> a = MomentsSummary.of(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> MomentsSummary.from_arrays(a.arrays()).merge(a).moments.count
    array([4., 4.])
    """

    __slots__ = ("moments",)

    def __init__(self, moments: Moments):
        self.moments = moments

    @classmethod
    def of(cls, X, weights=None) -> "MomentsSummary":
        """Summarise the columns of a matrix or tensor (rows, columns)."""
        # on the CPU: what follows is small
        return cls(summary_of(X, weights).to(None))

    def merge(self, other: "MomentsSummary") -> "MomentsSummary":
        """Give the summary of the rows of both."""
        return MomentsSummary(self.moments.merge(other.moments))

    def together(self) -> "MomentsSummary":
        """Give the summary of all values as those of one column."""
        state = np.asarray(self.moments.state)
        return MomentsSummary(Moments.from_state(_merge_columns(state)))

    def finite(self) -> bool:
        """Tell whether no value was infinite."""
        return not (np.isneginf(self.moments.min).any() or np.isposinf(self.moments.max).any())

    def per_column(self, shared: bool) -> dict[str, np.ndarray]:
        """Give count, mean, var, min and max of each column: the same in all where ``shared``."""
        m = self.together().moments if shared else self.moments
        found = {"count": m.count, "mean": m.mean, "var": m.var(), "min": m.min, "max": m.max}
        width = self.moments.shape[0]
        return {name: np.broadcast_to(v, width).copy() for name, v in found.items()}

    def rows(self) -> int:
        """Count the rows that were seen, NaNs as well."""
        return round(float(np.max(self.moments.count + self.moments.nan_count, initial=0)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all that is known as arrays."""
        return {"moments": np.asarray(self.moments.state)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "MomentsSummary":
        """Make the summary whose `arrays` these are."""
        return cls(Moments.from_state(arrays["moments"]))

    def __eq__(self, other):
        return isinstance(other, MomentsSummary) and self.moments == other.moments

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        return f"MomentsSummary({self.moments!r})"


def _merge_columns(state: np.ndarray) -> np.ndarray:
    """Merge the columns of a state pairwise, which keeps the roundings few."""
    while state.shape[1] > 1:
        half = state.shape[1] // 2
        parts = [Moments.from_state(state[:, i : i + half]) for i in (0, half)]
        merged = np.asarray(reduce(Moments.merge, parts).state)
        state = np.concatenate([merged, state[:, 2 * half :]], axis=1)
    return state
