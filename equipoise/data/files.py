"""Find the Parquet and CSV files that a path, glob or folder stands for."""

import glob
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from equipoise.errors import UsageError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv")
PACKED = (".gz", ".bz2", ".zst")


@dataclass(frozen=True)
class File:
    """A file of rows: its format is "parquet" or "csv"."""

    path: str
    format: str
    size: int
    modified: int


def is_path(source) -> bool:
    """Say whether a source is a path, or a list of paths."""
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(s, str | os.PathLike) for s in source)
    return isinstance(source, str | os.PathLike)


def find(source) -> list[File]:
    """Give the files of a path, glob, folder, or list of them, each named once.

    The files of a folder or glob come sorted by path; files of a folder whose names begin with
    ``.`` or ``_``, or whose ending is no known one, are left out.

    Raises
    ------
    UsageError
        Nothing is there, it may not be read, or it is no Parquet or CSV.
    """
    sources = source if isinstance(source, list | tuple) else [source]
    files = [_file(path) for one in sources for path in _expand(os.fspath(one))]
    seen = set()
    for file in files:
        place = os.path.abspath(file.path)
        if place in seen:
            raise UsageError(
                f"each file must be named once, or its rows count twice; got {file.path} again"
            )
        seen.add(place)
    return files


def _expand(text: str) -> Iterable[str]:
    if "://" in text:
        raise UsageError(
            f"paths must be of this machine; got {text}. For other storage give "
            "pyarrow.dataset.dataset(uri), or a ray.data.Dataset."
        )
    text = os.path.expanduser(text)
    if os.path.isdir(text):
        return _of_folder(text)
    if os.path.exists(text):
        return [text]
    if glob.has_magic(text):
        found = sorted(p for p in glob.glob(text, recursive=True) if os.path.isfile(p))
        if found:
            return found
        raise UsageError(f"no file matches {text}; look at the folder with ls")
    raise UsageError(f"there is no file or folder {text}")


def _of_folder(folder: str) -> list[str]:
    def refuse(error):
        raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith((".", "_"))]
        found += [
            os.path.join(place, name)
            for name in names
            if not name.startswith((".", "_")) and format_of(name)
        ]
    if not found:
        raise UsageError(
            f"the folder {folder} must hold Parquet or CSV files ({', '.join(PARQUET + CSV)}); "
            "there is none"
        )
    formats = {format_of(name) for name in found}
    if len(formats) > 1:
        raise UsageError(
            f"the folder {folder} holds both Parquet and CSV: say which, as {folder}/*.parquet"
        )
    return sorted(found)


def format_of(path: str | os.PathLike) -> str:
    """Name the format that a path's ending stands for; empty for none.

    >>> format_of("a.parquet"), format_of("b.csv.gz"), format_of("c.txt")
    ('parquet', 'csv', '')
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PACKED:
        inner = path.with_suffix("").suffix.lower()
        return "csv" if inner in CSV else ""
    return "parquet" if suffix in PARQUET else "csv" if suffix in CSV else ""


def _file(path: str) -> File:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # a pipe can be read only once, and opening it may wait forever
            raise UsageError(f"{path} must be a file; it is a pipe or a device")
        with open(path, "rb") as file:
            magic = file.read(4)
            state = os.fstat(file.fileno())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    kind = "parquet" if magic == b"PAR1" else format_of(path)
    if not kind:
        raise UsageError(
            f"{path} must be Parquet or CSV: it does not begin as Parquet does, and its name does "
            f"not end in {', '.join(CSV)}"
        )
    return File(path, kind, state.st_size, state.st_mtime_ns)
