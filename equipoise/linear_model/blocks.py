"""Cut X into blocks that stay in the cache, and run over them on a few threads."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from equipoise.ops.dispatch import forked

# values in a block: a megabyte of float64
BLOCK = 1 << 17
# a larger block feeds BLAS's own threads better than several small ones on ours
POOLED = 512


@cache
def _blas() -> ThreadpoolController:
    # scipy's BLAS is another library than NumPy's
    import scipy.linalg  # noqa: F401

    return ThreadpoolController().select(user_api="blas")


class _OneThread:
    """A setting of the process: the first that asks makes it, the last that leaves undoes it."""

    def __init__(self):
        self.lock, self.users, self.limit = threading.Lock(), 0, None

    def enter(self):
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.limit = _blas().limit(limits=1)

    def leave(self):
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.limit is not None:
                self.limit.restore_original_limits()


_one_thread = _OneThread()


@contextmanager
def one_blas_thread():
    """Keep BLAS on the calling thread: it is called from several, or with small matrices.

    Two threads that wait for each other in a small product took several times as long as one
    beside other work.
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()


def threads() -> int:
    """Count the threads to use: torch's setting, 1 in a forked child."""
    return 1 if forked() else torch.get_num_threads()


def spans(n: int, step: int) -> list[slice]:
    """Cut 0 to n into slices of ``step``; n = 0 is one empty slice."""
    return [slice(i, min(i + step, n)) for i in range(0, max(n, 1), step)]


def row_step(n: int, p: int) -> int:
    """Give the rows in a block of a matrix (n, p): an eighth of it at most, where that is many."""
    wanted = max(BLOCK // max(p, 1), 256, p // 2)
    return max(1, min(wanted, max(n // 8, 256)))


def over(pieces: Iterable[Any], function: Callable[[Any], Any], pooled: bool = True) -> list:
    """Give ``function`` of each piece, in order; on a pool of threads where that helps."""
    pieces = list(pieces)
    count = min(threads(), len(pieces)) if pooled else 1
    if not pooled:
        return [function(piece) for piece in pieces]
    with one_blas_thread():
        if count == 1:
            return [function(piece) for piece in pieces]
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(function, pieces))


def each(pieces: list, function: Callable[[Any], Any]):
    """Call ``function``, which calls no BLAS, with each piece on a thread of its own."""
    if len(pieces) == 1:
        function(pieces[0])
        return
    with ThreadPoolExecutor(len(pieces)) as pool:
        list(pool.map(function, pieces))


def buffer(rows: int, columns: int, like, dtype=np.float64) -> np.ndarray:
    """Give memory for a block, in the order in which ``like`` lies in memory."""
    if getattr(like, "flags", None) is not None and like.flags.f_contiguous:
        return np.empty((columns, rows), dtype).T
    return np.empty((rows, columns), dtype)
