"""Where the time of a training step goes, where a record has profiles. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from cnnperf.record.metrics import format_latency, format_share
from cnnperf.record.schema import CaseRecord, KernelClass, Profile
from cnnperf.report.html.charts import stacked_bars
from cnnperf.report.html.content import Column, Figure, Row, Section, Table, number_column
from cnnperf.report.html.sections.learning import run_labels
from cnnperf.report.html.sections.runs import (
    CaseSide,
    Run,
    case_ids,
    key_cells,
    key_columns,
    row_of,
    sides_of,
    slugs,
)

CLASSES: tuple[str, ...] = get_args(KernelClass)

COLUMNS = (
    Column(name="kernel", label="kernel"),
    Column(name="class", label="class"),
    number_column("calls_per_step", "calls per step"),
    number_column("seconds_per_step", "per step"),
    number_column("step_fraction", "of the step"),
)


def profile_section(runs: Sequence[Run]) -> Section | None:
    """A subsection for each case that was profiled."""
    subsections = [
        _case_section(runs, case_id, slug, profiled)
        for case_id, slug in slugs(case_ids(runs)).items()
        if (profiled := _profiled(sides_of(runs, case_id)))
    ]
    if not subsections:
        return None
    return Section(
        id="profile",
        title="Where a step's time goes",
        paragraphs=[
            "From a few steps that were profiled after the timed run, of one training a case. "
            "Profiling itself makes a step longer, so read shares rather than times."
        ],
        subsections=subsections,
    )


def _profiled(sides: Sequence[CaseSide]) -> list[tuple[Run, CaseRecord, int, Profile]]:
    """The first profile of each run, with its seed."""
    found = []
    for run, case in sides:
        first = next((repeat for repeat in case.repeats if repeat.profile is not None), None)
        if first is not None and first.profile is not None:
            found.append((run, case, first.seed, first.profile))
    return found


def _case_section(
    runs: Sequence[Run],
    case_id: str,
    slug: str,
    profiled: Sequence[tuple[Run, CaseRecord, int, Profile]],
) -> Section:
    rows = [row for run, _, _, profile in profiled for row in _kernel_rows(runs, run, profile)]
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


def _figure(slug: str, profiled: Sequence[tuple[Run, CaseRecord, int, Profile]]) -> Figure:
    scale, unit = _unit(max(profile.seconds_per_step for _, _, _, profile in profiled))
    values: list[dict[str, Any]] = [
        {"row": run.label, "part": _spaced(name), "value": scale * seconds}
        for run, _, _, profile in profiled
        for name, seconds in profile.seconds_per_step_by_class.items()
    ]
    facts = [
        f"{run.label + ': ' if len(profiled) > 1 else ''}{profile.steps} steps of seed {seed}, "
        f"{format_latency(profile.seconds_per_step)} a step"
        for run, _, seed, profile in profiled
    ]
    return Figure(
        id=f"profile-{slug}",
        title="Time per step, by class of work",
        caption=f"{'; '.join(facts)}.",
        specification=stacked_bars(
            values,
            title=f"{unit} per step",
            parts=[_spaced(name) for name in CLASSES],
            rows=run_labels([(run, case) for run, case, _, _ in profiled]),
        ),
    )


def _unit(longest_seconds: float) -> tuple[float, str]:
    """In which the longest step is a number of a few digits: how many of it a second has."""
    if longest_seconds >= 1:
        return 1.0, "seconds"
    return (1e3, "milliseconds") if longest_seconds >= 1e-3 else (1e6, "microseconds")


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _kernel_rows(runs: Sequence[Run], run: Run, profile: Profile) -> list[Row]:
    whole = profile.seconds_per_step
    return [
        row_of(
            *key_cells(runs, run, "")[1:],
            kernel.name,
            _spaced(kernel.kernel_class),
            (f"{kernel.calls_per_step:.4g}", kernel.calls_per_step),
            (format_latency(kernel.seconds_per_step), kernel.seconds_per_step),
            (
                format_share(kernel.seconds_per_step / whole) if whole else "",
                kernel.seconds_per_step / whole if whole else None,
            ),
        )
        for kernel in profile.longest_kernels
    ]
