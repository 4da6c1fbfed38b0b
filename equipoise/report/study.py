"""The page of a study: which norm trains faster, better, and over which learning rates."""

from dataclasses import dataclass
from typing import Any

from equipoise.report import page
from equipoise.report._study_figures import (
    Figure,
    accuracy,
    best_rates,
    drift,
    landscape,
    pair,
    rates,
    speed,
)
from equipoise.report._study_view import Spread, View, counted, even, milliseconds, rate, spread
from equipoise.report.scale import number, percent


def render(study: dict[str, Any]) -> str:
    """Give the page of a study, as one self-contained HTML document.

    Parameters
    ----------
    study : dict
        What ``study.json`` holds (schema 1).  Numbers may be None, lists empty and trials
        missing; text is never trusted.

    Raises
    ------
    ValueError
        Where the schema is another one.

    Examples
    --------
    >>> import json
    >>> html = render(json.load(open("reports/study/study.json")))  # doctest: +SKIP
    """
    if study.get("schema") != 1:
        raise ValueError(
            f"the report reads schema 1 of study.json, and this one says "
            f"{study.get('schema')!r}: write it anew with `equipoise study`"
        )
    view = View(study)
    headline, *sentences = study["verdict"] or ["No verdict: too little was measured."]
    return page.render(
        "study.html",
        title=f"equipoise study · {study['data']['name']}",
        headline=headline,
        sentences=sentences,
        finished=len(view.ended),
        planned=view.planned,
        target=percent(view.target, trim=True),
        table=[_row(view, row) for row in study["summary"]],
        panels=_panels(view),
        best=_legend(view, best_rates(view)),
        speed=speed(view),
        matrix=rates(view),
        cells=[cell for row in study["summary"] for cell in _cells(row)],
        drift=drift(view),
        landscape=landscape(view),
        method=_method(view),
        **{key: study[key] for key in ("data", "settings", "partial", "command", "created")},
        versions=study["versions"],
    )


@dataclass(frozen=True)
class Panel:
    """The learning curves at one choice of learning rate."""

    key: str
    label: str
    legend: list[dict]
    accuracy: Figure
    pair: list[Figure]


def _panels(view):
    choices = [("best", "best of each norm", best_rates(view))]
    choices += [
        (f"rate-{i}", rate(lr), {name: lr for name in view.names})
        for i, lr in enumerate(view.rates)
    ]
    return [
        Panel(
            key, label, _legend(view, chosen), accuracy(view, key, chosen), pair(view, key, chosen)
        )
        for key, label, chosen in choices
    ]


def _legend(view, chosen):
    return [
        {"name": name, "index": view.index[name], "note": _note(view, name, chosen.get(name))}
        for name in view.names
    ]


def _note(view, name, lr):
    if lr is None:
        return "trained at no learning rate"
    trials = view.trials(name, lr)
    lost = sum(t["status"] == "diverged" for t in trials)
    note = f"learning rate {rate(lr)}" if trials else f"not run at {rate(lr)}"
    return f"{note}, {lost} of {counted(len(trials), 'seed')} diverged" if lost else note


def _row(view, row):
    return {
        "name": row["norm"],
        "index": view.index[row["norm"]],
        "cells": [
            Spread(rate(row["best_lr"])),
            spread(row["best_accuracy"], percent),
            spread(row["steps_to_target"], number),
            _largest(row["largest_lr"], row.get("largest_lr_by_seed")),
            spread(milliseconds(row["seconds_per_step"]), even),
        ],
    }


def _largest(lr, by_seed):
    """Write the largest rate at which every seed trained, and the range of each seed's own."""
    if not by_seed:
        return Spread(rate(lr))
    over = spread(by_seed, rate)
    return Spread(rate(lr), over.range or (over.main if over.note else ""), over.note)


def _cells(row):
    for cell in row["matrix"]:
        yield {
            "name": row["norm"],
            "lr": rate(cell["lr"]),
            "accuracy": percent(cell["accuracy"]),
            "diverged": f"{cell['diverged']} of {cell['of']}",
            "steps": number(cell["steps_to_target"]),
        }


def _method(view):
    study, settings = view.study, view.study["settings"]
    model, machine = study["model"], study["machine"]
    return [
        ("Data", _data(study["data"])),
        ("Network", f"{model['name']}, {number(model['parameters'], 9)} parameters"),
        ("Optimizer", settings["optimizer"]),
        (
            "Training",
            f"{counted(settings['epochs'], 'epoch')}, {counted(settings['steps'], 'step')} in all, "
            f"mini-batches of {number(settings['batch_size'], 9)}",
        ),
        ("Trials", _trials(view)),
        ("Start", _start(settings.get("paired"))),
        (
            "Diverged",
            "a trial whose loss or gradient overflows, or whose loss blows up, is stopped there; "
            "it counts as not having reached the target",
        ),
        (
            "Curves",
            f"loss, gradient norm and drift are averaged over {counted(view.bins.width, 'step')} "
            "for drawing; accuracy and landscape are drawn where they were measured",
        ),
        (
            "Time",
            "forward, backward and update with nothing recorded, the norms taking turns; other "
            "load on the machine moves it",
        ),
        ("Machine", f"{machine['cpu']}, {counted(machine['threads'], 'thread')}"),
        ("Versions", ", ".join(f"{name} {text}" for name, text in study["versions"].items())),
    ]


def _data(data):
    shape = " × ".join(number(n, 9) for n in data["shape"] or [])
    return (
        f"{data['name']}: {number(data['train'], 9)} samples to train on, "
        f"{number(data['test'], 9)} to test on, of {shape}, in {number(data['classes'])} classes"
    )


def _trials(view):
    lrs, seeds = ", ".join(map(rate, view.rates)), len(view.study["settings"]["seeds"])
    return (
        f"{counted(len(view.names), 'norm')} × {counted(len(view.rates), 'learning rate')} "
        f"({lrs}) × {counted(seeds, 'seed')}"
    )


def _start(paired):
    if paired is False:
        return "for one seed all norms meet the same mini-batches, but not the same first weights"
    return "for one seed all norms meet the same mini-batches" + (
        " and start from the same weights" if paired else ""
    )
