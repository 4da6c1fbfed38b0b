"""The vocabulary of formulas, compiled: each operation against NumPy or more precise arithmetic."""

import math
import operator

import numpy as np
import pytest
import torch
from scipy import special
from sweeps import COMPUTED, run
from tolerances import ULPS

from equipoise.ops.sweep import compiled, lanes
from equipoise.ops.sweep.sweep import Sweep

FLOATS = [torch.float32, torch.float64]


def evaluate(formula, dtype, *arrays):
    """Run ``formula(a, b, ...)`` over flat arrays of a dtype; it gives one vector or several."""
    names = "abcd"[: len(arrays)]

    def several(v):
        found = formula(*(getattr(v, name) for name in names))
        return {f"y{k}": y for k, y in enumerate(found if isinstance(found, tuple) else (found,))}

    writes = tuple(several(_Counts(names)))
    sweep = Sweep("test", several, 1, tuple(names), writes)
    reads = {n: torch.from_numpy(a.reshape(1, -1)) for n, a in zip(names, arrays, strict=True)}
    out = run(sweep, compiled.address(sweep, dtype), dtype, reads)
    found = tuple(out[name][0].numpy() for name in writes)
    return found if len(found) > 1 else found[0]


class _Counts:
    """Arrays of one number, to count what a formula gives."""

    def __init__(self, names):
        for name in names:
            setattr(self, name, np.ones(1, np.float32))


def special_points(computed):
    """Give numbers at which formats and comparisons have corners."""
    f = np.finfo(computed)
    points = [0.0, f.smallest_subnormal, f.smallest_normal / 3, f.smallest_normal, f.eps, 0.1]
    points += [1 - f.epsneg, 1.0, 1 + f.eps, 1.5, 3.0, 1 / f.eps, f.max / 2, f.max, np.inf]
    return np.array([*points, *(-np.array(points)), np.nan], computed)


def pairs(computed):
    """Give all pairs of special points, and random ones of all magnitudes."""
    points = special_points(computed)
    a, b = (t.ravel() for t in np.meshgrid(points, points))
    rng = np.random.default_rng(0)
    span = 30 if computed is np.float32 else 300
    more = [
        (rng.standard_normal(4000) * 10.0 ** rng.uniform(-span, span, 4000)).astype(computed)
        for _ in range(2)
    ]
    return np.concatenate([a, more[0]]), np.concatenate([b, more[1]])


def same(a, b):
    """Tell whether two arrays agree to the bit, any NaN being like another."""
    nan = np.isnan(a) & np.isnan(b)
    return bool(((a == b) & (np.signbit(a) == np.signbit(b)) | nan).all())


ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "number + x": lambda a, b: 1.5 + a,
    "x + number": lambda a, b: a + 1.5,
    "number - x": lambda a, b: 1.5 - a,
    "x - number": lambda a, b: a - 1.5,
    "number * x": lambda a, b: 3.0 * a,
    "x * number": lambda a, b: a * 3.0,
    "number / x": lambda a, b: 3.0 / a,
    "x / number": lambda a, b: a / 3.0,
    "a whole number": lambda a, b: a * 3 - 1,
    "negate": lambda a, b: -a,
}


@pytest.mark.parametrize("dtype", FLOATS)
def test_arithmetic_is_numpys_to_the_bit(dtype):
    # one rounding each; subnormals are kept, zeros keep their sign
    a, b = pairs(COMPUTED[dtype])
    found = evaluate(lambda a, b: tuple(f(a, b) for f in ARITHMETIC.values()), dtype, a, b)
    with np.errstate(all="ignore"):
        for name, f, y in zip(ARITHMETIC, ARITHMETIC.values(), found, strict=True):
            wanted = f(a, b)
            if name == "a whole number":
                # a product and a sum may be one instruction
                fused = (3 * a.astype(np.longdouble) - 1).astype(a.dtype)
                assert ((y == wanted) | (y == fused) | np.isnan(wanted)).all(), name
                continue
            assert same(y, wanted), name


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_product_and_a_sum_are_rounded_once_or_twice(dtype):
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal(3000).astype(COMPUTED[dtype]) for _ in range(3))
    # nearly all digits cancel: what is kept shows the rounding
    c[::2] = -(a * b)[::2]
    found = evaluate(lambda a, b, c: a * b + c, dtype, a, b, c)
    if dtype == torch.float32:
        fused = (a.astype(np.float64) * b + c).astype(np.float32)
    else:
        fused = _fused(a, b, c)
    assert ((found == a * b + c) | (np.abs(found - fused) <= np.spacing(np.abs(fused)))).all()


