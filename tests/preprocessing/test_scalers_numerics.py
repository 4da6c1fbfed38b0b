"""Error of what is fitted and of what is transformed, against exact arithmetic and scikit-learn."""

from fractions import Fraction

import numpy as np
import pytest
import sklearn.preprocessing as theirs
import torch

from equipoise.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def draw(rows=3000, columns=5, dtype=np.float64, mean=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return (mean + rng.standard_normal((rows, columns))).astype(dtype)


def ulps(found, exact: Fraction) -> float:
    """Give the distance in units of the last place of float64."""
    return float(abs(Fraction(float(found)) - exact) / Fraction(np.spacing(abs(float(exact)))))


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e4, 1e8])
def test_mean_and_variance_are_within_a_few_ulp_of_exact(mean):
    x = draw(2000, 2, np.float32, mean)
    x[:, 1] *= np.float32(1e3)
    scaler = StandardScaler().fit(x)
    for c in range(2):
        values = [Fraction(float(v)) for v in x[:, c]]
        exact = sum(values) / len(values)
        var = sum((v - exact) ** 2 for v in values) / len(values)
        spread = Fraction(float(var) ** 0.5)
        # of a mean near zero the spread decides what a rounding is
        bound = max(Fraction(np.spacing(abs(float(exact)))), spread / 2**52)
        assert abs(Fraction(float(scaler.mean_[c])) - exact) <= 2 * bound
        if var:
            assert ulps(scaler.var_[c], var) <= 8


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_chunks_in_any_order_give_the_same_to_rounding(dtype, order):
    x = np.asarray(draw(9001, 6, dtype, 1e3), order=order)
    x[5::7, 2] = np.nan
    whole = StandardScaler().fit(x)
    for cuts in ([1, 2, 5000], [4500], list(range(1000, 9000, 1000))):
        parts = np.split(x, cuts)[::-1]
        scaler = StandardScaler()
        for part in parts:
            scaler.partial_fit(part)
        np.testing.assert_allclose(scaler.mean_, whole.mean_, rtol=4e-16)
        np.testing.assert_allclose(scaler.var_, whole.var_, rtol=2e-14)
        np.testing.assert_array_equal(scaler.n_samples_seen_, whole.n_samples_seen_)


def test_the_number_of_threads_changes_no_bit():
    x = draw(400_000, 3, np.float32, 7.0)
    before = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            scalers = [cls().fit(x) for cls in SCALERS]
            found.append([s.transform(x) for s in scalers] + [s.scale_ for s in scalers])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_float32_is_centred_without_losing_the_mean():
    x = draw(100_000, 4, np.float32, 1e5)
    z = StandardScaler().fit_transform(x)
    assert z.dtype == np.float32
    assert np.abs(z.mean(axis=0, dtype=np.float64)).max() < 1e-6
    # what the cast of the mean to float32 costs
    other = theirs.StandardScaler().fit_transform(x)
    assert np.abs(other.mean(axis=0, dtype=np.float64)).max() > 1e-4


@pytest.mark.parametrize("cls", SCALERS)
def test_float32_results_are_the_rounded_exact_ones(cls):
    x = draw(5000, 3, np.float32, 100.0)
    scaler = cls().fit(x)
    exact = cls().fit(x.astype(np.float64)).transform(x.astype(np.float64))
    np.testing.assert_allclose(scaler.transform(x), exact, rtol=6.1e-8, atol=1e-45)
    back = scaler.inverse_transform(scaler.transform(x))
    np.testing.assert_allclose(back, x, rtol=3e-7)


@pytest.mark.parametrize("cls", SCALERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_are_scikit_learns(cls, dtype):
    x = draw(500, 6, dtype, 3.0)
    x[3, 1] = np.nan
    ours, other = cls().fit(x), getattr(theirs, cls.__name__)().fit(x)
    for name in ("mean_", "var_", "scale_", "min_", "data_min_", "data_max_", "center_"):
        if hasattr(other, name):
            np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=1e-6)
    np.testing.assert_allclose(ours.transform(x), other.transform(x), rtol=2e-5, atol=2e-6)


def test_float16_does_not_overflow():
    x = np.full((70_000, 2), 60_000, np.float16)
    x[::2] = -60_000
    scaler = StandardScaler().fit(x)
    # ten roundings of the spread: lanes of one sign each grow far before they meet
    np.testing.assert_allclose(scaler.mean_, 0.0, atol=10 * 2.0**-52 * 60_000)
    np.testing.assert_allclose(scaler.scale_, float(np.float16(60_000)))
    z = scaler.transform(x)
    assert z.dtype == np.float16
    np.testing.assert_array_equal(np.abs(z), 1.0)


def test_minmax_meets_its_bounds_exactly():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 40)) * np.geomspace(1e-6, 1e20, 40) + 1e3
    for low, high in ((0, 1), (-1, 1)):
        z = MinMaxScaler((low, high)).fit_transform(x)
        np.testing.assert_array_equal(z.min(axis=0), low)
        np.testing.assert_array_equal(z.max(axis=0), high)


@pytest.mark.parametrize("cls", SCALERS)
def test_tiny_columns_are_scaled_and_constant_ones_are_not(cls):
    x = draw(200, 4)
    x[:, 1] *= 1e-100
    x[:, 2] = 0.1 + 0.2
    x[::2, 2] = 0.3
    x[:, 3] = 0.0
    scaler = cls().fit(x)
    assert scaler.scale_[1] != 1.0
    assert scaler.scale_[3] == 1.0 or cls is MinMaxScaler
    z = scaler.transform(x)
    assert np.abs(z[:, 1]).max() > 0.9
    if cls is not MaxAbsScaler:
        assert np.ptp(z[:, 2]) < 1e-15


def test_many_rows_do_not_make_a_column_constant():
    # scikit-learn's bound grows with n: at 1e6 rows it takes this column for constant
    x = 1e8 + 1e-3 * draw(1_000_000, 1)
    scaler = StandardScaler().fit(x)
    assert scaler.scale_[0] == pytest.approx(x.std(), rel=1e-9)
    assert theirs.StandardScaler().fit(x).scale_[0] == 1.0


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1.0, 1e150, 1e307])
@pytest.mark.parametrize("order", ["C", "F"])
def test_norms_neither_overflow_nor_underflow(norm, scale, order):
    x = np.asarray(draw(300, 7) * scale / 8, order=order)
    z = Normalizer(norm).fit_transform(x)
    expected = theirs.Normalizer(norm).fit_transform(x / scale)
    np.testing.assert_allclose(z, expected, rtol=1e-12)
