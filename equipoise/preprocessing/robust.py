"""RobustScaler: median 0 and a range of quantiles 1 in each column, exact or from a stream."""

from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from scipy.special import ndtri

from equipoise.ops.quantile import reference
from equipoise.ops.scale.op import Affine
from equipoise.preprocessing import constant, finite
from equipoise.preprocessing.base import Scaler, require_pair
from equipoise.preprocessing.sketches import QuantileSketches, available, size_for
from equipoise.preprocessing.summaries import MomentsSummary

# values of a sparse matrix made dense at once
DENSE = 1 << 18


class RobustScaler(Scaler):
    """Subtract the median and divide by the range between two quantiles.

        z = (x - center_) / scale_        scale_ = q_max - q_min, 1 in a constant column

    `fit` on an array, frame or tensor is exact.  `fit` on a stream, `partial_fit` and `merge` keep
    a KLL sketch a column (extra ``[sketch]``): each quantile they give has a rank within
    ``rank_error`` · n of the one asked for, with a probability of 99%.  What was fitted exactly
    on many rows keeps no sketch, and neither merges nor goes on.

    Parameters
    ----------
    with_centering, with_scaling : bool, default=True
        Whether to subtract the median, and to divide by the range.
    quantile_range : (q_min, q_max), default=(25.0, 75.0)
        In percent.
    copy : bool, default=True
        False lets `transform` and `inverse_transform` overwrite float arrays and tensors.
    unit_variance : bool, default=False
        Divide by so much more that normal data get variance 1.
    columns : list of names or numbers, or None
        Scale these, in this order; pass the rest through as they are.
    shared : bool, default=False
        One median and one range over the values of all columns.
    rank_error : float, default=0.005
        Of the sketches: half of it needs about twice the memory, which is 14 kB a column for
        0.005.

    Attributes
    ----------
    center_, scale_ : float64 (columns that are scaled,), or None where not asked for
    rank_error_ : float
        0 where the quantiles are exact: `fit` on an array, and few rows in a sketch.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Quantiles interpolate linearly, as NumPy's do.  NaNs are left out of the fit and stay where
    they are.  Sparse matrices need ``with_centering=False``.  Sketches toss coins: two runs over
    the same stream differ within the rank error.

    References
    ----------
    Karnin, Lang, Liberty, "Optimal quantile approximation in streams", 2016. arXiv 1603.05346.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> X = np.array([[1.0, -2.0], [-2.0, 1.0], [4.0, 1.0]])
    >>> scaler = eq.preprocessing.RobustScaler().fit(X)
    >>> scaler.center_, scaler.scale_
    (array([1., 1.]), array([3. , 1.5]))
    """

    _Summary = QuantileSketches
    _parameter_constraints: ClassVar[dict] = {
        "with_centering": ["boolean"],
        "with_scaling": ["boolean"],
        "quantile_range": [tuple],
        "copy": ["boolean"],
        "unit_variance": ["boolean"],
        "columns": ["array-like", None],
        "shared": ["boolean"],
        "rank_error": [float],
    }

    def __init__(
        self,
        *,
        with_centering=True,
        with_scaling=True,
        quantile_range=(25.0, 75.0),
        copy=True,
        unit_variance=False,
        columns=None,
        shared=False,
        rank_error=0.005,
    ):
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.quantile_range = quantile_range
        self.copy = copy
        self.unit_variance = unit_variance
        self.columns = columns
        self.shared = shared
        self.rank_error = rank_error

    def fit(self, X, y=None, sample_weight=None):
        """Learn median and range of each column exactly, forgetting what was learnt before.

        Parameters
        ----------
        X : array, sparse matrix, frame or tensor (rows, columns), or a source of chunks
            A source is sketched, with its ``rank_error``.
        y : None
            Ignored.
        sample_weight : (rows,) or None
            How often each row counts: whole weights give what repeated rows do.  They must add up
            to 2 or more.
        """
        return self._learn(X, sample_weight, reset=True, exact=True)

    def _check_params(self):
        super()._check_params()
        require_pair("quantile_range", self.quantile_range)
        low, high = self.quantile_range
        if not 0 <= low <= high <= 100:
            raise ValueError(
                f"Invalid quantile range: {self.quantile_range}: it must be (q_min, q_max) in "
                "percent, 0 <= q_min <= q_max <= 100"
            )
        if self.unit_variance and not 0 < low < high < 100:
            raise ValueError(
                "unit_variance divides by the distance of the normal distribution's quantiles: "
                "quantile_range must have 0 < q_min < q_max < 100; got "
                f"{self.quantile_range}"
            )
        if not 1e-4 <= self.rank_error < 0.5:
            raise ValueError(f"rank_error must be from 0.0001 to 0.5; got {self.rank_error}")

    def _check_sparse(self, X):
        if self.with_centering and sparse.issparse(X):
            raise ValueError(
                "Cannot center sparse matrices: use `with_centering=False` instead, or X.toarray()."
            )

    def _summarize(self, X, weights=None):
        if weights is not None:
            raise ValueError("RobustScaler takes sample_weight in fit alone, with all rows at hand")
        return QuantileSketches.of(X, self.rank_error)

    def _adopt(self, summary: Any):
        self._summary = summary
        found = summary.quantiles(self._wanted(), self.shared)
        self._set(found, 0.0 if summary.exact(self.shared) else summary.rank_error)

    def _wanted(self):
        low, high = self.quantile_range
        return np.sort([low / 100, 0.5, high / 100])

    def _fit_exactly(self, matrix, weights):
        known = MomentsSummary.of(matrix)
        finite.require(self, known, matrix)
        if weights is not None and weights.sum() < 2:
            raise ValueError(
                "sample_weight of RobustScaler says how often a row counts and must add up to 2 "
                f"or more; it adds up to {weights.sum():.6g}. Multiply it by the number of rows."
            )
        self._summary = self._small_summary(matrix, weights)
        self._set(_exact(matrix, weights, self._wanted(), self.shared, known.moments), 0.0)

    def _small_summary(self, matrix, weights):
        """Give sketches where they hold every value, so that partial_fit and merge lose nothing."""
        small = weights is None and matrix.shape[0] <= size_for(self.rank_error)
        if small and available():
            return QuantileSketches.of(matrix, self.rank_error)
        return None

    def _set(self, found, rank_error):
        """Set the attributes from the three quantiles (3, columns)."""
        low, high = (q / 100 for q in self.quantile_range)
        wanted = self._wanted()
        below, median, above = (found[np.searchsorted(wanted, q)] for q in (low, 0.5, high))
        self.center_ = median if self.with_centering else None
        self.scale_ = None
        self._empty = np.isnan(median)
        if self.with_scaling:
            largest = np.maximum(np.abs(below), np.abs(above))
            self.scale_ = constant.usable(above - below, largest)
            if self.unit_variance:
                self.scale_ = self.scale_ / (ndtri(high) - ndtri(low))
        self.rank_error_ = rank_error

    def _affine(self):
        shift = np.zeros(len(self._empty)) if self.center_ is None else self.center_
        ones = np.where(self._empty, np.nan, 1.0)
        return Affine(shift, ones if self.scale_ is None else self.scale_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_centering
        return tags


def _exact(matrix, weights, q, shared, moments=None):
    """Give the quantiles of the columns, (t, columns); ``moments`` are theirs, if known."""
    if isinstance(matrix, torch.Tensor):
        if matrix.device.type != "cpu":
            return _on_device(matrix, weights, q, shared)
        matrix = matrix.to(torch.float32) if matrix.dtype is torch.bfloat16 else matrix
        matrix = matrix.numpy()
    width = matrix.shape[1]
    if shared:
        matrix, weights = _as_one_column(matrix, weights)
        moments = None
    if sparse.issparse(matrix):
        found = _of_sparse(matrix, weights, q)
    elif weights is not None:
        found = reference.weighted_quantiles(matrix, weights, q)
    else:
        # imports Numba
        from equipoise.ops.quantile import op

        found = op.quantiles(matrix, q, moments)
    return np.broadcast_to(found, (len(q), width)).copy()


def _as_one_column(matrix, weights):
    width = matrix.shape[1]
    if sparse.issparse(matrix):
        matrix = matrix.toarray()
    if weights is not None:
        return matrix.reshape(-1, 1), np.repeat(weights, width)
    # in the order of memory: no copy
    return matrix.ravel(order="K").reshape(-1, 1), None


def _of_sparse(matrix, weights, q):
    """Give the quantiles of a sparse matrix, a few columns made dense at a time."""
    matrix = matrix.tocsc()
    step = max(1, DENSE // matrix.shape[0])
    parts = [
        _exact(matrix[:, i : i + step].toarray(order="F"), weights, q, False)
        for i in range(0, matrix.shape[1], step)
    ]
    return np.concatenate(parts, axis=1)


def _on_device(matrix, weights, q, shared):
    """Give the quantiles of a tensor elsewhere, sorted there column by column."""
    width = matrix.shape[1]
    if shared:
        weights = None if weights is None else np.repeat(weights, width)
        matrix = matrix.reshape(-1, 1)
    if weights is not None:
        found = reference.weighted_quantiles(matrix.double().cpu().numpy(), weights, q)
        return np.broadcast_to(found, (len(q), width)).copy()
    columns = [_sorted_ranks(matrix[:, c], q) for c in range(matrix.shape[1])]
    return np.broadcast_to(np.stack(columns, axis=1), (len(q), width)).copy()


def _sorted_ranks(values, q):
    values = values.sort().values
    count = np.array([len(values) - int(values.isnan().sum())])
    if count[0] == 0:
        return np.full(len(q), np.nan)
    low, high, part = reference.ranks(count, q)
    below, above = (
        values[torch.as_tensor(k[0], device=values.device)].double().cpu() for k in (low, high)
    )
    return reference.between(below, above, part[0])
