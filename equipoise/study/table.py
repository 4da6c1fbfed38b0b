"""The summary of a study as a table of 80 columns."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise.study.verdict import percent, span

WIDTH = 80


class SummaryTable(Table):
    """A rich table that ``str`` and ``print`` show too."""

    def __str__(self) -> str:
        console = Console(width=WIDTH, color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(self)
        return captured.get().rstrip("\n")


def summary_table(data: dict[str, Any]) -> SummaryTable:
    """Lay out one row a norm: what it reached, at which rate, and how long a step takes."""
    settings = data["settings"]
    table = SummaryTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("norm", style="bold", overflow="fold")
    for heading in (
        "best lr",
        f"steps to {percent(settings['target'])}",
        "accuracy, %",
        "max lr",
        "ms a step",
    ):
        table.add_column(heading, justify="right", overflow="fold")
    for row in data["summary"]:
        # a name is text, whatever brackets it holds
        table.add_row(Text(row["norm"]), *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        _rate(row["best_lr"]),
        _steps(row["steps_to_target"]),
        span(row["best_accuracy"], lambda a: f"{100 * a:.1f}") if row["best_accuracy"] else "–",
        _largest(row.get("largest_lr_by_seed")),
        _milliseconds(row["seconds_per_step"]),
    ]


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _largest(rates: dict | None) -> str:
    """Give the range alone: with the median it would not fit beside the rest in 80 columns."""
    if not rates:
        return "–"
    low, high = _rate(rates["low"]), _rate(rates["high"])
    return (low if low == high else f"{low}–{high}") + _short(rates)


def _short(found: dict) -> str:
    reached, of = found["reached"], found["of"]
    return f" in {reached}/{of}" if reached < of else ""


def _steps(steps: dict | None) -> str:
    if not steps:
        return "not reached"
    return span(steps) + _short(steps)


def _milliseconds(seconds: dict | None) -> str:
    return span(seconds, lambda value: f"{1000 * value:.1f}") if seconds else "–"
