"""The verdict claims what the numbers show and no more; trials made by hand."""

import re

import pytest

from equipoise.study.summary import summarize
from equipoise.study.verdict import order, percent, sentences, span

SLOW = ([0.5] * 9 + [0.96], [0.5] * 10 + [0.96], [0.5] * 11 + [0.97])
FAST = ([0.5, 0.99], [0.5, 0.5, 0.98], [0.5, 0.5, 0.99])
NEVER = ([0.5], [0.6], [0.7])


def _say(trial, runs, seeds=3, planned=None, paired=True, lrs=(0.1, 1.0), lr=0.1):
    trials = [
        trial(norm, lr, seed, accuracies, status="done" if accuracies else "diverged")
        for norm, several in runs.items()
        for seed, accuracies in enumerate(several[:seeds])
    ]
    return _of(trials, list(runs), seeds, planned, paired, lrs)


def _of(trials, norms, seeds=3, planned=None, paired=True, lrs=(0.1, 1.0)):
    told = sentences(
        summarize(trials, norms, 0.95),
        target=0.95,
        seeds=seeds,
        steps=100,
        lrs=lrs,
        paired=paired,
        finished=len(trials),
        planned=planned or len(trials),
    )
    return " ".join(told)


def test_percent_and_span():
    assert [percent(v) for v in (0, 0.5, 0.9994, 1)] == ["0%", "50%", "99.9%", "100%"]
    assert span({"median": 3.0, "low": 3.0, "high": 3.0}) == "3"


def test_ranges_that_touch_have_no_order():
    a, b = {"low": 1, "high": 3}, {"low": 3, "high": 5}
    assert order(a, b) == order(b, a) == 0
    assert order(a, {"low": 3.1, "high": 5}) == -1
    assert order({"low": 3.1, "high": 5}, a) == 1
    assert order(None, a) == 0


def test_fewer_steps(trial):
    said = _say(trial, {"none": SLOW, "batch": FAST})
    assert said.startswith(
        "batch needed fewer steps to 95% test accuracy than no normalization "
        "(median 15 against 55)."
    )
    assert (
        "batch had a higher best accuracy than no normalization (median 99% against 96%)." in said
    )
    assert "batch at its best learning rate, 0.1: 95% test accuracy after 15 (10–15) steps" in said
    assert "No normalization at its best learning rate, 0.1: 95% test accuracy after 55" in said


def test_more_steps(trial):
    said = _say(trial, {"none": FAST, "batch": SLOW})
    assert (
        "batch needed more steps to 95% test accuracy than no normalization (median 55 against"
        in said
    )
    assert "batch had a lower best accuracy" in said


def test_no_clear_difference(trial):
    said = _say(trial, {"none": FAST, "batch": FAST})
    assert "batch did not clearly differ from no normalization in the steps to 95%" in said
    assert "batch did not clearly differ from no normalization in best accuracy" in said
    assert "fewer" not in said


@pytest.mark.parametrize("seeds, few", [(1, "One seed cannot"), (2, "2 seeds cannot")])
def test_few_seeds_show_no_difference(trial, seeds, few):
    said = _say(trial, {"none": SLOW, "batch": FAST}, seeds=seeds)
    assert said.startswith(f"{few} tell the norms apart: run at least 3.")
    assert "fewer steps" not in said
    assert "comparisons" not in said


def test_reached_by_one_alone(trial):
    said = _say(trial, {"none": NEVER, "batch": FAST})
    assert "batch reached 95% test accuracy in every seed, no normalization did not" in said
    assert "No normalization did not reach 95% test accuracy within 100 steps" in said
    turned = _say(trial, {"none": FAST, "batch": NEVER})
    assert "batch did not reach 95% test accuracy in every seed, no normalization did." in turned
    neither = _say(trial, {"none": NEVER, "batch": NEVER})
    assert "batch did not reach 95% test accuracy in every seed, nor did no norm" in neither


