"""The kernels' sources run as plain Python, which takes milliseconds where compiling takes seconds.

So they can be broken on purpose, watched (every access is checked against its bounds), and run
with small blocks, so that a tensor of a few hundred numbers has pieces, chunks, groups and tiles.
"""

import math
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numba import typeof, types

from equipoise.ops import tasks
from equipoise.ops.moments import formula
from equipoise.ops.normalize import (
    activations,
    blocks,
    columns,
    columns_backward,
    cpu,
    layout,
    reference,
    rows,
    rows_backward,
    running,
    statistics,
)
from equipoise.ops.numbers import COMPUTE, as_array

# the constants of the sources, small enough for tensors of a few hundred numbers
SMALL = {
    rows: {"BLOCK": 8, "FIRST": 4},
    columns: {"RUN": 10, "FIRST": 2},
    cpu: {"CHUNK": 20, "SHORT": 4, "WIDTH": 12},
}
_IMPORTS = re.compile(r"^from (?:equipoise|numba)\S* import (?:\(.*?\)|[^(\n]*)$", re.M | re.S)


class Memory:
    """Stand for ``torch`` in the caller of the kernels: its tensors start as NaN, found again by
    their address, never read out of bounds.
    """

    def __init__(self):
        self.tensors = {}

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, *args, **options):
        tensor = torch.empty(*args, **options).fill_(torch.nan)
        self.tensors[tensor.data_ptr()] = tensor
        return tensor

    def empty_like(self, x):
        return torch.empty_like(x).fill_(torch.nan)

    def address(self, tensor):
        if tensor is None:
            return 0
        self.tensors[tensor.data_ptr()] = tensor
        return tensor.data_ptr()

    def array(self, address, size):
        """Give what lies at an address; an array of unknown size ends where its tensor ends."""
        if size == 0:
            return np.empty(0)
        whole = as_array(self.tensors[address])
        assert size == tasks.ALL or size <= whole.size
        return whole if size == tasks.ALL else whole[:size]


class PlainTasks:
    """Stand for ``TaskKernel``: run the tasks one after the other."""

    def __init__(self, function):
        self.function = function

    def __call__(self, work, dtype, count, integers, floats):
        for task in (tasks.BEFORE, *range(count), tasks.AFTER):
            self.function(task, integers, floats, None, None)


def window(x, start, size):
    assert 0 <= start <= start + size <= x.size
    return x.reshape(-1)[start : start + size]


def _power_of_two(n):
    bits = np.array([n + np.int32(127)], np.int32).view(np.uint32) << np.uint32(23)
    return bits.view(np.float32)[0]


def _same(function):
    return function


def _vocabulary(memory):
    """Give what the sources import, in plain form."""
    names = {
        "inline": _same, "splice": _same, "fast": _same, "Kernel": _same,
        "TaskKernel": PlainTasks, "apart": lambda: None, "window": window, "types": types,
        "widen": _same, "narrow": lambda array, value: value,
        "stored": lambda tag, address, size: memory.array(address, size),
        "float64_at": lambda tag, address: memory.array(address, tasks.ALL),
        "carray": lambda array, shape: array[: int(np.prod(shape))].reshape(shape),
        "power_of_two": _power_of_two,
        "BEFORE": tasks.BEFORE, "AFTER": tasks.AFTER, "ALL": tasks.ALL,
        "from_shifted": formula.from_shifted.py_func, "is_far": formula.is_far.py_func,
    }  # fmt: skip

    def overload(stub):
        def register(typed):
            names[stub.__name__] = lambda x: typed(typeof(x))(x)
            return typed

        return register

    return names | {"overload": overload}, names


@cache
def _source(module):
    return _IMPORTS.sub("", Path(module.__file__).read_text())


@cache
def _code(source):
    return compile(source, "kernels", "exec")


def broken(source, edits):
    """Give the source with each old text replaced by the new one."""
    for old, new in edits.items():
        source = source.replace(old, new)
    return source


def run_sources(modules, edits=None, small=True, memory=None):
    """Run modules' sources in one namespace after edits {old text: new text}."""
    edits = edits or {}
    for old in edits:
        assert any(old in _source(module) for module in modules), f"no source has: {old}"
    names, overloads = _vocabulary(memory or Memory())
    for module in modules:
        exec(_code(broken(_source(module), edits)), names)
        names.update(SMALL.get(module, {}) if small else {})
    # in kernels NaN has a floor
    names["math"] = SimpleNamespace(**vars(math) | {"floor": np.floor})
    # the stubs of exp and erf give way to what was registered for them
    names.update({name: f for name, f in overloads.items() if name in ("_exp", "_erf")})
    return SimpleNamespace(**names), names


def plain(edits=None, *, family=None, split=False, small=True):
    """Give a module like ``equipoise.ops.normalize.cpu`` on uncompiled kernels.

    ``edits`` break the sources of the kernels, ``family`` says whose; ``split`` runs the sums
    and what follows one after the other, as threads do where groups are few.
    """
    memory = Memory()
    families = {
        module: run_sources(
            (statistics, activations, blocks, module, back),
            edits if module is family else None, small, memory,
        )[0]
        for module, back in ((rows, rows_backward), (columns, columns_backward))
    }  # fmt: skip
    names = {
        "jit": SimpleNamespace(threads=lambda: 1), "rows": families[rows],
        "rows_backward": families[rows], "columns": families[columns],
        "columns_backward": families[columns], "dense": layout.dense, "COMPUTE": COMPUTE,
        "SUMS": statistics.SUMS, "APPLY": statistics.APPLY,
        "moments_in_float64": reference.moments_in_float64,
        "update_by_torch": reference.update_by_torch,
        "update_running": lambda work, *args: running.update_running.function(*args),
    }  # fmt: skip
    exec(_code(_source(cpu)), names)
    names |= {"torch": memory, "_address": memory.address} | (SMALL[cpu] if small else {})
    if split:
        names["_phases"] = lambda p: (statistics.SUMS, statistics.APPLY)
    return SimpleNamespace(**names)
