"""Kernels as tasks: each runs once, on the pool or not, with the same bits."""

import numba
import numpy as np
import pytest
import torch
from numba import carray

from equipoise.ops import jit
from equipoise.ops.tasks import AFTER, ALL, BEFORE, TaskKernel, float64_at, stored

COUNT, SPAN = 37, 29


@TaskKernel
def harmonic(t, integers, floats, tag, computed):
    """Fill one stretch of ``out`` a task, and note how often each task ran, in which order."""
    seen = carray(float64_at(floats, integers[1]), (integers[2] + 4,))
    if t == BEFORE:
        seen[integers[2]] += 1
        # what came before: nothing yet
        for k in range(integers[2]):
            seen[integers[2] + 2] += seen[k]
    elif t == AFTER:
        seen[integers[2] + 1] += 1
        for k in range(integers[2]):
            seen[integers[2] + 3] += seen[k]
    else:
        seen[t] += 1
        out = stored(tag, integers[0], ALL)
        for i in range(integers[3]):
            out[t * integers[3] + i] = floats[0] / (1 + t * integers[3] + i)


def run(work):
    out = torch.full((COUNT * SPAN + 1,), torch.nan, dtype=torch.float64)
    seen = np.zeros(COUNT + 4)
    harmonic(work, torch.float64, COUNT, (out.data_ptr(), seen.ctypes.data, COUNT, SPAN), (3.0,))
    return out, seen


@pytest.mark.parametrize("work", [0, jit.SERIAL_BYTES])
def test_each_task_runs_once_between_before_and_after(work):
    out, seen = run(work)
    assert (seen[: COUNT + 2] == 1).all()
    assert seen[COUNT + 2] == 0
    assert seen[COUNT + 3] == COUNT
    assert np.array_equal(out[:-1], 3.0 / np.arange(1, COUNT * SPAN + 1))
    assert out[-1].isnan()


def test_the_pool_and_one_thread_give_the_same_bits(monkeypatch):
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        monkeypatch.setattr(jit, "threads", lambda threads=threads: threads)
        found.append(run(jit.SERIAL_BYTES)[0][:-1])
    assert torch.equal(found[0], found[1])


def test_no_task_at_all():
    seen = np.zeros(4)
    harmonic(0, torch.float64, 0, (0, seen.ctypes.data, 0, SPAN), (1.0,))
    assert seen.tolist() == [1, 1, 0, 0]


def test_a_kernel_is_compiled_once_for_a_type():
    assert harmonic.compiled(torch.float64) is harmonic.compiled(torch.float64)
    assert harmonic.name == "harmonic"
    assert harmonic.__doc__.startswith("Fill one stretch")
