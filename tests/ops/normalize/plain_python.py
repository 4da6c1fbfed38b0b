"""The kernels' sources run as plain Python, which takes milliseconds where compiling takes seconds.

So they can be broken on purpose, watched (every access is checked against its bounds), and run
with small blocks, so that a tensor of a few hundred numbers has pieces, chunks, groups and tiles.
Sources are executed with imports of their own: the package's modules come as plain as they are,
Numba and the calls of machine code as stand-ins.
"""

import builtins
import math
from bisect import bisect_right, insort
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from equipoise.ops.normalize import words
from equipoise.ops.sweep import loop

NORMALIZE, SWEEP = "equipoise.ops.normalize", "equipoise.ops.sweep"
# the modules that run as plain Python; others are themselves
PLAIN = tuple(
    [f"{NORMALIZE}.{name}" for name in (
        "activations", "formulas", "statistics", "words", "rows", "columns", "elements",
        "positions", "running", "plan", "cpu", "cpu_elements",
    )]
    + [f"{SWEEP}.{name}" for name in ("tasks", "call", "compiled")]
)  # fmt: skip
# the constants of the sources, small enough for tensors of a few hundred numbers
SMALL = {
    "rows": {"FIRST": 4, "FEW": 2},
    "words": {"RUN": 3},
    "columns": {"FIRST": 2},
    "plan": {"CHUNK": 20, "WIDTH": 12},
    "elements": {"RUN": 4, "FIRST": 3},
    "positions": {"RUN": 4, "FIRST": 3},
    "cpu_elements": {"NUMBERS": 20, "PLACES": 3, "VECTOR": 3, "CHUNKS": 4},
}
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class Memory:
    """Know all memory that kernels may touch, by address, and give views of it within bounds.

    Everything is kept, so that no address is used twice.
    """

    def __init__(self):
        self.starts, self.owners = [], {}

    def add(self, array):
        """Register the memory of a tensor or array; give it back."""
        if isinstance(array, torch.Tensor):
            start, size = array.data_ptr(), array.untyped_storage().nbytes()
            start, view = array.untyped_storage().data_ptr(), array.untyped_storage()
            flat = torch.empty(0, dtype=torch.uint8).set_(view).numpy() if size else None
        else:
            start, flat = array.ctypes.data, array.reshape(-1).view(np.uint8)
        if flat is not None and flat.size and start not in self.owners:
            insort(self.starts, start)
            self.owners[start] = (flat, array)
        return array

    def view(self, address, shape, dtype, strides=None):
        """View numbers at an address; beyond what was registered it is an error."""
        address, shape = int(address), tuple(map(int, shape))
        if 0 in shape:
            return np.empty(shape, dtype)
        k = bisect_right(self.starts, address) - 1
        assert k >= 0, "an address of nothing"
        start = self.starts[k]
        flat = self.owners[start][0]
        # which checks the bounds
        return np.ndarray(shape, dtype, flat, address - start, strides)


class Torch:
    """Stand for ``torch``: new tensors start as NaN, and kernels may touch them."""

    def __init__(self, memory):
        self.memory = memory

    def __getattr__(self, name):
        found = getattr(torch, name)
        return self._kept(found) if name in ("empty", "empty_like", "full") else found

    def _kept(self, function):
        def make(*args, **options):
            tensor = function(*args, **options)
            return self.memory.add(tensor if function is torch.full else tensor.fill_(torch.nan))

        return make


class Numpy:
    """Stand for ``numpy`` likewise; what a kernel takes the address of stays alive."""

    def __init__(self, memory):
        self.memory = memory

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, *args):
        return self.memory.add(np.full(args[0], np.nan, *args[1:]))

    def zeros(self, *args):
        return self.memory.add(np.zeros(*args))


def _same(function):
    return function


