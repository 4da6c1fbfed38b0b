"""Calls that repeat, of norms whose weights belong to channels: BatchNorm, GroupNorm and kin."""

import torch

from equipoise.ops import dispatch
from equipoise.ops.normalize import op
from equipoise.ops.normalize.again import Again, at, found, given, keep, like, rounded
from equipoise.ops.normalize.guards import backend, guard
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.words import NO_VECTORS
from equipoise.ops.numbers import COMPUTE


class Channels(Again):
    """A call for tensors like these: x, weight and bias, and BatchNorm's running buffers.

    ``groups`` of each sample's channels share statistics; 0 shares them over the batch.
    """

    function = op.Normalize

    def __init__(self, x, weight, bias, mean, variance, *how):
        vectors, channels = given(weight, bias), x.shape[1]
        tensors = given(x, weight, bias, mean, variance)
        super().__init__(x, weight, bias, channels, tensors, [x.detach(), x, *vectors])
        self.activation, self.slope, self.eps, self.groups, self.centred = how
        kind = (self.activation, self.slope, self.groups, int(self.centred))
        self.forth, self.back = (c.prepared() for c in self.cpu.calls_again(x, *kind))
        self.values, self.none = self.cpu.floats(self.eps), self.cpu.floats()
        samples = x.shape[0] if self.groups else 1
        self.statistics = like(4, samples * (self.groups or channels))
        self.sums = like(2, samples * channels)
        self.counts = guard(torch.zeros((), dtype=torch.int64, device="cpu"))

    @staticmethod
    def fits(tensors, how) -> bool:
        """Tell whether the kernels take these tensors as they lie."""
        x, weight, bias, *buffers = tensors
        # a small tensor came to our kernel because aten lost digits
        if how[-1] and backend() is None and dispatch.small(x):
            return False
        wide = all(b is None or b.dtype == COMPUTE[x.dtype] for b in buffers)
        vectors = given(weight, bias, *buffers)
        return wide and all(v.is_contiguous() for v in vectors) and dense(x) is x

    def __call__(self, x, weight, bias, moved=None):
        """Give the output; ``moved`` are running mean, variance, momentum and count of batches."""
        if not (self.tracked and torch.is_grad_enabled()):
            return self.forward(x, weight, bias, moved)[0]
        how = (self.activation, self.slope, self.eps, self.groups, self.centred)
        return self.apply(x, weight, bias, None, None, *how, moved, self)

    def forward(self, x, weight, bias, moved):
        """Run the kernel that ``cpu.forward`` would run; give the output and the statistics."""
        y, stats = torch.empty_like(x), torch.empty_like(self.statistics)
        w, b = self.parameters(weight, bias)
        begin, out, w_at, b_at = x.data_ptr(), y.data_ptr(), w.data_ptr(), b.data_ptr()
        buffers, values = NO_VECTORS, self.values
        if moved is not None:
            mean, variance, momentum, count = moved
            buffers = (mean.data_ptr(), variance.data_ptr(), 0, 0, at(count))
            values = self.cpu.floats(self.eps, momentum)
        addresses = (begin, begin, out, 0, 0, 0, w_at, b_at, stats.data_ptr(), 0, *buffers)
        whole = begin and w_at and b_at and out % 64 == 0
        if not whole or self.forth(addresses, values):
            # no memory, not in line, or digits lost: nothing has been moved yet
            return self._anew(x, weight, bias, moved)
        if moved is not None:
            torch.autograd.graph.increment_version(given(moved[0], moved[1], moved[3]))
        return y, stats

    def _anew(self, x, weight, bias, moved):
        if moved is not None:
            *moved, count = moved
            if count is not None:
                count.add_(1)
        how = (self.activation, self.slope, self.eps, self.groups, int(self.centred))
        return self.cpu.forward(x, weight, bias, None, None, *how, moved)

    def takes(self, g, x, weight, bias) -> bool:
        """Tell whether backward may take the short way too."""
        return self.alike(*given(g, x, weight, bias))

    def backward(self, g, x, weight, bias, stats):
        """Run the kernel that ``cpu.backward`` would run; give the gradients of x, weight, bias."""
        dx = torch.empty_like(x)
        begin, out, g_at = x.data_ptr(), dx.data_ptr(), g.data_ptr()
        if out % 64 or not g_at:
            # not in line
            how = (self.activation, self.slope, False, True, False, self.groups, int(self.centred))
            dx, _, (dbias, dweight) = self.cpu.backward(
                g, x, None, stats, weight, bias, *how, rounded=True
            )
            return dx, dweight, dbias
        sums, (w, b) = torch.empty_like(self.sums), self.parameters(weight, bias)
        dweight, dbias = self.gradients(weight, bias)
        addresses = (
            begin, begin, 0, g_at, out, out, w.data_ptr(), b.data_ptr(), stats.data_ptr(),
            sums.data_ptr(), 0, 0, at(dbias), at(dweight), 0,
        )  # fmt: skip
        self.back(addresses, self.none)
        if self.narrow:
            dweight, dbias = rounded(sums[:, : self.width], weight, bias)
        return dx, dweight, dbias


def step(x, weight, bias, mean, variance, momentum, eps, activation, slope, count=None):
    """Take BatchNorm's step in training, buffers and all, like one kept; None if none is.

    ``count``, the number of batches, then counts this one.
    """
    if type(momentum) is not float or mean is None or variance is None:
        return None
    how = (activation, slope, eps, 0, True)
    again = found(Channels, (x, weight, bias, mean, variance), how)
    if again is None or not (count is None or again.counts.check(count)):
        return None
    return again(x, weight, bias, (mean, variance, momentum, count))


def normalized(x, weight, bias, activation, slope, eps, groups, centred=True):
    """Normalize each sample's groups by a call like one kept; None if none is."""
    if type(groups) is not int:
        return None
    how = (activation, slope, eps, groups, centred)
    again = found(Channels, (x, weight, bias, None, None), how)
    return None if again is None else again(x, weight, bias)


def keep_call(x, weight, bias, mean, variance, *how) -> None:
    """Keep a call whose long way ends at our kernel, by the input's own statistics."""
    keep(Channels, (x, weight, bias, mean, variance), how)
