"""The norms that are no BatchNorm, as a table: how to build each, torch's twin, its shapes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _cases import normal, randomize
from _standin import activate
from _subject import nn


class ByFormula(torch.nn.Module):
    """FilterResponseNorm in operations of torch, as the paper writes it."""

    def __init__(self, num_channels, eps=1e-6):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(num_channels))
        self.bias = torch.nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x):
        shape = (1, -1, *[1] * (x.dim() - 2))
        square = x.square().mean(tuple(range(2, x.dim())), keepdim=True)
        y = x / (square + self.eps).sqrt()
        return y * self.weight.view(shape) + self.bias.view(shape)


class ChannelsMoved(torch.nn.LayerNorm):
    """LayerNorm over axis 1, by moving it last and back."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Twin(torch.nn.Module):
    """A norm of torch's with the extras composed around it."""

    def __init__(self, norm, activation=None, negative_slope=0.01):
        super().__init__()
        self.norm = norm
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, input, add=None, residual=None, return_residual=False):
        total = input if residual is None else input + residual
        y = self.norm(total)
        y = activate(y if add is None else y + add, self.activation, self.negative_slope)
        return (y, total) if return_residual else y


@dataclass(frozen=True)
class Row:
    """One norm: class, its positional arguments, a shape, torch's class, and which extra it has."""

    name: str
    args: tuple
    shape: tuple[int, ...]
    theirs: Callable[..., torch.nn.Module]
    extra: str = "add"
    options: tuple = ()

    def __str__(self) -> str:
        return f"{self.name}{self.args}"

    def build(self, seed=1, dtype=None, **options):
        """Build our layer, its parameters random."""
        layer = getattr(nn, self.name)(*self.args, **dict(self.options), **options)
        return randomize_any(layer.to(dtype or torch.float32), seed)

    def twin(self, layer, dtype=None):
        """Build torch's layer with the state of ours."""
        theirs = self.theirs(*self.args, **dict(self.options))
        dtype = dtype or next((p.dtype for p in layer.parameters()), torch.float32)
        theirs = theirs.to(dtype)
        theirs.load_state_dict(layer.state_dict())
        theirs.train(layer.training)
        if hasattr(theirs, "eps"):
            theirs.eps = layer.eps
        return Twin(theirs, layer.activation, layer.negative_slope)

    def oracle(self, layer):
        """Build torch's layer in float64 with the state of ours."""
        return self.twin(copy.deepcopy(layer).double(), torch.float64)

    def inputs(self, dtype=torch.float32, offset=0.0, shape=None):
        """Draw input, upstream gradient and the extra."""
        shape = shape or self.shape
        x, upstream, extra = (normal(shape, torch.float64, seed=s) for s in (2, 3, 4))
        return [t.to(dtype) for t in (x + offset, upstream, extra)]


def randomize_any(layer, seed=1):
    """Give parameters of any shape, and running statistics, values that are neither 0 nor 1."""
    if hasattr(layer, "running_mean"):
        return randomize(layer, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            low = 0.5 if name == "weight" else -0.5
            value = low + torch.rand(p.shape, generator=generator, dtype=torch.float64)
            p.copy_(value)
            p.view(-1)[0] *= -1
    return layer


AFFINE = (("affine", True),)
TRACKED = (("affine", True), ("track_running_stats", True))
IMAGE = (4, 6, 3, 7)
theirs = torch.nn
ROWS = (
    Row("GroupNorm", (3, 6), IMAGE, theirs.GroupNorm),
    Row("GroupNorm", (1, 6), (3, 6, 11), theirs.GroupNorm),
    Row("GroupNorm", (2, 8), (5, 8), theirs.GroupNorm),
    Row("GroupNorm", (2, 6), (2, 6, 2, 3, 4), theirs.GroupNorm),
    Row("InstanceNorm1d", (6,), (4, 6, 11), theirs.InstanceNorm1d, options=AFFINE),
    Row("InstanceNorm2d", (6,), IMAGE, theirs.InstanceNorm2d, options=AFFINE),
    Row("InstanceNorm2d", (6,), IMAGE, theirs.InstanceNorm2d, options=TRACKED),
    Row("InstanceNorm3d", (6,), (2, 6, 2, 3, 4), theirs.InstanceNorm3d, options=AFFINE),
    Row("FilterResponseNorm", (6,), IMAGE, ByFormula),
    Row("LayerNorm", (7,), IMAGE, theirs.LayerNorm, "residual"),
    Row("LayerNorm", ((3, 7),), IMAGE, theirs.LayerNorm, "residual"),
    Row("RMSNorm", (7,), (5, 9, 7), theirs.RMSNorm, "residual"),
    Row("LayerNorm2d", (6,), IMAGE, ChannelsMoved, "residual"),
)
# one of each class, for what takes long
FEW = tuple({row.name: row for row in reversed(ROWS)}.values())
IMAGES = tuple(row for row in ROWS if len(row.shape) > 3 and row.name != "LayerNorm")


def step(layer, x, upstream, **extras):
    """Run forward and backward; give output and gradients by name."""
    norm = layer.norm if isinstance(layer, Twin) else layer
    leaves = {"input": x.detach().requires_grad_()} | dict(norm.named_parameters())
    extras = {name: t.detach().requires_grad_() for name, t in extras.items()}
    y = layer(leaves["input"], **extras)
    leaves |= extras
    gradients = torch.autograd.grad(y, list(leaves.values()), upstream)
    named = zip(leaves, gradients, strict=True)
    return {"output": y.detach()} | {f"gradient of {name}": g for name, g in named}
