"""Turn a page's content into one HTML file that needs no network and no server.

    Path("report.html").write_text(render(page), encoding="utf-8")

All text is escaped here and nowhere else. A Content-Security-Policy allows only the page's own
scripts and style, named by their hashes, so that hostile text that slipped through could neither
run nor fetch anything. The same page gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cnnperf.errors import UsageError, printable
from cnnperf.record.writing import check_output, write_file
from cnnperf.report.html.content import MARK, Figure, Page, Table, to_csv
from cnnperf.report.html.theme import CONFIG, DARK, LIGHT, color, in_light

ID = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")

MAX_OPEN_ROWS = 30
"""A longer table is closed until a reader opens it; on paper all are open."""


def render(page: Page) -> str:
    """Return the HTML text.

    Raises:
        ValueError: an id is wrong; see `check_ids`.
    """
    check_ids(page)
    style = _style()
    library, script = _inert(vega_bundle()), _inert(_template("page.js"))
    environment = Environment(
        loader=PackageLoader("cnnperf.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_one_line,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["csv"] = lambda table: quote(to_csv(table), safe="")
    environment.tests["closed"] = _is_closed
    return environment.get_template("page.html.j2").render(
        page=page,
        mark=Markup(MARK),  # noqa: S704 - our own
        policy=(
            f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; "
            f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),  # noqa: S704 - our own
        library=Markup(library),  # noqa: S704 - Vega's, out of an installed package
        script=Markup(script),  # noqa: S704 - our own
        config=CONFIG,
    )


@cache
def vega_bundle() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script; building it takes seconds."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _one_line(value: object) -> object:
    """Write out characters that a reader could not see; keep our own markup."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _is_closed(table: Table) -> bool:
    return len(table.rows) > MAX_OPEN_ROWS if table.is_closed is None else table.is_closed


def _template(name: str) -> str:
    return files("cnnperf.report.html").joinpath("templates", name).read_text(encoding="utf-8")


def _style() -> str:
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in colors.items()) for colors in (LIGHT, DARK)
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=light]{{color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{:root:root:root{{color-scheme:light;{light}}}}}\n"
    ) + _template("style.css")


def _inert(script: str) -> str:
    """Return a script that cannot close its own element."""
    return re.sub(r"<(/script|!--)", r"<\\\1", script, flags=re.IGNORECASE)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def check_ids(page: Page) -> None:
    """Check that ids are unique, and made of letters, digits and dashes.

    Raises:
        ValueError: one is not.
    """
    sections = [each for top in page.sections for each in top.walk()]
    counts = Counter(each.id for each in sections)
    counts.update(table.id for each in sections for table in each.tables)
    counts.update(figure.id for figure in page.figures())
    wrong = [name for name, count in counts.items() if count > 1 or not ID.fullmatch(name)]
    if wrong:
        raise ValueError(f"ids must be unique, and made of letters, digits and dashes: {wrong}")


Form = Literal["svg", "png"]

WIDTH = 480
"""Pixels of a figure that fills its place on the page."""

SUBTITLE_CHARS = 84

PNG_SCALE = 2
"""PNG pixels for each of the figure's, so that it is sharp in print."""


def write_figures(page: Page, folder: Path, forms: Sequence[Form] = ("svg", "png")) -> list[Path]:
    """Write each figure in each form, named by its id, and return the files.

    Raises:
        UsageError: a file cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    for figure in page.figures():
        for form in forms:
            path = folder / f"{figure.id}.{form}"
            check_output(path)  # a link may lead to a record
            write_file(path, _picture(figure, form))
            written.append(path)
    return written


def _picture(figure: Figure, form: Form) -> bytes:
    title = {
        "text": figure.title,
        "subtitle": textwrap.wrap(figure.caption, SUBTITLE_CHARS),
        "anchor": "start",
        "fontSize": 14,
        "subtitleColor": color("muted"),
        "offset": 10,
    }
    config = {**CONFIG, "background": "white", "font": "Arial, sans-serif"}
    content = in_light({**figure.specification, "title": title, "config": config})
    if content.get("width") == "container":
        content["width"] = WIDTH
    if form == "png":
        return bytes(vl_convert.vegalite_to_png(content, scale=PNG_SCALE))
    return str(vl_convert.vegalite_to_svg(content)).encode()
