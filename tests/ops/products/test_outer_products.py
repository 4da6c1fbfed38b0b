"""Products of rows rounded to bfloat16, against torch's rounding and sums in float64."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from equipoise.ops.products import op
from equipoise.ops.products.layout import PAIRS

pytestmark = pytest.mark.skipif(not PAIRS, reason="the processor multiplies no bfloat16")

SHAPES = [(1, 1), (5, 2), (47, 70), (48, 129), (131, 300)]


def expected(X, offset, scale, root, rows):
    z = (X if rows is None else X[rows]).astype(np.float64) - offset
    z = z * (1.0 if scale is None else scale) * (1.0 if root is None else root[:, None])
    z = torch.from_numpy(z).float().bfloat16().double().numpy()
    return z @ z.T


def assert_as_expected(X, *args):
    # several stretches of columns, and a last one that is short
    with mock.patch.object(op, "STRETCH", 64):
        found = op.outer_products(X, *args)
    wanted = expected(X, *args)
    assert found.dtype == np.float32
    assert np.array_equal(found, found.T)
    # each product is exact, and 300 of them are added up in float32
    assert np.abs(found - wanted).max() <= 300 * 6e-8 * wanted.max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("scaled", [False, True])
def test_rows_meet_rows(shape, dtype: Any, order, scaled):
    rng = np.random.default_rng(shape[1])
    X = np.asarray(rng.standard_normal(shape) + 2, dtype, order=order)
    scale, root = rng.uniform(0.5, 2, shape[1]), rng.uniform(0.5, 2, shape[0])
    factors = (scale, root) if scaled else (None, None)
    assert_as_expected(X, X.mean(0, dtype=np.float64), *factors, None)


def test_rows_are_chosen():
    X = np.random.default_rng(0).standard_normal((90, 31))
    rows = np.flatnonzero(np.arange(90) % 3)
    assert_as_expected(X, np.zeros(31), None, np.arange(1.0, 61.0), rows)


def test_threads_do_not_change_a_bit():
    X = np.random.default_rng(0).standard_normal((300, 1500))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(op.outer_products(X, np.zeros(1500), None, None, None))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)
