"""Kernels as tasks: each runs once a phase, on the pool or not, with the same bits."""

import numba
import numpy as np
import pytest
import torch
from numba import carray

from equipoise.ops import jit
from equipoise.ops.sweep.tasks import (
    AFTER,
    ANSWER,
    BEFORE,
    HEAD,
    NUMBERS,
    PHASE,
    SCRATCH,
    TaskKernel,
    pointer_at,
    words_of,
)

COUNT, SPAN, LENT = 37, 29, 1000
# more numbers than tasks: what came before and after, and what the lent memory held
EXTRA = 4
OUT, SEEN, TASKS, WIDTH = range(HEAD, HEAD + 4)


@TaskKernel
def harmonic(t, integers, floats, computed):
    """Fill one stretch of ``out`` a task, and note how often each task ran, in which order."""
    count = integers[TASKS]
    seen = carray(pointer_at(floats, integers[SEEN]), (2, count + EXTRA))[integers[PHASE] - 1]
    lent = carray(pointer_at(floats, integers[SCRATCH]), (integers[NUMBERS],))
    if t == BEFORE:
        seen[count] += 1
        # what came before: nothing yet
        for k in range(count):
            seen[count + 2] += seen[k]
        if integers[PHASE] == 1:
            for k in range(lent.size):
                lent[k] = k
    elif t == AFTER:
        seen[count + 1] += 1
        for k in range(count):
            seen[count + 3] += seen[k]
        integers[ANSWER] += np.int64(lent[lent.size - 1]) + integers[PHASE]
    else:
        seen[t] += 1
        out = carray(pointer_at(computed, integers[OUT]), (count * integers[WIDTH],))
        for i in range(integers[WIDTH]):
            at = t * integers[WIDTH] + i
            out[at] = floats[0] / (1 + at) + (0 if integers[PHASE] == 1 else out[at])


def run(work, phases=((1, COUNT),), dtype=torch.float64):
    out = torch.full((COUNT * SPAN + 1,), torch.nan, dtype=dtype)
    seen = np.zeros((2, COUNT + EXTRA))
    own = (out.data_ptr(), seen.ctypes.data, COUNT, SPAN)
    answer = harmonic(work, dtype, words_of(phases, LENT, own), np.array([3.0]))
    return out, seen, answer


@pytest.mark.parametrize("work", [0, jit.SERIAL_BYTES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_task_runs_once_between_before_and_after(work, dtype):
    out, seen, answer = run(work, dtype=dtype)
    assert (seen[0, : COUNT + 2] == 1).all()
    assert seen[0, COUNT + 2] == 0
    assert seen[0, COUNT + 3] == COUNT
    assert (seen[1] == 0).all()
    expected = torch.from_numpy(3.0 / np.arange(1, COUNT * SPAN + 1)).to(dtype)
    assert torch.equal(out[:-1], expected)
    assert out[-1].isnan()
    # the lent memory was the kernel's own until the end
    assert answer == LENT - 1 + 1


@pytest.mark.parametrize("work", [0, jit.SERIAL_BYTES])
def test_a_second_phase_follows_the_first(work):
    out, seen, answer = run(work, ((1, COUNT), (2, COUNT)))
    assert (seen[:, : COUNT + 2] == 1).all()
    assert (seen[:, COUNT + 3] == COUNT).all()
    expected = 3.0 / np.arange(1, COUNT * SPAN + 1)
    assert np.array_equal(out[:-1], expected + expected)
    assert answer == 2 * (LENT - 1) + 3


def test_the_pool_and_one_thread_give_the_same_bits(monkeypatch):
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        monkeypatch.setattr(jit, "threads", lambda threads=threads: threads)
        found.append(run(jit.SERIAL_BYTES)[0][:-1])
    assert torch.equal(found[0], found[1])


def test_no_task_and_no_memory_at_all():
    seen = np.zeros(2 * EXTRA)
    words = words_of(((2, 0),), 1, (0, seen.ctypes.data, 0, SPAN))
    harmonic(0, torch.float64, words, np.ones(1))
    assert seen.tolist() == [0] * EXTRA + [1, 1, 0, 0]


def test_a_kernel_is_compiled_once_for_a_type():
    assert harmonic.compiled(torch.float64) is harmonic.compiled(torch.float64)
    assert harmonic.compiled(torch.float64) is not harmonic.compiled(torch.float32)
    assert harmonic.name == "harmonic"
    assert harmonic.__doc__.startswith("Fill one stretch")
