"""Divide the rows of a matrix by their norm: the kernel where a row lies side by side."""

from typing import NamedTuple

import numpy as np
import torch

from equipoise.ops.scale.op import KERNEL_DTYPES, PIECE, empty_like
from equipoise.ops.sweep.tasks import TaskKernel, floats_of, words_of

UNIT_ROWS = TaskKernel("equipoise.ops.scale.unit_rows", "unit_rows")

NORMS = ("l1", "l2", "max")
# values that a task divides
TASK = 1 << 15


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
        addresses = [v.__array_interface__["data"][0] for v in (x, y)]
        same = addresses[0] == addresses[1] and x.strides == y.strides
        steps = (v.strides[0] // v.itemsize for v in (x, y))
        integers = (*addresses, NORMS.index(self.norm), write, *x.shape, *steps, per_task, same)
        words = words_of([(1, -(-len(x) // per_task))], 0, integers)
        work = x.nbytes * (1 + write)
        return bool(UNIT_ROWS(work, KERNEL_DTYPES[x.dtype], words, floats_of()))

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
