"""Moments: NaN, inf, weights, dtypes, threads and processes."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import assert_exact

import equipoise as eq


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# --- NaN, inf, weights


def test_nans_are_omitted_column_by_column():
    x = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    m = eq.Moments.of(x)
    assert np.array_equal(m.count, [2, 0])
    assert np.array_equal(m.nan_count, [1, 3])
    assert np.array_equal(m.mean, [2, np.nan], equal_nan=True)
    assert np.array_equal(m.m2, [2, 0])


def test_nans_of_empty_columns_survive_a_merge():
    m = eq.Moments.of(np.array([[np.nan]])) + eq.Moments.of(np.array([[2.0]]))
    assert (m.nan_count, m.count, m.mean) == (1, 1, 2)


@pytest.mark.parametrize("module", [np, torch])
def test_nans_that_propagate_spoil_their_column_only(module):
    x = module.asarray([[1.0, 5.0], [np.nan, 7.0]])
    m = eq.Moments.of(x, nan="propagate")
    assert [float(f[0]) for f in (m.count, m.nan_count)] == [2, 1]
    assert all(math.isnan(f[0]) for f in (m.mean, m.m2, m.min, m.max, m.var()))
    assert m.mean[1] == 6
    merged = m + eq.Moments.of(x[:1]), eq.Moments.of(x[:1]) + m
    for both in merged:
        assert all(math.isnan(f[0]) for f in (both.mean, both.m2, both.min, both.max))
        assert float(both.count[0]) == 3


@pytest.mark.parametrize("rows", [3, 3000])
def test_infinite_values_act_as_ieee_says(rows):
    x = np.ones((rows, 3))
    x[1] = [np.inf, -np.inf, 1]
    x[2, 0] = np.nan
    m = eq.Moments.of(x)
    assert np.array_equal(m.mean, [np.inf, -np.inf, 1])
    assert np.isnan(m.m2[:2]).all()
    assert m.m2[2] == 0
    assert (m.max[0], m.min[1]) == (np.inf, -np.inf)
    assert m.nan_count[0] == 1
    assert (m + eq.Moments.of(x)).mean[1] == -np.inf


def test_rows_of_weight_zero_count_nowhere():
    x = np.array([[1e300, np.nan, np.inf], [1, 2, 3], [3, 4, 5], [-1e300, np.nan, -np.inf]])
    for array in (x, torch.from_numpy(x)):
        m = eq.Moments.of(array, weights=np.array([0, 1, 1, 0]))
        assert m == eq.Moments.of(array[1:3], weights=[1, 1])
        assert not np.asarray(m.nan_count).any()


def test_fractional_weights():
    x, weights = random((50, 2)), np.random.default_rng(1).random(50)
    assert_exact(eq.Moments.of(x, weights=weights), x, weights=weights)


def test_weights_over_two_axes_are_a_mask():
    x = random((4, 3, 5))
    mask = np.random.default_rng(1).random((4, 5)) < 0.5
    m = eq.Moments.of(x, axis=(0, 2), weights=mask)
    assert_exact(m, np.moveaxis(x, 1, 2)[mask])
    per_row = eq.Moments.of(x, axis=(0, 2), weights=np.array([[1], [0], [2], [1]]))
    assert_exact(per_row, np.moveaxis(np.repeat(x, [1, 0, 2, 1], 0), 1, 2).reshape(-1, 3))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, torch.bool, torch.bfloat16])
def test_weights_of_many_dtypes(dtype):
    x = random((4, 2))
    kind = torch if isinstance(dtype, torch.dtype) else np
    weights = kind.asarray([1, 0, 1, 1], dtype=dtype)
    given = torch.from_numpy(x) if kind is torch else x
    assert_exact(eq.Moments.of(given, weights=weights), x, weights=[1, 0, 1, 1])


# --- what comes in


REAL = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()


@pytest.mark.parametrize("dtype", REAL)
def test_numpy_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 100, (40, 3)).astype(dtype)
    assert_exact(eq.Moments.of(x), x)
    assert_exact(eq.Moments.of(x, weights=np.arange(40) % 3), x, weights=np.arange(40) % 3)


@pytest.mark.parametrize("dtype", [*REAL, "bfloat16"])
def test_torch_dtypes(dtype):
    x = torch.randint(0, 100, (40, 3)).to(getattr(torch, dtype))
    m = eq.Moments.of(x)
    assert m.mean.dtype == torch.float64
    assert m.device == torch.device("cpu")
    assert_exact(m, x.double().numpy())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_of_many_values_and_strides(dtype):
    x = (torch.randn(5, 6, 20, 20) * 3 + 50).to(dtype)
    for layout in (x, x.to(memory_format=torch.channels_last), x[:, ::2]):
        assert_exact(eq.Moments.of(layout, (0, 2, 3)), layout.double().numpy(), (0, 2, 3))


def test_byte_order_alignment_and_read_only_memory():
    x = random((50, 3), np.float32)
    packed = np.zeros(50, [("flag", "u1"), ("values", "f4", 3)])
    packed["values"] = x
    fixed = x.copy()
    fixed.setflags(write=False)
    for other in (x.astype(">f4"), packed["values"], fixed, fixed[::-1], x.view(np.recarray)):
        assert np.allclose(eq.Moments.of(other).mean, eq.Moments.of(x).mean, rtol=1e-15, atol=1e-16)


def test_lists_and_numbers_of_no_axis():
    assert eq.Moments.of([1, 2, 3]).mean == 2
    assert eq.Moments.of(5.0, axis=()).mean == 5
    assert np.array_equal(eq.Moments.of([4.0, 5.0], axis=()).mean, [4, 5])


def test_tensors_that_need_gradients_parameters_and_views():
    x = torch.randn(20, 3, requires_grad=True)
    assert eq.Moments.of(x) == eq.Moments.of(x.detach())
    assert eq.Moments.of(torch.nn.Parameter(x.detach())) == eq.Moments.of(x)
    assert eq.Moments.of(torch._neg_view(x)).mean.allclose(-eq.Moments.of(x).mean)


def test_the_input_is_left_alone():
    x = random((100, 3), np.float32)
    before = x.copy()
    eq.Moments.of(x, weights=np.ones(100))
    eq.Moments.of(x)
    assert np.array_equal(x, before)


# --- threads and processes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape, axis",
    [((40_000, 50), 0), ((300_007,), 0), ((64, 6, 41, 43), (0, 2, 3)), ((700, 1500), (1,))],
)
def test_the_same_bits_at_any_thread_count(shape, axis, dtype):
    x = random(shape, dtype)
    x.flat[::1001] = np.nan
    results, threads = [], torch.get_num_threads()
    try:
        for n in (1, 2, 1, 2):
            torch.set_num_threads(n)
            results.append(eq.Moments.of(x, axis))
    finally:
        torch.set_num_threads(threads)
    assert all(m == results[0] for m in results)
    assert np.array_equal(results[0].state, results[1].state, equal_nan=True)


def test_data_loader_workers_get_the_same_bits():
    program = Path(__file__).parent / "_moments_worker.py"
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    parent, child = done.stdout.split()
    assert parent == child
