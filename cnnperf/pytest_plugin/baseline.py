"""The gate inside a run: its record against a baseline, once everything is trained.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cnnperf.catalog.registry import all_cases
from cnnperf.compare.inputs import Side, load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Across, Rules, Words, find_rules
from cnnperf.compare.verdicts import Comparison
from cnnperf.errors import UsageError, printable
from cnnperf.record.schema import Record
from cnnperf.report.terminal.comparison import comparison_summary
from cnnperf.report.terminal.run import look_of, render
from cnnperf.run.session import RunSession


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A baseline and the rules by which a run is held to it."""

    base: Side
    rules: Rules

    @classmethod
    def open(
        cls, baseline: Path, root: Path, planned: Collection[str], across: Iterable[Across] = ()
    ) -> Gate:
        """Read everything before anything is trained.

        Args:
            baseline: the record to be held to; a calibration may lie beside it.
            root: pytest's root folder, where thresholds are looked for.
            planned: ids of the cases that are going to be trained.
            across: what may differ, since it is the question.

        Raises:
            UsageError: one of the files cannot be read, or does not fit.
        """
        base = load_side([baseline])
        if not any(base.cases[each].outcome != "skipped" for each in planned if each in base.cases):
            raise UsageError(
                f"{baseline} has none of this run's cases, so it cannot be their baseline; it has "
                f"{', '.join(map(printable, base.cases)) or 'no case at all'}"
            )
        words = Words(across="--cnnperf-across")
        rules = find_rules(root, [base], base=baseline, across=frozenset(across), words=words)
        return cls(base=base, rules=rules)

    def judge(self, record: Record, name: str, planned: Collection[str]) -> Comparison:
        """Hold a run to the baseline.

        A case of the baseline that still exists and was not asked for, by -k or by another tier, is
        left out; one that does not exist any more is missing.
        """
        exist = {case.id for case in all_cases()}
        expected = {
            case_id: case
            for case_id, case in self.base.cases.items()
            if case_id in planned or case_id not in exist
        }
        return judge(replace(self.base, cases=expected), Side.of(record, name), self.rules)


class GateHooks:
    """pytest's hooks of a run that is held to a baseline."""

    def __init__(self, run: RunSession, gate: Gate) -> None:
        self._run, self._gate = run, gate
        self._comparison: Comparison | None = None

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that passed, but is worse than its baseline or cannot be held to it.

        One that is out of time has not passed yet: its verdicts are shown and gate nothing.
        """
        run = self._run
        self._comparison = self._gate.judge(run.record, str(run.paths.record), run.plan.cases)
        passed = session.exitstatus == pytest.ExitCode.OK and not run.limit.reached
        if self._comparison.exit_code and passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)  # after the table of the results
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The verdicts."""
        if self._comparison is not None:
            terminalreporter.section("cnnperf: verdicts")
            shown = render(comparison_summary(self._comparison), **look_of(terminalreporter))
            terminalreporter.write(shown)
