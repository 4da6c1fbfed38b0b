"""Pictures of a regression: its coefficient path, and the curve that its alpha was chosen from."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from equipoise.errors import UsageError
from equipoise.report import page, plain
from equipoise.report.lines import Series, lines
from equipoise.report.scale import Scale, fit, number

# features named and coloured; the others are thin and neutral
NAMED, OTHERS = 5, -1
# lines drawn: more than this many features cannot be told apart
DRAWN = 100


class Key(NamedTuple):
    """A name beside its piece of line."""

    index: int
    name: str


class Figure(NamedTuple):
    """A chart with its caption, and what its colours mean."""

    title: str
    read: str
    chart: Markup
    key: tuple[Key, ...] = ()


class Picture:
    """One or more charts: shown by a notebook, saved as HTML or SVG.

    Examples
    --------
    >>> import numpy as np
    >>> from equipoise.linear_model import plot_path
    >>> picture = plot_path([1.0, 0.1], np.array([[0.0, 2.0], [0.0, -1.0]]), names=["a", "b"])
    >>> picture
    <Picture: Coefficients as the penalty falls>
    >>> "<svg" in picture.to_html()
    True
    """

    def __init__(self, headline: str, figures: list[Figure]):
        self.headline, self.figures = headline, figures

    def __repr__(self):
        return f"<Picture: {self.headline}>"

    def __add__(self, other):
        if not isinstance(other, Picture):
            return NotImplemented
        figures = [*self.figures, *other.figures]
        for i, figure in enumerate(figures):
            # ids are unique on a page; Markup itself would escape the quotes
            drawn = str(figure.chart)
            key = drawn.split('id="', 1)[1].split('"', 1)[0]
            chart = Markup(drawn.replace(f'"{key}', f'"{key.split("--")[0]}--{i}'))
            figures[i] = figure._replace(chart=chart)
        return Picture(self.headline, figures)

    def to_html(self) -> str:
        """Give a page that stands alone and loads nothing."""
        return page.render(
            "regression.html", title="Regression", headline=self.headline, figures=self.figures
        )

    def to_svg(self) -> str:
        """Give one SVG image, in light colours, the charts below each other."""
        return plain.image([(f.title, f.chart, f.key) for f in self.figures])

    def _repr_html_(self):
        # a frame keeps the page's styles and those of the notebook apart
        height = 300 + 430 * len(self.figures)
        return (
            f'<iframe title="{escape(self.headline)}" srcdoc="{escape(self.to_html())}" '
            f'style="width: 100%; height: {height}px; border: 0" sandbox="allow-scripts"></iframe>'
        )

    def save(self, path) -> Path:
        """Write to ``path``, which ends in .svg or .html; give it as a Path."""
        path = Path(path)
        kinds = {".svg": self.to_svg, ".html": self.to_html}
        if path.suffix.lower() not in kinds:
            raise UsageError(f"a picture is saved as .svg or .html; got {str(path)!r}")
        path.write_text(kinds[path.suffix.lower()](), encoding="utf-8")
        return path


def plot_path(alphas, coefs, *, names=None, chosen=None, title=None) -> Picture:
    """Draw the coefficients against alpha, as `lasso_path`, `enet_path` or `ridge_path` give them.

    Parameters
    ----------
    alphas : array (alphas,)
        Above 0, in any order.
    coefs : array (p, alphas)
    names : sequence of p names, optional
        Of the features; the largest few stand beside their lines.
    chosen : float, optional
        An alpha to mark, as that of `LassoCV`.
    title : str, optional

    Raises
    ------
    ValueError
        Shapes disagree, or an alpha is not above 0.
    """
    alphas, coefs = np.asarray(alphas, np.float64), np.asarray(coefs, np.float64)
    if alphas.ndim != 1 or coefs.ndim != 2 or coefs.shape[1] != len(alphas):
        raise ValueError(
            "coefs must be (features, alphas) for alphas (alphas,); got shapes "
            f"{coefs.shape} and {alphas.shape}. lasso_path gives both."
        )
    if not len(alphas) or not (alphas > 0).all():
        least = f"got {alphas.min()}" if len(alphas) else "got none"
        raise ValueError(f"alphas must be above 0 for a log scale; {least}")
    if not np.isfinite(coefs).all():
        raise ValueError("coefs must be finite; got NaN or infinity")
    names = [f"x{j}" for j in range(len(coefs))] if names is None else [str(n) for n in names]
    if len(names) != len(coefs):
        raise ValueError(f"names must name the {len(coefs)} features; got {len(names)}")
    order = np.argsort(alphas)
    x, coefs = alphas[order], coefs[:, order]
    largest = np.argsort(-np.abs(coefs).max(axis=1), kind="stable")[:DRAWN]
    place = {j: i + 1 for i, j in enumerate(largest[:NAMED])}
    series = [
        Series(names[j], x.tolist(), coefs[j].tolist(), index=place.get(j, OTHERS))
        # named lines last: they lie on top
        for j in largest[::-1]
    ]
    marks = _mark(series, chosen)
    active = (coefs != 0).sum(axis=0)
    read = (
        f"{int(active[-1])} of {len(coefs)} coefficients are not zero at alpha "
        f"{number(x[-1])}, {int(active[0])} at {number(x[0])}."
    )
    if len(coefs) > DRAWN:
        read += f" The {DRAWN} largest are drawn."
    if chosen is not None:
        read += f" Crosses mark alpha {number(float(chosen))}."
    title = title or "Coefficient path"
    chart = _chart(marks, "path", title, read, x, labels=False)
    key = [Key(i, names[j]) for j, i in place.items()]
    if len(series) > NAMED:
        key.append(Key(OTHERS, "others"))
    headline = "Coefficients as the penalty falls"
    return Picture(headline, [Figure(title, read, chart, tuple(key))])


def _mark(series, chosen):
    if chosen is None:
        return series
    return [
        s if s.index == OTHERS else _with_end(s, float(chosen), float(np.interp(chosen, s.x, s.y)))
        for s in series
    ]


def _with_end(series, x, y):
    return Series(series.name, series.x, series.y, index=series.index, ends=[(x, y)])


def _chart(series, key, title, read, x, **how):
    wide: Any = fit(x.tolist(), log=True, nice=False)
    if wide.low == wide.high:
        wide = Scale(wide.low / 2, wide.high * 2, log=True)
    return lines(series, key=key, title=title, desc=read, x_label="alpha", x_scale=wide, **how)


def plot_cv(model, *, title=None) -> Picture:
    """Draw the mean error of each alpha with its standard error, and the alpha that was chosen.

    Parameters
    ----------
    model : a fitted RidgeCV, LassoCV or ElasticNetCV
    title : str, optional

    Raises
    ------
    ValueError
        The model keeps no errors: it is not fitted, or chose one alpha for each target.
    """
    alphas, mean, error, chosen, what = _curve(model)
    order = np.argsort(alphas)
    alphas, mean, error = alphas[order], mean[order], error[order]
    spread = np.where(np.isnan(error), 0.0, error)
    curve = Series(
        what, alphas.tolist(), mean.tolist(), (mean - spread).tolist(), (mean + spread).tolist(),
        index=1, ends=[(chosen, float(np.interp(chosen, alphas, mean)))],
    )  # fmt: skip
    best = float(alphas[np.argmin(mean)])
    read = f"The lowest {what} is {number(float(mean.min()))}, at alpha {number(best)}."
    if not np.isnan(error).all():
        read += " The band is one standard error."
    read += f" The cross marks the chosen alpha, {number(chosen)}."
    chart = _chart([curve], "cv", title or "Choice of alpha", read, alphas, labels=False)
    return Picture("How alpha was chosen", [Figure(title or what.capitalize(), read, chart)])


def _curve(model):
    """Give (alphas, mean, standard error, chosen alpha, what the mean is of)."""
    chosen: Any = getattr(model, "alpha_", None)
    if hasattr(model, "mean_scores_") and np.ndim(model.mean_scores_) == 1:
        plain = model.scoring is None and model.cv is None
        what = "squared error, leaving one out" if plain else "score, negated"
        return model.alphas_, -model.mean_scores_, model.score_errors_, float(chosen), what
    if hasattr(model, "mse_path_"):
        errors, alphas = np.asarray(model.mse_path_), np.asarray(model.alphas_)
        if errors.ndim == 3:
            at = int(np.argmin(errors.mean(-1).min(-1)))
            errors, alphas = errors[at], alphas[at] if alphas.ndim == 2 else alphas
        error = errors.std(axis=-1, ddof=1) / np.sqrt(errors.shape[-1])
        return alphas, errors.mean(-1), error, float(chosen), "squared error over the folds"
    raise ValueError(
        "plot_cv needs a fitted RidgeCV, LassoCV or ElasticNetCV with one alpha for all targets; "
        f"got {type(model).__name__}. Fit it first, and leave alpha_per_target out."
    )
