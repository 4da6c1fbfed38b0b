"""Divide rows by their norm on the CPU: each row is read twice, the second time from cache."""

from typing import NamedTuple

import numpy as np
import torch
from numba import prange

from equipoise.ops.jit import Kernel, fast, inline, window
from equipoise.ops.moments.op import flat
from equipoise.ops.scale.op import PIECE, empty_like

NORMS = ("l1", "l2", "max")
# sums of squares outside of these have lost digits
TINY, HUGE = 1e-280, 1e300
# values that a task divides
TASK = 1 << 15


@fast
def _sum_abs(x, factor):
    total = 0.0
    for i in range(x.size):
        total += abs(np.float64(x[i]) * factor)
    return total


@fast
def _sum_squares(x, factor):
    total = 0.0
    for i in range(x.size):
        v = np.float64(x[i]) * factor
        total += v * v
    return total


@inline
def _largest(x):
    """Give the largest absolute value; NaN where there is a NaN."""
    most = 0.0
    for i in range(x.size):
        v = abs(np.float64(x[i]))
        most = v if v > most or v != v else most
        if most != most:
            break
    return most


@inline
def _norm(x, kind):
    if kind == 2:
        return _largest(x)
    total = _sum_abs(x, 1.0) if kind == 0 else _sum_squares(x, 1.0)
    if (total > TINY and total < HUGE) or total != total:
        return total if kind == 0 else np.sqrt(total)
    most = _largest(x)
    if most == 0.0 or not most < np.inf:
        return most
    # a power of two of the size of the largest: exact to multiply by
    factor = 2.0 ** -min(max(np.floor(np.log2(most)), -1000.0), 1000.0)
    scaled = _sum_abs(x, factor) if kind == 0 else np.sqrt(_sum_squares(x, factor))
    return scaled / factor


@inline
def _divide(x, y, norm):
    for i in range(x.size):
        y[i] = np.float64(x[i]) / norm


def _unit_rows(x, y, plan, kind, write, strange):
    """Divide the rows of flat x; ``plan``: rows, width, distance in x and y, rows a task, same.

    ``strange`` (tasks,) tells which tasks met a NaN or an infinity; ``write`` whether to store.
    """
    rows, width, sx, sy, per_task, same = plan
    for task in prange(strange.shape[0]):
        t = np.int64(task)
        for row in range(t * per_task, min(rows, (t + 1) * per_task)):
            source = window(x, row * sx, width)
            norm = _norm(source, kind)
            if not norm < np.inf:
                strange[t] = 1
                # the norm itself may be beyond float64 where no value is
                norm = np.inf
            elif write and norm > 0.0 and same:
                _divide(source, source, norm)
            elif write:
                _divide(source, window(y, row * sy, width), norm if norm > 0.0 else 1.0)


_kernel = Kernel(_unit_rows)


class UnitRows(NamedTuple):
    """Rows divided by their norm, "l1", "l2" or "max".

    >>> import numpy as np
    >>> UnitRows("l1").apply(np.array([[1.0, 3.0]]))[0]
    array([[0.25, 0.75]])
    """

    norm: str

    def apply(self, x: np.ndarray, out: np.ndarray | None = None):
        """Give (out, strange): whether ``x`` (n, p) holds a NaN or an infinity."""
        if out is None:
            out = empty_like(x)
        if x.size == 0:
            return out, False
        if x.dtype == out.dtype and x.dtype.char in "fd" and _rows(x) and _rows(out):
            return out, self._run(x, out, True)
        return out, self._by_pieces(x, out)

    def strange(self, x: np.ndarray) -> bool:
        """Tell whether ``x`` holds a NaN or an infinity, before anything is overwritten."""
        if x.dtype.char in "fd" and x.size and _rows(x):
            return self._run(x, x, False)
        return not np.isfinite(x).all()

    def _run(self, x, y, write):
        per_task = max(1, TASK // x.shape[1])
        strange = np.zeros(-(-len(x) // per_task), np.int64)
        steps = [tuple(s // v.itemsize for s in v.strides) for v in (x, y)]
        same = x.ctypes.data == y.ctypes.data and x.strides == y.strides
        plan = (*x.shape, steps[0][0], steps[1][0], per_task, same)
        views = flat(x, steps[0]), flat(y, steps[1])
        _kernel(x.nbytes * (1 + write), *views, plan, NORMS.index(self.norm), write, strange)
        return bool(strange.any())

    def _by_pieces(self, x, y):
        step, found = max(1, PIECE // x.shape[1]), False
        wide = np.float64 if x.dtype != np.float32 else np.float32
        for i in range(0, len(x), step):
            piece = np.array(x[i : i + step], wide, order="C")
            found |= self.apply(piece, piece)[1]
            y[i : i + step] = piece
        return found

    def sparse(self, y, chosen) -> bool:
        """Divide the rows of a SciPy CSR or CSC matrix in place; tell if any value is strange."""
        rows = (
            y.indices if y.format == "csc" else np.repeat(np.arange(y.shape[0]), np.diff(y.indptr))
        )
        norms = np.zeros(y.shape[0])
        values = np.abs(y.data.astype(np.float64))
        if not np.isfinite(values).all():
            return True
        largest = np.zeros(y.shape[0])
        np.maximum.at(largest, rows, values)
        divisor = np.where(largest > 0, largest, 1.0)
        if self.norm == "max":
            norms = largest
        else:
            power = 1 if self.norm == "l1" else 2
            parts = (values / divisor[rows]) ** power
            norms = np.bincount(rows, parts, minlength=y.shape[0]) ** (1 / power) * largest
        y.data[:] = y.data / np.where(norms > 0, norms, 1.0)[rows]
        return False

    def strange_tensor(self, x) -> bool:
        """Tell whether a tensor holds a NaN or an infinity."""
        return not bool(x.isfinite().all())

    def on_device(self, x, dtype):
        """Give a tensor's rows divided, in float64 on its device."""
        wide = x.double() if x.device.type != "mps" else x.cpu().double()
        order = {"l1": 1, "l2": 2, "max": float("inf")}[self.norm]
        largest = wide.abs().amax(dim=1, keepdim=True)
        unit = wide / largest.where(largest > 0, 1.0)
        norms = torch.linalg.vector_norm(unit, order, dim=1, keepdim=True)
        return (unit / norms.where(norms > 0, 1.0)).to(x.device, dtype)


def _rows(x) -> bool:
    """Tell whether the values of a row lie side by side."""
    (step, inner), item = x.strides, x.itemsize
    apart = (inner == item or x.shape[1] == 1) and step >= 0 and step % item == 0
    return apart and x.flags.aligned and x.dtype.isnative
