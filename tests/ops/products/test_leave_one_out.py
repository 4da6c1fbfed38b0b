"""Errors of rows left out against the reference, in every layout."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
from tolerances import FLOAT64

from equipoise.ops.products import op, reference
from equipoise.ops.products.op import LeaveOneOut

# rows, columns, targets, alphas
SHAPES = [(1, 1, 1, 1), (70, 3, 1, 5), (200, 20, 3, 9), (130, 50, 2, 30), (64, 9, 1, 8)]


def problem(shape, dtype: Any = np.float64, spread=8.0):
    """Give X, y, and an eigenbasis, its values, filters and coefficients for many alphas."""
    n, p, q, count = shape
    rng = np.random.default_rng(n)
    X = (rng.standard_normal((n, p)) * np.logspace(0, spread / 2, p) + 3).astype(dtype)
    y = rng.standard_normal((n, q))
    offset = X.mean(0, dtype=np.float64) - 0.1
    z = X - offset
    values, V = np.linalg.eigh(z.T @ z)
    values, alphas = np.maximum(values, 0.0), np.logspace(-spread / 2, spread, count)
    filters = 1.0 / (values[:, None] + alphas)
    coefs = np.einsum("pk,kq,ka->pqa", V, V.T @ (z.T @ y), filters)
    return X, y, (offset, 1 / n, V, filters, values + alphas[0], coefs)


def assert_as_reference(X, y, fit, weights=None, rows=None):
    found = LeaveOneOut(*fit).errors(X, y, weights, rows)
    offset, base, V, filters, _, coefs = fit
    wanted = reference.leave_one_out(X, y, weights, rows, offset, base, V, filters, coefs)
    z = (X if rows is None else X[rows]) - offset
    h = (1.0 if weights is None else weights[:, None]) * (base + (z @ V) ** 2 @ filters)
    # where little is left of a row, rounding of its leverage is much of that
    scale = (1 + np.abs(wanted)) / np.maximum(1 - h, 1e-16)[:, None]
    assert found.shape == wanted.shape
    assert (np.abs(found - wanted) <= FLOAT64.bound * scale).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F", "gaps"])
def test_every_layout_gives_the_reference(shape, dtype, order):
    X, y, fit = problem(shape, dtype)
    if order == "gaps":
        wide = np.full((2 * len(X), 2 * X.shape[1]), np.nan, dtype)
        wide[::2, ::2] = X
        X = wide[::2, ::2]
    else:
        X = np.asarray(X, order=order)
    assert_as_reference(X, y, fit)


@pytest.mark.parametrize("chosen", [False, True])
def test_rows_are_weighted_and_chosen(chosen):
    X, y, fit = problem(SHAPES[2])
    rows = np.flatnonzero(np.arange(len(X)) % 5) if chosen else None
    y = y if rows is None else y[rows]
    weights = 0.3 + np.arange(len(y)) % 3 / 4
    assert_as_reference(X, y, fit, weights, rows)


def test_columns_are_worked_on_a_few_at_a_time():
    X, y, fit = problem(SHAPES[3])
    with mock.patch.object(op, "WIDTH", 16):
        assert_as_reference(X, y, fit)


@pytest.mark.parametrize("spread", [0.0, 8.0, 14.0])
def test_factors_keep_the_digits_of_each_column(spread):
    _, _, (_, _, _, filters, scale, coefs) = problem((100, 30, 2, 20), spread=spread)
    for A in (filters * scale[:, None], coefs.transpose(1, 0, 2)):
        left, right = op._factors(A)
        error = np.linalg.norm(left @ right - A, axis=-2)
        assert (error <= 1e-14 * np.linalg.norm(A, axis=-2)).all()
    assert spread or left.shape[-1] < 20


def test_a_row_of_leverage_one_is_not_divided_by_zero():
    X, y, fit = problem((5, 5, 1, 2))
    found = LeaveOneOut(fit[0], 1.0, *fit[2:]).errors(X, y)
    assert np.isfinite(found).all()
