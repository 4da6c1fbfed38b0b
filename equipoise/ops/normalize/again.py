"""Training steps of BatchNorm that repeat: what was asked about tensors is not asked of their like.

Between two steps through a layer its network fills the caches with other work, and then every
line of Python and every entry into torch costs many times what it costs in a loop: on tensors of
2 MB the questions took as long as the kernels.  Here one call of the guards that torch keeps for
``torch.compile`` compares all tensors with those of a step that went the long way, and the calls
of the kernels are ready.  Whatever is not alike goes the long way.
"""

from typing import Any

import torch

from equipoise.ops import dispatch
from equipoise.ops.normalize import op
from equipoise.ops.normalize.guards import apply_of, backend, calm, guard, keep_call, may_keep
from equipoise.ops.normalize.layout import dense
from equipoise.ops.numbers import COMPUTE
from equipoise.ops.threads import threads

_APPLY = apply_of(op.Normalize)
_kept: dict[tuple[Any, ...], "Again"] = {}


class Again:
    """A step for tensors like these: x, weight and bias, and the running buffers."""

    def __init__(self, x, weight, bias, mean, variance, activation, slope, eps):
        from equipoise.ops.normalize import cpu

        self.cpu, self.kind, self.eps = cpu, (activation, slope), eps
        self.forward_call, self.backward_call = cpu.calls_again(x, activation, slope)
        self.tensors = guard(x, weight, bias, mean, variance)
        self.saved = guard(x.detach(), x, weight, bias)
        self.counts = guard(torch.zeros((), dtype=torch.int64, device="cpu"))
        self.tracked = x.requires_grad or weight.requires_grad or bias.requires_grad
        # takes no memory: a shape and a dtype that what is made is like
        one = torch.empty(1, dtype=torch.float64, device="cpu")
        self.statistics = one.expand(4, x.shape[1])

    def __call__(self, x, weight, bias, *moved):
        """Give the output; ``moved`` are running mean, variance, momentum and count of batches."""
        if self.tracked and torch.is_grad_enabled():
            return _APPLY(x, weight, bias, None, None, *self.kind, self.eps, 0, True, moved, self)
        return self.forward(x, weight, bias, moved)[0]

    def forward(self, x, weight, bias, moved):
        """Run the kernel that ``cpu.forward`` would run; give the output and the statistics."""
        mean, variance, momentum, count = moved
        y, stats = torch.empty_like(x), torch.empty_like(self.statistics)
        at, out, w, b = x.data_ptr(), y.data_ptr(), weight.data_ptr(), bias.data_ptr()
        addresses = (
            at, at, out, 0, 0, 0, w, b, stats.data_ptr(), 0, mean.data_ptr(), variance.data_ptr(),
            0, 0, 0 if count is None else count.data_ptr(),
        )  # fmt: skip
        whole = at and w and b and out % 64 == 0
        if not whole or self.forward_call(addresses, self.cpu.floats(self.eps, momentum)):
            # no memory, not in line, or digits lost: nothing has been moved yet
            if count is not None:
                count.add_(1)
            return self.cpu.forward(
                x, weight, bias, None, None, *self.kind, self.eps, moved=moved[:3]
            )
        changed = (mean, variance) if count is None else (mean, variance, count)
        torch.autograd.graph.increment_version(changed)
        return y, stats

    def takes(self, g, x, weight, bias) -> bool:
        """Tell whether backward may take the short way too."""
        return calm() and not torch.is_grad_enabled() and self.saved.check(g, x, weight, bias)

    def backward(self, g, x, weight, bias, stats):
        """Run the kernel that ``cpu.backward`` would run; give the gradients of x, weight, bias."""
        dx, sums = torch.empty_like(x), torch.empty_like(self.statistics)
        dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
        at, out = x.data_ptr(), dx.data_ptr()
        addresses = (
            at, at, 0, g.data_ptr(), out, out, weight.data_ptr(), bias.data_ptr(), stats.data_ptr(),
            sums.data_ptr(), 0, 0, dbias.data_ptr(), dweight.data_ptr(), 0,
        )  # fmt: skip
        if out % 64:
            # not in line
            given = (g, x, None, stats, weight, bias, *self.kind, False, True, False)
            dx, _, (dbias, dweight) = self.cpu.backward(*given, rounded=True)
        else:
            self.backward_call(addresses, self.cpu.floats())
        return dx, dweight, dbias


def _key(x, activation, slope, eps):
    """Tell apart what is kept: all that decides on the kernels' calls, and on taking ours."""
    kind = (x.shape, x.dtype, x.is_contiguous(), x.requires_grad)
    return (*kind, activation, slope, eps, threads(), backend())


def step(x, weight, bias, mean, variance, momentum, eps, activation, slope, count=None):
    """Take a step in training, running buffers and all, that is like one kept; None if none is.

    ``count``, the number of batches, then counts this one.
    """
    if torch.compiler.is_compiling() or not calm():
        return None
    again = _kept.get(_key(x, activation, slope, eps))
    if again is None or type(momentum) is not float or dispatch.heard() is not None:
        return None
    if weight is None or bias is None or mean is None or variance is None:
        return None
    if not again.tensors.check(x, weight, bias, mean, variance):
        return None
    if count is not None and not again.counts.check(count):
        return None
    return again(x, weight, bias, mean, variance, momentum, count)


def keep(x, weight, bias, mean, variance, eps, activation, slope) -> None:
    """Keep a step in training whose long way ends at our kernel, for those to come."""
    vectors = (weight, bias, mean, variance)
    # a small tensor came to our kernel because aten lost digits
    if not may_keep(x) or (backend() is None and dispatch.small(x)):
        return
    kind = COMPUTE[x.dtype]
    if any(v is None or v.dtype != kind or not v.is_contiguous() for v in vectors):
        return
    if dense(x) is not x:
        return
    key = _key(x, activation, slope, eps)
    keep_call(_kept, key, Again(x, *vectors, activation, slope, eps))
