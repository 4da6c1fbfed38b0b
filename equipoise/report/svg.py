"""Build SVG from Python values: every attribute and every text is escaped."""

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

# what XML 1.0 cannot hold, and lone surrogates, which UTF-8 cannot
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_COLOURS = 5
_DASHES = 5


def clean(text) -> str:
    """Replace the characters that no page can hold.

    >>> clean("batch" + chr(0))
    'batch�'
    """
    return _ILLEGAL.sub("\ufffd", str(text))


def short(text, limit: int = 14) -> str:
    """Cut a name that is too long for a label.

    >>> short("a_very_long_layer_name", 10)
    'a_very_lo…'
    """
    text = " ".join(clean(text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tag(name: str, *children, **attributes) -> Markup:
    """Give one element; ``class_`` is class, ``data_x`` is data-x, None leaves one out.

    >>> tag("text", "a < b", x=1.50, class_="label")
    Markup('<text x="1.5" class="label">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(_text(child) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>")


def chart(*children, key: str, title: str, desc: str, height: float, kind: str, **attributes):
    """Wrap the parts of a chart in its <svg>, with the title and description that are read out."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", desc, id=f"{key}-desc"),
        *children,
        id=key,
        class_=f"chart {kind}",
        role="img",
        width="100%",
        height=height,
        xmlns="http://www.w3.org/2000/svg",
        aria_labelledby=f"{key}-title",
        aria_describedby=f"{key}-desc",
        **attributes,
    )


def share(value: float) -> str:
    """Write a share of the width.

    >>> share(0.1234567)
    '12.346%'
    """
    return f"{100 * value:.3f}".rstrip("0").rstrip(".") + "%"


def style(index: int) -> str:
    """Give the classes (colour, dash) of the series at ``index``; 0 is neutral, -1 thin.

    >>> style(-1), style(0), style(1), style(2), style(7)
    ('co d0', 'c0 d0', 'c1 d0', 'c2 d1', 'c2 d2')
    """
    if index < 0:
        return "co d0"
    if index == 0:
        return "c0 d0"
    turn, place = divmod(index - 1, _COLOURS)
    return f"c{place + 1} d{(place + turn) % _DASHES}"


def swatch(index: int) -> Markup:
    """Give the short piece of line that stands for a series in a key or a table."""
    piece = tag("line", x1=0, x2=26, y1=6, y2=6, class_=f"line {style(index)}")
    return tag("svg", piece, class_="swatch", width=26, height=12, aria_hidden="true")


def _value(value):
    if isinstance(value, float):
        value = f"{value:.6g}"
    return escape(clean(value))


def _text(child):
    if isinstance(child, Markup):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str):
        return "".join(_text(one) for one in child)
    return escape(clean(child))
