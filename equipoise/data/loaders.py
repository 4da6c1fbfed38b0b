"""torch's Datasets and DataLoaders, Hugging Face's datasets, Ray's datasets, plain arrays."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from equipoise.data import columnar
from equipoise.data.block import Block, Choice, numpy
from equipoise.data.frames import dict_blocks
from equipoise.errors import UsageError

SAMPLES = 256
# values converted at once where an array must be copied
VALUES = 1 << 22


def array_blocks(values, choice: Choice, batch_size=None, origin: str = "") -> Iterator[Block]:
    """Give an array or tensor, in blocks where ``batch_size`` asks for it.

    Columns are chosen by position, along the last axis of a matrix.
    """
    values = _real(values, origin)
    if choice.columns is None and choice.y is None:
        width = values.shape[1] if values.ndim > 1 else 1
        whole = Block(values, None, None, origin, 0, width)
        yield from _cut(whole, batch_size or len(values))
        return
    if values.ndim != 2:
        raise UsageError(
            f"columns are chosen of a matrix; got an array of shape {tuple(values.shape)}"
        )
    keep, y = choice.positions(values.shape[1], origin or "the array")
    # a copy of the chosen columns, a few megabytes at a time
    width = values.shape[1] if keep is None else len(keep)
    step = batch_size or max(1, VALUES // max(width, 1))
    for block in _cut(Block(values, None, None, origin), step):
        target = None if y is None else numpy(block.values[:, y])
        part = block.values if keep is None else block.values[:, keep]
        yield Block(part, None, target, origin, block.start, values.shape[1])


def _cut(block: Block, step: int) -> Iterator[Block]:
    if step >= len(block):
        yield block
        return
    for first in range(0, len(block), step):
        yield block.rows(first, min(first + step, len(block)))


def _real(values, origin: str):
    """Give an array or tensor of real numbers with at least one axis."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if isinstance(values, torch.Tensor):
        if values.is_complex() or values.layout is not torch.strided:
            raise UsageError(f"rows must be dense real numbers; got a tensor of {values.dtype}")
        values = values.detach()
    else:
        try:
            values = np.asarray(values)
        except ValueError as error:
            raise UsageError(f"rows must be of one length; NumPy says: {error}") from error
        if values.dtype.kind == "O":
            values = _of_objects(values)
        if values.dtype.kind not in "fiub":
            raise UsageError(
                f"rows must be numbers; got an array of dtype {values.dtype} and shape "
                f"{values.shape}. A path is given alone, as 'data.parquet'."
            )
    if values.ndim == 0:
        raise UsageError(f"rows must be an array with at least one axis; got the number {values}")
    return values


def _of_objects(values):
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"rows must be numbers; NumPy says: {error}") from error


def loader_blocks(loader, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the batches of a DataLoader, a Dataset or an IterableDataset.

    A batch is a tensor, a tuple whose first part is the rows (``y`` is the position of another
    part), or a dict of columns.
    """
    if isinstance(loader, torch.utils.data.TensorDataset):
        # slices of the tensors themselves: collating single samples costs a hundred times more
        return _tensors(loader.tensors, choice, batch_size)
    if not isinstance(loader, torch.utils.data.DataLoader):
        loader = torch.utils.data.DataLoader(loader, batch_size=batch_size or SAMPLES)
        batch_size = None
    return _batches(loader, choice, batch_size)


def _tensors(tensors, choice, batch_size):
    step = batch_size or max(1, VALUES // max(tensors[0][:1].numel(), 1))
    for first in range(0, len(tensors[0]), step):
        part = [t[first : first + step] for t in tensors]
        yield from batch_blocks(part, choice, first, batch_size)


def _batches(loader, choice, batch_size):
    start = 0
    for batch in loader:
        for block in batch_blocks(batch, choice, start, batch_size):
            yield block
            start += len(block)


def batch_blocks(batch, choice: Choice, start: int = 0, batch_size=None) -> Iterator[Block]:
    """Give a loader's batch as rows; the first part of a tuple, with part ``y`` as the target."""
    if isinstance(batch, dict):
        for block in dict_blocks(batch, choice, batch_size):
            yield replace(block, start=start + block.start)
        return
    target = None
    if isinstance(batch, list | tuple):
        if not batch:
            raise UsageError("a batch must hold rows; got an empty tuple")
        if choice.y is not None:
            target = _part(batch, choice.y)
            choice = Choice(choice.columns)
        batch = batch[0]
    for block in array_blocks(batch, choice, batch_size):
        mine = block.target
        if target is not None:
            mine = target[block.start : block.start + len(block)]
        yield replace(block, target=mine, start=start + block.start)


def _part(batch, y):
    if isinstance(y, str) or not 0 < y < len(batch):
        raise UsageError(
            f"y must be the position of the target in a batch, 1 to {len(batch) - 1}; got {y!r}"
        )
    return numpy(batch[y])


def hub_blocks(dataset, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a Hugging Face dataset, in memory, mapped from disk or streamed."""
    if isinstance(dataset, dict):
        splits = ", ".join(repr(name) for name in dataset)
        raise UsageError(f"a dataset must be one split; choose one of {splits}, as dataset['…']")
    every = dataset.column_names
    if every is not None:
        choice = choice.among(every)
        dataset = dataset.select_columns(choice.all())
    rows = columnar.batch_rows(len(choice.all()), batch_size)
    return _tables(dataset.with_format("arrow").iter(rows), choice, every)


def ray_blocks(dataset, choice: Choice, batch_size=None) -> Iterator[Block]:
    """Give the rows of a Ray dataset, brought to this process in batches."""
    schema = dataset.schema()
    if schema is None:
        return iter(())
    choice = choice.among(schema.names)
    batches = dataset.select_columns(choice.all()).iter_batches(
        batch_size=columnar.batch_rows(len(choice.all()), batch_size), batch_format="pyarrow"
    )
    return _tables(batches, choice, schema.names)


def _tables(tables, choice, every) -> Iterator[Block]:
    reader, schema, start = None, None, 0
    for table in tables:
        if reader is None or schema != table.schema:
            schema = table.schema
            reader = columnar.Reader(schema, choice, every=every)
        if table.num_rows:
            yield reader.block(table, start)
        start += table.num_rows
