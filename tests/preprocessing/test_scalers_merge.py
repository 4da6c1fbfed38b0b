"""partial_fit and merge: exact through Moments, within the stated rank error through sketches."""

import pickle

import numpy as np
import pytest

from equipoise.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from equipoise.preprocessing.sketches import QuantileSketches, size_for
from equipoise.preprocessing.summaries import MomentsSummary

SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler)


def draw(rows=4000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 3)) * [1, 10, 100] + [0, 1e3, -1e6]
    x[rng.random(x.shape) < 0.01] = np.nan
    return x


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("cls", SCALERS)
def test_merged_and_partial_fits_are_the_whole(cls, shared):
    x = draw()
    whole = cls(shared=shared).fit(x)
    merged = cls(shared=shared).fit(x[:100]).merge(cls(shared=shared).fit(x[100:]))
    parts = cls(shared=shared).fit(x[:3000]).partial_fit(x[3000:])
    for scaler in (merged, parts):
        for name, value in vars(whole).items():
            if name.endswith("_"):
                np.testing.assert_allclose(getattr(scaler, name), value, rtol=1e-12)
        np.testing.assert_allclose(scaler.transform(x), whole.transform(x), rtol=1e-9, atol=1e-12)


def test_merge_changes_neither_side():
    a, b = (StandardScaler().fit(draw(seed=s)) for s in (0, 1))
    before = a.mean_.copy(), b.mean_.copy()
    c = a.merge(b)
    np.testing.assert_array_equal((a.mean_, b.mean_), before)
    assert not np.array_equal(c.mean_, a.mean_)
    robust = RobustScaler().partial_fit(draw())
    center = robust.center_.copy()
    robust.merge(RobustScaler().partial_fit(draw(seed=1) + 1e7))
    again = robust._summary.quantiles([0.25, 0.5, 0.75])[1]
    np.testing.assert_array_equal(again, center)


def test_merge_with_columns_named_by_an_array():
    a, b = (MinMaxScaler(columns=np.array([2, 0])).fit(draw(seed=s)) for s in (0, 1))
    np.testing.assert_array_equal(a.merge(b).data_max_, np.maximum(a.data_max_, b.data_max_))
    with pytest.raises(ValueError, match="scaled columns"):
        a.merge(MinMaxScaler(columns=[0, 2]).fit(draw()))


def rank_of(values, found):
    """Give how far the rank of ``found`` may lie from the median's, as a share."""
    values = values[~np.isnan(values)]
    below, upto = (values < found).mean(), (values <= found).mean()
    return max(below - 0.5, 0.5 - upto, 0.0)


@pytest.mark.parametrize("rank_error", [0.02, 0.005])
def test_sketched_quantiles_are_within_the_rank_error(rank_error):
    x = draw(200_000)
    scaler = RobustScaler(rank_error=rank_error)
    for part in np.array_split(x, 7):
        scaler.partial_fit(part)
    assert scaler.rank_error_ == rank_error
    for c in range(3):
        # one in a hundred may miss the bound: none may miss twice of it
        assert rank_of(x[:, c], scaler.center_[c]) < 2 * rank_error
    exact = RobustScaler().fit(x)
    assert exact.rank_error_ == 0.0
    np.testing.assert_allclose(scaler.scale_, exact.scale_, rtol=10 * rank_error)


def test_few_rows_are_sketched_exactly():
    x = draw(size_for(0.005) - 100)
    parts = RobustScaler().partial_fit(x[:50]).partial_fit(x[50:])
    exact = RobustScaler().fit(x)
    assert parts.rank_error_ == 0.0
    np.testing.assert_allclose(parts.center_, exact.center_, rtol=1e-15)
    np.testing.assert_allclose(parts.scale_, exact.scale_, rtol=1e-13)
    # and an exact fit of few rows can go on
    going_on = RobustScaler().fit(x[:50]).partial_fit(x[50:])
    np.testing.assert_allclose(going_on.center_, exact.center_, rtol=1e-15)


def test_robust_merge_is_within_the_sum_of_errors():
    x = draw(100_000)
    halves = [RobustScaler().partial_fit(part) for part in np.array_split(x, 2)]
    merged = halves[0].merge(halves[1])
    for c in range(3):
        assert rank_of(x[:, c], merged.center_[c]) < 0.01


@pytest.mark.parametrize("cls", [*SCALERS, RobustScaler])
def test_pickled_scalers_go_on(cls):
    x = draw()
    scaler = cls().partial_fit(x[:2000])
    again = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(again.transform(x), scaler.transform(x))
    again.partial_fit(x[2000:])
    assert not np.array_equal(again.scale_, scaler.scale_)


def test_summaries_survive_their_arrays():
    x = draw()
    for summary in (MomentsSummary.of(x), QuantileSketches.of(x, 0.02)):
        again = type(summary).from_arrays(summary.arrays())
        for name, value in summary.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], value)
