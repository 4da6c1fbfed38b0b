"""Files that come into being whole, or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from equipoise.errors import UsageError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Give a name to write to; when the block ends without an error, it becomes ``path``.

    Where the file system can, what is being written has no name that a killed process could
    leave behind.  A file that stood at ``path`` stays until then.  Where ``path`` is a symbolic
    link it stays one, and what it points to is replaced.

    Raises
    ------
    UsageError
        The folder is missing or may not be written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(place) as draft:
    ...     _ = Path(draft).write_text("whole")
    >>> place.read_text()
    'whole'
    """
    path = destination(path)
    try:
        handle, name = _open(path)
    except OSError as error:
        raise unwritable(path, error) from error
    named = not name.startswith("/proc/")
    try:
        yield name
        if named:
            os.close(handle)
            handle = os.open(name, os.O_RDONLY)
        os.fsync(handle)
        os.fchmod(handle, _mode(path))
        if not named:
            name, named = _link(handle, path), True
        os.replace(name, path)
        named = False
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        os.close(handle)
        if named:
            with contextlib.suppress(OSError):
                os.unlink(name)


def destination(path: str | os.PathLike) -> Path:
    """Give the file that writing to ``path`` replaces, behind ``~`` and symbolic links.

    Raises
    ------
    UsageError
        It is no file: a folder, or a device, which would be gone; or links lead in a circle.
    """
    path = Path(os.path.expanduser(path))
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    if place.is_symlink():
        raise UsageError(f"cannot write to {path}: its symbolic links lead in a circle")
    if place.is_dir():
        raise UsageError(f"cannot write to {path}: it is a folder; name a file in it")
    if place.exists() and not place.is_file():
        raise UsageError(f"cannot write to {path}: it is a pipe or a device; name a file")
    return place


def _open(path: Path) -> tuple[int, str]:
    """Open a file without a name in the folder of ``path``, or with one where there is no such."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
            return handle, f"/proc/self/fd/{handle}"
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")


def _link(handle: int, path: Path) -> str:
    """Give the file without a name a name next to ``path``."""
    place = tempfile.mktemp(dir=path.parent, prefix=f".{path.name}.")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(
            f"/proc/self/fd/{handle}", os.path.basename(place), dst_dir_fd=folder,
            follow_symlinks=True,
        )  # fmt: skip
    finally:
        os.close(folder)
    return place


def _mode(path: Path) -> int:
    """Give the mode of the file that is replaced, or that which open() would give."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def unwritable(path: str | os.PathLike, error: BaseException) -> UsageError:
    """Say that a file cannot be written, and why."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UsageError(f"cannot write {path}: {reason}; nothing was changed")
