"""Inputs, layers and the float64 oracle that the tests of the layers share."""

import copy

import torch
from _standin import ACTIVATIONS, activate
from _subject import nn

CLASSES = {1: "BatchNorm1d", 2: "BatchNorm2d", 3: "BatchNorm3d"}
SHAPES = {1: (6, 5, 7), 2: (4, 5, 3, 7), 3: (3, 5, 2, 3, 4)}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
LAYOUTS = ("contiguous", "channels_last")

__all__ = ["ACTIVATIONS", "BUFFERS", "CLASSES", "LAYOUTS", "SHAPES"]


def normal(shape, dtype=torch.float32, seed=0, offset=0.0):
    """Draw normal values around ``offset``, each channel with its own mean and spread."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    if len(shape) > 1:
        kept = (1, shape[1], *[1] * (len(shape) - 2))
        spread = torch.rand(kept, dtype=torch.float64, generator=generator) + 0.5
        x = x * spread + torch.randn(kept, dtype=torch.float64, generator=generator)
    return (x + offset).to(dtype)


def arrange(x, layout):
    """Give the values of ``x`` in another memory layout."""
    if layout == "contiguous":
        return x.contiguous()
    if layout == "channels_last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "transposed":
        return x.mT.contiguous().mT if x.dim() > 2 else x.t().contiguous().t()
    if layout == "batch_last":
        return x.movedim(0, -1).contiguous().movedim(-1, 0)
    if layout == "strided":
        wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"))
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "offset":
        return torch.cat([x.new_full((3,), float("nan")), x.flatten()])[3:].view(x.shape)
    if layout == "sliced_channels":
        pad = torch.full_like(x[:, :1], float("nan"))
        return torch.cat([pad, x, pad], 1)[:, 1:-1]
    if layout == "sliced_channels_last":
        pad = torch.full_like(x[:, :1], float("nan"))
        return arrange(torch.cat([pad, x, pad], 1), "channels_last")[:, 1:-1]
    if layout == "sliced_batch":
        return torch.stack([x, torch.full_like(x, float("nan"))], 1)[:, 0]
    raise ValueError(layout)


def expand(x, dim):
    """Give ``x`` with dimension ``dim`` expanded (stride 0) from its first entry."""
    return x.narrow(dim, 0, 1).expand(x.shape)


def make(dims=2, channels=5, *, seed=1, stats=True, **options):
    """Build the layer under test, its parameters and running statistics random."""
    layer = getattr(nn, CLASSES[dims])(channels, **options)
    return randomize(layer, seed, stats)


def randomize(layer, seed=1, stats=True):
    """Give a layer parameters and running statistics that are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like, low):
        return (low + torch.rand(like.shape, generator=generator, dtype=torch.float64)).to(like)

    with torch.no_grad():
        if layer.weight is not None:
            layer.weight.copy_(draw(layer.weight, 0.5))
            layer.weight[0] *= -1
        if layer.bias is not None:
            layer.bias.copy_(draw(layer.bias, -0.5))
        if stats and layer.running_mean is not None:
            layer.running_mean.copy_(draw(layer.running_mean, -0.5))
            layer.running_var.copy_(draw(layer.running_var, 0.5))
    return layer


class Composed(torch.nn.Module):
    """Torch's layer, then the addition, then the activation: the oracle."""

    def __init__(self, norm, activation=None, negative_slope=0.01):
        super().__init__()
        self.norm = norm
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, input, add=None):
        y = self.norm(input)
        return activate(y if add is None else y + add, self.activation, self.negative_slope)


def torch_twin(layer, dtype=None):
    """Build torch's own layer with the state of ``layer``, in ``dtype`` if one is given."""
    base = next(getattr(torch.nn, name) for name in CLASSES.values() if is_a(layer, name))
    twin = base(
        layer.num_features,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        bias=layer.bias is not None,
    )
    twin = twin.to(dtype or next(iter(layer.state_dict().values()), torch.empty(0)).dtype)
    twin.load_state_dict(layer.state_dict())
    twin.train(layer.training)
    return Composed(twin, layer.activation, layer.negative_slope)


def is_a(layer, name):
    """Tell whether ``layer`` is an instance of torch's class of that name."""
    return isinstance(layer, getattr(torch.nn, name))


def oracle(layer):
    """Build torch's layer in float64 with the state of ``layer``."""
    return torch_twin(copy.deepcopy(layer).double(), torch.float64)


def step(layer, x, upstream, add=None):
    """Run forward and backward; give output and gradients by name."""
    norm = layer.norm if isinstance(layer, Composed) else layer
    leaves = {"input": x.detach().requires_grad_(), "weight": norm.weight, "bias": norm.bias}
    if add is not None:
        leaves["add"] = add.detach().requires_grad_()
    leaves = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    y = layer(leaves["input"]) if add is None else layer(leaves["input"], add=leaves["add"])
    gradients = torch.autograd.grad(y, list(leaves.values()), upstream)
    return {
        "output": y.detach(),
        **{f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)},
    }


def buffers(layer):
    """Give the running statistics by name."""
    norm = layer.norm if isinstance(layer, Composed) else layer
    return {name: getattr(norm, name) for name in BUFFERS if getattr(norm, name) is not None}


def run_both(layer, x, upstream, add=None):
    """Run the layer and its float64 oracle; give both results, buffers included."""
    truth = oracle(layer)
    wide = [None if t is None else t.double() for t in (x, upstream, add)]
    actual = step(layer, x, upstream, add) | buffers(layer)
    return actual, step(truth, *wide) | buffers(truth)
