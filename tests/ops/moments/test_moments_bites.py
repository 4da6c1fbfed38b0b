"""Each kernel of Moments broken on purpose: the checks of the suite must fail.

The sources run as plain Python here, which takes milliseconds where compiling takes seconds.
"""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from exact import assert_exact
from strip_sums import FORMS, add

from equipoise.ops.moments import cpu, formula, layout, strips, weighted, words
from equipoise.ops.sweep import loop

CONSTANTS = (
    *("SHIFT", "TOTAL", "SQUARES", "LOW", "HIGH", "MISSING"),
    *("PITCH", "PLAIN", "OMIT", "EXTREMES", "EXTREMES_OMIT"),
)
FIELDS = ("count", "mean", "m2", "min", "max", "nan_count")


def as_python(modules, edits):
    """Run the modules' sources in one namespace, uncompiled, after edits (pattern -> text)."""
    names = {
        "inline": lambda f: f,
        "Kernel": lambda f: lambda work, *args: f(*args),
        **{name: getattr(loop, name) for name in ("AFTER", "BEFORE", "SCRATCH")},
        **{name: value for name, value in vars(words).items() if name.isupper()},
        "window": lambda x, start, size: x[start : start + size],
        **{name: partial(add, form) for name, form in FORMS.items()},
        **{name: getattr(strips, name) for name in CONSTANTS},
    }
    source = "\n".join(Path(module.__file__).read_text() for module in modules)
    source = re.sub(r"^from (equipoise|numba)\S* import (\([^)]*\)|.*)$", "", source, flags=re.M)
    source = re.sub(r"@(inline|splice|fast)\n", "", source)
    for old, new in edits.items():
        assert old in source, f"the source no longer has: {old}"
        source = source.replace(old, new)
    exec(compile(source, "kernels", "exec"), names)
    return SimpleNamespace(**names)


