"""The one place that picks what runs: our kernels, aten, or the plain formula.

Order of choice: ``EQUIPOISE_BACKEND`` (reference, aten, cpu, gpu), then measured rules.  A forced
backend that cannot run raises; a fallback is logged once, at DEBUG.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from equipoise.ops.normalize.op import (
    INTERPRETED,
    direct,
    on_gpu,
    plain_tensors,
    transformed_in_graph,
)

log = logging.getLogger("equipoise")
BACKENDS = ("reference", "aten", "cpu", "gpu")
_TRITON = find_spec("triton") is not None
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def forced() -> str | None:
    """Give the backend that the environment forces, or None."""
    name = os.environ.get("EQUIPOISE_BACKEND") or None
    if name is not None and name not in BACKENDS:
        raise ValueError(
            f"EQUIPOISE_BACKEND is one of {', '.join(BACKENDS)}; it is {name!r}: change or unset it"
        )
    return name


def kernel_runs(x: torch.Tensor) -> bool:
    """Tell whether the kernels of the tensor's device take it."""
    if x.dtype not in _FLOATS or x.layout != torch.strided:
        return False
    return x.device.type == "cpu" or (x.is_cuda and _TRITON)


# below this many numbers a call costs more than its arithmetic, and aten's calls cost less
SMALL = 16384
# OpenMP's threads sleep between parallel regions, instead of waiting for the next
_ASLEEP = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
# |mean| / std up to which aten's float32 statistics meet the bar of 2e-6
NEAR = 4.0


_forked = False


def _after_fork():
    global _forked
    _forked = True


# GNU OpenMP hangs or aborts a forked child that enters a parallel region, and aten enters one
# even for small tensors
os.register_at_fork(after_in_child=_after_fork)


def forked() -> bool:
    """Tell whether this process is a forked child, which must stay on one thread."""
    return _forked


def small(x: torch.Tensor) -> bool:
    """Tell whether aten is quicker on a tensor of this size, and as good.

    It wakes threads for the smallest tensor, which takes long where they sleep.  In channels_last
    its sums lose digits, and tensors without extent count as such.
    """
    if _ASLEEP and torch.get_num_threads() > 1:
        return False
    if x.numel() > SMALL or x.dtype not in (torch.float32, torch.float64) or _forked:
        return False
    if x.device.type != "cpu":
        return False
    return x.dim() > 2 and x.is_contiguous() and x.numel() > x.shape[0] * x.shape[1] > x.shape[0]


def near(mean: np.ndarray, invstd: np.ndarray) -> bool:
    """Tell whether every |mean| / std is so small that aten is accurate."""
    # an overflowing variance leaves 1 / std = 0, and NaN compares as false: ours are right there
    return bool(invstd.min() > 0.0 and np.abs(mean * invstd).max() <= NEAR)


class Choice(NamedTuple):
    """What runs, and why."""

    runs: str
    why: str


class Ran(NamedTuple):
    """A kernel that was called: its backend, its name, and on what."""

    backend: str
    kernel: str
    place: str


_AS_TORCH = Choice("aten", "torch's own operator takes what is empty, sparse or exported")
_NOT_TORCHS = Choice("formula", "neither our kernels nor an operator of torch's take it")
_COMPILED = Choice("kernel", "torch.compile holds our operator")
_FORCED_ATEN = Choice("aten", "EQUIPOISE_BACKEND=aten")
_FORCED_FORMULA = Choice("formula", "EQUIPOISE_BACKEND=reference")
_FORCED_KERNELS = {k: Choice("kernel", f"EQUIPOISE_BACKEND={k}") for k in ("cpu", "gpu")}
_WATCHED = Choice("formula", "a transform, forward AD or a tensor subclass looks on")
_UNTAKEN = Choice("formula", "no kernel takes this dtype on this device")
_SMALL = Choice("small", f"up to {SMALL} numbers torch's operator is quicker, and accurate here")
_KERNEL = Choice("kernel", "a dense tensor of a dtype and device that our kernels take")
LOST = Choice("kernel", f"small, but |mean| / std is above {NEAR:g}, where torch's digits are lost")


