"""Line charts: a median over seeds as a line, the range over seeds as a band.

The drawing is as wide as its place: lines lie in a frame of 1000 x 1000 units that stretches,
while text sits at percentages and keeps its size.  The script reads values for the crosshair
back from the paths, so every number is on the page once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from equipoise.report import svg
from equipoise.report.scale import Scale, fit, number, percent, usable

_TOP, _FOOT = 10, 40
_GAP = 15
Value = float | int | None


@dataclass(frozen=True)
class Series:
    """One line: ``y`` at ``x`` (ascending), a band from ``low`` to ``high``, None for a gap.

    ``index`` picks colour and dash (0 is neutral); ``ends`` are points (x, y) where a trial
    stopped, marked by a cross; ``note`` stands behind the name in the label.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Value]
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()
    index: int = 0
    ends: Sequence[tuple[float, float]] = ()
    note: str = ""

    def values(self) -> list[Value]:
        """Everything that the y axis should hold."""
        return [*self.y, *self.low, *self.high]


def lines(
    series: Sequence[Series],
    *,
    key: str,
    title: str,
    desc: str,
    x_label: str,
    x_note: str = "",
    x_scale: Scale | None = None,
    y_scale: Scale | None = None,
    log: bool = False,
    shares: bool = False,
    rule: tuple[float, str] | None = None,
    height: int = 300,
    labels: bool = True,
) -> Markup:
    """Draw series over a common x axis.

    Parameters
    ----------
    series : sequence of Series
        An empty one gives an empty frame that says so.
    key : str
        The id of the chart, unique on its page.
    title, desc : str
        What is read out in place of the picture.
    x_label : str
        What x counts, such as "training step".
    x_note : str
        Said behind each x that is read, such as ", mean of 3 steps".
    x_scale, y_scale : Scale, optional
        Fixed axes, for charts that are to be compared; fitted to the series by default.
    log : bool
        A logarithmic y axis, where none is given.
    shares : bool
        Write y values as percentages.
    rule : (float, str), optional
        A horizontal reference line and its label.
    labels : bool
        Name each line at its right end.

    Examples
    --------
    >>> one = Series("batch", [1, 2, 3], [0.9, 0.5, 0.4], index=1)
    >>> lines([one], key="loss", title="Loss", desc="It falls.", x_label="step")[:30]
    Markup('<svg id="loss" class="chart li')
    """
    drawn = [one for one in series if any(usable(v) for v in one.y)]
    places = sorted({x for one in drawn for x in one.x if usable(x)})
    x_scale = x_scale or fit(places, nice=False)
    y_scale = y_scale or fit([v for one in drawn for v in one.values()], log=log)
    frame = _Frame(
        x_scale, y_scale, height - _TOP - _FOOT, partial(percent, trim=True) if shares else number
    )
    return svg.chart(
        frame.grid(x_label),
        frame.rule(*rule) if rule else "",
        frame.plot(drawn) if drawn else frame.nothing(),
        [frame.end(x, y, one.index) for one in drawn for x, y in one.ends],
        frame.labels(drawn) if labels else "",
        key=key,
        title=title,
        desc=desc,
        height=height,
        kind="lines labelled" if labels else "lines",
        data_x=" ".join(f"{x:.6g}" for x in places),
        data_xscale=_bounds(x_scale),
        data_yscale=_bounds(y_scale),
        data_xlabel=x_label,
        data_xnote=x_note or None,
        data_shares="" if shares else None,
    )


