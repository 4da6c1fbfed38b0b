"""The containers that scalers take: which they are, and how their numbers come out and go back."""

from typing import Any

import numpy as np
import torch
from scipy import sparse

from equipoise.data.columnar import Columns
from equipoise.data.files import is_path
from equipoise.moments import Moments
from equipoise.ops.moments import op as moments
from equipoise.ops.scale import op

# how a refusal of a column ends
ADVICE = "Convert or drop it, or name those to scale, as in columns=['a', 'b']."
_STREAMS = ("pyarrow", "datasets", "ray", "dask")


def _library(x) -> str:
    return type(x).__module__.partition(".")[0]


def is_pandas(x) -> bool:
    """Tell a pandas frame, without importing pandas."""
    libraries = {base.__module__.partition(".")[0] for base in type(x).__mro__}
    return "pandas" in libraries and hasattr(x, "iloc") and hasattr(x, "columns")


def is_polars(x) -> bool:
    """Tell an eager polars frame, without importing polars."""
    return _library(x) == "polars" and type(x).__name__ == "DataFrame"


def is_source(x) -> bool:
    """Tell what is read chunk by chunk: paths, iterators, Arrow, lazy frames, data sets."""
    if isinstance(x, np.ndarray):
        return False
    if isinstance(x, dict | torch.utils.data.Dataset | torch.utils.data.DataLoader) or is_path(x):
        return True
    if isinstance(x, torch.Tensor) or sparse.issparse(x):
        return False
    if _library(x) in _STREAMS or type(x).__name__ == "LazyFrame":
        return True
    return hasattr(x, "__next__")


def is_spent(x) -> bool:
    """Tell a source that gives its rows once: an iterator, or a reader of Arrow's."""
    return is_source(x) and (hasattr(x, "__next__") or hasattr(x, "read_next_batch"))


def take(x) -> Any:
    """Wrap the container ``x``: `Array`, `Sparse`, `Tensor`, `Pandas` or `Polars`."""
    if isinstance(x, torch.Tensor):
        return Tensor(x)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            "X must not be masked: give X.filled(np.nan) with X of floats; NaNs are left out"
        )
    if sparse.issparse(x):
        return Sparse(x)
    if is_pandas(x):
        from equipoise.preprocessing.frames import Pandas

        return Pandas(x)
    if is_polars(x):
        from equipoise.preprocessing.frames import Polars

        return Polars(x)
    return Array(x)


def row_weights(weights, rows: int):
    """Check weights of rows: None, or float64 (rows,), finite, not negative, not all zero."""
    if weights is None:
        return None
    if isinstance(weights, torch.Tensor):
        weights = weights.detach().cpu()
    weights = np.asarray(weights, np.float64)
    if weights.ndim == 0:
        weights = np.full(rows, weights[()])
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array")
    if len(weights) != rows:
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}!")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            "sample_weight must be finite and not negative: it says how often a row counts; got "
            f"values from {weights.min()} to {weights.max()}"
        )
    if not weights.any():
        raise ValueError("sample_weight must not be zero everywhere: then no row counts")
    return weights


class Array:
    """A NumPy array (rows, columns), or what became one."""

    names = None

    def __init__(self, x):
        self.x = x

    def matrix(self, chosen):
        """Give the numbers of the chosen columns."""
        return self.x if chosen is None else self.x[:, chosen]

    def map(self, chosen, how, in_place, out):
        """Scale the chosen columns; give the array and whether any was infinite."""
        target = self._target(in_place, out)
        if target is self.x and how.strange(self.matrix(chosen)):
            # nothing of the user's is overwritten
            return target, True
        if chosen is None:
            return how.apply(self.x, target)
        mapped, infinite = how.apply(self.matrix(chosen))
        if target is not self.x:
            target[...] = self.x
        target[:, chosen] = mapped
        return target, infinite

    def _target(self, in_place, out):
        if out is not None:
            return _checked_out(out, self.x)
        usable = self.x.dtype == op.result_dtype(self.x.dtype) and self.x.flags.writeable
        return self.x if in_place and usable else op.empty_like(self.x)


def _checked_out(out, x):
    dtype = op.result_dtype(x.dtype)
    if not isinstance(out, np.ndarray) or out.shape != x.shape or out.dtype != dtype:
        came = f"{type(out).__name__} {getattr(out, 'dtype', '')} {getattr(out, 'shape', '')}"
        raise ValueError(f"out must be an array of dtype {dtype} and shape {x.shape}; got {came}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable; got a read-only array")
    _require_apart(out)
    if np.may_share_memory(out, x) and not _same_memory(out, x):
        raise ValueError("out must be X itself or apart from it; got a shifted view of X")
    return x if _same_memory(out, x) and x.flags.writeable else out


