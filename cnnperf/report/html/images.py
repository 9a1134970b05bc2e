"""A page's figures as SVG and PNG files for slides and papers, made without a browser."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import vl_convert

from cnnperf.errors import UsageError
from cnnperf.report.html.content import Figure, Page
from cnnperf.report.html.theme import CONFIG, color, in_light

Form = Literal["svg", "png"]
FORMS: tuple[Form, ...] = ("svg", "png")

WIDTH = 480
"""Pixels of a figure that fills its place on the page."""

SUBTITLE_CHARS = 84
"""Characters in a line of the caption above a picture."""

PNG_SCALE = 2
"""PNG pixels for each of the figure's, so that it is sharp in print."""


def write_figures(page: Page, folder: Path, forms: Sequence[Form] = FORMS) -> list[Path]:
    """Write each figure in each form, named by its id, and return the files.

    Raises:
        UsageError: a file cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in page.figures():
            for form in forms:
                path = folder / f"{figure.id}.{form}"
                path.write_bytes(_picture(figure, form))
                written.append(path)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def _picture(figure: Figure, form: Form) -> bytes:
    """Draw a figure on white, with its title and caption above it."""
    content: dict[str, Any] = dict(figure.specification)
    if content.get("width") == "container":
        content["width"] = WIDTH
    content["title"] = {
        "text": figure.title,
        "subtitle": textwrap.wrap(figure.caption, SUBTITLE_CHARS),
        "anchor": "start",
        "fontSize": 14,
        "subtitleColor": color("muted"),
        "offset": 10,
    }
    content["config"] = {**CONFIG, "background": "white", "font": "Arial, sans-serif"}
    content = in_light(content)
    if form == "png":
        return bytes(vl_convert.vegalite_to_png(content, scale=PNG_SCALE))
    return str(vl_convert.vegalite_to_svg(content)).encode()
