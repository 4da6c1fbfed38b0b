"""Which columns a scaler scales: chosen in its fit, and found again in what comes later.

Columns that were chosen by name are found by name wherever there are names: others may come, go
and move.  Columns chosen by number, and all columns, must be those of the fit in its order.
"""

from typing import Any

import numpy as np

from equipoise.data.block import Choice, difference
from equipoise.errors import UsageError


def known_names(scaler) -> list[Any] | None:
    """Give the names of all columns of the fit; None where it saw none."""
    names = getattr(scaler, "feature_names_in_", None)
    return None if names is None else list(names)


def sought(scaler) -> tuple[str, ...] | None:
    """Give the names by which the scaled columns are found; None where they have their place."""
    known, chosen = known_names(scaler), scaler._chosen
    if known is None or chosen is None or not all(isinstance(c, str) for c in scaler.columns):
        return None
    return tuple(known[i] for i in chosen)


def find(scaler, names) -> np.ndarray | None:
    """Give where the sought columns stand among ``names``; None where names decide nothing.

    Raises
    ------
    UsageError
        One is missing.
    """
    wanted = sought(scaler)
    if wanted is None or names is None or not all(isinstance(n, str) for n in names):
        return None
    Choice(wanted).among(names)
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[name] for name in wanted])


def scaled(scaler, names, origin: str = "") -> tuple[str, ...]:
    """Say which columns of a table of these names are scaled.

    Raises
    ------
    UsageError
        A column is missing; or, where they are not sought by name, others or another order came.
    """
    known, chosen, wanted = known_names(scaler), scaler._chosen, sought(scaler)
    if wanted is not None:
        return Choice(wanted).among(names, origin).features
    # a Normalizer that was not fitted takes any
    width = getattr(scaler, "n_features_in_", len(names))
    if known is None and len(names) != width:
        raise UsageError(
            f"{origin or 'the table'} must have the {width} columns of the fit, which had no "
            f"names; it has {len(names)}"
        )
    if known is not None and list(names) != known:
        raise UsageError(
            f"the columns must be those of the fit, in its order; {origin or 'the table'} "
            f"{difference(known, names)}. Select them, or fit with columns= of names, by which "
            "they are found."
        )
    return tuple(names if chosen is None else (names[i] for i in chosen))


def same_width(scaler, width: int) -> None:
    """Raise where the number of columns is not that of the fit."""
    if width != scaler.n_features_in_:
        raise ValueError(
            f"X has {width} features, but {type(scaler).__name__} is expecting "
            f"{scaler.n_features_in_} features as input."
        )


def same_columns(scaler, names, width: int) -> None:
    """Raise where a source's columns are not those of the fit."""
    known = known_names(scaler)
    if names is None or known is None:
        return same_width(scaler, width)
    if find(scaler, names) is None and list(names) != known:
        missing = [n for n in known if n not in set(names)]
        extra = [n for n in names if n not in set(known)]
        what = f"missing: {missing}, new: {extra}" if missing or extra else "another order"
        raise ValueError(
            f"The feature names should match those that were passed during fit: {what}. "
            "Select the columns of the fit, in their order."
        )
    return None


def choose(columns, names, width: int) -> np.ndarray | None:
    """Turn ``columns`` into indices, None for all.

    Raises
    ------
    TypeError
        ``columns`` is no list of names or numbers.
    ValueError
        A column is not there, named twice, or named where there are no names.
    """
    if columns is None:
        return None
    if isinstance(columns, str | int) or not np.iterable(columns):
        raise TypeError(
            f"columns must be a list of names or numbers, or None for all; got {columns!r}"
        )
    wanted = list(columns)
    if wanted and all(isinstance(c, bool | np.bool_) for c in wanted):
        if len(wanted) != width:
            raise ValueError(f"columns as a mask must have {width} entries; got {len(wanted)}")
        wanted = np.flatnonzero(wanted).tolist()
    found = [_index(c, names, width) for c in wanted]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"columns must name at least one column, and each once; got {wanted}")
    return np.array(found)


def _index(column, names, width: int) -> int:
    if isinstance(column, str):
        if names is None:
            raise ValueError(
                f"columns names {column!r}, and X came without column names. Give numbers, or a "
                "frame."
            )
        where = [i for i, name in enumerate(names) if name == column]
        if len(where) != 1:
            raise ValueError(
                f"columns must name columns of X; {column!r} is there {len(where)} times among "
                f"{list(names)}"
            )
        return where[0]
    if not isinstance(column, int | np.integer):
        raise TypeError(f"columns must be names or numbers; got {column!r}")
    if not -width <= column < width:
        raise ValueError(f"columns must lie within the {width} columns of X; got {column}")
    return int(column) % width
