"""One trial's record."""

import json
import math

import pytest

from equipoise.study.records import Trial, number


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_no_number_that_json_does_not_know(value):
    assert number(value) is None


def test_six_digits_are_kept():
    assert number(1 / 3) == 0.333333
    assert number(1.23456789e-30) == 1.23457e-30


def test_steps_to_the_target(trial):
    done = trial("none", 0.1, 0, [0.5, 0.94, 0.95, 0.99, 0.9])
    assert done.steps_to(0.95) == 15
    assert done.steps_to(0.995) is None
    assert done.best_accuracy() == 0.99


@pytest.mark.parametrize("status", ["diverged", "interrupted"])
def test_a_trial_that_did_not_end_well_reached_nothing(trial, status):
    broken = trial("none", 0.1, 0, [0.99], status=status)
    assert broken.steps_to(0.5) is None
    assert broken.best_accuracy() is None


def test_trim_cuts_what_an_interruption_left_uneven():
    trial = Trial("none", 0.1, 0, loss=[1.0, 2.0, 3.0], accuracy=[0.1, 0.2], grad_norm=[1.0, 1.0])
    trial.layers = {"a": {"mean_shift": [None], "std_ratio": [None, 1.0]}}
    trial.eval_steps, trial.test_accuracy = [5, 10], [0.5]
    trial.probe_steps, trial.loss_range = [1], [[0.0, 1.0]]
    trial.trim()
    assert (trial.loss, trial.accuracy, trial.grad_norm) == ([1.0], [0.1], [1.0])
    assert trial.layers == {"a": {"mean_shift": [None], "std_ratio": [None]}}
    assert (trial.eval_steps, trial.test_accuracy) == ([5], [0.5])
    assert (trial.probe_steps, trial.loss_range, trial.gradient_change) == ([], [], [])


def test_the_record_is_strict_json(trial):
    made = trial("none", 0.1, 0, [0.5])
    made.step(math.nan, 0.5, math.inf)
    assert json.loads(json.dumps(made.to_dict(), allow_nan=False))["loss"] == [None]
