"""Cross products of chosen columns where they lie, and columns that meet vectors."""

import numpy as np
import pytest

from equipoise.ops.descend import cross
from equipoise.ops.descend import design as designs


def _design(order, dtype, weighted, lazy, n=1000, p=11):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((n, p)) + 3.0, dtype, order=order)
    weights = rng.random(n) if weighted else None
    offset, scale = rng.standard_normal(p), 1.0 + rng.random(p)
    if lazy:
        offset, scale = np.zeros(p), np.ones(p)
    found = designs.Dense(X, weights, offset, scale, lazy)
    s = np.ones(n) if weights is None else weights
    offset = s @ X.astype(np.float64) / s.sum() if lazy else offset
    return found, (X - offset) / scale * np.sqrt(s)[:, None], rng


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_design_multiplies_what_it_says(order, dtype, weighted, lazy):
    design, Z, rng = _design(order, dtype, weighted, lazy)
    index, m = np.array([7, 2, 9, 0, 3, 10, 4]), 3
    found, q = design.products(index, m, np.ones(len(Z)))
    np.testing.assert_allclose(found, Z[:, index[-m:]].T @ Z[:, index], atol=1e-10 * len(Z))
    W, R = rng.standard_normal((5, len(index))), rng.standard_normal((6, len(Z)))
    if order == "F":
        np.testing.assert_allclose(design.squares(index), (Z[:, index] ** 2).sum(0), rtol=1e-12)
        np.testing.assert_allclose(design.combine_many(index, W), W @ Z[:, index].T, atol=1e-10)
    found = design.correlate_some(R, index)
    np.testing.assert_allclose(found, R @ Z[:, index], atol=1e-10 * len(Z))
    if not lazy:
        np.testing.assert_allclose(q, Z[:, index[-m:]].sum(0), atol=1e-10 * len(Z))


@pytest.mark.parametrize("work", [0, 1 << 30])
@pytest.mark.parametrize("n", [1, 63, 64, 5 * cross.ROWS + 7])
@pytest.mark.parametrize("k, m", [(1, 1), (4, 4), (9, 9), (9, 2), (9, 5), (40, 33)])
def test_any_number_of_columns(work, n, k, m):
    rng = np.random.default_rng(0)
    X, index = np.asfortranarray(rng.standard_normal((n, 50))), rng.permutation(50)[:k]
    x, none = designs.flat(X), np.empty(0)
    found = cross.cross_products(work, x, n, (1, n), index, m, np.zeros(50), np.ones(50), none)
    np.testing.assert_allclose(found, X[:, index[k - m :]].T @ X[:, index], atol=1e-12 * (n + 9))
    v, out = rng.standard_normal((m, n)), np.full((m, k), np.nan)
    cross.meet(work, x, n, index, v, out)
    np.testing.assert_allclose(out, v @ X[:, index], atol=1e-12 * (n + 9))
