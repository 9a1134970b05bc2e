"""Show on a page where the time of a training step goes, where a record has profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

from cnnperf.record.metrics import format_latency, format_share
from cnnperf.record.schema import KernelClass, Profile
from cnnperf.report.html.charts import stacked_bars
from cnnperf.report.html.content import Figure, Row, Section, Table, number_columns, text_columns
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    case_ids,
    figure_cell,
    key_cells,
    key_columns,
    row_of,
    sides_of,
    slugs,
)

CLASSES: tuple[KernelClass, ...] = get_args(KernelClass)

COLUMNS = (
    *text_columns(kernel="kernel", **{"class": "class"}),
    *number_columns(
        calls_per_step="calls per step", seconds_per_step="per step", step_fraction="of the step"
    ),
)


class Profiled(NamedTuple):
    """The first profile of a case in one run."""

    run: Run
    seed: int
    profile: Profile


def profile_sections(runs: Sequence[Run]) -> list[Section]:
    """Return a section with a subsection for each profiled case; none without profiles."""
    subsections = [
        _case_section(runs, case_id, slug, profiled)
        for case_id, slug in slugs(case_ids(runs)).items()
        if (profiled := _profiled(sides_of(runs, case_id)))
    ]
    look = (
        "A few steps of one training of each case, profiled after the timed run. Profiling makes a "
        "step longer, so compare shares rather than times."
    )
    section = Section(
        id="profile", title="Where a step's time goes", paragraphs=[look], subsections=subsections
    )
    return [section] * bool(subsections)


def _profiled(sides: Sequence[CaseSide]) -> list[Profiled]:
    return [
        Profiled(run, *first)
        for run, case in sides
        for first in [(each.seed, each.profile) for each in case.repeats if each.profile][:1]
    ]


def _case_section(
    runs: Sequence[Run], case_id: str, slug: str, profiled: Sequence[Profiled]
) -> Section:
    rows = [row for each in profiled for row in _kernel_rows(runs, each)]
    table = Table(
        id=f"kernels-{slug}",
        caption=f"The longest kernels, {case_id}",
        columns=[*key_columns(runs)[1:], *COLUMNS],
        rows=rows,
    )
    return Section(
        id=f"profile-case-{slug}",
        title=case_id,
        figures=[_figure(slug, profiled)],
        tables=[table] if rows else [],
    )


def _figure(slug: str, profiled: Sequence[Profiled]) -> Figure:
    longest_seconds = max(each.profile.seconds_per_step for each in profiled)
    units = ((1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"))
    units_per_second, unit = next((u for u in units if longest_seconds * u[0] >= 1), units[-1])
    values = [
        {"row": each.run.label, "part": _spaced(name), "value": units_per_second * seconds}
        for each in profiled
        for name, seconds in each.profile.seconds_per_step_by_class.items()
    ]
    facts = [
        f"{run.label + ': ' if len(profiled) > 1 else ''}{profile.steps} steps of seed {seed}, "
        f"{format_latency(profile.seconds_per_step)} per step"
        for run, seed, profile in profiled
    ]
    return Figure(
        id=f"profile-{slug}",
        title="Time per step, by class of work",
        caption=f"{'; '.join(facts)}.",
        specification=stacked_bars(
            values,
            title=f"{unit} per step",
            parts=list(map(_spaced, CLASSES)),
            rows=[each.run.label for each in profiled],
        ),
    )


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _kernel_rows(runs: Sequence[Run], profiled: Profiled) -> list[Row]:
    step_seconds = profiled.profile.seconds_per_step
    return [
        row_of(
            *key_cells(runs, profiled.run, "")[1:],
            kernel.name,
            _spaced(kernel.kernel_class),
            (f"{kernel.calls_per_step:.4g}", kernel.calls_per_step),
            (format_latency(kernel.seconds_per_step), kernel.seconds_per_step),
            figure_cell(
                kernel.seconds_per_step / step_seconds if step_seconds else None, format_share
            ),
        )
        for kernel in profiled.profile.longest_kernels
    ]
