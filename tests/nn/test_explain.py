"""``explain`` names what runs; a fallback is logged once."""

import logging

import pytest
import torch
from torch import nn as tnn

from equipoise import nn
from equipoise.ops import dispatch

LARGE, SMALL = (8, 64, 56, 56), (8, 3, 5, 5)
LAYERS = (
    lambda c: nn.BatchNorm2d(c),
    lambda c: nn.GroupNorm(1, c),
    lambda c: nn.InstanceNorm2d(c),
    lambda c: nn.FilterResponseNorm(c),
    lambda c: nn.LayerNorm2d(c),
)


@pytest.mark.parametrize("make", LAYERS)
def test_large_inputs_run_on_our_kernels(make):
    found = nn.explain(make(64), torch.randn(LARGE))
    assert found.backend == "cpu"
    assert all("_forward on " in kernel for kernel in found.kernels)
    assert found.kernels
    assert "kernels take" in found.why
    assert str(found).startswith(f"cpu ({found.kernels[0]}")


def test_the_kernel_depends_on_the_layout():
    layer, x = nn.BatchNorm2d(64), torch.randn(LARGE)
    assert nn.explain(layer, x).kernels[0].startswith("rows_forward")
    x = x.to(memory_format=torch.channels_last)
    assert nn.explain(layer, x).kernels[0].startswith("columns_forward")
    assert nn.explain(nn.RMSNorm(56), x).kernels[0].startswith("elements_forward")


def test_small_inputs_run_on_our_kernels_where_torch_would_wake_threads(monkeypatch):
    monkeypatch.setattr(dispatch, "_ASLEEP", True)
    torch.set_num_threads(2)
    found = nn.explain(nn.BatchNorm2d(3), torch.randn(SMALL))
    assert found.kernels == ("rows_forward on one thread",)


def test_small_inputs_go_to_torch_unless_digits_are_lost(one_thread):
    layer, x = nn.BatchNorm2d(3), torch.randn(SMALL)
    assert nn.explain(layer, x)[:2] == ("aten", ())
    found = nn.explain(layer, x + 100)
    assert found.backend == "cpu"
    assert "torch's digits are lost" in found.why
    layer.eval()
    layer.running_mean.fill_(100.0)
    assert nn.explain(layer, x).backend == "cpu"


@pytest.mark.parametrize("name", ["reference", "aten", "cpu"])
def test_a_forced_backend_is_the_reason(name, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", name)
    found = nn.explain(nn.BatchNorm2d(3), torch.randn(SMALL))
    assert found.backend == name
    assert found.why == f"EQUIPOISE_BACKEND={name}"


def test_what_no_kernel_takes_is_the_formula_s():
    found = nn.explain(nn.LayerNorm(5, device="meta"), torch.empty(2, 5, device="meta"))
    assert found.backend == "reference"
    assert "no kernel takes" in found.why
    assert nn.explain(nn.BatchNorm2d(3), torch.empty(0, 3, 5, 5)).backend == "aten"
    for layer in (nn.GroupNorm(1, 3), nn.FilterResponseNorm(3)):
        assert nn.explain(layer, torch.empty(0, 3, 5, 5)).backend == "reference"


def test_running_statistics_need_our_kernels(one_thread):
    for tracking, backend in ((False, "aten"), (True, "cpu")):
        layer = nn.InstanceNorm2d(3, track_running_stats=tracking)
        assert nn.explain(layer, torch.randn(SMALL)).backend == backend


def test_the_layer_is_left_alone():
    layer, x = nn.BatchNorm2d(3), torch.randn(SMALL)
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    nn.explain(layer, x, add=torch.randn(SMALL))
    for name, t in layer.state_dict().items():
        assert torch.equal(t, before[name])


def test_only_our_layers_are_explained():
    for other in (tnn.BatchNorm2d(3), tnn.Sequential(nn.BatchNorm2d(3))):
        with pytest.raises(TypeError, match=r"one norm layer of equipoise\.nn"):
            nn.explain(other, torch.randn(SMALL))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_a_lazy_layer_is_explained_once_it_has_channels():
    layer, x = nn.LazyBatchNorm2d(), torch.randn(SMALL)
    with pytest.raises(ValueError, match=r"LazyBatchNorm2d has no channels .*call layer\(x\) once"):
        nn.explain(layer, x)
    layer(x)
    assert nn.explain(layer, x).why


def test_listeners_hear_only_their_own_block():
    layer, x = nn.BatchNorm2d(3), torch.randn(SMALL)
    with dispatch.listening() as outer:
        layer(x)
        with dispatch.listening() as inner:
            layer(x)
    layer(x)
    assert len(outer) == len(inner) == 1


def test_a_fallback_is_logged_once(caplog):
    dispatch._fell_back.cache_clear()
    layer, x = nn.LayerNorm(5), torch.randn(4, 5)
    with caplog.at_level(logging.DEBUG, "equipoise"):
        torch.func.vmap(layer)(x)
        torch.func.vmap(layer)(x)
    lines = [r for r in caplog.records if "plain formula" in r.message]
    assert len(lines) == 1
    assert lines[0].levelno == logging.DEBUG
    assert "transform" in lines[0].message
