"""Vector code for strips against NumPy, to the bit: whole numbers, whose sums are exact."""

from unittest import mock

import numba
import numpy as np
import pytest
from strip_sums import FORMS, add

from equipoise.ops.moments import strips
from equipoise.ops.moments.strips import HIGH, LOW, OMIT, PITCH

# (rows, lanes, values from one row to the next)
SHAPES = ((0, 16, 16), (1, 5, 0), (7, 16, 16), (3, 0, 1), (2, 40, 40), (9, 33, 50), (64, 1, 1))


def compiled(function):
    @numba.njit(error_model="numpy")
    def call(x, start, rows, step, lanes, sums, ends):
        function(x, start, rows, step, lanes, sums, ends)

    return call


def start_sums(rng, dtype):
    sums, ends = rng.integers(-9, 9, (2, 6 * PITCH)).astype(np.float64)
    ends[LOW : LOW + PITCH], ends[HIGH : HIGH + PITCH] = np.inf, -np.inf
    return sums[: 3 * PITCH].copy(), ends.astype(dtype)


def check(call, form, dtypes=(np.float32, np.float64)):
    """Raise where a strip is wrong, or where lanes beyond the rows change."""
    rng = np.random.default_rng(0)
    for dtype in dtypes:
        for rows, lanes, step in SHAPES:
            x = np.full(3 + rows * step + lanes + 5, 5000, dtype)
            where = 3 + step * np.arange(rows)[:, None] + np.arange(lanes)
            x[where] = rng.integers(-99, 99, where.shape)
            if where.size > 9:
                x[rng.permutation(where.ravel())[:9]] = np.nan
                x[where.flat[0]], x[where.flat[-1]] = -1000, 1000
            got = start_sums(rng, dtype)
            expected = [v.copy() for v in got]
            call(x, 3, rows, step, lanes, *got)
            add(form, x, 3, rows, step, lanes, *expected)
            for mine, theirs in zip(got, expected, strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", FORMS)
def test_strips_are_numpys_sums(name):
    check(compiled(getattr(strips, name)), FORMS[name])


def _lost(field):
    """Break a row so that one of its results stays what it was before the row."""
    right = strips._Strips._add
    return lambda self, stored, shift, sums: right(self, stored, shift, sums) | {field: sums[field]}


def _unmasked():
    right = strips._Strips._keep
    return lambda self, k, value, lane, mask: right(self, k, value, lane, None)


BROKEN = {name: ("_add", _lost(getattr(strips, name))) for name in (
    "TOTAL", "SQUARES", "LOW", "HIGH", "MISSING",
)} | {"lanes beyond": ("_keep", _unmasked())}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_strip_is_caught(broken):
    method, wrong = BROKEN[broken]
    with mock.patch.object(strips._Strips, method, wrong):
        call = compiled(strips.add_omit)
        with pytest.raises(AssertionError):
            check(call, OMIT, [np.float32])
