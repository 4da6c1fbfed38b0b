"""Rows as they come out of a source, and which of its columns are wanted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from equipoise.errors import UsageError

Column = str | int


@dataclass(frozen=True)
class Block:
    """Some rows of a source.

    ``values`` is an array or tensor whose axis 0 is the rows, in any memory order; ``names`` are
    those of its columns, None where the source has none.  ``origin`` and ``start`` say where the
    rows stood, for messages: the file, if any, and the number of the first row in it.
    ``every`` names all columns of the source, or counts them where they have no names.
    """

    values: Any
    names: tuple[str, ...] | None = None
    target: Any = None
    origin: str = ""
    start: int = 0
    every: tuple[str, ...] | int = 0

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, first: int, stop: int) -> "Block":
        """Give the rows from ``first`` up to ``stop``, counted from the block's first."""
        target = None if self.target is None else self.target[first:stop]
        return replace(
            self, values=self.values[first:stop], target=target, start=self.start + first
        )

    def place(self, row: int) -> str:
        """Say where a row of the block stands in its source, counted from 0."""
        return f"row {self.start + row}" + (f" of {self.origin}" if self.origin else "")


@dataclass(frozen=True)
class Choice:
    """Which columns are wanted, and which one is the target; None means all, and none."""

    columns: tuple[Column, ...] | None = None
    y: Column | None = None

    @classmethod
    def of(cls, columns, y=None) -> "Choice":
        """Check what the user gave.

        >>> Choice.of("age", y="price")
        Choice(columns=('age',), y='price')
        """
        if isinstance(columns, str | int):
            columns = (columns,)
        if columns is not None:
            columns = tuple(columns)
            if not columns:
                raise UsageError("columns must name at least one column; leave it out for all")
            if y is not None and y in columns:
                raise UsageError(f"columns must not hold the target; got y={y!r} among them")
            _same_kind(columns)
        return cls(columns, y)

    @property
    def features(self) -> tuple[Any, ...]:
        """The chosen columns but the target."""
        return self.columns or ()

    def all(self) -> list[Any]:
        """Give every chosen column, the target last."""
        return [*(self.columns or ()), *(() if self.y is None else (self.y,))]

    def among(self, names: Sequence[str], origin: str = "") -> "Choice":
        """Give the choice among columns of these names, by name: all others are its columns.

        >>> Choice.of(None, y="c").among(["a", "b", "c"])
        Choice(columns=('a', 'b'), y='c')

        Raises
        ------
        UsageError
            A column is missing, or its name stands for several.
        """
        y = None if self.y is None else _named(self.y, names, origin)
        wanted: Sequence[Column] = [n for n in names if n != y]
        if self.columns is not None:
            wanted = self.columns
        found = Choice(tuple(_named(c, names, origin) for c in wanted), y)
        where, counts = f" of {origin}" if origin else "", Counter(names)
        for name in found.all():
            count = counts[name]
            if count == 0:
                raise UsageError(f"columns{where} must hold {name!r}; there are {_listed(names)}")
            if count > 1:
                raise UsageError(
                    f"column names{where} must differ; {count} are named {name!r}: rename them"
                )
        if not found.columns:
            raise UsageError(f"there must be a column to read{where}; there are {_listed(names)}")
        return found

    def positions(self, width: int, origin: str = "") -> tuple[list[int] | None, int | None]:
        """Give the wanted columns of an array of ``width`` columns, and the target's.

        The columns are None where they are all of the array.
        """
        y = None if self.y is None else _position(self.y, width, origin)
        if self.columns is not None:
            return [_position(c, width, origin) for c in self.columns], y
        return (None if y is None else [i for i in range(width) if i != y]), y


def difference(expected: Sequence[str], names: Sequence[str]) -> str:
    """Say how column names differ from those expected, as the end of a sentence.

    >>> difference(["a", "b"], ["b", "c"])
    "lacks 'a' and adds 'c'"
    """
    expected, names = list(expected), list(names)
    missing = [n for n in expected if n not in names]
    extra = [n for n in names if n not in expected]
    parts = [
        f"{what} {', '.join(map(repr, found[:5]))}"
        for what, found in (("lacks", missing), ("adds", extra))
        if found
    ]
    return " and ".join(parts) or "has them in another order"


def _named(column, names, origin) -> str:
    return column if isinstance(column, str) else names[_position(column, len(names), origin)]


def _same_kind(columns):
    strings = [c for c in columns if isinstance(c, str)]
    whole = [c for c in columns if isinstance(c, int | np.integer) and not isinstance(c, bool)]
    if len(columns) not in (len(strings), len(whole)):
        raise UsageError(f"columns must be names, or positions as ints; got {columns!r:.200}")
    twice = sorted(str(c) for c, count in Counter(columns).items() if count > 1)
    if twice:
        raise UsageError(f"columns must name each column once; twice: {', '.join(twice)}")


def _position(column, width, origin):
    if isinstance(column, str):
        raise UsageError(
            f"columns of {origin or 'an array'} have no names: choose them by position, from 0 to "
            f"{width - 1}; got {column!r}"
        )
    if not -width <= column < width:
        raise UsageError(
            f"columns of {origin or 'the array'} go from 0 to {width - 1}; got {column}"
        )
    return int(column) % width


def _listed(names, most=12) -> str:
    names = [repr(n) for n in names]
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def numpy(values) -> np.ndarray:
    """Give an array or tensor as NumPy's, bfloat16 as float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach()
    values = values.float() if values.dtype is torch.bfloat16 else values
    return values.cpu().resolve_neg().numpy()


def rows(values, axis: tuple[int, ...] | None, origin: str = ""):
    """Give ``values`` as a matrix: the axes of ``axis`` as rows, the others as columns.

    Without ``axis`` a vector is one column, and more than two axes are an error.
    """
    if axis is None:
        if values.ndim == 1:
            return values[:, None]
        if values.ndim != 2:
            raise UsageError(
                f"rows{' of ' + origin if origin else ''} must be vectors of numbers; got an array "
                f"of shape {tuple(values.shape)}. Lay axes out as rows with chunks(source, "
                "axis=(0, 2, 3)), here for the channels of images (N, C, H, W), or reshape it."
            )
        return values
    reduced = sorted({a % values.ndim for a in axis if -values.ndim <= a < values.ndim})
    if len(reduced) < len(axis) or 0 not in reduced:
        raise UsageError(
            f"axis must name axes of the data once each, the rows' axis 0 among them; got {axis} "
            f"for an array of shape {tuple(values.shape)}"
        )
    kept = [i for i in range(values.ndim) if i not in reduced]
    width = int(np.prod([values.shape[i] for i in kept], dtype=int))
    order = (*reduced, *kept)
    moved = values.permute(order) if isinstance(values, torch.Tensor) else values.transpose(order)
    height = int(np.prod([values.shape[i] for i in reduced], dtype=int))
    return moved.reshape(height, width)
