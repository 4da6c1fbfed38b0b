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
    by_statistic,
    check_backward,
    check_forward,
    every_activation,
    every_result,
    every_statistic,
    in_phases,
    vast,
)
from tolerances import VALUES, assert_near

from equipoise.ops.normalize import cpu, formulas, rows, words
from equipoise.ops.normalize import plan as plans
from equipoise.ops.normalize.words import APPLY, SUMS
from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.loop import HEAD
from equipoise.ops.sweep.tasks import floats_of, words_of

# size -> what its plan shows
SIZES = {
    "the shortest row": (2, 3, 2),
    "short rows": (2, 3, 17),
    "groups with a tail": (3, 17, 10, 10),
    "pieces with a tail": (2, 2, plans.CHUNK + 1),
    "chunks with a tail": (5, 2, 14_000),
    "one channel": (9, 1, 33, 33),
    "one sample": (1, 3, 2, 5, 7),
}
# for statistics of groups: a few of them a task, one a task, several pieces a line
GROUPED = {
    "few statistics a task": (5, 12, 3, 3),
    "long lines": (3, 4, 70, 70),
    "pieces with a tail": (2, 2, plans.CHUNK + 1),
}


def shape_of(size):
    return plans.plan(size, True)


def test_the_sizes_show_what_they_should():
    assert all(shape_of(size).family == "rows" for size in SIZES.values())
    assert plans.plan((2, 3, 1), True).family == "columns"
    group, channels = shape_of(SIZES["groups with a tail"]).shape[7], 17
    assert 1 < group < channels
    assert channels % group
    runs, chunk = (shape_of(SIZES["chunks with a tail"]).shape[k] for k in (1, 6))
    assert shape_of(SIZES["chunks with a tail"]).chunks > 1
    assert runs % chunk
    assert SIZES["pieces with a tail"][2] % shape_of(SIZES["pieces with a tail"]).shape[5]
    few = plans.plan(GROUPED["few statistics a task"], True, 4).shape
    assert (few[8], few[7] // few[8] > 1) == (3, True)


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


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", GROUPED)
def test_statistics_of_groups_and_without_a_mean(size, dtype):
    size = GROUPED[size]
    for kind in every_statistic(size[1]):
        for options in every_activation(size):
            if not options.get("evaluation"):
                case = Case(size, dtype, **options, **kind)
                check_forward(cpu, case)
                check_backward(cpu, case)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_groups_with_a_mean_far_from_zero(offset):
    for kind in ({"groups": 1}, {"groups": 4}, {"groups": 12}, {"groups": 4, "centred": 0}):
        case = Case((5, 12, 9, 9), offset=offset, act=GELU, **kind)
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
        for size in ((2, 2, 60_000), (3, 2, 60_000), (2, 4, 60_000)):
            for groups in (1, 2):
                check_forward(cpu, Case(size, dtype, strays=rows.FIRST, groups=groups))


@pytest.mark.parametrize("groups", [0, 1, 3])
def test_squares_that_overflow_are_taken_anew(groups):
    x = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0)) * 1e25
    for centred in (0, 1):
        y, _ = cpu.forward(x, None, None, None, None, None, 0.0, 1e-5, groups, centred)
        lines = by_statistic(x.double(), groups)
        lines = lines - lines.mean(1, keepdim=True) * centred
        wanted = lines / lines.square().mean(1, keepdim=True).sqrt()
        assert_near(by_statistic(y, groups), wanted, VALUES[torch.float32])


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
            with in_phases(cpu, monkeypatch, phases):
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
    stats, one, zero = np.zeros((4, 1)), np.ones(1, np.float32), np.zeros(1, np.float32)
    shape = (1, 2, length, length, far, plans.CHUNK, 2, 1, 1, 1)
    integers = np.zeros(words.SHAPE - HEAD + len(shape), np.int64)
    sweeps = (formulas.first(1), formulas.moments(1), formulas.output(1, None, 0.0, False))
    first, moments, output = (compiled.address(s, torch.bfloat16) for s in sweeps)
    given = {
        words.ITEM: 2, words.CHANNELS: 1, words.TRAINING: 1, words.X: x.ctypes.data,
        words.OTHER: x.ctypes.data, words.Y: y.ctypes.data, words.WEIGHT: one.ctypes.data,
        words.BIAS: zero.ctypes.data, words.STATS: stats.ctypes.data, words.FIRST_SWEEP: first,
        words.MOMENTS_SWEEP: moments, words.OUTPUT_SWEEP: output,
    }  # fmt: skip
    for place, value in given.items():
        integers[place - HEAD] = value
    integers[words.SHAPE - HEAD :] = shape
    told = words_of(((SUMS | APPLY, 1),), 2, integers)
    cpu.KERNELS["rows", "forward"](0, torch.float32, told, floats_of(1e-5))
    y = np.stack([y[:length], y[far:]])
    expected = torch.nn.functional.batch_norm(bits.double().view(-1, 1), None, None, training=True)
    found = torch.from_numpy(y).view(torch.bfloat16).double().view(-1, 1)
    assert (found - expected).abs().max() < 2e-2
