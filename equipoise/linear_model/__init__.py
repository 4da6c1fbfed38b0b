"""Linear models with scikit-learn's names and objectives: estimator = datafit × penalty × solver.

Names are imported on first use.
"""

from importlib import import_module

_NAMES: dict[str, str] = {}

__all__: list[str] = []


def __getattr__(name):
    if name in _NAMES:
        return getattr(import_module(f"equipoise.linear_model.{_NAMES[name]}"), name)
    raise AttributeError(f"equipoise.linear_model has no {name!r}; it has {__all__}")


def __dir__():
    return __all__
