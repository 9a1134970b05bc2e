"""From which change on a metric counts, per case: defaults, then a project's own in TOML.

    # cnnperf.toml, or the same tables below [tool.cnnperf] in pyproject.toml
    [metrics.train_seconds]
    threshold = 0.05                                # a change of 5 % counts
    [metrics.peak_memory_bytes]
    gate = true                                     # it fails the comparison
    [thresholds."*-cifar10-*".test_accuracy]
    margin = 0.01                                   # a loss of one point counts
    floor = 0.75                                    # a training below it fails

Precedence, from low to high: defaults, defaults of cases, `[metrics]`, patterns of `[thresholds]`,
and then an exact id of `[thresholds]`. The same file may define cases (`cnnperf.run.project`).
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnnperf.catalog.loops import Quality
from cnnperf.errors import UsageError, describe_validation_error, one_of
from cnnperf.record.files import naming_what_is_too_much, read_file
from cnnperf.record.metrics import Better

NOISE_MULTIPLE = 3.0
"""A threshold is at least this many standard deviations of the machine's noise."""

OWN_FILE = Path("cnnperf.toml")
PROJECT_FILE = Path("pyproject.toml")

MAX_CONFIG_BYTES = 4 * 2**20
"""Far more than a table for every case takes; TOML takes many times its size in memory."""


