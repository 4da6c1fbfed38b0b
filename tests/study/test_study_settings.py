"""Choices are checked before anything runs."""

import pytest

from equipoise.errors import UsageError
from equipoise.study.settings import LRS, QUICK_LRS, rates, settle


@pytest.mark.parametrize(
    "given, read",
    [
        ("0.1", (0.1,)),
        ("1, 0.1,1e-1", (0.1, 1.0)),
        (["3,1", "0.3"], (0.3, 1.0, 3.0)),
        ([0.5, "0.25"], (0.25, 0.5)),
        (0.5, (0.5,)),
    ],
)
def test_rates_are_sorted_and_each_once(given, read):
    assert rates(given) == read


@pytest.mark.parametrize("word", ["abc", "0", "-1", "nan", "inf", "-inf", "1e999", "0.1.2", "0x1"])
def test_a_bad_rate_is_named(word):
    with pytest.raises(UsageError, match="a positive number is needed") as caught:
        rates(["0.1", word])
    assert repr(word) in str(caught.value)


@pytest.mark.parametrize("given", ["", ",", []])
def test_no_rate_at_all(given):
    with pytest.raises(UsageError, match="no learning rate is given"):
        rates(given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": 0},
        {"seeds": -3},
        {"seeds": 1.5},
        {"seeds": True},
        {"epochs": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 2**32 - 1, "seeds": 2},
        {"batch_size": 1},
        {"threads": 0},
        {"target": 0},
        {"target": 1.5},
        {"target": float("nan")},
    ],
)
def test_a_wrong_number_is_named(wrong):
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))}: "):
        settle(["none"], **wrong)


def test_defaults_and_the_quick_ones():
    full, quick = settle(["none"]), settle(["none"], quick=True)
    assert (full.lrs, quick.lrs) == (LRS, QUICK_LRS)
    assert len(quick.seeds) < len(full.seeds)
    assert quick.epochs < full.epochs
    assert quick.quick


def test_what_is_given_wins_over_quick():
    chosen = settle(["none"], lrs="7", seeds=5, epochs=9, quick=True, seed=3)
    assert chosen.lrs == (7.0,)
    assert chosen.seeds == (3, 4, 5, 6, 7)
    assert chosen.epochs == 9


def test_steps_count_full_batches():
    settings = settle(["none"], epochs=10)
    assert settings.steps(1347) == 210
    assert settings.steps(64) == 10
    # long trainings are not evaluated every few steps
    assert settings.eval_every(1347) == 5
    assert settings.eval_every(640_000) > 1000


def test_the_command_repeats_the_study():
    settings = settle(["none", "batch"], lrs="0.1,1", seeds=2, seed=4, epochs=3)
    assert settings.command("my model.py:make", "digits") == (
        "equipoise study --norms none,batch --lr 0.1,1 --seeds 2 --seed 4 --epochs 3 "
        "--model 'my model.py:make'"
    )
    assert "--threads 2" in settle(["none"], threads=2).command(None, "d.py:make_data")
