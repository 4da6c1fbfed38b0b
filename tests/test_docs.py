"""README and docs: their Python runs and prints what it says, their commands and links are real."""

import contextlib
import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
import typer

from equipoise import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES += sorted((ROOT / "docs").glob("*.md"))

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PROMISE = re.compile(r"^print\(.*\)  # (.*)$", re.M)
SPAN = re.compile(r"`((?:equipoise|make) [^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page, language):
    """Give the page's code blocks in one language."""
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def commands(page):
    """Give the words of each `equipoise` and `make` command, in blocks and in running text."""
    lines = [line for text in blocks(page, "sh") for line in text.splitlines()]
    lines += SPAN.findall(page.read_text("utf-8"))
    words = [shlex.split(line.partition(">")[0], comments=True) for line in lines]
    return [w for w in words if w and w[0] in ("equipoise", "make")]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run_and_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "docs"}
    for text in blocks(page, "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, page.name, "exec"), names)
        assert printed.getvalue().splitlines() == PROMISE.findall(text), text


@pages
def test_commands_parse(page):
    for program, *words in commands(page):
        # --help ends the parsing of a right command
        with contextlib.suppress(typer.Exit):
            (parse if program == "equipoise" else is_target)(words)


def parse(words):
    """Parse an `equipoise` command without running it; a wrong one raises."""
    group = typer.main.get_command(cli.app)
    context = group.make_context("equipoise", list(words))
    name, command, rest = group.resolve_command(context, list(words))
    given = command.make_context(name, list(rest), parent=context)
    if isinstance(command, typer.core.TyperGroup):
        inner, last, rest = command.resolve_command(given, list(rest))
        last.make_context(inner, list(rest), parent=given)
    if name != "bench":
        return
    from benchmarks import run

    benchmark = given.params["name"]
    assert benchmark in (None, *run.NAMES)
    if benchmark:
        run.parser(benchmark).parse_args(given.args)


def is_target(words):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert set(words) <= set(targets), words


@pytest.mark.parametrize("line", ["study --nope", "stduy", "bench nothing", "study --seeds x"])
def test_a_wrong_command_does_not_parse(line):
    with pytest.raises(Exception, match=r"nope|stduy|nothing|integer"):
        parse(line.split())


def test_the_docs_hold_commands():
    found = {tuple(words[:2]) for page in PAGES for words in commands(page)}
    for name in ("study", "bench", "warmup", "env"):
        assert ("equipoise", name) in found
    assert {("make", "study"), ("make", "test")} <= found


@pages
def test_links_to_files_lead_somewhere(page):
    found = [first or second for first, second in LINK.findall(page.read_text("utf-8"))]
    local = [link for link in found if not link.startswith("https://")]
    assert [link for link in local if not (page.parent / link.partition("#")[0]).exists()] == []


def test_the_first_screen_shows_the_picture_and_both_commands():
    screen = (ROOT / "README.md").read_text("utf-8").partition("\n## ")[0]
    assert "make study" in screen
    assert "make test" in screen
    for scheme in ("light", "dark"):
        image = ROOT / "docs" / "images" / f"study-{scheme}.png"
        assert f"docs/images/{image.name}" in screen
        assert image.stat().st_size < 300_000


def test_the_versions_said_to_be_tested_are_those_of_the_constraints():
    text = (ROOT / "README.md").read_text("utf-8")
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert f"torch {pinned[1]}" in text
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "dev" in extras["project"]["optional-dependencies"]
