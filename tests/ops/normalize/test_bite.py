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
    GRADIENT,
    ROWS_BACKWARD,
    ROWS_FORWARD,
    RUNNING,
    STATISTICS,
)
from normalize_cases import (
    CODES,
    GELU,
    RELU,
    Case,
    activate,
    check_backward,
    check_forward,
)
from plain_python import plain, run_sources
from tolerances import ELEMENTWISE

from equipoise.ops.normalize import activations, columns, rows, running

FAILURES = (AssertionError, IndexError, KeyError, ValueError, ZeroDivisionError)

GROUPS, PIECES = (3, 17, 9), (2, 3, 45)
TILES, FOLDED, IMAGE = (5, 7, 4), (79, 5), (9, 3, 6, 5)


def options(forward):
    """Give the options of a case, the most telling first."""
    yield {}
    yield {"offset": 1e6}
    yield {"act": RELU}
    yield {"act": RELU, "added": True}
    yield {"act": GELU, "added": True}
    yield {"evaluation": True}
    if not forward:
        yield {"act": RELU, "added": True, "from_output": True}
        yield {"act": RELU, "evaluation": True}


def cases(sizes, forward):
    for size, layout in sizes:
        for option in options(forward):
            yield Case(size, layout=layout, **option)


ROWS = [(GROUPS, "contiguous"), (PIECES, "contiguous")]
COLUMNS = [(TILES, "contiguous"), (FOLDED, "contiguous"), (IMAGE, "channels_last")]


def check(family, direction, kernels):
    """Raise where the kernel is wrong."""
    sizes = ROWS if family is rows else COLUMNS
    with np.errstate(all="ignore"):
        for case in cases(sizes, direction == "forward"):
            (check_forward if direction == "forward" else check_backward)(kernels, case)
        if direction == "forward":
            far = (PIECES, "contiguous") if family is rows else (IMAGE, "channels_last")
            check_forward(kernels, Case(far[0], layout=far[1], strays=4))


KERNELS = {
    "rows_forward": (rows, "forward", STATISTICS | AFFINE | ROWS_FORWARD),
    "rows_backward": (rows, "backward", GRADIENT | ROWS_BACKWARD),
    "columns_forward": (columns, "forward", STATISTICS | AFFINE | COLUMNS_FORWARD),
    "columns_backward": (columns, "backward", GRADIENT | COLUMNS_BACKWARD),
}


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_unbroken_sources_pass(kernel, split):
    family, direction, _ = KERNELS[kernel]
    check(family, direction, plain(split=split))


def test_the_small_tensors_have_all_parts():
    # else a break could hide
    plan = plain().plan
    rows_group, rows_pieces = plan(GROUPS, True), plan(PIECES, True)
    assert rows_group.shape[7] > 1
    assert GROUPS[1] % rows_group.shape[7]
    assert rows_group.chunks > 1
    assert rows_pieces.shape[5] < PIECES[2]
    assert PIECES[2] % rows_pieces.shape[5]
    tiles, folded = plan(TILES, True), plan(FOLDED, True)
    assert tiles.groups > 1
    assert tiles.shape[1] % tiles.shape[4]
    assert folded.chunks > 1
    assert folded.shape[0] % folded.shape[1]
    assert folded.shape[1] > FOLDED[1]


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
def activated(dtype, code):
    """Give points, upstream gradients, and what torch makes of them in float64."""
    z = torch.tensor(POINTS, dtype=torch.float64).to(dtype)
    g = torch.linspace(-2, 3, len(POINTS), dtype=torch.float64).to(dtype)
    wide = z.detach().clone().double().requires_grad_()
    y = activate(wide, code)
    (gradient,) = torch.autograd.grad(y, wide, g.double())
    return z.numpy(), g.numpy(), y.detach(), gradient


def check_activations(kernels):
    """Raise where an activation or its derivative is wrong."""
    for dtype in (torch.float32, torch.float64):
        bound = ELEMENTWISE[dtype].bound
        for code in CODES:
            z, g, y, gradient = activated(dtype, code)
            found, derived = z.copy(), g.copy()
            kernels.activate(found, code, 0.2)
            kernels.gate(z, derived, code, 0.2)
            for a, b in ((found, y), (derived, gradient)):
                a = torch.from_numpy(a).double()
                near = (a - b).abs() <= bound * (1 + b.abs().nan_to_num(posinf=0))
                same = (a == b) | (a.isnan() & b.isnan())
                assert (near | same).all()


def test_the_unbroken_activations_pass():
    with np.errstate(all="ignore"):
        check_activations(run_sources([activations])[0])


@pytest.mark.parametrize("broken", ACTIVATIONS)
def test_a_broken_activation_is_caught(broken):
    kernels = run_sources([activations], ACTIVATIONS[broken])[0]
    with np.errstate(all="ignore"), pytest.raises((*FAILURES, OverflowError)):
        check_activations(kernels)


def check_running(kernels):
    """Raise where the running buffers are wrong."""
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    stats = np.stack([x.mean(0).numpy(), x.var(0, unbiased=False).numpy()])
    expected = [torch.linspace(-1, 1, 5).double(), torch.linspace(1, 2, 5).double()]
    found = [t.numpy().copy() for t in expected]
    for momentum in (0.1, 1.0, 0.0, 0.25):
        torch.nn.functional.batch_norm(x, *expected, training=True, momentum=momentum)
        kernels.update_running(*found, stats, momentum, 7.0)
        for a, b in zip(found, expected, strict=True):
            assert np.allclose(a, b, rtol=1e-14, atol=1e-15)


def test_the_unbroken_update_passes():
    check_running(run_sources([running])[0])


@pytest.mark.parametrize("broken", RUNNING)
def test_a_broken_update_is_caught(broken):
    with pytest.raises(AssertionError):
        check_running(run_sources([running], RUNNING[broken])[0])
