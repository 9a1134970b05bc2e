"""A history as a page: what happened, every step, and a figure for each series.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnperf.compare.history.load import Loaded, Point
from cnnperf.compare.history.series import Series, Step, by_case, short_commit
from cnnperf.compare.history.steps import MIN_RECORDS
from cnnperf.errors import printable
from cnnperf.record.loading import name_of
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.report.html.content import Column, Figure, Page, Row, Section, Table, number_column
from cnnperf.report.html.history_figures import history_figure
from cnnperf.report.wording.history import cause, effect, minute, quality, span, summary

STEP_COLUMNS = (
    Column(name="created", label="record of"),
    Column(name="case", label="case"),
    Column(name="machine", label="machine"),
    Column(name="metric", label="metric"),
    number_column("old", "from"),
    number_column("new", "to"),
    number_column("change", "change (95 % interval)"),
    Column(name="cause", label="what changed"),
    Column(name="quality", label="quality"),
    Column(name="before", label="last record before"),
    Column(name="after", label="first record after"),
)

SERIES_COLUMNS = (
    Column(name="case", label="case"),
    Column(name="machine", label="machine"),
    Column(name="metric", label="metric"),
    number_column("records", "records"),
    Column(name="period", label="first to last"),
    number_column("latest", "latest"),
    number_column("steps", "steps"),
)


def history_page(loaded: Loaded, series: Sequence[Series]) -> Page:
    """Everything on one page."""
    points = [point for each in series for point in (each.points[0], each.points[-1])]
    first, last = min(p.created for p in points), max(p.created for p in points)
    machines = ", ".join(dict.fromkeys(printable(each.machine_label) for each in series))
    return Page(
        title=f"History of {name_of(loaded.folder)}",
        lead=(
            summary(series, loaded.records) + ".",
            f"Records of {span(first, last)} (UTC) on {machines}.",
        ),
        sections=(
            _steps_section(loaded, series),
            _series_section(loaded, series),
            *_cases(series),
        ),
    )


def _steps_section(loaded: Loaded, series: Sequence[Series]) -> Section:
    found = [(each, step) for each in series for step in each.steps]
    found.sort(key=lambda pair: pair[1].after.created, reverse=True)
    table = Table(
        id="steps",
        caption="Every change of level, the newest first",
        columns=STEP_COLUMNS,
        rows=[_step_row(loaded.folder, each, step) for each, step in found],
    )
    return Section(
        id="history-steps",
        title="Steps",
        paragraphs=(
            "A step is a change of level whose 95 % interval lies wholly beyond the metric's "
            "threshold. What changed is what the last record before it and the first one after it "
            "say of hardware, software, settings and commits; it need not be the cause.",
            *(() if found else ("No series has a step.",)),
        ),
        tables=(table,) if found else (),
    )


def _step_row(folder: Path, series: Series, step: Step) -> Row:
    metric = METRICS[series.metric]
    texts = (printable(series.title), printable(series.machine_label))
    records = [_record(folder, point) for point in (step.before, step.after)]
    end = (cause(step.changes, most=10), quality(step), *records)
    return Row(
        shown=(
            minute(step.after.created), *texts, metric.label, metric.show(step.old),
            metric.show(step.new), effect(step, series.by_ratio), *end,
        ),
        values=(
            step.after.created.isoformat(), *texts, series.metric, step.old, step.new,
            step.estimate, *end,
        ),
        style="better" if step.is_better else "worse",
    )  # fmt: skip


def _record(folder: Path, point: Point) -> str:
    """A file as it is called in the folder, with its commit."""
    name = Path(point.file).relative_to(folder).as_posix()
    commit = short_commit(point)
    return printable(f"{name} ({commit})" if commit else name)


def _series_section(loaded: Loaded, series: Sequence[Series]) -> Section:
    table = Table(
        id="series",
        caption="Every series",
        columns=SERIES_COLUMNS,
        rows=[_series_row(each) for each in series],
    )
    return Section(
        id="history-series",
        title="Series",
        paragraphs=(
            "A series has one case, machine and metric, and one fingerprint: model, data, recipe "
            "and precision. What was trained differently is not comparable and another series.",
            f"Of fewer than {MIN_RECORDS} records it cannot be told whether there is a step.",
            *map(printable, (*loaded.warnings, *loaded.notes)),
        ),
        tables=(table,),
    )


def _series_row(series: Series) -> Row:
    metric, points = METRICS[series.metric], series.points
    steps = None if series.is_too_short else len(series.steps)
    texts = (printable(series.title), printable(series.machine_label))
    period = span(points[0].created, points[-1].created)
    return Row(
        shown=(
            *texts, metric.label, f"{len(points):,}", period, metric.show(points[-1].median),
            ABSENT if steps is None else str(steps),
        ),
        values=(*texts, series.metric, len(points), period, points[-1].median, steps),
    )  # fmt: skip


def _cases(series: Sequence[Series]) -> Iterator[Section]:
    """A section for each case that has something to draw: two points or more."""
    for number, (case_id, found) in enumerate(by_case(series), start=1):
        figures = list(_figures(found, number))
        if figures:
            yield Section(id=f"history-{number}", title=printable(case_id), figures=figures)


def _figures(series: Sequence[Series], case: int) -> Iterator[Figure]:
    drawn = (each for each in series if len(each.points) > 1)
    for number, each in enumerate(drawn, start=1):
        name = each.metric.replace("_", "-")
        yield history_figure(each, f"history-{case}-{number}-{name}")
