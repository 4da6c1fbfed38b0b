"""equipoise: normalization for neural networks and the statistics around it.

One idea carries the package: a statistic that merges.  Names are imported on first use
(PEP 562), so that ``import equipoise`` costs torch and little else.

>>> import equipoise as eq, torch
>>> eq.nn.BatchNorm2d(3)(torch.randn(8, 3, 4, 4)).shape
torch.Size([8, 3, 4, 4])
"""

from importlib import import_module

__version__ = "0.1.0"

_SUBMODULES = ("data", "functional", "linear_model", "nn", "penalties", "preprocessing", "study")
_NAMES = {"Moments": "moments", "CoMoments": "moments"}

__all__ = [
    "CoMoments",
    "Moments",
    "__version__",
    "data",
    "functional",
    "nn",
    "penalties",
    "preprocessing",
    "study",
]


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"equipoise.{name}")
    if name in _NAMES:
        return getattr(import_module(f"equipoise.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'equipoise' has no attribute {name!r}; it has {sorted(__all__)}")


def __dir__():
    return sorted(__all__)
