"""Files as one table: columns agreed on before a row is read, then blocks in a fixed order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from equipoise.data.block import Block, Choice, difference
from equipoise.data.columnar import Reader, Strips, apart, batch_rows, matrix
from equipoise.data.csv import CsvRows
from equipoise.data.files import File, find
from equipoise.data.parquet import ParquetRows
from equipoise.errors import UsageError

FORMATS = {"parquet": ParquetRows, "csv": CsvRows}


@dataclass(frozen=True)
class Position:
    """Where reading stands: the file by its number, the next row in it, and the bytes read."""

    file: int = 0
    row: int = 0
    bytes: float = 0.0


class Table:
    """The rows of Parquet or CSV files.

    All files are opened first, so that a damaged one, or one with other columns, is told before
    a row is read.

    Attributes
    ----------
    files : list of File
    names : tuple of str
        The wanted columns, the same in every file.
    every : tuple of str
        All columns of the first file; where some are chosen, others may have more.
    size : int
        Bytes of all files.
    """

    def __init__(self, source, choice: Choice | None = None, batch_size: int | None = None):
        self.files = find(source)
        self.choice = choice or Choice()
        self.size = sum(f.size for f in self.files)
        first = self._reader(0)
        self.names, self.every = first.names, first.every
        # by name from here on: a position may be another column's in the next file
        self.choice = Choice(None if self.choice.columns is None else first.names, first.y)
        readers = [first, *(self._reader(i) for i in range(1, len(self.files)))]
        self._dtype = max((r.dtype for r in readers), key=lambda d: d.itemsize)
        self.rows = batch_rows(len(self.names), batch_size)

    def _reader(self, number: int) -> Reader:
        """Open a file only to look at its columns."""
        rows = self.open(number)
        try:
            return self._agreed(rows, self.files[number])
        finally:
            rows.close()

    def open(self, number: int):
        """Open the file of that number."""
        file = self.files[number]
        return FORMATS[file.format](file)

    def _agreed(self, rows, file: File) -> Reader:
        names = tuple(rows.schema.names)
        every = getattr(self, "every", names)
        if self.choice.columns is None and names != every:
            raise UsageError(_other_columns(self.files[0], every, file, names))
        return Reader(rows.schema, self.choice, file.path, every)

    def blocks(self, after: Position | None = None) -> Iterator[tuple[Block, Position]]:
        """Give blocks and the position behind each, from ``after`` on."""
        for unit in self.units(after):
            yield from unit()

    def units(
        self, after: Position | None = None, by_column: bool = False
    ) -> Iterator[Callable[[], Iterator]]:
        """Give what `blocks` gives as functions, which threads may call at the same time.

        With ``by_column`` the values of a block are not matrices but `Columns`, or, where a
        format keeps columns apart, a block is a whole unit and its values are `Strips`.
        """
        after = after or Position()
        before = sum(f.size for f in self.files[: after.file])
        for number in range(after.file, len(self.files)):
            opened = self.open(number)
            parts, metadata = opened.parts(self.rows), opened.metadata
            opened.close()
            begin = after.row if number == after.file else 0
            for start, stop in parts:
                if stop is None or stop > begin:
                    first = max(start, begin)
                    yield partial(self._unit, number, metadata, first, stop, before, by_column)
            before += self.files[number].size

    def _unit(self, number, metadata, start, stop, before, by_column):
        file = self.files[number]
        opened = FORMATS[file.format](file, metadata)
        try:
            reader = self._agreed(opened, file)
            reader.dtype = self._dtype
            form = apart if by_column else matrix
            found = opened.batches(reader.read, self.rows, start, stop)
            if by_column and isinstance(opened, ParquetRows):
                form = Strips
                found = [(start, opened.part(start, stop), stop / opened.height)]
            for first, batch, share in found:
                end = first + batch.num_rows
                behind = Position(number, end, before + min(share, 1.0) * file.size)
                yield reader.block(batch, first, form), behind
        finally:
            opened.close()


def _other_columns(first: File, expected, file: File, names) -> str:
    """Say how the columns of a file differ from the first file's."""
    how = difference(expected, names)
    return (
        f"files must have the same columns: {file.path} {how}, compared with {first.path}. "
        "Choose columns that all have with columns=, or read the files apart."
    )
