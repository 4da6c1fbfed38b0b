"""What `chunks` takes, and how each kind of source becomes blocks of rows."""

from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch

from equipoise.data import columnar, frames, loaders
from equipoise.data.ahead import ahead
from equipoise.data.block import Block, Choice, numpy, rows
from equipoise.data.files import is_path
from equipoise.errors import UsageError


def chunks(source, columns=None, y=None, batch_size: int | None = None, *, axis=None) -> Iterator:
    """Give the rows of any source as matrices that fit in memory, in a fixed order.

    Parameters
    ----------
    source : one of
        * an array, a torch tensor on any device, nested lists, a dict of vectors;
        * a frame of pandas, or one of polars, eager or lazy;
        * an Arrow table, batch, reader or dataset, or what else has ``__arrow_c_stream__``;
        * the path of a Parquet or CSV file, a glob, a folder, or a list of paths;
        * a torch ``Dataset`` or ``DataLoader``;
        * a Hugging Face dataset, or a ``ray.data.Dataset``;
        * an iterator, whose items are any of the arrays, frames and tables above, or tuples with
          the rows first.  A list is one array; only iterators are streams of chunks.
    columns : names, or positions where the source has no names; optional
        Which columns to read, in this order; all without it.  Files read no others.
    y : name or position, optional
        The column that is the target; for batches that are tuples, the position of that part.
    batch_size : int, optional
        The most rows of a chunk; a few megabytes without it, or an array as a whole.
    axis : tuple of ints, optional
        For rows that are images or sequences: which axes to lay out as rows, as ``(0, 2, 3)`` for
        the channels of (N, C, H, W).

    Yields
    ------
    (array, names) or (array, names, target)
        A C-ordered NumPy matrix (rows, columns); the columns' names as a tuple of strings, or
        None; with ``y`` the target of each row.  Arrays and tensors keep their dtype.  Columns of
        tables become float32 where all are, else float64; null is NaN.

    Raises
    ------
    UsageError
        A ValueError: no such source or column, a column without numbers, files whose columns
        differ, a file that is damaged, with its name.

    Examples
    --------
    >>> import numpy as np
    >>> for X, names, y in chunks({"a": [1, 2, 3], "b": [4, 5, 6]}, y="b", batch_size=2):
    ...     print(X.tolist(), names, y)
    [[1.0], [2.0]] ('a',) [4. 5.]
    [[3.0]] ('a',) [6.]
    >>> parts = (np.ones((2, 3)) for _ in range(4))
    >>> sum(len(X) for X, names in chunks(parts))
    8
    """
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
        raise UsageError(f"batch_size must be a positive number of rows; got {batch_size!r}")
    whole = axis is None or (
        isinstance(axis, tuple | list)
        and all(isinstance(a, Integral) and not isinstance(a, bool) for a in axis)
    )
    if not whole:
        raise UsageError(f"axis must be a tuple of ints, as (0, 2, 3); got {axis!r}")
    found = blocks(source, Choice.of(columns, y), batch_size)
    return _matrices(found, y is not None, axis)


def _matrices(found, with_target, axis):
    for block in found:
        values = np.ascontiguousarray(numpy(rows(block.values, axis, block.origin)))
        if with_target:
            yield values, block.names, block.target
        else:
            yield values, block.names


def blocks(source, choice: Choice | None = None, batch_size: int | None = None) -> Iterator[Block]:
    """Give a source's rows in blocks of any memory order; see `chunks`.

    Blocks without a row are left out.
    """
    choice = choice or Choice()
    for block in _reader(source)(source, choice, batch_size):
        if len(block):
            yield block


def _reader(source) -> Any:
    """Find the function that reads such a source; no library is imported to find out."""
    for is_one, reader in READERS:
        if is_one(source):
            return reader
    raise UsageError(
        f"cannot read rows from {_name(type(source))}: give an array, a frame, a table, a path, a "
        "torch Dataset or DataLoader, a Hugging Face or Ray dataset, or an iterator of arrays"
        + (", as iter(source)" if hasattr(source, "__iter__") else "")
    )


def _name(kind) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def comes_from(source, package: str, *names: str) -> bool:
    """Say whether a source is of one of a package's classes, without importing the package.

    >>> comes_from(np.zeros(2), "numpy", "ndarray")
    True
    """
    return any(
        c.__name__ in names and c.__module__.partition(".")[0] == package
        for c in type(source).__mro__
    )


def is_ray(source) -> bool:
    """Say whether a source is a ``ray.data.Dataset``."""
    return comes_from(source, "ray", "Dataset", "MaterializedDataset")


def _is_array(source) -> bool:
    return isinstance(source, np.ndarray | torch.Tensor | list | tuple) or hasattr(
        source, "__array__"
    )


def _is_loader(source) -> bool:
    return isinstance(source, torch.utils.data.Dataset | torch.utils.data.DataLoader)


def _is_sparse(source) -> bool:
    return comes_from(source, "scipy", "sparray", "spmatrix", "_spbase")


def _refuse_sparse(source, choice, batch_size):
    raise UsageError(
        "a sparse matrix is not read in chunks: give it to a scaler as it is, or give an iterator "
        "over parts of it, as (X[i:i + 1000].toarray() for i in range(0, X.shape[0], 1000))"
    )


