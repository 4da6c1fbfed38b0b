"""The formulas of the sweeps: what a norm does to each number, once for all layouts and types.

A *line* is a stretch of numbers that share their statistics and their weight: a run of memory
(``axis`` 1, contiguous images) or a column (``axis`` 0, channels_last).  The mean reaches a sweep
as a shift in the compute type and a rest that goes into the offset, so that no digit of it is
lost: x - shift is exact where x is near the mean.
"""

from functools import cache
from typing import Any

from equipoise.ops.normalize.activations import activate, gate
from equipoise.ops.sweep.sweep import STRIP, Sweep

# where the activation's derivative is taken: nowhere, at the layer of x, of x and what was
# added, or at the output, whose sign is enough for ReLU
NOWHERE, INPUT, SUM, OUTPUT = range(4)
# activations whose arithmetic takes longer than memory
DEAR = ("silu", "gelu")


def _lines(axis: int, names: tuple[str, ...]) -> dict[str, Any]:
    return {"rows" if axis else "columns": names}


@cache
def first(axis: int) -> Sweep:
    """Sum the first numbers, for a shift."""

    def formula(v):
        return {"s": v.x}

    return Sweep("first", formula, axis, ("x",), sums=("s",))


@cache
def moments(axis: int) -> Sweep:
    """Sum x - shift and its square."""

    def formula(v):
        d = v.x - v.shift
        return {"s": d, "q": d * d}

    return Sweep("moments", formula, axis, ("x",), sums=("s", "q"), **_lines(axis, ("shift",)))


@cache
def output(
    axis: int, activation: str | None, slope: float, added: bool, ahead: bool = False
) -> Sweep:
    """Give y = act((x - shift) * scale + offset + other)."""

    def formula(v):
        z = (v.x - v.shift) * v.scale + v.offset
        return {"y": activate(z + v.other if added else z, activation, slope)}

    lines = _lines(axis, ("shift", "scale", "offset"))
    far = ("x",) if ahead else ()
    return Sweep("output", formula, axis, ("x", "other"), ("y",), ahead=far, **lines)


def _strip(activation) -> int:
    """Give the vectors that an activation's derivative leaves registers for."""
    return 2 if activation in DEAR else STRIP


def _gated(v, activation, slope, at):
    """Give the gradient before the activation."""
    if at == NOWHERE:
        return v.g
    if at == OUTPUT:
        return gate(v.g, v.other, activation, slope)
    z = (v.x - v.shift) * v.scale + v.offset
    return gate(v.g, z + v.other if at == SUM else z, activation, slope)


@cache
def gradient_sums(axis: int, activation: str | None, slope: float, at: int, kept: bool) -> Sweep:
    """Sum the gradient before the activation, and it times x - shift; write it where kept."""

    def formula(v):
        g = _gated(v, activation, slope, at)
        out = {"s": g, "q": g * (v.x - v.shift)}
        return out | {"gated": g} if kept else out

    lines = _lines(axis, ("shift", "scale", "offset"))
    return Sweep(
        "gradient_sums", formula, axis, ("g", "x", "other"), ("gated",), sums=("s", "q"),
        strip=_strip(activation), **lines,
    )  # fmt: skip


@cache
def input_gradient(
    axis: int, activation: str | None, slope: float, at: int, training: bool
) -> Sweep:
    """Give dx = a * g + b * (x - shift) + c, g before the activation; in evaluation a * g."""

    def formula(v):
        g = _gated(v, activation, slope, at)
        if not training:
            # x plays no part, be it NaN
            return {"dx": v.a * g}
        return {"dx": v.a * g + (v.b * (v.x - v.shift) + v.c)}

    lines = _lines(axis, ("shift", "scale", "offset", "a", "b", "c"))
    return Sweep(
        "input_gradient", formula, axis, ("g", "x", "other"), ("dx",), strip=_strip(activation),
        **lines,
    )  # fmt: skip


