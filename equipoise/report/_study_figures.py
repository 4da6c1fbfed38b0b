"""The figures of a study's page, each with the one line that says how to read it."""

from dataclasses import dataclass

from markupsafe import Markup

from equipoise.report._study_view import View, counted, even, milliseconds, rate, spread
from equipoise.report.bars import Bar, bars
from equipoise.report.curves import thinned
from equipoise.report.lines import Series, lines
from equipoise.report.matrix import Cell, matrix
from equipoise.report.scale import Scale, fit, number, percent, usable

_LAYERS = 6
_STEP = "training step"


@dataclass(frozen=True)
class Figure:
    """A chart, its title, and how to read it."""

    title: str
    read: str
    chart: Markup


def best_rates(view: View) -> dict[str, float | None]:
    """Each norm's best learning rate."""
    return {row["norm"]: row["best_lr"] for row in view.study["summary"]}


def accuracy(view: View, key: str, chosen: dict) -> Figure:
    """Test accuracy over steps, one line a norm."""
    series = [
        view.pointwise(name, lr, "eval_steps", lambda t: t["test_accuracy"])
        for name, lr in chosen.items()
    ]
    rule = (
        (view.target, f"target {percent(view.target, trim=True)}") if usable(view.target) else None
    )
    return _drawn(
        view,
        series,
        f"accuracy-{key}",
        "Test accuracy",
        "Share of test samples classified correctly. A line that rises further left trains faster.",
        y_scale=_accuracy_scale(view),
        shares=True,
        rule=rule,
        height=340,
    )


def pair(view: View, key: str, chosen: dict) -> list[Figure]:
    """Training loss and gradient norm, one line a norm."""
    return [
        _drawn(
            view,
            [
                view.stepwise(name, lr, lambda t, field=field: t[field])
                for name, lr in chosen.items()
            ],
            f"{field}-{key}",
            title,
            read,
            y_scale=_log_scale(view, field),
            x_note=view.bin_note,
        )
        for field, title, read in (
            (
                "loss",
                "Training loss",
                "Log scale. Lower is better; a line that leaves the frame diverges.",
            ),
            (
                "grad_norm",
                "Gradient norm",
                "Log scale. Length of the gradient of all parameters; sudden jumps warn.",
            ),
        )
    ]


def speed(view: View) -> list[Figure]:
    """How many steps a norm needs, and what a step costs."""
    return [
        _bars(
            view,
            "steps",
            f"Steps to {percent(view.target, trim=True)} test accuracy",
            "training steps",
            "Shorter is faster. The thin line is the range over the seeds that got there.",
            lambda row: row["steps_to_target"],
            number,
        ),
        _bars(
            view,
            "time",
            "Time per training step",
            "milliseconds",
            "Shorter is faster. The thin line is the range over seeds; load moves it.",
            lambda row: milliseconds(row["seconds_per_step"]),
            even,
        ),
    ]


def _bars(view, key, title, unit, read, pick, write):
    picked = [(row, pick(row), str(spread(pick(row), write))) for row in view.study["summary"]]
    rows = [_bar(view, row, values, text) for row, values, text in picked]
    desc = "; ".join(f"{row['norm']}: {text}" for row, _, text in picked)
    return Figure(title, read, bars(rows, key=key, title=title, desc=desc, x_label=unit))


def rates(view: View) -> Figure:
    """Best accuracy at every learning rate and norm."""
    chance = 1 / view.study["data"]["classes"] if view.study["data"]["classes"] else 0.0
    rows = [
        (row["norm"], view.index[row["norm"]], _cells(view, row)) for row in view.study["summary"]
    ]
    title = "Best test accuracy by norm and learning rate"
    return Figure(
        title,
        "Median over seeds, fuller shade for higher accuracy. Hatching and ✕ mark trials that "
        "diverged; a ring marks each norm’s best learning rate.",
        matrix(
            rows,
            [rate(lr) for lr in view.rates],
            key="rates-matrix",
            title=title,
            desc="The table below holds the same numbers.",
            x_label="learning rate",
            scale=Scale(min(chance, 0.9), 1.0),
        ),
    )


def drift(view: View) -> dict | None:
    """How far each layer's input moves between mini-batches: two rows of panels."""
    names = list(dict.fromkeys(layer for t in view.study["trials"] for layer in t["layers"]))
    if not names:
        return None
    shown = thinned(names, _LAYERS)
    return {
        "shown": len(shown),
        "left_out": len(names) - len(shown),
        "shift": _panels(view, shown, "mean_shift", "shift", None),
        "ratio": _panels(view, shown, "std_ratio", "ratio", (1.0, "")),
    }


