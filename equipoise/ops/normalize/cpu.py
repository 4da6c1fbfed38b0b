"""The CPU kernels' Python side: which family, which shape, and the calls.

Tensors are read in place, contiguous or channels_last; other strides are copied once to the
layout that torch would give the output.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch

from equipoise.ops import dispatch
from equipoise.ops.normalize import formulas
from equipoise.ops.normalize.activations import NAMES
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.op import parameter_gradients
from equipoise.ops.normalize.plan import Plan, phases_of, plan
from equipoise.ops.normalize.reference import moments_in_float64, update_by_torch
from equipoise.ops.normalize.words import ADDRESSES, APPLY
from equipoise.ops.numbers import COMPUTE
from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.tasks import TaskKernel, copy_of, floats_of, words_of
from equipoise.ops.threads import threads, threads_for

# bytes of a tensor from which outputs are written past the caches: they would not stay there
STREAM = 2 << 20
# bytes of a tensor from which a second sweep does not find all of it in the caches
LARGE = 8 << 20
# bytes of a group that leave room in the second cache for the next one
AHEAD = 256 << 10
# rows that sweeps down columns take at a time
BLOCK = 4
# activations that backward derives once: their gradient waits where dx will be
DEAR = formulas.DEAR


@lru_cache(maxsize=256)
def _constant(value: float, n: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full((n,), value, dtype=dtype, device="cpu")


def parameter(tensor: torch.Tensor | None, value: float, n: int, dtype: torch.dtype):
    """Give a parameter in the compute type, or ``value`` everywhere where there is none."""
    if tensor is None:
        return _constant(value, n, dtype)
    tensor = dense(tensor if tensor.dtype == dtype else tensor.to(dtype))
    _address(tensor)
    return tensor


def _address(tensor: torch.Tensor | None) -> int:
    if tensor is None:
        return 0
    address = tensor.data_ptr()
    if address == 0 and tensor.numel():
        raise RuntimeError(
            f"kernels read a tensor's memory, and this one of shape {tuple(tensor.shape)} on "
            f"{tensor.device} has none: materialize it, or set EQUIPOISE_BACKEND=reference"
        )
    return address


_HERE = "equipoise.ops.normalize"


def kernel_of(family: str, direction: str) -> TaskKernel:
    """Give the kernel of a family's module for one direction, which is not imported for it."""
    return TaskKernel(f"{_HERE}.{family}", f"{family}_{direction}")


KERNELS = {
    (family, direction): kernel_of(family, direction)
    for family in ("rows", "columns")
    for direction in ("forward", "backward")
}
UPDATE_RUNNING = TaskKernel(f"{_HERE}.running", "update_running")


def aligned(*tensors: torch.Tensor | None) -> bool:
    """Tell whether all begin with a vector."""
    return all(t is None or t.data_ptr() % 64 == 0 for t in tensors)


def _slope(activation: str | None, slope: float) -> float:
    # the slope is part of the machine code, where it plays a part
    return float(slope) if activation == "leaky_relu" else 0.0


def _gate_at(activation: str | None, added: bool, from_output: bool) -> int:
    """Tell where backward takes the activation's derivative."""
    if activation is None:
        return formulas.NOWHERE
    if from_output:
        return formulas.OUTPUT
    return formulas.SUM if added else formulas.INPUT


@lru_cache(maxsize=1024)
def _forward_sweeps(axis, dtype, streaming, large, activation, slope, added, ahead):
    output = formulas.output(axis, activation, _slope(activation, slope), added, ahead)
    return (
        compiled.address(formulas.first(axis), dtype),
        compiled.address(formulas.moments(axis), dtype, block=1 if large else BLOCK),
        compiled.address(output, dtype, streaming),
    )


@lru_cache(maxsize=1024)
def _backward_sweeps(
    axis, dtype, streaming, large, activation, slope, at, kept, training
):  # fmt: skip
    slope = _slope(activation, slope)
    sums = formulas.gradient_sums(axis, activation, slope, at, kept)
    at = formulas.NOWHERE if kept else at
    gradient = formulas.input_gradient(axis, activation, slope, at, training)
    return (
        compiled.address(sums, dtype, block=1 if large else BLOCK),
        # six numbers a column, each read once for several rows, are worth more than few streams
        compiled.address(gradient, dtype, streaming, 1 if axis else BLOCK),
    )


def compile_sweeps(dtype: torch.dtype) -> None:
    """Compile the sweeps that layers over tensors of a dtype use most; the rest take 30 ms."""
    for axis, streaming, name, added in product((0, 1), (False, True), NAMES, (False, True)):
        if name not in (None, "relu") and (added or streaming):
            continue
        large = streaming
        ahead = bool(axis) and name in DEAR
        _forward_sweeps(axis, dtype, streaming, large, name, 0.01, added, ahead)
        at = _gate_at(name, added, added and name == "relu")
        kept = name in DEAR or (added and name is not None)
        for training in (True, False):
            _backward_sweeps(axis, dtype, streaming, large, name, 0.01, at, kept, training)


