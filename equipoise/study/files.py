"""Files that are written whole or not at all, in a folder that was tried first."""

import contextlib
import os
import tempfile
from pathlib import Path

from equipoise.errors import UsageError


def prepare(folder: str | Path, names: tuple[str, ...] = ()) -> Path:
    """Make the folder and try to write to it, so that no training is lost to a typing error."""
    folder = Path(os.path.expanduser(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error
    for name in names:
        if (folder / name).is_dir():
            raise UsageError(f"{folder / name} is a folder; remove it or name another --out")
    return folder


def write(path: str | Path, text: str) -> Path:
    """Write beside the file, then rename: a reader never meets half of it."""
    path = Path(path)
    try:
        handle, draft = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes the file private; give it the mode that open() would
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return path


def _unwritable(path: Path, error: OSError) -> UsageError:
    reason = error.strerror or type(error).__name__
    return UsageError(f"cannot write to {path}: {reason}; name another folder with --out")
