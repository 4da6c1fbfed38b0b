"""Cross products of centred rows against the reference, in every layout, and to the bit."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tolerances import FLOAT64

from equipoise.ops.products import op, reference
from equipoise.ops.products.layout import BLOCK

SHAPES = [(1, 1, 0), (200, 1, 1), (77, 3, 2), (700, 50, 1), (1300, 130, 1), (3000, 8, 0)]


def data(shape, dtype: Any = np.float64, mean=3.0):
    n, p, q = shape
    rng = np.random.default_rng(n)
    X, y = rng.standard_normal((n, p)) + mean, rng.standard_normal((n, q)) - mean
    return X.astype(dtype), y, np.concatenate([X[:2].mean(0), y[:2].mean(0)])


def assert_as_reference(X, y, weights, rows, shift):
    # the shortest chunks: several of most shapes, and a last one that is short
    with mock.patch.object(op, "CHUNK", 0):
        found = op.cross_products(X, y, weights, rows, shift)
    wanted = reference.cross_products(X, y, weights, rows, shift, BLOCK)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= FLOAT64.bound * max(1.0, np.abs(b).max())
    assert np.array_equal(found[2], found[2].T)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F", "gaps", "backwards"])
def test_every_layout_gives_the_reference(shape, dtype, order):
    X, y, shift = data(shape, dtype)
    if order == "gaps":
        wide = np.full((2 * len(X), 2 * X.shape[1]), np.nan, dtype)
        wide[::2, ::2] = X
        X, y = wide[::2, ::2], np.asfortranarray(y)
    elif order == "backwards":
        X = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    else:
        X = np.asarray(X, order=order)
    assert_as_reference(X, y, None, None, shift)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("chosen", [False, True])
def test_rows_are_weighted_and_chosen(shape, order, chosen):
    X, y, shift = data(shape)
    weights = np.arange(len(X)) % 3 / 2.0
    rows = np.flatnonzero(np.arange(len(X)) % 5) if chosen else None
    assert_as_reference(np.asarray(X, order=order), y, weights, rows, shift)


def test_numbers_at_odd_places_are_read():
    X, y, shift = data((70, 5, 1))
    record = np.zeros((70, 5), np.dtype({"names": ["x"], "formats": ["<f8"], "itemsize": 12}))
    record["x"] = X
    assert_as_reference(record["x"], y, None, None, shift)


def test_chunks_far_from_the_shift_lose_no_digits():
    X, y, shift = data((640, 4, 1))
    found = op.cross_products(X + 1e6, y, None, None, shift)[2]
    d = (X + 1e6)[:640] - (X + 1e6).mean(0)
    # the numbers themselves have 2e-16 * 1e6
    assert np.abs(found[:4, :4] - d.T @ d).max() <= 1e-9 * 640


def test_a_number_that_is_none_spoils_its_column_alone():
    X, y, shift = data((300, 9, 1))
    clean = op.cross_products(X, y, None, None, shift)[2]
    X[100, 3], X[200, 5] = np.nan, np.inf
    spoiled = op.cross_products(X, y, None, None, shift)[2]
    bad = np.isin(np.arange(10), [3, 5])
    assert not np.isfinite(spoiled[bad]).any()
    assert np.array_equal(spoiled[~bad][:, ~bad], clean[~bad][:, ~bad])


def test_no_row_gives_nothing():
    counts, means, within = op.cross_products(
        np.empty((0, 3)), np.empty((0, 1)), None, None, np.zeros(4)
    )
    assert counts.sum() == 0
    assert means.shape[1] == 4
    assert np.array_equal(within, np.zeros((4, 4)))


def test_threads_do_not_change_a_bit():
    X, y, shift = data((20_000, 20, 1))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(op.cross_products(X, y, None, None, shift)[2])
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)
