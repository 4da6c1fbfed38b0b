"""Infinities among the values: found by one number of a sweep, then named by column and row."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

# rows looked at together once an infinity is known to be there
STEP = 4096


def require(scaler, summary, matrix) -> None:
    """Raise where the summary of ``matrix`` tells of an infinity."""
    if not summary.finite():
        refuse(scaler, matrix)


def require_all(scaler, matrix) -> None:
    """Raise where ``matrix`` holds a NaN or an infinity."""
    if first(matrix, np.isfinite) is not None:
        refuse(scaler, matrix)


def refuse(scaler, matrix) -> None:
    """Raise, naming the column and the first row of what ``matrix`` must not hold."""
    nan = may_be_nan(scaler)
    found = first(matrix, allowed(nan))
    if found is None:
        raise ValueError("Input X contains infinity or a value too large for dtype('float64').")
    row, column, value = found
    names = scaler._column_names()
    what, rule = ("NaN", "finite") if np.isnan(value) else ("infinity", "finite")
    if nan:
        rule = "finite or NaN, which is left out"
    raise ValueError(
        f"Input X contains {what}: values must be {rule}; column "
        f"{column if names is None else names[column]} holds {value} in row {row}. "
        "Drop such rows, or replace the value."
    )


def may_be_nan(scaler) -> bool:
    """Tell whether a scaler leaves NaN where it is."""
    return scaler.__sklearn_tags__().input_tags.allow_nan


def allowed(nan: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Give the test of single values: whether they are finite, or NaN where it may be there."""
    return _not_infinite if nan else np.isfinite


def _not_infinite(values):
    return ~np.isinf(values)


def first(matrix, allowed) -> tuple[int, int, float] | None:
    """Find the first row with a value that is not allowed, and its first such column."""
    if sparse.issparse(matrix):
        at = matrix.tocoo()
        where = np.flatnonzero(~allowed(at.data))
        if not where.size:
            return None
        best = where[np.lexsort((at.col[where], at.row[where]))[0]]
        return int(at.row[best]), int(at.col[best]), float(at.data[best])
    for start in range(0, len(matrix), STEP):
        part = matrix[start : start + STEP]
        if isinstance(part, torch.Tensor):
            part = part.double().cpu().numpy()
        found = np.argwhere(~allowed(part))
        if len(found):
            row, column = found[0]
            return start + int(row), int(column), float(part[row, column])
    return None
