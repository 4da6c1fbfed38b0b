"""Compile every CPU kernel now: containers start cold, and the first step should not wait."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch


def _normalize() -> Iterator[tuple[str, Callable[[], object]]]:
    from equipoise.ops.normalize import cpu, cpu_elements

    own = (*cpu_elements.FORWARD.values(), *cpu_elements.BACKWARD.values())
    kernels = (*cpu.KERNELS.values(), *own)
    yield "update_running", lambda: cpu.UPDATE_RUNNING.address(torch.float32)
    for dtype in (torch.float32, torch.float64):
        for kernel in kernels:
            name = f"{kernel.name} {str(dtype).removeprefix('torch.')}"
            yield name, lambda kernel=kernel, dtype=dtype: kernel.address(dtype)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        name = f"sweeps {str(dtype).removeprefix('torch.')}"
        yield name, lambda dtype=dtype: cpu.compile_sweeps(dtype)
        name = f"sweeps of rows {str(dtype).removeprefix('torch.')}"
        yield name, lambda dtype=dtype: cpu_elements.compile_sweeps(dtype)


def _moments() -> Iterator[tuple[str, Callable[[], object]]]:
    from equipoise.moments import CoMoments, Moments

    # small runs on the calling thread, large ones on the pool: two forms
    for rows in (64, 20_000):
        for dtype in ("float32", "float64"):
            x = np.zeros((rows, 16), dtype)
            yield f"moments {dtype} {rows}", lambda x=x: Moments.of(x)
        x = np.zeros((rows, 16))
        yield f"comoments {rows}", lambda x=x: CoMoments.of(x)
    y = np.zeros((64, 16))
    yield "merge", lambda: Moments.of(y) + Moments.of(y)
    yield "weighted", lambda: Moments.of(y, weights=np.ones(64))


def _scaling() -> Iterator[tuple[str, Callable[[], object]]]:
    from equipoise.ops.quantile.op import quantiles
    from equipoise.ops.scale.op import Affine
    from equipoise.ops.scale.rows import UnitRows

    columns = Affine(np.zeros(16), np.ones(16))
    # small runs on the calling thread, large ones on the pool: two forms
    for rows in (2_000, 20_000):
        for dtype in ("float32", "float64"):
            x = np.random.default_rng(0).standard_normal((rows, 16)).astype(dtype)
            # a tail so heavy that both searches are needed
            y = x / np.where(np.arange(rows) % 7, 1, 1e-6)[:, None].astype(dtype)
            yield f"scale {dtype} {rows}", lambda x=x: columns.apply(x)
            yield f"unit rows {dtype} {rows}", lambda x=x: UnitRows("l2").apply(x)
            yield f"quantiles {dtype} {rows}", lambda y=y: quantiles(y, [0.5])


def warmup(report: Callable[[str, float], None] | None = None) -> float:
    """Compile all kernels, or load them where they lie compiled on disk.

    Parameters
    ----------
    report : callable or None
        Called with each kernel's name and the seconds it took.

    Returns
    -------
    float
        Seconds in all.
    """
    began = time.perf_counter()
    for name, compile_it in (*_normalize(), *_moments(), *_scaling()):
        start = time.perf_counter()
        compile_it()
        if report is not None:
            report(name, time.perf_counter() - start)
    return time.perf_counter() - began