class MetricSettings(BaseModel):
    """One metric's table in the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    threshold: float | None = Field(default=None, gt=0, lt=1)
    margin: float | None = Field(default=None, gt=0)
    floor: float | None = None
    gate: bool | None = None


class ShareSettings(MetricSettings):
    """The table of a metric that is a share, such as accuracy."""

    margin: float | None = Field(default=None, gt=0, lt=0.5)
    floor: float | None = Field(default=None, ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class JudgedMetric:
    """How a metric is compared in every case."""

    better: Better
    defaults: MetricSettings
    """A `threshold` if the metric is compared by ratio; a `margin` if by difference, as shares
    near 1 are."""
    seed_decides: bool = False
    """Whether the seed causes a part of the spread, so that equal seeds are compared in pairs. It
    does not for the time of a step: pairs would only halve the known values (docs/verdicts.md)."""
    of_training: bool = False
    """Whether shortened trainings are left out."""
    may_be_missed: bool = False
    """Whether a training may never reach it. Such a training counts as later than all others."""
    unit: str | None = None
    """Unit of a quality of the user's; None for cnnperf's own metrics."""

    @property
    def by_ratio(self) -> bool:
        """Whether values are compared by ratio, else by difference."""
        return self.defaults.threshold is not None


def _by_ratio(
    threshold: float, *, gate: bool, better: Better = "lower", **flags: Any
) -> JudgedMetric:
    defaults = MetricSettings(threshold=threshold, gate=gate)
    return JudgedMetric(better=better, defaults=defaults, **flags)


def _share() -> JudgedMetric:
    return JudgedMetric(
        better="higher",
        defaults=ShareSettings(margin=0.005, gate=True),
        seed_decides=True,
        of_training=True,
    )


JUDGED: dict[str, JudgedMetric] = {
    "train_seconds": _by_ratio(0.03, gate=True),
    "images_per_second": _by_ratio(0.03, gate=True, better="higher"),
    "test_accuracy": _share(),
    "test_f1_macro": _share(),
    "time_to_accuracy_seconds": _by_ratio(
        0.10, gate=False, seed_decides=True, of_training=True, may_be_missed=True
    ),
    "peak_memory_bytes": _by_ratio(0.05, gate=False),
    "compile_seconds": _by_ratio(0.20, gate=False),
    "energy_joules": _by_ratio(0.05, gate=False),
    "scaling_efficiency": _by_ratio(0.03, gate=True, better="higher"),
    "latency_seconds_p50": _by_ratio(0.05, gate=True),
    "inference_images_per_second": _by_ratio(0.05, gate=True, better="higher"),
}
"""In the order of the tables. Only suite `infer` has the last two, and only cases on several
devices have an efficiency."""


def judged_as(metric: str, quality: Quality | None = None) -> JudgedMetric:
    """Return how a metric is compared in a case; a quality that the case declares has its own."""
    if quality is None:
        return JUDGED[metric]
    own = MetricSettings(margin=quality.margin, floor=quality.floor, gate=quality.gate)
    if metric in JUDGED:
        return replace(JUDGED[metric], defaults=own)
    return JudgedMetric(
        better=quality.better, defaults=own, seed_decides=True, of_training=True, unit=quality.unit
    )


DEFAULTS = {name: judged.defaults for name, judged in JUDGED.items()}

Tables = Mapping[str, Mapping[str, MetricSettings]]


def _of_accuracy(
    *, margin: float | None = None, floor: float | None = None
) -> dict[str, MetricSettings]:
    settings = MetricSettings(margin=margin, floor=floor)
    return {"test_accuracy": settings, "test_f1_macro": settings}


DEFAULTS_OF_CASES: Tables = {
    # The accuracy on 10,000 images at 80 % has a standard deviation of 0.4 points.
    "*-cifar10-*": _of_accuracy(margin=0.01),
    # One of the 360 test images is 0.28 points.
    "*-digits-*": _of_accuracy(margin=0.03),
    # Floors are far below what each training reaches, and far above guessing. Only recipes that
    # are known to reach theirs have one; others may be short on purpose.
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
    """From which change on one metric of one case counts."""

    threshold: float
    """A relative change as a fraction, or the margin of a difference."""
    floor: float | None
    gate: bool

    def widened(self, noise: float | None) -> MetricRule:
        """Return a rule no narrower than the noise, a standard deviation of the logarithm."""
        if noise is None:
            return self
        return replace(self, threshold=max(self.threshold, math.expm1(NOISE_MULTIPLE * noise)))


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """A project's own tables, over the defaults."""

    metrics: Mapping[str, MetricSettings] = field(default_factory=dict)
    cases: Tables = field(default_factory=dict)
    source: Path | None = None
    """The file that they come from, if any."""

    def rule(self, case_id: str, metric: str, quality: Quality | None = None) -> MetricRule:
        """Merge the tables that apply to this metric of this case."""
        judged = judged_as(metric, quality)
        merged: dict[str, Any] = {}
        for settings in self._layers(case_id, metric, judged.defaults):
            merged |= settings.model_dump(exclude_none=True)
        return MetricRule(
            threshold=merged["threshold" if judged.by_ratio else "margin"],
            floor=merged.get("floor"),
            gate=merged["gate"],
        )

    def _layers(
        self, case_id: str, metric: str, defaults: MetricSettings
    ) -> Iterator[MetricSettings]:
        yield defaults
        yield from _of_case(DEFAULTS_OF_CASES, case_id, metric)
        if metric in self.metrics:
            yield self.metrics[metric]
        yield from _of_case(self.cases, case_id, metric)

    def check_names(self, known: Iterable[str], qualities: Iterable[str]) -> None:
        """Check that every id and pattern of `[thresholds]` matches a case, and every metric.

        Raises:
            UsageError: one does not; the message has the nearest name.
        """
        ids, metrics = list(known), {*JUDGED, *qualities}
        tables = {"metrics": self.metrics}
        tables |= {f"thresholds.{pattern}": table for pattern, table in self.cases.items()}
        for place, table in tables.items():
            for metric in table:
                if metric not in metrics:
                    problem = one_of("metric to judge", metric, metrics)
                    raise UsageError(f"{self.source}: [{place}]: {problem}")
        for pattern in self.cases:
            if not any(fnmatchcase(case_id, pattern) for case_id in ids):
                near = difflib.get_close_matches(pattern, dict.fromkeys(ids), n=1, cutoff=0.5)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise UsageError(
                    f"{self.source}: [thresholds]: there is no case {pattern!r}{hint}: see "
                    "`cnnperf list`"
                )


