"""What all scalers share: fit from arrays or from a stream, merge, transform and back.

A scaler is three things: a `Summary` of its columns that merges, what it adopts from it, and the
map of each column that follows.
"""

from contextlib import contextmanager
from copy import copy as shallow
from functools import cache, lru_cache
from math import isfinite
from numbers import Real
from typing import Any, ClassVar, Protocol

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import make_constraint
from sklearn.utils.validation import check_is_fitted

from equipoise.preprocessing import columns, containers, finite
from equipoise.preprocessing.mapping import Inverts
from equipoise.preprocessing.shipped import Shipped
from equipoise.preprocessing.table import Table

ERROR_NO_SUMMARY = (
    "this {name} keeps no summary that could go on: an exact fit keeps its quantiles only. "
    "Make a new one and call partial_fit with every chunk, the first one too."
)


class Summary(Protocol):
    """What a chunk of rows says about its columns: immutable, mergeable, picklable."""

    def merge(self, other: Any) -> Any:
        """Give the summary of the rows of both."""
        ...

    def beside(self, others: Any) -> Any:
        """Give the summary of these columns and, to the right, the others' of the same rows."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Give all that is known as arrays, for `from_arrays` of the same class."""
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Any:
        """Make the summary whose `arrays` these are."""
        ...


def require_pair(name: str, pair: tuple) -> None:
    """Raise unless a parameter is a pair of finite numbers."""
    if len(pair) != 2 or not all(isinstance(x, Real) and isfinite(x) for x in pair):
        raise ValueError(f"{name} must be two finite numbers, (low, high); got {pair!r}")


