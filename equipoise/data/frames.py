"""Frames of pandas and polars, and dicts of columns, each read with its own library."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from equipoise.data.block import Block, Choice
from equipoise.data.columnar import batch_rows
from equipoise.errors import UsageError


def pandas_blocks(frame, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a pandas frame or series; null becomes NaN.

    Names are given where all are strings, else columns are chosen by position.
    """
    frame = frame.to_frame() if frame.ndim == 1 else frame
    labels = list(frame.columns)
    every = tuple(labels)
    if not all(isinstance(label, str) for label in labels):
        keep, y = choice.positions(len(labels), "the frame")
        keep = list(range(len(labels))) if keep is None else keep
        frame = frame.iloc[:, [*keep, *(() if y is None else (y,))]]
        names = [str(label) for label in frame.columns]
        features, named, every = names[: len(keep)], False, len(labels)
    else:
        choice = choice.among(labels)
        features, names = choice.features, choice.all()
        frame, named = frame[names], True
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    dtypes = [(d, is_numeric_dtype(d) or is_bool_dtype(d)) for d in frame.dtypes]
    _check(names, dtypes)

    def column(i: int, first: int, stop: int):
        values = frame.iloc[first:stop, i]
        if isinstance(values.dtype, np.dtype):
            return values.to_numpy()
        return values.to_numpy(dtype=np.float64, na_value=np.nan)

    floats = [getattr(d, "numpy_dtype", d) for d, _ in dtypes[: len(features)]]
    return _blocks(column, len(frame), names, features, floats, choice, named, batch_size, every)


def polars_blocks(frame, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a polars frame, eager or lazy, or of a series; null becomes NaN.

    A lazy one is run by the streaming engine, with only the wanted columns.
    """
    import polars as pl

    if isinstance(frame, pl.Series):
        frame = frame.to_frame()
    schema = frame.collect_schema()
    choice = choice.among(schema.names())
    features, names = choice.features, choice.all()
    _check(names, [(schema[n], _polars_number(schema[n])) for n in names])
    frame = frame.select(names)
    if isinstance(frame, pl.LazyFrame):
        parts = _batches(frame, batch_rows(len(features), batch_size))
    else:
        parts = iter([frame])
    floats = [_polars_float(schema[n]) for n in features]
    start = 0
    for part in parts:
        column = _polars_column(part, names)
        yield from _blocks(
            column, len(part), names, features, floats, choice, True, batch_size,
            tuple(schema.names()), start,
        )  # fmt: skip
        start += len(part)


def _batches(frame, rows):
    if hasattr(frame, "collect_batches"):
        return _quietly(frame, rows)
    return iter([frame.collect(engine="streaming")])


def _quietly(frame, rows):
    import warnings

    with warnings.catch_warnings():
        # polars calls the method unstable; its older versions take the other branch
        warnings.simplefilter("ignore")
        return iter(frame.collect_batches(chunk_size=rows, engine="streaming"))


def _polars_number(dtype) -> bool:
    import polars as pl

    return dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)


def _polars_float(dtype):
    import polars as pl

    return np.dtype(np.float32) if dtype == pl.Float32 else np.dtype(np.float64)


def _polars_column(frame, names):
    import polars as pl

    def column(i: int, first: int, stop: int):
        values = frame.get_column(names[i]).slice(first, stop - first)
        if not values.dtype.is_float():
            values = values.cast(pl.Float64, strict=False)
        return values.to_numpy()

    return column


def dict_blocks(columns, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give a dict of equally long vectors, such as a batch of a loader, as rows."""
    from equipoise.data.block import numpy

    choice = choice.among(list(columns))
    features, names = choice.features, choice.all()
    arrays = [numpy(columns[n]) for n in names]
    lengths = {n: a.shape for n, a in zip(names, arrays, strict=True)}
    if any(a.ndim != 1 for a in arrays) or len(set(lengths.values())) > 1:
        if len(names) == 1 and arrays[0].ndim > 1:
            # the images of a batch, chosen by their name
            return iter([Block(columns[names[0]])])
        raise UsageError(
            f"columns of a dict must be vectors of one length; got shapes {lengths}. Choose one "
            "array with columns=, or leave out those that are no columns."
        )
    _check(names, [(a.dtype, a.dtype.kind in "fiub") for a in arrays])
    floats = [a.dtype for a in arrays[: len(features)]]
    return _blocks(
        lambda i, first, stop: arrays[i][first:stop],
        len(arrays[0]), names, features, floats, choice, True, batch_size, tuple(columns),
    )  # fmt: skip


def _check(names, dtypes: list[tuple[Any, bool]]):
    numbers = [n for n, (_, good) in zip(names, dtypes, strict=True) if good]
    for name, (dtype, good) in zip(names, dtypes, strict=True):
        if not good:
            shown = ", ".join(map(repr, numbers[:8])) + (", …" if len(numbers) > 8 else "")
            advice = f"choose those that do with columns=[{shown}]" if numbers else "convert it"
            raise UsageError(f"column {name!r} must hold numbers; it holds {dtype}: {advice}")


def common_float(dtypes) -> np.dtype:
    """Give float16 or float32 where all the dtypes are at most that float, else float64."""
    sizes = [
        d if isinstance(d, np.dtype) and d.kind == "f" and d.itemsize <= 8 else np.dtype("f8")
        for d in dtypes
    ]
    return np.result_type(*sizes) if sizes else np.dtype("f8")


def _blocks(
    column: Callable[[int, int, int], np.ndarray],
    height: int, names, features, dtypes, choice: Choice, named: bool, batch_size,
    every, start: int = 0,
) -> Iterator[Block]:  # fmt: skip
    """Give ``height`` rows of columns that ``column(i, first, stop)`` gives."""
    dtype = common_float(dtypes)
    step = batch_rows(len(features), batch_size)
    for first in range(0, height, step):
        stop = min(first + step, height)
        values = np.empty((len(features), stop - first), dtype)
        for i in range(len(features)):
            values[i] = column(i, first, stop)
        target = None
        if choice.y is not None:
            target = column(len(names) - 1, first, stop).astype(np.float64)
        shown = tuple(features) if named else None
        yield Block(values.T, shown, target, "", start + first, every)
