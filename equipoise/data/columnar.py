"""Arrow's columns as a matrix of floats."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from equipoise.data.block import Block, Choice
from equipoise.data.files import format_of
from equipoise.errors import UsageError

# rows of a block: about this many values; smaller ones cost pyarrow more for each column
VALUES = 1 << 21
MIN_ROWS, MAX_ROWS = 1 << 10, 1 << 17
# bytes of a few columns that are decoded together, so that they are summed from the cache
STRIP_BYTES = 1 << 21


def arrow():
    """Import pyarrow, or say which extra brings it."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "reading tables and files needs pyarrow: pip install 'equipoise[arrow]'"
        ) from error
    return pyarrow


def batch_rows(columns: int, batch_size: int | None = None) -> int:
    """Give the rows of a block of so many columns.

    >>> batch_rows(50), batch_rows(50, batch_size=100)
    (41943, 100)
    """
    return batch_size or min(MAX_ROWS, max(MIN_ROWS, VALUES // max(columns, 1)))


def is_number(type_) -> bool:
    """Say whether values of this Arrow type become floats: integers, floats, bool, decimals."""
    types = arrow().types
    known = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    # a column that is all null has no other type
    return types.is_null(type_) or any(test(type_) for test in known)


def float_type(types) -> np.dtype:
    """Give the one dtype that columns of these Arrow types become.

    float16 and float32 where all are at most that, else float64.
    """
    sizes = [np.dtype(t.to_pandas_dtype()) if _floats(t) else np.dtype("f8") for t in types]
    return np.result_type(*sizes) if sizes else np.dtype("f8")


def _floats(type_) -> bool:
    return arrow().types.is_floating(type_)


def check(schema, features, y=None, origin: str = "") -> None:
    """Refuse a schema in which a wanted column holds no numbers.

    Raises
    ------
    UsageError
        With the name and type of the first such column, and what could be taken instead.
    """
    for name in (*features, *(() if y is None else (y,))):
        type_ = schema.field(name).type
        if not is_number(type_):
            raise UsageError(_no_number(schema, features, name, type_, origin))


def _no_number(schema, features, name, type_, origin):
    others = [n for n in features if is_number(schema.field(n).type)]
    advice = "no other does; convert it first"
    if others:
        shown = ", ".join(repr(n) for n in others[:8]) + (", …" if len(others) > 8 else "")
        advice = f"choose those that do with columns=[{shown}]"
    where = f" of {origin}" if origin else ""
    # what a CSV holds that is no number is text, and binary where that is not UTF-8
    binary = arrow().types.is_binary(type_) and format_of(origin) == "csv"
    held = "text that is not UTF-8" if binary else type_
    return f"column {name!r}{where} must hold numbers; it holds {held}: {advice}"


class Columns:
    """Columns of one height and dtype, each where it lies; slices of rows are matrices.

    >>> x = Columns([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    >>> x.shape, x[:1]
    ((2, 2), array([[1., 3.]]))
    """

    ndim = 2

    def __init__(self, columns: list[np.ndarray]):
        self.columns = columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.stack([column[rows] for column in self.columns], axis=1)


class Strips:
    """Columns of a file's row groups, decoded a few at a time, each time they are asked for.

    Memory holds one batch of one strip, whatever the number of columns and rows.
    """

    ndim = 2

    def __init__(self, groups, names, dtype: np.dtype):
        self._groups, self._names, self._dtype = groups, names, dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self._names)

    def __len__(self) -> int:
        return self._groups.num_rows

    def __iter__(self) -> Iterator[Iterator[Columns]]:
        """Give for every few columns, from the left, their batches from the top."""
        rows = min(self._groups.height, MAX_ROWS)
        width = max(1, STRIP_BYTES // (rows * self._dtype.itemsize))
        for i in range(0, len(self._names), width):
            yield self._strip(self._names[i : i + width])

    def _strip(self, names):
        for batch in self._groups.batches(names, MAX_ROWS):
            yield apart(batch, names, self._dtype)

    def matrices(self) -> Iterator[np.ndarray]:
        """Give some rows of all columns at a time."""
        for batch in self._groups.batches(self._names, batch_rows(len(self._names))):
            yield matrix(batch, self._names, self._dtype)


def apart(batch, names, dtype: np.dtype) -> Columns:
    """Give columns of a batch or table as they lie: copied only for a null or another type."""
    wanted = arrow().from_numpy_dtype(dtype)
    return Columns([_column(batch.column(name), wanted, dtype) for name in names])


def _column(column, wanted, dtype):
    if column.type == wanted and not hasattr(column, "chunks"):
        return column.to_numpy(zero_copy_only=False)
    out = np.empty(len(column), dtype)
    _fill(out, column, dtype)
    return out


def matrix(batch, names, dtype: np.dtype) -> np.ndarray:
    """Give columns of a batch or table as a matrix (rows, columns) whose columns are contiguous.

    Null becomes NaN.
    """
    out = np.empty((len(names), batch.num_rows), dtype)
    for values, name in zip(out, names, strict=True):
        _fill(values, batch.column(name), dtype)
    return out.T


def _fill(out, column, dtype):
    pa = arrow()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else (column,)
    start = 0
    for chunk in chunks:
        part = out[start : start + len(chunk)]
        if _floats(chunk.type):
            part[:] = chunk.to_numpy(zero_copy_only=False)
        elif pa.types.is_null(chunk.type):
            part[:] = np.nan
        else:
            part[:] = chunk.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        start += len(chunk)


class Reader:
    """Turn the batches of one schema into blocks: what is wanted is decided once."""

    def __init__(self, schema, choice: Choice, origin: str = "", every=None):
        choice = choice.among(schema.names, origin)
        self.origin, self.y = origin, choice.y
        self.every = tuple(every or schema.names)
        self.names: Any = choice.columns
        check(schema, self.names, self.y, origin)
        self.dtype = float_type(schema.field(n).type for n in self.names)
        self.read: Any = choice.all()

    def block(self, batch, start: int = 0, form: Callable = matrix) -> Block:
        """Give a batch's rows, as a `matrix` or as columns `apart`."""
        target = None
        if self.y is not None:
            target = matrix(batch, [self.y], np.dtype("f8"))[:, 0]
        values = form(batch, self.names, self.dtype)
        return Block(values, self.names, target, self.origin, start, self.every)

    def blocks(self, batches) -> Iterator[Block]:
        """Give the batches' rows, numbered from 0."""
        start = 0
        for batch in batches:
            if batch.num_rows:
                yield self.block(batch, start)
            start += batch.num_rows


def table_blocks(table, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give a table, or a batch, in blocks."""
    reader = Reader(table.schema, choice)
    step = batch_rows(len(reader.names), batch_size)
    parts = (table.slice(i, step) for i in range(0, table.num_rows, step))
    return reader.blocks(parts)


def dataset_blocks(dataset, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a ``pyarrow.dataset.Dataset``, a few batches of it in memory at a time."""
    import pyarrow.dataset as ds

    reader = Reader(dataset.schema, choice)
    options = {}
    if getattr(getattr(dataset, "format", None), "default_extname", "") == "parquet":
        # without both a whole row group would be in memory
        options["fragment_scan_options"] = ds.ParquetFragmentScanOptions(
            use_buffered_stream=True, pre_buffer=False
        )
    batches = dataset.to_batches(
        columns=reader.read,
        batch_size=batch_rows(len(reader.names), batch_size),
        batch_readahead=2,
        fragment_readahead=1,
        **options,
    )
    return reader.blocks(batches)


def stream_blocks(batches, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a ``RecordBatchReader``."""
    reader = Reader(batches.schema, choice)
    return reader.blocks(batches)
