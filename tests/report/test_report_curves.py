"""From trials to curves: bins, and median with range over seeds."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.report.curves import Bins, aligned, band, thinned


@given(steps=st.integers(0, 500), points=st.integers(1, 120))
def test_bins_cover_every_step_once(steps, points):
    bins = Bins.over(steps, points)
    assert len(bins.centres) <= points
    ones = bins.mean([1.0] * steps)
    assert ones == [1.0] * len(bins.centres)
    assert bins.centres == sorted(bins.centres)


def test_a_bin_averages_what_is_known():
    assert Bins(6, 3).mean([1.0, None, 2.0, float("nan"), None, None]) == [1.5, None]


def test_a_short_trial_ends_in_gaps():
    assert Bins(9, 3).mean([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, None]


@given(st.integers(1, 60), st.integers(2, 20))
def test_thinning_keeps_the_ends(count, limit):
    kept = thinned(range(count), limit)
    assert len(kept) == min(count, limit)
    assert kept[0] == 0
    assert kept[-1] == count - 1


def test_band_of_seeds():
    rows = [[1.0, 2.0, None], [3.0, None, None], [2.0, 4.0, None]]
    middle, low, high = band(rows)
    assert middle == [2.0, 3.0, None]
    assert low == [1.0, 2.0, None]
    assert high == [3.0, 4.0, None]
    assert middle[1] == pytest.approx(fmean([2.0, 4.0]))


def test_alignment_leaves_gaps():
    assert aligned([10, 30], [0.1, 0.3], [10, 20, 30]) == [0.1, None, 0.3]
