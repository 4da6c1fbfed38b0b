"""The row kernels, compiled, at the sizes where their walk changes."""

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

from equipoise.ops.normalize import cpu, rows
from equipoise.ops.normalize.statistics import APPLY, SUMS

# size -> what its plan shows
SIZES = {
    "the shortest row": (2, 3, cpu.SHORT + 1),
    "groups with a tail": (3, 17, 10, 10),
    "pieces with a tail": (2, 2, cpu.CHUNK + 1),
    "chunks with a tail": (5, 2, 14_000),
    "one channel": (9, 1, 33, 33),
    "one sample": (1, 3, 2, 5, 7),
    "one block and one number": (2, 2, rows.BLOCK + 1),
}


def shape_of(size):
    return cpu.plan(size, True)


def test_the_sizes_show_what_they_should():
    assert all(shape_of(size).family == "rows" for size in SIZES.values())
    assert cpu.plan((2, 3, cpu.SHORT), True).family == "columns"
    group, channels = shape_of(SIZES["groups with a tail"]).shape[7], 17
    assert 1 < group < channels
    assert channels % group
    runs, _, _, _, _, chunk, _ = shape_of(SIZES["chunks with a tail"]).shape[1:]
    assert shape_of(SIZES["chunks with a tail"]).chunks > 1
    assert runs % chunk
    assert SIZES["pieces with a tail"][2] % shape_of(SIZES["pieces with a tail"]).shape[5]


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_rows(size, dtype):
    for options in every_activation(SIZES[size]):
        case = Case(SIZES[size], dtype, **options)
        check_forward(cpu, case)
        check_backward(cpu, case)


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(dtype):
    for options in every_activation():
        for size in ((2, 3, 65), (3, 17, 10, 10)):
            case = Case(size, dtype, **options)
            check_forward(cpu, case)
            check_backward(cpu, case)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_a_mean_far_from_zero(offset):
    for options in ({}, {"act": RELU}, {"act": GELU, "added": True}):
        case = Case((3, 17, 10, 10), offset=offset, **options)
        check_forward(cpu, case)
        check_backward(cpu, case)


def test_a_first_shift_far_from_the_mean_is_mended():
    for dtype in (torch.float32, torch.float64):
        check_forward(cpu, Case((2, 2, 60_000), dtype, strays=rows.FIRST))


def test_the_gradient_of_what_was_added_only_where_it_is_wanted():
    case = Case((2, 3, 65), act=RELU, added=True)
    check_backward(cpu, case, want_other=False)
    check_backward(cpu, Case((2, 3, 65)), want_other=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", ["chunks with a tail", "groups with a tail", "one channel"])
def test_both_phases_at_once_or_one_after_the_other_give_the_same_bits(size, dtype, monkeypatch):
    for act in (RELU, GELU):
        case = Case(SIZES[size], dtype, act=act, added=act == GELU)
        found = []
        for phases in ((SUMS | APPLY,), (SUMS, APPLY)):
            monkeypatch.setattr(cpu, "_phases", lambda p, phases=phases: phases)
            found.append(every_result(cpu, case))
        assert_same_bits(*found)


@pytest.mark.parametrize("size", ["chunks with a tail", "groups with a tail", "pieces with a tail"])
def test_the_number_of_threads_changes_no_bit(size):
    case, found = Case(SIZES[size], act=RELU), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(every_result(cpu, case))
    assert_same_bits(*found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's way to reserve addresses")
def test_indices_past_2_to_the_31():
    # two runs a row, so far apart that the second begins past 2^31
    length, far = 100, 2**31 + 12_345
    x, y = vast(far + length), vast(far + length)
    bits = torch.randn(2, length).bfloat16()
    x[:length], x[far:] = (row.view(torch.uint16).numpy() for row in bits)
    stats, partial = np.zeros((4, 1)), np.zeros((1, 2, 1))
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    shape = (1, 2, length, length, far, cpu.CHUNK, 2, 1)
    tensors = (x, None, y, one, zero, stats, partial)
    addresses = [0 if t is None else t.ctypes.data for t in tensors]
    integers = (*addresses, 0, SUMS | APPLY, 0, *shape)
    rows.rows_forward(0, torch.bfloat16, rows.tasks(shape, SUMS | APPLY, 1), integers, (1e-5, 0.0))
    y = np.stack([y[:length], y[far:]])
    expected = torch.nn.functional.batch_norm(bits.double().view(-1, 1), None, None, training=True)
    found = torch.from_numpy(y).view(torch.bfloat16).double().view(-1, 1)
    assert (found - expected).abs().max() < 2e-2
