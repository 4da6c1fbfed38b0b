"""What the regressions share: checked input, centring without a copy of X, predictions."""

from functools import cache
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from equipoise.moments import Moments

FLOATS = [np.float64, np.float32]


class Centring(NamedTuple):
    """The affine map that a fit works behind, (x - x_offset) / x_scale and y - y_offset.

    Nothing is copied: solvers read X where it lies and correct their sums.

    Attributes
    ----------
    x_offset, x_scale : float64 (p,)
        Zeros without an intercept; ones without ``standardize``, and for constant columns.
    y_offset : float64, () or (q,)
        Weighted mean of y; zero without an intercept.
    """

    x_offset: np.ndarray
    x_scale: np.ndarray
    y_offset: Any


class LinearRegressor(RegressorMixin, BaseEstimator):
    """Base of the linear models: ``predict`` and ``score`` from ``coef_`` and ``intercept_``."""

    coef_: Any
    intercept_: Any
    fit_intercept: bool

    @classmethod
    @cache
    def _get_param_names(cls):
        # scikit-learn reads the signature anew in every fit
        return super()._get_param_names()

    def predict(self, X):
        """Predict X coef_ + intercept_.

        Parameters
        ----------
        X : array or sparse matrix (n, p)

        Returns
        -------
        array (n,), or (n, targets) where ``coef_`` has two axes
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc", "coo"], reset=False)
        return X @ self.coef_.T + self.intercept_

    def _set_coef(self, coef, centring: Centring, dtype):
        """Take ``coef`` (p,) or (targets, p) back to the units of X, and set the intercept."""
        scaled = coef / centring.x_scale
        self.coef_ = scaled.astype(dtype, copy=False)
        if not (np.isfinite(self.coef_).all() and np.isfinite(centring.y_offset).all()):
            raise ValueError(
                "The fit resulted in non-finite parameter values: X or y hold numbers whose "
                f"products overflow {np.dtype(dtype).name}. Scale them first, with "
                "eq.preprocessing.StandardScaler for example."
            )
        if not self.fit_intercept:
            self.intercept_ = 0.0
            return
        # from the float64 coefficients: offsets may be large
        intercept = centring.y_offset - scaled @ centring.x_offset
        self.intercept_ = np.asarray(intercept).astype(dtype)[()]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def check_fit(estimator, X, y, sample_weight=None, *, multi_output=False, finite=True):
    """Check what ``fit`` got, by scikit-learn's contract.

    Parameters
    ----------
    estimator : the estimator, whose ``n_features_in_`` and ``feature_names_in_`` are set
    X : array-like (n, p) or sparse matrix
    y : array-like (n,), or (n, targets) with ``multi_output``
    sample_weight : None, number or array-like (n,)
    finite : bool
        Check that X is finite.  A solver whose first pass over X would see what is not leaves
        it out, and calls `check_finite` itself.

    Returns
    -------
    X : float32 or float64 array, contiguous in C or Fortran order, or CSC; the caller's memory
        where it was such
    y : array of X's dtype
    weights : None, or float64 (n,) that sum to n
    """
    ready = _ready(X, y)
    checked: Any = validate_data(
        estimator, X, y, accept_sparse="csc", dtype=FLOATS, accept_large_sparse=False,
        multi_output=multi_output, y_numeric=True, ensure_all_finite=False,
        skip_check_array=ready,
    )  # fmt: skip
    X, y = checked
    if finite:
        check_finite(estimator, X)
    if isinstance(X, np.ndarray) and not (X.flags.c_contiguous or X.flags.f_contiguous):
        X = np.ascontiguousarray(X)
    check: Any = check_array
    if ready:
        assert_all_finite(y, estimator_name=type(estimator).__name__, input_name="y")
    else:
        y = check(y, dtype=X.dtype, ensure_2d=False, input_name="y", estimator=estimator)
    return X, y, check_weights(X, sample_weight)


def _ready(X, y) -> bool:
    """Tell whether scikit-learn's checks would change nothing, and find nothing but NaN.

    They take as long as a pass over a few megabytes.
    """
    return (
        type(X) is type(y) is np.ndarray
        and X.dtype in FLOATS
        and y.dtype == X.dtype
        and X.ndim == 2
        and X.size > 0
        and y.shape == X.shape[:1]
    )


def raw_weights(X, sample_weight):
    """Give ``sample_weight`` as float64 (n,); None for None.

    Raises
    ------
    ValueError
        The lengths differ, a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Number) and not np.isfinite(np.asarray(sample_weight, np.float64)):
        raise ValueError(
            f"Input sample_weight contains NaN or infinity: it is {sample_weight}. Leave it out to "
            "count every row once."
        )
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        # older scikit-learns let this pass
        raise ValueError(
            f"Sample weights must contain at least one non-zero number; got {len(weights)} zeros. "
            "Leave sample_weight out to count every row once."
        )
    return weights


