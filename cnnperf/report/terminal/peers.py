"""How many times faster `fast` trains than other people's loops: made of a record alone.

Torch-free. A table for each model, data set and recipe of the suite `peers`, in it a row for each
engine; images per second are what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.record.schema import CaseRecord, Record

YARDSTICK = "fast"
"""The engine that the others are compared with."""

LEGEND = (
    "fast is: images/s of the engine fast over images/s of this one; reading the data set, and "
    "what fast does with it once, are in train time and not in images/s"
)

COLUMNS = ("images_per_second", "train_seconds", "test_accuracy", "mfu")


def peer_tables(record: Record) -> Iterator[Text | Table]:
    """A heading and a table a group; nothing where no peers were trained."""
    groups = peer_groups(record)
    for group, cases in groups.items():
        yield Text(printable(f"{group}: engine against engine"), style="bold")
        yield _table(cases)
    if groups:
        yield Text(LEGEND, style="dim")


def peer_groups(record: Record) -> dict[str, list[CaseRecord]]:
    """Cases that differ in the engine alone, the fastest first, without a figure last."""
    groups: dict[str, list[CaseRecord]] = {}
    for case in record.cases:
        if case.suite == "peers":
            group = f"{case.model}, {case.dataset}, {case.resolution} pixels, recipe {case.recipe}"
            groups.setdefault(group, []).append(case)
    return {
        group: sorted(cases, key=_images_per_second, reverse=True)
        for group, cases in groups.items()
    }


def yardstick_of(cases: list[CaseRecord]) -> CaseRecord | None:
    """The case of a group that the others are compared with."""
    return next((case for case in cases if case.engine == YARDSTICK), None)


def _table(cases: list[CaseRecord]) -> Table:
    """A row an engine."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("engine", no_wrap=True)
    table.add_column(f"{YARDSTICK} is", justify="right", no_wrap=True)
    for name in COLUMNS:
        table.add_column(METRICS[name].label, justify="right", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    yardstick = yardstick_of(cases)
    for case in cases:
        table.add_row(
            Text(printable(case.engine)),
            _comparison(yardstick, case),
            *(METRICS[name].show(case.median(name)) for name in COLUMNS),
            ", ".join(sorted({repeat.precision for repeat in case.repeats})) or ABSENT,
        )
    return table


def _comparison(yardstick: CaseRecord | None, case: CaseRecord) -> str:
    """How many times faster the yardstick is; why not, where the case did not pass."""
    if case.outcome != "passed":
        return case.outcome
    ratio = speed_ratio(yardstick, case)
    return ABSENT if ratio is None else f"{ratio:.2f} x"


def speed_ratio(yardstick: CaseRecord | None, case: CaseRecord) -> float | None:
    """The yardstick's images per second over the case's, by the medians of both."""
    if yardstick is None or yardstick.outcome != "passed":
        return None
    ours, theirs = _images_per_second(yardstick), _images_per_second(case)
    return ours / theirs if ours and theirs else None


def _images_per_second(case: CaseRecord) -> float:
    """The median, 0 where there is none."""
    return case.median("images_per_second") or 0.0