# none writes them
floats = lru_cache(maxsize=256)(floats_of)


class Call(NamedTuple):
    """A kernel, and what all calls on tensors of one shape and kind tell it."""

    kernel: TaskKernel
    work: int
    dtype: torch.dtype
    words: Any

    def __call__(self, addresses: tuple[int, ...], values):
        """Run on the tensors at ``addresses``, as ``words`` orders them; give the answer."""
        words = copy_of(self.words)
        words[ADDRESSES] = addresses
        if dispatch.heard() is not None:
            n = threads_for(self.work)
            place = "one thread" if n == 1 else f"{n} threads"
            dispatch.note(dispatch.Ran("cpu", self.kernel.name, place))
        return self.kernel(self.work, self.dtype, words, values)

    def prepared(self):
        """Give the same call for as many threads as now, which tells no listener."""
        return self.kernel.prepared(self.work, self.dtype, self.words, ADDRESSES)


NOWHERE_YET = (0,) * (ADDRESSES.stop - ADDRESSES.start)


def _call(direction, p: Plan, size, dtype, phases, flags, sweeps) -> Call:
    scratch = p.chunks * 2 * p.lines
    if p.family == "columns":
        scratch += p.shape[0] * 6 * p.shape[2]
    counts = [(phase, p.tasks(phase)) for phase in phases]
    integers = (dtype.itemsize, size[1], *flags, *NOWHERE_YET, *sweeps, *p.shape)
    words = words_of(counts, scratch, integers)
    return Call(KERNELS[p.family, direction], _bytes(size, dtype) * 3, COMPUTE[dtype], words)


def _bytes(size, dtype) -> int:
    return prod(size) * dtype.itemsize


def _regime(p: Plan, size, dtype, in_line: bool) -> tuple[bool, int]:
    """Tell whether outputs are written past the caches, their rows aligned, and x beyond them."""
    n = _bytes(size, dtype)
    return n >= STREAM and in_line and (p.pitch * dtype.itemsize) % 64 == 0, int(n >= LARGE)


@lru_cache(maxsize=4096)
def _forward_call(
    size, contiguous, dtype, groups, centred, activation, slope, added, in_line, own, threads
) -> tuple[Plan, Call]:
    p = plan(size, contiguous, groups, centred)
    streams, large = _regime(p, size, dtype, in_line)
    axis = int(p.family == "rows")
    ahead = bool(axis) and activation in DEAR and _bytes(size, dtype) <= AHEAD * p.groups
    sweeps = _forward_sweeps(axis, dtype, streams, large, activation, slope, added, ahead)
    phases = phases_of(p, threads) if own else (APPLY,)
    call = _call("forward", p, size, dtype, phases, (1, 0, large), (*sweeps, 0, 0))
    return p, call


def _buffers(mean, variance, dtype: torch.dtype) -> tuple[int, int]:
    """Give the addresses of running buffers that the kernels move, zeros where torch does."""
    if mean.dtype != dtype or variance.dtype != dtype:
        return 0, 0
    if not (mean.is_contiguous() and variance.is_contiguous()):
        return 0, 0
    return mean.data_ptr(), variance.data_ptr()


