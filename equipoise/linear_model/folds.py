"""The folds of a cross-validation: weights on the rows of one X, cross products that are shared."""

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn import get_config
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing

from equipoise.linear_model.path import follow_path
from equipoise.ops.moments.comoments import merge

# values of X that are taken at once
PIECE = 1 << 20


def routed(estimator, sample_weight, params):
    """Give the splitter's parameters, which only metadata routing can name."""
    if get_config()["enable_metadata_routing"]:
        found = process_routing(estimator, "fit", sample_weight=sample_weight, **params)
        return found.splitter.split
    if params:
        raise ValueError(
            f"Sending {sorted(params)} to the splitter is only supported if "
            "enable_metadata_routing=True. Set it by "
            "sklearn.set_config(enable_metadata_routing=True)."
        )
    return {}


def check_folds(splits, n, weights=None, tested=None):
    """Give the folds as pairs of row numbers (train, test).

    Parameters
    ----------
    splits : iterable of pairs of row numbers or masks
    weights, tested : None or array (n,)
        Of the rows in training, and of those in a fold's score.

    Raises
    ------
    ValueError
        There is no fold, or one has no row of weight above 0 to learn from or to be scored on.
    """
    rows = np.arange(n)
    folds = [(rows[train], rows[test]) for train, test in splits]
    if not folds:
        raise ValueError("cv gives no folds; it must give at least one pair (train, test) of rows")
    for i, fold in enumerate(folds):
        for part, counts, what in zip(fold, (weights, tested), ("training", "test"), strict=True):
            if not (len(part) if counts is None else counts[part].any()):
                raise ValueError(
                    f"fold {i} of cv has {len(part)} {what} rows, none of weight above 0. Choose "
                    "other folds, or leave rows of weight 0 out of X."
                )
    return folds


def fold_errors(estimator, X, y, weights, folds, ratios, grids):
    """Give the mean squared errors on the test rows, (ratios, alphas, folds)."""
    whole = np.ones(len(y)) if weights is None else weights
    grams = _shared(estimator, X, y, whole, folds)
    jobs = (
        delayed(_fold)(estimator, X, y, whole, train, test, ratios, grids, grams[i])
        for i, (train, test) in enumerate(folds)
    )
    errors: Any = Parallel(n_jobs=estimator.n_jobs, prefer="threads")(jobs)
    return np.stack(list(errors), axis=2)


def _fold(estimator, X, y, whole, train, test, ratios, grids, gram):
    """Give the errors of one fold, (ratios, alphas)."""
    counts = np.bincount(train, minlength=len(y))
    weights = whole * counts
    problem = estimator._problem(X, y, weights * (len(y) / weights.sum()))
    settings = estimator._settings(problem, fold=True)
    if gram is not None:
        problem.take(*gram)
    return np.array([
        _errors(problem, follow_path(problem, settings, r, grid, name=type(estimator).__name__)[1],
                X, y, whole, test)
        for r, grid in zip(ratios, grids, strict=True)
    ])  # fmt: skip


def _errors(problem, coefs, X, y, whole, test):
    """Give the weighted mean squared error on the test rows for each row of ``coefs``."""
    used = np.flatnonzero(coefs.any(axis=0))
    W = coefs[:, used] / problem.design.scale[used]
    intercepts = problem.y_offset - W @ problem.design.offset[used]
    total = np.zeros(len(coefs))
    step = max(1, PIECE // max(len(used), len(coefs)))
    for first in range(0, len(test), step):
        rows = test[first : first + step]
        left = y[rows][:, None] - _take(X, rows, used) @ W.T - intercepts
        total += whole[rows] @ (left * left)
    return total / whole[test].sum()


def _take(X, rows, columns):
    if isinstance(X, np.ndarray):
        return X[rows[:, None], columns].astype(np.float64, copy=False)
    found: Any = _safe_indexing(X.tocsr(), rows)
    return found[:, columns]


def _shared(estimator, X, y, whole, folds):
    """Give each training set's (cross products, means) from the other folds; None where no use."""
    n, p = X.shape
    none = [None] * len(folds)
    auto = isinstance(estimator.precompute, str) or estimator.precompute is True
    if not auto or not isinstance(X, np.ndarray) or p > n or len(folds) < 2:
        return none
    trains, tests = zip(*folds, strict=True)
    counts = np.bincount(np.concatenate(tests), minlength=n)
    whole_trains = all(len(a) + len(b) == n for a, b in zip(tests, trains, strict=True))
    if not (counts == 1).all() or not whole_trains:
        return none
    states = [_state(X, whole, rows, estimator.fit_intercept) for rows in tests]
    found = []
    for i in range(len(folds)):
        count, mean, rest, m2 = 0.0, np.zeros(p), np.zeros(p), np.zeros((p, p))
        total = (count, mean, rest, m2)
        for k, state in enumerate(states):
            if k != i:
                total = merge(total, state) if estimator.fit_intercept else _add(total, state)
        found.append((total[3] * (n / total[0]), total[1] + total[2]))
    return found


def _add(a, b):
    return a[0] + b[0], a[1], a[2], a[3] + b[3]


def _state(X, whole, rows, centred):
    """Give (count, mean, rest, m2) of some rows."""
    p = X.shape[1]
    count, mean, m2 = 0.0, np.zeros(p), np.zeros((p, p))
    total = (count, mean, np.zeros(p), m2)
    step = max(256, PIECE // p)
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        z, w = X[part].astype(np.float64, copy=False), whole[part]
        count = float(w.sum())
        if count == 0.0:
            continue
        shift = w @ z / count if centred else np.zeros(p)
        z = (z - shift) * np.sqrt(w)[:, None]
        state = (count, shift, np.zeros(p), z.T @ z)
        total = merge(total, state) if centred else _add(total, state)
    return total
