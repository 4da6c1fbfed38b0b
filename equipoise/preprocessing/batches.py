"""Scale Arrow's batches and all that is read in them; other columns pass as they are."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from equipoise.data import read
from equipoise.data.block import Choice
from equipoise.data.columnar import Reader, arrow, batch_rows
from equipoise.data.files import is_path
from equipoise.data.tables import Table
from equipoise.preprocessing import columns, stream


class BatchScaler:
    """Scale batches of one schema.

    Scaled columns become float64, or stay float32 and float16; null stays null.

    Attributes
    ----------
    schema : pyarrow.Schema
        Of the batches that come out.
    """

    def __init__(self, scaler, schema, origin: str = ""):
        self.scaler, self.affine = scaler, scaler._affine()
        self.names = columns.scaled(scaler, schema.names, origin)
        self.reader = Reader(schema, Choice(self.names), origin)
        self.schema = schema
        for name in self.names:
            at = schema.get_field_index(name)
            field = schema.field(at)
            self.schema = self.schema.set(at, field.with_type(_float(field.type)))

    def __call__(self, batch, start: int = 0):
        """Give the batch, or table, with its columns scaled."""
        pa = arrow()
        block = self.reader.block(batch, start)
        values, strange = self.affine.apply(block.values)
        if strange:
            stream.refuse(block, block.values, [repr(name) for name in self.names], self.scaler)
        # by number: columns that pass may share a name
        arrays = list(batch.columns)
        for j, name in enumerate(self.names):
            at = self.schema.get_field_index(name)
            nulls = arrays[at].is_null().to_numpy(zero_copy_only=False)
            type_ = self.schema.field(at).type
            # what is not null and not a number is NaN, and stays so
            column = np.ascontiguousarray(values[:, j]).astype(type_.to_pandas_dtype(), copy=False)
            arrays[at] = pa.array(column, mask=nulls if nulls.any() else None)
        make = pa.RecordBatch if isinstance(batch, pa.RecordBatch) else pa.Table
        return make.from_arrays(arrays, schema=self.schema)


def _float(type_):
    pa = arrow()
    return type_ if pa.types.is_floating(type_) else pa.float64()


def table(scaler, source):
    """Scale an Arrow table or batch."""
    return BatchScaler(scaler, source.schema)(source)


def arrow_stream(scaler, source) -> Iterator:
    """Scale the batches of an Arrow reader or dataset."""
    if not hasattr(source, "schema"):
        source = arrow().RecordBatchReader.from_stream(source)
    batches = source.to_batches() if hasattr(source, "to_batches") else source
    one, start = BatchScaler(scaler, source.schema), 0
    for batch in batches:
        yield one(batch, start)
        start += batch.num_rows


def files(scaler, source) -> Iterator:
    """Scale the batches of Parquet or CSV files."""
    return (batch for batch, _ in scaled(scaler, open_table(scaler, source)))


def open_table(scaler, source) -> Table:
    """Open files whose columns are to be scaled, and check that all have them."""
    known, chosen = columns.known_names(scaler), scaler._chosen
    if known is None:
        choice = Choice(None if chosen is None else tuple(map(int, chosen)))
    else:
        choice = Choice(tuple(known if chosen is None else (known[i] for i in chosen)))
    rows = Table(source, choice)
    # all of a batch's columns are held, not only those that are scaled
    rows.rows = batch_rows(len(rows.every))
    for number, file in enumerate(rows.files):
        opened = rows.open(number)
        columns.scaled(scaler, opened.schema.names, file.path)
        opened.close()
    return rows


def scaled(scaler, rows: Table, types: Callable | None = None) -> Iterator:
    """Give (scaled batch, bytes read up to it) of files.

    ``types(file)`` gives the Arrow types that the other columns of a CSV are read as.
    """
    before = 0.0
    for number, file in enumerate(rows.files):
        opened, one = rows.open(number), None
        try:
            options = {}
            if types and file.format == "csv":
                passed = {k: t for k, t in types(opened).items() if k not in rows.names}
                options["types"] = passed | opened.types(rows.names)
            for start, batch, share in opened.batches(opened.schema.names, rows.rows, **options):
                one = one or BatchScaler(scaler, batch.schema, file.path)
                yield one(batch, start), before + share * file.size
        finally:
            opened.close()
        before += file.size


def lazy(scaler, source):
    """Scale a lazy frame of polars: a lazy frame, scaled batch by batch as it is run."""
    import polars as pl

    schema = source.collect_schema()
    names = columns.scaled(scaler, schema.names())
    out = {n: (t if n not in names or t.is_float() else pl.Float64()) for n, t in schema.items()}

    def scale(frame):
        return pl.from_arrow(table(scaler, frame.to_arrow()))

    return source.map_batches(scale, schema=pl.Schema(out), streamable=True)


def ray(scaler, source):
    """Scale a Ray dataset where its blocks are."""
    from equipoise.integrations import ray as integration

    return integration.transform(scaler, source)


def loader(scaler, source) -> Iterator:
    """Scale the batches of a loader: their first part, where they have several."""
    if not isinstance(source, torch.utils.data.DataLoader):
        source = torch.utils.data.DataLoader(source, batch_size=256)
    return iterator(scaler, source)


def iterator(scaler, source) -> Iterator:
    """Scale each chunk that comes; of a tuple, the first part."""
    for chunk in source:
        if isinstance(chunk, tuple) or (
            isinstance(chunk, list) and chunk and isinstance(chunk[0], torch.Tensor)
        ):
            yield type(chunk)((scaler.transform(chunk[0]), *chunk[1:]))
        else:
            yield scaler.transform(chunk)


def hub(scaler, source) -> Iterator:
    """Scale the batches of a Hugging Face dataset."""
    one, start = None, 0
    for batch in source.with_format("arrow").iter(1 << 14):
        one = one or BatchScaler(scaler, batch.schema)
        yield one(batch, start)
        start += batch.num_rows


KINDS = (
    (is_path, files),
    (read.is_ray, ray),
    (lambda s: read.comes_from(s, "polars", "LazyFrame"), lazy),
    (lambda s: read.comes_from(s, "pyarrow", "Table", "RecordBatch"), table),
    (lambda s: read.comes_from(s, "pyarrow", "Dataset", "RecordBatchReader"), arrow_stream),
    (lambda s: read.comes_from(s, "datasets", "Dataset", "IterableDataset"), hub),
    (
        lambda s: isinstance(s, torch.utils.data.Dataset | torch.utils.data.DataLoader),
        loader,
    ),
    (lambda s: isinstance(s, Iterator), iterator),
    (lambda s: hasattr(s, "__arrow_c_stream__"), arrow_stream),
)
