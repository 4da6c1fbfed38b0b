"""Scales, ticks and numbers: where a value lies on an axis, and how it is written."""

from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import TypeGuard

# beyond these a difference or a ratio of two values may overflow
_HUGE, _TINY = 1e150, 1e-150


def usable(value) -> TypeGuard[float]:
    """Tell whether ``value`` is a number that an axis can hold.

    >>> [usable(v) for v in (1, 0.5, None, float("nan"), "1", True)]
    [True, True, False, False, False, False]
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isfinite(value) and abs(value) < _HUGE


@dataclass(frozen=True)
class Scale:
    """A map from values to shares of an axis: ``low`` is at 0 and ``high`` at 1.

    >>> Scale(0, 10)(2.5)
    0.25
    >>> Scale(0.01, 100, log=True)(1)
    0.5
    """

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        if value < _TINY:
            return -1.0
        return log10(value / self.low) / log10(self.high / self.low)

    def ticks(self, count: int = 4) -> list[float]:
        """Round numbers inside the scale, about ``count`` of them.

        >>> Scale(0, 1).ticks(), Scale(0.003, 20, log=True).ticks()
        ([0.0, 0.25, 0.5, 0.75, 1.0], [0.01, 0.1, 1.0, 10.0])
        """
        if self.log and self.high / self.low >= 4:
            return _decades(self.low, self.high, count)
        step = _step(self.high - self.low, count)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [_tidy(i * step) for i in range(first, last + 1)]


def fit(values, *, log=False, zero=False, nice=True, count=4) -> Scale:
    """Give the scale that holds the usable ones among ``values``.

    With ``zero`` it starts at 0 (bars); with ``nice`` it ends on round numbers.  On a log
    scale only positive values count.

    >>> fit([3, None, 97])
    Scale(low=0.0, high=100.0, log=False)
    >>> fit([0.02, 3], log=True)
    Scale(low=0.02, high=5.0, log=True)
    >>> fit([])
    Scale(low=0.0, high=1.0, log=False)
    """
    kept = [float(v) for v in values if usable(v) and (v > _TINY or not log)]
    if zero:
        kept.append(0.0)
    low, high = _apart(min(kept), max(kept), log) if kept else (0.1 if log else 0.0, 1.0)
    if not nice:
        return Scale(low, high, log)
    if log:
        return Scale(_round_log(low, floor), _round_log(high, ceil), log)
    step = _step(high - low, count)
    return Scale(
        _tidy(floor(low / step + 1e-9) * step), _tidy(ceil(high / step - 1e-9) * step), log
    )


def number(value, digits: int = 3, *, trim: bool = True) -> str:
    """Write a number in ``digits`` significant digits; what is no number is a dash.

    Zeros at the end of a fraction are dropped, unless ``trim`` is false: columns then line up.

    >>> [number(v) for v in (0.01234, 1234.5, 0.1, 2.5e-7, -3, None)]
    ['0.0123', '1,230', '0.1', '2.5×10⁻⁷', '−3', '–']
    >>> number(14, trim=False)
    '14.0'
    """
    if not usable(value):
        return "–"
    # no minus before a zero
    value = value or 0.0
    text = f"{value:.{digits}g}"
    size = abs(float(text))
    if size and not 1e-4 <= size < 1e6:
        return _power(f"{value:.{digits - 1}e}")
    plain = f"{float(text):,.{_decimals(size, digits)}f}"
    if trim and "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain.replace("-", "−")


def percent(value, *, trim: bool = False) -> str:
    """Write a share as a percentage; ``trim`` drops the decimal of a whole one.

    >>> percent(0.9731), percent(0.95), percent(0.95, trim=True), percent(None)
    ('97.3%', '95.0%', '95%', '–')
    """
    if not usable(value):
        return "–"
    text = f"{100 * value:.1f}".replace("-0.0", "0.0")
    return (text.removesuffix(".0") if trim else text).replace("-", "−") + "%"


def _step(span, count):
    raw = span / max(count, 1)
    power = 10.0 ** floor(log10(raw))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.95)


def _tidy(value):
    """Drop the rounding noise of i * step: 0.30000000000000004 is 0.3."""
    return float(f"{value:.12g}")


def _apart(low, high, log):
    """Give two values some room, where all are one and the same."""
    if high - low > max(1e-9 * max(abs(low), abs(high)), _TINY):
        return low, high
    if log:
        return low / 2, high * 2
    room = abs(high) * 0.1
    return (low - room, high + room) if room > _TINY else (0.0, 1.0)


def _round_log(value, side):
    """Move a bound outward to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value) + 1e-12)
    steps = [m * power for m in (1, 2, 5, 10)]
    if side is ceil:
        return _tidy(next(s for s in steps if s >= value * (1 - 1e-9)))
    return _tidy(next(s for s in reversed(steps) if s <= value * (1 + 1e-9)))


def _decades(low, high, count):
    """Powers of ten inside the bounds, thinned; with 2 and 5 between them where there is room."""
    first, last = floor(log10(low) + 1e-9), ceil(log10(high) - 1e-9)
    inside = [
        [_tidy(m * 10.0**e) for e in range(first, last + 1) for m in marks]
        for marks in ((1, 2, 5), (1, 3), (1,))
    ]
    for row in inside:
        row[:] = [v for v in row if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    full = next((row for row in inside if len(row) <= count + 2), inside[-1])
    return full[:: max(1, ceil(len(full) / (count + 2)))]


def _decimals(size, digits):
    return max(0, digits - 1 - floor(log10(size))) if size else 0


def _power(text):
    mantissa, exponent = text.split("e")
    mantissa = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "×"
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return (mantissa + "10").replace("-", "−").removeprefix("1×") + raised
