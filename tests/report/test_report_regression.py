"""Pictures of regressions in a real browser: as a page, in a notebook's frame, and as an image."""

import numpy as np
import pytest

from equipoise.linear_model import RidgeCV, plot_cv, plot_path, ridge_path

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>\"' ]]>"


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8))
    y = X @ np.arange(8.0) + rng.standard_normal(60)
    alphas = np.logspace(-2, 3, 15)
    model = RidgeCV(alphas).fit(X, y)
    names = [HOSTILE, *"abcdefg"][::-1]
    path = plot_path(*ridge_path(X, y, alphas=alphas), names=names, chosen=model.alpha_)
    return path + plot_cv(model)


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"width": 390}], ids=str)
def test_the_page_renders_and_fits(visit, picture, options):
    seen = visit(picture.to_html(), **options)
    page = seen.page
    assert page.locator(".chart").count() == 2
    assert page.locator("#path--0 .line").count() == 8
    assert page.locator("#cv--1 .band").count() == 1
    # three that are not named stand back
    width = "line => getComputedStyle(line).strokeWidth"
    lines = page.locator("#path--0 .line").all()
    assert sorted(line.evaluate(width) for line in lines) == ["1px"] * 3 + ["2px"] * 5
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert page.locator(".key bdi").all_inner_texts()[-1] == "others"
    assert (seen.complaints, seen.dialogs) == ([], [])


def test_values_are_read_with_the_keyboard(visit, picture):
    page = visit(picture.to_html()).page
    page.locator("#cv--1").focus()
    page.keyboard.press("Home")
    assert page.inner_text("#said").startswith("alpha 0.01")


def test_the_frame_of_a_notebook_shows_both_charts(visit, picture):
    page = visit(f"<!doctype html><title>notebook</title>{picture._repr_html_()}").page
    frame = page.frame_locator("iframe")
    assert frame.locator(".chart").count() == 2
    assert frame.locator("#path--0 .line").first.bounding_box()["width"] > 300


def test_the_image_parses_and_needs_no_style_sheet(visit, picture):
    seen = visit(f"<!doctype html><title>image</title>{picture.to_svg()}")
    stroke = "getComputedStyle(document.querySelector('#cv--1 .line')).stroke"
    assert seen.page.evaluate(stroke) == "rgb(26, 102, 194)"
    assert seen.dialogs == []
