"""How each case learned: losses, accuracy and F1 by epoch, confusion, and scores of each class."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import altair as alt

from cnnperf.catalog.specs import Recipe
from cnnperf.errors import UsageError, printable
from cnnperf.record.metrics import format_percent
from cnnperf.record.schema import CaseRecord, EpochResult, Record
from cnnperf.report.html.charts import ROWS, Axis, confusion_heat_map, lines
from cnnperf.report.html.content import Figure, Row, Section, Table, number_columns, text_columns
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    case_ids,
    key_cells,
    key_columns,
    median_of,
    row_of,
    sides_of,
    slugs,
)
from cnnperf.report.html.theme import CONFIG, in_light
from cnnperf.report.wording import counted, some

Value = Callable[[EpochResult], float | None]

LOSSES: dict[str, Value] = {
    "training loss": lambda epoch: epoch.train_loss,
    "validation loss": lambda epoch: epoch.val_loss,
}
SCORES: dict[str, Value] = {
    "validation accuracy": lambda epoch: epoch.val_accuracy,
    "validation F1": lambda epoch: epoch.val_f1_macro,
}

LOSS_AXIS = Axis("cross-entropy in nats", ".4f", ".4~r")
SCORE_AXIS = Axis("share of the validation images", ".2%", "~%")

WIDTH = 480
"""Pixels of a chart that stands outside a page."""

MAX_NAMED = 4
"""Cases that a sentence names; the table of results has all."""


def learning_section(runs: Sequence[Run]) -> Section:
    """Build a subsection for each case with something to draw, and name the others."""
    subsections: list[Section] = []
    bare: dict[str, list[str]] = {}
    for case_id, slug in slugs(case_ids(runs)).items():
        sides = sides_of(runs, case_id)
        section = _case_section(runs, case_id, slug, sides)
        if section.figures or section.tables:
            subsections.append(section)
        else:
            bare.setdefault(_why_bare([case for _, case in sides]), []).append(case_id)
    look = (
        "Look for a validation loss that rises while the training loss falls (overfitting), and "
        "for accuracy that still rises at the last epoch (trained too briefly)."
    )
    paragraphs = [look] if subsections else []
    paragraphs += [f"Nothing to draw ({why}): {some(ids, MAX_NAMED)}." for why, ids in bare.items()]
    return Section(id="learning", title="Learning", paragraphs=paragraphs, subsections=subsections)


def _why_bare(cases: Sequence[CaseRecord]) -> str:
    if not any(case.repeats for case in cases):
        return "no training finished"
    steps = [recipe.max_steps for recipe in _recipes(cases) if recipe.max_steps is not None]
    if steps:
        return f"a sample of {counted(steps[0], 'step')}, for speed only"
    if any(case.shortened for case in cases):
        return "shortened, for speed only"
    return "fewer than two epochs, and no accuracy"


def _recipes(cases: Sequence[CaseRecord]) -> list[Recipe]:
    """Return the recipes of cases; a loop of the user's has none."""
    found = [case.fingerprint.recipe for case in cases if case.fingerprint is not None]
    return [recipe for recipe in found if recipe is not None]


def _case_section(
    runs: Sequence[Run], case_id: str, slug: str, sides: Sequence[CaseSide]
) -> Section:
    figures = [*_curves(slug, sides), *confusion_figures(slug, sides)]
    classes = class_table(runs, slug, sides)
    return Section(
        id=f"case-{slug}",
        title=case_id,
        paragraphs=list(_remarks(sides)) if figures else [],
        figures=figures,
        tables=[classes] if classes.rows else [],
    )


def _remarks(sides: Sequence[CaseSide]) -> Iterator[str]:
    cases = [case for _, case in sides]
    if any(case.outcome == "failed" for case in cases):
        yield "The case failed; the figures show the trainings that finished before."
    if any(case.shortened for case in cases):
        yield "Shortened: fewer epochs than the recipe has."
    if any(recipe.augmentation is not None for recipe in _recipes(cases)):
        yield (
            "Training images are randomly changed, validation images are not: the training loss "
            "is higher than it would be without."
        )


# --- curves -------------------------------------------------------------------------------------


def has_curve(case: CaseRecord, value: Value) -> bool:
    """Return whether a training has the value in two epochs or more."""
    return any(
        sum(value(epoch) is not None for epoch in repeat.epochs) > 1 for repeat in case.repeats
    )


