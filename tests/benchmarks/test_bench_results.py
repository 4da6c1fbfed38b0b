"""RESULTS.md is rewritten between its markers and nowhere else; tables print everything."""

from io import StringIO

import bench_fakes as fakes
import pytest
from rich.console import Console

from benchmarks.model import Entry
from benchmarks.results import replace_section, section, update
from benchmarks.table import milliseconds, show, times

RESULTS = [
    fakes.result("8x8 [f32] | a", (1e-3, 1e-3), (2e-3, 2e-3), limit=5e-4, accurate=False),
    fakes.result("8x8 [f32] | a", (2e-3, 2e-3), (6e-3, 6e-3), threads=1),
]


def printed(report, width=120):
    out = Console(file=StringIO(), width=width)
    show(fakes.benchmark(), report, out)
    return out.file.getvalue()


def test_a_section_is_appended_then_replaced():
    text = replace_section("# Results\n\nIntro.\n", "a", "one")
    assert text == "# Results\n\nIntro.\n\n<!-- bench:a -->\none\n<!-- /bench:a -->\n"
    text = replace_section(text, "b", "two")
    again = replace_section(text, "a", "three")
    assert again == text.replace("one", "three")


def test_update_is_idempotent_and_keeps_the_rest(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\nIntro.\n\n<!-- bench:z -->\nkept\n<!-- /bench:z -->\n")
    update(path, fakes.benchmark(), fakes.report(RESULTS))
    once = path.read_text()
    update(path, fakes.benchmark(), fakes.report(RESULTS))
    assert path.read_text() == once
    assert "Intro." in once
    assert "kept" in once
    assert once.count("<!-- bench:fake -->") == once.count("<!-- /bench:fake -->") == 1


def test_an_unclosed_section_is_refused():
    with pytest.raises(ValueError, match="restore the closing marker"):
        replace_section("<!-- bench:a -->\nhalf", "a", "x")


def test_every_point_is_written_with_its_marks():
    second = [fakes.result("8x8 [f32] | a", (1e-3, 1e-3), (5e-3, 5e-3))]
    text = section(fakes.benchmark(), fakes.report(RESULTS, second))
    row = "| 8x8 [f32] \\| a | 1 | 2 | 2.00† | 2.00 | 3.00 | 5.00 | 2.00 | 1e-07 | 1e-05 |"
    assert row in text
    assert "| geomean | ≥ 1.5 | 2.00 | reached | 1 points |" in text
    assert "copy" not in text


def test_failures_are_written():
    result = fakes.result("p", (1e-3, 1e-3), (2e-3, 2e-3))
    result.entries["peer"] = Entry(
        "peer", "ours", failed="InvalidCxxCompiler: none", accurate=False
    )
    assert "- p: InvalidCxxCompiler: none" in section(fakes.benchmark(), fakes.report([result]))
    assert "InvalidCxxCompiler: none" in printed(fakes.report([result]))


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_keeps_to_its_width(width):
    text = printed(fakes.report(RESULTS), width)
    assert max(map(len, text.splitlines())) <= width
    assert "8x8 [f32] | a" in text
    assert "2.00†" in text
    assert ("1e-05" in text) == (width == 120)


def test_nothing_is_printed_without_results():
    assert printed(fakes.report([])) == ""


def test_number_formats():
    assert [times(x) for x in (0.949, 1.0, 123.4, float("nan"))] == ["0.95", "1.00", "123", "–"]
    assert [milliseconds(x) for x in (5e-6, 1.234e-3, 0.25)] == ["0.0050", "1.23", "250"]
