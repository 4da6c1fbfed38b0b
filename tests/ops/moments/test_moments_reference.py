"""The reference in plain torch, which GPUs run, against exact arithmetic and the kernels."""

import math

import numpy as np
import pytest
import torch
from exact import assert_exact

import equipoise as eq
from equipoise.ops.moments import inputs, op, reference


def of(x, axes=(0,), weights=None):
    """Give Moments as they are made on a device that is not the CPU."""
    return eq.Moments.from_state(op.summarize(x, axes, weights))


def random(shape, dtype=torch.float64, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


CASES = {
    "N(0, 1)": random((500, 3)),
    "float32": random((500, 3), torch.float32) + 1e4,
    "bfloat16": random((500, 3), torch.bfloat16),
    "integers": (random((500, 3)) * 9).long(),
    "N(1e8, 1)": random((500, 3)) + 1e8,
    "an outlier first": torch.cat([torch.full((1, 3), 1e8).double(), random((499, 3))]),
    "one row": random((1, 3)),
    "NaNs": random((500, 3)).where(random((500, 3), seed=1) < 1, math.nan),
    "only NaNs": torch.full((4, 3), math.nan),
    "subnormal": random((500, 3)) * 1e-310,
}


@pytest.mark.parametrize("name", CASES)
def test_columns_against_exact_arithmetic(name):
    assert_exact(of(CASES[name]), CASES[name].double().numpy())


@pytest.mark.parametrize("name", CASES)
def test_merged_chunks_against_exact_arithmetic(name):
    x = CASES[name]
    parts = [torch.as_tensor(op.summarize(part, (0,))) for part in x.tensor_split(5)]
    merged = parts[0]
    for part in parts[1:]:
        merged = reference.merge(merged, part)
    assert_exact(eq.Moments.from_state(merged), x.double().numpy(), ulps=16)


@pytest.mark.parametrize("name", CASES)
def test_weights(name):
    x = CASES[name]
    weights = torch.arange(len(x)) % 3
    m = of(x, weights=inputs.weights(weights, x, (0,)))
    assert_exact(m, x.double().numpy(), weights=weights.numpy(), ulps=16)


@pytest.mark.parametrize("axes", [(0, 2, 3), (1,), (), (0, 1, 2, 3)])
def test_axes(axes):
    x = random((3, 4, 5, 2))
    assert_exact(of(x, axes), x.numpy(), axes)


def test_no_rows():
    m = of(torch.empty(0, 2))
    assert np.array_equal(m.state, eq.Moments.empty(2).state, equal_nan=True)


def test_infinite_values_as_in_the_kernel():
    x = torch.tensor([[1.0, math.inf], [-math.inf, 2.0], [math.nan, math.inf]])
    a, b = of(x).state.numpy(), eq.Moments.of(x).state.numpy()
    assert np.array_equal(a, b, equal_nan=True)
    both = reference.merge(torch.from_numpy(a), of(x[:1]).state)
    again = (eq.Moments.of(x) + eq.Moments.of(x[:1])).state
    assert np.array_equal(both, again, equal_nan=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    x = random((5000, 3), torch.float32) + 1e4
    m = eq.Moments.of(x.cuda()) + eq.Moments.empty(3)
    assert m.mean.device.type == "cuda"
    assert_exact(m.to("cpu"), x.double().numpy())
