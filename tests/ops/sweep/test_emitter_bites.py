"""The emitter broken on purpose: a small suite that the emitter as it is passes must fail."""

import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from emitter_breaks import LANES, SWEEP
from scipy import special
from sweeps import COMPUTED, expected, run

from equipoise.ops.sweep import compiled, lanes, sweep

SOURCES = {m.__name__: Path(m.__file__).read_text() for m in (lanes, sweep, compiled)}
# what a broken emitter may make: wrong numbers, or what LLVM refuses
FAILURES = (AssertionError, RuntimeError, TypeError, ValueError)


def emitter(edits, of):
    """Give the three modules after edits of one, loaded beside those in use, without a cache."""
    names = SimpleNamespace()
    before = {name: sys.modules[name] for name in SOURCES}
    try:
        for name, source in SOURCES.items():
            if name == of.__name__:
                for old, new in edits.items():
                    assert old in source, f"the source no longer has: {old}"
                    source = source.replace(old, new)
            sys.modules[name] = module = ModuleType(name)
            exec(compile(source, name, "exec"), module.__dict__)
            setattr(names, name.rpartition(".")[2], module)
    finally:
        sys.modules.update(before)
    names.compiled.disk = SimpleNamespace(folder=lambda *args: None)
    return names


def near(found, wanted, ulps):
    """Tell whether numbers agree up to some units in the last place, NaN with NaN."""
    found, wanted = np.asarray(found), np.asarray(wanted, np.longdouble)
    rounded = wanted.astype(found.dtype)
    with np.errstate(all="ignore"):
        close = np.abs(found - wanted) <= ulps * np.spacing(np.abs(rounded))
        # zeros have signs
        close &= rounded != 0
    same = (found == rounded) & (np.signbit(found) == np.signbit(rounded))
    return bool((close | same | (np.isnan(found) & np.isnan(rounded))).all())


def operations(names):
    """Give operations by name, and what they must give."""
    L = names.lanes
    where, erf = L.where, special.erf
    return {
        "a - b": (lambda a, b: a - b, lambda a, b: a - b, 0),
        "a + b": (lambda a, b: a + b, lambda a, b: a + b, 0),
        "a * b": (lambda a, b: a * b, lambda a, b: a * b, 0),
        "a / b": (lambda a, b: a / b, lambda a, b: a / b, 0),
        "1 - a": (lambda a, b: 1.0 - a, lambda a, b: 1 - a, 0),
        "1 / a": (lambda a, b: 1.0 / a, lambda a, b: 1 / a, 0),
        "-a": (lambda a, b: -a, lambda a, b: -a, 0),
        "(a + b) - a": (lambda a, b: (a + b) - a, lambda a, b: (a + b) - a, 0),
        "<": (lambda a, b: where(a < b, a, 5.0), lambda a, b: np.where(a < b, a, 5), 0),
        "<=": (lambda a, b: where(a <= b, a, 5.0), lambda a, b: np.where(a <= b, a, 5), 0),
        ">": (lambda a, b: where(a > b, a, 5.0), lambda a, b: np.where(a > b, a, 5), 0),
        "exp": (lambda a, b: L.exp(a), lambda a, b: np.exp(a.astype(np.longdouble)), 2),
        "erf": (lambda a, b: L.erf(a), lambda a, b: erf(a.astype(np.float64)), 6),
        "1 / (1 + exp)": (lambda a, b: 1.0 / L.one_and_exp(a), logistic, 3),
        "normal": (lambda a, b: 2.0 + L.normal(a)[0], lambda a, b: 2 + special.ndtr(wide(a)), 2),
        "bell": (
            lambda a, b: 2.0 + L.normal(a)[1],
            lambda a, b: 2 + np.exp(-(wide(a) ** 2) / 2),
            2,
        ),
    }


def wide(a):
    """Give float64, where NaN is the bell's largest number."""
    return a.astype(np.float64)


def logistic(a, b):
    """Give 1 / (1 + exp(a)), 0 for NaN."""
    return np.where(np.isnan(a), 0.0, 1 / (1 + np.exp(a.astype(np.longdouble))))