def choose(
    x: torch.Tensor, vectors, extra: torch.Tensor | None, *, for_torch: bool, aten: bool = True,
    small_calls: bool = True,
) -> str:  # fmt: skip
    """Pick aten, formula, small (aten, if it turns out accurate) or kernel for one call.

    ``vectors`` are of the channels, ``extra`` is what is added; ``for_torch`` tells that no kernel
    is wanted (nothing to compute, or an export), ``aten`` whether torch has this norm,
    ``small_calls`` whether its calls are worth trying on small tensors.
    """
    choice = _choice(x, vectors, extra, for_torch, aten, small_calls)
    note(choice)
    return choice.runs


def _choice(x, vectors, extra, for_torch, aten, small_calls) -> Choice:
    if for_torch:
        return _AS_TORCH if aten else _NOT_TORCHS
    backend = forced()
    _check_forced(x, backend, aten)
    if backend == "aten":
        return _FORCED_ATEN
    if backend == "reference":
        return _FORCED_FORMULA
    if x.layout != torch.strided:
        return _AS_TORCH if aten else _NOT_TORCHS
    if torch.compiler.is_compiling():
        if transformed_in_graph():
            return _WATCHED
        return _COMPILED if kernel_runs(x) else _UNTAKEN
    if not plain_tensors(x, extra, *vectors):
        _fell_back(_WATCHED.why)
        return _WATCHED
    if not kernel_runs(x):
        _fell_back(f"{_UNTAKEN.why}: {x.dtype}, {x.device.type}")
        return _UNTAKEN
    if backend in _FORCED_KERNELS:
        return _FORCED_KERNELS[backend]
    alike = small_calls and small(x) and direct()
    alike = alike and all(v is None or v.dtype == x.dtype for v in vectors)
    return _SMALL if alike else _KERNEL


def _check_forced(x: torch.Tensor, backend: str | None, aten: bool) -> None:
    """Refuse a tensor that the forced kernels cannot take, and a norm that torch has not."""
    if backend == "aten" and not aten:
        raise RuntimeError(
            "EQUIPOISE_BACKEND=aten runs torch's own operators, and torch has none for this norm: "
            "unset the variable, or set it to cpu, gpu or reference"
        )
    if backend not in _FORCED_KERNELS or x.device.type == "meta":
        return
    if backend == "gpu" and not _TRITON:
        raise RuntimeError(
            "EQUIPOISE_BACKEND=gpu runs Triton's kernels, and triton is not installed: "
            "pip install 'equipoise[gpu]', or unset the variable"
        )
    on_device = on_gpu(x) if backend == "gpu" else x.device.type == "cpu"
    if not on_device or not kernel_runs(x):
        kind = "CUDA" if backend == "gpu" else "CPU"
        hint = "" if backend == "cpu" or INTERPRETED else ", or set TRITON_INTERPRET=1 for tests"
        raise RuntimeError(
            f"EQUIPOISE_BACKEND={backend} runs on strided {kind} tensors of 16, 32 or 64 bits; the "
            f"input is {x.dtype} on {x.device}: unset the variable or move the input{hint}"
        )


@cache
def _fell_back(why: str) -> None:
    log.debug("equipoise takes the plain formula: %s", why)


# who listens
HEARD: ContextVar[list[Choice | Ran] | None] = ContextVar("heard", default=None)


def heard() -> list[Choice | Ran] | None:
    """Give the list of who listens, None where nobody does."""
    return None if torch.compiler.is_compiling() else HEARD.get()


def note(what: Choice | Ran) -> None:
    """Tell a listener, if there is one, what was chosen or ran."""
    notes = heard()
    if notes is not None:
        notes.append(what)


@contextmanager
def listening() -> Iterator[list[Choice | Ran]]:
    """Gather what is chosen and runs within the block, in order."""
    notes: list[Choice | Ran] = []
    token = HEARD.set(notes)
    try:
        yield notes
    finally:
        HEARD.reset(token)
