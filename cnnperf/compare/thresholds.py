"""From which change on a metric counts, per case: the defaults, and a project's own in TOML.

    # cnnperf.toml, or the same tables below [tool.cnnperf] in pyproject.toml
    [metrics.train_seconds]
    threshold = 0.05                                # a change of 5 % counts
    [metrics.peak_memory_bytes]
    gate = true                                     # and fails the comparison
    [cases."*-cifar10-*".test_accuracy]
    margin = 0.01                                   # a loss of one point counts
    floor = 0.75                                    # below it nothing passes

Torch-free. Later tables win: a case's over all cases', an id over a pattern, yours over ours.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnnperf.errors import UsageError, one_of
from cnnperf.record.schema import describe_validation_error

NOISE_MULTIPLE = 3.0
"""A threshold is at least this many standard deviations of a machine's own noise."""

OWN_FILE = Path("cnnperf.toml")
PROJECT_FILE = Path("pyproject.toml")


class MetricSettings(BaseModel):
    """What a table of the TOML file may say of one metric."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    threshold: float | None = Field(default=None, gt=0, lt=1)
    margin: float | None = Field(default=None, gt=0, lt=0.5)
    floor: float | None = Field(default=None, ge=0, le=1)
    gate: bool | None = None


BY_RATIO = ("threshold", "gate")
BY_DIFFERENCE = ("margin", "floor", "gate")


@dataclass(frozen=True, kw_only=True)
class JudgedMetric:
    """How a metric is compared, whatever the case."""

    by_ratio: bool = True
    """Else by difference, as shares are that lie near 1."""
    seed_decides: bool = False
    """Whether a part of its spread comes from the seed, so that equal seeds are compared in pairs.
    A seed does not decide the time of a step: pairing times would only halve what is known of
    their spread (docs/verdicts.md)."""
    of_training: bool = False
    """Whether a shortened training says nothing of it."""
    may_be_missed: bool = False
    """Whether it is a time until something that a training need not reach: where others have one, a
    training without is later than all of them."""


JUDGED: dict[str, JudgedMetric] = {
    "train_seconds": JudgedMetric(),
    "images_per_second": JudgedMetric(),
    "test_accuracy": JudgedMetric(by_ratio=False, seed_decides=True, of_training=True),
    "test_f1_macro": JudgedMetric(by_ratio=False, seed_decides=True, of_training=True),
    "time_to_accuracy_seconds": JudgedMetric(
        seed_decides=True, of_training=True, may_be_missed=True
    ),
    "peak_memory_bytes": JudgedMetric(),
    "compile_seconds": JudgedMetric(),
    "energy_joules": JudgedMetric(),
    "latency_seconds_p50": JudgedMetric(),
    "inference_images_per_second": JudgedMetric(),
}
"""In the order of the tables. The last two are of suite `infer` alone."""

Tables = Mapping[str, Mapping[str, MetricSettings]]

DEFAULTS: dict[str, MetricSettings] = {
    "train_seconds": MetricSettings(threshold=0.03, gate=True),
    "images_per_second": MetricSettings(threshold=0.03, gate=True),
    "test_accuracy": MetricSettings(margin=0.005, gate=True),
    "test_f1_macro": MetricSettings(margin=0.005, gate=True),
    "time_to_accuracy_seconds": MetricSettings(threshold=0.10, gate=False),
    "peak_memory_bytes": MetricSettings(threshold=0.05, gate=False),
    "compile_seconds": MetricSettings(threshold=0.20, gate=False),
    "energy_joules": MetricSettings(threshold=0.05, gate=False),
    "latency_seconds_p50": MetricSettings(threshold=0.05, gate=True),
    "inference_images_per_second": MetricSettings(threshold=0.05, gate=True),
}


def _of_accuracy(
    *, margin: float | None = None, floor: float | None = None
) -> dict[str, MetricSettings]:
    settings = MetricSettings(margin=margin, floor=floor)
    return {"test_accuracy": settings, "test_f1_macro": settings}


DEFAULTS_OF_CASES: Tables = {
    # 10,000 images at 80 % have a standard deviation of 0.4 points by themselves.
    "*-cifar10-*": _of_accuracy(margin=0.01),
    # One of its 360 test images is 0.28 points.
    "*-digits-*": _of_accuracy(margin=0.03),
    # Floors: far below what each training reaches, far above what guessing does. Only trainings
    # that are known to get there have one; other recipes may be short on purpose.
    **{f"*-mnist-{size}-{engine}": _of_accuracy(floor=0.97)
       for size in (28, 224) for engine in ("eager", "fast")},
    **{f"*-cifar10-{size}-{recipe}{engine}": _of_accuracy(floor=0.55)
       for size in (28, 224) for recipe in ("", "augmented-", "report30-", "augmented30-")
       for engine in ("eager", "fast")},
    **{f"*-digits-28-{recipe}{engine}": _of_accuracy(floor=0.85)
       for recipe in ("", "brief-") for engine in ("eager", "fast")},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MetricRule:
    """What counts for one metric of one case."""

    threshold: float
    """A ratio's, as a fraction, or a difference's margin."""
    floor: float | None
    gate: bool

    def widened(self, noise: float | None) -> MetricRule:
        """For a machine whose own noise, the standard deviation of the logarithm, is larger."""
        if noise is None:
            return self
        threshold = max(self.threshold, math.expm1(NOISE_MULTIPLE * noise))
        return MetricRule(threshold=threshold, floor=self.floor, gate=self.gate)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The defaults with a project's own tables over them."""

    metrics: Mapping[str, MetricSettings] = field(default_factory=dict)
    cases: Tables = field(default_factory=dict)
    source: Path | None = None
    """The file that they come from; None where there is none."""

    def rule(self, case_id: str, metric: str) -> MetricRule:
        """What counts for this metric of this case."""
        merged: dict[str, Any] = {}
        for settings in self._layers(case_id, metric):
            merged |= settings.model_dump(exclude_none=True)
        return MetricRule(
            threshold=merged["threshold" if JUDGED[metric].by_ratio else "margin"],
            floor=merged.get("floor"),
            gate=merged["gate"],
        )

    def _layers(self, case_id: str, metric: str) -> Iterable[MetricSettings]:
        yield DEFAULTS[metric]
        yield from _of_case(DEFAULTS_OF_CASES, case_id, metric)
        if metric in self.metrics:
            yield self.metrics[metric]
        yield from _of_case(self.cases, case_id, metric)

    def check_cases(self, known: Iterable[str]) -> None:
        """Make sure that every case named here exists.

        Raises:
            UsageError: one does not; names the nearest.
        """
        ids = list(known)
        for pattern in self.cases:
            if not any(fnmatchcase(case_id, pattern) for case_id in ids):
                near = difflib.get_close_matches(pattern, dict.fromkeys(ids), n=1, cutoff=0.5)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise UsageError(
                    f"{self.source}: [cases]: there is no case {pattern!r}{hint}: `cnnperf list` "
                    "has them all"
                )


