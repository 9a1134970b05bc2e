"""How each case learned: losses, accuracy and F1 per epoch, confusion, figures of each class.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cnnperf.record.schema import CaseRecord, EpochResult, Repeat
from cnnperf.report.html.charts import lines
from cnnperf.report.html.content import Figure, Section
from cnnperf.report.html.sections.classes import class_table, confusion_figures
from cnnperf.report.html.sections.runs import CaseSide, Run, case_ids, median_of, sides_of, slugs

Value = Callable[[EpochResult], float | None]

LOSSES: dict[str, Value] = {
    "training loss": lambda epoch: epoch.train_loss,
    "validation loss": lambda epoch: epoch.val_loss,
}
SCORES: dict[str, Value] = {
    "validation accuracy": lambda epoch: epoch.val_accuracy,
    "validation F1": lambda epoch: epoch.val_f1_macro,
}

MAX_NAMED = 4
"""Cases that a sentence names; all are in the table of results."""


def learning_section(runs: Sequence[Run]) -> Section:
    """A subsection for each case that has something to show; one sentence for the others."""
    names = slugs(case_ids(runs))
    subsections: list[Section] = []
    bare: dict[str, list[str]] = {}
    for case_id, slug in names.items():
        sides = sides_of(runs, case_id)
        section = _case_section(runs, case_id, slug, sides)
        if section.figures or section.tables:
            subsections.append(section)
        else:
            bare.setdefault(_why_bare([case for _, case in sides]), []).append(case_id)
    paragraphs = ["Each case by epoch and by class."] if subsections else []
    paragraphs += [f"Nothing to draw ({why}): {_some(ids)}." for why, ids in bare.items()]
    return Section(id="learning", title="Learning", paragraphs=paragraphs, subsections=subsections)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(ids[:MAX_NAMED]) + more


def _why_bare(cases: Sequence[CaseRecord]) -> str:
    if not any(case.repeats for case in cases):
        return "no training was finished"
    recipes = [case.fingerprint.recipe for case in cases if case.fingerprint is not None]
    steps = [recipe.max_steps for recipe in recipes if recipe.max_steps is not None]
    if steps:
        plural = "" if steps[0] == 1 else "s"
        return f"a sample of {steps[0]} step{plural}: speed only"
    if any(case.shortened for case in cases):
        return "shortened: speed only"
    return "fewer than two epochs, and no accuracy"


def _case_section(
    runs: Sequence[Run], case_id: str, slug: str, sides: Sequence[CaseSide]
) -> Section:
    figures = [*_curves(slug, sides), *confusion_figures(slug, sides)]
    classes = class_table(runs, slug, sides)
    return Section(
        id=f"case-{slug}",
        title=case_id,
        paragraphs=list(_about(sides)) if figures else [],
        figures=figures,
        tables=[classes] if classes.rows else [],
    )


def _about(sides: Sequence[CaseSide]) -> Iterator[str]:
    """What a reader of the figures must know."""
    cases = [case for _, case in sides]
    if any(case.outcome == "failed" for case in cases):
        yield "The case failed; what is drawn are the trainings that were finished before."
    if any(case.shortened for case in cases):
        yield "Shortened: fewer epochs than the recipe has."
    recipes = [case.fingerprint.recipe for case in cases if case.fingerprint is not None]
    if any(recipe.augmentation is not None for recipe in recipes):
        yield (
            "Training images are changed at random, so the training loss is of other images than "
            "the validation loss and lies above where it would be without."
        )


# --- curves -------------------------------------------------------------------------------------


def has_curve(case: CaseRecord, value: Value) -> bool:
    """Whether there are two epochs to draw a line between."""
    return any(
        sum(value(epoch) is not None for epoch in repeat.epochs) > 1 for repeat in case.repeats
    )


def _curves(slug: str, sides: Sequence[CaseSide]) -> Iterator[Figure]:
    if any(has_curve(case, LOSSES["validation loss"]) for _, case in sides):
        yield _figure(
            f"loss-{slug}", "Loss", sides, curve_values(sides, LOSSES), "cross-entropy in nats",
            (".4f", ".4~r"),
        )  # fmt: skip
    if any(has_curve(case, SCORES["validation accuracy"]) for _, case in sides):
        yield _figure(
            f"accuracy-{slug}", "Validation accuracy and F1", sides, curve_values(sides, SCORES),
            "share of the validation images", (".2%", "~%"),
        )  # fmt: skip


def _figure(
    figure_id: str,
    title: str,
    sides: Sequence[CaseSide],
    values: list[dict[str, Any]],
    axis: str,
    formats: tuple[str, str],
) -> Figure:
    series = list(dict.fromkeys(row["series"] for row in values))
    return Figure(
        id=figure_id,
        title=title,
        caption=f"{_named(sides)}; {how_drawn(sides)}",
        specification=lines(
            values,
            title=axis,
            series=series,
            runs=run_labels(sides),
            number_format=formats[0],
            axis_format=formats[1],
        ),
    )


def _named(sides: Sequence[CaseSide]) -> str:
    return sides[0][1].id


def run_labels(sides: Sequence[CaseSide]) -> list[str]:
    """Of the runs that are drawn, base first."""
    return list(dict.fromkeys(run.label for run, _ in sides))


def how_drawn(sides: Sequence[CaseSide]) -> str:
    """What the lines are, and how many trainings they rest on."""
    counts: dict[str, dict[int, None]] = {}
    for run, case in sides:
        counts.setdefault(run.label, {})[len(case.repeats)] = None
    numbers = {label: f"n = {' and '.join(map(str, found))}" for label, found in counts.items()}
    if len(counts) > 1:
        drawn = f"base dashed ({', '.join(f'{n} in {label}' for label, n in numbers.items())})"
    else:
        (drawn,) = numbers.values()
    several = any(count > 1 for found in counts.values() for count in found)
    return f"{drawn}; thin: each training, strong: their median." if several else f"{drawn}."


def curve_values(
    sides: Sequence[CaseSide], series: dict[str, Value], *, name: str | None = None
) -> list[dict[str, Any]]:
    """Rows for `charts.lines`: each training where there are several, and the median.

    Args:
        sides: a case as each run has it.
        series: what is drawn, by the name of its line.
        name: of the one line, in place of the series'.
    """
    rows = []
    for run, case in sides:
        for label, value in series.items():
            common = {"series": name or label, "run": run.label}
            if len(case.repeats) > 1:
                rows += [{**common, **row} for row in _trainings(case.repeats, value)]
            rows += [{**common, **row} for row in _medians(case.repeats, value)]
    return rows


def _trainings(repeats: Sequence[Repeat], value: Value) -> Iterator[dict[str, Any]]:
    for number, repeat in enumerate(repeats):
        for epoch in repeat.epochs:
            if value(epoch) is not None:
                yield {
                    "epoch": epoch.epoch,
                    "value": value(epoch),
                    "seed": number,
                    "role": "training",
                }


def _medians(repeats: Sequence[Repeat], value: Value) -> Iterator[dict[str, Any]]:
    """At each epoch over the trainings that have it."""
    by_epoch: dict[int, list[float]] = {}
    for repeat in repeats:
        for epoch in repeat.epochs:
            found = value(epoch)
            if found is not None:
                by_epoch.setdefault(epoch.epoch, []).append(found)
    for number, values in sorted(by_epoch.items()):
        yield {
            "epoch": number,
            "value": median_of(values),
            "role": "median",
            "of": f"median of {len(values)}" if len(values) > 1 else "one training",
        }
