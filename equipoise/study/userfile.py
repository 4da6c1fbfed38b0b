"""Functions from a user's file, and errors in a user's code told in one line."""

import importlib.util
import os
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from equipoise.errors import UsageError


def load(spec: str, example: str) -> Callable:
    """Import the function that ``FILE.py:NAME`` names; ``example`` is the name usually given."""
    file, colon, name = spec.rpartition(":")
    if not colon or not file or not name.isidentifier():
        given = Path(spec).name if spec.endswith(".py") else "mine.py"
        raise UsageError(f"{spec!r}: write FILE.py:FUNCTION, such as {given}:{example}")
    path = Path(os.path.expanduser(file))
    if not path.is_file():
        raise UsageError(f"{file}: there is no such file; give the path to a Python file")
    if path.suffix != ".py":
        raise UsageError(f"{file}: a Python file that ends in .py is needed")
    module = _run(path)
    function = getattr(module, name, None)
    if function is None:
        raise UsageError(f"{file} has no {name}; it must define a function of that name")
    if not callable(function):
        raise UsageError(f"{file}: {name} is {type(function).__name__}, a function is needed")
    return function


def _run(path: Path):
    """Import the file as a script would run: what lies beside it can be imported."""
    sys.path.insert(0, str(path.resolve().parent))
    name = f"_equipoise_study_{path.stem}_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look the module up here
    sys.modules[name] = module
    with guard(f"importing {path}"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def guard(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into a `UsageError` that says where it arose."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        message = next(iter(str(error).splitlines()), "")[:300]
        text = f"{what} raised {type(error).__name__}{': ' * bool(message)}{message}"
        raise UsageError(f"{text}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """Name the innermost line outside installed packages."""
    package = str(Path(__file__).parents[1])
    installed = (os.sep + "site-packages" + os.sep, package, "<frozen ")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(part in frame.filename for part in installed)]
    return f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator that user code may draw from; put the caller's states back."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (user code may use it)
    with torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
