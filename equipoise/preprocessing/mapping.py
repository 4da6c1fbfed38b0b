"""What scalers do to rows, whatever holds them: `transform`, and the same for its inverse."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from equipoise.errors import UsageError
from equipoise.preprocessing import containers
from equipoise.preprocessing.table import Table


class Transforms:
    """Mixin of `transform` and `fit_transform`.

    No class of scikit-learn's: `set_output` is obeyed by `wrap`, in both directions, and
    scikit-learn's own wrapper would make frames of tables, lazy frames and iterators, and fail.
    """

    copy: bool
    fit: Any

    def transform(self, X, copy=None, *, out=None):
        """Scale the columns of ``X``: in its container, dtype and device.

        Parameters
        ----------
        X : what `fit` takes
        copy : bool or None
            False writes into ``X`` where it is a float array or tensor; None means the
            constructor's ``copy``.
        out : array or tensor of X's shape and of the result's dtype, or None
            Where to write; may be ``X`` itself.
        """
        check_is_fitted(self)
        self._check_sparse(X)
        if containers.is_source(X):
            return _map_source(self, X, out)
        return Table.take(self, X, reset=False).map(self._affine(), self._in_place(copy), out)

    def fit_transform(self, X, y=None, **fit_params):
        """Fit to ``X``, then give it scaled.

        Raises
        ------
        ValueError
            ``X`` can be read only once, as an iterator.
        """
        if containers.is_spent(X):
            raise UsageError(
                f"fit_transform reads its rows twice; a {type(X).__name__} is spent after fit. "
                "Call fit, make the iterator anew, and call transform."
            )
        return self.fit(X, y, **fit_params).transform(X)

    def _affine(self) -> Any:
        """Give the map of the rows."""
        raise NotImplementedError

    def _check_sparse(self, X) -> None:
        """Refuse sparse matrices where the map keeps no zeros."""

    def _in_place(self, copy) -> bool:
        return not (self.copy if copy is None else copy)


class Inverts(Transforms):
    """Mixin of `inverse_transform` as well."""

    def inverse_transform(self, X, copy=None, *, out=None):
        """Undo `transform`; parameters as there."""
        check_is_fitted(self)
        self._check_sparse(X)
        if containers.is_source(X):
            return _map_source(Inverse(self), X, out)
        table = Table.take_back(self, X)
        return table.map(self._affine().inverse(), self._in_place(copy), out)


class Inverse:
    """A fitted scaler from behind: its `transform` is the other's inverse."""

    def __init__(self, scaler):
        self.scaler = scaler

    def transform(self, X):
        """Undo the scaler's `transform`."""
        return self.scaler.inverse_transform(X)

    def _affine(self):
        return self.scaler._affine().inverse()

    def __getattr__(self, name):
        # not yet there while it is unpickled
        if name == "scaler":
            raise AttributeError(name)
        return getattr(self.scaler, name)


def _map_source(scaler, source, out):
    from equipoise.preprocessing import stream

    if out is not None:
        raise ValueError("out= needs an array; a source is transformed chunk by chunk")
    return stream.transform(scaler, source)
