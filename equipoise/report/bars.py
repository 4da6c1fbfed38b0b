"""Horizontal bars from zero, each with the range over seeds and its value in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equipoise.report import svg
from equipoise.report.scale import Scale, fit, number, usable

_ROW, _HEAD, _FOOT = 44, 4, 40


@dataclass(frozen=True)
class Bar:
    """One bar: a median, its range, and ``text`` that says the value; None draws no bar."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    index: int = 0


def bars(rows: Sequence[Bar], *, key: str, title: str, desc: str, x_label: str) -> Markup:
    """Draw bars from zero, the name above each, its text behind it.

    Examples
    --------
    >>> chart = bars([Bar("batch", 40, 35, 52, "40 (35–52)")], key="steps", title="Steps",
    ...              desc="Fewer is better.", x_label="step")
    >>> "40 (35–52)" in chart
    True
    """
    scale = fit([v for row in rows for v in (row.value, row.high)], zero=True)
    height = _HEAD + _ROW * len(rows) + _FOOT
    return svg.chart(
        _axis(scale, x_label, height),
        [_bar(row, i, scale) for i, row in enumerate(rows)],
        key=key,
        title=title,
        desc=desc,
        height=height,
        kind="bars",
    )


def _axis(scale: Scale, x_label, height):
    base = height - _FOOT + 2
    for value in scale.ticks(4):
        x = svg.share(scale(value))
        yield svg.tag("line", x1=x, x2=x, y1=_HEAD, y2=base, class_="rule" if not value else "hair")
        anchor = "middle" if value else "start"
        yield svg.tag("text", number(value), x=x, y=base + 16, text_anchor=anchor, class_="unit")
    yield svg.tag("text", x_label, x="100%", y=base + 33, text_anchor="end", class_="unit")


def _bar(row, i, scale):
    y = _HEAD + i * _ROW
    colour = svg.style(row.index)[:2]
    said = f"{svg.clean(row.name)}: {row.text}"
    parts = [
        svg.tag("title", said),
        svg.tag("text", svg.short(row.name, 36), x=4, y=y + 15, class_=f"name {colour}"),
    ]
    edge = 0.0
    if usable(row.value):
        edge = scale(row.value)
        width = svg.share(edge)
        parts.append(svg.tag("rect", y=y + 21, width=width, height=13, class_=f"bar {colour}"))
    if usable(row.low) and usable(row.high):
        edge = max(edge, scale(row.high))
        parts += _range(svg.share(scale(row.low)), svg.share(scale(row.high)), y + 27.5)
    parts.append(svg.tag("text", row.text, x=svg.share(edge), dx=8, y=y + 32, class_="value"))
    return svg.tag("g", parts, class_="mark")


def _range(low, high, y):
    for a, b, half in ((low, high, 0), (low, low, 4), (high, high, 4)):
        yield svg.tag("line", x1=a, x2=b, y1=y - half, y2=y + half, class_="range")
