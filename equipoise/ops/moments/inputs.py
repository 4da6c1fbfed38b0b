"""Check what comes into Moments and CoMoments, and bring it into one of a few forms."""

from typing import Any

import numpy as np
import torch

# bfloat16, which NumPy has no word for, travels as its bits
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
# these widen to float32 without loss; every other dtype goes through float64
_TO_FLOAT32 = frozenset(map(np.dtype, ("f2", "f4", "?", "i1", "u1", "i2", "u2")))


def array(x, name="x"):
    """Give ``x`` as a real array: NumPy's for all memory of the CPU, else a torch tensor."""
    if isinstance(x, torch.Tensor):
        return _from_tensor(x, name)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be masked: give {name}.filled(np.nan), or weights")
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} must be one array; NumPy says: {error}") from None
    if x.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be real numbers; got an array of dtype {x.dtype} and shape {x.shape}. "
            f"{_advice(x.dtype.kind)}"
        )
    return x


def _advice(kind):
    return {
        "c": "Give its real and imaginary parts one after the other.",
        "O": "Convert it first, as with x.astype(float), and see which values refuse.",
    }.get(kind, "Convert or drop the columns that are no numbers.")


def _from_tensor(x, name):
    real = x.dtype.is_floating_point and x.dtype.itemsize > 1
    if x.dtype.is_complex or x.is_quantized or not (real or x.dtype in _INTEGERS):
        raise TypeError(
            f"{name} must be real numbers; got a tensor of dtype {x.dtype} and shape "
            f"{tuple(x.shape)}. Convert it first, as with x.float(), or view_as_real if complex."
        )
    if x.layout is not torch.strided or x.is_meta:
        raise TypeError(
            f"{name} must hold its values densely; got a tensor of layout {x.layout} on "
            f"{x.device}. Call to_dense() on it if it is sparse."
        )
    x = x.detach()
    if x.device.type == "mps":
        # no float64 there
        x = x.cpu()
    if x.device.type != "cpu":
        return x
    if x.dtype is torch.bfloat16:
        return x.view(torch.int16).numpy().view(BFLOAT16)
    return x.resolve_neg().numpy()


_INTEGERS = frozenset(
    getattr(torch, name)
    for name in "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()
)


def device(x) -> torch.device | None:
    """Give the device of the tensors that answer for ``x``, None for NumPy arrays."""
    if not isinstance(x, torch.Tensor):
        return None
    return torch.device("cpu") if x.device.type == "mps" else x.device


def axes(axis, shape) -> tuple[int, ...]:
    """Give the reduced axes, ascending and not negative."""
    wanted = axis if isinstance(axis, tuple | list) else (axis,)
    ndim = len(shape)
    for a in wanted:
        if isinstance(a, bool) or not isinstance(a, int | np.integer):
            raise TypeError(f"axis must be an int or a tuple of ints; got {axis!r}")
        if not -ndim <= a < ndim:
            raise ValueError(
                f"axis must name axes of x, from {-ndim} to {ndim - 1}; got {axis!r} for shape "
                f"{tuple(shape)}."
                + (" Give a single value as an array of one: [value]." if ndim == 0 else "")
            )
    found = tuple(sorted({int(a) % ndim for a in wanted}))
    if len(found) < len(wanted):
        raise ValueError(f"axis must name each axis once; got {axis!r} for shape {tuple(shape)}")
    return found


def weights(w, x, reduced: tuple[int, ...]):
    """Give ``w`` as float64 of the shape of x's reduced axes, next to x's memory."""
    here, there = (device(v) or torch.device("cpu") for v in (x, w))
    if here != there:
        raise ValueError(
            f"weights must lie where x does; x is on {here}, weights are on {there}. "
            "Move one with .to(...)."
        )
    w = array(w, "weights")
    if isinstance(x, torch.Tensor):
        w = torch.as_tensor(w, dtype=torch.float64, device=x.device)
        bad = bool(((w < 0) | ~w.isfinite()).any())
    else:
        w = widen(w, np.float64)
        bad = bool((w < 0).any()) or not bool(np.isfinite(w).all())
    if bad:
        raise ValueError(
            f"weights must be finite and not negative: they say how often a row counts; got "
            f"values from {float(w.min())} to {float(w.max())}. Use 0 to leave a row out."
        )
    return _fit(w, tuple(x.shape[i] for i in reduced), reduced, tuple(x.shape))


def _fit(w, shape, reduced, whole):
    """Broadcast ``w`` to ``shape`` where its axes are equal or 1."""
    if w.ndim != len(shape) or any(a not in (1, b) for a, b in zip(w.shape, shape, strict=True)):
        raise ValueError(
            f"weights must have the shape of the reduced axes, {shape}; got {tuple(w.shape)} for "
            f"x of shape {whole} reduced over {reduced}."
        )
    return np.broadcast_to(w, shape) if isinstance(w, np.ndarray) else w.expand(shape)


def widen(x, dtype=None):
    """Give NumPy ``x`` in C order as ``dtype``: without one, float32 where no digit is lost."""
    if x.dtype == BFLOAT16:
        bits = np.ascontiguousarray(x).view(np.uint16).astype(np.uint32)
        x = (bits << 16).view(np.float32)
    if dtype is None:
        dtype = np.float32 if x.dtype in _TO_FLOAT32 else np.float64
    return np.ascontiguousarray(x, dtype)


def common_device(a, b) -> torch.device | None:
    """Give the one device that the summaries ``a`` and ``b`` merge on."""
    if None not in (a.device, b.device) and a.device != b.device:
        raise ValueError(
            f"summaries must lie on one device to merge; got {a.device} and {b.device}. "
            "Move one with .to(device)."
        )
    return b.device if a.device is None else a.device


def keep(state, device) -> Any:
    """Give ``state`` as its device keeps it: NumPy's on the CPU, a tensor elsewhere."""
    if device is None or device.type == "cpu":
        return state.cpu().numpy() if isinstance(state, torch.Tensor) else state
    return torch.as_tensor(state).to(device)