# --- weights that change along a line (LayerNorm, RMSNorm) ------------------------------------
# A line is a row of memory (``axis`` 1), or a column where an image's channels are not last.


def _crossed(axis: int, lines: tuple[str, ...], across: tuple[str, ...] = ()) -> dict:
    """Give a number a line, and a number for each place along the lines."""
    return {"rows": lines, "columns": across} if axis else {"columns": lines, "rows": across}


@cache
def row_first(axis: int, added: bool) -> Sweep:
    """Sum a line's first numbers, for a shift."""

    def formula(v):
        return {"s": v.x + v.other if added else v.x}

    return Sweep("row_first", formula, axis, ("x", "other"), sums=("s",))


@cache
def row_moments(axis: int, added: bool, centred: bool) -> Sweep:
    """Sum x - shift and its square along lines; x may be a sum, which is written."""

    def formula(v):
        x = v.x + v.other if added else v.x
        d = x - v.shift if centred else x
        out = {"s": d if centred else d * 0.0, "q": d * d}
        return out | {"total": x} if added else out

    lines = _crossed(axis, ("shift",))
    return Sweep("row_moments", formula, axis, ("x", "other"), ("total",), sums=("s", "q"), **lines)


def _row_output(v, weighted, biased):
    z = (v.x - v.shift) * v.scale + v.offset
    z = z * v.weight if weighted else z
    return z + v.bias if biased else z


@cache
def row_output(
    axis: int, activation: str | None, slope: float, weighted: bool, biased: bool, ahead: bool
) -> Sweep:
    """Give y = act(((x - shift) * scale + offset) * weight + bias)."""

    def formula(v):
        return {"y": activate(_row_output(v, weighted, biased), activation, slope)}

    numbers = _crossed(axis, ("shift", "scale", "offset"), ("weight", "bias"))
    far = ("x",) if ahead else ()
    return Sweep("row_output", formula, axis, ("x",), ("y",), ahead=far, **numbers)


def _row_gated(v, activation, slope, weighted, biased):
    """Give the gradient before the activation, and it times the weight."""
    g = v.g
    if activation is not None:
        g = gate(g, _row_output(v, weighted, biased), activation, slope)
    return g, g * v.weight if weighted else g


@cache
def row_gradient_sums(
    axis: int, activation: str | None, slope: float, weighted: bool, biased: bool
) -> Sweep:
    """Sum g * weight, and it times x - shift, along lines; g before the activation, written."""

    def formula(v):
        gated, g = _row_gated(v, activation, slope, weighted, biased)
        out = {"s": g, "q": g * (v.x - v.shift)}
        return out if activation is None else out | {"gated": gated}

    numbers = _crossed(axis, ("shift", "scale", "offset"), ("weight", "bias"))
    return Sweep(
        "row_gradient_sums", formula, axis, ("g", "x"), ("gated",), sums=("s", "q"),
        strip=_strip(activation), **numbers,
    )  # fmt: skip


@cache
def row_input_gradient(axis: int, weighted: bool, passed: bool) -> Sweep:
    """Give dx = a * g * weight + b * (x - shift) + c, and sum g and g * xhat across the lines.

    g is the gradient before the activation; ``passed``: what reaches x past the norm is added.
    """

    def formula(v):
        g, weighed = _row_gated(v, None, 0.0, weighted, False)
        dx = v.a * weighed + (v.b * (v.x - v.shift) + v.c)
        xhat = (v.x - v.shift) * v.scale + v.offset
        return {"dx": dx + v.other if passed else dx, "dbias": g, "dweight": g * xhat}

    numbers = _crossed(axis, ("shift", "scale", "offset", "a", "b", "c"), ("weight",))
    return Sweep(
        "row_input_gradient", formula, 1 - axis, ("g", "x", "other"), ("dx",),
        sums=("dbias", "dweight"), **numbers,
    )  # fmt: skip
