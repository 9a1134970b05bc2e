"""From a page's content to one HTML file that needs nothing else: no network, no server.

    Path("report.html").write_text(render(page), encoding="utf-8")

Torch-free. All text is escaped here and nowhere else. A Content-Security-Policy lets only the
page's own script and style run, known by their hashes, so that even text that slipped through
could neither run nor fetch anything. The same page gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from urllib.parse import quote

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cnnperf.errors import printable
from cnnperf.report.formats.csv_text import to_csv
from cnnperf.report.html.content import Page, Section, Table
from cnnperf.report.html.marks import MARK
from cnnperf.report.html.theme import CONFIG, DARK, LIGHT, css_variables

ID = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")

MAX_OPEN_ROWS = 30
"""A longer table is closed until somebody opens it; on paper all are open."""


def render(page: Page) -> str:
    """The whole HTML text.

    Raises:
        ValueError: an id that is not of letters, digits and dashes, or stands there twice.
    """
    _check_ids(page)
    style = _style()
    library, script = _inert(vega_bundle()), _inert(_template("page.js"))
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            mark=Markup(MARK),  # noqa: S704 - our own
            policy=_policy([library, script], style),
            style=Markup(style),  # noqa: S704 - our own
            library=Markup(library),  # noqa: S704 - Vega's, out of an installed package
            script=Markup(script),  # noqa: S704 - our own
            config=CONFIG,
        )
    )
    return text if text.endswith("\n") else text + "\n"


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script; making it takes seconds."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cnnperf.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_one_line,
    )
    environment.filters |= {"json": _json, "csv": _csv_address}
    environment.tests["long"] = _is_long
    return environment


def _one_line(value: object) -> object:
    """Text without anything that a reader could not see; markup of ours as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _is_long(table: Table) -> bool:
    return len(table.rows) > MAX_OPEN_ROWS if table.is_closed is None else table.is_closed


def _template(name: str) -> str:
    return files("cnnperf.report.html").joinpath("templates", name).read_text(encoding="utf-8")


def _style() -> str:
    """The style sheet, with the colours of the theme in front."""
    light, dark = css_variables(LIGHT), css_variables(DARK)
    colors = (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=light]{{color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{:root:root:root{{color-scheme:light;{light}}}}}\n"
    )
    return colors + _template("style.css")


def _inert(script: str) -> str:
    """A script that cannot end the element that it stands in."""
    return re.sub(r"<(/script|!--)", r"<\\\1", script, flags=re.IGNORECASE)


def _policy(scripts: Iterable[str], style: str) -> str:
    """What the page may do: run and wear what it brings, and nothing else."""
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; "
        f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _json(value: object) -> Markup:
    """JSON that is safe inside a script element: it has no `<`, and nothing but ASCII."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - no character is left that markup is made of


def _csv_address(table: Table) -> str:
    """The table as an address that a browser saves as a file, without a script or a network."""
    return f"data:text/csv;charset=utf-8,{quote(to_csv(table), safe='')}"


def _check_ids(page: Page) -> None:
    counts = Counter(_ids(page.sections))
    wrong = [name for name, count in counts.items() if count > 1 or not ID.fullmatch(name)]
    if wrong:
        raise ValueError(f"ids must be unique, of letters, digits and dashes: {wrong}")


def _ids(sections: Iterable[Section]) -> Iterable[str]:
    for section in sections:
        yield section.id
        yield from (table.id for table in section.tables)
        yield from (figure.id for figure in section.figures)
        yield from _ids(section.subsections)
