"""Colours and fonts of pages and charts: light and dark, on screen, paper and in pictures.

Charts name colours as CSS does, `var(--series-1)`, so that one SVG follows the reader's choice of
light or dark; pictures get the light values (`in_light`).
"""

from __future__ import annotations

import json
from typing import Any

SERIES = (
    # After Okabe and Ito, "Color Universal Design" (2008): distinct for any colour vision. Darker
    # on white and lighter on black, for a contrast of 3 to 1 as lines.
    ("#0072b2", "#5ab4f0"), ("#d55e00", "#ff9350"), ("#00805c", "#37c89b"), ("#a4508b", "#e393c4"),
    ("#a87400", "#e8b53a"), ("#4596c9", "#a5d3f5"), ("#6b4c2a", "#c9a27a"), ("#8f8200", "#e6dc52"),
    ("#7b818c", "#99a0ab"), ("#b4b9c2", "#626a76"),
)  # fmt: skip
"""Colours of `series-1` and so on, in light and in dark."""

COLORS = len(SERIES)

PALETTE = {
    "page": ("#ffffff", "#14181d"),
    "raised": ("#f5f7f9", "#1c2229"),
    "ink": ("#1b2026", "#e6eaee"),
    "muted": ("#59636e", "#a3adb8"),
    "line": ("#d9dee4", "#343c46"),
    "grid": ("#e8ebef", "#272e36"),
    "accent": ("#005f96", "#79c2f5"),
    "bad": ("#b3261e", "#ff8a80"),
    "good": ("#00704f", "#5fd3a6"),
    "doubt": ("#805800", "#f0c35e"),
    "bad-tint": ("#fdf0ee", "#33201f"),
    "good-tint": ("#ecf7f2", "#17302a"),
    "doubt-tint": ("#fdf6e5", "#332b18"),
    "band": ("#dfe4ea", "#333b45"),
    "on-strong": ("#ffffff", "#0d1014"),
    **{f"series-{number}": pair for number, pair in enumerate(SERIES, start=1)},
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
DARK = {name: dark for name, (_, dark) in PALETTE.items()}

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def color(name: str) -> str:
    """Return a colour as a specification names it.

    >>> color("series-1")
    'var(--series-1)'
    """
    if name not in LIGHT:
        raise KeyError(name)
    return f"var(--{name})"


def in_light(specification: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of colours by their light values."""
    text = json.dumps(specification)
    for name, value in LIGHT.items():
        text = text.replace(f"var(--{name})", value)
    return dict(json.loads(text))


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
        "labelFlush": False,  # moved inwards, a label touches its neighbour
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
"""Vega-Lite configuration of every chart; a specification itself has none."""
