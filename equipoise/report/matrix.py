"""A matrix of shaded cells; every value is written out, the shade only repeats it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equipoise.report import svg
from equipoise.report.scale import Scale, usable

_ROW, _HEAD, _FOOT = 46, 26, 22
# ink on a fuller shade would fall under 4.5:1
_FULL = 0.62


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
    cells = [
        _cell(cell, j, i, wide, scale, key)
        for i, (_, _, row) in enumerate(rows)
        for j, cell in enumerate(row)
    ]
    height = _HEAD + _ROW * len(rows) + _FOOT
    return svg.chart(
        svg.tag("defs", _hatch(key)),
        [_column(text, j, wide) for j, text in enumerate(columns)],
        [_name(name, index, i) for i, (name, index, _) in enumerate(rows)],
        cells,
        svg.tag("text", x_label, x="100%", y=height - 4, text_anchor="end", class_="unit"),
        key=key,
        title=title,
        desc=desc,
        height=height,
        kind="matrix" + (" wide" if len(columns) > 6 else "") + _more(columns),
    )


def _more(columns):
    return " wider" if len(columns) > 12 else ""


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
    if cell is None:
        return ""
    box = {
        "x": svg.share(j * wide),
        "y": _HEAD + i * _ROW,
        "width": svg.share(wide),
        "height": _ROW,
    }
    shade = (
        0.04 + (_FULL - 0.04) * min(1.0, max(0.0, scale(cell.value))) if usable(cell.value) else 0
    )
    middle, y = svg.share((j + 0.5) * wide), _HEAD + (i + 0.5) * _ROW
    lines = [cell.text, cell.below] if cell.below else [cell.text]
    return svg.tag(
        "g",
        svg.tag("title", cell.said or cell.text),
        svg.tag("rect", **box, class_="cell", fill_opacity=round(shade, 3)),
        svg.tag("rect", **box, fill=f"url(#{key}-hatch)") if cell.hatched else "",
        svg.tag("rect", **box, class_="ring") if cell.ringed else "",
        [
            svg.tag(
                "text",
                text,
                x=middle,
                y=y + 4 + 16 * (n - (len(lines) - 1) / 2),
                text_anchor="middle",
                class_="unit" if n else "value",
            )
            for n, text in enumerate(lines)
        ],
        class_="mark",
    )
