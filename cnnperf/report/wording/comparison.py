"""How a verdict is put into words, once for the table, Markdown, annotations and JUnit.

Torch-free. Nothing here is escaped: text from records goes through as it is, and whoever prints it
escapes it for where it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cnnperf.compare.verdicts import REGRESSIONS, SEVERITY, CaseVerdicts, MetricVerdict, Verdict
from cnnperf.record.metrics import ABSENT, METRICS

MAX_SHOWN_VALUE = 60
"""Characters of a field of the environment: a CPU's list of features is longer."""


class Row(NamedTuple):
    """One line of what is shown: a metric of a case, or the case as a whole."""

    case: CaseVerdicts
    name: str | None
    """Of the metric; None where the case as a whole was judged."""
    metric: MetricVerdict | None

    @property
    def verdict(self) -> Verdict:
        """The metric's, or the case's own."""
        return self.case.verdict if self.metric is None else self.metric.verdict

    @property
    def gates(self) -> bool:
        """Whether a regression here counts."""
        return self.metric is None or self.metric.gates

    @property
    def is_regression(self) -> bool:
        """Whether this line fails the gate."""
        return self.gates and self.verdict in REGRESSIONS

    @property
    def subject(self) -> str:
        """What was judged, as in `train time`."""
        return "case" if self.name is None else label(self.name)

    @property
    def explanation(self) -> str:
        """Why, and what would help; empty where the verdict needs no words."""
        return (self.case.reason or "") if self.metric is None else explain(self.metric)


def where_they_part(base: str, new: str) -> tuple[str, str]:
    """Two long lists of words without those that both have."""
    if max(len(base), len(new)) <= MAX_SHOWN_VALUE:
        return base, new
    first, second = base.split(), new.split()
    return (
        " ".join(["...", *(word for word in first if word not in second)]),
        " ".join(["...", *(word for word in second if word not in first)]),
    )


def label(metric_name: str) -> str:
    """A metric's name for people."""
    return METRICS[metric_name].label if metric_name in METRICS else metric_name


def median(metric_name: str, value: float | None, count: int) -> str:
    """A median with the number of values that it rests on.

    >>> median("train_seconds", 20.04, 5), median("mfu", None, 0)
    ('20.0 s (n=5)', '—')
    """
    if value is None:
        return ABSENT
    metric = METRICS.get(metric_name)
    shown = metric.show(value) if metric and math.isfinite(value) else f"{value:.4g}"
    return f"{shown} (n={count})"


def medians(metric_name: str, verdict: MetricVerdict) -> tuple[str, str]:
    """Both sides' medians, base first."""
    return (
        median(metric_name, verdict.base, verdict.n_base),
        median(metric_name, verdict.new, verdict.n_new),
    )


def effect(metric: MetricVerdict) -> str:
    """What changed and how sure that is; empty where nothing was estimated.

    As in `ratio 1.052 (1.031 to 1.074)` or `+0.31 points (-0.12 to +0.74)`.
    """
    if metric.ratio is not None and math.isfinite(metric.ratio):
        return f"ratio {_ratio(metric.ratio)}{_interval(metric, _ratio)}"
    if metric.difference is not None and math.isfinite(metric.difference):
        return f"{_points(metric.difference)} points{_interval(metric, _points)}"
    return ""


def explain(metric: MetricVerdict) -> str:
    """Why the verdict is what it is and what would help; empty where it needs no words."""
    return "; ".join(filter(None, _explanations(metric)))


def rows(cases: Iterable[CaseVerdicts]) -> list[Row]:
    """Every line there is to show, what fails a gate first, then the gravest.

    A case that was judged as a whole (it has a reason of its own, or no metrics) has a line for
    that beside those of its metrics.
    """
    found: list[Row] = []
    for case in cases:
        if case.reason is not None or not case.metrics:
            found.append(Row(case, None, None))
        found += [Row(case, name, metric) for name, metric in case.metrics.items()]
    return sorted(found, key=_gravity)


def by_severity(
    cases: Iterable[CaseVerdicts],
) -> list[tuple[CaseVerdicts, str, MetricVerdict]]:
    """The metrics among `rows`."""
    return [
        (case, name, metric)
        for case, name, metric in rows(cases)
        if name is not None and metric is not None
    ]


def _gravity(row: Row) -> tuple[bool, int, bool]:
    return not row.is_regression, SEVERITY.index(row.verdict), not row.gates


def _explanations(metric: MetricVerdict) -> Iterator[str | None]:
    yield metric.reason
    if metric.verdict in REGRESSIONS and not metric.gates:
        yield "gates nothing"
    if metric.verdict == "inconclusive":
        if metric.rules_out_regression:
            yield "a regression is ruled out"
        if metric.repeats_needed is not None:
            plural = "" if metric.repeats_needed == 1 else "s"
            yield f"about {metric.repeats_needed:,} repeat{plural} a side would settle it"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"


def _points(value: float) -> str:
    """A difference of two fractions in percentage points."""
    return f"{value * 100:+z.2f}"


def _interval(metric: MetricVerdict, show: Callable[[float], str]) -> str:
    low, high = (
        None if end is None or not math.isfinite(end) else show(end)
        for end in (metric.low, metric.high)
    )
    if low is None and high is None:
        return ""
    if low is None:
        return f" ({high} or less)"
    return f" ({low} or more)" if high is None else f" ({low} to {high})"
