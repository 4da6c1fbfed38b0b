"""Merge many summaries in a fixed order in which few roundings meet."""

from collections.abc import Iterable
from typing import Any


class Fold:
    """Summaries merged as they come, each with one that stands for as many.

    Merging one after the other would round the first n times; here no summary is merged more
    than log2(n) times, and at most log2(n) are held.  The order depends on the number alone, so
    the result is the same to the bit whether or not `parts` was saved on the way.

    Attributes
    ----------
    parts : list of (int, Summary)
        How many each stands for, falling.

    Examples
    --------
    >>> from equipoise import Moments
    >>> fold = Fold()
    >>> for value in range(7):
    ...     fold.add(Moments.of([float(value)]))
    >>> [count for count, _ in fold.parts], fold.total().mean
    ([4, 2, 1], np.float64(3.0))
    """

    def __init__(self, parts: Iterable[tuple[int, Any]] = ()):
        self.parts = list(parts)

    def add(self, summary) -> None:
        """Take in one more."""
        self.parts.append((1, summary))
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            count, last = self.parts.pop()
            self.parts[-1] = (2 * count, self.parts[-1][1].merge(last))

    def total(self) -> Any:
        """Give the summary of all; None of none."""
        if not self.parts:
            return None
        *before, (_, total) = self.parts
        for _, summary in reversed(before):
            total = summary.merge(total)
        return total


def merged(summaries: Iterable[Any]) -> Any:
    """Give the summary of all, in their order; None of none."""
    fold = Fold()
    for summary in summaries:
        fold.add(summary)
    return fold.total()
