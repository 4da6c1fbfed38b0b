"""Vectors of numbers in the making: the operators of Python emit LLVM instructions.

A formula written once, over ``+ - * /``, comparisons and the functions here, becomes vector code
for any number format on a machine without a compiler, and runs on NumPy arrays as it stands,
which is its oracle.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir

WORD, LONG = ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()

# products and sums may be fused into one instruction; nothing else may be reordered
_FUSED = ("contract",)


def intrinsic(builder, name: str, result, args, flags=()) -> Any:
    """Call an LLVM intrinsic (or a function of the C library) by its full name."""
    module = builder.module
    found = module.globals.get(name)
    if found is None:
        kind = ir.FunctionType(result, [a.type for a in args])
        found = ir.Function(module, kind, name)
    return builder.call(found, args, fastmath=flags)


def suffix(kind) -> str:
    """Give LLVM's short name of a vector type: v16f32."""
    element = {"float": "f32", "double": "f64", "half": "f16"}.get(str(kind.element))
    return f"v{kind.count}{element or str(kind.element)}"


class Lanes:
    """A vector in a register, and the place where its instructions go."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    @property
    def type(self):
        """The vector's LLVM type."""
        return self.value.type

    def _of(self, other):
        if isinstance(other, Lanes):
            return other.value
        return ir.Constant(self.type, [float(other)] * self.type.count)

    def _with(self, operation, other, swap=False):
        a, b = self.value, self._of(other)
        if swap:
            a, b = b, a
        return Lanes(self.builder, getattr(self.builder, operation)(a, b, flags=_FUSED))

    def __add__(self, other):
        return self._with("fadd", other)

    def __radd__(self, other):
        return self._with("fadd", other, swap=True)

    def __sub__(self, other):
        return self._with("fsub", other)

    def __rsub__(self, other):
        return self._with("fsub", other, swap=True)

    def __mul__(self, other):
        return self._with("fmul", other)

    def __rmul__(self, other):
        return self._with("fmul", other, swap=True)

    def __truediv__(self, other):
        return self._with("fdiv", other)

    def __rtruediv__(self, other):
        return self._with("fdiv", other, swap=True)

    def __neg__(self):
        return Lanes(self.builder, self.builder.fneg(self.value))

    def _compare(self, sign, other):
        return Lanes(self.builder, self.builder.fcmp_ordered(sign, self.value, self._of(other)))

    # ordered comparisons: false where either side is no number, as NumPy's are
    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __ge__(self, other):
        return self._compare(">=", other)


def where(condition, then, otherwise):
    """Choose by lane; one of the choices may be a number."""
    if not isinstance(condition, Lanes):
        return np.where(condition, then, otherwise)
    model = then if isinstance(then, Lanes) else otherwise
    values = [model._of(v) for v in (then, otherwise)]
    return Lanes(model.builder, model.builder.select(condition.value, *values))


def _is_single(x) -> bool:
    if isinstance(x, Lanes):
        return str(x.type.element) == "float"
    return x.dtype == np.float32


# 3/2 of the first number whose last digit is a whole: sums with it end in a whole number's bits
_WHOLE = {True: 1.5 * 2.0**23, False: 1.5 * 2.0**52}


def _scaled(p, t):
    """Give p * 2^k for t = k + _WHOLE, by adding k to the exponent of p; both ends are normal."""
    if not isinstance(p, Lanes):
        return np.ldexp(p, (t - _WHOLE[_is_single(t)]).astype(np.int32))
    b, single = p.builder, _is_single(p)
    whole = ir.VectorType(WORD if single else LONG, p.type.count)
    shift = ir.Constant(whole, [23 if single else 52] * whole.count)
    bits = b.add(b.bitcast(p.value, whole), b.shl(b.bitcast(t.value, whole), shift))
    return Lanes(b, b.bitcast(bits, p.type))