def run_sweep(memory, sweep, dtype, words):
    """Run a sweep's formula by NumPy; only what the formula asks for is read."""
    rows, columns, pitch = (int(w) for w in words[:3])
    at = dict(zip(sweep.operands, words[3:], strict=True))
    kind = np.dtype(_NUMPY[dtype])

    def matrix(name):
        return memory.view(at[name], (rows, columns), kind, (pitch * kind.itemsize, kind.itemsize))

    class Operands:
        def __getattr__(self, name):
            if name in sweep.reads:
                # as registers hold it: what is written then changes nothing
                return matrix(name).copy()
            if name in sweep.rows:
                return memory.view(at[name], (rows, 1), kind)
            assert name in sweep.columns
            return memory.view(at[name], (1, columns), kind)

    if rows <= 0 or columns <= 0:
        return
    out = sweep.formula(Operands())
    for name in sweep.writes:
        if name in out:
            matrix(name)[:] = out[name]
    for name in sweep.sums:
        length, total = (rows, np.float64) if sweep.axis else (columns, kind)
        sums = memory.view(at[name], (length,), total)
        sums += np.broadcast_to(out[name], (rows, columns)).sum(sweep.axis, dtype=np.float64)


class Machine:
    """What stands for compiled code: functions and sweeps by number."""

    def __init__(self, memory):
        self.memory, self.code = memory, [None]

    def keep(self, *code):
        """Give code an address."""
        self.code.append(code)
        return len(self.code) - 1

    def loop(self, address, integers, floats, threads):
        """Stand for the loop over tasks."""
        function, kind = self.code[address]
        told, floats = np.array(integers, np.int64), np.array(floats)
        scratch = self.memory.add(np.full(max(1, told[loop.NUMBERS]), np.nan))
        told[loop.SCRATCH] = scratch.ctypes.data
        for k in range(loop.PHASES, loop.HEAD, 2):
            if told[k]:
                told[loop.PHASE] = told[k]
                for task in (loop.BEFORE, *range(told[k + 1]), loop.AFTER):
                    function(np.int64(task), told, floats, np.empty(0, kind))
        integers[:] = told.tolist()
        return True

    def run(self, address, words, kept):
        """Stand for the call of a sweep."""
        run_sweep(self.memory, *self.code[int(address)], words)

    def address(self, array, index):
        """Stand for the address of a number of an array."""
        assert array.flags.c_contiguous
        assert 0 <= index <= array.size
        at = array.ctypes.data
        if array.size:
            self.memory.view(at, (array.size,), array.dtype)
        return at + int(index) * array.itemsize

    def emits(self, function):
        """Stand for intrinsics, by their names."""
        return {
            "run": self.run, "address": self.address,
            "pointer_at": lambda tag, address: (tag.dtype, address),
        }[function.__name__]  # fmt: skip

    def task_object(self, function, dtype, target):
        """Stand for the compiler of tasks."""
        return self.keep(function, _NUMPY[dtype])

    def jit(self):
        """Stand for ``equipoise.ops.jit``."""
        return SimpleNamespace(inline=_same, splice=_same, fast=_same, emits=self.emits)

    def numba(self):
        """Stand for Numba."""

        def carray(pointer, shape):
            return self.memory.view(pointer[1], shape, pointer[0])

        return SimpleNamespace(carray=carray, types=None)


@cache
def _source(name):
    return Path(import_module(name).__file__).read_text()


@cache
def _code(source, name):
    return compile(source, name, "exec")


def broken(source, edits):
    """Give the source with each old text replaced by the new one."""
    for old, new in edits.items():
        source = source.replace(old, new)
    return source


