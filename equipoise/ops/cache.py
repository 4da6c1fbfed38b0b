"""Where compiled kernels lie on disk: a folder for each state of the sources they come from."""

import hashlib
import logging
import os
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

log = logging.getLogger("equipoise")
# bytes of the checksum at the end of a file
SEAL = 32
# what kernels of any folder may build on
_SHARED = ("*.py", "moments/formula.py", "sweep/*.py")


def _sources_key(folder: Path) -> str:
    """Hash what a kernel in ``folder`` may inline: Numba's cache does not see edits in helpers."""
    ops = Path(__file__).parent
    digest = hashlib.sha256(version("numba").encode())
    shared = {path for pattern in _SHARED for path in ops.glob(pattern)}
    for path in sorted(shared | {*folder.glob("*.py")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def home() -> str:
    """Name the folder that the user chose for compiled kernels."""
    return os.environ.get("EQUIPOISE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "equipoise"
    )


@cache
def folder(source: str = __file__) -> str | None:
    """Give the writable folder for the compiled kernels of a source file, None if there is none."""
    found = Path(home()) / _sources_key(Path(source).parent)
    try:
        found.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=found):
            pass
    except OSError as error:
        _warn_uncached(home(), error.strerror)
        return None
    return str(found)


@cache
def _warn_uncached(home: str, reason: str):
    warnings.warn(
        f"equipoise compiles its kernels anew in each process: {home} is not writable ({reason}). "
        "Set EQUIPOISE_CACHE to a writable folder.",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def announce() -> None:
    """Say once that kernels are loaded, and how not to wait for them."""
    log.info(
        "equipoise loads its CPU kernels (cache: %s); the first use on a machine compiles "
        "them, `equipoise warmup` does so ahead of time",
        folder(),
    )


def read(path: str) -> bytes | None:
    """Give what `keep` wrote; None where nothing lies, or something else does."""
    try:
        with open(path, "rb") as file:
            found = file.read()
    except OSError:
        return None
    code, seal = found[:-SEAL], found[-SEAL:]
    # a damaged object file would take the process down with it
    return code if code and hashlib.sha256(code).digest() == seal else None


def keep(code: bytes, path: str) -> None:
    """Write a file under a checksum; where that fails, nothing is left behind."""
    # written aside and moved: another process never reads half of it
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as file:
            file.write(code + hashlib.sha256(code).digest())
        os.replace(name, path)
    except OSError:
        if name is not None:
            with suppress(OSError):
                os.unlink(name)
