"""Fit and transform what comes chunk by chunk."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from equipoise.data import read
from equipoise.data.ahead import in_order
from equipoise.data.block import Block, Choice, rows
from equipoise.data.columnar import Strips
from equipoise.data.files import is_path
from equipoise.data.tables import Position, Table
from equipoise.errors import UsageError
from equipoise.preprocessing import finite
from equipoise.preprocessing.folding import Fold, merged


def fit(scaler, source, reset: bool = True, batch_size: int | None = None):
    """Let ``scaler`` adopt the summary of a source's rows, in bounded memory; give the scaler.

    Parameters
    ----------
    scaler : Scaler
        Its ``columns`` are all that is read.
    source : what `equipoise.data.chunks` takes
        A ``ray.data.Dataset`` is summarised where its blocks are.
    reset : bool
        Forget what was learnt before; else merge with it.
    batch_size : int, optional
        The most rows read at once.

    Raises
    ------
    UsageError
        A ValueError: no row; a column without a number, or with an infinity, by its name and
        first row; what `chunks` raises.
    """
    if read.is_ray(source):
        from equipoise.integrations import ray

        total = ray.summarize(scaler, source, reset)
    elif is_path(source):
        table = Table(source, choice(scaler), batch_size)
        note(scaler, table.every, reset)
        total = merged(part for part, _, _ in of_files(scaler, table))
    else:
        total = fold(scaler, read.blocks(source, choice(scaler), batch_size), reset)
    if total is None:
        raise UsageError(
            f"{type(scaler).__name__} must see at least one row to learn from; the source has none"
        )
    adopt(scaler, total if reset else scaler._summary.merge(total))
    return scaler


def choice(scaler) -> Choice:
    """Give the columns that a scaler reads of a source."""
    columns = scaler.columns
    if columns is None:
        return Choice()
    columns = list(columns)
    if columns and all(isinstance(c, bool | np.bool_) for c in columns):
        columns = np.flatnonzero(columns).tolist()
    return Choice.of(columns)


def fold(scaler, blocks: Iterator[Block], reset: bool = True) -> Any:
    """Give the summary of all blocks, merged in their order; None where there is no row."""
    found = Fold()
    for block in blocks:
        found.add(summarize(scaler, block, reset and not found.parts))
    return found.total()


def summarize(scaler, block: Block, reset: bool) -> Any:
    """Give a block's summary; note its columns, or check that they are the known ones."""
    if getattr(block.values, "ndim", 2) == 1 and block.names is None:
        raise UsageError(
            f"{block.origin or 'each chunk'} must be a matrix (rows, columns); got a vector of "
            f"shape {tuple(block.values.shape)}: one row is x[None, :], one column x[:, None]"
        )
    matrix = rows(block.values, None, block.origin)
    note(scaler, block.every or matrix.shape[1], reset)
    summary = _summary(scaler, matrix)
    if not summary.finite():
        refuse(block, matrix, scaler._column_names())
    return summary


def _summary(scaler, matrix) -> Any:
    if not isinstance(matrix, Strips):
        return scaler._summarize(matrix)
    parts = [merged(map(scaler._summarize, strip)) for strip in matrix]
    return parts[0].beside(parts[1:])


def of_files(
    scaler, table: Table, after: Position | None = None
) -> Iterator[tuple[Any, int, Position]]:
    """Give (summary, rows, position behind) of every block of files, in their order.

    Threads decode and summarise several parts at once, each by itself: threads that wait for
    each other within a part would cost more than they bring.  What a part's columns sum to is
    merged in the order of the parts, so the result is the same to the bit with any number of
    threads.
    """

    def summaries(unit):
        for block, behind in unit():
            yield summarize(scaler, block, False), len(block), behind

    units = (partial(summaries, unit) for unit in table.units(after, by_column=True))
    before = torch.get_num_threads()
    try:
        yield from in_order(units, max(before, 1), begin=partial(torch.set_num_threads, 1))
    finally:
        # new threads take their number from the last that was set
        torch.set_num_threads(before)


def refuse(block: Block, matrix, names, scaler=None) -> None:
    """Raise, naming the column, the first row and the file of what must not be there.

    That is an infinity, and NaN as well where ``scaler`` takes none.
    """
    start = 0
    nan = scaler is None or finite.may_be_nan(scaler)
    for part in matrix.matrices() if isinstance(matrix, Strips) else (matrix,):
        found = finite.first(part, finite.allowed(nan))
        if found is not None:
            row, column, value = found
            raise UsageError(
                f"values must be finite{' or NaN' if nan else ''}: column {names[column]} holds "
                f"{value} in {block.place(start + row)}. Drop such rows, or "
                + ("turn the value into NaN, which is left out." if nan else "fill them.")
            )
        start += len(part)
    raise UsageError(f"values must lie within float64; those of {block.place(0)} on do not")


def note(scaler, every, reset: bool) -> None:
    """Tell the scaler the names of a source's columns, or how many there are."""
    names, width = (None, every) if isinstance(every, int) else (every, len(every))
    scaler._note_columns(names, width, reset)


def adopt(scaler, summary) -> None:
    """Let the scaler adopt a summary in which every column holds a number."""
    scaler._adopt(summary)
    affine = scaler._affine()
    nothing = np.flatnonzero(np.isnan(affine.shift) | np.isnan(affine.scale))
    if nothing.size:
        names = scaler._column_names()
        shown = ", ".join(names[i] for i in nothing[:5]) + (", …" if len(nothing) > 5 else "")
        raise UsageError(
            f"each column must hold a number; {shown} {'hold' if len(nothing) > 1 else 'holds'} "
            "only NaN or null. Leave it out with columns=."
        )


def transform(scaler, source) -> Any:
    """Scale a source: lazily, chunk by chunk, in its order.

    Arrow tables and batches give the same; ``ray.data.Dataset`` a Dataset; an iterator gives an
    iterator over its chunks, each transformed; Arrow readers, Arrow datasets and files an iterator
    of record batches with all columns; loaders an iterator of batches whose first part is scaled.
    """
    return _transformer(source)(scaler, source)


def _transformer(source) -> Callable:
    from equipoise.preprocessing import batches

    for is_one, function in batches.KINDS:
        if is_one(source):
            return function
    raise UsageError(
        f"transform takes arrays, frames, tables, files, loaders and iterators of them; got "
        f"{type(source).__module__}.{type(source).__qualname__}"
    )
