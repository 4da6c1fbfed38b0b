"""Fixtures of the kernels' tests: memory that starts as NaN, and how many threads."""

import os

import pytest
import torch

# without a GPU these run in a process of their own, which test_gpu_interpreted starts
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore = ["test_gpu.py"]


@pytest.fixture(autouse=True)
def _same_threads():
    """Give every test the process's number of threads, whatever the one before set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def nan_filled():
    """Fill new tensors with NaN: what a kernel forgets to write, or reads before, shows."""
    fill = torch.utils.deterministic.fill_uninitialized_memory
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.use_deterministic_algorithms(deterministic)
