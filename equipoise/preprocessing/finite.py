"""Infinities among the values: found by one number of a sweep, then named by column and row."""

import numpy as np
import torch
from scipy import sparse

# rows looked at together once an infinity is known to be there
STEP = 4096


def require(scaler, summary, matrix) -> None:
    """Raise where the summary of ``matrix`` tells of an infinity."""
    if not summary.finite():
        refuse(scaler, matrix)


def refuse(scaler, matrix) -> None:
    """Raise, naming the column and the first row of an infinity in ``matrix``."""
    row, column, value = first(matrix)
    raise ValueError(
        f"Input X contains infinity: values must be finite or NaN; column "
        f"{scaler._column_names()[column]} holds {value} in row {row}. "
        "Drop such rows, or turn the value into NaN, which is left out."
    )


def first(matrix) -> tuple[int, int, float]:
    """Find the first row with an infinity, and the first column within it."""
    if sparse.issparse(matrix):
        at = matrix.tocoo()
        where = np.flatnonzero(np.isinf(at.data))
        best = where[np.lexsort((at.col[where], at.row[where]))[0]]
        return int(at.row[best]), int(at.col[best]), float(at.data[best])
    for start in range(0, len(matrix), STEP):
        part = matrix[start : start + STEP]
        if isinstance(part, torch.Tensor):
            part = part.double().cpu().numpy()
        found = np.argwhere(np.isinf(part))
        if len(found):
            row, column = found[0]
            return start + int(row), int(column), float(part[row, column])
    raise ValueError("Input X contains infinity or a value too large for dtype('float64').")
