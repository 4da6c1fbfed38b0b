"""Parquet files, a few megabytes of each column at a time."""

from collections.abc import Iterator
from typing import Any

from equipoise.data.columnar import arrow
from equipoise.data.files import File
from equipoise.errors import UsageError


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
                # a row group may be larger than memory; and what is mapped is copied once less
                memory_map=True,
                pre_buffer=False,
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

    def close(self) -> None:
        """Let go of the file."""
        self._open.close()


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
