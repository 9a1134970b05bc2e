"""How well each class is recognised: confusion matrices, and precision, recall and F1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.record.metrics import format_percent
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.content import Figure, Row, Table, number_columns, text_columns
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
"""In the order of the labels, as torchvision names them."""

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
                specification=confusion_heat_map(matrix, class_labels(case.dataset, len(matrix))),
            )


def _confusion_caption(case: CaseRecord, matrix: Sequence[Sequence[int]], count: int) -> str:
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


def class_labels(dataset: str, count: int) -> list[str]:
    """Return the names of the classes; numbers where the names are unknown."""
    names = CLASS_NAMES.get(dataset, ())
    return list(names) if len(names) == count else [str(number) for number in range(count)]


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
    for number, label in enumerate(class_labels(case.dataset, count)):
        medians = [
            median_of(getattr(one, name)[number] for one in found) for name in SCORES_OF_CLASS
        ]
        yield row_of(
            *key_cells(runs, run, case.id)[1:],
            label if label == str(number) else f"{number} {label}",
            *((format_percent(value or 0.0), value) for value in medians),
        )
