"""Where a long fit stands, on disk: what was read so far, and of what."""

import json
import os
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from equipoise.data.tables import Position, Table
from equipoise.errors import UsageError
from equipoise.preprocessing import saved
from equipoise.preprocessing.folding import Fold

FORMAT = "equipoise.checkpoint"


class Checkpoint:
    """The file that a fit saves itself to every ``seconds``, and goes on from.

    The summary is saved to the bit and blocks do not depend on where reading starts, so the end
    is the same as without a break.
    """

    def __init__(self, path: str | os.PathLike, seconds: float, scaler, table: Table):
        self.path, self.seconds, self.scaler = Path(os.path.expanduser(path)), seconds, scaler
        self.identity = _identity(scaler, table)
        self.last = monotonic()

    def load(self) -> tuple[Fold, Position, int]:
        """Give what was summarised, the position behind it and its rows: none without a file.

        Raises
        ------
        UsageError
            The file is damaged or of another kind, or was made of other files or options.
        """
        if not os.path.lexists(self.path):
            return Fold(), Position(), 0
        tensors, words = saved.read(self.path, FORMAT, "checkpoint")
        with self._usable():
            then, rows = words["identity"], int(words["rows"])
            position = Position(**words["position"])
        self._require_same(then)
        with self._usable():
            found = Fold(self._part(tensors, i, count) for i, count in enumerate(words["parts"]))
        return found, position, rows

    @contextmanager
    def _usable(self):
        try:
            yield
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{self.path} holds no usable checkpoint: {error}") from error

    def _require_same(self, then: dict[str, Any]) -> None:
        for what, now in self.identity.items():
            if then.get(what) != now:
                raise UsageError(
                    f"{self.path} was made with other {what}: give those again, or remove it and "
                    f"start anew. Then {then.get(what)!r:.200}, now {now!r:.200}"
                )

    def _part(self, tensors, number: int, count: int) -> tuple[int, Any]:
        prefix = f"{number}."
        arrays = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        return int(count), type(self.scaler)._Summary.from_arrays(arrays)

    def maybe(self, found: Fold, position: Position, rows: int) -> None:
        """Save, if the last time is long enough ago."""
        if monotonic() - self.last >= self.seconds:
            self.save(found, position, rows)

    def save(self, found: Fold, position: Position, rows: int) -> None:
        """Save what was read up to ``position``."""
        words = {
            "identity": self.identity,
            "position": asdict(position),
            "rows": rows,
            "parts": [count for count, _ in found.parts],
        }
        tensors = {
            f"{i}.{name}": array
            for i, (_, summary) in enumerate(found.parts)
            for name, array in summary.arrays().items()
        }
        saved.write(self.path, tensors, FORMAT, words)
        self.last = monotonic()

    def remove(self) -> None:
        """Remove the file: the fit has ended."""
        self.path.unlink(missing_ok=True)


def _identity(scaler, table: Table) -> dict[str, Any]:
    """Say what must be the same for a fit to go on."""
    params = scaler.get_params(deep=False)
    # as JSON gives it back
    return json.loads(
        json.dumps(
            {
                "method": type(scaler).__name__,
                "options": {k: repr(v) for k, v in sorted(params.items()) if k != "columns"},
                "columns": list(table.names),
                "files": [[os.path.abspath(f.path), f.size, f.modified] for f in table.files],
                "version": saved.__version__,
                "rows a block": table.rows,
            }
        )
    )
