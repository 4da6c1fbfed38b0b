"""MinMaxScaler: each column between two bounds."""

from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from equipoise.ops.scale.op import Affine
from equipoise.preprocessing import constant
from equipoise.preprocessing.base import Scaler, require_pair
from equipoise.preprocessing.summaries import Extremes


class MinMaxScaler(Scaler):
    """Scale each column so that its smallest and largest value meet two bounds.

        z = (x - data_min_) / data_range_ · (high - low) + low

    Parameters
    ----------
    feature_range : (low, high), default=(0, 1)
    copy : bool, default=True
        False lets `transform` and `inverse_transform` overwrite float arrays and tensors.
    clip : bool, default=False
        Cut what lies outside the range off, in `transform`.
    columns : list of names or numbers, or None
        Scale these, in this order; pass the rest through as they are.
    shared : bool, default=False
        One minimum and one maximum over the values of all columns.

    Attributes
    ----------
    data_min_, data_max_, data_range_ : float64 (columns that are scaled,)
    scale_, min_ : float64 (columns that are scaled,)
        z = x · scale_ + min_, as in scikit-learn; `transform` uses the formula above, which
        loses nothing where values are far from zero and meets the bounds exactly.
    n_samples_seen_ : int
        Rows, those with NaN as well.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    NaNs are left out of the fit and stay where they are.  A constant column becomes ``low``.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> X = np.array([[-1.0, 2.0], [-0.5, 6.0], [0.0, 10.0], [1.0, 18.0]])
    >>> eq.preprocessing.MinMaxScaler((-1, 1)).fit_transform(X)[:, 1]
    array([-1. , -0.5,  0. ,  1. ])
    """

    _Summary = Extremes
    _parameter_constraints: ClassVar[dict] = {
        "feature_range": [tuple],
        "copy": ["boolean"],
        "clip": ["boolean"],
        "columns": ["array-like", None],
        "shared": ["boolean"],
    }

    def __init__(self, feature_range=(0, 1), *, copy=True, clip=False, columns=None, shared=False):
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip
        self.columns = columns
        self.shared = shared

    def _check_params(self):
        super()._check_params()
        require_pair("feature_range", self.feature_range)
        if not self.feature_range[0] < self.feature_range[1]:
            raise ValueError(
                "Minimum of desired feature range must be smaller than maximum. Got "
                f"{self.feature_range}."
            )

    def _check_sparse(self, X):
        if sparse.issparse(X):
            raise TypeError(
                "MinMaxScaler does not support sparse input. Consider using MaxAbsScaler instead."
            )

    def _summarize(self, X, weights=None):
        return Extremes.of(X)

    def _adopt(self, summary: Any):
        self._summary = summary
        self.data_min_, self.data_max_ = summary.ends(self.shared)
        with np.errstate(over="ignore"):
            self.data_range_ = self.data_max_ - self.data_min_
        self._require_range()
        low, high = self.feature_range
        self.scale_ = (high - low) / self._divisor()
        self.min_ = low - self.data_min_ * self.scale_
        self.n_samples_seen_ = summary.rows()

    def _require_range(self):
        infinite = np.isinf(self.data_range_)
        if infinite.any():
            wrong = np.flatnonzero(infinite)
            raise ValueError(
                f"ranges must be within float64; that of column {self._column_names()[wrong[0]]} "
                "is above 1e308. Divide its values by a power of ten first."
            )

    def _divisor(self):
        largest = np.maximum(np.abs(self.data_min_), np.abs(self.data_max_))
        return constant.usable(self.data_range_, largest)

    def _affine(self):
        low, high = self.feature_range
        limits = (low, high) if self.clip else (-np.inf, np.inf)
        return Affine(self.data_min_, self._divisor(), high - low, low, *limits)
