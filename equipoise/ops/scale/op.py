"""Map the columns of a matrix: the kernel where memory lies in lines, pieces where it does not."""

from typing import NamedTuple

import numpy as np
import torch

from equipoise.ops.scale.words import BACK, CHECK, DIVIDE, LINE, MULTIPLY, TASK
from equipoise.ops.sweep.tasks import TaskKernel, floats_of, words_of

SCALE = TaskKernel("equipoise.ops.scale.cpu", "scale")
# values converted at once: half a megabyte of float64
PIECE = 1 << 16
DEVICE_PIECE = 1 << 24
KERNEL_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}
_FLOATS = (*KERNEL_DTYPES, np.dtype(np.float16))


class Affine(NamedTuple):
    """The map y = (x - shift) / scale · factor + offset, within [low, high], of each column.

    >>> import numpy as np
    >>> forward = Affine(np.array([1.0]), np.array([2.0]))
    >>> y, infinite = apply(np.array([[5.0]]), forward)
    >>> y, apply(y, forward.inverse())[0]
    (array([[2.]]), array([[5.]]))
    """

    shift: np.ndarray
    scale: np.ndarray
    factor: float = 1.0
    offset: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    back: bool = False

    def apply(self, x: np.ndarray, out: np.ndarray | None = None):
        """Map as `apply` does."""
        return apply(x, self, out)

    def strange(self, x: np.ndarray) -> bool:
        """Tell whether ``x`` holds an infinity, before anything is overwritten."""
        return infinite(x)

    def inverse(self) -> "Affine":
        """Give the map back: x = (y - offset) · scale / factor + shift, without limits."""
        return self._replace(back=not self.back)

    def columns(self, first: int, last: int) -> "Affine":
        """Give the map of some neighbouring columns."""
        return self._replace(shift=self.shift[first:last], scale=self.scale[first:last])

    def sparse(self, y, chosen) -> bool:
        """Map what a SciPy CSR or CSC matrix stores, in place; tell if any value is infinite."""
        if self.shift.any() or self.offset:
            raise ValueError("Cannot center sparse matrices: zeros must stay zeros")
        if np.isinf(y.data).any():
            return True
        scale = np.ones(y.shape[1])
        scale[slice(None) if chosen is None else chosen] = self.scale / self.factor
        scale = scale.astype(y.dtype)
        own = scale[y.indices] if y.format == "csr" else np.repeat(scale, np.diff(y.indptr))
        if self.back:
            y.data *= own
        else:
            y.data /= own
            np.clip(y.data, self.low, self.high, out=y.data)
        return False

    def strange_tensor(self, x) -> bool:
        """Tell whether a tensor holds an infinity."""
        return bool(x.isinf().any())

    def on_device(self, x, dtype):
        """Give a tensor (n, p) mapped in float64 on its device, a piece at a time."""
        # no float64 on mps
        x, home = (x.cpu() if x.device.type == "mps" else x), x.device
        shift, scale = (torch.as_tensor(v, device=x.device) for v in (self.shift, self.scale))
        y = torch.empty(x.shape, dtype=dtype, device=x.device)
        step = max(1, DEVICE_PIECE // max(1, x.shape[1]))
        for i in range(0, len(x), step):
            v = x[i : i + step].double()
            if self.back:
                v = v.sub_(self.offset).mul_(scale / self.factor).add_(shift)
            else:
                v = v.sub_(shift).div_(scale).mul_(self.factor).add_(self.offset)
                v = v.clamp_(self.low, self.high)
            y[i : i + step] = v
        return y.to(home)

    def floats(self):
        """Give what is common to the columns, as the kernel takes it."""
        limits = (-np.inf, np.inf) if self.back else (self.low, self.high)
        return tuple(map(float, (self.factor, self.offset, *limits)))

    def coefficients(self, dtype):
        """Give the kernel's form, a and b."""
        if self.back:
            return BACK, self.shift, self.scale / self.factor
        if dtype == np.float64:
            return DIVIDE, self.shift, self.scale
        # rounded in float64 and then to fewer digits: the reciprocal does not show
        return MULTIPLY, self.shift, 1.0 / self.scale


def apply(x: np.ndarray, affine: Affine, out: np.ndarray | None = None):
    """Map the columns of ``x`` (n, p) of real numbers into ``out``, which may be ``x``.

    Without ``out``, floats keep their dtype and order in memory and integers become float64.

    Returns
    -------
    (out, infinite)
        and whether ``x`` holds an infinity.
    """
    if out is None:
        out = empty_like(x)
    if x.size == 0:
        return out, False
    if x.dtype == out.dtype and x.dtype in KERNEL_DTYPES:
        plan = walk(x, out)
        if plan is not None:
            return out, _run(x, out, affine, plan)
    return out, _by_pieces(x, out, affine)


def infinite(x: np.ndarray) -> bool:
    """Tell whether ``x`` (n, p) holds an infinity, in one read."""
    if x.size == 0 or x.dtype.kind != "f":
        return False
    nothing = np.ones(x.shape[1])
    plan = walk(x, x) if x.dtype in KERNEL_DTYPES else None
    if plan is None:
        return any(np.isinf(x[i : i + PIECE]).any() for i in range(0, len(x), PIECE))
    return _run(x, x, Affine(nothing, nothing), plan, check=True)


def result_dtype(dtype: np.dtype) -> np.dtype:
    """Give the dtype of what is scaled: floats keep theirs, all else becomes float64."""
    return dtype if dtype in _FLOATS else np.dtype(np.float64)


def empty_like(x: np.ndarray) -> np.ndarray:
    """Make room for x scaled, in x's order."""
    return np.empty_like(x, dtype=result_dtype(x.dtype), subok=False)


def walk(x, y):
    """Say how x and y lie as lines; None where they do not alike."""
    if not (x.dtype.isnative and x.flags.aligned and y.flags.aligned):
        return None
    (n, p), item = x.shape, x.itemsize
    if x.flags.c_contiguous and y.flags.c_contiguous:
        piece = p * max(1, LINE // p)
        return _lines(n * p, 1, 0, 0, piece, False)
    (sx, ux), (sy, uy) = x.strides, y.strides
    if any(s % item or s < 0 for s in (sx, ux, sy, uy)):
        return None
    if ux == uy == item or p == 1:
        return _lines(p, n, sx // item, sy // item, p, False)
    if sx == sy == item or n == 1:
        return _lines(n, p, ux // item, uy // item, LINE, True)
    return None


def _lines(length, runs, sx, sy, piece, constant):
    pieces = -(-length // piece)
    per_task = max(1, TASK // min(piece, length))
    return (runs * pieces, length, sx, sy, piece, pieces, per_task, constant)


def _run(x, y, affine, plan, check=False) -> bool:
    lines, length, _, _, piece, _, per_task, constant = plan
    form, a, b = affine.coefficients(x.dtype)
    if not constant and len(a) < min(piece, length):
        a, b = (np.tile(v, piece // len(v)) for v in (a, b))
    a, b = (np.ascontiguousarray(v, np.float64) for v in (a, b))
    addresses = [v.__array_interface__["data"][0] for v in (x, y, a, b)]
    same = addresses[0] == addresses[1] and x.strides == y.strides
    work = x.nbytes if check or same else 2 * x.nbytes
    integers = (*addresses, CHECK if check else form, *plan, same)
    words = words_of([(1, -(-lines // per_task))], 0, integers)
    return bool(SCALE(work, KERNEL_DTYPES[x.dtype], words, floats_of(*affine.floats())))


def _by_pieces(x, y, affine) -> bool:
    """Map piece by piece, through float64 in C order."""
    step = max(1, PIECE // x.shape[1])
    found = False
    for i in range(0, len(x), step):
        piece = np.ascontiguousarray(x[i : i + step], np.float64)
        mapped, infinite = apply(piece, affine)
        y[i : i + step] = mapped
        found |= infinite
    return found
