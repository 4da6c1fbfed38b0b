"""Constant columns told apart from tiny ones, by what roundings can make of a constant."""

import numpy as np

# ten roundings in float64, relative to the values themselves
BOUND = 10 * 2.0**-52
# a variance below this has lost digits to underflow
SMALLEST = 2.0**-970


def usable(spread, magnitude, smallest=0.0) -> np.ndarray:
    """Give the spread where it tells columns apart, 1 where the column is constant, NaN for NaN.

    A column is constant where its spread is no more than ten roundings of its values,

        spread ≤ 10 · 2⁻⁵² · magnitude

    so that 1e-30 ± 1e-31 is scaled and 0.1 + 0.2 beside 0.3 is not.  scikit-learn calls all
    below 2e-15 constant in most scalers, and in StandardScaler all below n · 2⁻⁵² · |mean|.

    >>> usable(np.array([1e-31, 5e-17]), np.array([1e-30, 0.3]))
    array([1.e-31, 1.e+00])
    """
    spread = np.array(spread, np.float64)
    constant = (spread <= BOUND * np.abs(magnitude)) | (spread <= smallest)
    spread[constant] = 1.0
    return spread