def _of_case(tables: Tables, case_id: str, metric: str) -> Iterable[MetricSettings]:
    """Those of patterns in their order, then that of the id itself."""
    patterns = [name for name in tables if name != case_id and fnmatchcase(case_id, name)]
    for name in [*patterns, case_id]:
        if metric in tables.get(name, {}):
            yield tables[name][metric]


def find_thresholds(config: Path | None, folder: Path) -> Thresholds:
    """The thresholds in force: of the file that was named, else of those that lie in a folder.

    Raises:
        UsageError: the file cannot be read, or says something that does not fit.
    """
    if config is not None:
        return _read(config)
    for name in (OWN_FILE, PROJECT_FILE):
        if (folder / name).is_file():
            return _read(folder / name)
    return Thresholds()


def _read(path: Path) -> Thresholds:
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    parents: tuple[str, ...] = ()
    if path.name == PROJECT_FILE.name:
        for parent in ("tool", "cnnperf"):
            content = _table(content, path, parents).get(parent, {})
            parents = (*parents, parent)
    return _parse(content, path, parents)


def _parse(content: Any, path: Path, parents: tuple[str, ...]) -> Thresholds:
    tables = _table(content, path, parents, ("metrics", "cases"), "key")
    metrics = _metrics(tables.get("metrics", {}), path, (*parents, "metrics"))
    cases = _table(tables.get("cases", {}), path, (*parents, "cases"))
    return Thresholds(
        metrics=metrics,
        cases={
            name: _metrics(value, path, (*parents, "cases", name)) for name, value in cases.items()
        },
        source=path if content else None,
    )


def _metrics(content: Any, path: Path, parents: tuple[str, ...]) -> dict[str, MetricSettings]:
    tables = _table(content, path, parents, JUDGED, "metric to judge")
    return {name: _settings(value, name, path, (*parents, name)) for name, value in tables.items()}


def _settings(content: Any, metric: str, path: Path, parents: tuple[str, ...]) -> MetricSettings:
    keys = BY_RATIO if JUDGED[metric].by_ratio else BY_DIFFERENCE
    _table(content, path, parents, keys, "key")
    try:
        return MetricSettings.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {describe_validation_error(error, *parents)}") from error


def _table(
    content: Any,
    path: Path,
    parents: tuple[str, ...],
    possible: Iterable[str] | None = None,
    kind: str = "",
) -> dict[str, Any]:
    """A TOML table of known keys."""
    place = f"{path}: [{'.'.join(parents)}]" if parents else str(path)
    if not isinstance(content, dict):
        raise UsageError(f"{place}: expected a table, found {content!r}")
    for key in content if possible is not None else ():
        if key not in (names := list(possible or ())):
            raise UsageError(f"{place}: {one_of(kind, key, names)}")
    return content