class Sources:
    """The package's modules as plain Python, after ``edits`` {old text: new text} of some."""

    def __init__(self, edits=None, edited=(), small=True):
        self.edits, self.edited, self.small = edits or {}, edited, small
        self.memory = Memory()
        self.machine, self.modules = Machine(self.memory), {}
        for old in self.edits:
            found = any(old in _source(f"{NORMALIZE}.{name}") for name in edited)
            assert found, f"no source of {edited} has: {old}"

    def stand_in(self, name):
        """Give the module that a source gets where it imports ``name``."""
        if name in PLAIN:
            return self.module(name)
        if name == "equipoise.ops.moments.formula":
            real = import_module(name)
            return SimpleNamespace(**{k: getattr(v, "py_func", v) for k, v in vars(real).items()})
        if name == f"{NORMALIZE}.layout":
            layout = import_module(name)
            return SimpleNamespace(
                dense=lambda *a, **o: self.memory.add(layout.dense(*a, **o)),
                crossed=layout.crossed,
            )
        special = {
            "torch": lambda: Torch(self.memory), "numpy": lambda: Numpy(self.memory),
            # in kernels NaN has a floor
            "math": lambda: SimpleNamespace(**vars(math) | {"floor": np.floor}),
            "numba": self.machine.numba, "equipoise.ops.jit": self.machine.jit,
            "importlib": lambda: SimpleNamespace(import_module=self.module),
            "equipoise.ops.threads": lambda: SimpleNamespace(
                threads=lambda: 1, threads_for=lambda work: 1
            ),
            f"{SWEEP}.loop": lambda: SimpleNamespace(**vars(loop) | {"run": self.machine.loop}),
            f"{SWEEP}.frontend": lambda: SimpleNamespace(task_object=self.machine.task_object),
            f"{SWEEP}.machine": lambda: SimpleNamespace(
                load=lambda name, key, make, folder: make(None)
            ),
        }  # fmt: skip
        return special[name]() if name in special else None

    def _import(self, name, globals_=None, locals_=None, fromlist=(), level=0):
        found = self.stand_in(name)
        if found is not None:
            return found
        real = builtins.__import__(name, globals_, locals_, fromlist, level)
        if not fromlist:
            return real
        # a package: its modules may be plain
        names = {k: self.stand_in(f"{name}.{k}") for k in fromlist}
        return SimpleNamespace(
            **{k: v if v is not None else getattr(real, k) for k, v in names.items()}
        )

    def module(self, name):
        """Run a module's source, once."""
        if name not in self.modules:
            short = name.rpartition(".")[2]
            if name == f"{SWEEP}.compiled":
                keep = cache(lambda sweep, dtype, *_, **__: self.machine.keep(sweep, dtype))
                return self.modules.setdefault(name, SimpleNamespace(address=keep))
            source = _source(name)
            if short in self.edited:
                source = broken(source, self.edits)
            names = {
                "__name__": name,
                "__builtins__": vars(builtins) | {"__import__": self._import},
            }
            self.modules[name] = module = SimpleNamespace()
            exec(_code(source, name), names)
            names.update(SMALL.get(short, {}) if self.small else {})
            module.__dict__.update(names)
        return self.modules[name]

    def normalize(self, name):
        """Give a module of the folder."""
        return self.module(f"{NORMALIZE}.{name}")


def _registered(memory, function):
    """Register the tensors that a function is given."""

    def call(*args, **options):
        for value in (*args, *options.values()):
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, torch.Tensor):
                    memory.add(part)
        return function(*args, **options)

    return call


# what an edit of a family may be in: its own source and those that it builds on
SOURCES = ("statistics", "formulas", "activations", "running")


def plain(edits=None, *, family=None, split=False, small=True):
    """Give a module like ``equipoise.ops.normalize.cpu`` on uncompiled kernels.

    ``edits`` break the sources of the kernels, ``family`` says whose; ``split`` runs the sums
    and what follows one after the other, as threads do where groups are few.
    """
    edited = (*SOURCES, family) if family else SOURCES
    sources = Sources(edits, edited, small)
    cpu = sources.normalize("cpu")
    names = cpu.forward.__globals__
    if split:
        names["phases_of"] = lambda p, n: (words.SUMS, words.APPLY)
    wrapped = {
        name: _registered(sources.memory, names[name])
        for name in ("forward", "backward", "running")
    }
    return SimpleNamespace(
        **wrapped, plan=names["plan"], rows=sources.normalize("rows"),
        columns=sources.normalize("columns"), activations=sources.normalize("activations"),
        names=names, memory=sources.memory,
    )  # fmt: skip
