"""MaxAbsScaler: the largest absolute value of each column becomes 1."""

from typing import Any, ClassVar

import numpy as np

from equipoise.ops.scale.op import Affine
from equipoise.preprocessing.base import Scaler
from equipoise.preprocessing.summaries import Extremes


class MaxAbsScaler(Scaler):
    """Divide each column by its largest absolute value: zeros stay zeros.

        z = x / max_abs_

    Parameters
    ----------
    copy : bool, default=True
        False lets `transform` and `inverse_transform` overwrite float arrays and tensors.
    clip : bool, default=False
        Cut what lies outside [-1, 1] off, in `transform`.
    columns : list of names or numbers, or None
        Scale these, in this order; pass the rest through as they are.
    shared : bool, default=False
        One largest absolute value over all columns.

    Attributes
    ----------
    max_abs_, scale_ : float64 (columns that are scaled,)
        ``scale_`` is 1 where all values are zero.
    n_samples_seen_ : int
        Rows, those with NaN as well.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    NaNs are left out of the fit and stay where they are.  Takes sparse matrices.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> eq.preprocessing.MaxAbsScaler().fit_transform(np.array([[1.0, -4.0], [2.0, 2.0]]))
    array([[ 0.5, -1. ],
           [ 1. ,  0.5]])
    """

    _Summary = Extremes
    _parameter_constraints: ClassVar[dict] = {
        "copy": ["boolean"],
        "clip": ["boolean"],
        "columns": ["array-like", None],
        "shared": ["boolean"],
    }

    def __init__(self, *, copy=True, clip=False, columns=None, shared=False):
        self.copy = copy
        self.clip = clip
        self.columns = columns
        self.shared = shared

    def _summarize(self, X, weights=None):
        return Extremes.of(X)

    def _adopt(self, summary: Any):
        self._summary = summary
        self.max_abs_ = np.maximum(*map(np.abs, summary.ends(self.shared)))
        self.scale_ = np.where(self.max_abs_ == 0, 1.0, self.max_abs_)
        self.n_samples_seen_ = summary.rows()

    def _affine(self):
        limits = (-1.0, 1.0) if self.clip else (-np.inf, np.inf)
        return Affine(np.zeros_like(self.scale_), self.scale_, 1.0, 0.0, *limits)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
