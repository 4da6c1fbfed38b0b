"""The column kernels, compiled, at the sizes where their walk changes."""

import sys

import numpy as np
import pytest
import torch
from normalize_cases import (
    GELU,
    NONE,
    RELU,
    Case,
    assert_same_bits,
    check_backward,
    check_forward,
    every_activation,
    every_result,
    every_statistic,
    in_phases,
    vast,
)

from equipoise.ops.normalize import columns, cpu, formulas, words
from equipoise.ops.normalize import plan as plans
from equipoise.ops.normalize.words import APPLY, SUMS
from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.loop import HEAD
from equipoise.ops.sweep.tasks import floats_of, words_of

LAST = "channels_last"
SIZES = {
    "one number a run": ((70, 9), "contiguous"),
    "one number an image": ((20, 40, 1, 1), "contiguous"),
    "one short row": ((2, 5, 1, 3), LAST),
    "a few rows": ((2, 5, 3, 7), LAST),
    "folded rows, the last one shorter": ((3, 37, 20, 22), LAST),
    "chunks with a tail": ((50, 5, 31, 13), LAST),
    "long runs": ((33, 64, 23, 23), LAST),
    "one channel": ((3000, 1), "contiguous"),
    "more channels than a tile is wide": ((2, plans.WIDTH + 100, 3, 3), LAST),
    "volumes": ((3, 6, 5, 7, 4), LAST),
    "two samples": ((2, 300), "contiguous"),
}
# for statistics of groups: short samples of one row, folded ones with a last, shorter row
GROUPED = {
    "samples of one row": ((5, 12, 3, 3), LAST),
    "folded samples with a short row": ((3, 12, 20, 23), LAST),
    "more channels than a row is wide": ((3, plans.WIDTH + 56, 3, 3), LAST),
    "one number a channel": ((6, 12), "contiguous"),
}


def plan_of(name):
    size, layout = SIZES[name]
    return plans.plan(size, layout == "contiguous")