def _of_case(tables: Tables, case_id: str, metric: str) -> Iterator[MetricSettings]:
    """Yield the settings of matching patterns in their order, then those of the id itself."""
    patterns = [name for name in tables if name != case_id and fnmatchcase(case_id, name)]
    for name in [*patterns, case_id]:
        if metric in tables.get(name, {}):
            yield tables[name][metric]


def find_thresholds(config: Path | None, folder: Path) -> Thresholds:
    """Read the thresholds of `config`, else of `cnnperf.toml` or `pyproject.toml` in a folder.

    Raises:
        UsageError: the file cannot be read, or has an unknown key or a wrong value.
    """
    found = find_tables(folder) if config is None else read_tables(config)
    if found is None or not found[1]:
        return Thresholds()
    path, content, parents = found
    cases = _table(content.get("thresholds", {}), path, (*parents, "thresholds"))
    return Thresholds(
        metrics=_metrics(content.get("metrics", {}), path, (*parents, "metrics")),
        cases={
            name: _metrics(value, path, (*parents, "thresholds", name))
            for name, value in cases.items()
        },
        source=path,
    )


TABLES = ("metrics", "thresholds", "recipes", "models", "datasets", "cases")
"""Keys of the file; the last four define cases."""

Found = tuple[Path, dict[str, Any], tuple[str, ...]]
"""A file, its content below `tool.cnnperf` or at the top, and the keys above."""


def find_tables(folder: Path) -> Found | None:
    """Read `cnnperf.toml` or the table `tool.cnnperf` of `pyproject.toml` in a folder.

    Raises:
        UsageError: the file cannot be read, or has an unknown key.
    """
    for name in (OWN_FILE, PROJECT_FILE):
        if (folder / name).is_file():
            return read_tables(folder / name)
    return None


@naming_what_is_too_much
def read_tables(path: Path) -> Found:
    """Read a file of settings; errors are those of `find_tables`."""
    try:
        text = read_file(path, MAX_CONFIG_BYTES, "name a TOML file with thresholds").decode()
        content: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    parents: tuple[str, ...] = ()
    if path.name == PROJECT_FILE.name:
        for parent in ("tool", "cnnperf"):
            content = _table(content, path, parents).get(parent, {})
            parents = (*parents, parent)
    return path, _table(content, path, parents, TABLES, "key"), parents


def _metrics(content: Any, path: Path, parents: tuple[str, ...]) -> dict[str, MetricSettings]:
    settings = {}
    for metric, value in _table(content, path, parents).items():
        place = (*parents, metric)
        judged = JUDGED.get(metric)  # None of a quality of the user's
        keys = ("threshold",) if judged is not None and judged.by_ratio else ("margin", "floor")
        for key in value if isinstance(value, dict) else ():
            if judged is None and key == "threshold":  # which no quality has
                problem = one_of("metric to judge", metric, JUDGED)
                raise UsageError(f"{path}: [{'.'.join(parents)}]: {problem}")
            if key not in (*keys, "gate"):
                near = difflib.get_close_matches(key, (*keys, "gate"), n=1, cutoff=0.6)
                raise UsageError(
                    f"{path}: [{'.'.join(place)}]: there is no key {key!r} (did you mean "
                    f"{(near or keys)[0]!r}?); possible: {', '.join((*keys, 'gate'))}"
                )
        table = _table(value, path, place)
        try:
            kind = MetricSettings if judged is None else type(judged.defaults)
            settings[metric] = kind.model_validate(table)
        except ValidationError as error:
            raise UsageError(f"{path}: {describe_validation_error(error, *place)}") from error
    return settings


def _table(
    content: Any,
    path: Path,
    parents: tuple[str, ...],
    known: Iterable[str] | None = None,
    kind: str = "",
) -> dict[str, Any]:
    """Check that a value is a table, with no other keys than the known ones if there are any."""
    place = f"{path}: [{'.'.join(parents)}]" if parents else str(path)
    if not isinstance(content, dict):
        raise UsageError(f"{place}: expected a table, found {content!r}")
    for key in content if known is not None else ():
        if key not in (known or ()):
            raise UsageError(f"{place}: {one_of(kind, key, known or ())}")
    return content
