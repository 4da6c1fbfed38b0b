"""Sweeps, compiled, on guarded memory: every length, every number format, both axes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sweeps import COMPUTED, GUARD, expected, run
from tolerances import VALUES

from equipoise.ops.sweep import compiled, machine
from equipoise.ops.sweep.sweep import RUN, STRIP, VECTOR, Sweep

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
AXES = [0, 1]
# beyond a strip and a vector in float32, so that all three kinds of stretch occur
LENGTHS = range(1, 101)
# one, a few, and more than any block of rows
ROWS = (1, 4, 11)


def everything(axis):
    """A sweep that reads, writes and sums several, by row and by column."""

    def formula(v):
        d = (v.x - v.r) * v.c
        return {"y": d + v.z, "u": v.z * 2.0, "s": d, "q": v.z + v.r}

    return Sweep("everything", formula, axis, ("x", "z"), ("y", "u"), ("r",), ("c",), ("s", "q"))


EVERYTHING = {axis: everything(axis) for axis in AXES}


def whole_numbers(rows, columns, seed, dtype):
    """Draw small whole numbers: each format holds them and their sums exactly."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(-7, 8, (rows, columns)).astype(np.float64)).to(dtype)


def problem(sweep, rows, columns, dtype, seed=0):
    """Draw what ``everything`` takes."""
    rng = np.random.default_rng(seed + 100)
    reads = {"x": whole_numbers(rows, columns, seed, dtype)}
    reads["z"] = whole_numbers(rows, columns, seed + 1, dtype)
    lines = {"r": rng.integers(-3, 4, rows), "c": rng.integers(1, 3, columns)}
    lines = {k: v.astype(COMPUTED[dtype]) for k, v in lines.items()}
    size = rows if sweep.axis else columns
    before = {"s": rng.integers(-50, 50, size), "q": rng.integers(-50, 50, size)}
    return reads, lines, {k: v.astype(np.float64) for k, v in before.items()}


def check(sweep, dtype, given, streaming=False, block=1, **options):
    """Raise unless compiled code gives the NumPy result, exactly; give it."""
    address = compiled.address(sweep, dtype, streaming, block)
    found = run(sweep, address, dtype, *given, **options)
    wanted = expected(sweep, dtype, *given)
    for name, values in wanted.items():
        got = found[name].double().numpy()
        assert np.array_equal(got, values), (name, given[0]["x"].shape)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis, block", [(1, 1), (0, 1), (0, 4)])
def test_every_length_of_a_tail(axis, block, dtype):
    sweep = EVERYTHING[axis]
    for columns in LENGTHS:
        for rows in ROWS:
            pitch = columns + (0, 1, 37)[columns % 3]
            given = problem(sweep, rows, columns, dtype, seed=columns)
            check(sweep, dtype, given, False, block, pitch=pitch, aligned=columns % 2 == 0)


def test_the_lengths_have_all_kinds_of_stretches():
    for size in (4, 8):
        lanes = VECTOR // size
        kinds = {(n // (lanes * STRIP), n // lanes % STRIP > 0, n % lanes > 0) for n in LENGTHS}
        assert {(0, False, True), (0, True, False), (1, False, False), (1, True, True)} <= kinds


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [RUN - 1, RUN, RUN + 1, 3 * RUN, 2 * RUN + 333])
def test_rows_longer_than_a_run(columns, dtype):
    for axis in AXES:
        sweep = EVERYTHING[axis]
        check(sweep, dtype, problem(sweep, 3, columns, dtype), pitch=columns + 5)


@pytest.mark.parametrize("axis", AXES)
def test_nothing_to_do_touches_nothing(axis):
    sweep = EVERYTHING[axis]
    for rows, columns in ((0, 5), (3, 0), (0, 0)):
        check(sweep, torch.float32, problem(sweep, rows, columns, torch.float32))


@pytest.mark.parametrize("axis", AXES)
def test_sums_are_added_to_what_is_there(axis):
    sweep = EVERYTHING[axis]
    given = problem(sweep, 5, 70, torch.float32)
    address = compiled.address(sweep, torch.float32)
    first = run(sweep, address, torch.float32, *given)
    again = run(
        sweep, address, torch.float32, *given[:2], {k: first[k].double() for k in ("s", "q")}
    )
    for k in ("s", "q"):
        assert torch.equal(again[k] - first[k], first[k] - torch.from_numpy(given[2][k]))
        assert (first[k] != torch.from_numpy(given[2][k])).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", AXES)
def test_sums_keep_the_digits_of_their_type(axis, dtype):
    # a row in float64 beyond short runs, a column in the compute type
    rows, columns = (2, 50_000) if axis else (128, 300)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, columns, generator=generator, dtype=torch.float64).to(dtype)
    sweep = Sweep("total", lambda v: {"s": v.x}, axis, ("x",), sums=("s",))
    before = {"s": np.zeros(rows if axis else columns)}
    found = run(sweep, compiled.address(sweep, dtype), dtype, {"x": x}, None, before)["s"]
    exact = x.numpy().astype(np.longdouble).sum(axis)
    assert found.dtype == (torch.float64 if axis else dtype)
    assert float(np.abs(found.numpy() / exact - 1).max()) <= VALUES[dtype].bound / 2