@dataclass(frozen=True)
class _Frame:
    x: Scale
    y: Scale
    tall: int
    write: Callable[[float], str]

    def at(self, value) -> float:
        """Pixels from the top, kept inside the frame."""
        return _TOP + self.tall * (1 - min(1.0, max(0.0, self.y(value))))

    def grid(self, x_label):
        yield svg.tag("g", [self._y_tick(v) for v in self.y.ticks(4)], class_="axis")
        yield svg.tag("g", [self._x_tick(v) for v in self.x.ticks(5)], class_="axis")
        base = _TOP + self.tall
        yield svg.tag("line", x1=0, x2="100%", y1=base, y2=base, class_="tick")
        yield svg.tag(
            "text", x_label, x="100%", y=_TOP + self.tall + 34, class_="unit", text_anchor="end"
        )

    def _y_tick(self, value):
        y = round(self.at(value), 1)
        yield svg.tag("line", x1=0, x2="100%", y1=y, y2=y, class_="hair")
        yield svg.tag("text", self.write(value), x=-8, y=y + 4, text_anchor="end")

    def _x_tick(self, value):
        x, y = svg.share(self.x(value)), _TOP + self.tall
        yield svg.tag("line", x1=x, x2=x, y1=y, y2=y + 5, class_="tick")
        yield svg.tag("text", number(value), x=x, y=y + 18, text_anchor="middle")

    def rule(self, value, text):
        y = round(self.at(value), 1)
        yield svg.tag("line", x1=0, x2="100%", y1=y, y2=y, class_="rule")
        yield svg.tag("text", text, x=4, y=y - 5, class_="unit")

    def nothing(self):
        y = _TOP + self.tall / 2
        return svg.tag(
            "text", "nothing was recorded", x="50%", y=y, class_="unit", text_anchor="middle"
        )

    def plot(self, series):
        return svg.tag(
            "svg",
            [self._one(one) for one in series],
            y=_TOP,
            width="100%",
            height=self.tall,
            viewBox="0 0 1000 1000",
            preserveAspectRatio="none",
            class_="plot",
        )

    def _one(self, one):
        colour, dash = svg.style(one.index).split()
        band = self._band(one)
        return svg.tag(
            "g",
            svg.tag("path", d=band, class_=f"band {colour}") if band else "",
            svg.tag("path", d=self._line(one), class_=f"line {colour} {dash}"),
            data_name=one.name,
        )

    def _point(self, x, y):
        return f"{1000 * self.x(x):.1f} {1000 * (1 - self.y(y)):.1f}".replace(".0 ", " ")

    def _line(self, one):
        runs = _runs(zip(one.x, one.y, strict=True), self.y.log)
        # a run of one point has no length: h0 with round caps makes it a dot
        return "".join(
            "M" + "L".join(self._point(*p) for p in run) + ("h0" if len(run) == 1 else "")
            for run in runs
        )

    def _band(self, one):
        if not one.low:
            return ""
        out = []
        for run in _runs(zip(one.x, one.low, one.high, strict=True), self.y.log):
            there = [self._point(x, high) for x, _, high in run]
            back = [self._point(x, low) for x, low, _ in reversed(run)]
            out.append("M" + "L".join(there + back) + "Z")
        return "".join(out)

    def end(self, x, y, index):
        cross = svg.tag("path", d="M-4-4L4 4M4-4L-4 4", class_=f"cross {svg.style(index)[:2]}")
        where = round(self.at(y), 1)
        return svg.tag("svg", cross, x=svg.share(self.x(x)), y=where, overflow="visible")

    def labels(self, series):
        """Name the lines at the right edge, apart from each other, with a leader to each end."""
        ends = sorted(((self.at(_last(one.y)), one) for one in series), key=lambda pair: pair[0])
        bottom = _TOP + self.tall
        placed = apart([y for y, _ in ends], _TOP, bottom, _GAP)
        marks = [self._label(y, to, one) for (y, one), to in zip(ends, placed, strict=True)]
        return svg.tag("svg", marks, x="100%", overflow="visible", class_="names")

    def _label(self, y, to, one):
        # a leader belongs to a line that reaches the edge
        if self.x(one.x[len(one.y) - 1]) > 0.9 and usable(one.y[-1]):
            path = f"M2 {y:.1f}L7 {y:.1f}L13 {to:.1f}"
            yield svg.tag("path", d=path, class_=f"leader {svg.style(one.index)[:2]}")
        text = svg.short(one.name, 14)
        note = svg.tag("tspan", " " + one.note, class_="unit") if one.note else ""
        yield svg.tag(
            "text", text, note, x=17, y=round(to + 4, 1), class_=f"name {svg.style(one.index)[:2]}"
        )


def apart(places: Sequence[float], top: float, bottom: float, gap: float) -> list[float]:
    """Move ascending places until each is ``gap`` from the next, inside the bounds if they fit.

    >>> apart([10, 11, 12], 0, 100, 15)
    [10, 25, 40]
    >>> apart([90, 95, 99], 0, 100, 15)
    [70, 85, 100]
    """
    gap = min(gap, (bottom - top) / max(1, len(places) - 1))
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + gap if out else top))
    ceiling = bottom
    for i in reversed(range(len(out))):
        out[i] = min(out[i], ceiling)
        ceiling = out[i] - gap
    return out


def _runs(rows, log):
    """Split rows at those that cannot be drawn."""
    runs, open_ = [], []
    for row in rows:
        if all(usable(v) for v in row) and (not log or min(row[1:]) > 0):
            open_.append(row)
        elif open_:
            runs, open_ = [*runs, open_], []
    return [*runs, open_] if open_ else runs


def _last(values):
    return next(v for v in reversed(values) if usable(v))


def _bounds(scale):
    return f"{scale.low:.8g} {scale.high:.8g} {'log' if scale.log else 'linear'}"
