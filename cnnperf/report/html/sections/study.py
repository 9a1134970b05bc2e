"""Our results beside the study's, and its figures drawn from our data.

The study compares original with modified models on the same images, and MNIST with CIFAR-10
through the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from cnnperf.record.metrics import format_share
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.charts import Axis, lines
from cnnperf.report.html.content import Figure, Row, Section, Table, number_columns, text_columns
from cnnperf.report.html.sections.learning import (
    LOSS_AXIS,
    LOSSES,
    SCORE_AXIS,
    SCORES,
    Value,
    confusion_figures,
    curve_values,
    has_curve,
    how_drawn,
    run_labels,
)
from cnnperf.report.html.sections.results import STUDY_COLUMNS, study_cells, study_row
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    all_sides,
    figure_cell,
    key_cells,
    key_columns,
    metric_cell,
    metric_columns,
    row_of,
    slugs,
)

MODIFIED = {"vgg16": "modified_vgg", "resnet34": "modified_resnet"}
"""Each original model of the study, and the study's smaller model."""

COMPARED = ("train_seconds", "test_accuracy", "test_f1_macro")
"""Metrics that the study has, in the order of `STUDY_COLUMNS`."""


class Group(NamedTuple):
    """Trainings that differ in the model alone."""

    shared: str
    """What they have in common, for captions and figure ids."""
    original: list[CaseSide]
    modified: list[CaseSide]

    @property
    def sides(self) -> list[CaseSide]:
        """Return all of them, the original model first."""
        return [*self.original, *self.modified]


def study_sections(runs: Sequence[Run]) -> list[Section]:
    """Build the sections that the runs have data for."""
    groups = list(_model_groups(runs))
    sections = (_study_section(runs, groups), _models_section(groups), _datasets_section(runs))
    return [section for section in sections if section.tables or section.figures]


# --- beside the study ---------------------------------------------------------------------------


def _study_section(runs: Sequence[Run], groups: Sequence[Group]) -> Section:
    tables = (_study_table(runs), _reduction_table(runs, groups))
    return Section(
        id="report",
        title="Compared with the study",
        paragraphs=[
            "Compare accuracy, F1, and the reduction in time from original to modified model. Do "
            "not compare the times themselves: the study does not name its GPU."
        ],
        tables=[table for table in tables if table.rows],
    )


def _study_table(runs: Sequence[Run]) -> Table:
    columns = zip(metric_columns(COMPARED), STUDY_COLUMNS, strict=True)
    rows = []
    for run, case in all_sides(runs):
        if (published := study_row(case)) is not None:
            ours = [metric_cell(name, case.median(name)) for name in COMPARED]
            pairs = zip(ours, study_cells(published), strict=True)
            rows.append(
                row_of(*key_cells(runs, run, case.id), *(c for pair in pairs for c in pair))
            )
    return Table(
        id="table-report",
        caption="Medians of our trainings, and the figures that the study published",
        columns=[*key_columns(runs), *(column for pair in columns for column in pair)],
        rows=rows,
    )


def _reduction_table(runs: Sequence[Run], groups: Sequence[Group]) -> Table:
    return Table(
        id="table-reduction",
        caption="Reduction in train time from the original model, at its own resolution, to the "
        "modified one",
        columns=[
            *key_columns(runs)[1:],
            *text_columns(original="original", modified="modified"),
            *number_columns(
                original_train_seconds="original takes",
                modified_train_seconds="modified takes",
                reduction_fraction="reduction",
                report_reduction_fraction="study: reduction",
            ),
        ],
        rows=[
            _reduction(runs, run, original, modified)
            for group in groups
            for run, original in group.original
            if (modified := next((case for other, case in group.modified if other is run), None))
        ],
    )


def _reduction(runs: Sequence[Run], run: Run, original: CaseRecord, modified: CaseRecord) -> Row:
    ours = [case.median("train_seconds") for case in (original, modified)]
    studied = [study_row(case) for case in (original, modified)]
    published = [row.train_seconds if row else None for row in studied]
    return row_of(
        *key_cells(runs, run, "")[1:],
        original.id,
        modified.id,
        *(metric_cell("train_seconds", seconds) for seconds in ours),
        *(
            figure_cell(1 - after / before if before and after is not None else None, format_share)
            for before, after in (ours, published)
        ),
    )


