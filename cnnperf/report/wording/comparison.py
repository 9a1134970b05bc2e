"""Put verdicts into words, once for the table, Markdown, annotations and JUnit.

Nothing here is escaped: whoever prints a text from a record escapes it for its format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cnnperf.compare.profile_change import tell_profile
from cnnperf.compare.thresholds import JUDGED
from cnnperf.compare.verdicts import (
    IMPROVEMENTS,
    REGRESSIONS,
    SEVERITY,
    CaseVerdicts,
    Comparison,
    MetricVerdict,
    Verdict,
)
from cnnperf.record.metrics import ABSENT, METRICS, show_value
from cnnperf.report.wording import counted

MAX_SHOWN_VALUE = 60
"""Characters of an environment's field that are shown whole; a CPU's list of features is longer."""


class Row(NamedTuple):
    """One line of what is shown: a metric of a case, or the case as a whole."""

    case: CaseVerdicts
    name: str | None
    """Name of the metric; None where the case as a whole was judged."""
    metric: MetricVerdict | None

    @property
    def verdict(self) -> Verdict:
        """The verdict on the metric, or on the case."""
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
        """What was judged: `train time`."""
        return "case" if self.name is None else label(self.name)

    @property
    def explanation(self) -> str:
        """The reason, and what would help; empty where the verdict needs neither."""
        return (self.case.reason or "") if self.metric is None else explain(self.metric)

    def details(self, sides: tuple[str, str]) -> str:
        """Return medians, change and explanation; for a speed also its disturbances and profile."""
        parts = [self.explanation]
        if self.name is not None and self.metric is not None:
            base, new = medians(self.name, self.metric)
            parts = [f"{sides[0]} {base}, {sides[1]} {new}", effect(self.metric), *parts]
        if self.name in SPEED_METRICS:
            notes = [each for each in asides(self.case, sides) if each.topic != "numerics"]
            parts += [f"{each.topic}: {each.text}" for each in notes]
        return "; ".join(filter(None, parts))


def rows(cases: Iterable[CaseVerdicts]) -> list[Row]:
    """Return every line to show: failed gates first, then by severity.

    A case that was judged as a whole (it has a reason of its own, or no metrics) has a line for
    that beside those of its metrics.
    """
    found: list[Row] = []
    for case in cases:
        if case.reason is not None or not case.metrics:
            found.append(Row(case, None, None))
        found += [Row(case, name, metric) for name, metric in case.metrics.items()]
    found.sort(key=lambda row: (not row.is_regression, SEVERITY.index(row.verdict), not row.gates))
    return found


MAX_CASES = 50
"""Cases that people are always shown; of more, only those that they should look at."""


def shortened(comparison: Comparison, fix: str = "cnnperf compare --all") -> tuple[Comparison, str]:
    """Return what people should read of a comparison, and a line on what is left out.

    Up to `MAX_CASES` cases stay as they are. Of more, those without a change go; the others come
    in the order of their importance, and the last of them go too.

    Args:
        comparison: with all cases.
        fix: the command that shows the others.
    """
    if len(comparison.cases) + len(comparison.new_cases) <= MAX_CASES:
        return comparison, ""
    changed = sorted(filter(_has_changed, comparison.cases), key=importance)
    shown, new = changed[:MAX_CASES], comparison.new_cases[:MAX_CASES]
    counts = {
        "more case": len(changed) - len(shown),
        "new case": len(comparison.new_cases) - len(new),
        "case": len(comparison.cases) - len(changed),
    }
    parts = [counted(count, noun) for noun, count in counts.items() if count]
    without = " without a change" * bool(counts["case"])
    line = f"not shown: {', '.join(parts)}{without} (`{fix}` shows all)" if parts else ""
    return comparison.model_copy(update={"cases": tuple(shown), "new_cases": new}), line


def importance(case: CaseVerdicts) -> tuple[bool, int, float]:
    """Return a key that sorts regressions first, then by severity, then by the largest change."""
    changes = [
        abs(math.log(metric.ratio) if metric.ratio else metric.difference or 0.0)
        for metric in case.metrics.values()
        if metric.gates
    ]
    return not case.is_regression, SEVERITY.index(case.verdict), -max(changes, default=0.0)


def _has_changed(case: CaseVerdicts) -> bool:
    others = (metric.verdict for metric in case.metrics.values())
    return case.verdict != "same" or any(each in REGRESSIONS | IMPROVEMENTS for each in others)


def where_they_part(base: str, new: str) -> tuple[str, str]:
    """Return two texts; of long ones only the words that the other does not have."""
    if max(len(base), len(new)) <= MAX_SHOWN_VALUE:
        return base, new
    first, second = base.split(), new.split()
    return (
        " ".join(["...", *(word for word in first if word not in second)]),
        " ".join(["...", *(word for word in second if word not in first)]),
    )


def label(metric_name: str) -> str:
    """Return a metric's name for people; a newer cnnperf's metric keeps its field's name."""
    return METRICS[metric_name].label if metric_name in METRICS else metric_name


