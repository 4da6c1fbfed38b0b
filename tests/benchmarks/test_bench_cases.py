"""The two benchmarks' own checks bite: a broken layer or summary does not pass."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import batch_norm, moments, peak
from benchmarks.harness import judge, run
from benchmarks.model import Entry, WrongKernel
from benchmarks.timing import Plan

SHORT = Plan(min_rounds=1, min_seconds=0.0, max_seconds=0.1, floor=1, sample_seconds=1e-6)
POINT = batch_norm._point((8, 16, 4, 4), "nhwc", "f32", "relu", "fwd+bwd")


class Right(torch.nn.BatchNorm2d):
    """Torch's layer with our extras: what a correct layer does."""

    def forward(self, input, add=None):
        output = super().forward(input)
        return F.relu(output if add is None else output + add)


class NoReLU(torch.nn.BatchNorm2d):
    """Forget the activation."""


class NoBuffers(Right):
    """Leave the running statistics alone."""

    def forward(self, input, add=None):
        return F.relu(F.batch_norm(input, None, None, self.weight, self.bias, True))


class ZeroGradient(Right):
    """Hand back a zero gradient for the input."""

    def forward(self, input, add=None):
        return super().forward(input.detach()) + 0 * input


class OtherLayout(Right):
    """Give a contiguous output for a channels_last input."""

    def forward(self, input, add=None):
        return super().forward(input).contiguous()


def accuracy(layer, point=POINT):
    """Judge a layer at a point as the harness does."""
    case = batch_norm.BatchNormCase(point, False)
    built = layer_step(case, layer)
    entry = Entry("ours", "ours")
    judge(entry, case.errors(built.probe()))
    return entry


def layer_step(case, make):
    """Build a step of ``make`` as the benchmark builds ours."""
    layer = batch_norm.torch_layer(4, case.tensors, make)
    forward = (lambda x, add: layer(x, add=add)) if "add" in case.tensors else layer
    return case._built(layer, forward, False)


@pytest.mark.parametrize("after", ["relu", "add+relu"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_right_layer_passes(layout, dtype, after):
    point = batch_norm._point((8, 16, 4, 4), layout, dtype, after, "fwd+bwd")
    assert accuracy(Right, point).accurate


@pytest.mark.parametrize(
    "broken, found_in",
    [
        (NoReLU, {"output", "input grad", "weight grad", "bias grad"}),
        (NoBuffers, {"running_mean", "running_var"}),
        (ZeroGradient, {"input grad"}),
        (OtherLayout, {"memory format"}),
    ],
)
def test_a_broken_layer_is_found(broken, found_in):
    entry = accuracy(broken)
    assert not entry.accurate
    assert entry.error_in in found_in


def test_no_gradient_arrives_where_the_sign_of_a_relu_is_open():
    shape = (8, 64, 16, 16)
    right = batch_norm.oracle(shape, "bf16", "relu")
    layer = batch_norm.torch_layer(4, batch_norm.data(shape, "bf16", False)).double()
    before = layer(batch_norm.data(shape, "bf16", False)["input"].double())
    near = before.abs() < batch_norm.NEAR_ZERO["bf16"]
    assert near.any()
    assert not right["upstream"][near].any()
    assert (right["upstream"][~near] != 0).float().mean() > 0.99


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_a_slightly_wrong_layer_is_found(dtype):
    class Off(Right):
        def forward(self, input, add=None):
            return super().forward(input) * 1.05

    assert not accuracy(
        Off, batch_norm._point((8, 16, 4, 4), "nchw", dtype, "relu", "fwd")
    ).accurate


def test_the_harness_refuses_a_broken_layer(monkeypatch):
    monkeypatch.setattr(
        batch_norm, "our_layer", lambda d, t, after: batch_norm.torch_layer(d, t, NoReLU)
    )
    with pytest.raises(WrongKernel, match="8x16x4x4 nhwc f32 relu"):
        run(batch_norm.BENCHMARK, [POINT], [1], False, SHORT, lambda line: None)


def test_points_are_named_once_and_quick_is_a_part_of_all():
    names = [p.name for p in batch_norm.points(False)]
    assert len(set(names)) == len(names)
    assert {p.name for p in batch_norm.points(True)} < set(names)
    assert sum(p.bytes >= 32 * 10**6 for p in batch_norm.points(False)) >= 12
    assert {"64x100 nc f32 fwd+bwd", "8x16x4x4 nchw f32 relu fwd+bwd"} <= set(names)


def test_sweeps():
    count = batch_norm.sweeps
    assert [count("nchw", op, False) for op in ("fwd", "fwd+bwd")] == [2, 5]
    assert [count("nhwc", op, False) for op in ("fwd", "fwd+bwd")] == [3, 8]
    assert [count("nchw", op, True) for op in ("fwd", "fwd+bwd")] == [3, 7]


def moments_case(dtype="f32"):
    """Make a small case."""
    return moments.MomentsCase(moments._point((500, 7), dtype), False)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_moments_in_float64_pass_and_others_do_not(dtype):
    case = moments_case(dtype)
    x = case.x.astype(np.longdouble)
    right = moments._named(x.mean(axis=0), x.var(axis=0))
    assert all(error <= bar for error, bar in case.errors(right).values())
    unbiased = {**right, "var": np.asarray(x.var(axis=0, ddof=1), np.float64)}
    assert case.errors(unbiased)["var"][0] > case.errors(unbiased)["var"][1]
    shifted = {**right, "mean": right["mean"] + 1e-4 * np.sqrt(right["var"])}
    assert case.errors(shifted)["mean"][0] > case.errors(shifted)["mean"][1]


def test_the_peers_of_moments_run():
    case = moments_case()
    for contender in case.contenders[1:]:
        built = contender.build()
        errors = case.errors(built.probe())
        assert all(np.isfinite(error) for error, _ in errors.values())
        if contender.role == "limit":
            assert all(error <= bar for error, bar in errors.values())


@pytest.mark.parametrize(
    "allocate", [lambda: np.ones(2**18), lambda: torch.ones(2**19)], ids=["numpy", "torch"]
)
def test_peak_memory_sees_two_megabytes(allocate):
    assert 1.9 < peak.peak_megabytes(allocate) < 2.6


def test_peak_memory_of_nothing_is_small():
    assert peak.peak_megabytes(lambda: None) < 0.1