def check_operations(names):
    """Raise where an operation is wrong."""
    points = [0.0, -0.0, 0.3, 1.0, 1.5, 3.7, 6.0, 20.0, 80.0, 1e3, 1e30, np.inf]
    points = np.array([*points, *(-np.array(points)), np.nan, *np.linspace(-5, 5, 301)])
    for dtype, computed in ((torch.float32, np.float32), (torch.float64, np.float64)):
        a, b = points.astype(computed), np.roll(points, 7).astype(computed)
        b[::5] = a[::5]
        both = operations(names)
        keys = {f"y{k}": name for k, name in enumerate(both)}

        def formula(v, both=both, keys=keys):
            return {y: both[name][0](v.a, v.b) for y, name in keys.items()}

        s = names.sweep.Sweep("operations", formula, 1, ("a", "b"), tuple(keys))
        reads = {"a": torch.from_numpy(a[None]), "b": torch.from_numpy(b[None])}
        found = run(s, names.compiled.address(s, dtype), dtype, reads)
        with np.errstate(all="ignore"):
            for y, name in keys.items():
                assert near(found[y][0].numpy(), both[name][1](a, b), both[name][2]), name


def check_sweeps(names):
    """Raise where a walk, a sum or a number format is wrong."""
    kinds = ((0, torch.float32, 1), (0, torch.float32, 4), (1, torch.float32, 1))
    for axis, dtype, block in (*kinds, (1, torch.bfloat16, 1)):

        def formula(v):
            d = (v.x - v.r) * v.c
            return {"y": d, "u": v.z * 2.0, "s": d, "q": v.z + v.r}

        s = names.sweep.Sweep(
            "walk", formula, axis, ("x", "z"), ("y", "u"), ("r",), ("c",), ("s", "q")
        )
        address = names.compiled.address(s, dtype, block=block)
        for rows, columns in ((3, 5), (9, 16), (1, 64), (6, 97), (2, 1103)):
            rng = np.random.default_rng(columns)

            def whole(*size, rng=rng):
                return rng.integers(-5, 6, size).astype(np.float64)

            reads = {k: torch.from_numpy(whole(rows, columns)).to(dtype) for k in "xz"}
            lines = {"r": whole(rows), "c": whole(columns)}
            lines = {k: v.astype(COMPUTED[dtype]) for k, v in lines.items()}
            before = {k: whole(rows if axis else columns) for k in "sq"}
            found = run(s, address, dtype, reads, lines, before, columns + 3)
            for k, v in expected(s, dtype, reads, lines, before).items():
                assert np.array_equal(found[k].double().numpy(), v), k


def check_digits(names):
    """Raise where a long row's sum keeps too few digits."""
    x = torch.rand(1, 2_000_000, generator=torch.Generator().manual_seed(0))
    s = names.sweep.Sweep("total", lambda v: {"s": v.x}, 1, ("x",), sums=("s",))
    address = names.compiled.address(s, torch.float32)
    found = run(s, address, torch.float32, {"x": x}, None, {"s": np.zeros(1)})["s"]
    # a run has 1024 numbers in 64 lanes: 16 roundings, of random signs over the runs
    assert abs(found.item() / x.double().sum().item() - 1) < 1e-8


def check_rounding(names):
    """Raise where bfloat16 is not rounded to even, or a NaN gets lost."""
    upper = np.arange(0, 2**16, 37, dtype=np.uint32) << 16
    bits = np.concatenate([upper | low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])
    bits = np.concatenate([bits, np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32)])
    values = torch.from_numpy(bits.view(np.float32).copy())
    s = names.sweep.Sweep("narrow", lambda v: {"y": v.c}, 0, (), ("y",), columns=("c",))
    names.sweep.machine = SimpleNamespace(rounds_to_bfloat16=lambda: False)
    address = names.compiled.address(s, torch.bfloat16)
    found = run(s, address, torch.bfloat16, {}, {"c": values}, shape=(1, len(bits)))["y"][0]
    wanted = values.bfloat16()
    assert ((found == wanted) | (found.isnan() & wanted.isnan())).all()


CHECKS = {lanes: (check_operations,), sweep: (check_sweeps, check_rounding, check_digits)}


def check(names, module):
    for test in CHECKS[module]:
        test(names)


@cache
def unbroken():
    return emitter({}, lanes)


@pytest.mark.parametrize("module", CHECKS, ids=lambda m: m.__name__.rpartition(".")[2])
def test_the_emitter_as_it_is_passes(module):
    check(unbroken(), module)


@pytest.mark.parametrize(
    "module, broken", [(lanes, b) for b in LANES] + [(sweep, b) for b in SWEEP],
    ids=[*LANES, *SWEEP],
)  # fmt: skip
def test_a_broken_emitter_is_caught(module, broken):
    edits = (LANES if module is lanes else SWEEP)[broken]
    names = emitter(edits, module)
    with pytest.raises(FAILURES):
        check(names, module)
