"""Each kernel of ``normalize`` broken on purpose: what the compiled ones pass must fail."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from breaks import (
    ACTIVATIONS,
    AFFINE,
    COLUMNS_BACKWARD,
    COLUMNS_FORWARD,
    COLUMNS_MOVES,
    FORMULA_BACKWARD,
    FORMULA_FORWARD,
    GRADIENT,
    ROUNDING,
    ROWS_BACKWARD,
    ROWS_FORWARD,
    ROWS_MOVES,
    RUNNING,
    STATISTICS,
)
from normalize_cases import (
    GELU,
    NAMES,
    RELU,
    SLOPE,
    Case,
    activate,
    check_backward,
    check_forward,
    check_moves,
    check_rounded,
)
from plain_python import SMALL, plain
from tolerances import ELEMENTWISE, assert_near
from tolerances import RUNNING as RUNNING_BUFFERS

FAILURES = (
    AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError,
)  # fmt: skip

GROUPS, PIECES = (3, 17, 9), (2, 3, 45)
FOLDED, IMAGE, SAMPLES = (251, 5), (9, 3, 6, 5), (4, 6, 5, 5)


def options(forward, channels):
    """Give the options of a case, the most telling first."""
    yield {}
    yield {"offset": 1e6}
    yield {"act": RELU}
    yield {"act": RELU, "added": True}
    yield {"act": GELU, "added": True}
    yield {"evaluation": True}
    for groups in {1, channels // 3 if channels % 3 == 0 else channels}:
        yield {"groups": groups, "offset": 1e4}
        yield {"groups": groups, "centred": 0}
    yield {"centred": 0, "act": GELU}
    if not forward:
        yield {"act": RELU, "added": True, "from_output": True}
        yield {"act": RELU, "evaluation": True}


def cases(sizes, forward):
    for size, layout in sizes:
        for option in options(forward, size[1]):
            if len(size) > 2 or option.get("groups", 0) < size[1]:
                yield Case(size, layout=layout, **option)


SIZES = {
    "rows": [(GROUPS, "contiguous"), (PIECES, "contiguous")],
    "columns": [
        (FOLDED, "contiguous"), (IMAGE, "channels_last"), (SAMPLES, "channels_last"),
    ],
}  # fmt: skip


def check(family, direction, kernels):
    """Raise where the kernel is wrong."""
    with np.errstate(all="ignore"):
        for case in cases(SIZES[family], direction == "forward"):
            (check_forward if direction == "forward" else check_backward)(kernels, case)
        if direction == "forward":
            far = (PIECES, "contiguous") if family == "rows" else (IMAGE, "channels_last")
            check_forward(kernels, Case(far[0], layout=far[1], strays=4))


FORWARD = STATISTICS | AFFINE | FORMULA_FORWARD
BACKWARD = GRADIENT | FORMULA_BACKWARD
KERNELS = {
    "rows_forward": ("rows", "forward", FORWARD | ROWS_FORWARD),
    "rows_backward": ("rows", "backward", BACKWARD | ROWS_BACKWARD),
    "columns_forward": ("columns", "forward", FORWARD | COLUMNS_FORWARD),
    "columns_backward": ("columns", "backward", BACKWARD | COLUMNS_BACKWARD),
}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_unbroken_sources_pass(kernel, split):
    family, direction, _ = KERNELS[kernel]
    check(family, direction, plain(split=split))


def test_the_small_tensors_have_all_parts():
    # else a break could hide
    plan = plain().plan
    group, pieces = plan(GROUPS, True), plan(PIECES, True)
    assert group.shape[7] > 1
    assert GROUPS[1] % group.shape[7]
    assert group.chunks > 1
    assert pieces.shape[5] < PIECES[2]
    assert PIECES[2] % pieces.shape[5]
    folded, image, samples = plan(FOLDED, True), plan(IMAGE, False), plan(SAMPLES, False, 2)
    assert folded.chunks > 1
    # several runs of rows a chunk
    assert folded.shape[5] > SMALL["words"]["RUN"]
    assert folded.shape[1] % folded.shape[2]
    assert folded.shape[2] > FOLDED[1]
    assert image.shape[2] % IMAGE[1] == 0
    assert samples.groups > 1
    assert 1 < samples.shape[6] < SAMPLES[1]


@pytest.mark.parametrize(
    "kernel, broken", [(k, b) for k, (_, _, breaks) in KERNELS.items() for b in breaks]
)
def test_a_broken_kernel_is_caught(kernel, broken):
    family, direction, breaks = KERNELS[kernel]
    kernels = plain(breaks[broken], family=family)
    with pytest.raises(FAILURES):
        check(family, direction, kernels)


# where the activations bend, saturate and overflow, and what is no number
POINTS = (-200, -90, -30, -8, -4.5, -3, -1, -0.3, -1e-3, 0, 1e-3, 0.3, 1, 3, 4.5, 8, 30, 90, 200)
POINTS += (-math.inf, math.inf, math.nan)


@cache
def activated(dtype, name):
    """Give points, upstream gradients, and what torch makes of them in float64."""
    z = torch.tensor(POINTS, dtype=torch.float64).to(dtype)
    g = torch.linspace(-2, 3, len(POINTS), dtype=torch.float64).to(dtype)
    wide = z.detach().clone().double().requires_grad_()
    y = activate(wide, name)
    (gradient,) = torch.autograd.grad(y, wide, g.double())
    return z.numpy(), g.numpy(), y.detach(), gradient


def check_activations(activations):
    """Raise where an activation or its derivative is wrong."""
    for dtype in (torch.float32, torch.float64):
        bound = ELEMENTWISE[dtype].bound
        for name in NAMES:
            z, g, y, gradient = activated(dtype, name)
            found = activations.activate(z, name, SLOPE)
            derived = activations.gate(g, z, name, SLOPE)
            for a, b in ((found, y), (derived, gradient)):
                assert a.dtype == z.dtype
                a = torch.from_numpy(a).double()
                near = (a - b).abs() <= bound * (1 + b.abs().nan_to_num(posinf=0))
                same = (a == b) | (a.isnan() & b.isnan())
                assert (near | same).all(), name


def test_the_unbroken_activations_pass():
    with np.errstate(all="ignore"):
        check_activations(plain().activations)


@pytest.mark.parametrize("broken", ACTIVATIONS)
def test_a_broken_activation_is_caught(broken):
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        check_activations(plain(ACTIVATIONS[broken]).activations)


def check_running(kernels):
    """Raise where the running buffers are wrong."""
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    stats = torch.stack([x.mean(0), x.var(0, unbiased=False)])
    wanted = [torch.linspace(-1, 1, 5).double(), torch.linspace(1, 2, 5).double()]
    found = [t.float() for t in wanted]
    for momentum in (0.1, 1.0, 0.0, 0.25):
        torch.nn.functional.batch_norm(x, *wanted, training=True, momentum=momentum)
        kernels.running(*found, stats, momentum, 7)
        for a, b in zip(found, wanted, strict=True):
            assert_near(a, b, RUNNING_BUFFERS[torch.float32])


BESIDES = {
    "rows_forward": ("rows", ROWS_MOVES),
    "columns_forward": ("columns", COLUMNS_MOVES),
    "rows_backward": ("rows", ROUNDING),
    "columns_backward": ("columns", ROUNDING),
}


def check_besides(kernel, kernels):
    """Raise where a training step's kernel does wrong what it does besides."""
    for size, layout in SIZES[BESIDES[kernel][0]][:2]:
        if kernel.endswith("backward"):
            check_rounded(kernels.backward, Case(size, layout=layout))
            continue
        for strays in (0, 4):
            case = Case(size, layout=layout, strays=strays)
            check_moves(kernels.forward, kernels.names, case, kernels.memory.add)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("kernel", BESIDES)
def test_unbroken_kernels_move_and_round(kernel, split):
    check_besides(kernel, plain(split=split))


@pytest.mark.parametrize("kernel, broken", [(k, b) for k, v in BESIDES.items() for b in v[1]])
def test_broken_moves_and_rounding_are_caught(kernel, broken):
    family, breaks = BESIDES[kernel]
    with np.errstate(all="ignore"), pytest.raises(FAILURES):
        check_besides(kernel, plain(breaks[broken], family=family))


def test_the_unbroken_update_passes():
    check_running(plain())


@pytest.mark.parametrize("broken", RUNNING)
def test_a_broken_update_is_caught(broken):
    with pytest.raises(AssertionError):
        check_running(plain(RUNNING[broken]))
