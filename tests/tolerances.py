"""Every tolerance of the suite, once, each with its reason.

An error is ``max|a - b| / max|b|`` unless a row says otherwise; see ``error``.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Tolerance:
    """A bound on the relative error, and why it is not smaller."""

    bound: float
    why: str


SAME_FORMULA = Tolerance(0.0, "the same operations on the same numbers give the same bits")

FLOAT64 = Tolerance(1e-12, "4e3 roundings of 2e-16; sums here have at most 1e5 terms")

FLOAT32 = Tolerance(2e-6, "the design's bar: 17 roundings of 1.2e-7, at any |mean|/std up to 1e6")

FLOAT32_EVAL = Tolerance(
    2e-6, "an affine map of x; relative to |x| as well, for running_mean itself is a float32"
)

RUNNING = {
    torch.float32: Tolerance(1e-6, "8 roundings of 1.2e-7 of a convex combination of two numbers"),
    torch.float64: Tolerance(1e-13, "as float32, in double"),
    torch.bfloat16: Tolerance(8e-3, "the buffer is kept in 8 bits: one rounding of 2^-8 a step"),
    torch.float16: Tolerance(1e-3, "the buffer is kept in 11 bits: one rounding of 2^-11 a step"),
}

# half precision: error <= HALF_FACTOR * (torch's own error in that precision) + HALF_FLOOR
HALF_FACTOR = 2.0
HALF_FLOOR = {
    torch.bfloat16: Tolerance(2**-8, "the output itself is rounded once, to 8 bits"),
    torch.float16: Tolerance(2**-11, "the output itself is rounded once, to 11 bits"),
}

INTERPRETED = Tolerance(3 * 2**-7, "Triton's interpreter cuts bfloat16 off where a GPU rounds")

# the gradient before SiLU or GELU is kept, as in torch's own two operations
HALF_TWICE = {
    torch.bfloat16: Tolerance(3 * 2**-8, "that gradient is rounded too, and sums of it"),
    torch.float16: Tolerance(3 * 2**-11, "that gradient is rounded too, and sums of it"),
}

# of every element, relative to itself, plus the same absolute: for values over many decades
ELEMENTWISE = {
    torch.float64: Tolerance(1e-13, "an activation is a few operations and one exp or erf"),
    torch.float32: Tolerance(2e-6, "likewise; tails of exp and erf lose digits relative to 1"),
    torch.bfloat16: Tolerance(2**-7, "two roundings to 8 bits in torch, one in ours"),
}

COMPILED = Tolerance(
    1e-5, "another program for the same formula: fused multiply-adds, sums in another order"
)

FORWARD_MODE = Tolerance(1e-10, "a tangent in float64 against a Jacobian, both in float64")


# in units of the format's last place
ULPS = {
    "exp": Tolerance(2.0, "what lanes.exp promises: a reduction, a polynomial, one scaling"),
    "erf": Tolerance(6.0, "a rational function of 12 coefficients, each step rounded to float32"),
    "erf64": Tolerance(2.0, "two C libraries, each within 1"),
}

DESCENT = Tolerance(
    1e-6, "coefficients of well-conditioned problems whose gap is 1e-14 of y²: its root, times 10"
)


VALUES = {torch.float64: FLOAT64, torch.float32: FLOAT32}


def error(actual, expected, scale=None):
    """Give ``max|actual - expected| / scale`` in float64; ``scale`` defaults to max|expected|.

    NaN and inf must stand at the same places with the same sign, else the error is inf.
    """
    actual, expected = actual.detach().double(), expected.detach().double()
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape))
    finite = expected.isfinite()
    if not torch.equal(actual.isfinite(), finite):
        return float("inf")
    strange = [t[~finite].nan_to_num(nan=0.5, posinf=1.0, neginf=-1.0) for t in (actual, expected)]
    if not torch.equal(*strange):
        return float("inf")
    if not finite.any():
        return 0.0
    gap = (actual - expected)[finite].abs().max().item()
    if gap == 0.0:
        return 0.0
    return gap / (expected[finite].abs().max().item() if scale is None else scale)


def assert_near(actual, expected, tolerance, what="", scale=None):
    """Assert that the error stays within ``tolerance``; name ``what`` differs where it does not."""
    found = error(actual, expected, scale)
    assert found <= tolerance.bound, f"{what}: error {found:.3g} > {tolerance.bound:.3g}"


def assert_half(actual, same_precision, expected, dtype, what=""):
    """Assert the half-precision rule: no worse than twice torch in that precision, plus a floor."""
    bound = HALF_FACTOR * error(same_precision, expected) + HALF_FLOOR[dtype].bound
    found = error(actual, expected)
    assert found <= bound, f"{what}: error {found:.3g} > {bound:.3g}"
