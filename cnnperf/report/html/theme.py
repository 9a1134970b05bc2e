"""Colours and fonts of pages and charts, once for light and dark, screen, paper and pictures.

Torch-free, and free of altair. Charts name colours as CSS does, `var(--series-1)`, so that one SVG
follows the reader's choice of light or dark; pictures get the light values (`in_light`).
"""

from __future__ import annotations

import json
from typing import Any

SERIES = {
    # After Okabe and Ito, "Color Universal Design" (2008), which people with any colour vision can
    # tell apart; darker on white and lighter on black, for a contrast of 3 to 1 as lines.
    "light": (
        "#0072b2", "#d55e00", "#00805c", "#a4508b", "#a87400",
        "#4596c9", "#6b4c2a", "#8f8200", "#7b818c", "#b4b9c2",
    ),
    "dark": (
        "#5ab4f0", "#ff9350", "#37c89b", "#e393c4", "#e8b53a",
        "#a5d3f5", "#c9a27a", "#e6dc52", "#99a0ab", "#626a76",
    ),
}  # fmt: skip

COLORS = len(SERIES["light"])
"""Series that have a colour of their own: `series-1` and so on."""

LIGHT = {
    "page": "#ffffff",
    "raised": "#f5f7f9",
    "ink": "#1b2026",
    "muted": "#59636e",
    "line": "#d9dee4",
    "grid": "#e8ebef",
    "accent": "#005f96",
    "bad": "#b3261e",
    "good": "#00704f",
    "doubt": "#805800",
    "bad-tint": "#fdf0ee",
    "good-tint": "#ecf7f2",
    "doubt-tint": "#fdf6e5",
    "band": "#dfe4ea",
    "on-strong": "#ffffff",
    **{f"series-{number}": color for number, color in enumerate(SERIES["light"], start=1)},
}
DARK = {
    "page": "#14181d",
    "raised": "#1c2229",
    "ink": "#e6eaee",
    "muted": "#a3adb8",
    "line": "#343c46",
    "grid": "#272e36",
    "accent": "#79c2f5",
    "bad": "#ff8a80",
    "good": "#5fd3a6",
    "doubt": "#f0c35e",
    "bad-tint": "#33201f",
    "good-tint": "#17302a",
    "doubt-tint": "#332b18",
    "band": "#333b45",
    "on-strong": "#0d1014",
    **{f"series-{number}": color for number, color in enumerate(SERIES["dark"], start=1)},
}

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def color(name: str) -> str:
    """A colour as a specification names it.

    >>> color("series-1")
    'var(--series-1)'
    """
    if name not in LIGHT:
        raise KeyError(name)
    return f"var(--{name})"


def css_variables(colors: dict[str, str]) -> str:
    """The colours as declarations of a style sheet."""
    return "".join(f"--{name}:{value};" for name, value in colors.items())


def in_light(specification: dict[str, Any]) -> dict[str, Any]:
    """A specification with the light values in place of the names of colours."""
    text = json.dumps(specification)
    for name, value in LIGHT.items():
        text = text.replace(f"var(--{name})", value)
    lit: dict[str, Any] = json.loads(text)
    return lit


def _text(size: int, ink: str = "muted") -> dict[str, Any]:
    return {"labelColor": color(ink), "labelFontSize": size, "titleColor": color("muted")}


CONFIG: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "padding": {"left": 2, "right": 10, "top": 4, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        **_text(11),
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 6,
        "domainColor": color("line"),
        "tickColor": color("line"),
        "gridColor": color("grid"),
        "labelOverlap": "greedy",
        "labelSeparation": 6,
        "labelFlush": False,  # one that is moved inwards touches its neighbour
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False},
    "legend": {
        **_text(12, "ink"),
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "offset": 8,
        "symbolStrokeWidth": 2.5,
        "columnPadding": 14,
        "labelLimit": 280,
        "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 4}},
    },
    "text": {"color": color("ink"), "fontSize": 11},
    "rule": {"color": color("muted")},
    "mark": {"color": color("series-1")},
    "range": {"category": [color(f"series-{number}") for number in range(1, 1 + COLORS)]},
}
"""Vega-Lite's configuration for every chart; a specification itself carries none."""
