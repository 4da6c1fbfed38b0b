"""The arithmetic of the summary, on trials made by hand."""

import pytest

from equipoise.study.summary import cell, row, spread, steps_to_target, summarize, trains

TARGET = 0.95


def test_spread():
    assert spread([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert spread([4, None, 1, 2, 3]) == {"median": 2.5, "low": 1.0, "high": 4.0}
    assert spread([None]) is None
    assert spread([]) is None


def test_steps_count_who_reached_the_target(trial):
    trials = [
        trial("a", 0.1, 0, [0.9, 0.95]),
        trial("a", 0.1, 1, [0.9, 0.9, 0.9, 0.97]),
        trial("a", 0.1, 2, [0.9, 0.94]),
        trial("a", 0.1, 3, [0.99], status="diverged"),
    ]
    assert steps_to_target(trials, TARGET) == {
        "median": 15.0,
        "low": 10.0,
        "high": 20.0,
        "reached": 2,
        "of": 4,
    }
    assert steps_to_target(trials[2:], TARGET) is None


def test_a_rate_trains_where_every_seed_reached_the_target(trial):
    good, bad = trial("a", 0.1, 0, [0.96]), trial("a", 0.1, 1, [0.9])
    assert trains([good], TARGET)
    assert not trains([good, bad], TARGET)
    assert not trains([good, trial("a", 0.1, 2, [0.99], status="diverged")], TARGET)
    assert not trains([], TARGET)


def test_a_cell_of_the_matrix(trial):
    trials = [
        trial("a", 0.1, 0, [0.5, 0.96]),
        trial("a", 0.1, 1, [0.8]),
        trial("a", 0.1, 2, [0.99], status="diverged"),
    ]
    assert cell(0.1, trials, TARGET) == {
        "lr": 0.1,
        "accuracy": 0.88,
        "diverged": 1,
        "of": 3,
        "reached": 1,
        "steps_to_target": 10.0,
    }


def test_the_best_rate_is_the_fastest_that_most_seeds_reach(trial):
    trials = [
        # reached by both, slowly
        trial("a", 0.1, 0, [0.9, 0.9, 0.95]),
        trial("a", 0.1, 1, [0.9, 0.9, 0.96]),
        # reached by both, faster
        trial("a", 0.3, 0, [0.9, 0.95]),
        trial("a", 0.3, 1, [0.9, 0.95]),
        # faster still, but by one alone
        trial("a", 1.0, 0, [0.99]),
        trial("a", 1.0, 1, [0.5]),
    ]
    found = row("a", trials, TARGET)
    assert found["best_lr"] == 0.3
    assert found["largest_lr"] == 0.3
    by_seed = {"median": 0.65, "low": 0.3, "high": 1.0, "reached": 2, "of": 2}
    assert found["largest_lr_by_seed"] == by_seed
    assert found["steps_to_target"]["median"] == 10.0
    assert found["best_accuracy"] == {"median": 0.95, "low": 0.95, "high": 0.95}


def test_without_the_target_the_best_accuracy_decides(trial):
    trials = [
        trial("a", 0.1, 0, [0.6]),
        trial("a", 0.3, 0, [0.8]),
        trial("a", 1.0, 0, [0.7]),
        trial("a", 3.0, 0, [0.9], status="diverged"),
    ]
    found = row("a", trials, TARGET)
    assert (found["best_lr"], found["largest_lr"], found["steps_to_target"]) == (0.3, None, None)


def test_a_tie_goes_to_the_smaller_rate(trial):
    assert row("a", [trial("a", lr, 0, [0.95]) for lr in (1.0, 0.1)], TARGET)["best_lr"] == 0.1


def test_a_seed_that_diverged_lowers_the_rank(trial):
    trials = [
        trial("a", 0.1, 0, [0.7]),
        trial("a", 0.1, 1, [0.7]),
        trial("a", 1.0, 0, [0.9]),
        trial("a", 1.0, 1, [], status="diverged"),
    ]
    assert row("a", trials, TARGET)["best_lr"] == 0.1


def test_where_all_diverged_there_is_no_best_rate(trial):
    found = row("a", [trial("a", 1.0, s, [], status="diverged") for s in (0, 1)], TARGET)
    assert found["best_lr"] is None
    assert found["best_accuracy"] is None
    assert found["matrix"][0]["diverged"] == 2


def test_time_is_one_value_a_seed(trial):
    trials = [
        trial("a", lr, seed, [0.5], seconds=seconds)
        for lr in (0.1, 1.0)
        for seed, seconds in ((0, 0.002), (1, 0.004), (2, 0.003))
    ]
    expected = {"median": 0.003, "low": 0.002, "high": 0.004}
    assert row("a", trials, TARGET)["seconds_per_step"] == pytest.approx(expected)


def test_an_interrupted_trial_counts_nowhere(trial):
    trials = [trial("a", 0.1, 0, [0.96]), trial("a", 0.1, 1, [0.5], status="interrupted")]
    found, other = summarize(trials, ["a", "b"], TARGET)
    assert found["matrix"][0]["of"] == 1
    assert found["steps_to_target"]["of"] == 1
    assert other == {
        "norm": "b",
        "best_lr": None,
        "steps_to_target": None,
        "best_accuracy": None,
        "largest_lr": None,
        "largest_lr_by_seed": None,
        "seconds_per_step": None,
        "matrix": [],
    }
