"""How each class was recognised: confusion matrices, and precision, recall and F1 of each.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.record.metrics import format_percent
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.content import Column, Figure, Row, Table, number_column
from cnnperf.report.html.heatmap import confusion_heat_map
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    key_cells,
    key_columns,
    median_of,
    row_of,
)

CLASS_NAMES = {
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip
"""In the order of the labels, where a number says nothing; as torchvision names them."""


def confusion_figures(
    slug: str, sides: Sequence[CaseSide], prefix: str = "confusion", title: str | None = None
) -> Iterator[Figure]:
    """A heat map for each run that has the case's confusion matrix."""
    for run, case in sides:
        matrix, count = summed_confusion(case)
        if matrix:
            of = f" ({run.label})" if len(sides) > 1 else ""
            suffix = f"-{run.label}" if len(sides) > 1 else ""
            yield Figure(
                id=f"{prefix}-{slug}{suffix}",
                title=f"{title or 'Test confusion'}{of}",
                caption=_confusion_caption(case, matrix, count),
                specification=confusion_heat_map(matrix, class_labels(case.dataset, len(matrix))),
            )


def _confusion_caption(case: CaseRecord, matrix: Sequence[Sequence[int]], count: int) -> str:
    total = sum(map(sum, matrix))
    right = sum(row[number] for number, row in enumerate(matrix))
    summed = f", summed over n = {count} trainings" if count > 1 else ", n = 1"
    share = f": {right:,} of {total:,} right" if total else ""
    return (
        f"{case.id}{summed}{share}. Right and wrong are shaded each on a scale of its own, by the "
        "share of the true class."
    )


def summed_confusion(case: CaseRecord) -> tuple[list[list[int]], int]:
    """Test images by true and predicted class over all trainings, and how many those are."""
    found = [r.confusion for r in case.repeats if r.confusion and _is_square(r.confusion)]
    found = [matrix for matrix in found if len(matrix) == len(found[0])]
    if not found:
        return [], 0
    size = range(len(found[0]))
    return [[sum(matrix[i][j] for matrix in found) for j in size] for i in size], len(found)


def _is_square(matrix: Sequence[Sequence[int]]) -> bool:
    return all(len(row) == len(matrix) for row in matrix)


def class_labels(dataset: str, count: int) -> list[str]:
    """Names of the classes, numbers where a data set has none that are known."""
    names = CLASS_NAMES.get(dataset, ())
    return list(names) if len(names) == count else [str(number) for number in range(count)]


SCORES_OF_CLASS = ("precision", "recall", "f1")


def class_table(runs: Sequence[Run], slug: str, sides: Sequence[CaseSide]) -> Table:
    """A row a class and run: medians over the trainings."""
    columns = [
        *key_columns(runs)[1:],
        Column(name="class", label="class"),
        *(number_column(f"test_{name}", name.replace("f1", "F1")) for name in SCORES_OF_CLASS),
    ]
    rows = [row for run, case in sides for row in _class_rows(runs, run, case)]
    return Table(
        id=f"classes-{slug}",
        caption=f"Precision, recall and F1 of each class, {sides[0][1].id}",
        columns=columns,
        rows=rows,
        is_closed=True,
    )


def _class_rows(runs: Sequence[Run], run: Run, case: CaseRecord) -> Iterator[Row]:
    found = [repeat.per_class for repeat in case.repeats if repeat.per_class is not None]
    count = min((len(getattr(one, name)) for one in found for name in SCORES_OF_CLASS), default=0)
    for number, label in enumerate(class_labels(case.dataset, count)):
        medians = [
            median_of(getattr(one, name)[number] for one in found) for name in SCORES_OF_CLASS
        ]
        yield row_of(
            *key_cells(runs, run, case.id)[1:],
            label if label == str(number) else f"{number} {label}",
            *((format_percent(value or 0.0), value) for value in medians),
        )
