"""The networks a study trains: the default ones, and a user's, built and checked."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equipoise.errors import UsageError
from equipoise.study import userfile
from equipoise.study.data import Data
from equipoise.study.norms import Factory, Sites

MakeModel = Callable[..., nn.Module]

WIDTHS = ((16, 16), (32, 32), (32,))
HIDDEN = (64, 64, 64)
DEFAULT_NAME = "the study's small network"
FORM = "norm(num_features, dims=2)"


@dataclass
class Built:
    """A network and the norms in it, by name."""

    model: nn.Module
    sites: dict[str, nn.Module]

    def shared_weights(self) -> dict[str, Tensor]:
        """Give the parameters outside the norms: equal at the start, whatever the norm."""
        inside = {id(p) for site in self.sites.values() for p in site.parameters()}
        return {name: p for name, p in self.model.named_parameters() if id(p) not in inside}


def build(make_model: MakeModel, factory: Factory, seed: int, name: str) -> Built:
    """Make the network with its weights drawn from ``seed``, and check what came."""
    sites = Sites(factory)
    with userfile.guard(name), userfile.seeded(seed):
        model = make_model(sites)
    if not isinstance(model, nn.Module):
        raise UsageError(f"{name} must return a torch.nn.Module, {type(model).__name__} came")
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError(f"{name} returned a network without parameters to train")
    if not sites.made:
        raise UsageError(f"{name} never calls {FORM}; call it where a norm should stand")
    held = sites.within(model)
    if not held:
        raise UsageError(f"{name}: the network holds none of its norms; assign them to attributes")
    return Built(model.train(), held)


def check(built: Built, data: Data, batch_size: int, name: str) -> None:
    """Run one batch forward and backward; say what is wrong with the network, if anything is."""
    x, y = data.batch(torch.arange(batch_size))
    used: set[str] = set()
    hooks = [
        site.register_forward_pre_hook(lambda *_, site=key: used.add(site))
        for key, site in built.sites.items()
    ]
    try:
        with userfile.guard(f"{name}: the network on a batch of shape {tuple(x.shape)}"):
            output = built.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    _check_output(output, (len(x), data.classes), name)
    if not used:
        raise UsageError(f"{name}: no norm is called in forward; call each where it should stand")
    with userfile.guard(f"{name}: the backward pass"):
        nn.functional.cross_entropy(output, y).backward()


def _check_output(output: object, needed: tuple[int, int], name: str) -> None:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        came = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"{name}: the network must give a tensor of floats (logits), {came} came")
    if tuple(output.shape) != needed:
        raise UsageError(
            f"{name}: the network must give one logit a class, shape {needed} for a batch of "
            f"{needed[0]}, shape {tuple(output.shape)} came"
        )
    if not output.requires_grad:
        raise UsageError(f"{name}: the output does not depend on the parameters; drop no_grad")


def choose(wanted: MakeModel | str | None, data: Data) -> tuple[MakeModel, str]:
    """Give the function that ``FILE.py:make_model``, a function or None stands for; and its name.

    None is the default network for the data.
    """
    if wanted is None:
        return default(data), DEFAULT_NAME
    if isinstance(wanted, str):
        return userfile.load(wanted, "make_model"), wanted
    if not callable(wanted):
        raise UsageError(f"make_model: a function is needed, {type(wanted).__name__} came")
    return wanted, getattr(wanted, "__name__", "make_model")


def default(data: Data) -> MakeModel:
    """Give the ``make_model`` that suits the data: a small network for images or for tables."""
    if len(data.shape) == 3:
        return lambda norm: convolutional(norm, data.shape[0], data.classes)
    if len(data.shape) == 1:
        return lambda norm: perceptron(norm, data.shape[0], data.classes)
    raise UsageError(
        f"{data.name}: samples have shape {data.shape}; the default networks take (features,) or "
        "(channels, height, width): reshape them or give --model"
    )


def convolutional(norm: Callable[..., nn.Module], channels: int, classes: int) -> nn.Module:
    """Make five 3x3 convolutions, each with norm and ReLU, then the mean and a linear layer."""
    layers = nn.Sequential()
    for i, stage in enumerate(WIDTHS, 1):
        if i > 1:
            # ceil_mode lets images of one pixel through
            layers.add_module(f"pool{i - 1}", nn.MaxPool2d(2, ceil_mode=True))
        for j, width in enumerate(stage, 1):
            layers.add_module(f"conv{i}_{j}", _he(nn.Conv2d(channels, width, 3, padding=1)))
            layers.add_module(f"norm{i}_{j}", norm(width, dims=2))
            layers.add_module(f"relu{i}_{j}", nn.ReLU())
            channels = width
    layers.add_module("mean", nn.AdaptiveAvgPool2d(1))
    layers.add_module("flatten", nn.Flatten())
    layers.add_module("head", nn.Linear(channels, classes))
    return layers


def perceptron(norm: Callable[..., nn.Module], features: int, classes: int) -> nn.Module:
    """Make three linear layers, each with norm and ReLU, then a linear layer."""
    layers = nn.Sequential()
    for i, width in enumerate(HIDDEN, 1):
        layers.add_module(f"linear{i}", _he(nn.Linear(features, width)))
        layers.add_module(f"norm{i}", norm(width, dims=1))
        layers.add_module(f"relu{i}", nn.ReLU())
        features = width
    layers.add_module("head", nn.Linear(features, classes))
    return layers


def _he(layer: nn.Conv2d | nn.Linear):
    """Initialize for ReLU (He et al., arXiv 1502.01852): without it `none` would not train."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def are_paired(builds: list[Built]) -> bool:
    """Tell whether the networks start from the same weights outside their norms."""
    first, *others = [built.shared_weights() for built in builds]
    return all(
        first.keys() == other.keys() and all(torch.equal(first[key], other[key]) for key in first)
        for other in others
    )
