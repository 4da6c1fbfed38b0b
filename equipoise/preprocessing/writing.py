"""Write record batches to one Parquet or CSV file."""

from typing import Any

from equipoise.data.columnar import arrow
from equipoise.data.files import format_of
from equipoise.errors import UsageError

# rows of a row group, at most; bytes of it, about
GROUP_ROWS, GROUP_BYTES = 1 << 17, 1 << 26


class Writer:
    """Write batches of one schema to ``draft``, in the format that ``out`` ends in."""

    def __init__(self, draft: str, out: str):
        self.draft, self.out = draft, out
        self.csv = format_of(out) == "csv"
        self.schema: Any = None
        self._file: Any = None
        self._parquet: Any = None
        self._held: list[Any] = []

    def __enter__(self):
        """Open the draft."""
        self._file = open(self.draft, "wb")
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Let go of the draft, whatever state it is in."""
        try:
            if self._parquet is not None and self._parquet.is_open:
                self._parquet.close()
        except OSError:
            # a full disk, which has been told
            if kind is None:
                raise
        finally:
            self._file.close()

    def write(self, batch) -> None:
        """Write a batch.

        Raises
        ------
        UsageError
            Its columns or their types are not those before.
        """
        if self.schema is None:
            self.schema = batch.schema
        elif not batch.schema.equals(self.schema):
            raise UsageError(_other(self.schema, batch.schema))
        if self.csv:
            self._write_csv(batch)
            return
        self._held.append(batch)
        many = sum(b.num_rows for b in self._held) >= GROUP_ROWS
        if many or sum(b.nbytes for b in self._held) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is held back."""
        if not self.csv:
            self._flush()
            self._parquet.close()
        self._file.flush()

    def _flush(self) -> None:
        import pyarrow.parquet as pq

        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._file, self.schema)
        if self._held:
            # one row group; a batch alone would make many small ones
            self._parquet.write_table(arrow().Table.from_batches(self._held))
            self._held = []

    def _write_csv(self, batch) -> None:
        tab = self.out.lower().endswith(".tsv")
        if self._file.tell() == 0:
            self._file.write(_csv(batch.slice(0, 0), True, tab))
        self._file.write(_csv(batch, False, tab))


def _csv(batch, header: bool, tab: bool):
    """Give rows as CSV, quoted only where a text holds a comma, a quote or a line break."""
    try:
        return _quoted(batch, header, tab, "none")
    except arrow().ArrowInvalid:
        return _quoted(batch, header, tab, "needed")


def _quoted(batch, header: bool, tab: bool, quoting: str):
    from pyarrow import csv

    out = arrow().BufferOutputStream()
    csv.write_csv(
        batch, out,
        csv.WriteOptions(
            include_header=header, delimiter="\t" if tab else ",", quoting_style=quoting,
            quoting_header=quoting,
        ),
    )  # fmt: skip
    return out.getvalue()


def _other(before, now) -> str:
    for name in now.names:
        i, j = before.get_field_index(name), now.get_field_index(name)
        if i != j:
            return f"files must have the same columns in one order; {name!r} is not where it was"
        if before.field(i).type != now.field(j).type:
            return (
                f"files must have columns of one type; {name!r} is {before.field(i).type} in one "
                f"and {now.field(j).type} in a later one"
            )
    if len(before.names) > len(now.names):
        missing = [n for n in before.names if n not in now.names]
        return f"files must have the same columns; a later one lacks {missing[:5]}"
    # only what is said beside the columns differs
    return "files must have the same schema; their metadata differs"
