"""Calls of LayerNorm and RMSNorm that repeat."""

from math import prod

import torch

from equipoise.ops.normalize import again, layer
from equipoise.ops.normalize.again import Again, at, given, like, rounded
from equipoise.ops.normalize.words import APPLY, NO_VECTORS, SUMS


class Rows(Again):
    """A call for tensors like these."""

    function = layer.NormalizeRows

    def __init__(self, x, residual, weight, bias, activation, slope, eps, shape, centred):
        from equipoise.ops.normalize import cpu_elements

        width, self.summed = prod(shape), residual is not None
        # an output that is saved
        total = x.detach().requires_grad_() if self.summed else x
        saved = [x.detach()] * (1 + self.summed) + given(total, weight, bias)
        super().__init__(x, weight, bias, width, given(x, residual, weight, bias), saved)
        self.elements = cpu_elements
        self.arguments = (activation, slope, eps, width, bool(centred))
        self.values, self.none = self.cpu.floats(eps), self.cpu.floats()
        self.statistics, self.sums = like(4, x.numel() // width), like(2, width)
        walk = cpu_elements.walk_of(x, width, int(centred))
        kind = (activation, slope, weight is not None, bias is not None, True)
        self.forth = cpu_elements.forward_call(
            walk, width, x.dtype, self.summed, int(centred), *kind, SUMS | APPLY
        ).prepared()
        back = cpu_elements.backward_call(walk, width, x.dtype, self.summed, *kind)
        self.back = back.prepared()

    @staticmethod
    def fits(tensors, how) -> bool:
        """Tell whether the kernels take these tensors as they lie."""
        from equipoise.ops.normalize.cpu_elements import lies

        x, residual, weight, bias = tensors
        width = prod(how[3])
        in_place = all(lies(t, x, width) for t in given(x, residual))
        return in_place and all(t.is_contiguous() for t in given(weight, bias))

    def __call__(self, x, residual, weight, bias):
        """Give y and the sum, x itself without a residual."""
        if not (self.tracked and torch.is_grad_enabled()):
            return self.forward(x, residual, weight, bias)[:2]
        made = self.apply(x, residual, weight, bias, *self.arguments, self)
        return (made, x) if residual is None else made

    def forward(self, x, residual, weight, bias):
        """Run the kernel that ``cpu_elements.forward`` would run; give y, the sum and stats."""
        y, stats = torch.empty_like(x), torch.empty_like(self.statistics)
        begin, out, total = x.data_ptr(), y.data_ptr(), x
        more, sum_at = begin, begin
        if residual is not None:
            total = torch.empty_like(x)
            more, sum_at = residual.data_ptr(), total.data_ptr()
        w, b = self.parameters(weight, bias)
        w_at, b_at = w.data_ptr(), b.data_ptr()
        addresses = (
            begin, more, out, 0, 0, sum_at, w_at, b_at, stats.data_ptr(), 0, *NO_VECTORS,
        )  # fmt: skip
        whole = begin and more and w_at and b_at and out % 64 == 0 and sum_at % 64 == 0
        if not whole or self.forth(addresses, self.values):
            # no memory, not in line, or digits lost
            return self.elements.forward(x, residual, weight, bias, *self.arguments)
        return y, total, stats

    def takes(self, g, passed, x, weight, bias) -> bool:
        """Tell whether backward may take the short way too."""
        if (passed is None) is self.summed:
            return False
        return self.alike(*given(g, passed, x, weight, bias))

    def backward(self, g, passed, x, weight, bias, stats):
        """Run the kernel that ``cpu_elements.backward`` would run; give all gradients."""
        dx = torch.empty_like(x)
        begin, out, g_at = x.data_ptr(), dx.data_ptr(), g.data_ptr()
        if out % 64 or not g_at:
            activation, slope, _, width, centred = self.arguments
            dx, sums = self.elements.backward(
                g, passed, x, stats, weight, bias, activation, slope, width, centred
            )
            return dx, dx if self.summed else None, *rounded(sums, weight, bias)
        sums, (w, b) = None, self.parameters(weight, bias)
        dweight, dbias = self.gradients(weight, bias)
        if self.narrow:
            sums = torch.empty_like(self.sums)
        addresses = (
            begin, begin if passed is None else passed.data_ptr(), 0, g_at, out, out,
            w.data_ptr(), b.data_ptr(), stats.data_ptr(), at(sums), 0, 0, at(dbias), at(dweight), 0,
        )  # fmt: skip
        self.back(addresses, self.none)
        if sums is not None:
            dweight, dbias = rounded(sums, weight, bias)
        return dx, dx if self.summed else None, dweight, dbias


def found(x, residual, weight, bias, *how) -> Rows | None:
    """Give a call that was kept for tensors like these; ``how`` is the rest of what is asked."""
    return again.found(Rows, (x, residual, weight, bias), how)


def keep(x, residual, weight, bias, *how) -> None:
    """Keep a call for which the long way ends at our kernel, for those to come."""
    again.keep(Rows, (x, residual, weight, bias), how)
