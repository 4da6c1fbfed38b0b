"""CSV files, parsed in blocks of bytes whose borders depend on the file alone."""

import re
from collections.abc import Iterator
from typing import Any

from equipoise.data.columnar import arrow, is_number
from equipoise.data.files import File
from equipoise.data.parquet import damaged
from equipoise.errors import UsageError

BLOCK_BYTES = 4 << 20


class CsvRows:
    """The rows of one CSV file whose first line names the columns.

    Types are those of the first block; columns of numbers are read as float64, so that an integer
    column may turn to fractions later.
    """

    def __init__(self, file: File, metadata=None):
        self.file = file
        with self._reader() as first:
            self.schema = first.schema
        try:
            names = self.schema.names
        except UnicodeDecodeError as error:
            raise damaged(file, ValueError(f"its column names must be UTF-8; {error}")) from error
        self._check_header(names)

    def _check_header(self, names):
        if all(_number(name) for name in names):
            raise UsageError(
                f"the first line of {self.file.path} must name the columns; it holds the numbers "
                f"{', '.join(names[:5])}: add a line of names"
            )

    def _reader(self, columns=None, types=None, strings=False) -> Any:
        pa = arrow()
        from pyarrow import csv

        parse = csv.ParseOptions(delimiter="\t" if ".tsv" in self.file.path.lower() else ",")
        convert = csv.ConvertOptions(
            column_types=types, include_columns=columns, strings_can_be_null=not strings
        )
        try:
            self._raw = pa.OSFile(self.file.path)
            packed = pa.Codec.detect(self.file.path) if _packed(self.file.path) else None
            stream = pa.CompressedInputStream(self._raw, packed.name) if packed else self._raw
            return csv.open_csv(stream, csv.ReadOptions(block_size=BLOCK_BYTES), parse, convert)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.file, error) from error

    metadata = None

    def parts(self, rows: int) -> list[tuple[int, None]]:
        """Give the file as one part: where a line begins is known only by parsing."""
        return [(0, None)]

    def batches(
        self, columns, rows: int = 0, after: int = 0, stop: int | None = None, types=None
    ) -> Iterator[tuple[int, Any, float]]:
        """Give (number of the first row, batch, share of the file read) from row ``after`` on.

        ``after`` must be where a batch began.  ``types`` are Arrow types by column; without it
        numbers are float64 and the rest is as in the first block.
        """
        pa = arrow()
        if types is None:
            types = self.types(columns)
        first = 0
        with self._reader(list(columns), types, strings=True) as reader:
            try:
                for batch in reader:
                    if first >= after and batch.num_rows:
                        done = self._raw.tell() / max(self.file.size, 1)
                        yield first, batch, min(done, 1.0)
                    first += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise self._named(error) from error

    def types(self, columns) -> dict[str, Any]:
        """Give the types that the wanted columns are read as."""
        pa = arrow()
        return {
            f.name: pa.float64()
            for f in self.schema
            if f.name in set(columns) and is_number(f.type) and f.type != pa.bool_()
        }

    def _named(self, error) -> UsageError:
        """Put the name of the column into Arrow's reason, which knows its number."""
        found = re.search(r"column #(\d+)", str(error))
        if found and int(found[1]) < len(self.schema.names):
            name = self.schema.names[int(found[1])]
            error = ValueError(str(error).replace(found[0], f"column {name!r}"))
        return damaged(self.file, error)

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()


def _packed(path: str) -> bool:
    return path.lower().endswith((".gz", ".bz2", ".zst"))


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
