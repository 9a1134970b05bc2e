"""What the runs ran on, field by field. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.compare.comparability import environment_changes
from cnnperf.record.metrics import ABSENT
from cnnperf.report.html.content import Column, Section, Table, capitalised
from cnnperf.report.html.sections.runs import Run, row_of
from cnnperf.report.terminal.run import flat_environment


def environment_section(runs: Sequence[Run]) -> Section:
    """A row a field that any run knows, a column a run."""
    found = [flat_environment(run.record.environment) for run in runs]
    fields = dict.fromkeys(
        field for flat in found for field, value in flat.items() if value != ABSENT
    )
    columns = [
        Column(name="field", label="field"),
        *(Column(name=run.label, label=run.label if len(runs) > 1 else "value") for run in runs),
    ]
    rows = [row_of(field, *(flat.get(field, ABSENT) for flat in found)) for field in fields]
    return Section(
        id="environment",
        title="Environment",
        paragraphs=[text for run in runs for text in _pooled(run)],
        tables=[
            Table(
                id="table-environment",
                caption="Hardware, software and settings; what could not be read is left out",
                columns=columns,
                rows=rows,
                is_closed=True,
            )
        ],
    )


def _pooled(run: Run) -> Iterator[str]:
    """Which files stand together, and in what they were not made alike; nothing of a single one."""
    first, *others = run.environments or (run.record.environment,)
    if not others:
        return
    yield f"{capitalised(run.label)} is made of {', '.join(run.files)}; below stands the first."
    changes = environment_changes([first], others, frozenset())
    if changes:
        fields = ", ".join(change.field for change in changes)
        yield f"In the files of {run.label} there differ: {fields}."
