"""The column kernels, compiled, at the sizes where their walk changes."""

import sys

import numpy as np
import pytest
import torch
from normalize_cases import (
    GELU,
    RELU,
    Case,
    assert_same_bits,
    check_backward,
    check_forward,
    every_activation,
    every_result,
    vast,
)

from equipoise.ops.normalize import columns, cpu
from equipoise.ops.normalize.statistics import APPLY, SUMS

LAST = "channels_last"
SIZES = {
    "one number a run": ((70, 9), "contiguous"),
    "tiles of short runs, the last one smaller": ((20, 40, cpu.SHORT), "contiguous"),
    "one short row": ((2, 5, 3, 7), LAST),
    "folded rows, the last one shorter": ((3, 37, 20, 22), LAST),
    "chunks with a tail": ((50, 5, 31, 13), LAST),
    "long runs": ((33, 64, 23, 23), LAST),
    "one channel": ((3000, 1), "contiguous"),
    "more channels than a tile is wide": ((2, cpu.WIDTH + 100, 3, 3), LAST),
    "volumes": ((3, 6, 5, 7, 4), LAST),
    "two samples": ((2, 300), "contiguous"),
}


def plan_of(name):
    size, layout = SIZES[name]
    return cpu.plan(size, layout == "contiguous")


def test_the_sizes_show_what_they_should():
    assert all(plan_of(name).family == "columns" for name in SIZES)
    _, width, _, inner, tile, _ = plan_of("tiles of short runs, the last one smaller").shape
    assert inner == cpu.SHORT
    assert 0 < width % tile < width
    numbers, width, channels, _, _, _ = plan_of("folded rows, the last one shorter").shape
    assert channels < width < numbers
    assert numbers % width
    numbers, width, _, _, _, chunk = plan_of("chunks with a tail").shape
    assert -(-numbers // width) % chunk
    assert plan_of("chunks with a tail").chunks > 1
    assert plan_of("long runs").shape[5] == columns.RUN
    assert plan_of("one short row").shape[0] < plan_of("one short row").shape[1]


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SIZES)
def test_columns(name, dtype):
    size, layout = SIZES[name]
    for options in every_activation(size):
        case = Case(size, dtype, layout, **options)
        check_forward(cpu, case)
        check_backward(cpu, case)


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(dtype):
    for options in every_activation():
        for size, layout in (((70, 9), "contiguous"), ((3, 37, 20, 22), LAST)):
            case = Case(size, dtype, layout, **options)
            check_forward(cpu, case)
            check_backward(cpu, case)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_a_mean_far_from_zero(offset):
    for options in ({}, {"act": RELU}, {"act": GELU, "added": True}):
        for size, layout in (((3, 37, 20, 22), LAST), ((20, 40, 49), "contiguous")):
            case = Case(size, layout=layout, offset=offset, **options)
            check_forward(cpu, case)
            check_backward(cpu, case)


def test_a_first_shift_far_from_the_mean_is_mended():
    for dtype in (torch.float32, torch.float64):
        check_forward(cpu, Case((1500, 600), dtype, strays=columns.FIRST))
        check_forward(cpu, Case((2000, 9, 49), dtype, strays=columns.FIRST * 49))


def test_the_gradient_of_what_was_added_only_where_it_is_wanted():
    case = Case((3, 37, 20, 22), layout=LAST, act=RELU, added=True)
    check_backward(cpu, case, want_other=False)
    check_backward(cpu, Case((3, 37, 20, 22), layout=LAST), want_other=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_phases_at_once_or_one_after_the_other_give_the_same_bits(dtype, monkeypatch):
    size, layout = SIZES["tiles of short runs, the last one smaller"]
    for act in (RELU, GELU):
        case = Case(size, dtype, layout, act=act, added=act == GELU)
        found = []
        for phases in ((SUMS | APPLY,), (SUMS, APPLY)):
            monkeypatch.setattr(cpu, "_phases", lambda p, phases=phases: phases)
            found.append(every_result(cpu, case))
        assert_same_bits(*found)


@pytest.mark.parametrize(
    "name", ["chunks with a tail", "long runs", "tiles of short runs, the last one smaller"]
)
def test_the_number_of_threads_changes_no_bit(name):
    size, layout = SIZES[name]
    case, found = Case(size, layout=layout, act=RELU), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(every_result(cpu, case))
    assert_same_bits(*found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's way to reserve addresses")
def test_indices_past_2_to_the_31():
    # the first tile alone, whose last row begins at 2^31
    rows, width, channels, inner = 2**11 + 1, 2**20, 2**16, 2**4
    x, y = vast(rows, width), vast(rows, width)
    bits = torch.randn(rows, inner).bfloat16()
    bits[-1] += 100
    x[:, :inner] = bits.view(torch.uint16).numpy()
    stats, partial = np.zeros((4, channels)), np.zeros((1, 2, channels))
    ones, wide = np.ones(channels, np.float32), np.zeros(3 * (width + 16), np.float32)
    tensors = (x, None, y, ones, ones, stats, partial)
    addresses = [0 if t is None else t.ctypes.data for t in tensors]
    shape = (rows * width, width, channels, inner, inner, rows)
    integers = (*addresses, 0, SUMS | APPLY, 0, wide.ctypes.data, *shape)
    columns.columns_forward(0, torch.bfloat16, 1, integers, (0.0, 0.0))
    found = torch.from_numpy(y[:, :inner].copy()).view(torch.bfloat16).double()
    assert x.size > 2**31
    wide = bits.double()
    expected = (wide - wide.mean()) / wide.std(correction=0) + 1
    assert (found - expected).abs().max() <= 2**-8 * expected.abs().max()
