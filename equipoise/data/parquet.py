"""Parquet files, a few megabytes of each column at a time."""

from collections.abc import Iterator
from typing import Any

from equipoise.data.columnar import arrow
from equipoise.data.files import File
from equipoise.errors import UsageError

# bytes of a column that are read at once where a row group has more rows than so many
BUFFER, LONG = 1 << 20, 1 << 22


class ParquetRows:
    """The rows of one Parquet file.

    Batches never span two row groups, so they are the same wherever reading starts.
    """

    def __init__(self, file: File, metadata=None):
        pa = arrow()
        import pyarrow.parquet as pq

        self.file = file
        try:
            # a checksum is looked at where the writer has left one
            self._open: Any = pq.ParquetFile(
                file.path,
                metadata=metadata,
                # a mapped file that another process cuts off would end this one by a signal
                memory_map=False,
                # a row group may be larger than memory
                pre_buffer=False,
                buffer_size=_buffer(metadata),
                page_checksum_verification=True,
            )
            self.schema = self._open.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, error) from error
        self.height = self._open.metadata.num_rows

    def parts(self, rows: int) -> list[tuple[int, int]]:
        """Cut the file's rows, at row groups, into parts of about ``rows`` rows or more."""
        found, start, stop = [], 0, 0
        for group in range(self._open.num_row_groups):
            stop += self._open.metadata.row_group(group).num_rows
            if stop - start >= rows:
                found.append((start, stop))
                start = stop
        return [*found, (start, stop)] if stop > start else found

    @property
    def metadata(self) -> Any:
        """What another `ParquetRows` of the file need not read again."""
        return self._open.metadata

    def batches(
        self, columns, rows: int, after: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Any, float]]:
        """Give (number of the first row, batch, share of the file read) from row ``after`` on.

        ``after`` must be where a batch of ``rows`` rows began, and ``stop``, if given, where a
        row group ends.
        """
        pa = arrow()
        first = 0
        for group in range(self._open.num_row_groups):
            height = self._open.metadata.row_group(group).num_rows
            if stop is not None and first >= stop:
                return
            if first + height <= after:
                first += height
                continue
            try:
                for batch in self._open.iter_batches(rows, [group], list(columns)):
                    if first >= after and batch.num_rows:
                        done = (first + batch.num_rows) / self.height
                        yield first, batch, done
                    first += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise damaged(self.file, error) from error

    def part(self, start: int, stop: int) -> "RowGroups":
        """Give the row groups from row ``start`` up to ``stop``, which `parts` gave."""
        found, first = [], 0
        for group in range(self._open.num_row_groups):
            if start <= first < stop:
                found.append(group)
            first += self._open.metadata.row_group(group).num_rows
        return RowGroups(self.file, self._open, found, stop - start)

    def close(self) -> None:
        """Let go of the file."""
        self._open.close()


class RowGroups:
    """Neighbouring row groups of an open file, of which nothing is read until asked for."""

    def __init__(self, file: File, opened, groups: list[int], height: int):
        self.file, self._open, self._groups, self.num_rows = file, opened, groups, height

    @property
    def height(self) -> int:
        """Rows of a row group, on average."""
        return -(-self.num_rows // len(self._groups))

    def batches(self, columns, rows: int) -> Iterator[Any]:
        """Give batches of some columns: up to ``rows`` rows of one row group.

        They are decoded on the calling thread alone.
        """
        pa = arrow()
        height = 0
        try:
            for group in self._groups:
                found = self._open.iter_batches(rows, [group], list(columns), use_threads=False)
                for batch in found:
                    height += batch.num_rows
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.file, error) from error
        if height != self.num_rows:
            reason = f"{', '.join(columns)} must hold {self.num_rows} rows; {height} are there"
            raise damaged(self.file, ValueError(reason))


def _buffer(metadata) -> int:
    """Give the bytes of a column that are read at once; 0, a whole row group's, is the fastest."""
    if metadata is None:
        return BUFFER
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return BUFFER if any(group.num_rows > LONG for group in groups) else 0


def damaged(file: File, error: BaseException) -> UsageError:
    """Say that a file cannot be read, and why."""
    return UsageError(
        f"cannot read {file.path} as {'Parquet' if file.format == 'parquet' else 'CSV'}: "
        f"{_reason(error)}"
    )


def _reason(error: BaseException) -> str:
    """Keep the first sentence of Arrow's reason."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