def _is_open(source) -> bool:
    """Tell an open file, whose lines an iterator of chunks would take for paths."""
    return hasattr(source, "read") and hasattr(source, "readline")


def _refuse_open(source, choice, batch_size):
    raise UsageError(
        f"give a file by its path, not opened; got a {_name(type(source))}, opened as "
        f"{getattr(source, 'name', 'nothing')!r}"
    )


def _files(source, choice, batch_size):
    from equipoise.data.tables import Table

    source = list(source) if isinstance(source, tuple) else source
    table = Table(source, choice, batch_size)
    for block, _ in ahead(table.blocks()):
        yield from _cut(block, batch_size)


def _cut(block, batch_size):
    for first in range(0, len(block), batch_size or len(block) or 1):
        yield block.rows(first, first + (batch_size or len(block)))


def _arrow_table(source, choice, batch_size):
    return columnar.table_blocks(source, choice, batch_size)


def _arrow_stream(source, choice, batch_size):
    if not comes_from(source, "pyarrow", "RecordBatchReader"):
        source = columnar.arrow().RecordBatchReader.from_stream(source)
    found = columnar.stream_blocks(source, choice)
    return (part for block in found for part in _cut(block, batch_size))


def _stream(source, choice, batch_size):
    """Read an iterator: its chunks must agree on their columns."""
    shape, start = None, 0
    for number, chunk in enumerate(source):
        parts = _parts(chunk)
        for block in _chunk(parts, chunk, choice, batch_size, number):
            mine = (tuple(block.values.shape[1:2]), block.names)
            if shape is not None and mine != shape and len(block):
                raise UsageError(_other(number, shape, mine))
            shape = mine if len(block) else shape
            yield replace(block, start=start)
            start += len(block)


def _chunk(parts, chunk, choice, batch_size, number):
    if parts is _stream:
        raise UsageError(f"chunk {number} of the iterator is itself an iterator: flatten them")
    if parts is loaders.batch_blocks:
        return parts(chunk, choice, 0, batch_size)
    return parts(chunk, choice, batch_size)


def _parts(chunk) -> Any:
    if _is_ours(chunk):
        return _of_chunks
    return loaders.batch_blocks if _is_batch(chunk) else _reader(chunk)


def _is_ours(chunk) -> bool:
    """Say whether an item is what `chunks` yields: rows beside their names."""
    if not isinstance(chunk, tuple) or not 2 <= len(chunk) <= 3:
        return False
    names = chunk[1]
    named = isinstance(names, tuple) and all(isinstance(n, str) for n in names)
    return isinstance(chunk[0], np.ndarray) and (names is None or named)


def _of_chunks(chunk, choice, batch_size):
    """Read what `chunks` yielded, whose target was already taken out of the rows."""
    values, names = chunk[:2]
    if names is None:
        return loaders.array_blocks(values, choice, batch_size)
    named = choice.among(names)
    by_number = Choice(*_numbers(named, names))
    found = loaders.array_blocks(values, by_number, batch_size)
    return (replace(block, names=named.columns, every=names) for block in found)


def _numbers(choice, names):
    return tuple(map(names.index, choice.columns)), choice.y and names.index(choice.y)


def _is_batch(chunk) -> bool:
    """Say whether an item is a loader's batch: a dict, a tuple, or a list of tensors."""
    if isinstance(chunk, list):
        return bool(chunk) and all(isinstance(p, torch.Tensor) and p.ndim for p in chunk)
    return isinstance(chunk, dict | tuple)


def _other(number, expected, found) -> str:
    kinds = [
        f"{shape[0] if shape else 1} columns" + (f" named {names!r:.200}" if names else "")
        for shape, names in (expected, found)
    ]
    return (
        f"chunks must have the same columns; chunk {number} has {kinds[1]}, those before it "
        f"{kinds[0]}"
    )


# the first that fits: frames before arrays, for they too have __array__
READERS = (
    (is_path, _files),
    (_is_open, _refuse_open),
    (_is_sparse, _refuse_sparse),
    (lambda s: comes_from(s, "pandas", "DataFrame", "Series"), frames.pandas_blocks),
    (lambda s: comes_from(s, "polars", "DataFrame", "LazyFrame", "Series"), frames.polars_blocks),
    (lambda s: comes_from(s, "pyarrow", "Table", "RecordBatch"), _arrow_table),
    (lambda s: comes_from(s, "pyarrow", "Dataset"), columnar.dataset_blocks),
    (lambda s: comes_from(s, "pyarrow", "RecordBatchReader"), _arrow_stream),
    (
        lambda s: comes_from(s, "datasets", "Dataset", "IterableDataset", "DatasetDict"),
        loaders.hub_blocks,
    ),
    (is_ray, loaders.ray_blocks),
    (_is_loader, loaders.loader_blocks),
    (lambda s: isinstance(s, dict), frames.dict_blocks),
    (_is_array, loaders.array_blocks),
    (lambda s: hasattr(s, "__arrow_c_stream__"), _arrow_stream),
    (lambda s: isinstance(s, Iterator), _stream),
)
