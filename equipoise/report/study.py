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
from equipoise.report._study_view import Spread, View, counted, milliseconds, spread
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
        finished=sum(t["status"] in ("done", "diverged") for t in study["trials"]),
        planned=view.planned,
        target=percent(view.target),
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
        (f"rate-{i}", number(lr), {name: lr for name in view.names})
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
    note = f"learning rate {number(lr)}" if trials else f"not run at {number(lr)}"
    return f"{note}, {lost} of {counted(len(trials), 'seed')} diverged" if lost else note


def _row(view, row):
    return {
        "name": row["norm"],
        "index": view.index[row["norm"]],
        "cells": [
            Spread(number(row["best_lr"])),
            spread(row["best_accuracy"], percent),
            spread(row["steps_to_target"], number),
            Spread(number(row["largest_lr"])),
            spread(milliseconds(row["seconds_per_step"]), number),
        ],
    }


def _cells(row):
    for cell in row["matrix"]:
        yield {
            "name": row["norm"],
            "lr": number(cell["lr"]),
            "accuracy": percent(cell["accuracy"]),
            "diverged": f"{cell['diverged']} of {cell['of']}",
            "steps": number(cell["steps_to_target"]),
        }


def _method(view):
    study, settings = view.study, view.study["settings"]
    data, model, machine = study["data"], study["model"], study["machine"]
    shape = " × ".join(str(n) for n in data["shape"] or [])
    versions = ", ".join(f"{name} {version}" for name, version in study["versions"].items())
    return [
        (
            "Data",
            f"{data['name']}: {number(data['train'], 9)} samples to train on, "
            f"{number(data['test'], 9)} to test on, {shape}, {data['classes']} classes",
        ),
        ("Network", f"{model['name']}, {number(model['parameters'], 9)} parameters"),
        ("Optimizer", settings["optimizer"]),
        (
            "Training",
            f"{settings['epochs']} epochs of {settings['steps']} steps in all, "
            f"mini-batches of {settings['batch_size']}",
        ),
        (
            "Trials",
            f"{counted(len(view.names), 'norm')} × {counted(len(view.rates), 'learning rate')} "
            f"({', '.join(number(lr) for lr in view.rates)}) × "
            f"{counted(len(settings['seeds']), 'seed')}",
        ),
        (
            "Curves",
            f"per step, averaged over {counted(view.bins.width, 'step')} for drawing; "
            "test accuracy is drawn where it was measured",
        ),
        ("Machine", f"{machine['cpu']}, {counted(machine['threads'], 'thread')}"),
        ("Versions", versions),
    ]
