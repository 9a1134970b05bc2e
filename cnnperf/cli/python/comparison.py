"""Read records, and compare them, from a script or a notebook.

from cnnperf import compare, load
comparison = compare("base.json", result)
print(comparison, comparison.exit_code)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from cnnperf.cli.python.result import TrainResult, as_html, as_text
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Words, find_rules
from cnnperf.compare.verdicts import Across, Comparison
from cnnperf.errors import UsageError, one_of
from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record

Comparable = Record | TrainResult | str | Path
"""A record, a result of `train`, or the path of a record."""


class ShownComparison(Comparison):
    """A comparison that `print` and notebooks show as `cnnperf compare` does."""

    def __str__(self) -> str:
        from cnnperf.report.terminal.comparison import comparison_summary
        from cnnperf.report.wording.comparison import shortened

        return as_text(comparison_summary(*shortened(self)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(str(self))


def load(path: str | Path) -> Record:
    """Read and check a record.

    Raises:
        UsageError: there is no record, or a field of it does not fit.
    """
    return load_record(path)


def compare(
    base: Comparable,
    new: Comparable,
    *,
    across: Across | Iterable[Across] = (),
    strict: bool = False,
    drop_flagged: bool = False,
    judge_shortened: bool = False,
    config: str | Path | None = None,
    calibration: str | Path | None = None,
) -> Comparison:
    """Judge `new` against `base`, as `cnnperf compare` does.

    Thresholds are those of `cnnperf.toml` in the current folder. The calibration of the machine is
    searched beside a base that is a file.

    Args:
        base: the reference.
        new: what is judged.
        across: what may differ, "hardware" or "software" or both.
        strict: whether an inconclusive comparison has exit code 4 instead of 0.
        drop_flagged: leave out disturbed repeats.
        judge_shortened: also judge the speed of shortened trainings.
        config: file of thresholds, instead of the search.
        calibration: file of the machine's noise, instead of the search.

    Returns:
        The verdicts; `exit_code` is that of the command.

    Raises:
        UsageError: a file cannot be read, or base has no case.
    """
    allowed = frozenset([across] if isinstance(across, str) else across)
    for each in allowed:
        if each not in get_args(Across):
            raise UsageError(one_of("value of across", str(each), get_args(Across)))
    sides = _side(base, "base"), _side(new, "new")
    rules = find_rules(
        Path.cwd(),
        sides,
        base=Path(base) if isinstance(base, str | Path) else None,
        config=None if config is None else Path(config),
        calibration=None if calibration is None else Path(calibration),
        across=allowed,
        strict=strict,
        drop_flagged=drop_flagged,
        judge_shortened=judge_shortened,
        words=Words(across='across="{}"'),
    )
    return ShownComparison.model_construct(**dict(judge(*sides, rules)))


def _side(given: Comparable, name: str) -> Side:
    if isinstance(given, TrainResult):
        return Side.of(given.record, name)
    if isinstance(given, Record):
        return Side.of(given, name)
    if isinstance(given, str | Path):
        return Side.of(load_record(given), str(given))
    raise UsageError(
        f"{name} is a {type(given).__name__}, expected a record, a result of train, or a path"
    )
