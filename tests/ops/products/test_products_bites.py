"""The kernels of products broken on purpose, as plain Python: the comparison must fail."""

import ctypes
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import test_cross_products as cross_suite
import test_leave_one_out as leave_suite
from numpy.lib.stride_tricks import as_strided

from equipoise.ops.products import cross, layout, leave_one_out, op, rows
from equipoise.ops.sweep import loop


class Pointer:
    """Numbers of one type from an address on."""

    def __init__(self, kind, address):
        self.kind, self.address = kind, address

    def __getitem__(self, k):
        return self.kind.from_address(self.address + ctypes.sizeof(self.kind) * int(k)).value


def pointer_at(tag, address):
    return Pointer(tag.kind, address)


def numbers(floats, address, count):
    return np.ctypeslib.as_array((ctypes.c_double * int(count)).from_address(int(address)))


def matrix(address, shape, steps):
    size = sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) + 1
    return as_strided(numbers(None, address, size), shape, [8 * step for step in steps])


def multiply(a, a_row, a_step, b, b_step, out, pitch, rows, vectors, k, ahead, lines):
    rows = -(-rows // layout.SIDE) * layout.SIDE
    columns = vectors * layout.SIDE
    left, right = matrix(a, (rows, k), (a_row, a_step)), matrix(b, (k, columns), (b_step, 1))
    matrix(out, (rows, columns), (pitch, 1))[:] += left.copy() @ right


def combine(a, a_step, b, b_step, out, vectors, k):
    columns = vectors * layout.SIDE
    left, right = matrix(a, (1, k), (0, a_step)), matrix(b, (k, columns), (b_step, 1))
    numbers(None, out, columns)[:] += (left @ right)[0]


def kernel_of(module, name, edits):
    """Give what stands for a TaskKernel: the source in Python, after edits {old text: new text}."""
    source = Path(rows.__file__).read_text() + Path(module.__file__).read_text()
    source = re.sub(r"^from (equipoise|numba)\S* import (\([^)]*\)|.*)$", "", source, flags=re.M)
    source = source.replace("@inline\n", "")
    for old, new in edits.items():
        assert old in source, f"the source no longer has: {old}"
        source = source.replace(old, new)
    names = {
        **vars(layout), **vars(loop), "multiply": multiply, "combine": combine,
        "strips": lambda vectors: 1, "pointer_at": pointer_at,
    }  # fmt: skip
    exec(compile(source, name, "exec"), names)
    names["numbers"] = numbers

    def run(work, dtype, words, floats):
        scratch = np.full(words[loop.NUMBERS], 7.0)
        words[loop.SCRATCH] = scratch.ctypes.data
        integers = Pointer(ctypes.c_int64, ctypes.addressof(words))
        computed = Pointer(ctypes.c_float if dtype.itemsize == 4 else ctypes.c_double, 0)
        for task in range(words[loop.PHASES + 1]):
            names[name](
                task, integers, Pointer(ctypes.c_double, ctypes.addressof(floats)), computed
            )

    return run


def check_cross(edits):
    """Raise where cross products are wrong."""
    with mock.patch.object(op, "CROSS", kernel_of(cross, "cross_products", edits)):
        whole, y, shift = cross_suite.data((150, 5, 2), np.float32)
        for X in (whole, np.asfortranarray(whole)):
            weights, chosen = np.arange(150) % 3 / 2.0, np.flatnonzero(np.arange(150) % 5)
            cross_suite.assert_as_reference(X, y, None, None, shift)
            cross_suite.assert_as_reference(X, y, weights, chosen, shift)


def check_leave(edits):
    """Raise where errors of rows left out are wrong."""
    kernel = kernel_of(leave_one_out, "leave_one_out", edits)
    with mock.patch.object(op, "LEAVE_ONE_OUT", kernel), mock.patch.object(op, "WIDTH", 8):
        X, y, fit = leave_suite.problem((70, 11, 2, 5))
        leave_suite.assert_as_reference(X, y, fit)
        leave_suite.assert_as_reference(X, y, fit, 0.3 + np.arange(70) % 3 / 4)


def test_the_unbroken_sources_pass():
    check_cross({})
    check_leave({})


CROSS = {
    "no shift": {"x[at + j] - shift[j]": "x[at + j]"},
    "no shift of columns": {"x[at + j * across] - shift[j]": "x[at + j * across]"},
    "the last chunk lost": {"(task + 1) * i[CHUNKS]": "((task + 1) * i[CHUNKS] - 1)"},
    "rows not chosen": {"indices[r] if chosen != 0 else r": "r"},
    "rows not weighted": {"math.sqrt(weights[k])": "1.0"},
    "weights of other rows": {"c * i[CHUNK] + r)": "r)"},
    "no mean": {"mean[j] *= share": "mean[j] *= 0.0"},
    "the mean not cleared": {"    mean[:] = 0.0\n": ""},
}  # fmt: skip


@pytest.mark.parametrize("broken", CROSS)
def test_broken_cross_products_are_caught(broken):
    with pytest.raises((AssertionError, ValueError)), np.errstate(all="ignore"):
        check_cross(CROSS[broken])


LEAVE = {
    "no squares": {"row[j] *= row[j]": "pass"},
    "no leverage of the intercept": {"= floats[BASE]": "= 0.0"},
    "no weights": {"weights[first + r]": "1.0"},
    "sums not cleared": {"numbers(floats, t, BLOCK * i[T_PITCH])[:] = 0.0": "pass"},
    "the first columns alone": {"range(0, i[P], i[WIDTH])": "range(0, i[WIDTH], i[WIDTH])"},
    "the first target's coefficients": {"target * i[RANK] * i[A_PITCH]": "0"},
    "the first target's products": {"i[SQUARED] + target * i[RANK]": "i[SQUARED]"},
    "not divided": {"/ left[a]": "/ 1.0"},
}


@pytest.mark.parametrize("broken", LEAVE)
def test_broken_errors_are_caught(broken):
    with pytest.raises((AssertionError, ValueError)), np.errstate(all="ignore"):
        check_leave(LEAVE[broken])
