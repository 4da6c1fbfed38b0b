"""What the environment forces, and which tensors the CPU kernels take."""

import pytest
import torch

from equipoise.ops import dispatch


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
    with pytest.raises(ValueError, match="reference, aten, cpu; it is 'fpga': change or unset it"):
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
