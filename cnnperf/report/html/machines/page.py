"""The page of several machines: what each reaches, and how many times better it is than a base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import altair as alt

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.report.html.charts import Values, metric_axis, rows_of, specification, tooltip_of
from cnnperf.report.html.content import (
    Figure,
    Page,
    Row,
    Section,
    Table,
    number_columns,
    text_columns,
)
from cnnperf.report.html.machines.pool import (
    Estimate,
    Fleet,
    Member,
    Named,
    Result,
    disturbed_count,
    pool,
    repeats_with,
    results,
)
from cnnperf.report.html.room import ALL, fitted
from cnnperf.report.html.sections.runs import MAX_DRAWN, figure_cell, metric_columns, row_of
from cnnperf.report.wording import capitalised, counted

SHOWN = ("images_per_second", "time_to_accuracy_seconds", "energy_joules", "mfu")

HEADLINE = "images_per_second"
"""Metric of the overview: every training has it."""

MACHINE_COLUMNS = (
    *text_columns(machine="machine", gpu="GPU"),
    *number_columns(gpu_count="GPUs"),
    *text_columns(cpu_model="CPU"),
    *number_columns(cpu_logical_cores="cores"),
    *text_columns(
        driver="driver", cuda_runtime="CUDA", torch="torch", device="device", files="records"
    ),
    *number_columns(cases="cases"),
)


def hardware_page(named: Named, base: str | None = None, *, everything: bool = False) -> Page:
    """Compare the machines of these records with `base`; see `pool` for both and for errors.

    Of very many cases only the first are shown, unless `everything` is wanted.
    """
    fleet = pool(named, base)
    ids = fleet.case_ids if everything else fleet.case_ids[:MAX_DRAWN]
    cases = [_case_section(fleet, number, case) for number, case in enumerate(ids, 1)]
    more = len(fleet.case_ids) - len(ids)
    machines = [member.label for member in fleet.members]
    counts = f"{counted(len(named), 'record')} of {counted(len(machines), 'machine')}"
    left_out = Section(
        id="machines-left-out",
        title="Left out",
        paragraphs=(
            "Trainings that differ in more than the machine cannot be compared, and trainings that "
            "did not finish have no values:",
            *(f"{sentence}." for sentence in fleet.left_out),
        ),
    )
    page = Page(
        title="Several machines",
        lead=(
            f"{counts}: {'; '.join(machines)}.",  # labels may have commas
            *([f"Not shown: {counted(more, 'more case')}; {ALL} shows all."] if more else []),
        ),
        sections=[
            _machines(fleet),
            *_overview(fleet, ids),
            *(section for section in cases if section.subsections),
            *([left_out] if fleet.left_out else []),
        ],
    )
    return page if everything else fitted(page)


def _machines(fleet: Fleet) -> Section:
    look = (
        f"The base is {fleet.base.label}. Look at the ratios to it first: 2 is twice as good, and "
        "1 is equal."
        if len(fleet.members) > 1
        else "All records are of one machine, so there is nothing to compare."
    )
    table = Table(
        id="machines-table",
        caption="Machines and their records",
        columns=MACHINE_COLUMNS,
        rows=[_machine_row(member) for member in fleet.members],
    )
    return Section(
        id="machines",
        title="Machines",
        paragraphs=(
            look,
            "Records of one machine with the same software are pooled. Values are geometric means "
            "over all its trainings of a case, with 95 % intervals. A single training has no "
            "interval and proves nothing by itself. n counts trainings; for time to accuracy it "
            "counts seeds.",
        ),
        tables=(table,),
    )


def _machine_row(member: Member) -> Row:
    hardware, software = member.environment.hardware, member.environment.software
    values = (
        member.label,
        hardware.gpu.name if hardware.gpu is not None else None,
        hardware.gpu_count,
        hardware.cpu_model,
        hardware.cpu_logical_cores,
        software.driver,
        software.cuda_runtime,
        software.torch,
        member.environment.settings.device,
        ", ".join(member.files),
        len(member.cases),
    )
    safe = [printable(value) if isinstance(value, str) else value for value in values]
    return row_of(*((ABSENT if value is None else str(value), value) for value in safe))


def _overview(fleet: Fleet, ids: Sequence[str]) -> Iterator[Section]:
    found = [(printable(case), results(fleet, case, HEADLINE)) for case in ids]
    compared = [(case, several) for case, several in found if _is_compared(several)]
    if compared:
        figure = Figure(
            id="machines-overview",
            title=f"Speed of training, relative to {fleet.base.label}",
            caption="Images per second divided by the base's. Right of the dashed line is faster. "
            "Lines are 95 % intervals; they need two trainings or more on both sides.",
            specification=overview(compared),
        )
        yield Section(id="section-machines-overview", title="All cases", figures=(figure,))


def _is_compared(found: Sequence[Result]) -> bool:
    return sum(result.gain is not None for result in found) > 1


def _case_section(fleet: Fleet, number: int, case_id: str) -> Section:
    return Section(
        id=f"machines-case-{number}",
        title=printable(case_id),
        paragraphs=list(_remarks(fleet, case_id)),
        subsections=[
            _metric_section(fleet, number, case_id, metric, found)
            for metric in SHOWN
            if (found := results(fleet, case_id, metric))
        ],
    )


def _remarks(fleet: Fleet, case_id: str) -> Iterator[str]:
    cases = {each.label: each.cases[case_id] for each in fleet.members if case_id in each.cases}
    if any(case.shortened for case in cases.values()):
        yield (
            "These trainings were shortened, all to the same number of steps: only their speed is "
            "meaningful."
        )
    if single := [label for label, case in cases.items() if len(case.repeats) == 1]:
        yield (
            f"A single training, so no interval: {'; '.join(single)}. Run three or more to see how "
            "far to trust it."
        )
    if disturbed := [label for label, case in cases.items() if disturbed_count(case)]:
        yield (
            f"Something else disturbed trainings on {'; '.join(disturbed)}; they are included in "
            "the means."
        )
    if fleet.base.label not in cases:
        yield f"The base, {fleet.base.label}, has no such training, so there are no ratios."


def _metric_section(
    fleet: Fleet, number: int, case_id: str, metric: str, found: Sequence[Result]
) -> Section:
    name = f"machines-{number}-{metric.replace('_', '-')}"
    table = Table(
        id=f"{name}-table",
        caption=f"{METRICS[metric].label} of {printable(case_id)}",
        columns=(
            *text_columns(machine="machine"),
            *number_columns(n="n"),
            *metric_columns([metric]),
            *number_columns(
                low="from (95 %)",
                high="to (95 %)",
                times_better="times better than base",
                times_better_low="from (95 %)",
                times_better_high="to (95 %)",
            ),
            *text_columns(precision="precision"),
            *number_columns(disturbed="disturbed"),
        ),
        rows=[_metric_row(metric, result) for result in found],
    )
    return Section(
        id=f"section-{name}",
        title=METRICS[metric].label,
        paragraphs=tuple(_missing(fleet, case_id, metric, found)),
        tables=(table,),
        figures=tuple(_metric_figures(name, metric, case_id, found, fleet)),
    )


def _missing(fleet: Fleet, case_id: str, metric: str, found: Sequence[Result]) -> Iterator[str]:
    """Name means over fewer trainings than there are: the others may be the worse ones."""
    few = []
    for result in found:
        case = result.member.cases[case_id]
        if (count := len(repeats_with(case, metric))) < len(case.repeats):
            few.append(f"{count} of {len(case.repeats)} on {result.member.label}")
    if few:
        yield f"Not every training has a value; the means are of those that do: {'; '.join(few)}."
    having = [result.member.label for result in found]
    labels = [member.label for member in fleet.members if case_id in member.cases]
    if none := [label for label in labels if label not in having]:
        yield f"No training has a value on {'; '.join(none)}."


def _metric_figures(
    name: str, metric: str, case_id: str, found: Sequence[Result], fleet: Fleet
) -> Iterator[Figure]:
    described = METRICS[metric]
    is_rate = described.better == "higher"
    case = printable(case_id)
    yield Figure(
        id=name,
        title=f"{described.label}, {case}",
        caption=f"{capitalised(described.meaning)}. {'Longer' if is_rate else 'Shorter'} bars are "
        "better; lines are 95 % intervals.",
        specification=bars(metric, found),
    )
    if _is_compared(found):
        over = ("Each machine's", "the base's") if is_rate else ("The base's", "each machine's")
        yield Figure(
            id=f"{name}-gain",
            title=f"{described.label}, times better than {fleet.base.label}, {case}",
            caption=f"{over[0]} {described.label} divided by {over[1]}. Right of the line is "
            "better than the base. An interval that crosses the line leaves open which is better.",
            specification=gains(found),
        )


def _metric_row(metric: str, result: Result) -> Row:
    mean, gain = result.mean, result.gain
    ratios = (None,) * 3 if gain is None else (gain.value, gain.low, gain.high)
    return row_of(
        result.member.label,
        (str(mean.n), mean.n),
        *(figure_cell(each, METRICS[metric].show) for each in (mean.value, mean.low, mean.high)),
        *(figure_cell(each, show_gain) for each in ratios),
        (result.precision or ABSENT, result.precision),
        (str(result.disturbed), result.disturbed),
    )


ROW_HEIGHT = 30
"""Pixels of a machine's bar, space included."""

