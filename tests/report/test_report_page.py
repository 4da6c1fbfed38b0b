"""The page's shell: its policy names what it holds, and its colours can be told apart."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from itertools import combinations

import pytest
from jinja2 import UndefinedError

from equipoise.report import page, svg

CSS = files("equipoise.report").joinpath("page.css").read_text("utf-8")
# Machado, Oliveira & Fernandes (2009), severity 1
SIGHT = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def colours(theme):
    """Read the custom properties of one theme from the style sheet."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)
    found = {name: light if theme == "light" else dark for name, light, dark in pairs}
    return found | {"c0": found["ink"]}


def linear(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def contrast(a, b):
    """WCAG 2 contrast of two linear colours."""
    weights = (0.2126, 0.7152, 0.0722)
    low, high = sorted(sum(w * c for w, c in zip(weights, x, strict=True)) for x in (a, b))
    return (high + 0.05) / (low + 0.05)


def oklab(rgb):
    r, g, b = (max(0.0, c) for c in rgb)
    l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


def distance(a, b, sight):
    seen = [
        oklab([sum(w * c for w, c in zip(row, linear(x), strict=True)) for row in SIGHT[sight]])
        for x in (a, b)
    ]
    return sum((p - q) ** 2 for p, q in zip(*seen, strict=True)) ** 0.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "accent", "warn", *(f"c{i}" for i in range(6))])
def test_text_and_lines_stand_out_from_the_paper(theme, name):
    found = colours(theme)
    assert contrast(linear(found[name]), linear(found["paper"])) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_series_differ_in_colour_to_every_eye(theme, sight):
    found = colours(theme)
    series = [found[f"c{i}"] for i in range(6)]
    # 0.02 is a just noticeable difference in OKLab; lines are thin, so five times that
    assert min(distance(a, b, sight) for a, b in combinations(series, 2)) > 0.1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shade", [0.04, 0.3, 0.62])
def test_ink_is_read_on_every_shade_of_the_matrix(theme, shade):
    found = colours(theme)
    mixed = [
        shade * int(found["heat"][i : i + 2], 16) + (1 - shade) * int(found["paper"][i : i + 2], 16)
        for i in (1, 3, 5)
    ]
    cell = linear("#" + "".join(f"{round(c):02x}" for c in mixed))
    assert contrast(cell, linear(found["ink"])) >= 4.5


def test_the_policy_allows_the_page_s_own_style_and_script_alone():
    html = page.render("page.html", title="t", headline="h")
    policy = re.search(r'Security-Policy" content="([^"]*)"', html)[1]
    for tag in ("style", "script"):
        (inside,) = re.findall(f"(?s)<{tag}>(.*?)</{tag}>", html)
        digest = b64encode(sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_values_are_escaped_and_none_is_a_dash():
    assert "<title>&lt;b&gt;</title>" in page.render("page.html", title="<b>", headline="h")
    assert "<title>–</title>" in page.render("page.html", title=None, headline="h")


def test_a_forgotten_value_is_an_error():
    with pytest.raises(UndefinedError):
        page.render("page.html", title="t")


def test_every_style_of_a_series_is_in_the_style_sheet():
    for name in {part for i in range(26) for part in svg.style(i).split()} - {"d0"}:
        assert f".{name} {{" in CSS
