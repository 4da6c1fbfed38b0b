"""Linear models with scikit-learn's names and objectives: estimator = datafit × penalty × solver.

Names are imported on first use.
"""

from importlib import import_module

_NAMES: dict[str, str] = {
    "ElasticNet": "lasso",
    "ElasticNetCV": "cv",
    "GroupLasso": "group",
    "Lasso": "lasso",
    "LassoCV": "cv",
    "Ridge": "ridge",
    "RidgeCV": "ridge_cv",
    "enet_path": "path",
    "lasso_path": "path",
    "plot_cv": "plot",
    "plot_path": "plot",
    "ridge_path": "ridge_alphas",
}

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "GroupLasso",
    "Lasso",
    "LassoCV",
    "Ridge",
    "RidgeCV",
    "enet_path",
    "lasso_path",
    "plot_cv",
    "plot_path",
    "ridge_path",
]


def __getattr__(name):
    if name in _NAMES:
        return getattr(import_module(f"equipoise.linear_model.{_NAMES[name]}"), name)
    raise AttributeError(f"equipoise.linear_model has no {name!r}; it has {__all__}")


def __dir__():
    return __all__
