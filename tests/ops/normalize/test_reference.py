"""The plain formula against torch in float64 and against sums of 64 bits' precision."""

import numpy as np
import pytest
import torch
from normalize_cases import EPS, Case, by_statistic, normalized
from tolerances import ELEMENTWISE, FLOAT32, FLOAT64, RUNNING, assert_near
from torch.nn import functional as F

from equipoise.ops.normalize import reference

SHAPES = [(6, 5), (4, 5, 7), (3, 5, 2, 4), (2, 5, 3, 2, 3)]
ACTIVATIONS = {
    None: lambda y: y,
    "relu": F.relu,
    "leaky_relu": lambda y: F.leaky_relu(y, 0.2),
    "silu": F.silu,
    "gelu": F.gelu,
}


def random(shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_and_its_gradients(shape, activation):
    leaves = [random(s, i).requires_grad_() for i, s in enumerate((shape, (5,), (5,), shape))]
    x, weight, bias, add = leaves
    upstream = random(shape, 9)
    y, mean, variance = reference.normalize(x, weight, bias, add, None, None, activation, 0.2, 1e-3)
    normalized = F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)
    expected = ACTIVATIONS[activation](normalized + add)
    assert_near(y, expected, FLOAT64)
    assert_near(mean, x.transpose(0, 1).flatten(1).mean(1), FLOAT64)
    assert_near(variance, x.transpose(0, 1).flatten(1).var(1, unbiased=False), FLOAT64)
    found, wanted = (torch.autograd.grad(t, leaves, upstream) for t in (y, expected))
    for a, b in zip(found, wanted, strict=True):
        assert_near(a, b, FLOAT64)


@pytest.mark.parametrize("shape", SHAPES)
def test_evaluation(shape):
    x, mean, variance = random(shape), random(5, 1), random(5, 2).exp()
    y, *_ = reference.normalize(x, None, None, None, mean, variance, None, 0.0, 1e-3)
    assert_near(y, F.batch_norm(x, mean, variance, eps=1e-3), FLOAT64)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("groups", [0, 1, 2, 6])
@pytest.mark.parametrize("shape", [(4, 6, 7), (3, 6, 2, 4), (2, 6, 3, 2, 3)])
def test_statistics_of_groups_and_without_a_mean(shape, groups, centred):
    leaves = [random(s, i).requires_grad_() for i, s in enumerate((shape, (6,), (6,), shape))]
    x, weight, bias, add = leaves
    case = Case(shape, groups=groups, centred=int(centred))
    y, mean, variance = reference.normalize(
        x, weight, bias, add, None, None, "gelu", 0.0, EPS, groups, centred
    )
    expected = F.gelu(normalized(x, weight, bias, case) + add)
    assert_near(y, expected, FLOAT64)
    lines = by_statistic(x, groups)
    assert_near(mean, lines.mean(1) * centred, FLOAT64)
    square = lines.var(1, correction=0) if centred else lines.square().mean(1)
    assert_near(variance, square, FLOAT64)
    upstream = random(shape, 9)
    found, wanted = (torch.autograd.grad(t, leaves, upstream) for t in (y, expected))
    for a, b in zip(found, wanted, strict=True):
        assert_near(a, b, FLOAT64)


def test_what_is_not_given_changes_nothing():
    x = random((6, 5))
    ones, zeros = torch.ones(5).double(), torch.zeros(5).double()
    plain, full = (
        reference.normalize(x, weight, bias, add, None, None, None, 0.0, 1e-5)[0]
        for weight, bias, add in ((None, None, None), (ones, zeros, torch.zeros_like(x)))
    )
    assert torch.equal(plain, full)


@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e6])
def test_no_digit_is_lost_far_from_zero(offset):
    x = random((500, 3), dtype=torch.float32) + offset
    wide = x.numpy().astype(np.longdouble)
    centred = wide - wide.mean(0)
    expected = centred / np.sqrt((centred**2).mean(0))
    y, mean, variance = reference.normalize(x, None, None, None, None, None, None, 0.0, 0.0)
    assert_near(y, torch.from_numpy(expected.astype(np.float64)), FLOAT32)
    assert_near(variance, torch.from_numpy((centred**2).mean(0).astype(np.float64)), FLOAT32)
    assert_near(mean, torch.from_numpy(wide.mean(0).astype(np.float64)), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_output_has_the_type_of_the_input(dtype):
    x, weight = random((40, 5), dtype=dtype), random(5, 1, torch.float32)
    y, mean, _ = reference.normalize(x, weight, None, None, None, None, "silu", 0.0, 1e-5)
    assert y.dtype == dtype
    assert mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact, *_ = reference.normalize(
        x.double(), weight.double(), None, None, None, None, "silu", 0.0, 1e-5
    )
    # one rounding to the type of the output, and those of float32 before
    near = torch.finfo(dtype).eps * exact.abs() + ELEMENTWISE[torch.float32].bound
    assert ((y.double() - exact).abs() <= near).all()


def test_second_derivatives():
    x, weight, bias, add = (
        random(s, i).requires_grad_() for i, s in enumerate(((4, 2, 3), (2,), (2,), (4, 2, 3)))
    )

    def output(*given):
        return reference.normalize(*given, None, None, "gelu", 0.0, 1e-3)[0]

    assert torch.autograd.gradcheck(output, (x, weight, bias, add))
    assert torch.autograd.gradgradcheck(output, (x, weight, bias, add))


@pytest.mark.parametrize("centred", [1, 0])
@pytest.mark.parametrize("groups", [0, 1, 3])
def test_moments_in_float64(groups, centred):
    # as many samples as channels: no shape tells one kind of statistic from another
    x = random((3, 3, 50), dtype=torch.float32) + 1e6
    lines = by_statistic(x, groups).numpy().astype(np.longdouble)
    stats = torch.full((4, len(lines)), torch.nan, dtype=torch.float64)
    reference.moments_in_float64(x, 1e-3, stats, groups, centred)
    mean, variance = lines.mean(1) * centred, lines.var(1) if centred else (lines**2).mean(1)
    for found, expected in zip(stats, (mean, variance, (variance + 1e-3) ** -0.5), strict=False):
        assert_near(found, torch.from_numpy(expected.astype(np.float64)), FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("momentum", [0.1, torch.tensor(0.25), 1.0, 0.0])
def test_running_buffers_as_torch_moves_them(momentum, dtype):
    x = random((8, 5, 3), dtype=dtype)
    found, expected = ([random(5, 1).to(dtype), random(5, 2).exp().to(dtype)] for _ in range(2))
    wide = x.double().transpose(0, 1).flatten(1)
    stats = torch.stack([wide.mean(1), wide.var(1, unbiased=False)])
    for _ in range(3):
        reference.update_by_torch(*found, stats, momentum, 24)
        F.batch_norm(x, *expected, training=True, momentum=float(momentum))
    for a, b in zip(found, expected, strict=True):
        assert_near(a, b, RUNNING[dtype])
