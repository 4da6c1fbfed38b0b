"""Moments: what they are worth, how they merge, what they refuse."""

import math

import numpy as np
import pytest
import torch
from exact import assert_exact
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import equipoise as eq

# roundings of a merge: of the distance of the means, its square, and the sums
MERGED = 16

quick = settings(deadline=None, max_examples=40)


def floats(width=64, bound=1e100, nan=True):
    """Draw floats: any size and subnormals, and those near 1e8 where naive formulas fail."""
    bound = 1e30 if width == 32 else bound
    limit = float(np.float32(bound)) if width == 32 else bound
    wild = st.floats(-limit, limit, width=width)
    near = st.integers(-1000, 1000).map(lambda i: float(np.float32(1e8 + 8 * i)))
    return st.one_of(wild, near, st.just(math.nan)) if nan else st.one_of(wild, near)


FEW = st.integers(1, 4)


def matrices(width=64, nan=True, columns=FEW):
    """Draw matrices (0 to 30 rows, columns)."""
    return hnp.arrays(
        np.float32 if width == 32 else np.float64,
        st.tuples(st.integers(0, 30), columns),
        elements=floats(width, nan=nan),
    )


def two_matrices():
    return st.integers(1, 3).flatmap(
        lambda p: st.tuples(*[matrices(columns=st.just(p)) for _ in range(2)])
    )


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# --- worth


@quick
@given(matrices())
def test_float64_against_exact_arithmetic(x):
    assert_exact(eq.Moments.of(x), x)


@quick
@given(matrices(width=32))
def test_float32_against_exact_arithmetic(x):
    assert_exact(eq.Moments.of(x), x)


