"""Charts as one SVG image that every viewer shows: colours written out, no variables, no script."""

import re

from markupsafe import Markup

from equipoise.report import svg

_WIDE, _LEFT, _RIGHT, _HEAD = 760, 56, 120, 34
# the light ones of page.css
_INK, _MUTED, _HAIR, _EDGE, _PAPER = "#1d1d1b", "#5f5e59", "#e6e3da", "#aaa79d", "#fffefb"
_COLOURS = (_INK, "#1a66c2", "#c8420a", "#4f4272", "#8a6274", "#772e11")
_DASHES = {1: "7 5", 2: "2 4", 3: "10 4 1 4", 4: "14 5"}


def image(charts: list) -> str:
    """Give one SVG of line charts below each other, each (title, chart, key).

    A key holds pairs (index, name).

    >>> image([])[:54]
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 7'
    """
    y, parts = 12, []
    for title, chart, key in charts:
        height = int(re.search(r'height="(\d+)', chart)[1])  # type: ignore[index]
        if title:
            parts.append(svg.tag("text", title, x=_LEFT, y=y + 14, class_="head"))
        parts += [_entry(item, i, y) for i, item in enumerate(key)]
        place = {"x": _LEFT, "y": y + _HEAD, "width": _WIDE - _LEFT - _RIGHT, "height": height}
        parts.append(svg.tag("svg", Markup(chart), overflow="visible", **place))
        y += _HEAD + height + 16
    paper = svg.tag("rect", width=_WIDE, height=y, fill=_PAPER)
    whole = svg.tag(
        "svg",
        Markup(f"<style>{_style()}</style>"),
        paper,
        parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDE} {y}",
        width=_WIDE,
        height=y,
    )
    return str(whole)


def _entry(item, place, y):
    """Write one name of a key at the right of its chart."""
    index, name = item
    left, y = _WIDE - _RIGHT + 16, y + _HEAD + 14 + 18 * place
    piece = svg.tag("line", x1=left, x2=left + 22, y1=y, y2=y, class_=f"line {svg.style(index)}")
    return piece + svg.tag("text", svg.short(name, 11), x=left + 28, y=y + 4)


def _style() -> str:
    rules = [
        "text{font:12px sans-serif;fill:" + _INK + "}",
        "text.head{font-size:15px;font-weight:600}",
        f".axis text,text.unit{{fill:{_MUTED}}}",
        ".chart{overflow:visible}",
        f".hair{{stroke:{_HAIR}}}",
        f".tick,.rule{{stroke:{_EDGE}}}",
        ".line{fill:none;stroke-width:2;stroke-linejoin:round;vector-effect:non-scaling-stroke}",
        ".band{stroke:none;fill-opacity:.15}",
        ".leader{fill:none;stroke-width:1}",
        ".cross{fill:none;stroke-width:2}",
        "text.name{font-weight:600}",
    ]
    for i, colour in enumerate(_COLOURS):
        rules.append(f".line.c{i},.leader.c{i},.cross.c{i}{{stroke:{colour}}}")
        rules.append(f".band.c{i},text.name.c{i}{{fill:{colour}}}")
    rules.append(f".line.co{{stroke:{_EDGE};stroke-width:1}}")
    rules += [f".d{i}{{stroke-dasharray:{dash}}}" for i, dash in _DASHES.items()]
    return "".join(rules)
