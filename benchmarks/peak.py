"""The peak of temporary memory in a call, without a look at the resident set.

The resident set also moves with the allocator's caches.  Two sources that do not: tracemalloc
counts what NumPy and Python ask for, exactly; and ``mallinfo2`` counts every byte in use on the
C heap (NumPy, torch and compiled kernels alike), read by a thread while the call runs.
"""

import ctypes
import threading
import tracemalloc
from collections.abc import Callable

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


class _MallInfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def _mallinfo2() -> Callable[[], _MallInfo2] | None:
    """Find glibc's function; None elsewhere."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    function.restype = _MallInfo2
    return function


def heap_peak(call: Callable[[], object]) -> float:
    """Sample the C heap while ``call`` runs: the peak above the start, in bytes; NaN elsewhere."""
    info = _mallinfo2()
    if info is None:
        return float("nan")

    def in_use() -> int:
        now = info()
        return now.uordblks + now.hblkhd

    done, seen = threading.Event(), [0]

    def watch():
        while not done.is_set():
            seen[0] = max(seen[0], in_use())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        start = in_use()
        seen[0] = start
        held = call()
        seen[0] = max(seen[0], in_use())
    finally:
        done.set()
        watcher.join()
    del held
    return float(seen[0] - start)


def traced_peak(call: Callable[[], object]) -> float:
    """Give the peak of what NumPy and Python allocate in ``call``, in bytes."""
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        held = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del held
    return float(peak - start)


def peak_megabytes(call: Callable[[], object], repeats: int = 3) -> float:
    """Give the larger of both measures over some calls, the first of which only warms up."""
    call()
    peaks = [f(call) for _ in range(repeats) for f in (traced_peak, heap_peak)]
    return max(p for p in peaks if p == p) / 2**20
