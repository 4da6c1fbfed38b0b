"""The container that the user wants back: what was given, unless ``set_output`` says otherwise."""

import numpy as np
import torch
from scipy import sparse
from sklearn import get_config

from equipoise.preprocessing import containers

OUTPUTS = ("default", "pandas", "polars")


def wanted(scaler) -> str | None:
    """Give "default", "pandas" or "polars" where ``set_output`` or the global setting asks."""
    own = getattr(scaler, "_sklearn_output_config", {})
    if "transform" in own:
        want = own["transform"]
        if want not in OUTPUTS:
            raise ValueError(f"set_output takes {', '.join(OUTPUTS)}; got {want!r}")
        return want
    common = get_config()["transform_output"]
    return None if common == "default" else common


def wrap(scaler, result, given):
    """Bring ``result``, in the container of ``given``, into the one that is wanted."""
    want = wanted(scaler)
    if want is None:
        return result
    if sparse.issparse(result):
        if want == "default":
            return result
        raise ValueError(
            f"sparse results fit no {want} frame; call set_output(transform='default'), or give X "
            "as a dense array"
        )
    if isinstance(result, torch.Tensor):
        result = result.cpu().numpy()
    if want == "default":
        return result if isinstance(result, np.ndarray) else result.to_numpy()
    names = scaler.get_feature_names_out()
    if want == "pandas":
        return _pandas(result, given, names)
    return _polars(result, names)


def _pandas(result, given, names):
    import pandas as pd

    if containers.is_pandas(result):
        return result
    if containers.is_polars(result):
        return pd.DataFrame({name: result[name].to_numpy() for name in result.columns})
    index = given.index if containers.is_pandas(given) else None
    return pd.DataFrame(result, index=index, columns=names, copy=False)


def _polars(result, names):
    import polars as pl

    if containers.is_polars(result):
        return result
    if containers.is_pandas(result):
        return pl.DataFrame({str(n): result.iloc[:, i].to_numpy() for i, n in enumerate(result)})
    return pl.DataFrame({str(n): result[:, i] for i, n in enumerate(names)})
