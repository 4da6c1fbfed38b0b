"""Fits from streams: one pass makes CoMoments, and these are all that the models need."""

import os
import pickle
from functools import partial, reduce
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_array, validate_data

from equipoise.data import chunks, read
from equipoise.linear_model.base import FLOATS, raw_weights
from equipoise.linear_model.products import Rows, state
from equipoise.moments import CoMoments

# of the machine's memory, what the matrices of a fit may take
SHARE = 0.5
# the cross products, their sum while chunks merge, and the factor
COPIES = 3


class FromStream:
    """``partial_fit``, and ``fit(source, y="column")``, for models that CoMoments suffice for."""

    _comoments: CoMoments
    comoments_: Any

    def partial_fit(self: Any, X, y, sample_weight=None):
        """Fit to these rows and to all those of earlier calls, as if they had come at once.

        Parameters
        ----------
        X : array or CSR (n, p)
        y : array (n,) or (n, targets)
        sample_weight : None, number or array (n,)

        Notes
        -----
        ``comoments_`` holds what is known of the rows, p² numbers; it merges with that of another
        model (``a + b``).  ``fit`` forgets it.  Each call solves once, p³ / 3 operations for
        Ridge.
        """
        first = not hasattr(self, "comoments_")
        self._validate_params()
        floats: Any = FLOATS
        checked: Any = validate_data(
            self, X, y, reset=first, accept_sparse="csr", dtype=floats, multi_output=True,
            y_numeric=True,
        )  # fmt: skip
        X, y = checked
        y = check_array(y, dtype=floats, ensure_2d=False, input_name="y", estimator=self)
        weights = raw_weights(X, sample_weight)
        need_memory(X.shape[1], y.reshape(len(y), -1).shape[1])
        found = summarize(X, y, weights)
        return self.fit_comoments(found if first else self.comoments_.merge(found), X.dtype)

    def _fit_source(self: Any, source, y: str, sample_weight=None):
        """Fit to the rows of a source, the column ``y`` the target, in one pass."""
        if sample_weight is not None:
            raise ValueError(
                "sample_weight goes with rows, and fit(source, y='column') reads these itself: "
                "give chunks of them to partial_fit(X, y, sample_weight)"
            )
        self._validate_params()
        found, names = collect(source, y)
        self.n_features_in_ = len(found.mean)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        return self.fit_comoments(found)

    def fit_comoments(self: Any, comoments: CoMoments, dtype: Any = np.float64):
        """Fit to the rows that ``comoments`` summarise, merged from anywhere; give the model.

        Raises
        ------
        ValueError
            They hold no row, or no target, or the solver needs the rows themselves.
        TypeError
            They are no `CoMoments`.
        """
        if not isinstance(comoments, CoMoments):
            raise TypeError(
                f"comoments must be CoMoments; got {type(comoments).__name__}: make them with "
                "CoMoments.of(X, y)"
            )
        if comoments._targets is None:
            raise ValueError("comoments must hold targets: make them with CoMoments.of(X, y)")
        if not comoments.count > 0:
            raise ValueError(
                "a fit needs at least one row of weight above 0; got none. See that the source is "
                "not empty, and that its weights are not all zero."
            )
        self.comoments_ = comoments
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = len(comoments.mean)
        self._fit_from_comoments(comoments.to(None), dtype)
        return self

    def _fit_from_comoments(self: Any, comoments, dtype):
        """Fit to a few rows with the same cross products, by the model's own solver.

        Rows R with RᵀR = m2, scaled by √(len(R) / count), give 1/(2n) ‖y - Xb‖² its value, for
        every b.
        """
        count, mean, std, R = square_root(comoments, self.fit_intercept)
        p = comoments._features
        scale = std if self.standardize else np.ones(p)
        model: Any = clone(self)
        model.set_params(fit_intercept=False, standardize=False)
        if self.warm_start and hasattr(self, "coef_"):
            model.coef_ = self.coef_ * scale
        R = R * np.sqrt(len(R) / count)
        y = R[:, p:] if comoments._targets else R[:, p]
        model.fit(np.asfortranarray(R[:, :p] / scale), y)
        for name in ("dual_gap_", "n_iter_", "solver_info_"):
            setattr(self, name, getattr(model, name))
        self.coef_ = (model.coef_ / scale).astype(dtype, copy=False)
        offset = mean[p:] if comoments._targets else mean[p]
        self.intercept_ = 0.0
        if self.fit_intercept:
            intercept = offset - model.coef_ / scale @ mean[:p]
            self.intercept_ = np.asarray(intercept).astype(dtype)[()]


