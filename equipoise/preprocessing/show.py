"""A saved scaler as a table: what was seen of each column, and a small picture of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 16
BLOCKS = " ▁▂▃▄▅▆▇█"


def lines(scaler, path: str, console: Console) -> Iterator[Any]:
    """Give what `equipoise scale show` prints: a line, the table, a line on the pictures.

    The pictures are left out where the console has no room for them.
    """
    given = {k: v for k, v in scaler.get_params(deep=False).items() if k not in ("copy", "columns")}
    options = ", ".join(f"{k}={v!r}" for k, v in given.items())
    yield Text(f"{path}: {type(scaler).__name__}({options}), {_rows(scaler)}")
    summary = getattr(scaler, "_summary", None)
    names = _names(scaler)
    if not names:
        yield Text("it keeps nothing of any column: each row is scaled by itself")
        return
    table = _table(scaler, summary, names, _pictures(summary))
    # as wide as it likes: a measure is never above the width it is told
    wanted = console.measure(table, options=console.options.update(width=10 * console.width))
    if wanted.minimum > console.width:
        yield _table(scaler, summary, names, [])
        return
    yield table
    if hasattr(summary, "quantiles"):
        yield Text("pictures: histograms from the 1st to the 99th percentile")
    elif hasattr(summary, "moments"):
        yield Text("pictures: from min to max, ● the mean, ━ one standard deviation about it")


def _rows(scaler) -> str:
    summary = getattr(scaler, "_summary", None)
    if summary is None:
        return "fitted exactly"
    return f"fitted on {summary.rows():,} rows"


def _names(scaler) -> list[str]:
    """Name the columns that are scaled."""
    if not hasattr(scaler, "scale_"):
        return []
    every = getattr(scaler, "feature_names_in_", None)
    every = range(scaler.n_features_in_) if every is None else every
    chosen = range(len(every)) if scaler._chosen is None else scaler._chosen
    return [str(every[i]) for i in chosen]


def _table(scaler, summary, names, pictures: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("column", overflow="fold", min_width=6)
    numbers = _numbers(scaler, summary)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    if pictures:
        table.add_column("", no_wrap=True)
    for j, name in enumerate(names):
        cells = [_short(values[j]) for values in numbers.values()]
        table.add_row(Text(name), *cells, *([pictures[j]] if pictures else []))
    return table


def _numbers(scaler, summary) -> dict[str, np.ndarray]:
    """Give the numbers of each column: what was seen, and what the scaler makes of it."""
    found = {}
    if summary is not None:
        known = summary.known
        found = {"count": known.count}
        if known.nan_count.any():
            found["missing"] = known.nan_count
        found |= {"min": known.min, "max": known.max}
    kept = {"mean_": "mean", "center_": "center", "scale_": "scale"}
    if hasattr(scaler, "feature_range"):
        # there the extremes are the scale
        return found
    numbers = {title: getattr(scaler, name, None) for name, title in kept.items()}
    return found | {title: values for title, values in numbers.items() if values is not None}


def _short(value: float) -> str:
    """Write a number in at most ten characters or so; a dash where a column held none.

    >>> _short(336776.0), _short(0.1 + 0.2), _short(1.5e-30), _short(np.nan)
    ('336,776', '0.3', '1.5e-30', '–')
    """
    if not np.isfinite(value):
        return "–"
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _pictures(summary) -> list[str]:
    if hasattr(summary, "quantiles"):
        grid = np.linspace(0.01, 0.99, 40 * WIDTH)
        return [histogram(column) for column in summary.quantiles(grid).T]
    if not hasattr(summary, "moments"):
        # the extremes stand beside it
        return []
    m = summary.moments
    every = zip(m.min, m.mean, m.std(), m.max, strict=True)
    return [spread(*column) for column in every]


def spread(low: float, mean: float, std: float, high: float) -> str:
    """Draw where the mean and its neighbourhood lie between the extremes.

    >>> spread(0.0, 5.0, 2.0, 10.0)
    '────━━━━●━━─────'
    """
    if not low < high:
        # where there is no number low is above high
        return "●".center(WIDTH) if low == high else ""
    at = [round((v - low) / (high - low) * (WIDTH - 1)) for v in (mean - std, mean, mean + std)]
    row = ["━" if at[0] <= i <= at[2] else "─" for i in range(WIDTH)]
    row[at[1]] = "●"
    return "".join(row)


def histogram(values: np.ndarray) -> str:
    """Draw a histogram of values, one character a bin.

    >>> histogram(np.array([0.0, 0.0, 1.0]))
    '█              ▄'
    """
    if not np.isfinite(values).all():
        return ""
    if values.min() == values.max():
        return "█".center(WIDTH)
    counts, _ = np.histogram(values, WIDTH)
    # what is there at all shows
    steps = np.ceil(counts / counts.max() * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[i] for i in steps)