def test_some_seeds_reached_the_target(trial):
    said = _say(trial, {"none": ([0.96], [0.5], [0.97])})
    assert "after 5 steps in 2 of 3 seeds" in said


def test_seeds_that_diverged_are_too_few_to_compare(trial):
    said = _say(trial, {"none": SLOW, "batch": ([0.99], [0.99], [])})
    assert "batch had too few seeds that did not diverge to be compared" in said
    gone = _say(trial, {"none": SLOW, "batch": ([], [], [])})
    assert "batch diverged at every learning rate tried." in gone
    assert "batch, no rate tried" in gone


def test_norms_of_which_the_same_is_said_share_a_sentence(trial):
    said = _say(trial, {"none": SLOW, "batch": FAST, "mine": FAST, "other": SLOW})
    assert (
        "batch and mine needed fewer steps to 95% test accuracy than no normalization "
        "(median 15 and 15 against 55); other did "
        "not clearly differ"
    ) in said


def test_the_control_is_told_apart(trial):
    same = _say(trial, {"none": SLOW, "batch": FAST, "torch_batch": FAST})
    assert "batch and torch_batch compute the same function, and did not clearly differ" in same
    apart = _say(trial, {"none": SLOW, "batch": FAST, "torch_batch": SLOW})
    assert "yet their ranges do not overlap here: chance, or a fault worth a look." in apart
    assert "too few seeds ran to check" in _say(
        trial, {"batch": FAST, "torch_batch": FAST}, seeds=2
    )


@pytest.mark.parametrize(
    "at_one, told",
    [
        ([[0.96], [0.96], [0.97]], "batch, 1\\."),
        ([[0.96], [0.5], []], r"batch, 0\.1 \(0\.1–1 over the seeds\)\."),
    ],
)
def test_the_largest_rate_has_a_range_over_the_seeds(trial, at_one, told):
    trials = [trial("batch", 0.1, seed, [0.96]) for seed in range(3)]
    trials += [
        trial("batch", 1.0, seed, some, status="done" if some else "diverged")
        for seed, some in enumerate(at_one)
    ]
    assert re.search(f"reached 95%: {told}", _of(trials, ["batch"], lrs=(0.1, 1.0, 10.0)))


def test_a_largest_rate_that_some_seeds_lack(trial):
    trials = [trial("batch", 0.1, seed, [0.96 if seed else 0.5]) for seed in range(3)]
    assert "batch, no rate tried (0.1 in 2 of 3 seeds)." in _of(trials, ["batch"])


def test_the_largest_rate_says_where_the_grid_ends(trial):
    within = _say(trial, {"batch": FAST}, lr=0.1)
    assert "every seed run reached 95%: batch, 0.1." in within
    at_end = _say(trial, {"batch": FAST}, lr=1.0)
    assert "batch, 1 (the largest tried)." in at_end


def test_a_partial_study_says_so_first(trial):
    said = _say(trial, {"none": SLOW, "batch": FAST}, planned=18)
    assert said.startswith("Partial: 6 of 18 trials finished")


def test_a_norm_that_never_ran_is_left_out(trial):
    said = _say(trial, {"none": SLOW, "batch": ()}, planned=6)
    assert "batch" not in said


def test_the_chance_of_a_false_difference(trial):
    assert "about 1 of 10 comparisons" in _say(trial, {"none": SLOW, "batch": FAST})
    five = {"none": SLOW + SLOW, "batch": FAST + FAST}
    assert "about 1 of 126 comparisons" in _say(trial, five, seeds=5)


def test_weights_that_differ_are_admitted(trial):
    assert "did not start from the same weights" in _say(trial, {"a": FAST}, paired=False)
    assert "did not start from the same weights" not in _say(trial, {"a": FAST})


def test_no_cause_is_claimed(trial):
    said = _say(trial, {"none": SLOW, "batch": FAST})
    assert "whether one causes the other is not tested" in said
    assert not re.search(r"because|thanks to|due to|explains", said)