HARD = {
    "N(1e8, 1)": 1e8 + random((3000, 2)),
    "N(-1e15, 1)": -1e15 + random((3000, 2)),
    "an outlier in the first row": np.concatenate([[[1e8, -1e12]], random((2999, 2))]),
    "an outlier in the last row": np.concatenate([random((2999, 2)), [[1e8, -1e12]]]),
    "a first block unlike the rest": np.concatenate([1e6 + random((64, 2)), random((3000, 2))]),
    "NaNs first": np.concatenate([np.full((64, 2), np.nan), 1e8 + random((2936, 2))]),
    "sorted": np.sort(random((3000, 2)), axis=0),
    "a trend": np.linspace(0, 1e6, 3000)[:, None] + random((3000, 2)),
    "constant": np.full((3000, 2), 0.1),
    "constant with a NaN first": np.concatenate([[[np.nan, 0.1]], np.full((2999, 2), 0.1)]),
    "one value that differs by one ulp": np.where(np.arange(3000)[:, None] == 7, 0.1, 0.1 + 2e-17),
    "huge": 1e300 + 1e150 * random((3000, 2)),
    "huge, of both signs": 1e150 * random((3000, 2)),
    "small": 1e-150 * random((3000, 2)),
    "subnormal": 1e-310 * random((3000, 2)),
    "from subnormal to huge": 10.0 ** np.linspace(-320, 150, 3000)[:, None] * random((3000, 2)),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_columns_against_exact_arithmetic(name):
    assert_exact(eq.Moments.of(HARD[name]), HARD[name])


@pytest.mark.parametrize("name", HARD)
def test_hard_columns_in_chunks(name):
    x = HARD[name]
    assert_exact(sum(eq.Moments.of(part) for part in np.array_split(x, 7)), x, ulps=MERGED)


@pytest.mark.parametrize("name", HARD)
def test_hard_columns_with_weights(name):
    weights = np.random.default_rng(1).integers(0, 5, len(HARD[name]))
    assert_exact(eq.Moments.of(HARD[name], weights=weights), HARD[name], weights=weights)


def test_float32_is_widened_before_anything_is_subtracted():
    x = np.float32(1e8) + 8 * np.random.default_rng(0).integers(-3, 4, (3000, 2)).astype(np.float32)
    assert_exact(eq.Moments.of(x), x)


def test_the_variance_of_many_blocks_far_from_zero():
    # in blocks of 131072 values; longdouble is off by 1e8 * 2^-64 in the mean, 3e-23 in m2
    x = 1e8 + random((200_000, 3))
    wide = x.astype(np.longdouble)
    expected = ((wide - wide.mean(0)) ** 2).mean(0)
    assert np.max(abs(eq.Moments.of(x).var() / expected - 1)) < 2e-15


@pytest.mark.parametrize("ddof", [0, 1, 2.5])
def test_variance_and_standard_deviation(ddof):
    m = eq.Moments.of([1.0, 2.0, 6.0])
    assert m.var(ddof) == pytest.approx(14 / (3 - ddof))
    assert m.std(ddof) == pytest.approx(math.sqrt(14 / (3 - ddof)))


def test_too_few_rows_have_no_variance():
    m = eq.Moments.of([[5.0, np.nan]])
    assert np.array_equal(m.var(), [0, np.nan], equal_nan=True)
    assert np.isnan(m.var(ddof=1)).all()
    assert np.isnan(m.std(ddof=2)).all()
    assert torch.isnan(eq.Moments.of(torch.ones(1, 2)).var(ddof=1)).all()


# --- merging


@quick
@given(two_matrices())
def test_merging_is_the_summary_of_both(pair):
    a, b = pair
    m = eq.Moments.of(a) + eq.Moments.of(b)
    assert_exact(m, np.concatenate([a, b]), ulps=MERGED)


@quick
@given(two_matrices())
def test_merging_commutes_to_rounding(pair):
    a, b = map(eq.Moments.of, pair)
    both = np.concatenate(pair)
    assert_exact(a.merge(b), both, ulps=MERGED)
    assert_exact(b.merge(a), both, ulps=MERGED)


@quick
@given(matrices(columns=st.just(2)), st.integers(0, 30), st.integers(0, 30))
def test_merging_associates_to_rounding(x, i, j):
    a, b, c = (
        eq.Moments.of(part) for part in np.split(x, sorted((min(i, len(x)), min(j, len(x)))))
    )
    assert_exact((a + b) + c, x, ulps=MERGED)
    assert_exact(a + (b + c), x, ulps=MERGED)


@quick
@given(matrices())
def test_the_empty_summary_changes_nothing(x):
    m = eq.Moments.of(x)
    none = eq.Moments.empty(x.shape[1])
    assert m + none == m == none + m
    assert none + none == none


@quick
@given(matrices(), st.data())
def test_weights_equal_repetition(x, data):
    weights = data.draw(hnp.arrays(np.int64, len(x), elements=st.integers(0, 4)))
    m = eq.Moments.of(x, weights=weights)
    assert_exact(m, np.repeat(x, weights, axis=0))


@quick
@given(matrices(nan=False).filter(len))
def test_a_single_row_is_its_own_mean(x):
    m = eq.Moments.of(x[:1])
    assert np.array_equal(m.mean, x[0])
    assert np.array_equal(m.min, x[0])
    assert np.array_equal(m.max, x[0])
    assert not m.m2.any()


def test_a_sum_of_many_merges_from_the_left():
    parts = [eq.Moments.of(random((5, 3), seed=s)) for s in range(4)]
    assert sum(parts) == ((parts[0] + parts[1]) + parts[2]) + parts[3]


def test_no_rows():
    for m in (eq.Moments.of(np.empty((0, 3))), eq.Moments.empty(3)):
        assert not m.count.any()
        assert np.isnan(m.mean).all()
        assert not m.m2.any()
        assert np.isnan(m.var()).all()
        assert (m.min == np.inf).all()
        assert (m.max == -np.inf).all()
        assert not m.nan_count.any()


def test_no_columns():
    m = eq.Moments.of(np.empty((4, 0))) + eq.Moments.empty(0)
    assert m.mean.shape == (0,)
    assert eq.Moments.of(np.empty((4, 0)), weights=np.ones(4)).shape == (0,)
