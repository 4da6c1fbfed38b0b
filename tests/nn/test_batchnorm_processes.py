"""Threads and processes: the same bits at any thread count, from any thread, after a fork."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from _cases import LAYOUTS, arrange, buffers, make, normal, step
from _subject import ours_only
from tolerances import SAME_FORMULA, assert_near

# over the size where kernels go parallel; few channels, many channels, primes
SHAPES = ((8, 1, 127, 131), (31, 3, 41, 43), (5, 67, 23, 29), (257, 64, 7, 7))


def outcome(shape, layout, dtype=torch.float32, activation="relu", training=True):
    """Give every result of one step of a fresh layer."""
    layer = make(2, shape[1], activation=activation, dtype=dtype).train(training)
    x, upstream, add = (arrange(normal(shape, dtype, s), layout) for s in (2, 3, 4))
    return step(layer, x, upstream, add) | buffers(layer)


def assert_same_bits(results):
    for other in results[1:]:
        for name, value in results[0].items():
            assert_near(other[name], value, SAME_FORMULA, name)


@ours_only
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_thread_and_many_give_the_same_bits(shape, layout, training, kernels):
    results = []
    for threads in (1, 2, 1, 3):
        torch.set_num_threads(threads)
        results.append(outcome(shape, layout, training=training))
    assert_same_bits(results)


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(16, 16, 8, 8), (1, 16, 32, 32), (1024, 16, 1, 1), (4, 5, 3, 7)])
def test_small_tensors_give_the_same_bits(shape, dtype, layout, backend):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(outcome(shape, layout, dtype))
    assert_same_bits(results)


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_the_same_bits_in_every_dtype(activation, dtype, layout, kernels):
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(outcome(SHAPES[1], layout, dtype, activation))
    assert_same_bits(results)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_repeated_runs_give_the_same_bits(layout, kernels):
    assert_same_bits([outcome(SHAPES[2], layout) for _ in range(5)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_threads_at_once(layout, kernels):
    expected = outcome(SHAPES[1], layout)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(outcome, SHAPES[1], layout) for _ in range(12)]
        # two threads at a time reduce in another order only where a kernel is not deterministic
        assert_same_bits([expected, *(job.result(timeout=60) for job in jobs)])


def test_one_layer_shared_by_threads_in_evaluation(kernels):
    layer = make(2, 3, activation="relu").eval()
    inputs = [normal(SHAPES[1], seed=s) for s in range(8)]
    expected = [layer(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for y, truth in zip(pool.map(layer, inputs, timeout=60), expected, strict=True):
            assert_near(y, truth, SAME_FORMULA)


def test_forward_in_one_thread_and_backward_in_another(kernels):
    layer = make(2, 3, activation="silu")
    x, upstream = normal(SHAPES[1]).requires_grad_(), normal(SHAPES[1], seed=3)
    expected = step(make(2, 3, activation="silu"), x, upstream)["gradient of input"]
    y = layer(x)
    thread = threading.Thread(target=y.backward, args=(upstream,))
    thread.start()
    thread.join(60)
    assert_near(x.grad, expected, SAME_FORMULA)


def program(*args, **environment):
    """Run a program of ours in its own process; give its lines."""
    result = subprocess.run(
        [sys.executable, *args],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.split()


HERE = Path(__file__).parent


@ours_only
def test_a_forked_child_uses_the_layer():
    # torch's own layer hangs here: GNU OpenMP cannot enter a parallel region after a fork
    lines = program(str(HERE / "_forked.py"), "fork", EQUIPOISE_BACKEND="cpu")
    assert len(lines) == 3
    assert len(set(lines)) == 1


def test_a_worker_of_a_data_loader_uses_the_layer(kernels):
    lines = program(str(HERE / "_forked.py"), "loader")
    assert len(lines) == 4
    assert len(set(lines)) == 1


@ours_only
def test_a_process_started_with_one_thread(kernels):
    lines = program(str(HERE / "_forked.py"), "loader", OMP_NUM_THREADS="1")
    assert len(set(lines)) == 1


@pytest.mark.slow
@ours_only
def test_two_processes_compile_into_one_empty_cache(tmp_path):
    def run(_):
        environment = {"EQUIPOISE_CACHE": str(tmp_path), "EQUIPOISE_BACKEND": "cpu"}
        return program(str(HERE / "_forked.py"), "fork", **environment)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert set(first) == set(second)
