"""Hardware, software and settings of the runs, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.compare.comparability import environment_changes
from cnnperf.record.metrics import ABSENT
from cnnperf.report.html.content import Section, Table, capitalised, text_columns
from cnnperf.report.html.sections.runs import Run, row_of
from cnnperf.report.terminal.run import flat_environment


def environment_section(runs: Sequence[Run]) -> Section:
    """Build a table with a row for each known field and a column for each run."""
    found = [flat_environment(run.record.environment) for run in runs]
    fields = dict.fromkeys(
        field for flat in found for field, value in flat.items() if value != ABSENT
    )
    labels = {run.label: run.label if len(runs) > 1 else "value" for run in runs}
    table = Table(
        id="table-environment",
        caption="Hardware, software and settings; fields that could not be read are left out",
        columns=text_columns(field="field", **labels),
        rows=[row_of(field, *(flat.get(field, ABSENT) for flat in found)) for field in fields],
        is_closed=True,
    )
    paragraphs = [text for run in runs for text in _pooled(run)]
    return Section(id="environment", title="Environment", paragraphs=paragraphs, tables=[table])


def _pooled(run: Run) -> Iterator[str]:
    """Name the files of a pooled run, and the fields in which they differ."""
    first, *others = run.environments or (run.record.environment,)
    if not others:
        return
    yield f"{capitalised(run.label)} pools {', '.join(run.files)}; the table shows the first."
    if changes := environment_changes([first], others, frozenset()):
        fields = ", ".join(change.field for change in changes)
        yield f"The files of {run.label} differ in: {fields}."
