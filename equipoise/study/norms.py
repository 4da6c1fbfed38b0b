"""The norms a study can compare: a table of rows over what ``equipoise.nn`` offers.

A factory takes ``(num_features, dims)`` and gives a module; ``dims`` counts the axes behind the
channel axis as torch's names do: 1 for ``(N, C)`` and ``(N, C, L)``, 2 for images, 3 for volumes.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from types import ModuleType

from torch import Tensor, nn

from equipoise.errors import UsageError

Factory = Callable[[int, int], nn.Module]


class Unnormalized(nn.Identity):
    """Stand where a norm would, so that the same sites are measured without one."""


class OverChannels(nn.Module):
    """Apply a norm of the last axis to axis 1: ``(N, C, ...)`` in and out."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x`` over its channels at each position."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def groups(channels: int) -> int:
    """Give at most 8 groups of at least 4 channels each, where the channels allow it."""
    return math.gcd(8, channels, max(1, channels // 4))


# name: (class in equipoise.nn, how to build it for so many channels)
ROWS: dict[str, tuple[str, Callable[[type, int], nn.Module]]] = {
    "batch": ("BatchNorm{dims}d", lambda norm, channels: norm(channels)),
    "layer": ("LayerNorm", lambda norm, channels: OverChannels(norm(channels))),
    "rms": ("RMSNorm", lambda norm, channels: OverChannels(norm(channels))),
    "group": ("GroupNorm", lambda norm, channels: norm(groups(channels), channels)),
    "instance": ("InstanceNorm{dims}d", lambda norm, channels: norm(channels, affine=True)),
    "response": ("FilterResponseNorm", lambda norm, channels: norm(channels)),
}
# they take statistics over positions, which rows of a table do not have
OVER_POSITIONS = ("instance", "response")


def _from_row(namespace: ModuleType, row: str) -> Factory:
    pattern, build = ROWS[row]
    return lambda channels, dims: build(getattr(namespace, pattern.format(dims=dims)), channels)


def available(namespace: ModuleType | None = None) -> dict[str, Factory]:
    """Give the factories by name: none, the rows that ``equipoise.nn`` has, torch's own batch.

    >>> list(available())[:2]
    ['none', 'batch']
    """
    if namespace is None:
        import equipoise.nn as namespace
    rows = {
        row: _from_row(namespace, row)
        for row, (pattern, _) in ROWS.items()
        if hasattr(namespace, pattern.format(dims=2))
    }
    return {
        "none": lambda channels, dims: Unnormalized(),
        **rows,
        "torch_batch": lambda channels, dims: getattr(nn, f"BatchNorm{dims}d")(channels),
    }


def choose(wanted: Iterable[str] | Mapping[str, Factory] | None = None) -> dict[str, Factory]:
    """Give the factories of the ``wanted`` names, of all names for None, or the given mapping."""
    if isinstance(wanted, Mapping):
        chosen = dict(wanted)
    else:
        known = available()
        names = list(known) if wanted is None else _names(wanted)
        chosen = {name: known[name] if name in known else _unknown(name, known) for name in names}
    if not chosen:
        raise UsageError("no norm is named: give at least one, such as none,batch")
    for name, factory in chosen.items():
        if not isinstance(name, str) or not name or not callable(factory):
            raise UsageError(f"norm {name!r}: a norm is a name and a function (num_features, dims)")
    return chosen


def fitting(names: Iterable[str], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Give those of the names that can stand in a network for samples of this shape.

    >>> fitting(["batch", "instance"], (64,))
    ('batch',)
    """
    positions = len(shape) > 1
    return tuple(name for name in names if positions or name not in OVER_POSITIONS)


def _names(wanted: Iterable[str]) -> list[str]:
    """Split at commas; a name that comes twice counts once."""
    parts = [wanted] if isinstance(wanted, str) else list(wanted)
    names = (name.strip() for part in parts for name in str(part).split(","))
    return list(dict.fromkeys(name for name in names if name))


def _unknown(name: str, known: Mapping[str, Factory]) -> Factory:
    near = difflib.get_close_matches(name.lower(), known, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"unknown norm {name!r}.{hint} The norms are {', '.join(known)}.")


class Sites:
    """The factory that a model gets; it keeps the norms that it made.

    >>> sites = Sites(available()["none"])
    >>> sites(16, dims=2)
    Unnormalized()
    """

    def __init__(self, factory: Factory):
        self.factory = factory
        self.made: list[nn.Module] = []

    def __call__(self, num_features: int, dims: int = 2) -> nn.Module:
        """Make the norm for ``num_features`` channels."""
        if not isinstance(num_features, Integral) or num_features < 1:
            raise UsageError(f"norm(num_features): a positive int is needed, {num_features!r} came")
        if dims not in (1, 2, 3):
            raise UsageError(f"norm(num_features, dims): dims is 1, 2 or 3, {dims!r} came")
        norm = self.factory(int(num_features), dims)
        if not isinstance(norm, nn.Module):
            raise UsageError(f"a norm factory must give a torch.nn.Module, {type(norm)} came")
        self.made.append(norm)
        return norm

    def within(self, model: nn.Module) -> dict[str, nn.Module]:
        """Give the made norms that ``model`` holds, by their names in it."""
        made = {id(norm) for norm in self.made}
        return {name: part for name, part in model.named_modules() if id(part) in made}