# --- original against modified ------------------------------------------------------------------


def _model_groups(runs: Sequence[Run]) -> Iterator[Group]:
    """Pair original and modified model on the same data set, by the same recipe and engine."""
    for original, modified in MODIFIED.items():
        by_shared = _by_shared(
            runs, lambda case: (str(case.dataset), str(case.recipe), case.engine)
        )
        for shared, sides in by_shared.items():
            pair = [
                [side for side in sides if side[1].model == model] for model in (original, modified)
            ]
            if all(pair):
                yield Group(f"{original} and {modified}, {', '.join(shared)}", *pair)


def _by_shared(
    runs: Sequence[Run], key: Callable[[CaseRecord], tuple[str, ...]]
) -> dict[tuple[str, ...], list[CaseSide]]:
    """Group the complete trainings of suite `train`."""
    found: dict[tuple[str, ...], list[CaseSide]] = {}
    for run, case in all_sides(runs):
        if case.suite == "train" and case.repeats and not case.shortened:
            found.setdefault(key(case), []).append((run, case))
    return found


def _models_section(groups: Sequence[Group]) -> Section:
    names = slugs(group.shared for group in groups)
    return Section(
        id="models",
        title="Original against modified",
        paragraphs=[
            "The study's question: does the smaller model on smaller images learn as well? Compare "
            "the ends of the lines here, and the times under Compared with the study. Both models "
            "see the same images, each at its own resolution."
        ],
        figures=[
            figure for group in groups for figure in _pair_figures(group, names[group.shared])
        ],
    )


def _pair_figures(group: Group, slug: str) -> Iterator[Figure]:
    kinds: tuple[tuple[str, str, Value, Axis, list[dict[str, Any]]], ...] = (
        ("loss", "Validation loss", LOSSES["validation loss"], LOSS_AXIS, []),
        ("accuracy", "Validation accuracy, then test accuracy", SCORES["validation accuracy"],
         SCORE_AXIS._replace(title="share of the images"), _test_accuracies(group)),
    )  # fmt: skip
    for name, title, value, axis, ends in kinds:
        if all(any(has_curve(case, value) for _, case in side) for side in group[1:]):
            values = [
                row
                for sides in (group.original, group.modified)
                for row in curve_values(sides, {"value": value}, name=sides[0][1].model)
            ]
            caption = f"{group.shared}; {how_drawn(group.sides)}"
            caption += " Diamonds at the end: median test accuracy." if ends else ""
            runs = run_labels(group.sides)
            yield Figure(
                id=f"models-{name}-{slug}",
                title=title,
                caption=caption,
                specification=lines(values, axis=axis, runs=runs, ends=ends),
            )


def _test_accuracies(group: Group) -> list[dict[str, Any]]:
    return [
        {
            "epoch": max(epoch.epoch for repeat in case.repeats for epoch in repeat.epochs),
            "value": case.median("test_accuracy"),
            "series": case.model,
            "run": run.label,
            "role": "end",
            "of": "test accuracy",
        }
        for run, case in group.sides
        if case.values("test_accuracy") and any(repeat.epochs for repeat in case.repeats)
    ]


# --- MNIST against CIFAR-10 ---------------------------------------------------------------------


def _datasets_section(runs: Sequence[Run]) -> Section:
    figures: list[Figure] = []
    by_shared = _by_shared(
        runs, lambda case: (case.model, str(case.resolution), str(case.recipe), case.engine)
    )
    names = slugs("-".join(shared) for shared in by_shared)
    for shared, sides in by_shared.items():
        by_name = {
            name: [side for side in sides if side[1].dataset == dataset]
            for name, dataset in (("MNIST", "mnist"), ("CIFAR-10", "cifar10"))
        }
        if all(by_name.values()):
            for name, found in by_name.items():
                title, prefix = f"Test confusion, {name}", f"datasets-{name.lower()}"
                figures += confusion_figures(names["-".join(shared)], found, prefix, title)
    return Section(
        id="datasets",
        title="MNIST against CIFAR-10",
        paragraphs=[
            "Which classes the same model confuses in digits, and which in photographs: look for "
            "the strongest orange in each."
        ],
        figures=figures,
    )