@pytest.mark.parametrize("axis", AXES)
def test_the_order_of_sums_is_the_same_each_time(axis):
    x = torch.randn(37, 777, generator=torch.Generator().manual_seed(1))
    sweep = Sweep("total", lambda v: {"s": v.x}, axis, ("x",), sums=("s",))
    address = compiled.address(sweep, torch.float32)
    zeros = {"s": np.zeros(37 if axis else 777)}
    found = [
        run(sweep, address, torch.float32, {"x": x}, None, zeros, pitch, aligned)["s"]
        for pitch, aligned in ((777, True), (777, False), (800, True))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("axis", AXES)
def test_what_a_formula_leaves_alone_is_neither_read_nor_written(axis):
    def formula(v):
        return {"y": v.x + 1.0}

    sweep = Sweep("alone", formula, axis, ("x", "other"), ("y", "z"))
    x = whole_numbers(5, 83, 0, torch.float32)
    reads = {"x": x, "other": torch.full_like(x, torch.nan)}
    found = run(sweep, compiled.address(sweep, torch.float32), torch.float32, reads)
    assert torch.equal(found["y"], x + 1)
    assert (found["z"] == GUARD).all()


@pytest.mark.parametrize("axis", AXES)
def test_an_output_may_lie_on_its_input(axis):
    sweep = Sweep("inplace", lambda v: {"y": v.x * 3.0}, axis, ("x",), ("y",))
    x = whole_numbers(6, 93, 0, torch.float32)
    from sweeps import call

    both = x.clone()
    at = both.data_ptr()
    call(compiled.address(sweep, torch.float32), (6, 93, 93, at, at))
    assert torch.equal(both, x * 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", AXES)
def test_streaming_gives_the_same_bits(axis, dtype):
    sweep = EVERYTHING[axis]
    for columns in (1, 17, 64, 81, 257, RUN + 65):
        given = problem(sweep, 9, columns, dtype)
        # rows begin at a multiple of 64 bytes
        pitch = -(-columns // 32) * 32
        kinds = [(False, 1), (True, 1), (True, 4)]
        found = [check(sweep, dtype, given, *kind, pitch=pitch) for kind in kinds]
        assert all(torch.equal(found[0][k], other[k]) for other in found[1:] for k in other)


def test_streaming_writes_past_the_caches():
    # else it would be a copy of the other
    def code(streaming):
        return compiled.assembly(EVERYTHING[1], torch.float32, streaming)

    if "movnt" not in code(True):
        pytest.skip("this machine has no such instruction")
    assert "movnt" not in code(False)


@pytest.mark.parametrize("axis", AXES)
def test_what_follows_is_fetched_and_the_bits_stay_the_same(axis):
    sweep = replace(EVERYTHING[axis], ahead=("x",))
    assert "prefetch" in compiled.assembly(sweep, torch.float32)
    assert "prefetch" not in compiled.assembly(EVERYTHING[axis], torch.float32)
    # the last row has none that follows it
    for dtype in DTYPES:
        check(sweep, dtype, problem(sweep, 9, RUN + 81, dtype))


def stored(values, dtype, axis=0):
    """Round numbers of the compute type to a dtype by a sweep."""
    sweep = Sweep("narrow", lambda v: {"y": v.c}, axis, (), ("y",), columns=("c",))
    found = run(
        sweep, compiled.address(sweep, dtype), dtype, {}, {"c": values}, shape=(1, len(values))
    )
    return found["y"][0]


def single_bits():
    """Give float32 numbers of all kinds as bits: every upper half with telling lower halves."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    # ties, a digit beside them, ends
    lower = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return np.concatenate([upper | low for low in lower])


def same_or_nan(a, b):
    return ((a == b) & (a.signbit() == b.signbit())) | (a.isnan() & b.isnan())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("axis", AXES)
def test_half_types_are_rounded_to_even_as_torch_does(axis, dtype, monkeypatch):
    monkeypatch.setattr(machine, "rounds_to_bfloat16", lambda: False)
    values = torch.from_numpy(single_bits().view(np.float32).copy())
    found = stored(values, dtype, axis)
    assert same_or_nan(found, values.to(dtype)).all()


@pytest.mark.skipif(not machine.rounds_to_bfloat16(), reason="the processor does not")
@pytest.mark.parametrize("axis", AXES)
def test_the_processor_rounds_to_bfloat16_as_torch_does_but_for_subnormals(axis):
    values = torch.from_numpy(single_bits().view(np.float32).copy())
    found = stored(values, torch.bfloat16, axis)
    flushed = torch.where(values.abs() < 2.0**-126, values * 0, values)
    assert same_or_nan(found, flushed.to(torch.bfloat16)).all()


def test_a_nan_stays_one_in_bfloat16_whatever_is_cut_off():
    bits = single_bits()
    values = torch.from_numpy(bits.view(np.float32).copy())
    found = stored(values, torch.bfloat16).view(torch.int16).numpy().astype(np.int64) & 0xFFFF
    nan = values.isnan().numpy()
    assert np.array_equal(found[nan], bits[nan].astype(np.int64) >> 16 | 0x0040)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_widened_exactly(dtype):
    x = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype).view(16, -1)
    sweep = Sweep("widen", lambda v: {"s": v.x}, 0, ("x",), sums=("s",))
    address = compiled.address(sweep, dtype)
    for row in x:
        # -0 is what changes no sum, not even a zero's sign
        before = {"s": np.full(len(row), -0.0)}
        found = run(sweep, address, dtype, {"x": row.view(1, -1)}, None, before)["s"]
        assert same_or_nan(found, row.float()).all()


@pytest.mark.parametrize("axis", AXES)
def test_nothing_is_touched_beyond_the_last_page(axis):
    # beyond it the process would end, so it is one of its own
    program = Path(__file__).with_name("_last_page.py")
    done = subprocess.run(
        [sys.executable, program, str(axis)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert json.loads(done.stdout) == {"lengths": len(LENGTHS), "wrong": 0}
