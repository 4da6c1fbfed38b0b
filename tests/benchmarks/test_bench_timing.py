"""Contenders are interleaved, in an order that turns, for long enough."""

from collections import Counter

import pytest

from benchmarks.timing import Plan, interleave, percentile, turn


class Clock:
    """A clock that moves only when a fake call says so."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.now += seconds
            self.log.append(name)

        return run


def test_percentiles():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0], 0.1) == 1.0
    assert percentile([0.0, 10.0], 0.1) == pytest.approx(1.0)
    assert percentile(list(range(11)), 0.1) == 1


def test_each_contender_starts_and_follows_each_other_one():
    orders = [turn("abcd", r) for r in range(8)]
    assert Counter(o[0] for o in orders) == Counter("abcdabcd")
    assert all(sorted(o) == list("abcd") for o in orders)
    for a, b in (("a", "b"), ("b", "a")):
        assert any(o.index(a) + 1 == o.index(b) for o in orders)


def test_two_contenders_alternate():
    assert [turn("ab", r) for r in range(4)] == [["a", "b"], ["b", "a"], ["b", "a"], ["a", "b"]]


def test_samples_are_interleaved():
    clock = Clock()
    plan = Plan(min_rounds=3, min_seconds=0.0, max_seconds=9.0, floor=1, sample_seconds=1e-3)
    samples = interleave({"a": clock.call("a", 1.0), "b": clock.call("b", 2.0)}, plan, clock)
    # one warm-up call each, then the rounds
    assert clock.log == list("ab") + list("ab") + list("ba") + list("ba")
    assert samples["a"].seconds == [1.0] * 3
    assert samples["b"].seconds == [2.0] * 3


def test_short_calls_are_repeated_within_a_sample():
    clock = Clock()
    plan = Plan(min_rounds=2, min_seconds=0.0, max_seconds=9.0, floor=1, sample_seconds=1.0)
    samples = interleave({"a": clock.call("a", 0.25)}, plan, clock)
    assert len(clock.log) == 1 + 2 * 4
    assert samples["a"].seconds == [0.25, 0.25]


def test_rounds_go_on_until_the_seconds_are_there():
    clock = Clock()
    plan = Plan(min_rounds=2, min_seconds=5.0, max_seconds=9.0, floor=1, sample_seconds=1e-3)
    assert len(interleave({"a": clock.call("a", 1.0)}, plan, clock)["a"].seconds) == 5


@pytest.mark.parametrize("hard, rounds", [(1e3, 3), (60.0, 2), (40.0, 1)])
def test_a_slow_peer_drops_out_after_its_floor(hard, rounds):
    clock = Clock()
    plan = Plan(10, 0.0, max_seconds=20.0, hard_seconds=hard, floor=3, sample_seconds=1e-3)
    calls = {"ours": clock.call("ours", 1.0), "slow": clock.call("slow", 50.0)}
    samples = interleave(calls, plan, clock)
    assert len(samples["slow"].seconds) == rounds
    assert len(samples["ours"].seconds) == 10


def test_each_sample_comes_after_a_rest_that_is_not_timed():
    clock = Clock()

    def sleep(seconds):
        clock.now += seconds
        clock.log.append("rest")

    plan = Plan(min_rounds=2, min_seconds=0.0, floor=1, sample_seconds=1.0, rest=5.0)
    samples = interleave({"a": clock.call("a", 1.0), "b": clock.call("b", 1.0)}, plan, clock, sleep)
    assert clock.log == ["a", "b", *["rest", "a", "rest", "b"], *["rest", "b", "rest", "a"]]
    assert samples["a"].seconds == samples["b"].seconds == [1.0, 1.0]
