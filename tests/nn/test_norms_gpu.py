"""Every norm through the GPU's kernels: on a GPU, else in Triton's interpreter on the CPU.

Without a GPU ``tests/ops/normalize/test_gpu_interpreted`` runs this file.
"""

import copy

import numpy as np
import pytest
import torch
from _norms import FEW, ROWS, Row, step
from tolerances import FLOAT32, RUNNING, assert_near

from equipoise import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH_NORM = Row("BatchNorm2d", (6,), (4, 6, 3, 7), torch.nn.BatchNorm2d)
# the interpreter is slow: one of each operator
SOME = (BATCH_NORM, ROWS[0], ROWS[9])


@pytest.fixture(autouse=True)
def _forced(monkeypatch):
    """Run the GPU's kernels; NumPy, which interprets them, computes what is masked too."""
    monkeypatch.setenv("EQUIPOISE_BACKEND", "gpu")
    with np.errstate(all="ignore"):
        yield


def both(row, layer, shape=None, arrange=lambda t: t, offset=0.0, **extras):
    """Step our layer on the device, and torch's in float64."""
    x, upstream, extra = row.inputs(offset=offset, shape=shape)
    extras = {row.extra: extra} if extras else {}
    oracle = row.oracle(layer)
    wanted = step(
        oracle, x.double(), upstream.double(), **{k: t.double() for k, t in extras.items()}
    )
    x, upstream = arrange(x.to(DEVICE)), upstream.to(DEVICE)
    found = step(
        layer.to(DEVICE), x, upstream, **{k: arrange(t.to(DEVICE)) for k, t in extras.items()}
    )
    return found, wanted, oracle


def assert_close(found, wanted):
    for name, value in wanted.items():
        assert_near(found[name].cpu(), value, FLOAT32, name, scale=max(value.abs().max().item(), 1))


@pytest.mark.parametrize("row", [BATCH_NORM, *FEW], ids=str)
def test_forward_and_backward(row):
    layer = row.build(activation="silu")
    assert nn.explain(layer.to(DEVICE), row.inputs()[0].to(DEVICE)).backend == "gpu"
    found, wanted, oracle = both(row, layer, extra=True)
    assert_close(found, wanted)
    for name, buffer in oracle.norm.named_buffers():
        if buffer.dtype.is_floating_point:
            assert_near(getattr(layer, name).cpu(), buffer, RUNNING[torch.float32], name)


@pytest.mark.parametrize("row", SOME, ids=str)
def test_gaps_and_offsets(row):
    def gaps(t):
        return torch.stack([t, t], -1)[..., 0]

    found, wanted, _ = both(row, row.build(), arrange=gaps, offset=100.0)
    assert_close(found, wanted)


def test_channels_last_stays():
    for row in (BATCH_NORM, ROWS[0]):
        x = row.inputs()[0].to(DEVICE).to(memory_format=torch.channels_last)
        y = row.build().to(DEVICE)(x)
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_evaluation():
    layer = BATCH_NORM.build(activation="relu").eval()
    found, wanted, _ = both(BATCH_NORM, layer)
    assert_close(found, wanted)


# torch's own, where its compiler looks at what it traces
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.parametrize("row", SOME[1:], ids=str)
def test_compiled_in_full(row):
    layer = row.build().to(DEVICE)
    x, upstream, _ = (t.to(DEVICE) for t in row.inputs())
    wanted = step(copy.deepcopy(layer), x, upstream)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    leaf = x.clone().requires_grad_()
    y = compiled(leaf)
    (gradient,) = torch.autograd.grad(y, leaf, upstream)
    assert torch.equal(y, wanted["output"])
    assert torch.equal(gradient, wanted["gradient of input"])


def test_the_gradient_differentiates_again():
    layer = BATCH_NORM.build(dtype=torch.float64).to(DEVICE)
    x = torch.randn(2, 6, 2, 2, dtype=torch.float64, device=DEVICE, requires_grad=True)
    (g,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    assert torch.autograd.grad(g.pow(2).sum(), x)[0].isfinite().all()
