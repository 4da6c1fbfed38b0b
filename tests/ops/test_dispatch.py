"""What the environment forces, and which tensors the kernels take."""

import pytest
import torch

from equipoise import nn
from equipoise.ops import dispatch
from equipoise.ops.normalize import op


@pytest.mark.parametrize("name", dispatch.BACKENDS)
def test_the_environment_forces_a_backend(name, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", name)
    assert dispatch.forced() == name


def test_without_a_word_nothing_is_forced(monkeypatch):
    monkeypatch.delenv("EQUIPOISE_BACKEND", raising=False)
    assert dispatch.forced() is None
    monkeypatch.setenv("EQUIPOISE_BACKEND", "")
    assert dispatch.forced() is None


def test_an_unknown_backend_says_which_there_are(monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", "fpga")
    with pytest.raises(
        ValueError, match="reference, aten, cpu, gpu; it is 'fpga': change or unset it"
    ):
        dispatch.forced()


def test_kernels_take_floats_in_the_memory_of_the_cpu():
    x = torch.ones(2, 3)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert dispatch.kernel_runs(x.to(dtype))
    assert dispatch.kernel_runs(x.t())
    for other in (x.long(), x.bool(), x.to(torch.complex64), x.to(torch.float8_e4m3fn)):
        assert not dispatch.kernel_runs(other)
    assert not dispatch.kernel_runs(x.to("meta"))
    assert not dispatch.kernel_runs(x.to_sparse())


@pytest.mark.parametrize(
    "triton, why", [(False, "triton is not installed"), (True, "CUDA tensors")]
)
def test_a_forced_gpu_that_cannot_run_says_why(triton, why, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", "gpu")
    monkeypatch.setattr(dispatch, "_TRITON", triton)
    monkeypatch.setattr(op, "INTERPRETED", False)
    with pytest.raises(RuntimeError, match=why):
        nn.LayerNorm(4)(torch.randn(2, 4))


def test_cpu_tensors_never_go_to_the_gpu_unasked(monkeypatch):
    monkeypatch.delenv("EQUIPOISE_BACKEND", raising=False)
    monkeypatch.setattr(op, "INTERPRETED", True)
    assert not op.on_gpu(torch.ones(2))
