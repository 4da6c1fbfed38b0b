"""A program: run sweeps whose memory ends where a page that nobody may touch begins."""

import ctypes
import json
import mmap
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from sweeps import call

from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.sweep import Sweep

PAGES = 4


class Fenced:
    """Numbers at the very end of a page; the next one is forbidden."""

    def __init__(self, dtype):
        size = (PAGES + 1) * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, size)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        start = self.bytes.ctypes.data
        assert start % mmap.PAGESIZE == 0
        libc = ctypes.CDLL(None, use_errno=True)
        fence = start + PAGES * mmap.PAGESIZE
        assert libc.mprotect(ctypes.c_void_p(fence), mmap.PAGESIZE, 0) == 0
        self.dtype = dtype

    def last(self, count):
        """Give the last ``count`` numbers before the fence."""
        size = count * np.dtype(self.dtype).itemsize
        end = PAGES * mmap.PAGESIZE
        return self.bytes[end - size : end].view(self.dtype)


def main(axis):
    def formula(v):
        d = v.x * v.r + v.c
        return {"y": d, "s": d}

    sweep = Sweep("fenced", formula, axis, ("x",), ("y",), ("r",), ("c",), ("s",))
    rows, lengths, wrong = 5, range(1, 101), 0
    formats = ((torch.float32, np.float32), (torch.float64, np.float64))
    formats += ((torch.bfloat16, np.uint16), (torch.float16, np.float16))
    for dtype, stored in formats:
        address = compiled.address(sweep, dtype)
        computed = np.float64 if dtype == torch.float64 else np.float32
        kinds = (stored, stored, computed, computed, np.float64 if axis else computed)
        fences = [Fenced(kind) for kind in kinds]
        for n in lengths:
            sizes = (rows * n, rows * n, rows, n, rows if axis else n)
            x, y, r, c, s = (f.last(size) for f, size in zip(fences, sizes, strict=True))
            one = 0x3F80 if dtype == torch.bfloat16 else 1
            x[:], y[:], r[:], c[:], s[:] = one, 0, 2, 1, 0
            call(address, (rows, n, n, *(t.ctypes.data for t in (x, y, r, c, s))))
            three = 0x4040 if dtype == torch.bfloat16 else 3
            wrong += int((y != three).sum() + (s != 3 * (n if axis else rows)).sum())
    print(json.dumps({"lengths": len(lengths), "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
