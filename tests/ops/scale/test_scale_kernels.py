"""The maps of columns and rows against plain float64; broken on purpose, they must fail."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from equipoise.ops.scale import cpu, op, reference, rows, words
from equipoise.ops.sweep.loop import ANSWER, PHASES


def draw(shape, dtype, order="C", seed=0):
    x = 5 + 3 * np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(x, order=order).astype(dtype)


def coefficients(columns, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(columns), rng.uniform(0.5, 2, columns)


BOUNDS = {np.float32: 6e-8, np.float64: 5e-16, np.float16: 5e-4}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (1000, 7), (3, 2000), (70_000, 3)])
@pytest.mark.parametrize("dtype", list(BOUNDS))
def test_maps_are_the_rounded_reference(dtype, shape, order):
    x = draw(shape, dtype, order)
    shift, scale = coefficients(shape[1])
    affine = op.Affine(shift, scale, 2.0, -1.0, -3.0, 3.0)
    y, infinite = op.apply(x, affine)
    assert not infinite
    assert y.dtype == dtype
    assert y.flags.f_contiguous == x.flags.f_contiguous
    exact = reference.affine(x, shift, scale, 2.0, -1.0, -3.0, 3.0)
    assert np.abs(y - exact).max() <= BOUNDS[dtype] * 4
    back, _ = op.apply(x, affine.inverse())
    exact = reference.affine_back(x, shift, scale, 2.0, -1.0)
    assert np.abs(back - exact).max() <= BOUNDS[dtype] * 2 * np.abs(exact).max()


def test_float64_divides_as_numpy_does():
    x = draw((500, 11), np.float64)
    shift, scale = coefficients(11)
    np.testing.assert_array_equal(op.apply(x, op.Affine(shift, scale))[0], (x - shift) / scale)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place_and_strided_are_the_same_bits(dtype, order):
    x = draw((3000, 8), dtype, order)
    affine = op.Affine(*coefficients(8))
    expected = op.apply(x, affine)[0]
    work = x.copy(order="K")
    assert op.apply(work, affine, work)[0] is work
    np.testing.assert_array_equal(work, expected)
    np.testing.assert_array_equal(op.apply(x[::3], affine)[0], expected[::3])
    np.testing.assert_array_equal(op.apply(x[::-1], affine)[0], expected[::-1])
    part = op.Affine(affine.shift[2:5], affine.scale[2:5])
    np.testing.assert_array_equal(op.apply(x[:, 2:5], part)[0], expected[:, 2:5])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_one_infinity_anywhere_is_seen_and_nan_is_none(value, order):
    affine = op.Affine(*coefficients(5))
    for at in ((0, 0), (1033, 4), (2999, 4), (1500, 2)):
        x = draw((3000, 5), np.float32, order)
        x[at] = np.nan
        y, infinite = op.apply(x, affine)
        assert not infinite
        assert not op.infinite(x)
        assert np.isnan(y).sum() == 1
        x[at] = value
        assert op.apply(x, affine)[1]
        assert op.infinite(x)


@pytest.mark.parametrize("norm", rows.NORMS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_unit_rows_are_the_reference(dtype, order, norm):
    x = draw((400, 37), dtype, order)
    x[7] = 0
    z, strange = rows.UnitRows(norm).apply(x)
    assert not strange
    assert z.dtype == dtype
    # half a step of the smallest numbers, where digits run out
    step = float(np.finfo(dtype).smallest_subnormal) / 2
    np.testing.assert_allclose(z, reference.unit_rows(x, norm), 2 * BOUNDS[dtype], step)
    for value in (np.nan, np.inf):
        x[399, 36] = value
        assert rows.UnitRows(norm).apply(x)[1]
        assert rows.UnitRows(norm).strange(x)


def as_python(edits):
    """Run the kernel's source uncompiled, after edits (pattern -> text)."""
    names = {
        "inline": lambda f: f,
        "carray": lambda pointer, shape: _memory(*pointer),
        "pointer_at": lambda tag, address: (address, getattr(tag, "dtype", np.float64)),
        "ANSWER": ANSWER,
        **{name: value for name, value in vars(words).items() if name.isupper()},
        "window": lambda x, start, size: x[start : start + size],
        "fetch_run": lambda x, at, size: None,
    }
    source = Path(cpu.__file__).read_text()
    source = re.sub(r"^from (equipoise|numba)\S* import (\([^)]*\)|.*)$", "", source, flags=re.M)
    for old, new in edits.items():
        assert old in source, f"the source no longer has: {old}"
        source = source.replace(old, new)
    exec(compile(source, "kernels", "exec"), names)
    return names["scale"]


def _memory(address, dtype):
    """View the memory from an address on: what lies in it is for the kernel to know."""
    size = 4096 * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


def as_task(kernel):
    """Run a kernel's tasks in Python, as `TaskKernel` would."""

    def run(work, dtype, integers, floats):
        computed = torch.empty(0, dtype=dtype).numpy()
        for task in range(integers[PHASES + 1]):
            kernel(task, integers, floats, computed)
        return integers[ANSWER]

    return run


def check(kernel, monkeypatch):
    """Raise where the kernel is wrong."""
    monkeypatch.setattr(op, "SCALE", as_task(kernel))
    for dtype in (np.float32, np.float64):
        for order in "CF":
            x = draw((61, 5), dtype, order)
            shift, scale = coefficients(5)
            affine = op.Affine(shift, scale, 2.0, -1.0, -3.0, 3.0)
            with np.errstate(all="ignore"):
                y = op.apply(x, affine)[0]
                back = op.apply(x, affine.inverse())[0]
                own = x.copy(order="K")
                op.apply(own, affine, own)
            exact = reference.affine(x, shift, scale, 2.0, -1.0, -3.0, 3.0)
            np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(own, exact, rtol=1e-6, atol=1e-6)
            exact = reference.affine_back(x, shift, scale, 2.0, -1.0)
            np.testing.assert_allclose(back, exact, rtol=1e-6)
            x[60, 4] = np.inf
            assert op.infinite(x)
            assert op.apply(x, affine)[1]


def test_the_unbroken_source_passes(monkeypatch):
    check(as_python({}), monkeypatch)


BREAKS = {
    "no shift": {"t = (v - a[i]) / b[i]": "t = v / b[i]"},
    "the reciprocal twice": {"(v - a[i]) * b[i] * factor": "(v - a[i]) * b[i] * b[i] * factor"},
    "no lower limit": {"t = low if t < low else t": "pass"},
    "no upper limit": {"y[i] = high if t > high else t": "y[i] = t"},
    "no offset on the way back": {"(v - offset) * b[i]": "v * b[i]"},
    "the last line lost": {"min(lines, (t + 1) * per_task)": "min(lines - 1, (t + 1) * per_task)"},
    "the first column's numbers for all": {"column = major\n": "column = 0\n"},
    "infinities not looked for": {"abs(v) == np.inf": "False"},
    "infinities not checked": {"np.int64(abs(x[i]) == np.inf)": "np.int64(0)"},
    "in place writes nothing": {"_store(mapped, source)": "pass"},
    "every step from the line's start": {"window(x, start + first, k)": "window(x, start, k)"},
    "every step with the first numbers": {"window(line_a, first, k)": "window(line_a, 0, k)"},
    "the last step lost": {"range(0, n, STEP)": "range(0, n - STEP, STEP)"},
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_kernel_is_caught(broken, monkeypatch):
    kernel = as_python(BREAKS[broken])
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check(kernel, monkeypatch)