def _require_apart(out) -> None:
    """Refuse an array or tensor (n, p) in which two values lie at one place."""
    strides = out.strides if isinstance(out, np.ndarray) else out.stride()
    apart = sorted((abs(s), n) for s, n in zip(strides, out.shape, strict=True) if n > 1)
    reach = 0
    for step, count in apart:
        if step <= reach or not step:
            raise ValueError(
                f"out must have a place for each value; got strides {tuple(strides)} for shape "
                f"{tuple(out.shape)}, as of a broadcast array. Give a contiguous one."
            )
        reach += step * (count - 1)


def _same_memory(a, b) -> bool:
    return a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.dtype == b.dtype


class Objects(Array):
    """A NumPy array of objects (rows, columns): words may stand beside the chosen columns."""

    def matrix(self, chosen):
        """Give the numbers of the chosen columns."""
        found = np.empty((len(self.x), len(chosen)))
        for i, column in enumerate(chosen):
            for row, value in enumerate(self.x[:, column]):
                try:
                    found[row, i] = np.nan if value is None else value
                except (TypeError, ValueError):
                    raise ValueError(
                        f"columns must hold numbers; column {column} holds {value!r} in row {row}. "
                        "Convert it, or leave it out of columns=."
                    ) from None
        return found

    def map(self, chosen, how, in_place, out):
        """Scale the chosen columns; give the array and whether any was infinite."""
        if out is not None:
            raise ValueError("out= needs numbers; got an array of objects. Use copy=False.")
        mapped, infinite = how.apply(self.matrix(chosen))
        target = self.x if in_place and self.x.flags.writeable else self.x.copy()
        if not infinite:
            target[:, chosen] = mapped
        return target, infinite


class Sparse(Array):
    """A SciPy matrix, CSR or CSC: only maps that keep zeros."""

    def map(self, chosen, how, in_place, out):
        """Scale what is stored; give the matrix and whether any was infinite."""
        if out is not None:
            raise ValueError("out= needs a dense array; got a sparse matrix. Use copy=False.")
        y = self.x if in_place else self.x.copy()
        if not y.data.flags.writeable:
            y.data = y.data.copy()
        return y, how.sparse(y, chosen)


class Tensor:
    """A torch tensor (rows, columns) on any device; no gradients flow."""

    names = None

    def __init__(self, x):
        self.x = x.detach()

    def matrix(self, chosen):
        """Give the chosen columns."""
        return self.x if chosen is None else self.x[:, self._index(chosen)]

    def _index(self, chosen):
        return torch.as_tensor(chosen, device=self.x.device)

    def map(self, chosen, how, in_place, out):
        """Scale the chosen columns; give the tensor and whether any was infinite."""
        target = self._target(in_place, out)
        if self.x.device.type == "cpu" and self.x.dtype in _NUMPY and target.dtype in _NUMPY:
            array = Array(self.x.numpy())
            _, infinite = array.map(chosen, how, False, target.detach().numpy())
            return target, infinite
        x = self.matrix(chosen)
        infinite = how.strange_tensor(x)
        if not infinite:
            mapped = how.on_device(x, target.dtype)
            if chosen is None:
                target.detach().copy_(mapped)
            else:
                target.detach().copy_(self.x)
                target.detach()[:, self._index(chosen)] = mapped
        return target, infinite

    def _target(self, in_place, out):
        x = self.x
        dtype = x.dtype if x.is_floating_point() else torch.float64
        if out is not None:
            same = isinstance(out, torch.Tensor) and (out.shape, out.dtype, out.device) == (
                x.shape, dtype, x.device,
            )  # fmt: skip
            if not same:
                raise ValueError(
                    f"out must be a tensor of shape {tuple(x.shape)}, {dtype}, on {x.device}; got "
                    f"{type(out).__name__} {getattr(out, 'dtype', '')} "
                    f"{tuple(getattr(out, 'shape', ()))}"
                )
            _require_apart(out)
            return out
        return x if in_place and dtype == x.dtype else torch.empty_like(x, dtype=dtype)


_NUMPY = (
    *(torch.float64, torch.float32, torch.float16, torch.bool, torch.uint8),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
)


def summary_of(x, weights=None) -> Moments:
    """Give the `Moments` of the columns of a matrix: dense, apart, tensor or sparse."""
    if isinstance(x, Columns):
        return Moments.from_state(moments.of_columns(x.columns, moments.summarize))
    if sparse.issparse(x):
        from equipoise.ops.moments.sparse import summarize_sparse

        return Moments.from_state(summarize_sparse(x, weights))
    return Moments.of(x, weights=weights)