DOT_HEIGHT = 16
"""Pixels of a machine's dot in the overview."""

IN_ORDER = alt.EncodingSortField(field="order", op="min", order="ascending")


def bars(metric: str, results: Sequence[Result]) -> dict[str, Any]:
    """Draw a metric's mean on each machine, from 0, with its interval."""
    show = METRICS[metric].show
    rows = [_row(number, result, result.mean, show) for number, result in enumerate(results)]
    title, tick_format = metric_axis(METRICS[metric])
    axis = alt.Axis(format=tick_format)
    x = alt.X("value:Q", title=title, axis=axis, scale=alt.Scale(zero=True))
    low = alt.X("low:Q", title=title, axis=axis)
    layers = [
        rows_of().mark_bar(size=16).encode(x=x, y=_machine_axis(), tooltip=_tooltip()),
        _intervals(low, y=_machine_axis()),
    ]
    return specification(layers, rows, ROW_HEIGHT * len(rows))


def gains(results: Sequence[Result]) -> dict[str, Any]:
    """Draw how many times better each machine is than the base, which is the line at 1."""
    rows, title = _gain_rows(results), "times better than the base"
    return _dots(rows, title, 70, ROW_HEIGHT * len(rows), _tooltip(), y=_machine_axis())


def overview(gains_by_case: Sequence[tuple[str, Sequence[Result]]]) -> dict[str, Any]:
    """Draw the gains of all cases, with a colour for each machine."""
    rows = [{**row, "case": case} for case, found in gains_by_case for row in _gain_rows(found)]
    machines, cases = (len({row[name] for row in rows}) for name in ("label", "case"))
    height = max(cases * (DOT_HEIGHT * machines + 8), ROW_HEIGHT)
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260)
    place = {
        "y": alt.Y("case:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
        "yOffset": alt.YOffset("label:N", sort=IN_ORDER),
        "color": alt.Color("label:N", title=None, sort=IN_ORDER, legend=legend),
    }
    title = "times the base's images/s"
    return _dots(rows, title, 60, height, _tooltip(case="case"), **place)


def _dots(
    rows: Values, title: str, size: int, height: int, tooltip: list[alt.Tooltip], **place: Any
) -> dict[str, Any]:
    scale = alt.Scale(zero=False, padding=12)
    x, low = (alt.X(field, title=title, scale=scale) for field in ("value:Q", "low:Q"))
    base = rows_of().transform_calculate(value="1").mark_rule(strokeDash=[4, 3])
    dots = rows_of().mark_circle(size=size, opacity=1)
    dots = dots.encode(x=x, tooltip=tooltip, **place)
    return specification([base.encode(x=x), _intervals(low, **place), dots], rows, height)


def show_gain(value: float) -> str:
    """Return a ratio with three significant digits."""
    return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.3g}"


def _gain_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        _row(number, result, result.gain, show_gain)
        for number, result in enumerate(results)
        if result.gain is not None
    ]


def _row(
    number: int, result: Result, estimate: Estimate, show: Callable[[float], str]
) -> dict[str, Any]:
    interval = "none"
    if estimate.low is not None and estimate.high is not None:
        interval = f"{show(estimate.low)} to {show(estimate.high)}"
    return {
        "order": number,
        "label": result.member.label,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "shown": show(estimate.value),
        "interval": interval,
        "n": estimate.n,
        "precision": result.precision or "",
    }


def _tooltip(**more: str) -> list[alt.Tooltip]:
    return tooltip_of(
        **more, label="machine", shown="mean", interval="95 % interval", n="n",
        precision="precision",
    )  # fmt: skip


def _machine_axis() -> alt.Y:
    return alt.Y("label:N", title=None, sort=IN_ORDER, axis=alt.Axis(labelLimit=260))


def _intervals(low: alt.X, **place: Any) -> Any:
    rules = rows_of().transform_filter("datum.low !== null").mark_rule(strokeWidth=2)
    return rules.encode(x=low, x2="high:Q", **place)
