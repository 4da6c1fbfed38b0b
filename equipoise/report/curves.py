"""From trials to curves: means over bins of steps, then median and range over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from equipoise.report.scale import usable

Value = float | int | None
Band = tuple[list[Value], list[Value], list[Value]]


@dataclass(frozen=True)
class Bins:
    """Steps 1 to ``steps`` in bins of ``width``, so that a curve has few points."""

    steps: int
    width: int

    @classmethod
    def over(cls, steps: int, points: int) -> "Bins":
        """Give at most ``points`` bins over ``steps`` steps.

        >>> Bins.over(300, 100)
        Bins(steps=300, width=3)
        """
        return cls(steps, max(1, -(-steps // points)))

    @property
    def centres(self) -> list[float]:
        """The middle step of each bin."""
        starts = range(0, self.steps, self.width)
        return [(a + 1 + min(a + self.width, self.steps)) / 2 for a in starts]

    def mean(self, values: Sequence[Value]) -> list[Value]:
        """Average one trial's values, one a step, over each bin; None where there are none.

        >>> Bins(5, 2).mean([1, 3, None, 5])
        [2.0, 5.0, None]
        """
        cuts = (values[a : a + self.width] for a in range(0, self.steps, self.width))
        return [_mean(cut) for cut in cuts]


def aligned(steps: Sequence[int], values: Sequence[Value], places: Sequence[int]) -> list[Value]:
    """Put values measured at some steps onto common places.

    >>> aligned([10, 20], [0.5, 0.6], [10, 20, 30])
    [0.5, 0.6, None]
    """
    known = dict(zip(steps, values, strict=False))
    return [known.get(place) for place in places]


def band(rows: Sequence[Sequence[Value]]) -> Band:
    """Median, lowest and highest over rows, column by column; a column may lack some rows.

    >>> band([[1, 2], [3, None], [8, 4]])
    ([3, 3.0], [1, 2], [8, 4])
    """
    columns = [[v for v in column if usable(v)] for column in zip(*rows, strict=True)]
    return (
        [median(c) if c else None for c in columns],
        [min(c, default=None) for c in columns],
        [max(c, default=None) for c in columns],
    )


def thinned(items: Iterable, limit: int) -> list:
    """Take at most ``limit`` items, evenly spaced, first and last among them.

    >>> thinned(range(10), 4)
    [0, 3, 6, 9]
    """
    items = list(items)
    if len(items) <= limit:
        return items
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _mean(cut):
    kept = [v for v in cut if usable(v)]
    return fmean(kept) if kept else None
