"""Variation along the gradient: right on a quadratic, and nothing is disturbed."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from equipoise.study.landscape import probe, undisturbed


class _Bowl(nn.Module):
    """The loss ``c w^2 / 2`` of one weight."""

    def __init__(self, curvature: float, weight: float):
        super().__init__()
        self.weight, self.curvature = nn.Parameter(torch.tensor(weight)), curvature

    def forward(self):
        return self.curvature * self.weight**2 / 2


@pytest.mark.parametrize("curvature", [0.5, 2.0])
@pytest.mark.parametrize("weight", [3.0, -1.0])
def test_on_a_quadratic_by_hand(curvature, weight):
    bowl, lr = _Bowl(curvature, weight), 0.1
    loss = bowl()
    loss.backward()
    seen = probe(bowl, bowl, loss.item(), lr, torch.get_rng_state(), multiples=(0.5, 1.0, 4.0))
    # a step of m lr leaves the weight (1 - m lr c) w, and changes the gradient by m lr c of it
    losses = [loss.item() * (1 - m * lr * curvature) ** 2 for m in (0, 0.5, 1, 4)]
    assert seen.low == pytest.approx(min(losses), rel=1e-5)
    assert seen.high == pytest.approx(max(losses), rel=1e-5)
    assert seen.gradient_change == pytest.approx(4 * lr * curvature, rel=1e-5)
    assert bowl.weight.item() == weight


def test_a_loss_that_overflows_is_no_error():
    bowl = _Bowl(1.0, 1e19)
    loss = bowl()
    loss.backward()
    seen = probe(bowl, bowl, loss.item(), 1e30, torch.get_rng_state())
    assert not math.isfinite(seen.high)


def test_at_a_flat_point_the_change_is_unknown():
    bowl = _Bowl(1.0, 0.0)
    bowl().backward()
    assert math.isnan(probe(bowl, bowl, 0.0, 0.1, torch.get_rng_state()).gradient_change)


class _Odd(nn.Module):
    """A module that replaces its buffer and draws random numbers in its forward pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("nothing", None)

    def forward(self, x):
        self.count = self.count + 1
        return F.dropout(x, 0.5)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), _Odd(), nn.Linear(8, 3))


def _state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_parameters_buffers_gradients_and_random_state_stay_to_the_bit():
    model, x, y = _network(), torch.randn(16, 4), torch.arange(16) % 3
    random_state = torch.get_rng_state()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    before, after_forward = _state(model), torch.get_rng_state()
    gradients = [p.grad.clone() for p in model.parameters()]
    buffer = model[1].running_mean
    probe(model, lambda: F.cross_entropy(model(x), y), loss.item(), 0.5, random_state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    pairs = zip(gradients, model.parameters(), strict=True)
    assert all(torch.equal(g, p.grad) for g, p in pairs)
    assert torch.equal(torch.get_rng_state(), after_forward)
    assert model[1].running_mean is buffer


def test_dropout_draws_the_masks_of_the_step_itself():
    model, x, y = _network(), torch.randn(16, 4), torch.arange(16) % 3
    random_state = torch.get_rng_state()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    seen = probe(
        model, lambda: F.cross_entropy(model(x), y), loss.item(), 0.0, random_state, multiples=(1,)
    )
    assert seen.low == pytest.approx(seen.high, rel=1e-6)
    assert seen.gradient_change == pytest.approx(0, abs=1e-6)


def test_an_interrupt_inside_leaves_the_model_as_it_was():
    model = _network()
    before = _state(model)

    def interrupted():
        with undisturbed(model):
            model[0].weight.data.zero_()
            model(torch.randn(5, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