def summarize(kernels, x, plan, extremes):
    """Do what the loop over tasks and the kernel do."""
    columns, groups, span = plan[2], plan[9], plan[10]
    parts = np.full((groups, cpu.FIELDS, columns), 7.0)
    for task in range(groups * -(-columns // span)):
        kernels._summarize(x, plan, task, extremes, parts)
    out = np.empty((cpu.FIELDS, columns))
    kernels._gather(parts, extremes, out)
    return out


def moments(state):
    return SimpleNamespace(shape=state.shape[1:], **dict(zip(FIELDS, state, strict=False)))


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def columns():
    nans = random((90, 100))
    nans[::7, 1] = np.nan
    yield random((90, 3)), (0,)
    yield nans, (0,)
    yield 1e8 + random((90, 3)), (0,)
    yield np.concatenate([[[1e8, 0, 0]], random((2000, 3))]), (0,)
    # no sample to take the shift from
    yield np.concatenate([np.full((40, 3), np.nan), 1e8 + random((600, 3))]), (0,)
    yield random((3, 2200)), (0,)
    yield random((3, 800)), (1,)
    yield random((9, 2, 30)), (0, 2)
    yield random((3, 2, 700)), (0, 2)
    yield 1e8 + random(6000), (0,)
    yield random((2, 5000)), (1,)


def check_columns(kernels):
    """Raise where the kernel is wrong."""
    # blocks of about 1024 values, so that there are several
    with np.errstate(all="ignore"), mock.patch.object(layout, "BLOCK", 1024):
        for x, axes in columns():
            where = layout.layout.__wrapped__(x.shape, tuple(s // 8 for s in x.strides), axes)
            out = summarize(kernels, x.reshape(-1), where.plan, False)
            kept = [n for i, n in enumerate(x.shape) if i not in axes]
            assert_exact(moments(out.reshape(-1, *kept)), x, axes, ulps=16)


def check_extremes(kernels):
    """Raise where the kernel is wrong when it leaves means and squares out."""
    with np.errstate(all="ignore"), mock.patch.object(layout, "BLOCK", 1024):
        for x, axes in columns():
            where = layout.layout.__wrapped__(x.shape, tuple(s // 8 for s in x.strides), axes)
            out = summarize(kernels, x.reshape(-1), where.plan, True)
            expected = (
                (~np.isnan(x)).sum(axes),
                np.isnan(x).sum(axes),
                np.fmin.reduce(x, axes),
                np.fmax.reduce(x, axes),
            )
            for k, values in zip((cpu.COUNT, cpu.NANS, cpu.MIN, cpu.MAX), expected, strict=True):
                np.testing.assert_array_equal(out[k], np.ravel(values))


def weighted_rows():
    x, weights = 1e6 + random((60, 2)), np.arange(60.0) % 4
    x[:4, 1] = np.nan
    x[4] = [np.inf, np.nan]
    yield x, weights
    # a first row that hardly counts and stands far off
    x, weights = random((60, 2)), np.ones(60)
    x[0], weights[0] = 1e3, 1e-6
    yield x, weights


def check_weighted(kernels):
    """Raise where the weighted kernel is wrong."""
    with np.errstate(all="ignore"):
        for x, weights in weighted_rows():
            out = np.empty((cpu.FIELDS, 2))
            kernels.summarize_weighted(0, x, weights, out)
            assert_exact(moments(out), x, weights=weights, ulps=16)


MODULES = (formula, cpu, weighted)


def test_the_unbroken_sources_pass():
    kernels = as_python(MODULES, {})
    check_columns(kernels)
    check_extremes(kernels)
    check_weighted(kernels)


BREAKS = {
    "no redo where the shift is far": {"if abs(mean) < np.inf and mean != sums[c]:": "if False:"},
    "a redo without clearing": {"        sums[j + SQUARES] = 0.0\n": ""},
    "the last group of rows lost": {"range(0, rows, group)": "range(0, rows - group, group)"},
    "the tail lost": {"_add(x, o + rows * step, 1, 0, tail, sums, ends, form)": "pass"},
    "the last tile of columns lost": {
        "task % tiles\n": "task % tiles\n    if tiles > 1 and tile == tiles - 1:\n        return\n"
    },
    "the groups of a run merged into one": {"task % groups, task // groups": "0, task // groups"},
    "the first group lost": {"in range(parts.shape[0])": "in range(1, parts.shape[0])"},
    "NaNs not looked for": {"and form == plain:": "and False:"},
    "NaNs left out no more": {"                form = omit\n": "                pass\n"},
    "lanes not added up": {"sums[j + SQUARES] += sums[o + SQUARES]": "pass"},
    "no shift in the copies of a column": {"sums[j] = sums[j - width]": "pass"},
    "the term between blocks dropped": {"+ delta * delta * count_a * share": ""},
    "the rest of the mean dropped": {"+ (rest_b - rest_a)": ""},
    "no correction for the shift": {"m2 = squares - total * delta": "m2 = squares"},
    "the last block lost": {
        "(group + 1) * blocks // groups": "((group + 1) * blocks - 1) // groups"
    },
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_kernel_is_caught(broken):
    kernels = as_python(MODULES, BREAKS[broken])
    with pytest.raises((AssertionError, OverflowError, ValueError)):
        check_columns(kernels)


EXTREME_BREAKS = {
    "the last group of rows lost": {"range(0, rows, group)": "range(0, rows - group, group)"},
    "the lowest of a lane lost": {
        "ends[j + LOW] = min(ends[j + LOW], ends[o + LOW])": "pass",
    },
    "the highest of a block lost": {
        "state[MAX, k] = max(state[MAX, k], ends[c + HIGH])": "pass",
    },
    "NaNs of a lane lost": {"ends[j + MISSING] += ends[o + MISSING]": "pass"},
    "the last block's extremes kept": {"        ends[j + HIGH] = -np.inf\n": ""},
    "NaNs not looked for": {"and form == plain:": "and False:"},
    "NaNs looked for but not counted": {
        "else (PLAIN, OMIT)": "else (PLAIN, OMIT)\n    omit = plain"
    },
}


@pytest.mark.parametrize("broken", EXTREME_BREAKS)
def test_broken_extremes_are_caught(broken):
    kernels = as_python(MODULES, EXTREME_BREAKS[broken])
    with pytest.raises((AssertionError, OverflowError, ValueError)):
        check_extremes(kernels)


WEIGHTED_BREAKS = {
    "weight 0 counts": {"if weight > 0.0:": "if True:"},
    "squares without weight": {"weight * d * d": "d * d"},
    "no redo where the shift is far": {
        "if abs(mean) < np.inf and mean != sums[0, c]:": "if False:"
    },
    "NaNs counted once": {"else weights[i]": "else 1.0"},
}


@pytest.mark.parametrize("broken", WEIGHTED_BREAKS)
def test_a_broken_weighted_kernel_is_caught(broken):
    kernels = as_python(MODULES, WEIGHTED_BREAKS[broken])
    with pytest.raises((AssertionError, OverflowError, ValueError)):
        check_weighted(kernels)
