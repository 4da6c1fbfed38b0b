"""Scalers as files: safetensors for the numbers, JSON for the words; nothing is ever executed."""

import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from equipoise import __version__
from equipoise._atomic import replacing
from equipoise.errors import UsageError

FORMAT = "equipoise.scaler"
# raised when an older equipoise could not read what is written
FORMAT_VERSION = 1
_SUMMARY, _FITTED = "summary.", "fitted."
# what a file may set: fitted attributes, which columns are scaled and which held no number
_NAMES = re.compile(r"[a-z][a-z0-9_]*_|_chosen|_empty")


def save(scaler, path: str | os.PathLike) -> None:
    """Write a fitted scaler to ``path``, whole or not at all; see `load`.

    The file holds all that is known: `load` gives a scaler that transforms to the same bits, and
    that `partial_fit` and `merge` continue.

    Raises
    ------
    UsageError
        The scaler is not fitted, a parameter has no form in JSON, or the file cannot be written.
    """
    tensors, words = describe(scaler)
    write(path, tensors, FORMAT, words)


def describe(scaler) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Give a fitted scaler as arrays and as what JSON can hold."""
    if not getattr(scaler, "__sklearn_is_fitted__", lambda: True)():
        raise UsageError(
            f"this {type(scaler).__name__} is not fitted yet: call fit before it is saved"
        )
    tensors, words = _split(scaler)
    summary = vars(scaler).get("_summary")
    if summary is not None:
        tensors |= {_SUMMARY + k: np.asarray(v) for k, v in summary.arrays().items()}
    return tensors, {
        "class": type(scaler).__name__,
        "dtype": "float64",
        "columns": words.get("feature_names_in_"),
        "params": {k: _plain(v) for k, v in scaler.get_params(deep=False).items()},
        "fitted": words,
    }


def _split(scaler) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Sort the fitted attributes: numbers into tensors, everything else into JSON."""
    tensors, words = {}, {}
    for name, value in vars(scaler).items():
        if not _NAMES.fullmatch(name):
            continue
        array = np.asarray(value)
        if value is not None and array.dtype.kind in "fiub" and not isinstance(value, bool):
            tensors[_FITTED + name] = array
        else:
            words[name] = _plain(value)
    return tensors, words


def _plain(value):
    """Give lists and Python's numbers for arrays and NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _json(value, what: str) -> str:
    try:
        return json.dumps(value)
    except TypeError as error:
        raise UsageError(
            f"a scaler's {what} must have a form in JSON to be saved: {error}"
        ) from error


def write(path: str | os.PathLike, tensors, kind: str, words: dict[str, Any]) -> None:
    """Write arrays and words to a safetensors file, whole or not at all.

    The words are one entry of its metadata, named ``kind``: several would come in any order, and
    the same scaler should give the same bytes.
    """
    words = {"format_version": FORMAT_VERSION, "equipoise": __version__, **words}
    metadata = {kind: _json(words, "parameters and column names")}
    # np.ascontiguousarray would give a number an axis
    data = to_bytes({k: np.asarray(v, order="C") for k, v in tensors.items()}, metadata)
    with replacing(path) as draft, open(draft, "wb") as file:
        file.write(data)


def load(path: str | os.PathLike):
    """Read the scaler that `save` wrote; the file knows its class.

    Raises
    ------
    UsageError
        A ValueError: there is no such file, it is cut off, it holds something else, or a newer
        equipoise wrote it.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from equipoise.preprocessing import StandardScaler
    >>> path = tempfile.mkdtemp() + "/scaler.safetensors"
    >>> save(StandardScaler().fit(np.array([[1.0], [3.0]])), path)
    >>> load(path).transform(np.array([[3.0]]))
    array([[1.]])
    """
    tensors, words = read(path, FORMAT, "scaler")
    try:
        return restore(tensors, words)
    except UsageError:
        raise
    except Exception as error:
        # what a foreign hand wrote into the file may fail anywhere
        raise UsageError(f"{path} holds no usable scaler: {error}") from error


def read(path: str | os.PathLike, kind: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the arrays and words of a file that `write` wrote as this ``kind``."""
    path = Path(os.path.expanduser(path))
    try:
        with open(path, "rb"):
            pass
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise UsageError(
            f"{path} must be a {name} that equipoise saved; it is cut off, or another file: {error}"
        ) from error
    if kind not in metadata:
        found = next((k for k in metadata if k.startswith("equipoise.")), None)
        raise UsageError(
            f"{path} must be a {name} that equipoise saved; it is "
            + (f"an {found}" if found else "a safetensors file of others")
        )
    return tensors, _words(path, metadata[kind])


def _words(path, text: str) -> dict[str, Any]:
    try:
        words = json.loads(text)
        version = int(words["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} says no version of its format: {error}") from error
    if version > FORMAT_VERSION:
        raise UsageError(
            f"{path} has format version {version}, from equipoise {words.get('equipoise')}; this "
            f"is {__version__}, which reads versions up to {FORMAT_VERSION}: upgrade it"
        )
    return words


def restore(tensors, words):
    """Make the scaler that `describe` described."""
    kind = _class(words["class"])
    params = {k: _tupled(k, v) for k, v in words["params"].items()}
    scaler = kind(**params)
    for name, value in words["fitted"].items():
        _set(scaler, name, np.asarray(value, object) if name == "feature_names_in_" else value)
    for name, value in tensors.items():
        if name.startswith(_FITTED):
            # a number was stored as an array without axes
            _set(scaler, name.removeprefix(_FITTED), value[()])
    summary = {k.removeprefix(_SUMMARY): v for k, v in tensors.items() if k.startswith(_SUMMARY)}
    if summary:
        scaler._summary = kind._Summary.from_arrays(summary)
    return scaler


def _set(scaler, name: str, value) -> None:
    if not _NAMES.fullmatch(name):
        raise UsageError(f"a saved scaler holds fitted attributes only; this one holds {name!r}")
    setattr(scaler, name, value)


def _class(name: str) -> Any:
    module = import_module("equipoise.preprocessing")
    if name not in module.__all__ or not isinstance(getattr(module, name), type):
        raise UsageError(f"a saved scaler must be a class of equipoise.preprocessing; got {name!r}")
    return getattr(module, name)


def _tupled(name: str, value):
    """Give ranges as the tuples they were, which scikit-learn insists on."""
    return tuple(value) if name.endswith("_range") and isinstance(value, list) else value