def _curves(slug: str, sides: Sequence[CaseSide]) -> Iterator[Figure]:
    kinds = (
        ("loss", "Loss", LOSSES, _loss_axis([case for _, case in sides])),
        ("accuracy", "Validation accuracy and F1", SCORES, SCORE_AXIS),
        *map(_own_curve, _own_metrics(sides)),
    )
    for prefix, title, series, axis in kinds:
        if any(has_curve(case, value) for _, case in sides for value in series.values()):
            values = curve_values(sides, series)
            yield Figure(
                id=f"{prefix}-{slug}",
                title=title,
                caption=f"{sides[0][1].id}; {how_drawn(sides)}",
                specification=lines(values, axis=axis, runs=run_labels(sides)),
            )


def _loss_axis(cases: Sequence[CaseRecord]) -> Axis:
    """Return the axis of losses; those of a recipe or loop of the user's may be anything."""
    recipes = [each.fingerprint.recipe if each.fingerprint else None for each in cases]
    usual = all(recipe is not None and recipe.loss == "cross_entropy" for recipe in recipes)
    return LOSS_AXIS if usual else LOSS_AXIS._replace(title="loss")


def _own_metrics(sides: Sequence[CaseSide]) -> list[str]:
    """Return the names that a loop of the user's reported of its epochs."""
    repeats = (repeat for _, case in sides for repeat in case.repeats)
    return sorted({name for repeat in repeats for epoch in repeat.epochs for name in epoch.metrics})


def _own_curve(name: str) -> tuple[str, str, dict[str, Value], Axis]:
    series: dict[str, Value] = {name: lambda epoch: epoch.metrics.get(name)}
    return f"metric-{name.replace('_', '-')}", name, series, Axis(name, ".4~g", ".4~g")


def learning_chart(record: Record) -> alt.VConcatChart:
    """Draw the curves of a record's only case in light colours, one chart below the other.

    Raises:
        UsageError: no training has two epochs.
    """
    case = record.cases[0]
    charts = []
    for figure in _curves("case", [(Run(label="run", name="run", record=record), case)]):
        content = {**figure.specification, "title": figure.title, "width": WIDTH}
        rows = content.pop("datasets")[ROWS]
        layers = [{**layer, "data": {"values": rows}} for layer in content["layer"]]
        del content["$schema"]  # the whole has it
        charts.append({**content, "layer": layers})
    if not charts:
        raise UsageError(f"{case.id} has no curve: a plot needs a training of two epochs or more")
    # Vega-Lite takes a layout of legends, but altair's copy of its schema does not have it.
    legend = {name: value for name, value in CONFIG["legend"].items() if name != "layout"}
    whole = {
        "title": case.id,
        "vconcat": charts,
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
        "config": {**CONFIG, "background": "white", "legend": legend},
    }
    chart: alt.VConcatChart = alt.VConcatChart.from_dict(in_light(whole))
    return chart


def run_labels(sides: Sequence[CaseSide]) -> list[str]:
    """Return the labels of the runs, base first."""
    return list(dict.fromkeys(run.label for run, _ in sides))


def how_drawn(sides: Sequence[CaseSide]) -> str:
    """Explain the lines, and how many trainings they rest on."""
    counts: dict[str, dict[str, None]] = {}
    for run, case in sides:
        counts.setdefault(run.label, {})[str(len(case.repeats))] = None
    numbers = [f"n = {' and '.join(found)}" for found in counts.values()]
    drawn = numbers[0]
    if len(counts) > 1:
        named = [f"{n} in {label}" for n, label in zip(numbers, counts, strict=True)]
        drawn = f"base dashed ({', '.join(named)})"
    several = any(len(case.repeats) > 1 for _, case in sides)
    return f"{drawn}; thin: each training, strong: their median." if several else f"{drawn}."


def curve_values(
    sides: Sequence[CaseSide], series: dict[str, Value], *, name: str | None = None
) -> list[dict[str, Any]]:
    """Build rows for `charts.lines`: the median, and each training where there are several.

    `series` are the values to draw by the name of their line, which `name` replaces.
    """
    rows = []
    for run, case in sides:
        for label, value in series.items():
            common = {"series": name or label, "run": run.label}
            points = [
                (epoch.epoch, found, number)
                for number, repeat in enumerate(case.repeats)
                for epoch in repeat.epochs
                if (found := value(epoch)) is not None
            ]
            if len(case.repeats) > 1:
                rows += [
                    {**common, "epoch": epoch, "value": found, "seed": number, "role": "training"}
                    for epoch, found, number in points
                ]
            for epoch in sorted({epoch for epoch, _, _ in points}):
                values = [found for at, found, _ in points if at == epoch]
                of = f"median of {len(values)}" if len(values) > 1 else "one training"
                median = {"epoch": epoch, "value": statistics.median(values), "of": of}
                rows.append({**common, **median, "role": "median"})
    return rows