def _fused(a, b, c):
    """Give a * b + c rounded once, from exact fractions."""
    from fractions import Fraction

    exact = (Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a, b, c, strict=True))
    return np.array([float(value) for value in exact])


COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "< number": lambda a, b: a < 0.0,
    "<= number": lambda a, b: a <= 0.0,
    "> number": lambda a, b: a > 0.0,
    ">= number": lambda a, b: a >= 0.0,
    "number <": lambda a, b: 1.0 < a,
}


@pytest.mark.parametrize("dtype", FLOATS)
def test_comparisons_are_numpys(dtype):
    # false where either side is NaN
    a, b = pairs(COMPUTED[dtype])
    found = evaluate(
        lambda a, b: tuple(lanes.where(f(a, b), a, 7.0) for f in COMPARISONS.values()), dtype, a, b
    )
    for (name, f), y in zip(COMPARISONS.items(), found, strict=True):
        assert same(y, np.where(f(a, b), a, 7.0).astype(a.dtype)), name


@pytest.mark.parametrize("dtype", FLOATS)
def test_where_takes_numbers_on_either_side(dtype):
    a, b = pairs(COMPUTED[dtype])
    found = evaluate(
        lambda a, b: (
            lanes.where(a < b, a, b),
            lanes.where(a < b, 0.25, b),
            lanes.where(a < b, a, -0.0),
            lanes.where(a < b, math.inf, b),
        ),
        dtype, a, b,
    )  # fmt: skip
    smaller = a < b
    wanted = [(a, b), (0.25, b), (a, -0.0), (np.inf, b)]
    for y, (then, otherwise) in zip(found, wanted, strict=True):
        assert same(y, np.where(smaller, then, otherwise).astype(a.dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_scaling_by_powers_of_two(dtype):
    computed, single = COMPUTED[dtype], dtype == torch.float32
    # where exp takes it: 2^128 only of numbers below 1
    k = np.arange(-126, 129) if single else np.arange(-1022, 1025)
    p = np.where(k == k[-1], 0.75, 1.25).astype(computed)
    t = (k + lanes._WHOLE[single]).astype(computed)
    found = evaluate(lanes._scaled, dtype, p, t)
    assert np.array_equal(found, np.ldexp(p, k))
    assert np.array_equal(lanes._scaled(p, t), found)


def ulps(found, exact, computed):
    """Give the largest distance to the exact values, in units of the format's last place."""
    exact = np.asarray(exact, np.longdouble)
    place = np.spacing(np.abs(exact).astype(computed)).astype(np.longdouble)
    return float((np.abs(found.astype(np.longdouble) - exact) / place).max())


# where exp neither overflows nor becomes subnormal
NORMAL = {
    torch.float32: (math.log(2.0**-126), math.log(np.finfo(np.float32).max)),
    torch.float64: (math.log(2.0**-1022), math.log(np.finfo(np.float64).max)),
}


def exp_points(dtype):
    """Give points over the whole range, dense where the reduction changes and at both ends."""
    computed, (low, high) = COMPUTED[dtype], NORMAL[dtype]
    rng = np.random.default_rng(2)
    halves = (np.arange(low / math.log(2), high / math.log(2)) + 0.5) * math.log(2)
    steps = np.concatenate([np.nextafter(halves, -np.inf), halves, np.nextafter(halves, np.inf)])
    tiny = 10.0 ** rng.uniform(-40, 0, 2000) * rng.choice([-1, 1], 2000)
    edges = np.concatenate([np.linspace(low, low + 1, 5000), np.linspace(high - 1, high, 5000)])
    x = np.concatenate([rng.uniform(low, high, 200_000), steps, tiny, edges]).astype(computed)
    # a hair inside: what the ends round to is checked apart
    return x[(x >= low * (1 - 1e-6)) & (x <= high * (1 - 1e-6))]


@pytest.mark.parametrize("dtype", FLOATS)
def test_exp(dtype):
    x = exp_points(dtype)
    found = evaluate(lanes.exp, dtype, x)
    exact = np.exp(x.astype(np.longdouble))
    assert ulps(found, exact, COMPUTED[dtype]) <= ULPS["exp"].bound


@pytest.mark.parametrize("dtype", FLOATS)
def test_exp_beyond_its_range(dtype):
    computed, (low, high) = COMPUTED[dtype], NORMAL[dtype]
    f = np.finfo(computed)
    large = np.array([high + 0.01, high + 1, 1e3, 1e10, f.max, np.inf], computed)
    small = np.array([low - 0.01, low - 1, -1e3, -1e10, -f.max, -np.inf], computed)
    assert (evaluate(lanes.exp, dtype, large) == np.inf).all()
    # what would be subnormal is 0
    assert (evaluate(lanes.exp, dtype, small) == 0).all()
    # every kind of NaN: quiet and signalling, of both signs
    bits = [0x7F800001, 0xFF800001, 0xFFFFFFFF, 0x7FC00000, 0x7FC001FF]
    with np.errstate(invalid="ignore"):
        nan = np.array(bits, np.uint32).view(np.float32).astype(computed)
    assert np.isnan(evaluate(lanes.exp, dtype, nan)).all()
    exact = np.array([0.0, -0.0, f.smallest_subnormal, -f.smallest_normal], computed)
    assert (evaluate(lanes.exp, dtype, exact) == 1).all()


def test_erf_in_float32():
    rng = np.random.default_rng(3)
    # where no intermediate result is subnormal
    tiny = 10.0 ** rng.uniform(-35, 0, 20_000) * rng.choice([-1, 1], 20_000)
    x = np.concatenate([rng.uniform(-4.5, 4.5, 200_000), tiny]).astype(np.float32)
    found = evaluate(lanes.erf, torch.float32, x)
    assert ulps(found, special.erf(x.astype(np.float64)), np.float32) <= ULPS["erf"].bound
    assert same(evaluate(lanes.erf, torch.float32, -x), -found)


def test_erf_in_float64():
    rng = np.random.default_rng(4)
    tiny = 10.0 ** rng.uniform(-300, 0, 20_000) * rng.choice([-1, 1], 20_000)
    x = np.concatenate([rng.uniform(-6.5, 6.5, 100_000), tiny])
    found = evaluate(lanes.erf, torch.float64, x)
    assert ulps(found, special.erf(x), np.float64) <= ULPS["erf64"].bound


@pytest.mark.parametrize("dtype", FLOATS)
def test_erf_at_the_ends(dtype):
    computed = COMPUTED[dtype]
    f = np.finfo(computed)
    x = np.array([0.0, -0.0, 30.0, -30.0, f.max, -f.max, np.inf, -np.inf, np.nan], computed)
    found = evaluate(lanes.erf, dtype, x)
    wanted = np.array([0, -0.0, 1, -1, 1, -1, 1, -1, np.nan], computed)
    near = np.abs(found - wanted) <= ULPS["erf"].bound * f.epsneg
    assert (near | (np.isnan(found) & np.isnan(wanted))).all()
    assert (np.signbit(found) == np.signbit(wanted))[:-1].all()


@pytest.mark.parametrize("name", ["exp", "erf"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_formulas_run_on_numpy_as_they_stand(name, dtype):
    x = np.linspace(-3, 3, 41).astype(COMPUTED[dtype])
    oracle = {"exp": np.exp, "erf": special.erf}[name]
    found = getattr(lanes, name)(x)
    assert found.dtype == x.dtype
    assert np.allclose(found, oracle(x), rtol=4 * np.finfo(x.dtype).eps, atol=0)
    assert np.array_equal(lanes.where(x < 0, 0.0, x), np.maximum(x, 0))