def landscape(view: View) -> list[Figure]:
    """How much loss and gradient vary along the step."""
    if not any(t["probe_steps"] for t in view.study["trials"]):
        return []
    return [
        _probed(
            view,
            "loss_range",
            "Range of the loss along the gradient",
            "Highest minus lowest loss on the way. Lower is smoother.",
            _width,
        ),
        _probed(
            view,
            "gradient_change",
            "Change of the gradient along the gradient",
            "In lengths of the gradient itself; the largest on the way. Lower is smoother.",
            lambda v: v,
        ),
    ]


def _drawn(view, series, key, title, read, **how) -> Figure:
    ends = ", ".join(
        f"{one.name} ends at {(percent if how.get('shares') else number)(last)}"
        for one in series
        if (last := next((v for v in reversed(one.y) if usable(v)), None)) is not None
    )
    chart = lines(
        series,
        key=key,
        title=title,
        desc=f"{read} {ends}.",
        x_label=_STEP,
        x_scale=view.steps,
        **how,
    )
    return Figure(title, read, chart)


def _accuracy_scale(view):
    seen = [v for t in view.study["trials"] for v in t["test_accuracy"]]
    return Scale(min(fit([*seen, 1.0]).low, 0.9), 1.0)


def _log_scale(view, field):
    """The y axis that all learning rates share: of what trains, since what diverges leaves it."""
    seen = [v for t in view.sound for v in view.bins.mean(t[field])]
    return fit(seen, log=True)


def _bar(view, row, values, text):
    values = values or {}
    return Bar(
        row["norm"],
        values.get("median"),
        values.get("low"),
        values.get("high"),
        text,
        view.index[row["norm"]],
    )


def _cells(view, row):
    known = {cell["lr"]: cell for cell in row["matrix"]}
    return [_cell(row, known[lr]) if lr in known else None for lr in view.rates]


def _cell(row, cell):
    lost = cell["diverged"]
    mark = f"✕ {lost}/{cell['of']}" if lost else ""
    value = percent(cell["accuracy"]) if usable(cell["accuracy"]) else ""
    at = f"{row['norm']} at learning rate {rate(cell['lr'])}"
    steps = cell["steps_to_target"]
    goal = f"{number(steps)} steps to the target" if usable(steps) else "target not reached"
    fate = f"{lost} of {counted(cell['of'], 'seed')} diverged"
    said = f"{at}: accuracy {percent(cell['accuracy'])}, {goal}, {fate}"
    return Cell(
        cell["accuracy"],
        value or mark,
        mark if value else "",
        said,
        hatched=bool(lost),
        ringed=cell["lr"] == row["best_lr"],
    )


def _panels(view, layers, field, key, rule):
    """One chart a layer, all on the same axes, and whether those are logarithmic."""
    by_layer = [_layer_series(view, layer, field) for layer in layers]
    seen = [v for series in by_layer for one in series for v in one.values() if usable(v)]
    scale = _drift_scale(seen, field)
    figures = [
        Figure(
            layer,
            "",
            lines(
                series,
                key=f"{key}-{i}",
                title=f"{layer}: {_WORDS[field]}",
                desc="One line a norm.",
                x_label=_STEP,
                x_note=view.bin_note,
                x_scale=view.steps,
                y_scale=scale,
                rule=rule,
                height=210,
                labels=False,
            ),
        )
        for i, (layer, series) in enumerate(zip(layers, by_layer, strict=True))
    ]
    return {"log": scale.log, "figures": figures}


_WORDS = {
    "mean_shift": "distance of the means in standard deviations",
    "std_ratio": "change of the standard deviations",
}


def _layer_series(view, layer, field) -> list[Series]:
    return [
        view.stepwise(name, lr, lambda t: t["layers"].get(layer, {}).get(field, []))
        for name, lr in best_rates(view).items()
    ]


def _drift_scale(seen, field):
    positive = [v for v in seen if v > 0]
    wide = bool(positive) and max(positive) > 30 * min(positive)
    if field == "std_ratio":
        return fit([*seen, 1.0], log=wide)
    return fit(seen, log=wide, zero=not wide)


def _probed(view, field, title, read, pick) -> Figure:
    series = [
        view.pointwise(name, lr, "probe_steps", lambda t: [pick(v) for v in t[field]])
        for name, lr in best_rates(view).items()
    ]
    seen = [v for one in series for v in one.values() if usable(v) and v > 0]
    wide = bool(seen) and max(seen) > 30 * min(seen)
    scale = fit(seen, log=wide, zero=not wide)
    return _drawn(view, series, field, title, ("Log scale. " if wide else "") + read, y_scale=scale)


def _width(ends):
    low, high = ends or (None, None)
    return high - low if usable(low) and usable(high) else None