def summarize(X, y, weights=None) -> CoMoments:
    """Give the CoMoments of rows by BLAS; as `CoMoments.of`, to rounding."""
    targets = y.reshape(len(y), -1).astype(np.float64, copy=False)
    found = state(Rows(X, targets, weights))
    return CoMoments._new(found, X.shape[1], tuple(y.shape[1:]), None)


def collect(source, y: str):
    """Give the CoMoments of a source's rows and the names of its columns, in bounded memory.

    Parameters
    ----------
    source : what `equipoise.data.chunks` takes
        A ``ray.data.Dataset`` is summarised where its blocks are.
    y : str
        The column that is the target.

    Raises
    ------
    ValueError
        A NaN or infinity, by the column's name; more columns than cross products have memory
        for; what `chunks` raises.
    """
    if read.is_ray(source):
        return _collect_ray(source, y)
    total: Any = None
    names = None
    for X, names, target in chunks(source, y=y):
        part = _summary(X, names, target, y)
        total = part if total is None else total.merge(part)
    if total is None:
        raise ValueError("a fit needs at least one row; the source has none")
    return total, names


def _summary(X, names, target, y) -> CoMoments:
    need_memory(X.shape[1], 1)
    target = np.asarray(target)
    found = summarize(X, target)
    bad = ~np.isfinite(np.append(found.m2.diagonal(), found.yy))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        values = target if at == X.shape[1] else X[:, at]
        where = repr(y) if at == X.shape[1] else repr(names[at]) if names else f"number {at}"
        kind = "NaN" if np.isnan(values).any() else "infinity or values too large to square"
        raise ValueError(
            f"Input contains {kind}: column {where}. Drop or fill such rows before the fit."
        )
    return found


def _collect_ray(dataset, y):
    from equipoise.integrations.ray import MERGED, _merge, _told

    names = [name for name in dataset.schema().names if name != y]
    need_memory(len(names), 1)
    arrow: Any = {"batch_format": "pyarrow", "zero_copy_batch": True}
    try:
        parts = dataset.map_batches(partial(_pack, y=y), batch_size=None, **arrow)
        last = list(parts.map_batches(_merge, batch_size=MERGED, **arrow).iter_rows())
    except Exception as error:
        raise _told(error) from error
    found = [pickle.loads(row["summary"]) for row in last]
    if not found:
        raise ValueError("a fit needs at least one row; the dataset has none")
    return reduce(CoMoments.merge, found), tuple(names)


def _pack(table, y):
    """Give the summary of one block, as one row of bytes."""
    parts = [_summary(X, names, target, y) for X, names, target in chunks(table, y=y)]
    return {"summary": [pickle.dumps(reduce(CoMoments.merge, parts))] if parts else []}


def need_memory(p: int, q: int):
    """Refuse cross products that would not fit into memory, before they are made."""
    wanted = COPIES * 8 * (p + q) ** 2
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > SHARE * there:
        raise ValueError(
            f"a fit from a stream keeps the cross products of all columns: {p:,} features would "
            f"take {wanted / 2**30:,.1f} GiB, of the machine's {there / 2**30:,.1f} GiB. Select "
            "columns first, or load the rows and call fit(X, y), which for n < p needs n × n "
            "numbers for Ridge and less for Lasso."
        )


def square_root(comoments: CoMoments, centred: bool):
    """Give (count, mean, std, R): RᵀR are the cross products of [X y], about the mean or 0.

    Columns are brought to one scale before the eigendecomposition, so that small ones keep
    their digits.
    """
    count, mean, _, m2 = comoments._state()
    std = np.sqrt(np.maximum(m2.diagonal(), 0.0) / count)
    constant = std <= 8 * np.finfo(np.float64).eps * np.abs(mean)
    std = np.where(constant, 1.0, std)
    if centred:
        # what is left of a constant is rounding, which a free feature would be fitted to
        m2 = m2 * ~constant * ~constant[:, None]
    else:
        m2 = m2 + count * mean[:, None] * mean
    d = np.sqrt(np.maximum(m2.diagonal(), 0.0))
    d[d == 0] = 1.0
    values, V = np.linalg.eigh(m2 / d[:, None] / d)
    R = np.sqrt(np.maximum(values, 0.0))[:, None] * V.T * d
    return count, mean, std[: comoments._features], R
