"""A whole study in miniature: its record, its determinism, and being stopped."""

import json
import math

import pytest
import torch
from torch import nn

from equipoise.errors import UsageError
from equipoise.study import Study, compare
from equipoise.study.interrupt import Stop
from equipoise.study.progress import Silent

NORMS = ["none", "torch_batch"]


def _compare(arrays, **changes):
    choices = {"norms": NORMS, "lrs": [0.1, 1e9], "seeds": 2, "epochs": 2, "batch_size": 32}
    return compare(data=arrays, **(choices | changes))


@pytest.fixture
def study(arrays):
    return _compare(arrays)


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield value


def test_the_record_has_the_schema(study):
    data = study.data
    assert data["schema"] == 1
    assert set(data["versions"]) == {"equipoise", "python", "torch", "numpy"}
    assert data["data"] == {"name": "data", "train": 96, "test": 96, "shape": [6], "classes": 3}
    assert data["settings"]["norms"] == NORMS
    assert data["settings"]["lrs"] == [0.1, 1e9]
    assert data["settings"]["seeds"] == [0, 1]
    assert data["settings"]["steps"] == 6
    assert data["machine"]["threads"] == 1
    assert data["model"]["parameters"] > 0
    assert [row["norm"] for row in data["summary"]] == NORMS
    assert data["verdict"]
    assert not data["partial"]
    assert all(math.isfinite(value) for value in _numbers(data))


def test_every_trial_is_there_and_what_diverged_is_recorded(study):
    told = {(t.norm, t.lr, t.seed): t.status for t in study.trials}
    assert told == {
        (norm, lr, seed): "done" if lr < 1 else told[norm, lr, seed]
        for norm in NORMS
        for lr in (0.1, 1e9)
        for seed in (0, 1)
    }
    assert told["none", 1e9, 0] == "diverged"
    assert study.summary[0]["matrix"][1]["diverged"] == 2


def test_json_comes_back_as_it_was(study, tmp_path):
    assert Study.from_json(study.to_json()).data == study.data
    study.save(tmp_path)
    assert Study.load(tmp_path / "study.json").trials == study.trials
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "study.json"]


def _steady(data):
    """Drop what may differ between two runs: times, and what time decides."""
    kept = json.loads(json.dumps(data))
    del kept["created"], kept["verdict"]
    for part in [*kept["trials"], *kept["summary"]]:
        del part["seconds_per_step"]
    return kept


def test_the_same_study_gives_the_same_numbers(arrays, study):
    torch.manual_seed(123)
    assert _steady(_compare(arrays).data) == _steady(study.data)
    assert _steady(_compare(arrays, seed=1).data) != _steady(study.data)


def test_a_trial_does_not_depend_on_the_others(arrays, study):
    alone = _compare(arrays, norms=["torch_batch"], lrs=[0.1], seeds=1, seed=1)
    same = next(t for t in study.trials if (t.norm, t.lr, t.seed) == ("torch_batch", 0.1, 1))
    assert alone.trials[0].loss == same.loss


def test_norms_start_paired(study):
    first = {(t.norm, t.seed): t.loss[0] for t in study.trials if t.lr == 0.1}
    assert study.data["settings"]["paired"]
    # without a norm and with one the first loss differs; the weights do not
    assert first["none", 0] != first["none", 1]


def test_the_caller_s_threads_and_random_state_come_back(arrays):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    _compare(arrays, seeds=1, threads=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_norms_of_one_s_own(arrays):
    own = {"<b>mine</b>": lambda channels, dims: nn.Identity()}
    study = _compare(arrays, norms=own, lrs=0.1, seeds=1)
    assert study.summary[0]["norm"] == "<b>mine</b>"
    assert "<b>mine</b>" in str(study.table())


def test_names_with_brackets_stay_text(arrays):
    own = {"[red]x[/nonsense]": lambda channels, dims: nn.Identity()}
    assert "[red]x[/nonsense]" in str(_compare(arrays, norms=own, lrs=0.1, seeds=1))


def test_images_train_on_the_default_network():
    x, y = torch.randn(64, 2, 5, 5), torch.arange(64) % 2
    study = compare(data=(x, y, x, y), norms=NORMS, lrs=0.1, seeds=1, epochs=1)
    assert set(study.trials[0].layers) == {"norm1_1", "norm1_2", "norm2_1", "norm2_2", "norm3_1"}


class _StopAfter(Silent):
    """Ask to stop, or raise, at the given step of the given trial."""

    def __init__(self, stop, trials, steps, error=None):
        self.stop, self.left, self.steps, self.error = stop, trials, steps, error

    def step(self, trial):
        if self.left == 0 and len(trial.loss) == self.steps:
            self.stop.asked = True
            if self.error:
                raise self.error

    def end(self, trial):
        self.left -= 1


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_what_finished_is_kept(arrays, error):
    stop, lrs = Stop(), [0.1, 0.2]
    study = _compare(arrays, lrs=lrs)
    found = _compare(arrays, lrs=lrs, stop=stop, progress=_StopAfter(stop, 3, 4, error))
    assert found.partial
    assert [t.loss for t in found.trials[:3]] == [t.loss for t in study.trials[:3]]
    assert len(found.trials) == 4
    assert found.trials[3].status == "interrupted"
    assert len(found.trials[3].loss) == 4
    assert found.verdict[0].startswith("Partial: 3 of 8 trials finished before the study stopped")
    assert Study.from_json(found.to_json()).partial


def test_nothing_is_returned_where_nothing_finished(arrays):
    stop = Stop()
    with pytest.raises(KeyboardInterrupt, match="no trial had finished"):
        _compare(arrays, stop=stop, progress=_StopAfter(stop, 0, 2))
    stop.asked = True
    with pytest.raises(KeyboardInterrupt, match="no trial had finished"):
        _compare(arrays, stop=stop)


def test_bad_input_stops_before_any_training(arrays):
    class Never(Silent):
        def step(self, trial):
            raise AssertionError("trained")

    def bad_with_batch(norm):
        wide = 4 if isinstance(norm(6, 1), nn.BatchNorm1d) else 3
        return nn.Sequential(norm(6, 1), nn.Linear(6, wide))

    with pytest.raises(UsageError, match=r"bad_with_batch with norm torch_batch: .* one logit a"):
        _compare(arrays, make_model=bad_with_batch, progress=Never())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', "NaN", '"schema"', "[" * 100_000, "\x00"]
)
def test_what_is_no_study(text):
    with pytest.raises(UsageError, match=r"this is no study\.json"):
        Study.from_json(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        Study.load(tmp_path / "none.json")
