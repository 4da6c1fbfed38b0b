"""StandardScaler: mean 0 and variance 1 in each column."""

from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from equipoise.ops.scale.op import Affine
from equipoise.preprocessing import constant
from equipoise.preprocessing.base import Scaler
from equipoise.preprocessing.summaries import MomentsSummary


class StandardScaler(Scaler):
    """Scale each column to mean 0 and variance 1.

        z = (x - mean_) / scale_        scale_ = √var_, 1 in a constant column

    Parameters
    ----------
    copy : bool, default=True
        False lets `transform` and `inverse_transform` overwrite float arrays and tensors.
    with_mean, with_std : bool, default=True
        Whether to subtract the mean, and to divide by the standard deviation.
    columns : list of names or numbers, or None
        Scale these, in this order; pass the rest through as they are.
    shared : bool, default=False
        One mean and one variance over the values of all columns.

    Attributes
    ----------
    mean_, var_, scale_ : float64 (columns that are scaled,), or None where not asked for
        The variance is the biased one, divided by n.
    n_samples_seen_ : int or array
        Rows without NaN, one number where all columns have as many; sums of weights with weights.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Sums are kept in float64, of values shifted to near their mean (`equipoise.Moments`): the
    error does not grow with |mean| / std, and the result is the same to rounding in any order,
    in any chunks, and to the bit at any number of threads.  `transform` computes in float64
    whatever is stored, so float32 loses nothing of a large mean.  NaNs are left out of the fit
    and stay where they are.  Sparse matrices need ``with_mean=False``.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> X = np.array([[0.0, 10.0], [0.0, 20.0], [1.0, 30.0], [1.0, 40.0]])
    >>> scaler = eq.preprocessing.StandardScaler().fit(X[:2]).partial_fit(X[2:])
    >>> scaler.mean_, scaler.var_
    (array([ 0.5, 25. ]), array([  0.25, 125.  ]))
    >>> scaler.transform(X)[:, 0]
    array([-1., -1.,  1.,  1.])
    """

    _Summary = MomentsSummary
    _parameter_constraints: ClassVar[dict] = {
        "copy": ["boolean"],
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "columns": ["array-like", None],
        "shared": ["boolean"],
    }

    def __init__(self, *, copy=True, with_mean=True, with_std=True, columns=None, shared=False):
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.columns = columns
        self.shared = shared

    def fit(self, X, y=None, sample_weight=None):
        """Learn mean and variance of each column, forgetting what was learnt before.

        Parameters
        ----------
        X : array, sparse matrix, frame or tensor (rows, columns), or a source of chunks
        y : None
            Ignored.
        sample_weight : (rows,) or None
            How often each row counts; rows of weight 0 count nowhere.
        """
        return self._learn(X, sample_weight, reset=True, exact=True)

    def partial_fit(self, X, y=None, sample_weight=None):
        """Learn from more rows; the result is that of one fit over all of them, to rounding."""
        return self._learn(X, sample_weight, reset=not self.__sklearn_is_fitted__(), exact=False)

    def _check_sparse(self, X):
        if self.with_mean and sparse.issparse(X):
            raise ValueError(
                "Cannot center sparse matrices: pass `with_mean=False` instead, or X.toarray()."
            )

    def _summarize(self, X, weights=None):
        return MomentsSummary.of(X, weights)

    def _adopt(self, summary: Any):
        self._summary = summary
        found = summary.per_column(self.shared)
        self._require_variance(found["var"])
        neither = not (self.with_mean or self.with_std)
        self.mean_ = None if neither else found["mean"]
        self.var_ = found["var"] if self.with_std else None
        self.scale_ = None
        if self.with_std:
            smallest = np.sqrt(constant.SMALLEST)
            self.scale_ = constant.usable(np.sqrt(found["var"]), found["mean"], smallest)
        self.n_samples_seen_ = _samples(summary.moments.count)

    def _require_variance(self, var):
        wrong = np.flatnonzero(np.isinf(var))
        if self.with_std and wrong.size:
            raise ValueError(
                f"variances must be within float64; that of column {self._column_names()[wrong[0]]}"
                " is above 1e308. Divide its values by a power of ten first."
            )

    def _affine(self):
        count = self._summary.moments.shape[0]
        shift = self.mean_ if self.with_mean and self.mean_ is not None else np.zeros(count)
        # a column without any number has no scale
        ones = np.where(np.isnan(self._summary.moments.mean), np.nan, 1.0)
        return Affine(shift, ones if self.scale_ is None else self.scale_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_mean
        return tags


def _samples(count):
    """Give the counts as whole numbers where they are, and as one where all are equal."""
    if (count == np.rint(count)).all():
        count = count.astype(np.int64)
    return count[0] if (count == count[0]).all() else count
