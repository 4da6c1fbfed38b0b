"""Wide Ridge by a kernel matrix of three digits: the answer keeps all of its own."""

import numpy as np
import pytest

from equipoise.linear_model import Ridge, design, kernel
from equipoise.ops.products.layout import PAIRS

pytestmark = pytest.mark.skipif(not PAIRS, reason="the processor multiplies no bfloat16")


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """Let rough kernel matrices begin at small sizes, and note what became of each."""
    found, whole = [], design.Design.rough_kernel

    def rough_kernel(self):
        found.append(whole(self))
        return found[-1]

    monkeypatch.setattr(kernel, "HALF", 100)
    monkeypatch.setattr(design.Design, "rough_kernel", rough_kernel)
    return found


def data(dtype: type = np.float64, q=None):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 1500)) + 0.5
    y = rng.standard_normal((120, q or 1)) + X[:, :1]
    return X.astype(dtype), y if q else y[:, 0]


def exact(X, y, alpha, weights=None, scale=1.0):
    w = np.ones(len(y)) if weights is None else weights
    X = X.astype(np.float64)
    z, t = (X - w @ X / w.sum()) * scale, y - w @ y / w.sum()
    root = np.sqrt(w)[:, None]
    z, t = z * root, (t.T * root[:, 0]).T
    return (z.T @ np.linalg.solve(z @ z.T + alpha * np.eye(len(z)), t)).T * scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [None, 2])
def test_the_answer_keeps_its_digits(made, dtype, q):
    X, y = data(dtype, q)
    coef = Ridge(alpha=2.0).fit(X, y).coef_
    wanted = exact(X, y, 2.0)
    assert made[0] is not None
    bound = 1e-11 if dtype == np.float64 else 2e-7
    assert np.abs(coef - wanted).max() <= bound * np.abs(wanted).max()


def test_weights_and_scales_count(made):
    X, y = data()
    weights = 1.0 + np.arange(120) % 3
    model = Ridge(alpha=2.0, standardize=True).fit(X, y, weights)
    mean = weights @ X / weights.sum()
    std = np.sqrt(weights @ (X - mean) ** 2 / weights.sum())
    wanted = exact(X, y, 2.0, weights, 1 / std)
    assert made[0] is not None
    assert np.abs(model.coef_ - wanted).max() <= 1e-11 * np.abs(wanted).max()


def test_rows_that_depend_on_each_other_are_left_to_float32(made):
    X, y = data()
    X = X[:, :30] @ X[:30] + X
    Ridge().fit(X, y)
    assert made == [None]


def test_rows_of_nothing_and_sums_beyond_float32_are_left_to_float32(made):
    X, y = data()
    for factor in (0.0, 1e25):
        with np.errstate(all="ignore"):
            Ridge(fit_intercept=False).fit(X * factor, y)
    assert made == [None, None]


def test_a_matrix_that_misleads_is_given_up(monkeypatch, made):
    X, y = data()

    def misleading(*args):
        return np.diag(np.logspace(0, 3, 120)).astype(np.float32)

    monkeypatch.setattr(design, "outer_products", misleading)
    coef = Ridge(alpha=2.0).fit(X, y).coef_
    wanted = exact(X, y, 2.0)
    assert made[0] is not None
    assert np.abs(coef - wanted).max() <= 1e-11 * np.abs(wanted).max()
