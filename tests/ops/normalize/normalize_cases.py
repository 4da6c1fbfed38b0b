"""Inputs, the float64 oracle and the checks that the compiled and the broken kernels share.

A check takes a module with ``forward`` and ``backward`` as ``equipoise.ops.normalize.cpu`` has
them, so that the checks that compiled kernels pass are those that broken kernels fail.
"""

import math
import mmap
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch
from tolerances import HALF_FLOOR, VALUES, assert_near
from torch.nn import functional as F

NONE, RELU, LEAKY_RELU, SILU, GELU = CODES = range(5)
SLOPE, EPS = 0.2, 1e-3

# where the input of ReLU is as close to 0 as rounding, either derivative is right
NEAR_ZERO = 1e-4


@dataclass(frozen=True)
class Case:
    """One call: what arrives, and what is wanted."""

    size: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    act: int = NONE
    added: bool = False
    # the backward gets the output instead of what was added
    from_output: bool = False
    evaluation: bool = False
    affine: bool = True
    # |mean| / std of the input
    offset: float = 0.0
    # how many numbers, the first of each channel, stand far off: the first shift is then bad
    strays: int = 0


def random(size, seed):
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def arrange(x, layout):
    """Give the values of ``x`` in a memory layout."""
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.contiguous()


def activate(y, act):
    """Apply torch's own activation."""
    functions = (
        lambda y: y, F.relu, lambda y: F.leaky_relu(y, SLOPE), F.silu, F.gelu
    )  # fmt: skip
    return functions[act](y)


@lru_cache(maxsize=256)
def problem(case):
    """Draw the case's tensors and let torch compute the expected ones in float64."""
    n, channels, *extents = case.size
    x = random((n, *extents, channels), 1)
    # every channel has a mean and a spread of its own
    x = x * torch.linspace(0.5, 2, channels).double() + torch.linspace(-1, 1, channels).double()
    x.view(-1, channels)[: case.strays] += 1e4
    drawn = (x.movedim(-1, 1) + case.offset, random(case.size, 2), random(case.size, 3))
    x, g, other = (arrange(t.to(case.dtype), case.layout) for t in drawn)
    p = SimpleNamespace(x=x, g=g, other=other if case.added else None, weight=None, bias=None)
    if case.affine:
        p.weight, p.bias = (random(channels, s).to(case.dtype) for s in (4, 5))
    wide = x.double()
    axes = [0, *range(2, x.dim())]
    p.mean, p.variance = wide.mean(axes), wide.var(axes, unbiased=False)
    if case.evaluation:
        p.mean, p.variance = p.mean + 0.5, p.variance * 1.5
    p.stats = torch.stack([p.mean, p.variance, (p.variance + EPS).rsqrt(), p.mean * 0])
    return solve(p, case)


def solve(p, case):
    """Add the expected output and gradients to the problem ``p``."""
    given = [p.x, p.other, p.weight, p.bias]
    leaves = [None if t is None else t.detach().double().requires_grad_() for t in given]
    x, other, weight, bias = leaves
    ones, zeros = torch.ones(x.shape[1]).double(), torch.zeros(x.shape[1]).double()
    weight = ones.requires_grad_() if weight is None else weight
    bias = zeros.requires_grad_() if bias is None else bias
    statistics = (p.mean, p.variance) if case.evaluation else (None, None)
    before = F.batch_norm(x, *statistics, weight, bias, not case.evaluation, eps=EPS)
    before = before if other is None else before + other
    if case.act in (RELU, LEAKY_RELU):
        p.g = torch.where(before.detach().abs() < NEAR_ZERO, 0, p.g)
    y = activate(before, case.act)
    wanted = [x, before, weight, bias]
    p.dx, p.dother, p.dweight, p.dbias = torch.autograd.grad(y, wanted, p.g.double())
    p.y = y.detach()
    return p


def tolerance(dtype):
    """Give the bound on an error relative to the largest value."""
    return VALUES[dtype] if dtype in VALUES else HALF_FLOOR[dtype]