# exp on [-ln2/2, ln2/2]: in float32 minimax beyond 1 + r (3e-9), in float64 Taylor's (4e-18)
_EXP32 = (
    1.381452894e-3, 8.368750103e-3, 4.166839272e-2, 1.666651964e-1, 4.999999404e-1, 1.0, 1.0,
)  # fmt: skip
_EXP64 = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
# ln 2 in two parts, the first with zeros at its end: k times it is exact
_LN2 = {
    True: (0.693359375, -2.12194440e-4),
    False: (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
# beyond them exp overflows, or its result is subnormal
_LIMITS = {True: (88.72283, -87.33654), False: (709.782712893384, -708.3964185322641)}


def _power(x):
    """exp(x) by Cody and Waite's reduction and a polynomial, 2 ulp; nonsense beyond the limits."""
    single = _is_single(x)
    first, second = _LN2[single]
    t = x * 1.4426950408889634 + _WHOLE[single]
    k = t - _WHOLE[single]
    r = x - k * first - k * second
    coefficients = _EXP32 if single else _EXP64
    p = coefficients[0]
    for c in coefficients[1:]:
        p = p * r + c
    return _scaled(p, t)


def exp(x):
    """exp(x) to 2 ulp; subnormal results are 0."""
    if not isinstance(x, Lanes):
        return np.exp(x)
    high, low = _LIMITS[_is_single(x)]
    # beyond the limits the bits mean nothing; infinity, and NaN, stay what they are
    y = where(x <= high, _power(x), x + math.inf)
    return where(x < low, 0.0, y)


def one_and_exp(x):
    """1 + exp(x), for NaN no finite number: the divisor of what is NaN itself."""
    if not isinstance(x, Lanes):
        return 1.0 + np.exp(x)
    high, low = _LIMITS[_is_single(x)]
    # what is lost below the limit is lost beside 1, too
    y = _power(where(x < low, low, x))
    return 1.0 + where(x <= high, y, math.inf)


def _bell(x):
    """exp(-x^2 / 2); for NaN any number."""
    w = x * x * -0.5
    return where(w < _LIMITS[_is_single(x)][1], 0.0, _power(w))


_ERF_TOP = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_BOTTOM = (
    -1.45660718464996e-05, -2.13374052778905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def erf(x):
    """erf(x): in float32 an odd rational function on [-4, 4], in float64 the C library's."""
    if not isinstance(x, Lanes):
        return np.vectorize(math.erf, otypes=[x.dtype])(x)
    if not _is_single(x):
        return _by_lane("erf", x)
    z = where(x > 4.0, 4.0, x)
    z = where(z < -4.0, -4.0, z)
    t = z * z
    top, bottom = _ERF_TOP[0], _ERF_BOTTOM[0]
    for c in _ERF_TOP[1:]:
        top = top * t + c
    for c in _ERF_BOTTOM[1:]:
        bottom = bottom * t + c
    return z * (top / bottom)


def _by_lane(name, x):
    b, out = x.builder, ir.Constant(x.type, ir.Undefined)
    for k in range(x.type.count):
        at = ir.Constant(WORD, k)
        y = intrinsic(b, name, x.type.element, [b.extract_element(x.value, at)])
        out = b.insert_element(out, y, at)
    return Lanes(b, out)


# the normal distribution's tail from x > 0 on is t * P(t) * exp(-x^2 / 2), t = 1 / (1 + _TAIL x)
# (the form of Abramowitz and Stegun 7.1.26), P the best of its degree: 1e-8
_TAIL = 0.28
_TAIL32 = (
    -0.10580872, 0.38987595, -0.2369966, 0.26891266, 0.06749576, 0.11652094,
)  # fmt: skip


def normal(x):
    """Give P(N <= x) of a standard normal N, and exp(-x^2 / 2), which shares its arithmetic."""
    if not (isinstance(x, Lanes) and _is_single(x)):
        return 0.5 * (1.0 + erf(x * math.sqrt(0.5))), exp(-0.5 * x * x)
    t = 1.0 / (absolute(x) * _TAIL + 1.0)
    p = _TAIL32[0]
    for c in _TAIL32[1:]:
        p = p * t + c
    bell = _bell(x)
    tail = t * p * bell
    return where(x < 0.0, tail, 1.0 - tail), bell


def absolute(x):
    """|x|."""
    if not isinstance(x, Lanes):
        return np.abs(x)
    return Lanes(x.builder, intrinsic(x.builder, f"llvm.fabs.{suffix(x.type)}", x.type, [x.value]))
