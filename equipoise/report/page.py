"""One self-contained HTML page: a shell, its style sheet and its script, allowed by their hash."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from equipoise.report import svg
from equipoise.report.scale import number, percent


def render(template: str, **context) -> str:
    """Fill a template that extends ``page.html``.

    Every value is escaped, None is a dash, and the page may load and run nothing that is not
    in it: the Content-Security-Policy names the hashes of its style sheet and its script.

    >>> "<h1>1 &lt; 2</h1>" in render("page.html", title="t", headline="1 < 2")
    True
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=Markup(policy),
            style=Markup(style),
            script=Markup(script),
            **context,
        )
    )


@cache
def _environment():
    environment = Environment(
        loader=PackageLoader("equipoise", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    environment.globals |= {"swatch": svg.swatch}
    return environment


@cache
def _asset(name):
    return files("equipoise.report").joinpath(name).read_text("utf-8")


def _hash(text):
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _finalize(value):
    if value is None:
        return "–"
    return svg.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
