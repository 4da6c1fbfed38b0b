"""The page in a real browser: it renders, reads values, and nothing hostile gets through."""

import re

import pytest
from make_study import make_study

from equipoise.report.study import render

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"' onload=alert(3) ]]>"


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def html(study):
    return render(study)


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def is_wider_than_its_window(page):
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_it_renders_without_a_complaint_or_a_request(visit, html, study):
    seen = visit(html)
    page = seen.page
    assert page.inner_text("h1") == study["verdict"][0]
    box = page.locator("#accuracy-best .line").first.bounding_box()
    assert box["width"] > 300
    assert box["height"] > 30
    assert page.locator("#rates-matrix .cell").count() == 15
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [page.url]


def test_a_hostile_name_stays_text(visit):
    study = make_study(norms=("none", HOSTILE), layers=(HOSTILE,), verdict=[HOSTILE, HOSTILE])
    seen = visit(render(study | {"command": HOSTILE}))
    page = seen.page
    assert page.inner_text("h1") == HOSTILE
    assert page.inner_text("#command") == HOSTILE
    for key in ("accuracy-best", "steps", "rates-matrix"):
        page.locator(f"#{key}").focus()
        page.keyboard.press("End")
        assert HOSTILE in page.inner_text("#said")
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert seen.dialogs == []
    assert seen.complaints == []


def test_an_injected_script_or_style_would_be_refused(visit, html):
    bad = "<script>document.title = 'taken'</script><i style='color: red' id='bad'></i>"
    seen = visit(html.replace("<main>", "<main>" + bad))
    assert seen.page.title() != "taken"
    assert seen.page.evaluate("document.getElementById('bad').style.color") == ""
    assert len([text for text in seen.complaints if "Content Security Policy" in text]) == 2


def test_hovering_shows_the_values_there(visit, html):
    page = visit(html).page
    chart = page.locator("#loss-best")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
    tip = page.locator("figure:has(#loss-best) .tip")
    assert tip.is_visible()
    assert re.match(r"training step 11\d, mean of 3 steps\nnone \d", tip.inner_text())
    assert chart.locator(".crosshair").count() == 1
    page.mouse.move(2, 2)
    assert tip.is_hidden()
    assert chart.locator(".crosshair").count() == 0


def test_arrow_keys_move_the_reading_point_and_say_it(visit, html, study):
    page = visit(html).page
    page.locator("#accuracy-best").focus()
    said = page.locator("#said")
    page.keyboard.press("ArrowRight")
    first = said.inner_text()
    assert first.startswith("training step 23; ")
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("training step 46; ")
    page.keyboard.press("Home")
    assert said.inner_text() == first
    page.keyboard.press("Escape")
    assert page.locator("#accuracy-best .crosshair").count() == 0


def test_values_read_from_the_paths_are_those_of_the_study(visit, html, study):
    page = visit(html).page
    page.locator("#accuracy-best").focus()
    page.keyboard.press("End")
    said = page.inner_text("#said")
    for row in study["summary"]:
        last = sorted(
            t["test_accuracy"][-1]
            for t in study["trials"]
            if (t["norm"], t["lr"]) == (row["norm"], row["best_lr"])
        )
        numbers = re.search(rf"{row['norm']} ([\d.]+)% \(([\d.]+)%–([\d.]+)%\)", said)
        middle, low, high = (float(n) / 100 for n in numbers.groups())
        assert [low, middle, high] == pytest.approx(last, abs=0.0006)


def test_bars_and_matrix_are_read_cell_by_cell(visit, html):
    page = visit(html).page
    page.locator("#rates-matrix").focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#said").startswith("none at learning rate 0.01: accuracy ")
    assert page.locator("#rates-matrix .mark.read").count() == 1
    page.locator("#steps").focus()
    assert page.locator("#rates-matrix .mark.read").count() == 0
    page.keyboard.press("End")
    assert page.inner_text("#said").startswith("torch_batch: ")


def test_every_control_is_reached_by_tab(visit, html):
    page = visit(html).page
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "accuracy-best", "loss-best", "steps", "rates-matrix", "copy"} <= reached


def test_the_learning_rate_can_be_chosen(visit, html):
    page = visit(html).page
    assert page.locator("#best").is_visible()
    page.get_by_role("radio", name="0.03", exact=True).check()
    assert page.locator("#best").is_hidden()
    assert page.locator("#rate-1").is_visible()
    assert "learning rate 0.03" in page.locator("#rate-1 .key").inner_text()
    assert page.locator("#loss-rate-1 .line").first.bounding_box()["width"] > 100


def test_light_and_dark_differ_and_can_be_switched(visit, html):
    light = visit(html, color_scheme="light").page
    dark = visit(html, color_scheme="dark").page
    paper = background(light), background(dark)
    assert paper[0] != paper[1]
    light.click("#theme")
    assert background(light) == paper[1]
    light.click("#theme")
    assert background(light) == paper[0]


@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_narrow_window_scrolls_in_one_direction(visit, html, width):
    page = visit(html, width=width).page
    assert not is_wider_than_its_window(page)
    page.locator("summary").click()
    chart = page.locator("#loss-best")
    chart.focus()
    for key in ("Home", "End"):
        page.keyboard.press(key)
        assert not is_wider_than_its_window(page)


@pytest.mark.parametrize("width", [320, 360])
def test_all_of_the_summary_is_seen_on_a_phone(visit, html, width):
    page = visit(html, width=width).page
    for value in page.locator("section[aria-labelledby=summary] td").all():
        box = value.bounding_box()
        assert 0 <= box["x"]
        assert box["x"] + box["width"] <= width
        heading = value.evaluate("cell => getComputedStyle(cell, '::before').content")
        assert heading.strip('"') == value.get_attribute("data-heading") != ""


def test_long_names_do_not_widen_a_phone_page(visit):
    long = "a" * 500
    page = visit(render(make_study(norms=("none", long), layers=(long,))), width=360).page
    assert not is_wider_than_its_window(page)


def test_text_on_charts_is_as_large_on_a_phone(visit, html):
    sizes = []
    for width in (360, 1280):
        page = visit(html, width=width).page
        sizes.append(page.locator("#accuracy-best .name").first.bounding_box()["height"])
    assert sizes[0] == pytest.approx(sizes[1], abs=1)


def test_without_javascript_the_essentials_show(visit, html, study):
    seen = visit(html, java_script_enabled=False)
    page = seen.page
    assert page.locator("#accuracy-best .line").first.is_visible()
    assert study["command"] in page.inner_text("#command")
    # no control that would do nothing
    for control in ("#theme", "#copy", "#rates"):
        assert page.locator(control).is_hidden()
    # the browser's own tooltips name each cell
    assert page.locator("#rates-matrix .mark title").count() == 15


def test_the_command_is_copied(visit, html, study, browser):
    page = visit(html, permissions=["clipboard-read", "clipboard-write"]).page
    page.click("#copy")
    page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == study["command"]


def test_printing_is_light_and_opens_the_tables(visit, html):
    page = visit(html, color_scheme="dark").page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert background(page) == "rgb(255, 254, 251)"
    assert page.locator("details table").is_visible()
    assert page.locator("#theme").is_hidden()
