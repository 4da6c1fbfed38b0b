"""A checked container beside the scaler that reads it: one matrix out, one container back."""

from collections import Counter
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, check_array, validate_data

from equipoise.preprocessing import columns, containers, finite, wrap

FLOATS = [np.float64, np.float32, np.float16]


class Table:
    """The rows that a scaler was given: ``matrix`` holds the columns that it scales."""

    def __init__(self, scaler, given, held, found=None):
        self.scaler, self.given, self.held = scaler, given, held
        self.chosen = scaler._chosen if found is None else found
        self.matrix: Any = held.matrix(self.chosen)

    @classmethod
    def take(cls, scaler, X, reset: bool) -> "Table":
        """Check ``X`` against the scaler, or let the scaler note its columns (``reset``)."""
        if _is_plain(X) and not hasattr(scaler, "feature_names_in_"):
            return cls._take_plain(scaler, X, reset)
        held = _held(scaler, X)
        _check_shape(scaler, held.x)
        _check_names(held.names)
        found = None if reset else columns.find(scaler, held.names)
        if found is None:
            validate_data(scaler, X, reset=reset, skip_check_array=True)
        if reset:
            scaler._choose()
        return cls(scaler, X, held, found)

    @classmethod
    def _take_plain(cls, scaler, X, reset: bool) -> "Table":
        if reset:
            scaler.n_features_in_ = X.shape[1]
            scaler._choose()
        elif hasattr(scaler, "n_features_in_"):
            columns.same_width(scaler, X.shape[1])
        return cls(scaler, X, containers.Array(X))

    @classmethod
    def take_back(cls, scaler, X) -> "Table":
        """Check what comes back: the columns of the fit; an array needs no names."""
        held = _held(scaler, X)
        _check_shape(scaler, held.x)
        found = columns.find(scaler, held.names)
        if found is None:
            if held.names is not None:
                _check_feature_names(scaler, X, reset=False)
            columns.same_width(scaler, held.x.shape[1])
        return cls(scaler, X, held, found)

    def map(self, affine, in_place: bool, out):
        """Scale by ``affine``; give the container that the user wants."""
        result, infinite = self.held.map(self.chosen, affine, in_place, out)
        if infinite:
            finite.refuse(self.scaler, self.matrix)
        return result if out is not None else wrap.wrap(self.scaler, result, self.given)


def _held(scaler, X):
    """Wrap a container; give an array as one of numbers, at least where it is scaled."""
    held = containers.take(X)
    if not isinstance(held, containers.Array):
        return held
    some = getattr(scaler, "columns", None) is not None
    if some and isinstance(X, np.ndarray) and X.dtype.kind == "O" and X.ndim == 2:
        return containers.Objects(X)
    held.x = _checked(scaler, held.x)
    return held


def _is_plain(x) -> bool:
    """Tell a matrix in which scikit-learn's checks find nothing: they take 0.1 ms to say so."""
    plain = type(x) is np.ndarray and x.ndim == 2 and x.size > 0 and x.dtype.kind in "fiub"
    return plain and x.dtype.isnative


def _checked(scaler, x):
    """Give a NumPy or SciPy matrix of real numbers; infinities are looked for later."""
    if _is_plain(x):
        return x
    if isinstance(x, np.ndarray) and not x.dtype.isnative:
        # float32 in another order of bytes is float32
        x = x.astype(x.dtype.newbyteorder("="))
    dtype = getattr(x, "dtype", None)
    # a polars Series has a dtype of its own kind
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        raise ValueError(f"X must hold numbers; got an array of {dtype}. {containers.ADVICE}")
    plain = isinstance(x, np.ndarray) and x.dtype.kind in "fiub"
    takes_sparse = scaler.__sklearn_tags__().input_tags.sparse
    # integers are converted piece by piece
    options: dict[str, Any] = {
        "accept_sparse": ("csr", "csc") if takes_sparse else False,
        "dtype": None if plain else FLOATS,
    }
    try:
        return check_array(
            x,
            **options,
            ensure_all_finite=False,
            estimator=scaler,
            input_name="X",
        )
    except (ValueError, TypeError) as error:
        where = _first_refused(x)
        if where is None:
            raise
        raise type(error)(
            f"{error}. Column {where[1]}, row {where[0]} holds {where[2]!r}. {containers.ADVICE}"
        ) from error


def _first_refused(x):
    """Find the first value that is no number: (row, column, value), or None."""
    try:
        values = np.asarray(x, dtype=object)
    except ValueError:
        return None
    if values.ndim != 2 or np.asarray(x).dtype.kind not in "OUS":
        return None
    for (row, column), value in np.ndenumerate(values):
        try:
            float(value)
        except (TypeError, ValueError):
            return row, column, value
    return None


def _check_names(names) -> None:
    """Raise where two columns of a frame bear one name: which of them was meant?"""
    for name, count in Counter(names or ()).most_common(1):
        if count > 1:
            raise ValueError(f"column names must differ; {count} are named {name!r}: rename them")


def _check_shape(scaler, x) -> None:
    name = type(scaler).__name__
    if len(x.shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(x.shape)}D array instead: X must be (rows, columns); got "
            f"shape {tuple(x.shape)}. Reshape your data, as with X.reshape(-1, 1) for one column."
        )
    if x.shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={tuple(x.shape)}) while a minimum of 1 is "
            f"required by {name}."
        )
    if x.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={tuple(x.shape)}) while a minimum of 1 is "
            f"required by {name}."
        )