CLASS_NAMES = {
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip
"""In the order of the labels, as torchvision names them."""

MAX_CHARACTERS = 40
"""Length of a class's name: a longer one leaves no room for the figure."""

SCORES_OF_CLASS = {"precision": "precision", "recall": "recall", "f1": "F1"}


def confusion_figures(
    slug: str, sides: Sequence[CaseSide], prefix: str = "confusion", title: str = "Test confusion"
) -> Iterator[Figure]:
    """Draw a heat map for each run that has the case's confusion matrix."""
    several = len(sides) > 1
    for run, case in sides:
        matrix, count = summed_confusion(case)
        if matrix:
            yield Figure(
                id=f"{prefix}-{slug}" + f"-{run.label}" * several,
                title=title + f" ({run.label})" * several,
                caption=_confusion_caption(case, matrix, count),
                specification=confusion_heat_map(matrix, class_labels(case, len(matrix))),
            )


def _confusion_caption(case: CaseRecord, matrix: list[list[int]], count: int) -> str:
    total = sum(map(sum, matrix))
    right = sum(row[number] for number, row in enumerate(matrix))
    summed = f"sum of n = {count} trainings" if count > 1 else "n = 1"
    share = f": {right:,} of {total:,} right" if total else ""
    return (
        f"{case.id}, {summed}{share}. Blue is right, orange is wrong. Look for strong orange: the "
        "most frequent mistakes. Each colour has its own scale, by share of the true class."
    )


def summed_confusion(case: CaseRecord) -> tuple[list[list[int]], int]:
    """Sum the confusion over all trainings; return it with the number of trainings."""
    found = [
        matrix
        for repeat in case.repeats
        if (matrix := repeat.confusion) and all(len(row) == len(matrix) for row in matrix)
    ]
    found = [matrix for matrix in found if len(matrix) == len(found[0])]
    if not found:
        return [], 0
    size = range(len(found[0]))
    return [[sum(matrix[i][j] for matrix in found) for j in size] for i in size], len(found)


def class_labels(case: CaseRecord, count: int) -> list[str]:
    """Return the names of the classes; numbers where the names are unknown."""
    scores = [repeat.per_class for repeat in case.repeats if repeat.per_class is not None]
    recorded = [one.names for one in scores if one.names is not None]
    names = recorded[0] if recorded else CLASS_NAMES.get(case.dataset or "", ())
    if len(names) != count:
        return [str(number) for number in range(count)]
    shown = [printable(name)[:MAX_CHARACTERS] for name in names]
    alike = len(set(shown)) < count  # a figure would draw them as one class
    return [f"{number} {name}" for number, name in enumerate(shown)] if alike else shown


def class_table(runs: Sequence[Run], slug: str, sides: Sequence[CaseSide]) -> Table:
    """Build a row for each class and run, with medians over the trainings."""
    scores = {f"test_{name}": label for name, label in SCORES_OF_CLASS.items()}
    return Table(
        id=f"classes-{slug}",
        caption=f"Precision, recall and F1 of each class, {sides[0][1].id}",
        columns=[
            *key_columns(runs)[1:], *text_columns(**{"class": "class"}), *number_columns(**scores)
        ],
        rows=[row for run, case in sides for row in _class_rows(runs, run, case)],
        is_closed=True,
    )  # fmt: skip


def _class_rows(runs: Sequence[Run], run: Run, case: CaseRecord) -> Iterator[Row]:
    found = [repeat.per_class for repeat in case.repeats if repeat.per_class is not None]
    count = min((len(getattr(one, name)) for one in found for name in SCORES_OF_CLASS), default=0)
    for number, label in enumerate(class_labels(case, count)):
        medians = [
            median_of(getattr(one, name)[number] for one in found) for name in SCORES_OF_CLASS
        ]
        yield row_of(
            *key_cells(runs, run, case.id)[1:],
            label if label == str(number) else f"{number} {label}",
            *((format_percent(value or 0.0), value) for value in medians),
        )
