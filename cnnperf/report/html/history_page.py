"""The page of a history: a summary, every step, every series, and a figure for each series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnperf.compare.history.load import Loaded, Point
from cnnperf.compare.history.series import Series, Step, by_case, short_commit
from cnnperf.compare.history.steps import MIN_RECORDS
from cnnperf.errors import printable
from cnnperf.record.loading import name_of
from cnnperf.record.metrics import METRICS
from cnnperf.report.html.content import Page, Row, Section, Table, number_columns, text_columns
from cnnperf.report.html.history.figures import history_figure
from cnnperf.report.html.sections.runs import count_cell, figure_cell, metric_cell, row_of
from cnnperf.report.wording.history import cause, effect, minute, quality, span, summary

STEP_COLUMNS = (
    *text_columns(created="record of", case="case", machine="machine", metric="metric"),
    *number_columns(old="from", new="to", change="change (95 % interval)"),
    *text_columns(
        cause="what changed",
        quality="quality",
        before="last record before",
        after="first record after",
    ),
)

SERIES_COLUMNS = (
    *text_columns(case="case", machine="machine", metric="metric"),
    *number_columns(records="records"),
    *text_columns(period="first to last"),
    *number_columns(latest="latest", steps="steps"),
)


def history_page(loaded: Loaded, series: Sequence[Series]) -> Page:
    """Show the series of a folder of records."""
    points = [point for each in series for point in (each.points[0], each.points[-1])]
    first, last = min(p.created for p in points), max(p.created for p in points)
    machines = ", ".join(dict.fromkeys(printable(each.machine_label) for each in series))
    return Page(
        title=f"History of {name_of(loaded.folder)}",
        lead=(
            summary(series, loaded.records) + ".",
            f"Records of {span(first, last)} (UTC) on {machines}.",
        ),
        sections=(_steps_section(loaded, series), _series_section(loaded, series), *_cases(series)),
    )


def _steps_section(loaded: Loaded, series: Sequence[Series]) -> Section:
    found = [(each, step) for each in series for step in each.steps]
    found.sort(key=lambda pair: pair[1].after.created, reverse=True)
    table = Table(
        id="steps",
        caption="Every change of level, newest first",
        columns=STEP_COLUMNS,
        rows=[_step_row(loaded.folder, each, step) for each, step in found],
    )
    return Section(
        id="history-steps",
        title="Steps",
        paragraphs=(
            "Look at the red rows: from there on a metric is worse. A step is a change of level "
            "whose whole 95 % interval lies beyond the metric's threshold. The column of changes "
            "compares hardware, software, settings and commits of the records before and after "
            "it; the cause may be something else.",
            *(() if found else ("No series has a step.",)),
        ),
        tables=(table,) if found else (),
    )


def _step_row(folder: Path, series: Series, step: Step) -> Row:
    return row_of(
        (minute(step.after.created), step.after.created.isoformat()),
        *_key_cells(series),
        metric_cell(series.metric, step.old),
        metric_cell(series.metric, step.new),
        (effect(step, series.by_ratio), step.estimate),
        cause(step.changes, most=10),
        quality(step),
        *(_record(folder, point) for point in (step.before, step.after)),
        style=quality(step),
    )


def _key_cells(series: Series) -> list[tuple[str, str]]:
    texts = [printable(text) for text in (series.title, series.machine_label)]
    return [*zip(texts, texts, strict=True), (METRICS[series.metric].label, series.metric)]


def _record(folder: Path, point: Point) -> str:
    """Return a file's name inside the folder, with its commit."""
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
            "A series has one case, machine and metric, and one fingerprint (model, data, recipe, "
            "precision). Trainings with another fingerprint cannot be compared and form another "
            "series.",
            f"Steps need {MIN_RECORDS} records or more.",
            *map(printable, (*loaded.warnings, *loaded.notes)),
        ),
        tables=(table,),
    )


def _series_row(series: Series) -> Row:
    points = series.points
    return row_of(
        *_key_cells(series),
        count_cell(len(points)),
        span(points[0].created, points[-1].created),
        metric_cell(series.metric, points[-1].median),
        figure_cell(None if series.is_too_short else len(series.steps), str),
    )


def _cases(series: Sequence[Series]) -> Iterator[Section]:
    """Yield a section for each case with a series to draw: two points or more."""
    for number, (case_id, found) in enumerate(by_case(series), start=1):
        drawn = [each for each in found if len(each.points) > 1]
        figures = [
            history_figure(each, f"history-{number}-{place}-{each.metric.replace('_', '-')}")
            for place, each in enumerate(drawn, start=1)
        ]
        if figures:
            yield Section(id=f"history-{number}", title=printable(case_id), figures=figures)
