"""Vector code for runs against NumPy, to the bit: whole numbers, whose sums are exact."""

from unittest import mock

import numba
import numpy as np
import pytest
from runs import run_rows

from equipoise.ops.moments import run
from equipoise.ops.moments.layout import RUN

# where total, squares, low, high and missing begin
OFFSETS = tuple(RUN * k for k in range(1, 6))


def compiled(function):
    total, squares, low, high, missing = OFFSETS

    @numba.njit(error_model="numpy")
    def call(x, start, rows, sums):
        function(x, start, rows, sums, total, squares, low, high, missing)

    return call


def start_sums(rng):
    sums = rng.integers(-9, 9, 6 * RUN).astype(np.float64)
    sums[OFFSETS[2] : OFFSETS[3]], sums[OFFSETS[3] : OFFSETS[4]] = np.inf, -np.inf
    return sums


def check(call, omit, dtypes=(np.float32, np.float64)):
    """Raise where the run is wrong."""
    rng = np.random.default_rng(0)
    for dtype in dtypes:
        for rows in (0, 1, 2, 7, 64):
            x = rng.integers(-99, 99, 3 + rows * RUN + 5).astype(dtype)
            if rows > 1:
                x[3 + rng.permutation(rows * RUN)[:9]] = np.nan
                x[[4, 3 + rows * RUN - 1]] = -1000, 1000
            # beyond the run nothing counts
            x[:3], x[3 + rows * RUN :] = 5000, -5000
            got = start_sums(rng)
            expected = got.copy()
            call(x, 3, rows, got)
            run_rows(x, 3, rows, expected, *OFFSETS, omit=omit)
            np.testing.assert_array_equal(got, expected)


RUNS = {"add_run": (run.add_run, False), "add_run_omit": (run.add_run_omit, True)}


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_numpys_sums(name):
    function, omit = RUNS[name]
    check(compiled(function), omit)


def _lost(k):
    """Break a row so that one of its results stays what it was before the row."""
    add = run._Run._add

    def broken(self, index, shift, *before):
        new = list(add(self, index, shift, *before))
        new[k] = before[k]
        return new

    return broken


@pytest.mark.parametrize("lost", range(5), ids=["total", "squares", "missing", "low", "high"])
def test_a_broken_run_is_caught(lost):
    with mock.patch.object(run._Run, "_add", _lost(lost)):
        call = compiled(run.add_run_omit)
        with pytest.raises(AssertionError):
            check(call, True, [np.float32])
