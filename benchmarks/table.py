"""Print a report in the terminal: targets, groups, and every point against every peer."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.model import Benchmark, Result
from benchmarks.summary import group_rows, peers, point_rows, target_rows

WIDTH = (80, 120)
# a narrower terminal shows no errors, so that a point's name stays on its line
ERRORS_FROM = 106
# the optional columns of a point's row; one with no number in it is left out
RATIOS = {
    "p10": "p10",
    "one thread": "1 thr",
    "default malloc": "malloc",
    "eager": "ours eager",
    "limit": "/limit",
}


def results_of(report: dict) -> tuple[list[Result], list[Result]]:
    """Give (the run that is reported in full, the second malloc setting's or nothing)."""
    runs = [[Result.from_json(r) for r in run["results"]] for run in report["runs"].values()]
    return (runs or [[]])[0], runs[1] if len(runs) > 1 else []


def times(x: float) -> str:
    """Write a ratio: ``1.85``; a dash for what was not measured."""
    return "–" if math.isnan(x) else f"{x:.2f}" if x < 100 else f"{x:.0f}"


def milliseconds(x: float) -> str:
    """Write seconds as milliseconds with three digits."""
    if math.isnan(x):
        return "–"
    ms = x * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}" if ms >= 0.01 else f"{ms:.4f}"


def small(x: float) -> str:
    """Write an error: ``2.1e-07``; a dash for what was not measured."""
    return "–" if math.isnan(x) else f"{x:.0e}"


def console() -> Console:
    """Give a console between 80 and 120 columns wide; a file gets them all."""
    found = Console()
    width = found.width if found.is_terminal else WIDTH[1]
    return Console(width=min(max(width, WIDTH[0]), WIDTH[1]))


def show(benchmark: Benchmark, report: dict, out: Console | None = None) -> None:
    """Print everything a report says."""
    out = out or console()
    results, second = results_of(report)
    if not results:
        return
    for peer in peers(results):
        out.print(_points(peer, point_rows(results, peer, second), out.width >= ERRORS_FROM))
        _failures(out, peer, point_rows(results, peer))
    if rows := group_rows(benchmark, results):
        out.print(_groups(rows))
    out.print(_targets(target_rows(benchmark, results)))
    out.print(escape(footnote(benchmark, report)), style="dim", highlight=False)


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _points(peer: str, rows: list[dict], errors: bool) -> Table:
    title = f"against {peer} (above 1 we are faster; † inaccurate peer)"
    names = {k: v for k, v in RATIOS.items() if any(not math.isnan(row[k]) for row in rows)}
    columns = ("ours ms", "peer ms", "ratio", *names.values())
    table = _table(title, "point", *columns, *(("our err", "err") if errors else ()))
    for row in rows:
        ratio = times(row["median"]) + ("" if row["accurate"] or row["failed"] else "†")
        style = "bold red" if row["median"] < 0.95 else None
        table.add_row(
            escape(row["point"]),
            milliseconds(row["ours"]),
            milliseconds(row["peer"]),
            ratio,
            *(times(row[k]) for k in names),
            *((small(row["our error"]), small(row["peer error"])) if errors else ()),
            style=style,
        )
    return table


def _failures(out: Console, peer: str, rows: list[dict]) -> None:
    for row in rows:
        if row["failed"]:
            out.print(escape(f"{row['point']}, {peer}: {row['failed']}"), style="yellow")


def _groups(rows: list[dict]) -> Table:
    table = _table("geometric means", "group", "peer", "n", "ratio", "p10", "1 thr", "worst")
    table.add_column("worst point", overflow="fold")
    for row in rows:
        numbers = (times(row[k]) for k in ("median", "p10", "one thread", "worst"))
        table.add_row(
            escape(row["group"]),
            escape(row["peer"]),
            str(row["points"]),
            *numbers,
            escape(row["worst point"]),
        )
    return table


def _targets(rows: list[dict]) -> Table:
    table = _table("targets", "target", "bar", "value", "")
    table.add_column("decided by", overflow="fold")
    colours = {"reached": "green", "not reached": "red", "no points": "dim"}
    for row in rows:
        table.add_row(
            escape(row["target"]),
            row["bar"],
            times(row["value"]),
            f"[{colours[row['verdict']]}]{row['verdict']}[/]",
            escape(row["point"]),
        )
    return table


def footnote(benchmark: Benchmark, report: dict) -> str:
    """Say how the run was made: threads, malloc, bandwidth, load, versions."""
    machine = report["machine"]
    parts = [benchmark.notes, load_line(report)]
    parts += [f"{key}: {machine[key]}" for key in ("CPU", "cores", "caches", "versions", "commit")]
    return "\n".join(parts)


def load_line(report: dict) -> str:
    """Say how busy the machine was, and what a copy reached in the same run."""
    load = report["load"]
    others = max((run["others"] for run in report["runs"].values()), default=float("nan"))
    text = f"load average {load['average']:.2f} before, other work {others:.0%} of the cores during"
    results, _ = results_of(report)
    copies = {r.threads: r.extras["copy GB/s"] for r in results if "copy GB/s" in r.extras}
    for n, speed in sorted(copies.items(), reverse=True):
        text += f"; copy at {n} thread(s) {speed:.1f} GB/s"
    return text + (f"\nwarning: {load['warning']}" if load["warning"] else "")
