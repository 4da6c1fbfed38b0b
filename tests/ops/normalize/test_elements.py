"""The kernels of LayerNorm and RMSNorm: compiled against float64, and broken on purpose."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_python import NORMALIZE, SMALL, Sources, _registered

from equipoise.ops import jit
from equipoise.ops.normalize import cpu_elements

ACTIVATIONS = {
    None: lambda t: t, "relu": F.relu, "leaky_relu": F.leaky_relu, "silu": F.silu, "gelu": F.gelu,
}  # fmt: skip
# relative error of the norm of each result: a few roundings of the type
BOUNDS = {
    torch.float32: 2e-6, torch.float64: 1e-14, torch.bfloat16: 1.2e-2, torch.float16: 1.5e-3,
}  # fmt: skip
# rows x width: tails of vectors, several blocks, several chunks, rows longer than a run of sums
SIZES = [(1, 3), (5, 7), (100, 64), (33, 100), (700, 768), (9, 5000), (300, 6)]


def data(rows, width, dtype, offset=0.5):
    make = torch.Generator().manual_seed(rows * 1000 + width)
    x, r, g, p = (torch.randn(rows, width, generator=make).to(dtype) for _ in range(4))
    w, b = (torch.randn(width, generator=make) for _ in range(2))
    return x + offset, r, w, b, g, p


def across(tensor, samples):
    """Give rows (samples * places, width) as (samples, places, width) that lie across memory."""
    tensor = tensor.view(samples, -1, tensor.shape[-1])
    return tensor.movedim(-1, 1).contiguous().movedim(1, -1)


def check(
    kernels, size, dtype, *, activation=None, residual=False, affine=True, centred=True,
    offset=0.5, samples=0,
):  # fmt: skip
    """Raise where y, the sum or a gradient is off; with ``samples`` rows lie across memory."""
    x, r, w, b, g, p = data(*size, dtype, offset)
    if samples:
        x, r, g, p = (across(t, samples) for t in (x, r, g, p))
    r, p = (r, p) if residual else (None, None)
    w, b = w if affine else None, b if affine and centred else None
    width = size[1]
    y, total, stats = kernels.forward(x, r, w, b, activation, 0.01, 1e-5, width, int(centred))
    call = (g, p, total, stats, w, b, activation, 0.01, width, int(centred))
    dx, (db, dw) = kernels.backward(*call)
    assert y.stride() == total.stride() == dx.stride() == x.stride()
    wide = [t if t is None else t.double().requires_grad_() for t in (x, w, b)]
    s = wide[0] if r is None else wide[0] + r.double()
    norm = (
        F.layer_norm(s, (width,), wide[1], wide[2], 1e-5)
        if centred
        else F.rms_norm(s, (width,), wide[1], 1e-5)
    )
    wanted = ACTIVATIONS[activation](norm)
    outputs = (wanted * g.double()).sum() + (0 if p is None else (s * p.double()).sum())
    outputs.backward()
    pairs = [(y, wanted.detach()), (total, s.detach()), (dx, wide[0].grad)]
    pairs += [(a, t.grad) for a, t in ((dw, wide[1]), (db, wide[2])) if t is not None]
    for found, exact in pairs:
        scale = exact.norm() + 1e-2 * exact.numel() ** 0.5
        error = (found.double() - exact).norm() / scale
        assert error <= BOUNDS[dtype], (size, dtype, activation, residual, affine, centred, error)


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_against_float64(size, dtype):
    for centred in (True, False):
        check(cpu_elements, size, dtype, centred=centred)
        check(cpu_elements, size, dtype, centred=centred, residual=True, activation="gelu")
        check(cpu_elements, size, dtype, centred=centred, affine=False, activation="silu")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    for residual in (False, True):
        options = {"activation": activation, "residual": residual}
        check(cpu_elements, (40, 90), torch.float64, **options)
        check(cpu_elements, (40, 90), torch.float64, samples=2, **options)


# samples x places x width: tails of vectors, several tiles, several chunks, runs of channels
ACROSS = [(1, 2, 3), (3, 5, 7), (2, 100, 64), (2, 49, 300), (9, 333, 96), (70, 65, 5)]


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("size", ACROSS)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_rows_across_memory_against_float64(size, dtype):
    samples, places, width = size
    for options in ({}, {"residual": True, "activation": "gelu"}, {"affine": False}):
        check(cpu_elements, (samples * places, width), dtype, samples=samples, **options)
        options = {**options, "centred": False}
        check(cpu_elements, (samples * places, width), dtype, samples=samples, **options)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_a_mean_far_from_zero(offset):
    check(cpu_elements, (64, 384), torch.float32, offset=offset)
    check(cpu_elements, (64, 384), torch.float32, offset=offset, samples=2)


def test_digits_that_were_lost_are_taken_again():
    # the first numbers of each row say nothing of the rest
    x = torch.randn(20, 1000)
    x[:, 300:] += 1e5
    y, _, _ = cpu_elements.forward(x, None, None, None, None, 0.0, 1e-5, 1000, 1)
    exact = F.layer_norm(x.double(), (1000,))
    assert (y - exact).norm() / exact.norm() < 2e-6
    y, _, _ = cpu_elements.forward(across(x, 2), None, None, None, None, 0.0, 1e-5, 1000, 1)
    assert (y.reshape(20, 1000) - exact).norm() / exact.norm() < 2e-6


@pytest.mark.usefixtures("nan_filled")
def test_large_rows_past_the_caches():
    for dtype in (torch.float32, torch.bfloat16):
        check(cpu_elements, (700, 2048), dtype, residual=True)
        check(cpu_elements, (2 * 512, 1024), dtype, residual=True, samples=2)


@pytest.mark.parametrize("samples", [0, 3])
def test_the_same_bits_at_any_thread_count(samples, monkeypatch):
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(jit, "threads", lambda threads=threads: threads)
        x, r, w, b, g, p = data(3000, 257, torch.float32)
        if samples:
            x, r, g, p = (across(t, samples) for t in (x, r, g, p))
        y, total, stats = cpu_elements.forward(x, r, w, b, "relu", 0.0, 1e-5, 257, 1)
        found.append((y, stats[:3], *cpu_elements.backward(
            g, p, total, stats, w, b, "relu", 0.0, 257, 1
        )))  # fmt: skip
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


BREAKS = {
    "elements": {
        "a row short of its chunk": {"min(shape[0], (t + 1) * shape[3])": "(t + 1) * shape[3]"},
        "a block short": {"n = min(block, end - r0)": "n = min(block - 1, end - r0)"},
        "sums of the rows before": {"            totals[0, k] = 0.0": "            pass"},
        "the shift not the sweep's": {"mine[0, k] = coef[0, k]": "mine[0, k] = 0.0"},
        "the next row's statistics": {
            "copy_columns(mine, 0, stats, r0, n)": "copy_columns(mine, 1, stats, r0, n)"
        },
        "another block's statistics": {
            "copy_columns(stats, r0, mine, 0, n)": "copy_columns(stats, 0, mine, 0, n)"
        },
        "sums never flushed": {"_flush(own, t, partial)\n": "pass\n"},
        "a run kept": {"            own[j, k] = 0\n": "            pass\n"},
        "always from g": {"gated if i[REUSED] else g": "g"},
    },
    "positions": {
        "the next position's statistics": {
            "copy_columns(mine, 0, stats, line, n)": "copy_columns(mine, 1, stats, line, n)"
        },
        "another tile's statistics": {
            "copy_columns(stats, line, mine, 0, n)": "copy_columns(stats, 0, mine, 0, n)"
        },
        "a tile short of its chunk": {
            "min(shape[0] * _tiles(shape), (t + 1) * shape[4])": "(t + 1) * shape[4]"
        },
        "a tile short": {"return min(block, places - p0),": "return min(block - 1, places - p0),"},
        "the first sample's numbers": {"sample * shape[1] * places + p0": "p0"},
        "the first sample's statistics": {"sample * places + p0\n": "p0\n"},
        "sums of the positions before": {"            totals[0, j, k] = 0.0": "            pass"},
        "the shift not the sweep's": {"mine[0, k] = coef[0, k]": "mine[0, k] = 0.0"},
        "a run kept": {"            own[j, k] = 0\n": "            pass\n"},
        "one run of channels": {"range(0, width, RUN)": "range(0, min(width, RUN), RUN)"},
        "the first weights": {"i[WEIGHT] + past, i[BIAS] + past": "i[WEIGHT], i[BIAS]"},
        "always from g": {"i[GATED] if i[REUSED] else i[G]": "i[G]"},
    },
    "statistics": {
        "the rest of the mean dropped": {"totals[1, k] - rest * totals[0, k]": "totals[1, k]"},
        "unbiased": {"* moment / width": "* moment / (width - 1)"},
        "the mean's term dropped": {"-invstd * totals[0, k] * centred / width": "0.0"},
        "centred where it is not": {"totals[0, k] * centred / width": "totals[0, k] / width"},
        "chunks not merged": {"    merge_chunks(partial, 0, width)\n": ""},
    },
    "formulas": {
        "the sum not summed": {"x = v.x + v.other if added else v.x": "x = v.x"},
        "no weight": {"z = z * v.weight if weighted else z": "z = z"},
        "no bias": {"return z + v.bias if biased else z": "return z"},
        "the gradient without its weight": {
            "return g, g * v.weight if weighted else g": "return g, g"
        },
        "nothing passed": {"dx + v.other if passed else dx": "dx"},
        "the weight's gradient not normalized": {'"dweight": g * xhat': '"dweight": g'},
    },
}  # fmt: skip
NAMES = [(module, name) for module, breaks in BREAKS.items() for name in breaks]


def plain(edits=None, edited=()):
    sources = Sources(edits, edited)
    kernels = sources.normalize("cpu_elements")
    kernels.forward = _registered(sources.memory, kernels.forward)
    kernels.backward = _registered(sources.memory, kernels.backward)
    return kernels


def check_all(kernels):
    for options in (
        {}, {"residual": True}, {"activation": "gelu", "residual": True}, {"centred": False},
        {"offset": 1e4}, {"affine": False, "activation": "relu"},
    ):  # fmt: skip
        check(kernels, (37, 6), torch.float32, **options)
        check(kernels, (3 * 13, 6), torch.float32, samples=3, **options)


def test_the_unbroken_sources_pass():
    assert SMALL["elements"]["RUN"] < 37
    assert SMALL["positions"]["RUN"] < 6
    kernels = plain()
    rows, _, block, chunk, _ = kernels.plan(37, 6, 1).shape
    assert 1 < block < chunk < rows
    assert rows % chunk
    samples, _, places, block, chunk, _ = kernels.plan_across(3, 6, 13, 1).shape
    assert 1 < block < places
    assert places % block
    assert 1 < chunk < samples * -(-places // block)
    with np.errstate(all="ignore"):
        check_all(kernels)


@pytest.mark.parametrize("module, name", NAMES)
def test_a_broken_kernel_is_caught(module, name):
    kernels = plain(BREAKS[module][name], (module,))
    with np.errstate(all="ignore"), pytest.raises(Exception):  # noqa: B017
        check_all(kernels)


def test_every_break_is_of_this_source():
    for module, breaks in BREAKS.items():
        source = __import__(f"{NORMALIZE}.{module}", fromlist=["_"])
        text = Path(source.__file__).read_text()
        assert all(old in text for edits in breaks.values() for old in edits)
