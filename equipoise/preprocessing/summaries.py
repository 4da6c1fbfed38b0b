"""What the scalers know of the columns they saw: `Moments`, or as much of them as they need."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from equipoise.data.columnar import Columns
from equipoise.moments import Moments
from equipoise.ops.moments import op
from equipoise.preprocessing.containers import summary_of


class Counted:
    """What counts and extremes tell: of ``known``, with ``count nan_count min max``."""

    __slots__ = ()

    known: Any

    def finite(self) -> bool:
        """Tell whether no value was infinite."""
        # where nothing was counted they are the other way around
        low = np.minimum.reduce(self.known.min, axis=None, initial=np.inf)
        high = np.maximum.reduce(self.known.max, axis=None, initial=-np.inf)
        return bool(low > -np.inf and high < np.inf)

    def rows(self) -> int:
        """Count the rows that were seen, NaNs as well."""
        rows = self.known.count + self.known.nan_count
        return round(float(np.maximum.reduce(rows, axis=None, initial=0)))


class MomentsSummary(Counted):
    """`Moments` of the columns as a `Summary`.

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

    @property
    def known(self) -> Moments:
        """What has counts and extremes."""
        return self.moments

    def merge(self, other: "MomentsSummary") -> "MomentsSummary":
        """Give the summary of the rows of both."""
        return MomentsSummary(self.moments.merge(other.moments))

    def beside(self, others: "Sequence[MomentsSummary]") -> "MomentsSummary":
        """Give the summary of these columns and, to the right, the others' of the same rows."""
        return MomentsSummary(beside(m.moments for m in (self, *others)))

    def together(self) -> "MomentsSummary":
        """Give the summary of all values as those of one column."""
        state = np.asarray(self.moments.state)
        return MomentsSummary(Moments.from_state(_merge_columns(state)))

    def per_column(self, shared: bool) -> dict[str, np.ndarray]:
        """Give count, mean and var of each column: the same in all where ``shared``."""
        m = self.together().moments if shared else self.moments
        found = {"count": m.count, "mean": m.mean, "var": m.var()}
        if shared:
            width = self.moments.shape[0]
            found = {name: np.broadcast_to(v, width).copy() for name, v in found.items()}
        return found

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


class Extremes(Counted):
    """Counts and extremes of the columns as a `Summary`: less arithmetic than `Moments`.

    Attributes
    ----------
    state : float64 (4, columns)
        Count, number of NaNs, min and max.

    >>> import numpy as np
    >>> a = Extremes.of(np.array([[1.0, np.nan], [3.0, 4.0]]))
    >>> a.merge(Extremes.from_arrays(a.arrays())).state
    array([[4., 2.],
           [0., 2.],
           [1., 4.],
           [3., 4.]])
    """

    __slots__ = ("state",)

    def __init__(self, state: np.ndarray):
        self.state = state

    @classmethod
    def of(cls, X) -> "Extremes":
        """Summarise the columns of a matrix or tensor (rows, columns)."""
        if isinstance(X, np.ndarray):
            return cls(np.asarray(op.extremes(X)))
        if isinstance(X, Columns):
            return cls(op.of_columns(X.columns, op.extremes))
        m = summary_of(X).to(None)
        return cls(np.stack([m.count, m.nan_count, m.min, m.max]))

    @property
    def known(self) -> "Extremes":
        """What has counts and extremes."""
        return self

    @property
    def count(self) -> np.ndarray:
        """Rows without NaN."""
        return self.state[0]

    @property
    def nan_count(self) -> np.ndarray:
        """Number of NaNs."""
        return self.state[1]

    @property
    def min(self) -> np.ndarray:
        """Smallest value; inf where nothing was counted."""
        return self.state[2]

    @property
    def max(self) -> np.ndarray:
        """Largest value; -inf where nothing was counted."""
        return self.state[3]

    def merge(self, other: "Extremes") -> "Extremes":
        """Give the summary of the rows of both."""
        return Extremes(_merge_extremes(np.stack([self.state, other.state])))

    def beside(self, others: "Sequence[Extremes]") -> "Extremes":
        """Give the summary of these columns and, to the right, the others' of the same rows."""
        return Extremes(np.concatenate([self.state, *(o.state for o in others)], axis=1))

    def ends(self, shared: bool) -> tuple[np.ndarray, np.ndarray]:
        """Give min and max of each column, NaN in one without numbers; the same if ``shared``."""
        state = self.state
        if shared:
            state = np.broadcast_to(_merge_extremes(state.T)[:, None], state.shape)
        count, _, low, high = state
        if count.all():
            return low.copy(), high.copy()
        return np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all that is known as arrays."""
        return {"extremes": self.state}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "Extremes":
        """Make the summary whose `arrays` these are."""
        count, nan_count, low, high = np.array(arrays["extremes"], np.float64)
        return cls(np.stack([count, nan_count, low, high]))

    def __eq__(self, other):
        return isinstance(other, Extremes) and np.array_equal(self.state, other.state)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        return f"Extremes(columns={self.state.shape[1]}, rows={self.rows()})"


def beside(moments: Iterable[Moments]) -> Moments:
    """Give the `Moments` of columns side by side."""
    states = [np.asarray(m.state) for m in moments]
    return Moments.from_state(np.concatenate(states, axis=1))


def _merge_extremes(states: np.ndarray) -> np.ndarray:
    """Merge states (several, 4, ...) of counts and extremes."""
    counts, low, high = states[:, :2].sum(0), states[:, 2].min(0), states[:, 3].max(0)
    return np.concatenate([counts, [low, high]])


def _merge_columns(state: np.ndarray) -> np.ndarray:
    """Merge the columns of a state pairwise, which keeps the roundings few."""
    while state.shape[1] > 1:
        half = state.shape[1] // 2
        parts = [Moments.from_state(state[:, i : i + half]) for i in (0, half)]
        merged = np.asarray(reduce(Moments.merge, parts).state)
        state = np.concatenate([merged, state[:, 2 * half :]], axis=1)
    return state
