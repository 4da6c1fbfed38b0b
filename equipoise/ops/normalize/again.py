"""Calls that repeat: what was asked about tensors is not asked of their like.

Between two steps through a layer its network fills the caches with other work, and then every
line of Python and every entry into torch costs many times what it costs in a loop: on tensors of
2 MB the questions took as long as the kernels.  Here one call of the guards that torch keeps for
``torch.compile`` compares all tensors with those of a call that went the long way, and the calls
of the kernels are ready.  Whatever is not alike goes the long way.
"""

import os
from typing import Any, ClassVar

import torch
from torch import Tensor

from equipoise.ops.normalize import op
from equipoise.ops.normalize.guards import apply_of, backend, calm, guard, may_keep
from equipoise.ops.numbers import COMPUTE

# how many calls are kept
MOST = 512
_kept: dict[tuple[Any, ...], Any] = {}


def given(*tensors: Tensor | None) -> list[Tensor]:
    """Give those that are not None."""
    return [t for t in tensors if t is not None]


def like(*shape: int) -> Tensor:
    """Give a float64 tensor that what is made is like; it takes no memory itself."""
    return torch.empty(1, dtype=torch.float64, device="cpu").expand(shape)


class Again:
    """A call for tensors like these; a family of norms adds how its kernels are called.

    ``tensors`` are those of the call and ``saved`` those that backward finds, upstream gradients
    first; weight and bias have ``width`` numbers.
    """

    # what autograd knows the call as
    function: ClassVar[type[torch.autograd.Function]]
    # how many forks lie behind this process
    forks: ClassVar[int] = 0

    def __init__(self, x, weight, bias, width, tensors, saved):
        from equipoise.ops.normalize import cpu

        self.cpu, self.dtype, self.width = cpu, COMPUTE[x.dtype], width
        self.narrow = any(t.dtype != self.dtype for t in given(weight, bias))
        self.tracked = any(t.requires_grad for t in tensors)
        self.tensors, self.saved = guard(*tensors), guard(*saved)
        self.apply, self.born = apply_of(self.function), Again.forks

    @staticmethod
    def fits(tensors, how) -> bool:
        """Tell whether the kernels take these tensors as they lie."""
        raise NotImplementedError

    def parameters(self, weight, bias):
        """Give weight and bias in the compute type, constants where there are none."""
        if weight is None or self.narrow:
            weight = self.cpu.parameter(weight, 1.0, self.width, self.dtype)
        if bias is None or self.narrow:
            bias = self.cpu.parameter(bias, 0.0, self.width, self.dtype)
        return weight, bias

    def gradients(self, weight, bias):
        """Give what the kernel writes the gradients of weight and bias to; None if it does not."""
        if self.narrow:
            return None, None
        return (t if t is None else torch.empty_like(t) for t in (weight, bias))

    def alike(self, *saved) -> bool:
        """Tell whether backward may take the short way too."""
        if not calm() or torch.is_grad_enabled() or self.born != Again.forks:
            return False
        return self.saved.check(*saved)


def _after_fork():
    """Drop what may start threads: a forked child may not."""
    _kept.clear()
    Again.forks += 1


os.register_at_fork(after_in_child=_after_fork)


def rounded(sums, weight, bias):
    """Give the gradients of weight and bias of their (2, width) sums."""
    dbias, dweight = op.parameter_gradients(sums, weight, bias)
    return (
        None if weight is None else dweight.view(weight.shape),
        None if bias is None else dbias.view(bias.shape),
    )


def at(tensor: Tensor | None) -> int:
    """Give a tensor's address, 0 where there is none."""
    return 0 if tensor is None else tensor.data_ptr()


def _key(kind, tensors, how):
    """Tell apart what is kept: all that decides on the kernels' calls, and on taking ours."""
    x, types = tensors[0], map(type, tensors)
    alike = (x.shape, x.stride(), x.dtype, x.requires_grad)
    return (kind, *types, *alike, *how, torch.get_num_threads(), backend())


def found(kind, tensors, how) -> Any:
    """Give the call of a kind that was kept for tensors like these; None where there is none."""
    if not calm():
        return None
    try:
        again = _kept.get(_key(kind, tensors, how))
    except (AttributeError, TypeError):
        # what has no layout is no tensor, what cannot be hashed is no activation
        return None
    return again if again is not None and again.tensors.check(*given(*tensors)) else None


def keep(kind, tensors, how) -> None:
    """Keep a call for which the long way ends at our kernel, for those to come."""
    if not may_keep(tensors[0]) or not kind.fits(tensors, how):
        return
    if len(_kept) >= MOST:
        _kept.clear()
    _kept[_key(kind, tensors, how)] = kind(*tensors, *how)