def check_weights(X, sample_weight):
    """Give ``sample_weight`` as float64 (n,) that sum to n; None for None or a number.

    Raises
    ------
    ValueError
        As `raw_weights`.
    """
    weights = raw_weights(X, sample_weight)
    if weights is None or isinstance(sample_weight, Number):
        return None
    # their sum may overflow, and the reciprocal of a tiny one too
    weights = weights / weights.max()
    return weights * (len(weights) / weights.sum())


def check_finite(estimator, X):
    """Raise scikit-learn's ValueError where X holds NaN or infinity."""
    name = None if estimator is None else type(estimator).__name__
    values = X if isinstance(X, np.ndarray) else X.data
    assert_all_finite(values, estimator_name=name, input_name="X")


def centre(X, y, weights=None, *, fit_intercept=True, standardize=False) -> Centring:
    """Give the offsets and scales of a fit.

    ``standardize`` divides columns by their standard deviation (weighted, ddof 0), whether or
    not there is an intercept, as glmnet does.
    """
    p = X.shape[1]
    offset, scale = np.zeros(p), np.ones(p)
    if fit_intercept or standardize:
        mean, std = column_moments(X, weights)
        offset = mean if fit_intercept else offset
        scale = std if standardize else scale
    return Centring(offset, scale, y_mean(y, weights) if fit_intercept else y_zero(y))


def y_mean(y, weights=None):
    """Give the weighted mean of y in float64, () or (q,)."""
    return np.average(np.asarray(y, np.float64), axis=0, weights=weights)


def y_zero(y):
    """Give the offset of a fit without an intercept, of the shape of `y_mean`."""
    return np.zeros(y.shape[1:])[()]


def column_moments(X, weights=None):
    """Give the mean and standard deviation (ddof 0) of the columns; 1 for constant ones."""
    mean, std, constant = _column_moments(X, weights)
    return mean, np.where(constant, 1.0, std)


def constant_columns(X, weights=None):
    """Tell which columns hold one value, (p,)."""
    return _column_moments(X, weights)[2]


def _column_moments(X, weights):
    if not isinstance(X, np.ndarray):
        found: Any = mean_variance_axis(X.astype(np.float64, copy=False), axis=0, weights=weights)
        mean, var = found
        return mean, np.sqrt(var), var <= (np.finfo(np.float64).eps * 8 * np.abs(mean)) ** 2
    m: Any = Moments.of(X, weights=weights, nan="propagate")
    return m.mean, m.std(), m.min == m.max


def penalty_factors(penalty_weights, p: int, of="feature"):
    """Check ``penalty_weights``: float64 (p,), or None where they would change nothing.

    Raises
    ------
    ValueError
        Another length, a negative weight, or NaN.
    """
    if penalty_weights is None:
        return None
    weights = np.array(penalty_weights, np.float64)
    if weights.shape != (p,):
        raise ValueError(
            f"penalty_weights must hold one factor for each of the {p} {of}s; got shape "
            f"{weights.shape}. 0 leaves a {of} free, inf leaves it out."
        )
    if not (weights >= 0).all():
        raise ValueError(
            f"penalty_weights must be at least 0; got {weights[~(weights >= 0)][0]} for {of} "
            f"{int(np.flatnonzero(~(weights >= 0))[0])}. 0 leaves a {of} free, inf leaves it out."
        )
    return weights
