"""Exact quantiles against sorting and NumPy; kernels broken on purpose must fail."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from equipoise.ops.quantile import cpu, linear, narrow, op, reference
from equipoise.ops.scale import op as lines

ROWS = 20_001
# short enough for several in the small matrices of the bite tests
LINE = 64
QUARTILES = np.array([0.25, 0.5, 0.75])
WANTED = (QUARTILES, np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.1, 0.9]))


def _with_nans(rng):
    x = rng.standard_normal((ROWS, 6))
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:, 1] = np.nan
    x[:, 2] = 4.5
    x[1:, 3] = np.nan
    x[2:, 4] = np.nan
    return x


KINDS = {
    "normal": lambda rng: rng.standard_normal((ROWS, 6)),
    "far from zero": lambda rng: 1e5 + rng.standard_normal((ROWS, 6)),
    "whole numbers": lambda rng: rng.integers(0, 10, (ROWS, 6)),
    "heavy tails": lambda rng: rng.standard_cauchy((ROWS, 6)) ** 5,
    "nan": _with_nans,
    "zeros of both signs": lambda rng: np.where(rng.random((ROWS, 6)) < 0.5, -0.0, 0.0),
    "wide": lambda rng: rng.standard_normal((300, 700)),
    "one column": lambda rng: rng.standard_normal((9 * ROWS, 1)),
    "subnormal": lambda rng: rng.standard_normal((ROWS, 6)) * 1e-42,
    "largest": lambda rng: rng.standard_normal((ROWS, 6)) * 1e37,
}


def draw(kind, dtype, order="C"):
    return np.asarray(KINDS[kind](np.random.default_rng(0)), order=order).astype(dtype)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_are_those_of_the_sorted_columns(kind, dtype, order):
    x = draw(kind, dtype, order)
    for q in WANTED:
        np.testing.assert_array_equal(op.quantiles(x, q), reference.quantiles(x, q))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "nan", "whole numbers"])
def test_the_reference_is_numpys(kind, dtype):
    x = draw(kind, dtype).astype(np.float64)
    with warnings.catch_warnings():
        # of a column of NaN alone
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanpercentile(x, 100 * QUARTILES, axis=0)
    np.testing.assert_allclose(reference.quantiles(x, QUARTILES), expected, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_narrowing_alone_finds_the_same(kind, monkeypatch):
    # what the linear bins leave over: here everything
    monkeypatch.setattr(op._Linear, "run", lambda self: (
        np.zeros(self.every.shape, self.x.dtype), np.zeros(self.x.shape[1], bool)
    ))  # fmt: skip
    for dtype in (np.float32, np.float64):
        x = draw(kind, dtype)
        np.testing.assert_array_equal(op.quantiles(x, QUARTILES), reference.quantiles(x, QUARTILES))


def test_parts_of_a_matrix():
    x = draw("normal", np.float32)
    for part in (x[::2], x[:, 1:4], x[5:, :3]):
        np.testing.assert_array_equal(
            op.quantiles(part, QUARTILES), reference.quantiles(part, QUARTILES)
        )


def test_keys_are_in_the_order_of_floats():
    for dtype in (np.float32, np.float64):
        values = np.array([-np.inf, -1e30, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, np.inf], dtype)
        keys = narrow.keys(values)
        assert (np.diff(keys.astype(object)) > 0).all()
        np.testing.assert_array_equal(narrow.values_of(keys, dtype), values)


def test_weights_repeat_rows():
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((200, 3)), rng.integers(0, 4, 200)
    x[::9, 1] = np.nan
    found = reference.weighted_quantiles(x, weights.astype(float), QUARTILES)
    again = reference.quantiles(np.repeat(x, weights, axis=0), QUARTILES)
    np.testing.assert_allclose(found, again, rtol=1e-14)


def as_python(module, edits):
    """Run a kernel's source uncompiled, after edits (pattern -> text)."""
    names = {
        "inline": lambda f: f,
        "Kernel": lambda f: lambda work, *args: f(*args),
        "prange": range,
        "window": lambda x, start, size: x[start : start + size],
        "LINE": LINE,
    }
    source = Path(module.__file__).read_text()
    source = re.sub(r"^from (equipoise|numba)\S* import .*$", "", source, flags=re.MULTILINE)
    for old, new in edits.items():
        assert old in source, f"the source no longer has: {old}"
        source = source.replace(old, new)
    exec(compile(source, "kernels", "exec"), names)
    return SimpleNamespace(**names)


def check(monkeypatch):
    """Raise where a kernel is wrong."""
    monkeypatch.setattr(op, "SMALL", 0)
    monkeypatch.setattr(linear, "FEW_BINS", 16)
    monkeypatch.setattr(lines, "LINE", LINE)
    rng = np.random.default_rng(0)
    for order in "CF":
        x = np.asarray(rng.standard_normal((150, 3)), order=order)
        x[::5, 1] = np.nan
        with np.errstate(all="ignore"):
            found = op.quantiles(x, QUARTILES)
        np.testing.assert_array_equal(found, reference.quantiles(x, QUARTILES))


NARROW_BREAKS = {
    "negative numbers the wrong way round": {"return wide ^ (": "return wide | 0 * ("},
    "the ends of an interval left out": {
        "if distance <= width[c, s]:": "if distance < width[c, s]:"
    },
    "the last row lost": {"(g + 1) * rows // groups": "(g + 1) * (rows - 1) // groups"},
    "no smallest": {"            if distance < least[g, c, s]:\n": "            if False:\n"},
}
LINEAR_BREAKS = {
    "NaN counted": {"else factor.dtype.type(-1)": "else factor.dtype.type(3)"},
    "no top bin": {"t = t if t < top else top": "t = t + 1"},
    "the last line lost": {"(g + 1) * lines // groups": "(g + 1) * (lines - 1) // groups"},
    "one slot not collected": {"(b == wanted[j + width])": "(b == -7)"},
    "the first column's ends for all": {"own_low[:] = low[c]": "own_low[:] = low[0]"},
}


def test_the_unbroken_linear_source_passes(monkeypatch):
    monkeypatch.setattr(linear, "sweep", as_python(linear, {}).sweep)
    check(monkeypatch)


@pytest.mark.parametrize("broken", LINEAR_BREAKS)
def test_a_broken_linear_kernel_is_caught(broken, monkeypatch):
    monkeypatch.setattr(linear, "sweep", as_python(linear, LINEAR_BREAKS[broken]).sweep)
    with pytest.raises((AssertionError, IndexError, RuntimeError, ValueError)):
        check(monkeypatch)


def _narrow_only(kernels, monkeypatch):
    for name in ("count", "collect"):
        monkeypatch.setattr(cpu, name, getattr(kernels, name))
    # too few bins and no room to collect: all is left to narrowing
    monkeypatch.setattr(op, "COLLECT", 0)
    monkeypatch.setattr(op, "SHARE", 0)
    monkeypatch.setattr(narrow, "COLLECT", 0)


def test_the_unbroken_narrowing_source_passes(monkeypatch):
    _narrow_only(as_python(cpu, {}), monkeypatch)
    check(monkeypatch)


@pytest.mark.parametrize("broken", NARROW_BREAKS)
def test_a_broken_narrowing_kernel_is_caught(broken, monkeypatch):
    _narrow_only(as_python(cpu, NARROW_BREAKS[broken]), monkeypatch)
    with pytest.raises((AssertionError, IndexError, RuntimeError, ValueError)):
        check(monkeypatch)
