"""Scales: round ends, ticks inside, numbers as people write them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.report.scale import Scale, fit, number, percent, usable

anything = st.lists(st.one_of(st.none(), st.floats(), st.integers(-(10**20), 10**20)), max_size=6)


@given(values=anything, log=st.booleans(), zero=st.booleans(), nice=st.booleans())
def test_any_values_fit(values, log, zero, nice):
    scale = fit(values, log=log, zero=zero and not log, nice=nice)
    kept = [v for v in values if usable(v) and (v > 1e-150 or not log)]
    assert scale.low < scale.high
    assert not log or scale.low > 0
    for value in kept:
        assert -1e-6 <= scale(value) <= 1 + 1e-6
    ticks = scale.ticks()
    assert len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    for tick in ticks:
        assert -1e-6 <= scale(tick) <= 1 + 1e-6


@pytest.mark.parametrize("span", [3, 7, 10, 99, 230, 1000, 0.02, 6e-5, 5e12])
def test_linear_ticks_are_few_and_even(span):
    ticks = Scale(0, span).ticks()
    assert 3 <= len(ticks) <= 7
    steps = {round((b - a) / span, 9) for a, b in itertools.pairwise(ticks)}
    assert len(steps) == 1


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (1, 10, [1, 2, 5, 10]),
        (0.001, 10, [0.001, 0.01, 0.1, 1, 10]),
        (0.9, 1.1, [0.9, 0.95, 1.0, 1.05, 1.1]),
    ],
)
def test_log_ticks(low, high, expected):
    assert Scale(low, high, log=True).ticks() == pytest.approx(expected)


def test_many_decades_are_thinned():
    ticks = Scale(1e-30, 1e30, log=True).ticks()
    assert 3 <= len(ticks) <= 7


def test_bars_start_at_zero():
    assert fit([90, 95], zero=True).low == 0


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (-0.0, "0"),
        (1, "1"),
        (0.05, "0.05"),
        (999.6, "1,000"),
        (123456, "123,000"),
        (1e6, "10⁶"),
        (-2.5e-9, "−2.5×10⁻⁹"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (None, "–"),
        ("1", "–"),
    ],
)
def test_numbers_are_written(value, text):
    assert number(value) == text


def test_percentages_are_written():
    assert [percent(v) for v in (0, 0.99749, 1, None)] == ["0.0%", "99.7%", "100.0%", "–"]
