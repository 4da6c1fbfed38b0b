"""One trial: recorded fully, repeatable to the bit, not disturbed by what looks on."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from equipoise.errors import UsageError
from equipoise.study import models, timing
from equipoise.study.norms import available
from equipoise.study.records import Trial
from equipoise.study.train import BLOWUP, Run, batches, train


def _dropping(norm):
    layers = nn.Sequential(nn.Linear(6, 16), norm(16, 1), nn.ReLU(), nn.Dropout(0.3))
    return layers.append(nn.Linear(16, 3))


def _train(data, settings, norm="torch_batch", lr=0.1, seed=0, make_model=_dropping):
    built = models.build(make_model, available()[norm], seed, "make_model")
    trial = train(built, Trial(norm, lr, seed), data, settings)
    return built.model.state_dict(), trial


def test_each_step_is_recorded(data, tiny):
    _, trial = _train(data, tiny)
    steps = tiny.steps(len(data.train_x))
    assert trial.status == "done"
    assert len(trial.loss) == len(trial.accuracy) == len(trial.grad_norm) == steps == 18
    layer = trial.layers["1"]
    assert len(layer["mean_shift"]) == len(layer["std_ratio"]) == steps
    assert layer["mean_shift"][0] is None
    assert all(shift > 0 for shift in layer["mean_shift"][1:])
    assert all(ratio >= 1 for ratio in layer["std_ratio"][1:])
    # the last step is always evaluated
    assert trial.eval_steps == [5, 10, 15, 18]
    assert trial.probe_steps == [1, 16]
    assert len(trial.loss_range) == len(trial.gradient_change) == 2
    assert trial.loss_range[0][0] <= trial.loss[0] <= trial.loss_range[0][1]


def test_it_learns(data, tiny):
    _, trial = _train(data, replace(tiny, epochs=12))
    assert trial.loss[-1] < trial.loss[0] / 2
    assert trial.best_accuracy() > 0.8


@pytest.mark.parametrize("norm", ["none", "batch", "torch_batch"])
def test_probes_do_not_disturb_the_training(data, tiny, norm):
    with_probes, seen = _train(data, tiny, norm)
    without, blind = _train(data, replace(tiny, probes=False), norm)
    assert seen.probe_steps
    assert not blind.probe_steps
    assert seen.loss == blind.loss
    assert all(torch.equal(without[name], value) for name, value in with_probes.items())


@pytest.mark.parametrize("norm", ["none", "torch_batch"])
def test_nothing_that_looks_on_disturbs_the_training(data, tiny, norm):
    """Against a loop of torch alone, which has neither hooks nor records."""
    built = models.build(_dropping, available()[norm], 3, "make_model")
    optimizer = torch.optim.SGD(built.model.parameters(), lr=0.1)
    torch.manual_seed(3)
    for x, y in batches(data, tiny, 3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(built.model(x), y).backward()
        optimizer.step()
    expected, (state, _) = built.model.state_dict(), _train(data, tiny, norm, seed=3)
    assert all(torch.equal(expected[name], value) for name, value in state.items())


def test_the_same_seed_gives_the_same_bits(data, tiny):
    (first, one), (second, other) = _train(data, tiny), _train(data, tiny)
    assert one == other
    assert all(torch.equal(first[name], value) for name, value in second.items())
    assert _train(data, tiny, seed=1)[1].loss != one.loss


def test_all_norms_meet_the_same_batches(data, tiny):
    for (x, y), (x2, y2) in zip(batches(data, tiny, 5), batches(data, tiny, 5), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    first, other = next(batches(data, tiny, 5)), next(batches(data, tiny, 6))
    assert not torch.equal(first[0], other[0])


def test_the_caller_s_random_state_is_left_alone(data, tiny):
    before = torch.get_rng_state()
    _train(data, tiny)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("lr", [1e4, 1e30])
def test_a_rate_that_diverges_is_recorded(data, tiny, lr):
    _, trial = _train(data, tiny, "none", lr=lr)
    assert trial.status == "diverged"
    assert trial.diverged_at == len(trial.loss) == len(trial.grad_norm)
    assert len(trial.layers["1"]["mean_shift"]) == trial.diverged_at
    assert trial.best_accuracy() is None


class _Scripted(nn.Module):
    """A network whose loss follows a script: one logit gap a call."""

    def __init__(self, gaps):
        super().__init__()
        self.weight, self.gaps = nn.Parameter(torch.zeros(1)), iter(gaps)

    def forward(self, x):
        gap = next(self.gaps) + self.weight
        return torch.stack([0 * gap, gap, gap]).T.expand(len(x), 3)


@pytest.mark.parametrize(
    "gaps, diverged_at",
    [
        ((0.0, 1.0, 2.0 * BLOWUP), 3),
        ((0.0, float("nan")), 2),
        ((float("inf"),), 1),
        ((0.0, 1.0, 5.0), None),
    ],
)
def test_what_counts_as_diverged(data, tiny, gaps, diverged_at):
    run = Run(models.Built(_Scripted(gaps), {}), Trial("none", 1e-9, 0), data, tiny)
    run.probes = False
    x, y = data.train_x[:9], torch.zeros(9, dtype=torch.int64)
    sound = [run.step(x, y) for _ in gaps]
    assert all(sound[:-1])
    assert sound[-1] == (diverged_at is None)


def test_evaluation_is_in_evaluation_mode_and_comes_back(data, tiny):
    built = models.build(_dropping, available()["torch_batch"], 0, "make_model")
    run = Run(built, Trial("torch_batch", 0.1, 0), data, tiny)
    before = built.model[1].running_mean.clone()
    assert run.evaluate() == run.evaluate()
    assert torch.equal(before, built.model[1].running_mean)
    assert built.model.training


class Tired(nn.Linear):
    """Raises in its fourth forward pass."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 4:
            raise RuntimeError("tired")
        return super().forward(x)


class Late(torch.autograd.Function):
    """Raises in backward from its fourth forward pass on."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        Late.calls += 1
        ctx.tired = Late.calls >= 4
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        if ctx.tired:
            raise RuntimeError("tired")
        return g


class Backwards(nn.Linear):
    def forward(self, x):
        return Late.apply(super().forward(x))


@pytest.mark.parametrize("layer", [Tired, Backwards])
@pytest.mark.parametrize("where", ["step", "probe", "timing"])
def test_a_network_that_raises_later_on(data, tiny, monkeypatch, layer, where):
    def make_model(norm):
        return nn.Sequential(norm(6, 1), layer(6, 3))

    monkeypatch.setattr(Late, "calls", 0)
    settings = replace(tiny, probes=where == "probe")
    said = r"in training raised RuntimeError: tired \(test_study_tr"
    built = models.build(make_model, available()["none"], 0, "make_model")
    if where == "timing":
        with pytest.raises(UsageError, match=said):
            timing.race({"none": built}, data, settings, 0)
    else:
        with pytest.raises(UsageError, match=said):
            train(built, Trial("none", 0.1, 0), data, settings)
