"""A page's figures as files for slides and papers: SVG and PNG, made without a browser.

Torch-free.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import vl_convert

from cnnperf.errors import UsageError
from cnnperf.report.html.content import Figure, Page
from cnnperf.report.html.theme import CONFIG, color, in_light

Form = Literal["svg", "png"]
FORMS: tuple[Form, ...] = ("svg", "png")

WIDTH = 480
"""Pixels, where a figure is as wide as its place."""

SUBTITLE_CHARS = 84
"""A line of the caption, which stands above a picture."""

PNG_SCALE = 2
"""Pixels of a PNG for each of the figure, so that it is sharp in print."""


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
                path.write_bytes(CONVERTERS[form](specification_of(figure)))
                written.append(path)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def specification_of(figure: Figure) -> dict[str, Any]:
    """A figure that stands alone: title and caption above it, its own width, on white."""
    content = dict(figure.specification)
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
    return in_light(content)


def _svg(specification: dict[str, Any]) -> bytes:
    text: str = vl_convert.vegalite_to_svg(specification)
    return text.encode()


def _png(specification: dict[str, Any]) -> bytes:
    content: bytes = vl_convert.vegalite_to_png(specification, scale=PNG_SCALE)
    return content


CONVERTERS: dict[Form, Callable[[dict[str, Any]], bytes]] = {"svg": _svg, "png": _png}
