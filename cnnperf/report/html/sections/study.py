"""The figures of the study that cnnperf measures again, drawn of our own data.

Original against modified model on the same images, MNIST against CIFAR-10 through the same model,
and the report's own results beside ours. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cnnperf.catalog.cases import REPORTED
from cnnperf.record.metrics import ABSENT, format_share
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.charts import lines
from cnnperf.report.html.content import Cell, Column, Figure, Row, Section, Table, number_column
from cnnperf.report.html.sections.classes import confusion_figures
from cnnperf.report.html.sections.learning import (
    LOSSES,
    SCORES,
    Value,
    curve_values,
    has_curve,
    how_drawn,
    run_labels,
)
from cnnperf.report.html.sections.results import REPORTED_COLUMNS, reported_cells, study_row
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    all_sides,
    key_cells,
    key_columns,
    metric_cell,
    metric_columns,
    row_of,
    slugs,
)

MODIFIED = {"vgg16": "modified_vgg", "resnet34": "modified_resnet"}
"""Each original model of the study and what it made of it."""


class Group(NamedTuple):
    """Trainings that differ in the model alone, or in the data set alone."""

    shared: str
    """What they have in common, for people and for figure ids."""
    first: list[CaseSide]
    second: list[CaseSide]


def study_sections(runs: Sequence[Run]) -> list[Section]:
    """Those that the runs have something for."""
    sections = (_report_section(runs), _models_section(runs), _datasets_section(runs))
    return [section for section in sections if section is not None]


# --- beside the report --------------------------------------------------------------------------


def _report_section(runs: Sequence[Run]) -> Section | None:
    rows = [_beside(runs, run, case) for run, case in all_sides(runs) if study_row(case)]
    tables = [_reduction_table(runs)] if _reductions(runs) else []
    if rows:
        tables.insert(
            0,
            Table(
                id="table-report",
                caption="Medians of our trainings and the report's figures",
                columns=[
                    *key_columns(runs),
                    *metric_columns(["train_seconds"]),
                    REPORTED_COLUMNS[0],
                    *metric_columns(["test_accuracy"]),
                    REPORTED_COLUMNS[1],
                    *metric_columns(["test_f1_macro"]),
                    REPORTED_COLUMNS[2],
                ],
                rows=rows,
            ),
        )
    if not tables:
        return None
    return Section(
        id="report",
        title="Beside the report",
        paragraphs=[
            "The report does not say on which GPU it trained, so its times are no yardstick for "
            "this machine; accuracy, F1, and by how much a modified model is faster, are."
        ],
        tables=tables,
    )


def _beside(runs: Sequence[Run], run: Run, case: CaseRecord) -> Row:
    theirs = reported_cells(study_row(case))
    ours = [
        metric_cell(name, case.median(name))
        for name in ("train_seconds", "test_accuracy", "test_f1_macro")
    ]
    pairs = [cell for pair in zip(ours, theirs, strict=True) for cell in pair]
    return row_of(*key_cells(runs, run, case.id), *pairs)


def _reduction_table(runs: Sequence[Run]) -> Table:
    """How much less time a modified model takes than its original."""
    columns = [
        *key_columns(runs)[1:],
        Column(name="original", label="original"),
        Column(name="modified", label="modified"),
        number_column("original_train_seconds", "original takes"),
        number_column("modified_train_seconds", "modified takes"),
        number_column("reduction_fraction", "reduction"),
        number_column("report_reduction_fraction", "report: reduction"),
    ]
    return Table(
        id="table-reduction",
        caption="Reduction in train time from the original model, at its own resolution, to the "
        "modified one",
        columns=columns,
        rows=_reductions(runs),
    )


def _reductions(runs: Sequence[Run]) -> list[Row]:
    rows = []
    for group in _model_groups(runs):
        for run, original in group.first:
            modified = next((case for other, case in group.second if other is run), None)
            if modified is not None:
                rows.append(_reduction(runs, run, original, modified))
    return rows


def _reduction(runs: Sequence[Run], run: Run, original: CaseRecord, modified: CaseRecord) -> Row:
    before, after = original.median("train_seconds"), modified.median("train_seconds")
    return row_of(
        *key_cells(runs, run, "")[1:],
        original.id,
        modified.id,
        metric_cell("train_seconds", before),
        metric_cell("train_seconds", after),
        _share(reduction_fraction(before, after)),
        _share(_reported_reduction(original, modified)),
    )


def reduction_fraction(before: float | None, after: float | None) -> float | None:
    """By which part a time has become less; below 0 where it is more.

    >>> reduction_fraction(3460, 199)
    0.9424855491329479
    """
    return 1 - after / before if before and after is not None else None


def _reported_reduction(original: CaseRecord, modified: CaseRecord) -> float | None:
    if original.recipe != "report":
        return None
    rows = [REPORTED.get((case.model, case.dataset)) for case in (original, modified)]
    before, after = (None if row is None else row.train_seconds for row in rows)
    return reduction_fraction(before, after)


def _share(value: float | None) -> tuple[str, Cell]:
    return (ABSENT, None) if value is None else (format_share(value), value)


# --- original against modified ------------------------------------------------------------------


def _model_groups(runs: Sequence[Run]) -> list[Group]:
    """Original and modified model on the same data set, by the same recipe and engine."""
    groups = []
    for original, modified in MODIFIED.items():
        by_shared = _by_shared(runs, lambda case: (case.dataset, case.recipe, case.engine))
        for shared, sides in by_shared.items():
            first = [side for side in sides if side[1].model == original]
            second = [side for side in sides if side[1].model == modified]
            if first and second:
                name = f"{original} and {modified}, {', '.join(shared)}"
                groups.append(Group(name, first, second))
    return groups


def _by_shared(runs: Sequence[Run], key: Any) -> dict[tuple[str, ...], list[CaseSide]]:
    """Whole trainings of suite `train` by what they share."""
    found: dict[tuple[str, ...], list[CaseSide]] = {}
    for run, case in all_sides(runs):
        if case.suite == "train" and case.repeats and not case.shortened:
            found.setdefault(key(case), []).append((run, case))
    return found


def _models_section(runs: Sequence[Run]) -> Section | None:
    groups = _model_groups(runs)
    names = slugs(group.shared for group in groups)
    figures = [figure for group in groups for figure in _pair_figures(group, names[group.shared])]
    if not figures:
        return None
    return Section(
        id="models",
        title="Original against modified",
        paragraphs=[
            "The study's question: does the smaller model on smaller images learn as well? Its "
            "time is in the table above. Both see the same images, each at its own resolution."
        ],
        figures=figures,
    )


def _pair_figures(group: Group, slug: str) -> Iterator[Figure]:
    loss, accuracy = LOSSES["validation loss"], SCORES["validation accuracy"]
    if all(any(has_curve(case, loss) for _, case in side) for side in group[1:]):
        yield Figure(
            id=f"models-loss-{slug}",
            title="Validation loss",
            caption=_pair_caption(group),
            specification=_pair_lines(group, loss, "cross-entropy in nats", (".4f", ".4~r")),
        )
    if all(any(has_curve(case, accuracy) for _, case in side) for side in group[1:]):
        yield Figure(
            id=f"models-accuracy-{slug}",
            title="Validation accuracy, then test accuracy",
            caption=f"{_pair_caption(group)} Diamonds at the end: median test accuracy.",
            specification=_pair_lines(
                group, accuracy, "share of the images", (".2%", "~%"), ends=_test_accuracies(group)
            ),
        )


def _pair_caption(group: Group) -> str:
    return f"{group.shared}; {how_drawn([*group.first, *group.second])}"


def _pair_lines(
    group: Group,
    value: Value,
    axis: str,
    formats: tuple[str, str],
    ends: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for sides in (group.first, group.second):
        values += curve_values(sides, {"value": value}, name=sides[0][1].model)
    return lines(
        values,
        title=axis,
        series=[group.first[0][1].model, group.second[0][1].model],
        runs=run_labels([*group.first, *group.second]),
        number_format=formats[0],
        axis_format=formats[1],
        ends=ends,
    )


def _test_accuracies(group: Group) -> list[dict[str, Any]]:
    """A mark for each case and run, at its last epoch."""
    return [
        {
            "epoch": max(epoch.epoch for repeat in case.repeats for epoch in repeat.epochs),
            "value": case.median("test_accuracy"),
            "series": case.model,
            "run": run.label,
            "role": "end",
            "of": "test accuracy",
        }
        for run, case in (*group.first, *group.second)
        if case.values("test_accuracy") and any(repeat.epochs for repeat in case.repeats)
    ]


# --- MNIST against CIFAR-10 ---------------------------------------------------------------------


def _datasets_section(runs: Sequence[Run]) -> Section | None:
    figures: list[Figure] = []
    by_shared = _by_shared(
        runs, lambda case: (case.model, str(case.resolution), case.recipe, case.engine)
    )
    names = slugs("-".join(shared) for shared in by_shared)
    for shared, sides in by_shared.items():
        mnist, cifar = (
            [side for side in sides if side[1].dataset == name] for name in ("mnist", "cifar10")
        )
        if mnist and cifar:
            slug = names["-".join(shared)]
            for name, found in (("MNIST", mnist), ("CIFAR-10", cifar)):
                prefix = f"datasets-{name.lower()}"
                figures += confusion_figures(slug, found, prefix, title=f"Test confusion, {name}")
    if not figures:
        return None
    return Section(
        id="datasets",
        title="MNIST against CIFAR-10",
        paragraphs=["What the same model confuses in digits, and what in photographs."],
        figures=figures,
    )
