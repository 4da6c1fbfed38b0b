"""CSV files, parsed in blocks of bytes whose borders depend on the file alone."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from typing import Any

from equipoise.data.columnar import arrow, is_number
from equipoise.data.files import PACKED, File
from equipoise.data.parquet import damaged
from equipoise.errors import UsageError

BLOCK_BYTES = 4 << 20


class CsvRows:
    """The rows of one CSV file whose first line names the columns.

    Types are those of the first block; columns of numbers are read as float64, so that an integer
    column may turn to fractions later.
    """

    schema: Any = None

    def __init__(self, file: File, metadata=None):
        self.file = file
        self._check_encoding()
        with self._reader() as first:
            self.schema = first.schema
        try:
            names = self.schema.names
        except UnicodeDecodeError as error:
            raise damaged(file, ValueError(f"its column names must be UTF-8; {error}")) from error
        self._check_header(names)

    def _check_encoding(self):
        try:
            with self._open() as text:
                start = text.read(4)
        except OSError as error:
            raise damaged(self.file, error) from error
        # marks of UTF-16 and UTF-32, or the zeros within their first letters
        if start[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) or 0 in start:
            reason = "it must be UTF-8; it begins as UTF-16 or UTF-32 does: convert it with iconv"
            raise damaged(self.file, ValueError(reason))

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
        options = csv.ReadOptions(block_size=BLOCK_BYTES)
        try:
            return csv.open_csv(self._open(), options, parse, convert)
        except (pa.ArrowException, OSError) as error:
            raise self._named(error) from error

    def _open(self) -> Any:
        """Open the text, unpacked; ``_raw`` is the file beneath."""
        pa = arrow()
        self._raw = pa.OSFile(self.file.path)
        if not self.file.path.lower().endswith(PACKED):
            return self._raw
        return pa.CompressedInputStream(self._raw, pa.Codec.detect(self.file.path).name)

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
        text = str(error).replace("invalid UTF8 data", "it must be UTF-8, and is not")
        found = re.search(r"column #(\d+)", text)
        if found and self.schema and int(found[1]) < len(self.schema.names):
            text = text.replace(found[0], f"column {self.schema.names[int(found[1])]!r}")
        return damaged(self.file, ValueError(text))

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
