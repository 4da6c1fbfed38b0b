"""Cross products to three digits, held to exact ones."""

import numpy as np
import pytest

from equipoise.linear_model import Lasso
from equipoise.ops.descend import design, halves

needs_pairs = pytest.mark.skipif(not design.PAIRS, reason="no instructions for bfloat16 here")


@needs_pairs
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n, k", [(1, 1), (halves.ROWS, 4), (9 * halves.ROWS + 7, 5)])
@pytest.mark.parametrize("work", [0, 1 << 30])
def test_they_have_three_digits(n, k, weighted, work):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((k, n)).astype(np.float32)
    roots = rng.random(n) if weighted else np.empty(0)
    z = x * roots if weighted else x.astype(np.float64)
    found, sums = halves.cross_products(work, x.reshape(-1), n, k, roots)
    np.testing.assert_allclose(sums, z @ (roots if weighted else np.ones(n)), rtol=1e-6, atol=1e-5)
    # each number is off by 2⁻⁹ of itself at most
    np.testing.assert_array_less(np.abs(found - z @ z.T), 2.0**-7.9 * np.abs(z) @ np.abs(z).T)
    # and not always by as much, nor in one direction
    np.testing.assert_allclose(found, z @ z.T, atol=0.03 * np.sqrt(n), rtol=0)


@needs_pairs
def test_numbers_that_bfloat16_holds_are_exact():
    x = np.random.default_rng(0).integers(-8, 9, (6, 3000)).astype(np.float32)
    found, sums = halves.cross_products(0, x.reshape(-1), 3000, 6, np.empty(0))
    np.testing.assert_array_equal(sums, x.sum(1))
    np.testing.assert_array_equal(found, x.astype(np.float64) @ x.T)


@pytest.mark.parametrize("pairs", [False, pytest.param(True, marks=needs_pairs)])
def test_both_ways_reach_the_gap(monkeypatch, pairs):
    monkeypatch.setattr(design, "PAIRS", pairs)
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((30_000, 40)) + 3.0)
    y = X[:, :6] @ [3.0, -2.0, 1.0, 5.0, 0.01, -4.0] + rng.standard_normal(len(X))
    found = Lasso(alpha=0.1, tol=1e-7).fit(X, y)
    assert "share of the rows" in found.solver_info_["why"]
    exact = Lasso(alpha=0.1, tol=1e-14, precompute=True).fit(X, y)
    assert found.dual_gap_ <= 1e-7 * np.var(y)
    np.testing.assert_allclose(found.coef_, exact.coef_, atol=1e-3)
