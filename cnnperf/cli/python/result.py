"""What `train` returns: a record of one case that shows, plots and saves itself."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnperf.errors import UsageError
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord, Metrics, Record, Repeat

if TYPE_CHECKING:
    import altair
    from rich.console import RenderableType

FRAMES = ("pandas", "polars")
"""Packages of `to_frame`, the preferred one first."""

LOG_WIDTH = 120
"""Least columns where there is no terminal, such as in a notebook."""


def as_text(renderable: RenderableType) -> str:
    """Return a table as text, as wide as the terminal."""
    from cnnperf.report.terminal.run import render

    width = shutil.get_terminal_size().columns
    if not (sys.stdout is not None and sys.stdout.isatty()):
        width = max(width, LOG_WIDTH)
    text = render(renderable, width=width, color=False)
    return "\n".join(line.rstrip() for line in text.splitlines())


def as_html(text: str) -> str:
    """Return a table of text as a notebook shows it."""
    return f'<pre style="white-space:pre;overflow-x:auto">{escape(text)}</pre>'


@dataclass(frozen=True, repr=False)
class TrainResult:
    """A trained case; `print` shows its table."""

    record: Record
    """As `pytest benchmarks` writes it, with the machine and this one case."""

    @property
    def case(self) -> CaseRecord:
        """The case with all its repeats."""
        return self.record.cases[0]

    @property
    def repeats(self) -> list[Repeat]:
        """The trainings, in the order of their seeds."""
        return self.case.repeats

    @property
    def metrics(self) -> Metrics:
        """The metrics of the training, or the median of each where there are several."""
        if len(self.repeats) == 1:
            return self.repeats[0].metrics
        medians = {name: self.case.median(name) for name in METRICS}
        if (peak := medians["peak_memory_bytes"]) is not None:
            medians["peak_memory_bytes"] = round(peak)
        return Metrics.model_validate(medians)

    @property
    def quality(self) -> dict[str, float]:
        """What a loop of the user's reported of the whole training, or the medians."""
        names = dict.fromkeys(name for repeat in self.repeats for name in repeat.quality)
        medians = {name: self.case.median(name) for name in names}
        return {name: value for name, value in medians.items() if value is not None}

    def save(self, path: str | Path) -> None:
        """Write the record, for `compare`, `load` and every command; replaces a file.

        Raises:
            UsageError: the file cannot be written.
        """
        from cnnperf.record.benchmark_json import write_benchmark_json

        write_benchmark_json(self.record, Path(path))

    def plot(self) -> altair.VConcatChart:
        """Draw losses, scores and your own metrics by epoch: each repeat thin, the median strong.

        Raises:
            UsageError: no training has two epochs.
        """
        from cnnperf.report.html.sections.learning import learning_chart

        return learning_chart(self.record)

    def to_frame(self) -> Any:
        """Return a row for each repeat: case, seed, metrics and qualities.

        A metric that no repeat has is left out.

        Returns:
            A DataFrame of pandas, or of polars where pandas is not installed.

        Raises:
            UsageError: neither is installed.
        """
        names = [name for name in (*METRICS, *self.quality) if self.case.values(name)]
        rows = [
            {
                "case": self.case.id,
                "seed": repeat.seed,
                **{name: repeat.value(name) for name in names},
            }
            for repeat in self.repeats
        ]
        for package in FRAMES:
            if importlib.util.find_spec(package) is not None:
                return importlib.import_module(package).DataFrame(rows)
        raise UsageError("to_frame needs pandas or polars: pip install pandas")

    def __str__(self) -> str:
        from cnnperf.report.terminal.run import run_summary

        return as_text(run_summary(self.record))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(str(self))
