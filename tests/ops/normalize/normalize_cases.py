"""Inputs, the float64 oracle and the checks that the compiled and the broken kernels share.

A check takes a module with ``forward`` and ``backward`` as ``equipoise.ops.normalize.cpu`` has
them, so that the checks that compiled kernels pass are those that broken kernels fail.
"""

import math
import mmap
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch
from tolerances import HALF_FLOOR, HALF_TWICE, RUNNING, VALUES, assert_near
from torch.nn import functional as F

NONE, RELU, LEAKY_RELU, SILU, GELU = NAMES = (None, "relu", "leaky_relu", "silu", "gelu")
SLOPE, EPS = 0.2, 1e-3

# where the input of ReLU is as close to 0 as rounding, either derivative is right
NEAR_ZERO = 1e-4


@dataclass(frozen=True)
class Case:
    """One call: what arrives, and what is wanted."""

    size: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    act: str | None = NONE
    added: bool = False
    # the backward gets the output instead of what was added
    from_output: bool = False
    evaluation: bool = False
    affine: bool = True
    # |mean| / std of the input
    offset: float = 0.0
    # how many numbers, the first of each channel (of each sample where statistics are its own),
    # stand far off: the first shift is then bad
    strays: int = 0
    # 0: statistics over the batch; else over groups of channels of each sample
    groups: int = 0
    # whether the mean is taken away
    centred: int = 1


def random(size, seed):
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def arrange(x, layout):
    """Give the values of ``x`` in a memory layout."""
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.contiguous()


def activate(y, act):
    """Apply torch's own activation."""
    if act == LEAKY_RELU:
        return F.leaky_relu(y, SLOPE)
    return {NONE: lambda y: y, RELU: F.relu, SILU: F.silu, GELU: F.gelu}[act](y)


def by_statistic(x, groups):
    """Give (statistics, numbers): a row of all numbers that share theirs."""
    n, channels = x.shape[:2]
    if groups:
        return x.reshape(n * groups, -1)
    return x.transpose(0, 1).reshape(channels, -1)


