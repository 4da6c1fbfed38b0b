"""Normalizer: every row to norm 1."""

from typing import ClassVar

from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions

from equipoise.ops.scale.rows import UnitRows
from equipoise.preprocessing import containers, finite
from equipoise.preprocessing.mapping import Transforms
from equipoise.preprocessing.shipped import Shipped
from equipoise.preprocessing.table import Table


class Normalizer(Transforms, Shipped, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Divide each row by its norm; rows of zeros stay.

        l1: Σ |x|        l2: √Σ x²        max: max |x|

    Parameters
    ----------
    norm : {"l1", "l2", "max"}, default="l2"
    copy : bool, default=True
        False lets `transform` overwrite float arrays and tensors.

    Attributes
    ----------
    n_features_in_, feature_names_in_
        As in scikit-learn; nothing else is learnt.

    Notes
    -----
    Norms are kept in float64 of values divided by the row's largest: they neither overflow nor
    underflow, and float32 loses nothing.  NaN and infinity are refused, as in scikit-learn.
    Takes sparse matrices.

    Examples
    --------
    >>> import numpy as np, equipoise as eq
    >>> eq.preprocessing.Normalizer().fit_transform(np.array([[4.0, 1, 2, 2], [0, 0, 0, 0]]))
    array([[0.8, 0.2, 0.4, 0.4],
           [0. , 0. , 0. , 0. ]])
    """

    _parameter_constraints: ClassVar[dict] = {
        "norm": [StrOptions({"l1", "l2", "max"})],
        "copy": ["boolean"],
    }
    # what `Table` asks of a scaler: all columns
    _chosen = None

    def __init__(self, norm="l2", *, copy=True):
        self.norm = norm
        self.copy = copy

    def _choose(self):
        """All columns make the norm."""

    def _column_names(self):
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else [repr(n) for n in names]

    def fit(self, X, y=None):
        """Check the parameters and note the columns; there is nothing to learn."""
        self._validate_params()
        if not containers.is_source(X):
            matrix = Table.take(self, X, reset=True).matrix
            finite.require_all(self, matrix)
        return self

    def _affine(self):
        return UnitRows(self.norm)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.requires_fit = False
        return tags
