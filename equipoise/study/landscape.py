"""How the loss and its gradient vary along a step (Santurkar et al., arXiv 1805.11604)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# the paper looks from half a step to four steps ahead
MULTIPLES = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Variation:
    """The least and the greatest loss seen, and the greatest relative change of the gradient."""

    low: float
    high: float
    gradient_change: float


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put parameters, buffers and the random state back, to the bit, whatever happens inside."""
    parameters = [(p, p.detach().clone()) for p in model.parameters()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, kept in parameters:
                    parameter.copy_(kept)
                for module, name, buffer, kept in buffers:
                    module._buffers[name] = buffer.copy_(kept)


def probe(
    model: nn.Module,
    loss_of: Callable[[], Tensor],
    loss: float,
    lr: float,
    random_state: Tensor,
    multiples: Sequence[float] = MULTIPLES,
) -> Variation:
    """Move along the gradient now in ``.grad`` by multiples of the step; the model stays as it is.

    The change is ``max |g(w - m lr g) - g| / |g|`` over the multiples ``m``.  ``random_state`` is
    that before the step's own forward pass: dropout then draws the same masks.
    """
    moved = [p for p in model.parameters() if p.grad is not None]
    gradient = [p.grad.clone() for p in moved if p.grad is not None]
    start = [p.detach().clone() for p in moved]
    losses, changes = [loss], []
    with undisturbed(model):
        for multiple in multiples:
            _move(moved, start, gradient, multiple * lr)
            torch.set_rng_state(random_state)
            there = loss_of()
            losses.append(there.item())
            ahead = torch.autograd.grad(there, moved, allow_unused=True)
            changes.append(_relative_change(gradient, ahead))
    return Variation(_worst(min, losses), _worst(max, losses), _worst(max, changes))


def _worst(pick, values: list[float]) -> float:
    """Pick the least or the greatest; NaN where any value is one, for Python's max drops it."""
    return pick(values) if all(value == value for value in values) else float("nan")


@torch.no_grad()
def _move(moved: list, start: list[Tensor], gradient: list[Tensor], length: float) -> None:
    for parameter, origin, slope in zip(moved, start, gradient, strict=True):
        parameter.copy_(origin - length * slope)


def _relative_change(gradient: list[Tensor], ahead: Sequence[Tensor | None]) -> float:
    apart = sum(
        (g if a is None else a - g).double().square().sum()
        for g, a in zip(gradient, ahead, strict=True)
    )
    size = sum(g.double().square().sum() for g in gradient)
    return (torch.as_tensor(apart).sqrt() / torch.as_tensor(size).sqrt()).item()
