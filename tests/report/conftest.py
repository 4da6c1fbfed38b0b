"""A real browser for the pages: Debian's chromium, or a skip that says why."""

import os
import shutil

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def _missing(reason):
    # where a browser is promised, its absence is a failure and not a gap in the tests
    (pytest.fail if os.environ.get("EQUIPOISE_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def browser():
    """One chromium for all tests of pages."""
    path = shutil.which("chromium")
    if path is None:
        _missing("no chromium on this machine: apt-get install chromium runs the browser tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page in the browser, and everything that should not have happened on it."""

    def __init__(self, page):
        self.page, self.complaints, self.requests, self.dialogs = page, [], [], []
        page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture
def visit(browser, tmp_path):
    """Give ``open(html, **context)``, which shows a page from a file, as a reader would."""
    contexts = []

    def show(html, *, width=1280, **options):
        path = tmp_path / f"report-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        visit = Visit(contexts[-1].new_page())
        visit.page.goto(path.as_uri())
        return visit

    yield show
    for context in contexts:
        context.close()