def forward(
    x, weight, bias, other, stats, activation, slope, eps, groups=0, centred=1, moved=None
):  # fmt: skip
    """Normalize ``x``; with ``stats`` None by its own statistics.

    These move the running buffers ``moved`` (mean, variance, momentum), if there are any.
    Returns the output in the layout of ``x`` and stats (4, statistics) float64: mean, biased
    variance, 1 / sqrt(variance + eps), scratch.
    """
    x = dense(x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    y = torch.empty_like(x)
    kind = (
        x.shape, x.is_contiguous(), x.dtype, groups, centred, activation, slope,
        other is not None, aligned(y),
    )  # fmt: skip
    own = stats is None
    p, call = _forward_call(*kind, own, threads())
    if own:
        stats = torch.empty((4, p.statistics), dtype=torch.float64, device="cpu")
    dtype, channels = COMPUTE[x.dtype], x.shape[1]
    weight = parameter(weight, 1.0, channels, dtype)
    bias = parameter(bias, 0.0, channels, dtype)
    buffers, values = (0, 0), floats(eps)
    if moved is not None:
        mean, variance, momentum = moved
        buffers, values = _buffers(mean, variance, dtype), floats(eps, float(momentum))
    at = _address(x)
    addresses = (
        at, at if other is None else _address(other), y.data_ptr(), 0, 0, 0, weight.data_ptr(),
        bias.data_ptr(), stats.data_ptr(), 0, *buffers, 0, 0, 0,
    )  # fmt: skip
    lost = call(addresses, values)
    if own and lost:
        moments_in_float64(x, eps, stats, groups, bool(centred))
        _forward_call(*kind, False, 1)[1](addresses, values)
    if moved is not None:
        mean, variance, momentum = moved
        if lost or not buffers[0]:
            running(mean, variance, stats, momentum, x.numel() // channels)
        else:
            torch.autograd.graph.increment_version((mean, variance))
    return y, stats


@lru_cache(maxsize=4096)
def _backward_call(
    size, contiguous, dtype, groups, centred, activation, slope, at, kept, training, in_line,
    threads,
) -> tuple[Plan, Call]:  # fmt: skip
    p = plan(size, contiguous, groups, centred)
    streams, large = _regime(p, size, dtype, in_line)
    axis = int(p.family == "rows")
    sweeps = _backward_sweeps(axis, dtype, streams, large, activation, slope, at, kept, training)
    flags = (int(training), int(kept), large)
    return p, _call("backward", p, size, dtype, phases_of(p, threads), flags, (0, 0, 0, *sweeps))


def backward(
    g, x, other, stats, weight, bias, activation, slope, from_output, training, want_other,
    groups=0, centred=1, rounded=False,
):  # fmt: skip
    """Give the gradients of input and ``other``, and (2, C) float64 of bias and weight.

    ``other`` is what was added, or the layer's output where ``from_output``; ``rounded`` gives
    those of bias and weight in the type that both have, as a pair.
    """
    x = dense(x)
    g = dense(g, like=x)
    other = None if other is None else dense(other.to(x.dtype), like=x)
    dx = torch.empty_like(x)
    kept = activation in DEAR or (want_other and activation is not None)
    gated = None
    if kept:
        gated = torch.empty_like(x) if want_other else dx
    # where the gradient waits in dx, its lines are in the caches: to write past them takes longer
    past = aligned(dx, gated) and gated is not dx
    p, call = _backward_call(
        x.shape, x.is_contiguous(), x.dtype, groups, centred, activation, slope,
        _gate_at(activation, other is not None, from_output), kept, bool(training),
        past, threads(),
    )  # fmt: skip
    sums = torch.empty((2, p.lines), dtype=torch.float64, device="cpu")
    dtype, channels = COMPUTE[x.dtype], x.shape[1]
    given = weight, bias
    weight = parameter(weight, 1.0, channels, dtype)
    bias = parameter(bias, 0.0, channels, dtype)
    # in another type than what is computed in they are rounded from float64 afterwards
    gradients = None
    if rounded and all(t is None or t.dtype == dtype for t in given):
        gradients = torch.empty_like(bias), torch.empty_like(weight)
    at = _address(x)
    addresses = (
        at, at if other is None else _address(other), 0, _address(g), dx.data_ptr(),
        at if gated is None else gated.data_ptr(), weight.data_ptr(), bias.data_ptr(),
        stats.data_ptr(), sums.data_ptr(), 0, 0,
        *((0, 0) if gradients is None else (t.data_ptr() for t in gradients)), 0,
    )  # fmt: skip
    call(addresses, floats())
    if not want_other:
        gated = None
    elif gated is None:
        gated = g
    if gradients is None:
        sums = sums[:, :channels]
        gradients = parameter_gradients(sums, *given) if rounded else sums.contiguous()
    return dx, gated, gradients


def calls_again(x, activation, slope, groups, centred) -> tuple[Call, Call]:
    """Give the calls, forward and backward, for dense inputs like ``x`` by their statistics."""
    kind = (x.shape, x.is_contiguous(), x.dtype, groups, centred, activation, slope)
    n = threads()
    forth = _forward_call(*kind, False, True, True, n)
    at, kept = _gate_at(activation, False, False), activation in DEAR
    return forth[1], _backward_call(*kind, at, kept, True, not kept, n)[1]


def running(running_mean, running_var, stats, momentum: float, count: int) -> None:
    """Move the running buffers towards the batch's statistics, in place."""
    both = (running_mean, running_var)
    for b in both:
        if b.dtype != torch.float32 or not b.is_contiguous() or type(b) is not torch.Tensor:
            with torch.no_grad():
                update_by_torch(running_mean, running_var, stats, momentum, count)
            return
    where = (running_mean.data_ptr(), running_var.data_ptr(), stats.data_ptr(), stats.shape[1])
    words = words_of([(APPLY, 1)], 0, where)
    UPDATE_RUNNING(0, torch.float32, words, floats_of(float(momentum), float(count)))
    torch.autograd.graph.increment_version(both)
