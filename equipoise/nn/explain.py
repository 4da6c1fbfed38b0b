"""``explain``: which kernel a layer would run on an input, and why."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from equipoise.nn.norm import Lazy, Norm
from equipoise.ops import dispatch

_BACKENDS = {"aten": "aten", "small": "aten", "formula": "reference"}


class Explanation(NamedTuple):
    """What ran, as ``explain`` found it.

    Attributes
    ----------
    backend : {"aten", "reference", "cpu", "gpu"}
        torch's operator, the plain formula in torch's operators, or our kernels.
    kernels : tuple of str
        Our kernels in the order of their calls, each with its threads; empty for the others.
    why : str
        The rule that decided.
    """

    backend: str
    kernels: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        kernels = f" ({', '.join(self.kernels)})" if self.kernels else ""
        return f"{self.backend}{kernels}: {self.why}"


def explain(layer: nn.Module, x: Tensor, **extras) -> Explanation:
    """Tell which kernel ``layer(x, **extras)`` runs, and why.

    A copy of the layer is run forward once, as the layer stands: training or evaluation, its
    dtype, the thread count, ``EQUIPOISE_BACKEND``.  The layer and its buffers are left alone.

    Parameters
    ----------
    layer : Module
        One of ``equipoise.nn``'s norms.
    x : Tensor
        Its input.
    **extras
        What else its forward takes: ``add`` or ``residual``.

    Returns
    -------
    Explanation

    Raises
    ------
    TypeError
        A module that is none of our norms.
    ValueError
        A lazy layer that has seen no input.

    Examples
    --------
    >>> from equipoise import nn
    >>> found = explain(nn.BatchNorm2d(64), torch.randn(8, 64, 56, 56))
    >>> found.backend, found.kernels[0].split()[0]
    ('cpu', 'rows_forward')
    >>> explain(nn.LayerNorm(5, device="meta"), torch.empty(2, 5, device="meta")).backend
    'reference'
    """
    if not isinstance(layer, Norm):
        raise TypeError(
            f"explain takes one norm layer of equipoise.nn; got {type(layer).__name__}: pass one "
            "of the model's layers, as in explain(model.bn1, x)"
        )
    if isinstance(layer, Lazy):
        raise ValueError(
            f"explain runs a copy of the layer, and this {type(layer).__name__} has no channels to "
            "copy yet: call layer(x) once before"
        )
    layer = copy.deepcopy(layer)
    with dispatch.listening() as notes, torch.no_grad():
        layer(x, **extras)
    choice = [n for n in notes if isinstance(n, dispatch.Choice)][-1]
    ran = [n for n in notes if isinstance(n, dispatch.Ran)]
    backend = ran[-1].backend if choice.runs == "kernel" else _BACKENDS[choice.runs]
    return Explanation(backend, tuple(f"{n.kernel} on {n.place}" for n in ran), choice.why)
