"""A finished study: its numbers as a table, as JSON, and as a page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equipoise.errors import UsageError
from equipoise.study import files
from equipoise.study.records import Trial
from equipoise.study.table import SummaryTable, summary_table

SCHEMA = 1
KEYS = {"schema", "settings", "data", "model", "trials", "summary", "verdict", "partial"}
FILES = ("report.html", "study.json")


class Study:
    """The record of a study, as ``study.json`` holds it (schema 1), in ``data``."""

    def __init__(self, data: dict[str, Any]):
        self.data = data

    @classmethod
    def from_json(cls, text: str) -> "Study":
        """Read what `to_json` wrote."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"this is no study.json: {error}") from error
        if not isinstance(data, dict) or KEYS - data.keys() or data["schema"] != SCHEMA:
            raise UsageError(f"this is no study.json of schema {SCHEMA}; run the study again")
        return cls(data)

    @classmethod
    def load(cls, path: str | Path) -> "Study":
        """Read a ``study.json``."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error

    @property
    def partial(self) -> bool:
        """Tell whether the study was stopped before its last trial."""
        return self.data["partial"]

    @property
    def summary(self) -> list[dict]:
        """Give one row a norm."""
        return self.data["summary"]

    @property
    def verdict(self) -> Sequence[str]:
        """Give what the study shows, in sentences."""
        return self.data["verdict"]

    @property
    def trials(self) -> list[Trial]:
        """Give the records of the trials."""
        names = Trial.__dataclass_fields__
        return [Trial(**{k: v for k, v in t.items() if k in names}) for t in self.data["trials"]]

    def table(self) -> SummaryTable:
        """Give the summary as a table for rich; ``str`` of it is plain text."""
        return summary_table(self.data)

    def to_json(self) -> str:
        """Give the whole record as strict JSON."""
        return json.dumps(self.data, allow_nan=False, separators=(",", ":"))

    def report(self, path: str | Path) -> Path:
        """Write the record as one self-contained HTML page."""
        from equipoise.report.study import render

        return files.write(path, render(self.data))

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``report.html`` and ``study.json``; the record first, for it is what is dear."""
        folder = files.prepare(folder, FILES)
        record = files.write(folder / "study.json", self.to_json() + "\n")
        return [self.report(folder / "report.html"), record]

    def __str__(self) -> str:
        return "\n".join([str(self.table()), *self.verdict])
