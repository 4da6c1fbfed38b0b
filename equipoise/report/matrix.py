"""A matrix of shaded cells; every value is written out, the shade only repeats it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equipoise.report import svg
from equipoise.report.scale import Scale, usable

_ROW, _HEAD, _FOOT = 46, 26, 22
# ink on a fuller shade would fall under 4.5:1
_FAINT, _FULL = 0.04, 0.62


@dataclass(frozen=True)
class Cell:
    """One cell: ``value`` shades it, ``text`` is printed, ``below`` a second line under it.

    ``hatched`` marks a failure by pattern, ``ringed`` the chosen cell; ``said`` is read out.
    """

    value: float | None = None
    text: str = ""
    below: str = ""
    said: str = ""
    hatched: bool = False
    ringed: bool = False


def matrix(
    rows: Sequence[tuple[str, int, Sequence[Cell | None]]],
    columns: Sequence[str],
    *,
    key: str,
    title: str,
    desc: str,
    x_label: str,
    scale: Scale,
) -> Markup:
    """Draw rows of (name, colour index, cells), one cell for each column; None leaves a gap.

    Examples
    --------
    >>> row = ("batch", 1, [Cell(0.97, "97%", said="batch at 0.1: 97%")])
    >>> "batch at 0.1" in matrix([row], ["0.1"], key="m", title="Accuracy", desc="",
    ...                          x_label="learning rate", scale=Scale(0, 1))
    True
    """
    wide = 1 / max(1, len(columns))
    places = [
        (cell, j, i) for i, (_, _, row) in enumerate(rows) for j, cell in enumerate(row) if cell
    ]
    height = _HEAD + _ROW * len(rows) + _FOOT
    return svg.chart(
        svg.tag("defs", _hatch(key)),
        [_column(text, j, wide) for j, text in enumerate(columns)],
        [_name(name, index, i) for i, (name, index, _) in enumerate(rows)],
        [_cell(cell, j, i, wide, scale, key) for cell, j, i in places],
        # last, so that no neighbour covers one
        [_ring(j, i, wide) for cell, j, i in places if cell.ringed],
        svg.tag("text", x_label, x="100%", y=height - 4, text_anchor="end", class_="unit"),
        key=key,
        title=title,
        desc=desc,
        height=height,
        kind=_kind(len(columns)),
    )


def _kind(columns):
    """Say whether a phone must scroll to read the cells."""
    return "matrix" + (" wide" if columns > 6 else "") + (" wider" if columns > 12 else "")


def _hatch(key):
    stroke = svg.tag("path", d="M0 8L8 0", class_="hatch")
    return svg.tag(
        "pattern", stroke, id=f"{key}-hatch", width=8, height=8, patternUnits="userSpaceOnUse"
    )


def _column(text, j, wide):
    x = svg.share((j + 0.5) * wide)
    return svg.tag("text", text, x=x, y=_HEAD - 10, text_anchor="middle", class_="unit")


def _name(name, index, i):
    return svg.tag(
        "text",
        svg.short(name, 15),
        x=-10,
        y=_HEAD + (i + 0.5) * _ROW + 4,
        text_anchor="end",
        class_=f"name {svg.style(index)[:2]}",
    )


def _cell(cell, j, i, wide, scale, key):
    box = _box(j, i, wide)
    return svg.tag(
        "g",
        svg.tag("title", cell.said or cell.text),
        svg.tag("rect", **box, class_="cell", fill_opacity=_shade(cell.value, scale)),
        svg.tag("rect", **box, fill=f"url(#{key}-hatch)") if cell.hatched else "",
        _words(cell, svg.share((j + 0.5) * wide), _HEAD + (i + 0.5) * _ROW),
        class_="mark",
    )


def _box(j, i, wide):
    return {
        "x": svg.share(j * wide),
        "y": _HEAD + i * _ROW,
        "width": svg.share(wide),
        "height": _ROW,
    }


def _shade(value, scale):
    if not usable(value):
        return 0
    return round(_FAINT + (_FULL - _FAINT) * min(1.0, max(0.0, scale(value))), 3)


def _words(cell, x, y):
    first = y - 4 if cell.below else y + 4
    yield svg.tag("text", cell.text, x=x, y=first, text_anchor="middle", class_="value")
    if cell.below:
        yield svg.tag("text", cell.below, x=x, y=first + 16, text_anchor="middle", class_="below")


def _ring(j, i, wide):
    return svg.tag("rect", **_box(j, i, wide), class_="ring")
