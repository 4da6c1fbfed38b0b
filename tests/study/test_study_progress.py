"""What is shown while a study runs."""

import io
import os
import re

import pytest
from rich.console import Console

from equipoise.study import progress
from equipoise.study.records import Trial
from equipoise.study.settings import settle


@pytest.fixture
def settings():
    return settle(["none", "[red]x"], lrs="0.1,1", seeds=1)


def _terminal(width=80):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def _play(display, trial, settings):
    with display:
        display.note("checking")
        display.begin(settings, 10)
        for norm in settings.norms:
            for lr in settings.lrs:
                made = trial(norm, lr, 0, [0.96], status="diverged" if lr == 1 else "done")
                made.step(0.5, 0.5, 1.0)
                display.shown = 0
                display.step(made)
                display.end(made)
        display.stopping()


def test_lines(trial, settings, capfd):
    _play(progress.Lines(), trial, settings)
    err = capfd.readouterr().err
    assert "4 trials of 10 steps" in err
    assert "[1/4] none lr 0.1 seed 0: best accuracy 96%, 95% after 5 steps" in err
    assert "[4/4] [red]x lr 1 seed 0: diverged at step 7" in err
    assert "Ctrl-C again stops at once" in err


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_display(trial, settings, width):
    console = _terminal(width)
    _play(progress.Display(console), trial, settings)
    shown = console.file.getvalue()
    lines = re.split(r"\n|\r|\x1b\[[0-9;?]*[A-Za-z]", shown)
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert "[red]x" in shown
        assert "96%" in shown
        assert "diverged" in shown
        assert "4/4 trials" in shown
        assert "none · lr 0.1 · seed 0 · step 1/10 · loss 0.500 · test 96%" in shown


def test_a_step_without_a_loss(settings):
    display = progress.Display(_terminal())
    with display:
        display.begin(settings, 10)
        display.step(Trial("none", 0.1, 0, loss=[None]))
    assert "loss – · test –" in display.text


def test_stopping_stays_on_the_screen(trial, settings):
    display = progress.Display(_terminal())
    with display:
        display.begin(settings, 10)
        display.stopping()
        made = trial("none", 0.1, 0, [])
        made.step(1.0, 0.5, 1.0)
        display.step(made)
    assert display.text == progress.STOPPING


def test_a_plain_stream_gets_lines(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress.choose(), progress.Lines)


def test_stderr_that_is_closed_does_not_break_the_stop(monkeypatch):
    def closed(*args):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "write", closed)
    progress.Lines().stopping()
