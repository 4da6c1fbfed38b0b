"""What `equipoise study` does: compare, write the files, show the summary."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from equipoise.study import files, progress
from equipoise.study.engine import compare
from equipoise.study.interrupt import Stop
from equipoise.study.result import FILES, Study


@dataclass(frozen=True)
class Result:
    """A study and the files it was written to."""

    study: Study
    paths: list[Path]


def run(out: str, **choices: Any) -> Result:
    """Compare with a display on stderr, and write the files into ``out``."""
    # tried before the training, which may take minutes
    folder = files.prepare(out, FILES)
    display = progress.choose()
    # what a user's code prints must not end up within the JSON on stdout
    with display, Stop(display.stopping) as stop, redirect_stdout(sys.stderr):
        study = compare(progress=display, stop=stop, **choices)
        display.note("writing the report")
        return Result(study, study.save(folder))


def show(result: Result) -> None:
    """Print the table, the verdict and where the files are."""
    console = Console()
    console.print(result.study.table())
    for sentence in result.study.verdict:
        console.print(f"• {sentence}", markup=False, highlight=False)
    console.print()
    for path in result.paths:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
