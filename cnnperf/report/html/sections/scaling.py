"""The speed-up of several devices as a curve, beside the ideal one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.charts import rows_of, specification
from cnnperf.report.html.content import Figure
from cnnperf.report.html.sections.runs import Run, slugs
from cnnperf.report.html.theme import color
from cnnperf.report.suites import efficiency_of, in_groups


def scaling_figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw a figure for everything that was trained on several numbers of devices."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for group, cases in in_groups(run.record).items():
            label = f"{run.label}, " if len(runs) > 1 else ""
            found.setdefault(group, []).extend(_rows(label, cases))
    drawn = {group: rows for group, rows in found.items() if len(rows) > len(runs)}
    return [_figure(slug, group, drawn[group]) for group, slug in slugs(drawn).items()]


def _rows(label: str, cases: Sequence[CaseRecord]) -> Iterator[dict[str, Any]]:
    yield {"devices": 1, "series": f"{label}one device", "speed_up": 1.0, "low": 1.0, "high": 1.0,
           "shown": "the reference"}  # fmt: skip
    for case in cases:
        efficiency = efficiency_of(case)
        if efficiency is None or case.devices is None:
            continue
        ends = (efficiency.low, efficiency.estimate, efficiency.high)
        low, middle, high = (end * case.devices for end in ends)
        is_known = math.isfinite(high)
        yield {
            "devices": case.devices,
            "series": label + case.scaling,
            "speed_up": middle,
            "low": low if is_known else middle,
            "high": high if is_known else middle,
            "shown": f"{middle:.2f} x, efficiency {efficiency.estimate:.1%}, n = "
            f"{len(case.values('scaling_efficiency'))}",
        }


def _figure(slug: str, group: str, rows: Sequence[dict[str, Any]]) -> Figure:
    most = max(row["devices"] for row in rows)
    series = list(dict.fromkeys(row["series"] for row in rows))
    ideal = [
        {"role": "ideal", "devices": count, "speed_up": count, "series": "ideal"}
        for count in (1, most)
    ]
    measured = [{"role": "measured", **row} for row in rows]
    place = {
        "x": alt.X("devices:Q", title="devices", axis=alt.Axis(tickMinStep=1, format="d")),
        "y": alt.Y("speed_up:Q", title="speed-up against one device", axis=alt.Axis(tickCount=5)),
    }
    shade = alt.Color("series:N", scale=alt.Scale(domain=series))
    points = rows_of("measured").encode(**place, color=shade)
    layers = [
        rows_of("ideal").mark_line(strokeDash=[5, 4], color=color("muted")).encode(**place),
        points.mark_line(strokeWidth=2.25),
        points.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        points.mark_point(filled=True, size=60, opacity=1).encode(
            shape=alt.Shape("series:N", scale=alt.Scale(domain=series)),
            tooltip=[alt.Tooltip("devices:Q"), alt.Tooltip("series:N"), alt.Tooltip("shown:N")],
        ),
    ]
    return Figure(
        id=f"scaling-{slug}",
        title=f"Speed-up: {group}",
        caption="Dashed: the ideal, as many times as there are devices. Bars: 95 % intervals.",
        specification=specification(layers, [*ideal, *measured]),
    )