class Scaler(Inverts, Shipped, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of the scalers that learn one map for each column.

    Subclasses say how to summarise a chunk (`_summarize`), what follows (`_adopt`) and how a
    value maps (`_affine`).  ``_summary`` is kept, so that `partial_fit` and `merge` continue
    from it; it is None where a fit was exact and nothing can follow.
    """

    # class of the summaries: for reading saved ones
    _Summary: type
    # column indices that are scaled, None for all
    _chosen: np.ndarray | None = None
    _summary: Any = None

    columns: Any
    shared: bool
    _parameter_constraints: ClassVar[dict]

    def _summarize(self, X, weights=None) -> Summary:
        """Summarise the columns that are scaled, X (rows, columns), C or F order."""
        raise NotImplementedError

    def _adopt(self, summary: Any) -> None:
        """Set every fitted attribute from ``summary`` and keep it as ``_summary``."""
        raise NotImplementedError

    def _affine(self):
        """Give the `Affine` map of the fitted columns."""
        raise NotImplementedError

    def _check_params(self) -> None:
        """Check the parameters; subclasses add what a table of types cannot say."""
        if not _are_allowed(self):
            self._validate_params()

    def _require_numbers(self) -> None:
        """Raise where a column that is scaled never held a number."""
        empty = np.flatnonzero(np.isnan(self._affine().scale))
        if empty.size:
            names = ", ".join(np.array(self._column_names())[empty[:5]])
            raise ValueError(
                f"each column must hold a number; all is NaN in column {names}"
                f"{' and more' if empty.size > 5 else ''}. Drop it, or name the columns to scale "
                "with columns=[...]."
            )

    def _fit_exactly(self, matrix, weights) -> None:
        """Learn from a whole array at once."""
        self._adopt(self._finite_summary(matrix, weights))

    def fit(self, X, y=None):
        """Learn the scale of each column, forgetting what was learnt before.

        Parameters
        ----------
        X : array, matrix, frame or tensor (rows, columns), or a source of chunks
            NumPy, lists, pandas, polars, torch; SciPy's CSR and CSC where the class takes them; a
            path or anything else that `equipoise.data.chunks` reads.  NaNs are left out.
        y : None
            Ignored.

        Raises
        ------
        ValueError
            A column holds an infinity or no numbers; or no row at all came.
        """
        return self._learn(X, None, reset=True, exact=True)

    def partial_fit(self, X, y=None):
        """Learn from more rows; the result is that of one fit over all of them, to rounding."""
        return self._learn(X, None, reset=not self.__sklearn_is_fitted__(), exact=False)

    def _learn(self, X, weights, reset: bool, exact: bool):
        with self._whole_or_nothing():
            self._check_params()
            if not reset and self._summary is None:
                raise ValueError(ERROR_NO_SUMMARY.format(name=type(self).__name__))
            if containers.is_source(X):
                self._learn_stream(X, weights, reset)
            else:
                self._learn_matrix(X, weights, reset, exact)
            if exact:
                self._require_numbers()
        return self

    def _learn_matrix(self, X, weights, reset: bool, exact: bool) -> None:
        self._check_sparse(X)
        matrix = self._take(X, reset).matrix
        weights = containers.row_weights(weights, matrix.shape[0])
        if exact:
            return self._fit_exactly(matrix, weights)
        summary = self._finite_summary(matrix, weights)
        self._adopt(summary if reset else self._summary.merge(summary))
        return None

    def _learn_stream(self, source, weights, reset: bool) -> None:
        """Learn from chunk after chunk: ``stream.fit`` notes the columns and adopts a summary."""
        from equipoise.preprocessing import stream

        if weights is not None:
            raise ValueError(
                "sample_weight needs all rows at hand, as an array or a frame; got a "
                f"{type(source).__name__}. Call partial_fit(chunk, sample_weight=...) chunk by "
                "chunk."
            )
        stream.fit(self, source, reset=reset)

    def _finite_summary(self, matrix, weights=None) -> Any:
        """Summarise, and refuse infinities by the name of their column."""
        summary = self._summarize(matrix, weights)
        finite.require(self, summary, matrix)
        return summary

    def _note_columns(self, names, n_features: int, reset: bool = True) -> None:
        """Set ``n_features_in_``, ``feature_names_in_`` and which columns are scaled.

        ``names`` are those of all columns of a source, or None.  Without ``reset``, check that
        they are those of the fit.
        """
        if not reset:
            return columns.same_columns(self, names, n_features)
        self.n_features_in_ = n_features
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._choose()

    def _choose(self) -> None:
        names = columns.known_names(self)
        self._chosen = columns.choose(self.columns, names, self.n_features_in_)

    def _column_names(self) -> list[str]:
        """Name the scaled columns for messages: their names, or their numbers."""
        names = columns.known_names(self)
        every = range(self.n_features_in_) if names is None else names
        chosen = range(self.n_features_in_) if self._chosen is None else self._chosen
        return [repr(every[i]) if names is not None else str(every[i]) for i in chosen]

    @contextmanager
    def _whole_or_nothing(self):
        """Take back all that a failed fit has set."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _take(self, X, reset: bool) -> Table:
        """Check the container ``X`` and bring it into one matrix."""
        return Table.take(self, X, reset)

    def merge(self, other):
        """Give a new scaler, fitted on the rows of both.

        Raises
        ------
        TypeError
            ``other`` is another class.
        ValueError
            Columns or parameters differ, or one was fitted exactly and keeps no summary.
        """
        check_is_fitted(self)
        if type(other) is not type(self):
            raise TypeError(
                f"{type(self).__name__} merges with its own class; got {type(other).__name__}"
            )
        check_is_fitted(other)
        self._require_same(other)
        merged = shallow(self)
        merged._adopt(self._summary.merge(other._summary))
        return merged

    def _require_same(self, other) -> None:
        mine, theirs = (_identity(scaler) for scaler in (self, other))
        for what in mine:
            if mine[what] != theirs[what]:
                raise ValueError(
                    f"scalers must have the same {what} to merge; got {mine[what]} and "
                    f"{theirs[what]}"
                )
        if self._summary is None or other._summary is None:
            raise ValueError(ERROR_NO_SUMMARY.format(name=type(self).__name__))

    def __sklearn_is_fitted__(self):
        return "scale_" in self.__dict__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _are_allowed(scaler) -> bool:
    """Tell whether each parameter is what its constraints allow, without looking for its name.

    scikit-learn reads the constructor's signature and the table of constraints in each fit, which
    takes a tenth of a millisecond; it is asked where something is wrong, for the error.
    """
    kind, values = type(scaler), vars(scaler)
    given = [values.get(name, _MISSING) for name, _ in _constraints(kind)]
    try:
        return _remembered(kind, *given)
    except TypeError:
        # no hash, as with lists
        return _satisfied(kind, *given)


_MISSING = object()


def _satisfied(kind: type[Scaler], *values) -> bool:
    pairs = zip(values, _constraints(kind), strict=True)
    return all(any(c.is_satisfied_by(v) for c in allowed) for v, (_, allowed) in pairs)


# 1 and True are equal, and are no equal parameters
_remembered = lru_cache(maxsize=256, typed=True)(_satisfied)


@cache
def _constraints(kind: type[Scaler]):
    table = kind._parameter_constraints.items()
    checked = [(name, allowed) for name, allowed in table if allowed != "no_validation"]
    return [(name, [*map(make_constraint, allowed)]) for name, allowed in checked]


def _identity(scaler) -> dict[str, Any]:
    """Say what two scalers must have in common to merge."""
    chosen = scaler._chosen
    # columns= is compared as what it chose
    parameters = {k: v for k, v in scaler.get_params().items() if k not in ("copy", "columns")}
    return {
        "number of columns": scaler.n_features_in_,
        "column names": columns.known_names(scaler),
        "scaled columns": None if chosen is None else list(chosen),
        "parameters": parameters,
    }
