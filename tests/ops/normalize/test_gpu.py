"""The GPU's kernels: on a GPU where there is one, else in Triton's interpreter on the CPU.

Without a GPU ``test_gpu_interpreted`` runs this file in a process of its own, for Triton decides
when it is imported.
"""

import gpu_breaks
import numpy as np
import pytest
import torch
from normalize_cases import (
    EPS,
    GELU,
    RELU,
    SLOPE,
    Case,
    assert_same_bits,
    check_backward,
    check_forward,
    every_activation,
    every_result,
    every_statistic,
    problem,
)
from test_elements import ACTIVATIONS, check
from tolerances import FLOAT32, HALF_FLOOR, HALF_TWICE, INTERPRETED, RUNNING, assert_near
from torch.nn import functional as F

from equipoise.ops.normalize import gpu, gpu_elements

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CL = "channels_last"
# size, layout -> more than one tile each way, none of them full
SIZES = [((2, 6, 18), "contiguous"), ((2, 6, 5, 3), CL)]
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class OnDevice:
    """Calls of a host module, from CPU tensors to CPU tensors by way of the device."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        function = getattr(self.module, name)

        def call(*args):
            found = function(*(a.to(DEVICE) if torch.is_tensor(a) else a for a in args))
            return tuple(t if t is None else t.cpu() for t in found)

        return call


def small_tiles(channels=gpu, rows=gpu_elements, on_chip=False, whole_rows=False):
    """Shrink tiles so that small tensors have many."""
    channels.TILE, channels.CHANNELS, channels.PROGRAMS = 256, 4, 2
    channels.SUMMARIES, channels.MERGED = 2, 4
    if not on_chip:
        channels.WHOLE_FORWARD = channels.WHOLE_BACKWARD = 0
    rows.TILE, rows.BLOCK = 512, 64
    if not whole_rows:
        rows.WHOLE_FORWARD = rows.WHOLE_BACKWARD = 0


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch):
    """Let NumPy compute what is masked, and bfloat16 be cut off where a GPU rounds."""
    if DEVICE == "cpu":
        monkeypatch.setitem(HALF_FLOOR, torch.bfloat16, INTERPRETED)
        monkeypatch.setitem(HALF_TWICE, torch.bfloat16, INTERPRETED)
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=["on chip", "in columns"])
def family(request, monkeypatch):
    for name in (
        "TILE", "CHANNELS", "PROGRAMS", "SUMMARIES", "MERGED", "WHOLE_FORWARD", "WHOLE_BACKWARD",
    ):  # fmt: skip
        monkeypatch.setattr(gpu, name, getattr(gpu, name))
    small_tiles(on_chip=request.param == "on chip")


@pytest.fixture(params=["whole rows", "long rows"])
def blocks(request, monkeypatch):
    for name in ("TILE", "BLOCK", "WHOLE_FORWARD", "WHOLE_BACKWARD"):
        monkeypatch.setattr(gpu_elements, name, getattr(gpu_elements, name))
    small_tiles(whole_rows=request.param == "whole rows")


def both(case):
    check_forward(OnDevice(gpu), case)
    check_backward(OnDevice(gpu), case)


@pytest.mark.usefixtures("family", "nan_filled")
@pytest.mark.parametrize("size, layout", SIZES)
def test_every_activation(size, layout, request):
    groups = 2 * request.node.name.count("on chip")
    # the interpreter is slow: half of them in either layout, the other half on chip
    first = (layout == CL) ^ (groups > 0)
    for options in list(every_activation())[first::2]:
        own = {} if options.get("evaluation") else {"groups": groups}
        both(Case(size, layout=layout, **own, **options))


@pytest.mark.usefixtures("family", "nan_filled")
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type(dtype):
    for (size, layout), groups in zip(SIZES, (0, 3), strict=True):
        both(Case(size, dtype, layout=layout, groups=groups, act=RELU, added=True))


@pytest.mark.usefixtures("family", "nan_filled")
@pytest.mark.parametrize("size, layout", SIZES)
def test_every_statistic_far_from_zero(size, layout):
    offsets = (1e6, 1e4, 1e2)
    for k, kind in enumerate(({}, *every_statistic(size[1]))):
        if k % 2 == 0 or layout == CL:
            both(Case(size, layout=layout, offset=offsets[k % 3], **kind))


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("size", [(2, 3, 2), (19, 5), (1, 1, 2)])
def test_the_smallest_sizes(size):
    both(Case(size, act=GELU))
    both(Case(size, groups=1))


@pytest.mark.usefixtures("nan_filled")
@pytest.mark.parametrize("layout", ["contiguous", CL])
def test_tiles_as_they_are(layout):
    for groups in (0, 2, 70):
        both(Case((2, 70, 9, 3), layout=layout, groups=groups, act=RELU, added=True))


@pytest.mark.usefixtures("family")
def test_numbers_that_stand_far_off():
    # the first tile says nothing of the rest
    for groups in (0, 1):
        case = Case((1, 2, 130), strays=17, groups=groups)
        p = problem(case)
        y, _ = OnDevice(gpu).forward(p.x, p.weight, p.bias, None, None, None, SLOPE, EPS, groups, 1)
        assert_near(y, p.y, FLOAT32)


@pytest.mark.usefixtures("family")
def test_the_same_bits_again():
    for groups in (0, 2):
        case = Case((3, 6, 9), act=GELU, added=True, groups=groups)
        assert_same_bits(every_result(OnDevice(gpu), case), every_result(OnDevice(gpu), case))


@pytest.mark.parametrize("dtype", RUNNING)
def test_running_buffers(dtype):
    x = torch.randn(9, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stats = torch.stack([x.mean((0, 2)), x.var((0, 2), unbiased=False)])
    wanted = [torch.linspace(-1, 1, 6).double(), torch.linspace(1, 2, 6).double()]
    found = [t.to(DEVICE, dtype) for t in wanted]
    F.batch_norm(x, *wanted, training=True, momentum=0.3)
    versions = [t._version for t in found]
    gpu.running(*found, stats.to(DEVICE), 0.3, 36)
    for a, b, version in zip(found, wanted, versions, strict=True):
        assert_near(a.cpu(), b, RUNNING[dtype])
        assert a._version > version


@pytest.mark.usefixtures("blocks", "nan_filled")
@pytest.mark.parametrize("dtype", TYPES)
def test_rows(dtype):
    size = (3, 50) if dtype in (torch.float32, torch.bfloat16) else (9, 18)
    rows = OnDevice(gpu_elements)
    check(rows, size, dtype, centred=False, residual=True, activation="gelu")
    check(rows, size, dtype, affine=False, residual=True, activation="silu", samples=size[0] % 4)


def test_rows_of_one_number():
    x, b = torch.randn(3, 1), torch.randn(1)
    y, _, stats = OnDevice(gpu_elements).forward(x, None, None, b, None, 0.0, 1e-5, 1, 1)
    dx, (dbias, dweight) = OnDevice(gpu_elements).backward(
        x, None, x, stats, None, b, None, 0.0, 1, 1
    )
    assert torch.equal(y, b.expand(3, 1))
    assert not dx.any()
    assert not dweight.any()
    assert_near(dbias, x.double().sum(0), FLOAT32)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_with_every_activation(activation):
    for either in (False, True):
        check(
            OnDevice(gpu_elements), (4, 21), torch.float64, activation=activation,
            residual=either, centred=not either,
        )  # fmt: skip


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("offset", [1e2, 1e6])
def test_rows_far_from_zero(offset):
    check(OnDevice(gpu_elements), (3, 84), torch.float32, offset=offset)
    check(OnDevice(gpu_elements), (6, 21), torch.float32, offset=offset, samples=2)


@pytest.mark.usefixtures("blocks")
def test_the_same_bits_of_rows_again():
    x, w = torch.randn(5, 20).to(DEVICE), torch.randn(20).to(DEVICE)
    found = []
    for _ in range(2):
        y, total, stats = gpu_elements.forward(x, x, w, w, "relu", 0.0, 1e-5, 20, 1)
        found.append((y, *gpu_elements.backward(x, y, total, stats, w, w, "relu", 0.0, 20, 1)))
    assert_same_bits(*found)


# the most telling first
def check_channels(kernels):
    small_tiles(channels=kernels.gpu)
    for on_chip in (True, False):
        if on_chip:
            kernels.gpu.WHOLE_FORWARD = kernels.gpu.WHOLE_BACKWARD = 1 << 15
        else:
            kernels.gpu.WHOLE_FORWARD = kernels.gpu.WHOLE_BACKWARD = 0
        for options in (
            {"groups": 2, "act": GELU, "added": True, "offset": 100.0}, {"groups": 3, "centred": 0},
            {"offset": 1e6}, {"groups": 2, "offset": 1e6}, {"groups": 6},
            {"act": RELU, "added": True, "from_output": True}, {"evaluation": True},
            {"act": RELU},
        ):  # fmt: skip
            few = 2 if options.get("groups") else 5
            for size, layout in (((few, 6, 10), "contiguous"), ((2, 6, 5, 3), CL)):
                if not on_chip or options.get("groups"):
                    case = Case(size, layout=layout, **options)
                    check_forward(OnDevice(kernels.gpu), case)
                    check_backward(OnDevice(kernels.gpu), case)


def check_rows(kernels):
    for whole in (True, False):
        if whole:
            kernels.gpu_elements.TILE = 512
        else:
            small_tiles(kernels.gpu, kernels.gpu_elements)
        for options in (
            {"residual": True, "activation": "gelu"}, {"offset": 1e6}, {"centred": False},
            {"samples": 2},
        ):  # fmt: skip
            check(OnDevice(kernels.gpu_elements), (12, 21), torch.float32, **options)


@pytest.mark.slow
def test_the_unbroken_sources_pass(tmp_path):
    kernels = gpu_breaks.load(tmp_path)
    check_channels(kernels)
    check_rows(kernels)


def named(breaks):
    return [(module, name) for module, edits in breaks.items() for name in edits]


@pytest.mark.slow
@pytest.mark.parametrize("module, name", named(gpu_breaks.CHANNELS))
def test_broken_kernels_of_channels_are_caught(module, name, tmp_path):
    kernels = gpu_breaks.load(tmp_path, module, gpu_breaks.CHANNELS[module][name])
    with pytest.raises(Exception):  # noqa: B017
        check_channels(kernels)


@pytest.mark.slow
@pytest.mark.parametrize("module, name", named(gpu_breaks.ROWS))
def test_broken_kernels_of_rows_are_caught(module, name, tmp_path):
    kernels = gpu_breaks.load(tmp_path, module, gpu_breaks.ROWS[module][name])
    with pytest.raises(Exception):  # noqa: B017
        check_rows(kernels)