def median(metric_name: str, value: float | None, unit: str | None = None) -> str:
    """Return a median with its unit; that of a quality of the user's must be given.

    >>> median("train_seconds", 20.04), median("mfu", None)
    ('20.0 s', '—')
    """
    if value is None:
        return ABSENT
    return show_value(metric_name, value, unit) if math.isfinite(value) else f"{value:.4g}"


def medians(metric_name: str, metric: MetricVerdict) -> tuple[str, str]:
    """Return both sides' medians with their numbers of values, base first: `20.0 s (n=5)`."""
    base, new = (
        median(metric_name, value, metric.unit) + f" (n={count})" * (value is not None)
        for value, count in ((metric.base, metric.n_base), (metric.new, metric.n_new))
    )
    return base, new


def effect(metric: MetricVerdict) -> str:
    """Return the change and its interval; empty where nothing was estimated.

    `ratio 1.052 (1.031 to 1.074)` or `+0.31 points (-0.12 to +0.74)`.
    """
    if metric.ratio is not None and math.isfinite(metric.ratio):
        return f"ratio {_ratio(metric.ratio)}{_interval(metric, _ratio)}"
    if metric.difference is not None and math.isfinite(metric.difference):
        if metric.unit is None:
            return f"{_points(metric.difference)} points{_interval(metric, _points)}"
        unit = f" {metric.unit}" if metric.unit != "1" else ""
        return f"{_signed(metric.difference)}{unit}{_interval(metric, _signed)}"
    return ""


def limit(metric_name: str, threshold: float, unit: str | None = None) -> str:
    """Return the smallest change that counts: `3 %`, `0.5 points` or `0.02 dB`."""
    if unit is not None:
        return show_value(metric_name, threshold, unit)
    judged = JUDGED.get(metric_name)
    return f"{100 * threshold:.3g} {'%' if judged is None or judged.by_ratio else 'points'}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 100 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+z.4g}"


def _points(fraction: float) -> str:
    return f"{fraction * 100:+z.2f}"


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


def explain(metric: MetricVerdict) -> str:
    """Return why the verdict is what it is and what would help; empty where it needs neither."""
    found = [metric.reason] if metric.reason else []
    if metric.verdict in REGRESSIONS and not metric.gates:
        found.append("does not gate")
    if metric.verdict == "inconclusive":
        if metric.rules_out_regression:
            found.append("a regression is ruled out")
        if (needed := metric.repeats_needed) is not None:
            found.append(f"about {counted(needed, 'repeat')} per side would settle it")
    return "; ".join(found)


SPEED_METRICS = ("train_seconds", "images_per_second")
"""The metrics that a profile and a disturbance explain."""


class Aside(NamedTuple):
    """One sentence on a case; it does not gate."""

    topic: str
    """`disturbed`, `numerics` or `profile`."""
    text: str
    doubtful: bool = False
    """Whether it is a reason to doubt the verdict."""


def asides(case: CaseVerdicts, sides: tuple[str, str]) -> Iterator[Aside]:
    """Yield every note on a case; `sides` are the names of base and new."""
    seen, (base, new) = case.contamination, sides
    if seen.base or seen.new:
        done = "dropped" if seen.dropped else "kept (cnnperf compare --drop-flagged drops them)"
        counts = f"{counted(seen.base, 'repeat')} of {base}, {seen.new} of {new}"
        yield Aside("disturbed", f"{counts} ({', '.join(seen.kinds)}): {done}", doubtful=True)
    for drift in case.drift:
        differs = drift.first_difference_step is not None
        yield Aside("numerics", drift.describe(sides), doubtful=differs)
    if (text := tell_profile(case)) is not None:
        yield Aside("profile", text)
