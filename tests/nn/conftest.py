"""Fixtures of the layers' tests: which kernels run, and how many threads."""

import os

import pytest
import torch
from _subject import IS_TORCH

# without a GPU these run in a process of their own, which test_gpu_interpreted starts
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore = ["test_norms_gpu.py"]


@pytest.fixture(autouse=True)
def _same_threads():
    """Give every test the process's number of threads, whatever the one before set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["auto"] if IS_TORCH else ["auto", "cpu"])
def backend(request, monkeypatch):
    """Run once as users do (small tensors go to aten), once with our kernels forced."""
    monkeypatch.delenv("EQUIPOISE_BACKEND", raising=False)
    if request.param != "auto":
        monkeypatch.setenv("EQUIPOISE_BACKEND", request.param)
    return request.param


@pytest.fixture
def one_thread():
    """Run on one thread: on a busy machine each parallel region of a tiny call costs 5 ms."""
    torch.set_num_threads(1)


@pytest.fixture
def kernels(monkeypatch):
    """Force our kernels, also where a small tensor would go to aten."""
    monkeypatch.setenv("EQUIPOISE_BACKEND", "cpu")


@pytest.fixture
def taken(monkeypatch):
    """Count the calls, forward and backward, that take the short way of those that repeat."""
    from equipoise.ops.normalize import again
    from equipoise.ops.normalize.again_channels import Channels

    monkeypatch.setattr(again, "_kept", {})
    counts = {"forward": 0, "backward": 0}

    def spy(name, way):
        def call(self, *args):
            counts[name] += 1
            return way(self, *args)

        monkeypatch.setattr(Channels, name, call)

    for name in counts:
        spy(name, getattr(Channels, name))
    return counts