def test_the_sizes_show_what_they_should():
    assert all(plan_of(name).family == "columns" for name in SIZES)
    _, numbers, width, channels, *_ = plan_of("folded rows, the last one shorter").shape
    assert channels < width < numbers
    assert numbers % width
    _, numbers, width, _, _, chunk, *_ = plan_of("chunks with a tail").shape
    assert -(-numbers // width) % chunk
    assert plan_of("chunks with a tail").chunks > 1
    assert plan_of("long runs").shape[5] >= columns.RUN
    _, numbers, width, *_ = plan_of("one short row").shape
    assert numbers < width
    samples, numbers, width, *_ = plans.plan(
        GROUPED["folded samples with a short row"][0], False, 3
    ).shape
    assert samples == 3
    assert numbers > width
    assert numbers % width


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


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", GROUPED)
def test_statistics_of_groups_and_without_a_mean(name, dtype):
    size, layout = GROUPED[name]
    for kind in every_statistic(size[1]):
        if len(size) == 2 and kind.get("groups") == size[1]:
            # a statistic of one number
            continue
        for options in every_activation(size):
            if not options.get("evaluation"):
                case = Case(size, dtype, layout, **options, **kind)
                check_forward(cpu, case)
                check_backward(cpu, case)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_groups_with_a_mean_far_from_zero(offset):
    for kind in ({"groups": 1}, {"groups": 4}, {"groups": 12}, {"groups": 4, "centred": 0}):
        case = Case((5, 12, 9, 9), layout=LAST, offset=offset, act=GELU, **kind)
        check_forward(cpu, case)
        check_backward(cpu, case)


@pytest.mark.parametrize("size", [(1000, 17, 8, 8), (40, 24, 40, 41), (17, 64, 33, 33)])
def test_large_tensors_with_samples_of_their_own(size):
    # rows within a sample need not begin where vectors do
    for groups in (1, size[1]):
        for act in (NONE, RELU):
            case = Case(size, layout=LAST, act=act, added=act == RELU, groups=groups)
            check_forward(cpu, case)
            check_backward(cpu, case)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_a_mean_far_from_zero(offset):
    for options in ({}, {"act": RELU}, {"act": GELU, "added": True}):
        for size, layout in (((3, 37, 20, 22), LAST), ((980, 40), "contiguous")):
            case = Case(size, layout=layout, offset=offset, **options)
            check_forward(cpu, case)
            check_backward(cpu, case)


def test_a_first_shift_far_from_the_mean_is_mended():
    for dtype in (torch.float32, torch.float64):
        check_forward(cpu, Case((1500, 600), dtype, strays=columns.FIRST))
        far = plans.WIDTH // 9 * columns.FIRST
        check_forward(cpu, Case((200, 9, 70, 7), dtype, LAST, strays=far))
        for samples in (2, 9):
            for groups in (1, 3):
                size = (samples, 9, 200, 100)
                check_forward(cpu, Case(size, dtype, LAST, strays=far, groups=groups))


def test_the_gradient_of_what_was_added_only_where_it_is_wanted():
    case = Case((3, 37, 20, 22), layout=LAST, act=RELU, added=True)
    check_backward(cpu, case, want_other=False)
    check_backward(cpu, Case((3, 37, 20, 22), layout=LAST), want_other=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_phases_at_once_or_one_after_the_other_give_the_same_bits(dtype, monkeypatch):
    size, layout = SIZES["folded rows, the last one shorter"]
    for act in (RELU, GELU):
        case = Case(size, dtype, layout, act=act, added=act == GELU)
        found = []
        for phases in ((SUMS | APPLY,), (SUMS, APPLY)):
            with in_phases(cpu, monkeypatch, phases):
                found.append(every_result(cpu, case))
        assert_same_bits(*found)


@pytest.mark.parametrize(
    "name", ["chunks with a tail", "long runs", "folded rows, the last one shorter"]
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
    rows, width, channels, inner = 2**11 + 1, 2**20, 2**20, 2**4
    x, y = vast(rows, width), vast(rows, width)
    bits = torch.randn(rows, inner).bfloat16()
    bits[-1] += 100
    x[:, :inner] = bits.view(torch.uint16).numpy()
    stats, ones = np.zeros((4, channels)), np.ones(channels, np.float32)
    shape = (1, rows * width, width, channels, inner, rows, 1, 1)
    integers = np.zeros(words.SHAPE - HEAD + len(shape), np.int64)
    sweeps = (formulas.first(0), formulas.moments(0), formulas.output(0, None, 0.0, False))
    first, moments, output = (compiled.address(s, torch.bfloat16) for s in sweeps)
    given = {
        words.ITEM: 2, words.CHANNELS: channels, words.TRAINING: 1, words.X: x.ctypes.data,
        words.OTHER: x.ctypes.data, words.Y: y.ctypes.data, words.WEIGHT: ones.ctypes.data,
        words.BIAS: ones.ctypes.data, words.STATS: stats.ctypes.data, words.FIRST_SWEEP: first,
        words.MOMENTS_SWEEP: moments, words.OUTPUT_SWEEP: output,
    }  # fmt: skip
    for place, value in given.items():
        integers[place - HEAD] = value
    integers[words.SHAPE - HEAD :] = shape
    scratch = 2 * channels + 3 * width
    told = words_of(((SUMS | APPLY, 1),), scratch, integers)
    cpu.KERNELS["columns", "forward"](0, torch.float32, told, floats_of(0.0))
    found = torch.from_numpy(y[:, :inner].copy()).view(torch.bfloat16).double()
    assert x.size > 2**31
    # each column is a channel of its own
    wide = bits.double()
    expected = (wide - wide.mean(0)) / wide.std(0, correction=0) + 1
    assert (found - expected).abs().max() <= 2**-8 * expected.abs().max()
