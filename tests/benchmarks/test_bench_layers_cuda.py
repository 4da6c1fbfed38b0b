"""The GPU's benchmark: its points and contenders, on the CPU in place of a GPU."""

import pytest
import torch

from benchmarks import layers, layers_cuda, run
from benchmarks.harness import build, judge
from benchmarks.model import Entry

SMALL = [
    ("rms_norm", (7, 24), "", "residual"),
    ("group_norm", (2, 64, 3, 4), "nhwc", "silu"),
    ("batch_norm", (4, 6, 5, 4), "nchw", "relu"),
]


@pytest.mark.parametrize("norm, shape, layout, after", SMALL)
def test_contenders_pass_where_they_can_be_built(norm, shape, layout, after, monkeypatch):
    monkeypatch.setattr(layers_cuda, "DEVICE", "cpu")
    point = layers._point(layers.Spot(norm, shape, after), layout, "f32", "fwd+bwd")
    case = layers_cuda.CudaCase(point, False)
    built, failed = build(point, case.contenders)
    assert {"ours", "torch", "copy"} <= set(built)
    # neither is installed here, or has no such norm
    assert set(failed) <= {"liger", "quack"}
    for name in ("ours", "torch", "copy"):
        built[name].call()
        entry = Entry("peer", "ours")
        judge(entry, case.errors(built[name].probe()))
        # torch may lose more digits than ours may
        assert entry.accurate or name == "torch", entry.error_in


def test_large_points_are_there_and_named_once():
    names = [p.name for p in layers_cuda.points(False)]
    assert len(set(names)) == len(names)
    assert sum(p.bytes >= layers_cuda.LARGE for p in layers_cuda.points(False)) > 20
    for group in layers_cuda.BENCHMARK.groups:
        assert any(group.where(p.tags) for p in layers_cuda.points(False)), group.label


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_so(capsys):
    assert run.main("layers", ["--device", "cuda"]) == 2
    assert "needs a GPU that torch sees" in capsys.readouterr().err