def statistics_tolerance(dtype):
    return VALUES[dtype if dtype in VALUES else torch.float32]


def check_forward(cpu, case):
    """Raise where the forward is wrong."""
    p = problem(case)
    given = p.stats if case.evaluation else None
    y, stats = cpu.forward(p.x, p.weight, p.bias, p.other, given, case.act, SLOPE, EPS)
    assert y.dtype == case.dtype
    assert y.stride() == p.x.stride()
    assert_near(y, p.y, tolerance(case.dtype), "output")
    if not case.evaluation:
        # the flag that digits were lost
        assert stats[3].any() == (case.strays > 0)
    spread = (p.variance + EPS).sqrt()
    near = statistics_tolerance(case.dtype)
    assert_near((stats[0] - p.mean) / spread, torch.zeros_like(spread), near, "mean", scale=1)
    assert_near(stats[1] / p.variance, torch.ones_like(spread), near, "variance")
    assert_near(stats[2] * spread, torch.ones_like(spread), near, "1 / std")


def check_backward(cpu, case, want_other=None):
    """Raise where the backward is wrong, with the exact statistics given."""
    p = problem(case)
    want_other = case.added if want_other is None else want_other
    other = p.y.to(case.dtype) if case.from_output else p.other
    if case.act == NONE:
        # the sum's own gradient needs no input: the operator passes nothing
        other = None
    dx, dother, dweight, dbias = cpu.backward(
        p.g, p.x, other, p.stats, p.weight, p.bias, case.act, SLOPE, case.from_output,
        not case.evaluation, want_other,
    )  # fmt: skip
    assert dx.dtype == case.dtype
    assert dx.stride() == p.x.stride()
    assert_near(dx, p.dx, tolerance(case.dtype), "gradient of x")
    # sums: relative to what random signs leave of the terms
    near, terms = statistics_tolerance(case.dtype), math.sqrt(p.x.numel() / p.x.shape[1])
    assert_near(dweight, p.dweight, near, "gradient of weight", scale=terms)
    assert_near(dbias, p.dbias, near, "gradient of bias", scale=terms)
    if want_other:
        assert_near(dother, p.dother, tolerance(case.dtype), "gradient of other")
    else:
        assert dother is None


FEW = ({}, {"act": RELU}, {"act": RELU, "added": True, "from_output": True}, {"act": LEAKY_RELU})


def every_activation(size=()):
    """Give the options of a case: each activation with and without an addition, evaluation too;
    a few of them for large tensors.
    """
    if math.prod(size) > 20_000:
        yield from FEW
        return
    for act in CODES:
        yield {"act": act}
        yield {"act": act, "added": True}
    yield {"act": RELU, "added": True, "from_output": True}
    yield {"evaluation": True}
    yield {"act": RELU, "evaluation": True}
    yield {"act": GELU, "added": True, "evaluation": True}
    yield {"act": RELU, "affine": False}


def every_result(cpu, case):
    """Run forward, and backward on its statistics; give all that they return."""
    p = problem(case)
    y, stats = cpu.forward(p.x, p.weight, p.bias, p.other, None, case.act, SLOPE, EPS)
    gradients = cpu.backward(
        p.g, p.x, p.other, stats, p.weight, p.bias, case.act, SLOPE, False, True, case.added
    )
    return [t.clone() for t in (y, stats[:3], *gradients) if t is not None]


def assert_same_bits(first, *rest):
    """Assert that results of ``every_result`` agree to the bit."""
    for other in rest:
        for a, b in zip(first, other, strict=True):
            assert torch.equal(a, b)


def vast(*shape):
    """Reserve addresses for 16-bit numbers; only the pages that are touched take memory."""
    # Python names MAP_NORESERVE from 3.13 on
    quiet = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    memory = mmap.mmap(-1, 2 * math.prod(shape), flags=quiet)
    with suppress(OSError):
        # where the kernel has no huge pages there are none to refuse
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint16).reshape(shape)
