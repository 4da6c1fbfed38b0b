"""The layers' points are well formed, and its checks bite: a broken function does not pass."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks import layers
from benchmarks.harness import judge, run
from benchmarks.model import Entry, WrongKernel
from benchmarks.timing import Plan

SHORT = Plan(min_rounds=1, min_seconds=0.0, max_seconds=0.1, floor=1, sample_seconds=1e-6)
POINTS = layers.points(False)
# a small shape of each norm, with each thing that a point fuses it with
SMALL = [
    ("layer_norm", (3, 5, 16), "", ""),
    ("layer_norm", (3, 5, 16), "", "gelu"),
    ("layer_norm", (3, 5, 16), "", "residual"),
    ("rms_norm", (7, 24), "", ""),
    ("rms_norm", (7, 24), "", "residual"),
    ("group_norm", (2, 64, 3, 4), "nchw", ""),
    ("group_norm", (2, 64, 3, 4), "nhwc", "silu"),
    ("instance_norm", (2, 6, 5, 4), "nchw", "relu"),
    ("batch_norm", (4, 6, 5, 4), "nhwc", "relu"),
    ("layer_norm_2d", (2, 8, 3, 5), "nchw", ""),
]


def point_of(norm, shape, layout, after, dtype="f32", op="fwd+bwd"):
    """Make a point that the list need not hold."""
    return layers._point(layers.Spot(norm, shape, after), layout, dtype, op)


def judged(point, forward=None):
    """Judge torch's step, or ``forward`` in its place, as the harness does ours."""
    case = layers.LayersCase(point, False)
    built = case._built(forward, False) if forward else case.theirs()
    entry = Entry("ours", "ours")
    judge(entry, case.errors(built.probe()))
    return entry


def test_points_are_named_once_and_quick_is_a_part_of_all():
    names = [p.name for p in POINTS]
    assert len(set(names)) == len(names)
    quick = [p.name for p in layers.points(True)]
    assert quick
    assert set(quick) < set(names)
    assert "rms_norm 1024x4096 bf16 residual fwd+bwd" in names
    assert "group_norm 4x320x64x64 nhwc f32 silu fwd" in names


def test_every_norm_has_each_kind_of_point():
    for norm in ("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"):
        tags = [p.tags for p in POINTS if p.tags["norm"] == norm]
        # BatchNorm is a cross-check of its own benchmark
        cross = norm == "batch_norm"
        assert {t["op"] for t in tags} == ({"fwd+bwd"} if cross else {"fwd", "fwd+bwd"})
        assert {t["tiny"] for t in tags} == {True, False}
        images = norm not in ("layer_norm", "rms_norm")
        assert {t["layout"] for t in tags} == ({"nchw", "nhwc"} if images else {""})
        assert {t["dtype"] for t in tags} == ({"f32"} if cross else {"f32", "bf16"})


def test_what_the_targets_ask_for_is_there():
    for group in layers.BENCHMARK.groups:
        assert any(group.where(p.tags) for p in POINTS), group.label
    for where in (layers._rms, layers._channels_last, layers._activated):
        chosen = [p for p in POINTS if where(p.tags)]
        assert {p.tags["dtype"] for p in chosen} == {"f32", "bf16"}
        assert any(p.compiled for p in chosen)
        assert all(p.tags["op"] == "fwd+bwd" and not p.tags["tiny"] for p in chosen)
    assert len({p.tags["norm"] for p in POINTS if p.bytes >= 32 * 10**6}) >= 3


def test_sweeps():
    count = layers.sweeps
    assert [count("layer_norm", "", "gelu", op) for op in ("fwd", "fwd+bwd")] == [2, 5]
    assert [count("rms_norm", "", "residual", op) for op in ("fwd", "fwd+bwd")] == [4, 8]
    assert count("group_norm", "nhwc", "silu", "fwd+bwd") == 5
    assert count("batch_norm", "nhwc", "relu", "fwd+bwd") == 8


@pytest.mark.parametrize("norm, shape, layout, after", SMALL)
def test_a_float64_step_passes_the_bars_of_float32(norm, shape, layout, after):
    case = layers.LayersCase(point_of(norm, shape, layout, after), False)
    forward = layers.torch_forward(norm, shape, after, torch.float64)
    exact = layers._step(forward, {k: v.double() for k, v in case.tensors.items()}, "fwd+bwd")
    errors = case.errors(exact.probe())
    wanted = {"output", "input grad", "weight grad", "memory format"}
    wanted |= set() if norm == "rms_norm" else {"bias grad"}
    wanted |= {"sum", "residual grad"} if after == "residual" else set()
    assert set(errors) == wanted
    found = {name: error for name, (error, bar) in errors.items() if not error <= bar}
    # torch's InstanceNorm may lay its output out anew, which only ours may not
    assert set(found) <= {"memory format"}


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("norm, shape, layout, after", SMALL[:5])
def test_torch_in_the_same_precision_passes(norm, shape, layout, after, dtype):
    assert judged(point_of(norm, shape, layout, after, dtype)).accurate


def no_activation(x, w, b):
    return F.layer_norm(x, x.shape[-1:], w, b, layers.EPS)


def no_gradient(x, w, b):
    return F.gelu(F.layer_norm(x.detach(), x.shape[-1:], w, b, layers.EPS)) + 0 * x


def other_layout(x, w, b):
    return F.gelu(F.layer_norm(x, x.shape[-1:], w, b, layers.EPS)).mT.contiguous().mT


@pytest.mark.parametrize(
    "broken, found_in",
    [
        (no_activation, {"output", "input grad", "weight grad", "bias grad"}),
        (no_gradient, {"input grad"}),
        (other_layout, {"memory format"}),
    ],
)
def test_a_broken_function_is_found(broken, found_in):
    entry = judged(point_of(*SMALL[1]), broken)
    assert not entry.accurate
    assert entry.error_in in found_in


def test_a_sum_that_gets_no_gradient_is_found():
    def cut(x, r, w):
        total = x + r
        y = F.rms_norm(total, total.shape[-1:], w, layers.EPS)
        return y, total.detach() + 0 * total

    entry = judged(point_of(*SMALL[4]), cut)
    assert not entry.accurate
    assert entry.error_in in {"input grad", "residual grad"}


def test_no_gradient_arrives_where_the_sign_of_a_relu_is_open():
    key = ("instance_norm", (4, 8, 16, 16), "bf16")
    right = layers.oracle(*key, "relu")
    tensors = {k: v.double() for k, v in layers.data(*key, "relu").items()}
    x, weight, bias = (tensors[k] for k in ("input", "weight", "bias"))
    near = F.instance_norm(x, weight=weight, bias=bias, eps=layers.EPS).abs() < 3e-2
    assert near.any()
    assert not right["upstream"][near].any()
    assert (right["upstream"][~near] != 0).float().mean() > 0.99


def test_the_harness_refuses_a_broken_function(monkeypatch):
    monkeypatch.setattr(layers, "our_forward", lambda *what: no_activation)
    with pytest.raises(WrongKernel, match="layer_norm 3x5x16 f32 gelu"):
        run(layers.BENCHMARK, [point_of(*SMALL[1])], [1], False, SHORT, lambda line: None)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("norm, shape, layout, after", SMALL)
def test_ours_passes(norm, shape, layout, after, dtype):
    if norm == "batch_norm" and dtype == "bf16":
        pytest.skip("no such point: the running statistics are float32")
    case = layers.LayersCase(point_of(norm, shape, layout, after, dtype), False)
    entry = Entry("ours", "ours")
    judge(entry, case.errors(case.ours().probe()))
    assert entry.accurate, entry.error_in
