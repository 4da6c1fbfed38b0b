"""What `equipoise scale` does: fit on files, apply to files, show what was learnt."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equipoise import preprocessing
from equipoise._atomic import destination, replacing
from equipoise.data.ahead import ahead
from equipoise.data.columnar import arrow
from equipoise.data.files import PACKED, format_of
from equipoise.data.tables import Position, Table
from equipoise.errors import Interrupted, UsageError
from equipoise.preprocessing import batches, progress, saved, stream
from equipoise.preprocessing.checkpoint import Checkpoint
from equipoise.preprocessing.folding import Fold
from equipoise.preprocessing.writing import Writer
from equipoise.study.interrupt import Stop

METHODS = {
    "standard": "StandardScaler",
    "minmax": "MinMaxScaler",
    "maxabs": "MaxAbsScaler",
    "robust": "RobustScaler",
}


def fit(
    data: Sequence[str],
    out: str,
    method: str = "standard",
    columns: Sequence[str] | None = None,
    checkpoint: str | None = None,
    every: float | None = None,
) -> Any:
    """Fit a scaler on Parquet or CSV files and save it; give it.

    ``columns`` are names, several of them separated by commas.  With ``checkpoint`` the fit goes
    on from that file where there is one, and saves itself there every ``every`` seconds, 30
    without it.
    """
    every = _seconds(every, checkpoint)
    scaler = _make(method, _names(columns))
    places = [out] if checkpoint is None else [out, checkpoint]
    for place in places:
        _require_place(place, [])
    if len({os.path.realpath(destination(place)) for place in places}) < len(places):
        raise UsageError(f"--checkpoint must be another file than the output; got {out} for both")
    table = Table(list(data), stream.choice(scaler))
    for place in places:
        _refuse_inputs(place, table)
    stream.note(scaler, table.every, True)
    point = None if checkpoint is None else Checkpoint(checkpoint, every, scaler, table)
    summary = _summary(scaler, table, point)
    _told(stream.adopt, scaler, summary)
    saved.save(scaler, out)
    if point:
        point.remove()
    return scaler


def _summary(scaler, table: Table, point: Checkpoint | None) -> Any:
    """Read all rows, from where the checkpoint stands."""
    found, position, rows = point.load() if point else (Fold(), Position(), 0)
    display = progress.choose("fit", table.size, position.bytes)
    if rows:
        print(f"going on after {rows:,} rows of {point.path}", file=sys.stderr)  # type: ignore
    with display, Stop() as stop:
        for part, count, behind in stream.of_files(scaler, table, position):
            found.add(part)
            rows, position = rows + count, behind
            display.update(position.bytes, rows)
            if point:
                point.maybe(found, position, rows)
            if stop.asked:
                raise _interrupted(point, found, position, rows)
        display.end(table.size, rows)
    if not found.parts:
        raise UsageError("a scaler must see at least one row to learn from; the files have none")
    return found.total()


def _interrupted(point, found, position, rows) -> Interrupted:
    if point is None:
        return Interrupted("interrupted; nothing was written. --checkpoint FILE would keep it")
    point.save(found, position, rows)
    return Interrupted(
        f"interrupted after {rows:,} rows; the same command goes on from {point.path}"
    )


def apply(scaler: str, inputs: Sequence[str], out: str) -> int:
    """Scale files into one, in the order of their rows; give the number of rows.

    Parquet or CSV by the ending of ``out``.  What goes wrong leaves no file, and an older one as
    it was.
    """
    one = saved.load(scaler)
    _require_place(out, [".parquet", ".pq", ".csv", ".tsv"])
    table = batches.open_table(one, list(inputs))
    _refuse_inputs(out, table)
    if _same(out, scaler):
        raise UsageError(f"the output must be another file than the scaler; got {out} for both")
    to_csv = format_of(out) == "csv"
    rows, display = 0, progress.choose("apply", table.size)
    with replacing(out) as draft, display, Writer(draft, out) as writer:
        for batch, read in ahead(batches.scaled(one, table, _as_text if to_csv else None)):
            writer.write(batch)
            rows += batch.num_rows
            display.update(read, rows)
        if not rows:
            raise UsageError("there must be a row to scale; the files have none")
        writer.close()
        display.end(table.size, rows)
    return rows


def _as_text(opened) -> dict[str, Any]:
    """Read what passes from CSV to CSV as the text it is."""
    return {name: arrow().string() for name in opened.schema.names}


def _make(method: str, columns):
    if method not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}; got {method!r}")
    return getattr(preprocessing, METHODS[method])(columns=columns)


def _names(columns: Sequence[str] | None) -> list[str] | None:
    """Split names at commas.

    >>> _names(["a,b", "c"])
    ['a', 'b', 'c']
    """
    if not columns:
        return None
    names = [name.strip() for part in columns for name in part.split(",")]
    if not all(names):
        raise UsageError(f"--columns must be names separated by commas; got {','.join(columns)!r}")
    return names


def _seconds(every: float | None, checkpoint: str | None) -> float:
    if every is None:
        return 30.0
    if checkpoint is None:
        raise UsageError(
            "--checkpoint-every needs --checkpoint FILE, which it says how often to save"
        )
    if not every >= 0:
        raise UsageError(
            f"--checkpoint-every must be a number of seconds, 0 or more; got {every:g}"
        )
    return every


def _require_place(out: str, endings: Sequence[str]) -> None:
    """Refuse before the long run what could not be written after it."""
    ending = Path(out).suffix.lower()
    if endings and ending not in endings:
        packed = " (pack it afterwards)" if ending in PACKED else ""
        raise UsageError(f"the output must end in one of {', '.join(endings)}{packed}; got {out}")
    folder = destination(out).parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {out}: Permission denied in the folder {folder}")


def _refuse_inputs(out: str, table: Table) -> None:
    same = [file.path for file in table.files if _same(out, file.path)]
    if same:
        raise UsageError(f"the output must be another file than what is read; got {same[0]}")


def _same(a: str, b: str) -> bool:
    a, b = os.path.expanduser(a), os.path.expanduser(b)
    return os.path.exists(a) and os.path.exists(b) and os.path.samefile(a, b)


def _told(function, *args) -> Any:
    """Turn what a scaler refuses into a line for the user."""
    try:
        return function(*args)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error


def show(path: str) -> None:
    """Print what a saved scaler knows of each column."""
    from rich.console import Console

    from equipoise.preprocessing import show as view

    console = Console()
    if not console.is_terminal:
        # a file or pipe has room for every column
        console = Console(width=200)
    for part in view.lines(saved.load(path), path, console):
        console.print(part, soft_wrap=isinstance(part, view.Text))
