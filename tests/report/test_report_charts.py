"""Charts: well-formed, true to their numbers, and calm with gaps and hostile names."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from equipoise.report.bars import Bar, bars
from equipoise.report.lines import Series, apart, lines
from equipoise.report.matrix import Cell, matrix
from equipoise.report.scale import Scale

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>\"'&]]>\x00\ud800" + "長" * 500


def read(chart):
    """Parse a chart as a browser would, from its bytes."""
    return ElementTree.fromstring(chart.encode())


def texts(node):
    """Give all text on a chart."""
    return [t.text for t in node.iter(f"{SVG}text") if t.text]


def line_chart(series, **how):
    return read(lines(series, key="k", title="T", desc="D", x_label="step", **how))


def test_a_line_lies_where_its_values_are():
    root = line_chart(
        [Series("batch", [0, 50, 100], [0.0, 5.0, 10.0], index=1)],
        x_scale=Scale(0, 100),
        y_scale=Scale(0, 10),
    )
    path = next(p for p in root.iter(f"{SVG}path") if "line" in p.get("class", ""))
    assert path.get("d") == "M0 1000.0L500 500.0L1000 0.0"


def test_a_band_runs_there_high_and_back_low():
    series = Series("batch", [0, 1], [2.0, 2.0], [1.0, 1.0], [3.0, 4.0])
    root = line_chart([series], x_scale=Scale(0, 1), y_scale=Scale(0, 4))
    band = next(p for p in root.iter(f"{SVG}path") if "band" in p.get("class", ""))
    assert band.get("d") == "M0 250.0L1000 0.0L1000 750.0L0 750.0Z"


def test_gaps_break_a_line_and_a_lone_point_is_a_dot():
    series = Series("batch", [0, 1, 2, 3], [1.0, None, 2.0, 3.0])
    root = line_chart([series])
    path = next(p for p in root.iter(f"{SVG}path") if "line" in p.get("class", ""))
    assert path.get("d").count("M") == 2
    assert path.get("d").count("h0") == 1


def test_what_a_log_axis_cannot_hold_is_a_gap():
    root = line_chart([Series("batch", [0, 1, 2], [0.0, -1.0, 0.5])], log=True)
    path = next(p for p in root.iter(f"{SVG}path") if "line" in p.get("class", ""))
    assert path.get("d").count("M") == 1


@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series("batch", [], [])],
        [Series("batch", [1, 2], [None, None], [None, None], [None, None])],
        [Series("batch", [1, 2], [float("nan"), float("inf")])],
    ],
)
def test_without_values_a_chart_says_so(series):
    assert "nothing was recorded" in texts(line_chart(series))


def test_ends_are_crosses_at_their_place():
    series = Series("none", [1, 2], [1.0, 9.0], ends=[(2, 9.0)])
    root = line_chart([series], x_scale=Scale(0, 4), y_scale=Scale(0, 10))
    cross = next(s for s in root.iter(f"{SVG}svg") if s.get("x") == "50%")
    assert cross.find(f"{SVG}path").get("class").startswith("cross")


def test_twelve_labels_do_not_overlap():
    series = [Series(f"norm {i}", [0, 1], [0.5, 0.5], index=i) for i in range(12)]
    root = line_chart(series, height=260)
    places = sorted(
        float(t.get("y")) for t in root.iter(f"{SVG}text") if "name" in t.get("class", "")
    )
    assert len(places) == 12
    assert min(b - a for a, b in itertools.pairwise(places)) > 13


def test_labels_keep_their_order_and_bounds():
    placed = apart([5, 6, 200, 201, 202], 0, 210, 15)
    assert placed == sorted(placed)
    assert 0 <= placed[0]
    assert placed[-1] <= 210


def test_bars_start_at_zero_and_hold_their_range():
    root = read(
        bars(
            [Bar("batch", 50, 40, 100, "50 (40–100)", 1), Bar("none", None, text="not reached")],
            key="b", title="T", desc="D", x_label="steps",
        )
    )  # fmt: skip
    drawn = [r for r in root.iter(f"{SVG}rect") if "bar" in r.get("class", "")]
    assert [(r.get("x"), r.get("width")) for r in drawn] == [(None, "50%")]
    assert {"not reached", "50 (40–100)"} <= set(texts(root))


def test_bars_without_rows():
    assert read(bars([], key="b", title="T", desc="D", x_label="steps")) is not None


def test_a_diverged_cell_is_marked_by_more_than_colour():
    row = ("none", 0, [Cell(0.9, "90.0%"), Cell(None, "✕ 3/3", hatched=True), None])
    root = read(
        matrix([row], ["0.1", "1", "3"], key="m", title="T", desc="D", x_label="lr",
               scale=Scale(0, 1))
    )  # fmt: skip
    hatched = [r for r in root.iter(f"{SVG}rect") if r.get("fill") == "url(#m-hatch)"]
    assert len(hatched) == 1
    assert "✕ 3/3" in texts(root)
    assert len([g for g in root.iter(f"{SVG}g") if g.get("class") == "mark"]) == 2


def _hostile_charts():
    common = {"key": "k", "title": HOSTILE, "desc": HOSTILE, "x_label": HOSTILE}
    yield lines([Series(HOSTILE, [1, 2], [1.0, 2.0], note=HOSTILE)], rule=(1.5, HOSTILE), **common)
    yield bars([Bar(HOSTILE, 1.0, 0.5, 2.0, HOSTILE)], **common)
    cell = Cell(0.5, HOSTILE, HOSTILE, HOSTILE)
    yield matrix([(HOSTILE, 1, [cell])], [HOSTILE], scale=Scale(0, 1), **common)


HOSTILE_CHARTS = list(_hostile_charts())


@pytest.mark.parametrize("chart", HOSTILE_CHARTS, ids=["lines", "bars", "matrix"])
def test_hostile_names_stay_text(chart):
    root = read(chart)
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', chart))


@pytest.mark.parametrize("chart", HOSTILE_CHARTS, ids=["lines", "bars", "matrix"])
def test_charts_carry_no_inline_style(chart):
    assert "style=" not in re.sub(r">[^<]*<", "><", chart)


def test_a_chart_is_an_image_with_title_and_description():
    root = line_chart([Series("batch", [1, 2], [1.0, 2.0])])
    assert root.get("role") == "img"
    named = {node.get("id"): node.text for node in root.iter() if node.get("id")}
    assert named[root.get("aria-labelledby")] == "T"
    assert named[root.get("aria-describedby")] == "D"
