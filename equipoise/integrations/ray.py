"""Ray Data: blocks are summarised and scaled where they are; Ray schedules, ships and retries."""

import pickle
import re
from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from equipoise.data.block import Choice
from equipoise.data.columnar import Reader
from equipoise.errors import UsageError
from equipoise.preprocessing import stream
from equipoise.preprocessing.batches import BatchScaler
from equipoise.preprocessing.folding import merged

# summaries that one task merges
MERGED = 256
_ARROW: Any = {"batch_format": "pyarrow", "zero_copy_batch": True}


def summarize(scaler, dataset, reset: bool = True) -> Any:
    """Give the summary of a ``ray.data.Dataset``'s rows; None where there is none.

    Each block becomes a summary of a few numbers a column in a task next to it, tasks merge
    these by the hundred, and the last few are merged here; no row comes here.  A task that dies
    with its worker or node is run again by Ray, and its block counts once.

    Parameters
    ----------
    scaler : Scaler
        Learns the names of the dataset's columns; with ``reset=False``, they must be the known
        ones.
    dataset : ray.data.Dataset
        Only the columns that are scaled are read.

    Raises
    ------
    UsageError
        A column is missing, holds no numbers, or an infinity.
    """
    schema = dataset.schema()
    if schema is None:
        return None
    choice = stream.choice(scaler).among(schema.names)
    stream.note(scaler, tuple(schema.names), reset)
    if _arrow(schema) is not None:
        # raises here what would raise in a task
        Reader(_arrow(schema), choice)
    only = dataset.select_columns(choice.all())
    try:
        # no aggregation of Ray's: that starts processes of its own for every call
        parts = only.map_batches(
            _summarizer(scaler, choice, schema.names), batch_size=None, **_ARROW
        )
        last = list(parts.map_batches(_merge, batch_size=MERGED, **_ARROW).iter_rows())
    except Exception as error:
        raise _told(error) from error
    return merged(pickle.loads(row["summary"]) for row in last)


def transform(scaler, dataset) -> Any:
    """Give the ``ray.data.Dataset`` whose blocks are the scaled ones of ``dataset``, lazily."""
    schema = dataset.schema()
    if schema is not None and _arrow(schema) is not None:
        BatchScaler(scaler, _arrow(schema))

    def scale(batch):
        return BatchScaler(scaler, batch.schema)(batch)

    return dataset.map_batches(scale, batch_size=None, **_ARROW)


def _arrow(schema) -> Any:
    """Give Arrow's schema; None for blocks of pandas, whose tasks must look for themselves."""
    import pyarrow as pa

    return schema.base_schema if isinstance(schema.base_schema, pa.Schema) else None


def _summarizer(scaler, choice: Choice, names) -> Callable:
    """Give the function of a block that gives its summary, as one row of bytes."""
    # parameters and columns, and nothing that was learnt
    blank = clone(scaler)
    stream.note(blank, tuple(names), True)

    def one(block):
        if not block.num_rows:
            return {"summary": []}
        rows = Reader(block.schema, choice, "a block", every=names).block(block)
        return {"summary": [pickle.dumps(stream.summarize(blank, rows, False))]}

    return one


def _merge(table) -> dict[str, list[bytes]]:
    """Give the summary of many, as one row."""
    parts = [pickle.loads(packed) for packed in table.column("summary").to_pylist()]
    return {"summary": [pickle.dumps(merged(parts))] if parts else []}


def _told(error: BaseException) -> BaseException:
    """Find what a task refused: between processes only the text of an error's cause survives."""
    found = re.search(r"UsageError: (.+)", str(error))
    return UsageError(found[1]) if found else error
