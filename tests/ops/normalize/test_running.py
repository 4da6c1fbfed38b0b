"""The running buffers through the compiled kernel, and where torch moves them instead."""

import pytest
import torch
from normalize_cases import Case, check_moves, check_rounded
from tolerances import RUNNING, assert_near
from torch.nn import functional as F

from equipoise.ops.normalize import columns, cpu, rows

X = torch.randn(9, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
STATS = torch.stack([X.mean((0, 2)), X.var((0, 2), unbiased=False)])
SIZES = [
    ((3, 17, 9), "contiguous"), ((70, 5), "contiguous"), ((9, 40, 13, 11), "channels_last"),
    ((64, 3, 60, 60), "contiguous"), ((16, 24, 40, 40), "channels_last"),
]  # fmt: skip


def buffers(dtype=torch.float32):
    return torch.linspace(-1, 1, 6).to(dtype), torch.linspace(1, 2, 6).to(dtype)


def expected(momentum):
    mean, variance = buffers(torch.float64)
    F.batch_norm(X, mean, variance, training=True, momentum=momentum)
    return mean, variance


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
@pytest.mark.parametrize("dtype", RUNNING)
def test_as_torch_moves_them(dtype, momentum):
    found = buffers(dtype)
    versions = [t._version for t in found]
    cpu.running(*found, STATS, momentum, 36)
    for a, b, version in zip(found, expected(momentum), versions, strict=True):
        assert_near(a, b, RUNNING[dtype])
        # autograd must see that they changed
        assert a._version > version


def test_buffers_with_gaps():
    found = [torch.stack([t, t.new_full((6,), torch.nan)], 1)[:, 0] for t in buffers()]
    cpu.running(*found, STATS, 0.1, 36)
    for a, b in zip(found, expected(0.1), strict=True):
        assert_near(a, b, RUNNING[torch.float32])


@pytest.mark.parametrize("size, layout", SIZES)
def test_the_forward_kernels_move_them_and_count(size, layout):
    check_moves(cpu.forward, vars(cpu), Case(size, layout=layout))


@pytest.mark.parametrize(
    "case",
    [Case((2, 2, 60_000), strays=rows.FIRST), Case((1500, 600), strays=columns.FIRST)],
)
def test_kernels_that_lost_digits_leave_them_alone(case):
    check_moves(cpu.forward, vars(cpu), case)


@pytest.mark.parametrize("size, layout", SIZES)
def test_the_backward_kernels_round_the_gradients_of_weight_and_bias(size, layout):
    check_rounded(cpu.backward, Case(size, layout=layout))
