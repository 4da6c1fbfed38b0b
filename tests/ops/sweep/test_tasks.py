"""Kernels as tasks: each runs once a phase, on the pool or not, with the same bits."""

import ctypes
import threading
import time

import numpy as np
import pytest
import torch
from numba import carray

from equipoise.ops.sweep import loop, tasks
from equipoise.ops.sweep.call import pointer_at
from equipoise.ops.sweep.loop import AFTER, ANSWER, BEFORE, HEAD, NUMBERS, PHASE, SCRATCH
from equipoise.ops.sweep.tasks import TaskKernel, copy_of, floats_of, words_of
from equipoise.ops.threads import SERIAL_BYTES

COUNT, SPAN, LENT = 37, 29, 1000
# more numbers than tasks: what came before and after, and what the lent memory held
EXTRA = 4
OUT, SEEN, TASKS, WIDTH = range(HEAD, HEAD + 4)


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


HARMONIC = TaskKernel(__name__, "harmonic")


def run(work, phases=((1, COUNT),), dtype=torch.float64):
    out = torch.full((COUNT * SPAN + 1,), torch.nan, dtype=dtype)
    seen = np.zeros((2, COUNT + EXTRA))
    own = (out.data_ptr(), seen.ctypes.data, COUNT, SPAN)
    answer = HARMONIC(work, dtype, words_of(phases, LENT, own), floats_of(3.0))
    return out, seen, answer


@pytest.mark.parametrize("work", [0, SERIAL_BYTES])
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


@pytest.mark.parametrize("work", [0, SERIAL_BYTES])
def test_a_second_phase_follows_the_first(work):
    out, seen, answer = run(work, ((1, COUNT), (2, COUNT)))
    assert (seen[:, : COUNT + 2] == 1).all()
    assert (seen[:, COUNT + 3] == COUNT).all()
    expected = 3.0 / np.arange(1, COUNT * SPAN + 1)
    assert np.array_equal(out[:-1], expected + expected)
    assert answer == 2 * (LENT - 1) + 3


@pytest.fixture
def on(monkeypatch):
    """Run on so many threads."""
    return lambda n: monkeypatch.setattr(tasks, "threads_for", lambda work: n)


@pytest.mark.parametrize("count", [2, 3, 40])
def test_the_pool_and_one_thread_give_the_same_bits(on, count):
    found = []
    for n in (1, count):
        on(n)
        out, seen, _ = run(0, ((1, COUNT), (2, COUNT)))
        assert (seen[:, :COUNT] == 1).all()
        found.append(out[:-1])
    assert torch.equal(found[0], found[1])


def loop_over(task, threads, count=COUNT):
    """Run a task in Python; tell whether all went well, and on which threads."""
    on = set()

    @ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    def called(t, integers, floats):
        on.add(threading.get_ident())
        return task(t)

    address = ctypes.cast(called, ctypes.c_void_p).value
    return loop.run(address, words_of([(1, count)], 1, ()), floats_of(), threads), on


def test_tasks_run_on_as_many_threads_as_are_asked_for():
    def slow(t):
        time.sleep(0.002)
        return 0

    assert loop_over(slow, 1) == (True, {threading.get_ident()})
    well, on = loop_over(slow, 3)
    assert well
    assert len(on) == 3
    assert threading.get_ident() in on


def test_a_thread_that_is_held_up_is_helped():
    held, done = threading.Event(), []

    def task(t):
        if t == 0:
            # until another thread has done all the rest
            assert held.wait(30)
        done.append(t)
        if len(done) == COUNT:
            held.set()
        return 0

    assert loop_over(task, 2)[0]
    assert sorted(done) == [AFTER, BEFORE, *range(COUNT)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [BEFORE, 0, COUNT - 1, AFTER])
def test_one_task_that_fails_fails_the_call(threads, bad):
    assert not loop_over(lambda t: int(t == bad), threads)[0]


def test_without_a_pool_the_calling_thread_runs_all(on, monkeypatch):
    on(2)
    monkeypatch.setattr(loop, "_pool", lambda: None)
    _, seen, _ = run(0)
    assert (seen[0, : COUNT + 2] == 1).all()


def test_no_task_and_no_memory_at_all():
    seen = np.zeros(2 * EXTRA)
    words = words_of(((2, 0),), 1, (0, seen.ctypes.data, 0, SPAN))
    HARMONIC(0, torch.float64, words, floats_of(1.0))
    assert seen.tolist() == [0] * EXTRA + [1, 1, 0, 0]


def greedy(t, integers, floats, computed):
    """Ask for more memory than there is."""
    integers[ANSWER] = np.empty(integers[HEAD]).size


@pytest.mark.parametrize("scratch, own", [(1 << 58, 1), (1, 1 << 58)])
def test_no_memory_is_an_error(scratch, own):
    kernel = TaskKernel(__name__, "greedy")
    with pytest.raises(MemoryError, match="kernel greedy found no memory"):
        kernel(0, torch.float64, words_of(((1, 1),), scratch, (own,)), floats_of())
    assert kernel(0, torch.float64, words_of(((1, 1),), 1, (5,)), floats_of()) == 5


def helped(t, integers, floats, computed):
    """Call what only Numba has."""
    integers[ANSWER] = len(str(t))


def test_a_kernel_that_needs_numba_s_helpers_is_refused():
    with pytest.raises(NotImplementedError, match=r"kernel helped calls .* which only Numba has"):
        TaskKernel(__name__, "helped").address(torch.float64)


def test_a_kernel_is_compiled_once_for_a_type():
    kernel = TaskKernel(__name__, "harmonic")
    assert kernel.address(torch.float64) == kernel.address(torch.float64)
    assert kernel.address(torch.float64) != kernel.address(torch.float32)
    assert kernel.function is harmonic


def test_a_copy_is_its_own():
    words = words_of([(1, 2), (3, 4)], 5, (6,))
    other = copy_of(words)
    other[HEAD] = 7
    assert list(words) == [0, 0, 5, 0, 1, 2, 3, 4, 6]
    assert other[HEAD] == 7
    assert ctypes.sizeof(other) == 72
