"""A study as its figures ask for it: names, colours, trials, and series over seeds."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from equipoise.report.curves import Bins, aligned, band, thinned
from equipoise.report.lines import Series
from equipoise.report.scale import Scale, fit, number, usable

# points of one section's curves in all, about 30 bytes each: this keeps the page small
_POINTS = 5000


class View:
    """Answers about one study dict; nothing in it is changed."""

    def __init__(self, study: dict[str, Any]):
        self.study = study
        self.target = study["settings"]["target"]

    @cached_property
    def names(self) -> list[str]:
        """The norms, in the order they were asked for."""
        listed = [*self.study["settings"]["norms"]]
        listed += [row["norm"] for row in self.study["summary"]]
        return list(dict.fromkeys(listed + [t["norm"] for t in self.study["trials"]]))

    @cached_property
    def index(self) -> dict[str, int]:
        """Colour and dash of each norm; no norm at all has the neutral one."""
        others = [name for name in self.names if name != "none"]
        return {"none": 0} | {name: i for i, name in enumerate(others, 1)}

    @cached_property
    def rates(self) -> list[float]:
        """The learning rates, ascending."""
        listed = [*self.study["settings"]["lrs"], *(t["lr"] for t in self.study["trials"])]
        return sorted({lr for lr in listed if usable(lr)})

    @property
    def planned(self) -> int:
        """How many trials the settings ask for."""
        settings = self.study["settings"]
        return len(settings["norms"]) * len(settings["lrs"]) * len(settings["seeds"])

    @cached_property
    def bins(self) -> Bins:
        """The bins that all curves over steps share."""
        longest = max((len(t["loss"]) for t in self.ended), default=0)
        curves = max(1, len(self.names) * (len(self.rates) + 1))
        return Bins.over(longest, min(100, max(24, _POINTS // curves)))

    @cached_property
    def steps(self) -> Scale:
        """The x axis of everything over training steps."""
        return fit([0, max(1, self.bins.steps)], nice=False)

    @property
    def bin_note(self) -> str:
        """What is said behind a step that stands for its bin."""
        return f", mean of {self.bins.width} steps" if self.bins.width > 1 else ""

    def trials(self, name: str, lr: float | None) -> list[dict]:
        """The trials of a norm at a learning rate that ran to their end or diverged."""
        return [t for t in self.ended if t["norm"] == name and t["lr"] == lr]

    @cached_property
    def ended(self) -> list[dict]:
        """The trials that were not interrupted: those that the summary counts, too."""
        return [t for t in self.study["trials"] if t["status"] != "interrupted"]

    @property
    def sound(self) -> list[dict]:
        """The trials that did not diverge."""
        return [t for t in self.ended if t["status"] != "diverged"]

    def stepwise(self, name, lr, values) -> Series:
        """A series over steps, where ``values(trial)`` has one value a step."""
        trials = self.trials(name, lr)
        rows = [self.bins.mean(values(t)) for t in trials]
        return self._series(name, self.bins.centres, rows, trials)

    def pointwise(self, name, lr, steps, values) -> Series:
        """A series at the steps in ``trial[steps]``, where ``values(trial)`` has one value each."""
        trials = self.trials(name, lr)
        places = thinned(sorted({s for t in trials for s in t[steps] if usable(s)}), 100)
        rows = [aligned(t[steps], values(t), places) for t in trials]
        return self._series(name, places, rows, trials)

    def _series(self, name, places, rows, trials):
        y, low, high = band(rows) if rows and places else ([], [], [])
        lone = len(rows) < 2
        return Series(
            name,
            places if y else [],
            y,
            [] if lone else low,
            [] if lone else high,
            self.index[name],
            [end for t, row in zip(trials, rows, strict=True) if (end := _end(t, row))],
        )


def _end(trial, row):
    """Where a diverged trial stopped: its last step, at the last value it had."""
    seen = [v for v in row if usable(v)]
    if trial["status"] != "diverged" or not usable(trial["diverged_at"]) or not seen:
        return None
    return trial["diverged_at"], seen[-1]


def rate(lr: float | None) -> str:
    """Write a learning rate; two that differ must not look alike.

    >>> rate(0.0316228)
    '0.0316228'
    """
    return number(lr, 6)


def counted(count, noun: str) -> str:
    """Write a count with its noun.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{'–' if count is None else count} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Spread:
    """A median in words, its range, and what else must be said."""

    main: str = "–"
    range: str = ""
    note: str = ""

    def __str__(self):
        text = f"{self.main} ({self.range})" if self.range else self.main
        return f"{text}, {self.note}" if self.note else text


def spread(values: dict | None, write) -> Spread:
    """Write a median and its range; of a target, also in how many seeds it was reached.

    >>> str(spread({"median": 40, "low": 35, "high": 52, "reached": 2, "of": 3}, str))
    '40 (35–52), in 2 of 3 seeds'
    >>> str(spread(None, str))
    '–'
    """
    if not values:
        return Spread()
    short = values.get("reached", 0) < values.get("of", 0)
    note = f"in {values['reached']} of {counted(values['of'], 'seed')}" if short else ""
    if not usable(values["median"]):
        return Spread("not reached" if short else "–")
    low, high = values["low"], values["high"]
    ranged = usable(low) and usable(high) and low != high
    return Spread(write(values["median"]), f"{write(low)}–{write(high)}" if ranged else "", note)


def even(value) -> str:
    """Write a measured number so that a column of them lines up.

    >>> even(14), even(3.256)
    ('14.0', '3.26')
    """
    return number(value, trim=False)


def milliseconds(values: dict | None) -> dict | None:
    """Give the same median and range, from seconds to milliseconds."""
    return values and {k: 1000 * v if usable(v) else None for k, v in values.items()}
