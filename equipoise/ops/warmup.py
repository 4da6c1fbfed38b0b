"""Compile every CPU kernel now: containers start cold, and the first step should not wait.

A compiler uses one core, so processes share the kernels out among themselves.
"""

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

import numpy as np
import torch

from equipoise.errors import UsageError
from equipoise.ops import cache
from equipoise.ops.threads import threads

Job = tuple[str, Callable[[], object]]
Report = Callable[[str, float], object]


def _normalize() -> Iterator[Job]:
    from equipoise.ops.normalize import cpu, cpu_elements

    own = (*cpu_elements.FORWARD.values(), *cpu_elements.BACKWARD.values())
    kernels = (*cpu.KERNELS.values(), *own)
    for dtype in (torch.float32, torch.float64):
        for kernel in kernels:
            name = f"{kernel.name} {str(dtype).removeprefix('torch.')}"
            yield name, lambda kernel=kernel, dtype=dtype: kernel.address(dtype)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        name = f"sweeps {str(dtype).removeprefix('torch.')}"
        yield name, lambda dtype=dtype: cpu.compile_sweeps(dtype)
        name = f"sweeps of rows {str(dtype).removeprefix('torch.')}"
        yield name, lambda dtype=dtype: cpu_elements.compile_sweeps(dtype)
    yield "update_running", lambda: cpu.UPDATE_RUNNING.address(torch.float32)


def _moments() -> Iterator[Job]:
    from equipoise.ops.moments import op

    for dtype in (torch.float32, torch.float64):
        name = f"moments {str(dtype).removeprefix('torch.')}"
        yield name, lambda dtype=dtype: op.SUMMARIZE.address(dtype)
    yield "merge", lambda: op.MERGE.address(torch.float64)


def _more_moments() -> Iterator[Job]:
    from equipoise.moments import CoMoments, Moments

    y = np.zeros((64, 16))
    yield "weighted", lambda: Moments.of(y, weights=np.ones(64))
    # small runs on the calling thread, large ones on the pool: two forms
    for rows in (64, 20_000):
        x = np.zeros((rows, 16))
        yield f"comoments {rows}", lambda x=x: CoMoments.of(x)


def _scaling() -> Iterator[Job]:
    from equipoise.ops.scale.op import SCALE
    from equipoise.ops.scale.rows import UNIT_ROWS

    for kernel in (SCALE, UNIT_ROWS):
        for dtype in (torch.float32, torch.float64):
            name = f"{kernel.name} {str(dtype).removeprefix('torch.')}"
            yield name, lambda kernel=kernel, dtype=dtype: kernel.address(dtype)


def _quantiles() -> Iterator[Job]:
    from equipoise.ops.quantile.op import quantiles

    # small runs on the calling thread, large ones on the pool: two forms
    for rows in (2_000, 20_000):
        for dtype in ("float32", "float64"):
            x = np.random.default_rng(0).standard_normal((rows, 16)).astype(dtype)
            # a tail so heavy that both searches are needed
            y = x / np.where(np.arange(rows) % 7, 1, 1e-6)[:, None].astype(dtype)
            yield f"quantiles {dtype} {rows}", lambda y=y: quantiles(y, [0.5])


def groups() -> list[list[Job]]:
    """Give the kernels, long groups first; what Numba keeps in one index is one group."""
    alone = (*_moments(), *_normalize(), *_scaling())
    return [[*_quantiles()], [*_more_moments()], *([job] for job in alone)]


def _compile(jobs: list[Job], report: Report) -> None:
    for name, compile_it in jobs:
        start = time.perf_counter()
        compile_it()
        report(name, time.perf_counter() - start)


def warmup(report: Report | None = None, processes: int | None = None) -> float:
    """Compile all kernels that do not lie compiled on disk yet, and keep them there.

    Parameters
    ----------
    report : callable or None
        Called with each kernel's name and the seconds it took, by one thread at a time.
    processes : int or None
        Processes that compile, None for as many as torch has threads.

    Returns
    -------
    float
        Seconds in all.

    Raises
    ------
    UsageError
        The folder for compiled kernels is not writable: they would be compiled for nothing.
    """
    began = time.perf_counter()
    with warnings.catch_warnings():
        # what it would warn of is the error below
        warnings.simplefilter("ignore")
        folder = cache.folder()
    if folder is None:
        raise UsageError(
            f"compiled kernels are kept on disk, and {cache.home()} is not writable: set "
            "EQUIPOISE_CACHE to a folder that is"
        )
    processes = threads() if processes is None else processes
    report = report or (lambda name, seconds: None)
    if processes == 1:
        for jobs in groups():
            _compile(jobs, report)
    else:
        _share_out(processes, report)
    return time.perf_counter() - began


def _share_out(processes: int, report: Report) -> None:
    """Hand each process the next group when it is through with one."""
    waiting, lock, errors = SimpleQueue(), threading.Lock(), []
    for k in range(len(groups())):
        waiting.put(k)

    def told(name: str, seconds: float) -> None:
        with lock:
            report(name, seconds)

    workers = [_Worker() for _ in range(processes)]

    def feed(worker: _Worker) -> None:
        try:
            with suppress(Empty):
                while not errors:
                    worker.compile(waiting.get_nowait(), told)
        except Exception as error:
            errors.append(error)

    feeders = [threading.Thread(target=feed, args=(worker,)) for worker in workers]
    for feeder in feeders:
        feeder.start()
    try:
        for feeder in feeders:
            feeder.join()
    finally:
        for worker in workers:
            worker.process.kill()
        for feeder, worker in zip(feeders, workers, strict=True):
            feeder.join()
            worker.process.communicate()
    if errors:
        raise errors[0]


class _Worker:
    """A process that compiles the groups whose numbers it is given."""

    def __init__(self):
        command = [sys.executable, "-c", f"from {__name__} import work; work()"]
        pipe = subprocess.PIPE
        # a session of its own: Ctrl-C comes to the one who ends it, and not in its imports
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, bufsize=1, start_new_session=True
        )

    def compile(self, group: int, report: Report) -> None:
        given, answers = self.process.stdin, self.process.stdout
        assert given is not None
        assert answers is not None
        with suppress(BrokenPipeError):
            print(group, file=given)
        for line in answers:
            if not line.strip():
                return
            name, seconds = line.split("\t")
            report(name, float(seconds))
        raise RuntimeError(
            f"a process that compiles kernels ended with code {self.process.wait()}; where memory "
            "is short, OMP_NUM_THREADS=1 compiles them in one"
        )


def work() -> None:
    """Compile the groups whose numbers come in on stdin; an empty line tells that one is done."""
    known = groups()
    # what kernels print must not be taken for an answer
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        _compile(known[int(line)], lambda *told: print(*told, sep="\t", file=answers))
        print(file=answers)
