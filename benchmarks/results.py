"""Write a benchmark's section of RESULTS.md, between markers, from a report."""

import math
from collections.abc import Iterable
from pathlib import Path

from benchmarks.model import Benchmark
from benchmarks.summary import group_rows, peers, point_rows, target_rows
from benchmarks.table import load_line, milliseconds, results_of, small, times

RATIOS = {
    "p10": "p10",
    "one thread": "1 thread",
    "default malloc": "default malloc",
    "eager": "against ours eager",
    "limit": "ours/limit",
}


def markers(name: str) -> tuple[str, str]:
    """Give the lines a section starts and ends with."""
    return f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"


def replace_section(text: str, name: str, section: str) -> str:
    """Put ``section`` between the markers of ``name``, or both at the end if there are none."""
    start, end = markers(name)
    block = f"{start}\n{section.strip()}\n{end}"
    if start not in text:
        return f"{text.rstrip()}\n\n{block}\n"
    before, rest = text.split(start, 1)
    if end not in rest:
        raise ValueError(f"RESULTS.md has {start} without {end}: restore the closing marker")
    return before + block + rest.split(end, 1)[1]


def update(path: Path, benchmark: Benchmark, report: dict) -> None:
    """Replace the benchmark's section in the file at ``path``."""
    text = path.read_text() if path.exists() else "# Results\n"
    path.write_text(replace_section(text, benchmark.name, section(benchmark, report)))


def section(benchmark: Benchmark, report: dict) -> str:
    """Write a report as Markdown: machine, targets, groups, every point."""
    results, second = results_of(report)
    parts = [f"## {benchmark.title}", benchmark.notes, _machine(report)]
    parts += ["### Targets", _targets(target_rows(benchmark, results))]
    if rows := group_rows(benchmark, results):
        parts += ["### Geometric means of peer/ours", _groups(rows)]
    for peer in peers(results):
        parts += [f"### Against {peer}", _points(point_rows(results, peer, second))]
    return "\n\n".join(part for part in parts if part)


def _machine(report: dict) -> str:
    lines = [f"- {key}: {value}" for key, value in report["machine"].items()]
    lines += [f"- load: {line.strip()}" for line in load_line(report).splitlines()]
    runs = report["runs"].items()
    lines += [
        f"- malloc {name}: {len({r['point'] for r in v['results']})} points" for name, v in runs
    ]
    return "\n".join(lines)


def _grid(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table, every column but the first and those of words to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def _targets(rows: list[dict]) -> str:
    body = [[r["target"], r["bar"], times(r["value"]), r["verdict"], r["point"]] for r in rows]
    return _grid(["target", "bar", "value", "verdict", "decided by"], body)


def _groups(rows: list[dict]) -> str:
    header = ["group", "peer", "points", "ratio", "p10", "1 thread", "worst", "worst point"]
    numbers = ("median", "p10", "one thread", "worst")
    body = [
        [r["group"], r["peer"], str(r["points"]), *(times(r[n]) for n in numbers), r["worst point"]]
        for r in rows
    ]
    return _grid(header, body)


def _points(rows: list[dict]) -> str:
    names = {k: v for k, v in RATIOS.items() if any(not math.isnan(row[k]) for row in rows)}
    header = ["point", "ours ms", "peer ms", "ratio", *names.values(), "our error", "peer error"]
    body = [_point(row, names) for row in rows]
    failed = "\n".join(f"- {r['point']}: {r['failed']}" for r in rows if r["failed"])
    return _grid(header, body) + (f"\n\n{failed}" if failed else "")


def _point(row: dict, names: Iterable[str]) -> list[str]:
    return [
        row["point"],
        milliseconds(row["ours"]),
        milliseconds(row["peer"]),
        times(row["median"]) + ("" if row["accurate"] or row["failed"] else "†"),
        *(times(row[k]) for k in names),
        small(row["our error"]),
        small(row["peer error"]),
    ]