def normalized(x, weight, bias, case):
    """Normalize by torch's own layers: batch, instance, group or RMS norm."""
    if case.centred and case.groups == 0:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)
    if case.centred and case.groups == x.shape[1] and x.dim() > 2 and x[0, 0].numel() > 1:
        return F.instance_norm(x, weight=weight, bias=bias, eps=EPS)
    if case.centred:
        return F.group_norm(x, case.groups, weight, bias, EPS)
    lines = by_statistic(x, case.groups)
    y = F.rms_norm(lines, lines.shape[1:], eps=EPS)
    if case.groups:
        y = y.view(x.shape)
    else:
        y = y.view(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
    shape = [1, -1] + [1] * (x.dim() - 2)
    return y * weight.view(shape) + bias.view(shape)


@lru_cache(maxsize=256)
def problem(case):
    """Draw the case's tensors and let torch compute the expected ones in float64."""
    n, channels, *extents = case.size
    x = random((n, *extents, channels), 1)
    # every channel has a mean and a spread of its own
    x = x * torch.linspace(0.5, 2, channels).double() + torch.linspace(-1, 1, channels).double()
    far = x.view(n, -1, channels) if case.groups else x.view(1, -1, channels)
    far[:, : case.strays] += 1e4
    drawn = (x.movedim(-1, 1) + case.offset, random(case.size, 2), random(case.size, 3))
    x, g, other = (arrange(t.to(case.dtype), case.layout) for t in drawn)
    p = SimpleNamespace(x=x, g=g, other=other if case.added else None, weight=None, bias=None)
    if case.affine:
        p.weight, p.bias = (random(channels, s).to(case.dtype) for s in (4, 5))
    lines = by_statistic(x.double(), case.groups)
    p.mean, p.variance = lines.mean(1), lines.var(1, unbiased=False)
    if not case.centred:
        p.mean, p.variance = p.mean * 0, lines.square().mean(1)
    if case.evaluation:
        p.mean, p.variance = p.mean + 0.5, p.variance * 1.5
    p.stats = torch.stack([p.mean, p.variance, (p.variance + EPS).rsqrt(), p.mean * 0])
    return solve(p, case)


def solve(p, case):
    """Add the expected output and gradients to the problem ``p``."""
    given = [p.x, p.other, p.weight, p.bias]
    # contiguous: F.group_norm in channels_last loses digits far from zero, in float64 as well
    wide = [None if t is None else t.detach().double().contiguous() for t in given]
    leaves = [None if t is None else t.requires_grad_() for t in wide]
    x, other, weight, bias = leaves
    ones, zeros = torch.ones(x.shape[1]).double(), torch.zeros(x.shape[1]).double()
    weight = ones.requires_grad_() if weight is None else weight
    bias = zeros.requires_grad_() if bias is None else bias
    if case.evaluation:
        before = F.batch_norm(x, p.mean, p.variance, weight, bias, eps=EPS)
    else:
        before = normalized(x, weight, bias, case)
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
    y, stats = cpu.forward(
        p.x, p.weight, p.bias, p.other, given, case.act, SLOPE, EPS, case.groups, case.centred
    )
    assert y.dtype == case.dtype
    assert y.stride() == p.x.stride()
    assert_near(y, p.y, tolerance(case.dtype), "output")
    if not case.evaluation:
        # the flag that digits were lost
        assert stats[3].any() == (case.strays > 0)
    spread = (p.variance + EPS).sqrt()
    # digits that were lost are taken anew, in float64
    near = statistics_tolerance(torch.float64 if case.strays else case.dtype)
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
    dx, dother, (dbias, dweight) = cpu.backward(
        p.g, p.x, other, p.stats, p.weight, p.bias, case.act, SLOPE, case.from_output,
        not case.evaluation, want_other, case.groups, case.centred,
    )  # fmt: skip
    assert dx.dtype == case.dtype
    assert dx.stride() == p.x.stride()
    assert_near(dx, p.dx, HALF_TWICE.get(case.dtype, tolerance(case.dtype)), "gradient of x")
    # sums: relative to what random signs leave of the terms
    near, terms = statistics_tolerance(case.dtype), math.sqrt(p.x.numel() / p.x.shape[1])
    assert_near(dweight, p.dweight, near, "gradient of weight", scale=terms)
    assert_near(dbias, p.dbias, near, "gradient of bias", scale=terms)
    if want_other:
        assert_near(dother, p.dother, tolerance(case.dtype), "gradient of other")
    else:
        assert dother is None


def check_moves(forward, names, case, known=lambda count: None):
    """Raise where a training step does not move the buffers, or does not count itself.

    ``names`` are the globals of ``forward``; ``known`` gets the count before its memory is read.
    """
    p, channels, count = problem(case), case.size[1], torch.tensor(3)
    found = torch.linspace(-1, 1, channels), torch.linspace(1, 2, channels)
    wanted = [t.double() for t in found]
    F.batch_norm(p.x.double(), *wanted, training=True, momentum=0.25)
    known(count)
    with counting(names, count):
        forward(p.x, p.weight, p.bias, None, None, NONE, SLOPE, EPS, 0, 1, (*found, 0.25))
    # who calls counts where digits were lost
    assert count == (3 if case.strays else 4)
    for buffer, right in zip(found, wanted, strict=True):
        assert_near(buffer, right, RUNNING[torch.float32], "running buffer")


@contextmanager
def counting(names, count):
    """Let the forward's kernel be told where the count of batches is."""
    real = names["_forward_call"]

    def told(*kind):
        plan, call = real(*kind)
        return plan, lambda addresses, values: call((*addresses[:-1], count.data_ptr()), values)

    names["_forward_call"] = told
    try:
        yield
    finally:
        names["_forward_call"] = real


def check_rounded(backward, case):
    """Raise where the gradients that the kernel rounds itself are wrong."""
    p = problem(case)
    how = (NONE, SLOPE, False, True, False, 0, 1, True)
    _, _, (dbias, dweight) = backward(p.g, p.x, None, p.stats, p.weight, p.bias, *how)
    near, terms = statistics_tolerance(case.dtype), math.sqrt(p.x.numel() / p.x.shape[1])
    for found, right in ((dbias, p.dbias), (dweight, p.dweight)):
        assert found.dtype == case.dtype
        assert_near(found, right, near, "rounded gradient", scale=terms)


def every_statistic(channels):
    """Give the kinds of statistics other than the batch's own."""
    some = max(k for k in range(1, channels + 1) if channels % k == 0 and k < max(channels, 2))
    for groups in sorted({1, some, channels}):
        yield {"groups": groups}
        yield {"groups": groups, "centred": 0}
    yield {"centred": 0}


FEW = ({}, {"act": RELU}, {"act": RELU, "added": True, "from_output": True}, {"act": LEAKY_RELU})


def every_activation(size=()):
    """Give the options of a case: each activation with and without an addition, evaluation too;
    a few of them for large tensors.
    """
    if math.prod(size) > 20_000:
        yield from FEW
        return
    for act in NAMES:
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
    kind = (case.groups, case.centred)
    y, stats = cpu.forward(p.x, p.weight, p.bias, p.other, None, case.act, SLOPE, EPS, *kind)
    gradients = cpu.backward(
        p.g, p.x, p.other, stats, p.weight, p.bias, case.act, SLOPE, False, True, case.added, *kind
    )
    return [t.clone() for t in (y, stats[:3], *gradients) if t is not None]


@contextmanager
def in_phases(cpu, monkeypatch, phases):
    """Let kernels run in these phases, whatever the number of threads."""
    calls = (cpu._forward_call, cpu._backward_call)
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "phases_of", lambda p, n: phases)
        for call in calls:
            call.cache_clear()
        yield
    for call in calls:
        call.cache_clear()


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
