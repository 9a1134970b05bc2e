"""Compare a run with a baseline once everything is trained (--cnnperf-baseline)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cnnperf.catalog.registry import all_cases
from cnnperf.compare.inputs import Side, load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules, Words, find_rules
from cnnperf.compare.verdicts import Across, Comparison
from cnnperf.errors import UsageError, printable
from cnnperf.record.schema import Record
from cnnperf.report.terminal.comparison import comparison_summary
from cnnperf.report.terminal.run import look_of, render
from cnnperf.run.session import RunSession


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A baseline and the rules of the comparison."""

    base: Side
    rules: Rules

    @classmethod
    def open(
        cls, baseline: Path, root: Path, planned: Collection[str], across: Iterable[Across] = ()
    ) -> Gate:
        """Read all files, before anything is trained.

        Args:
            baseline: the record to compare with; a calibration may lie beside it.
            root: pytest's root folder, which may hold thresholds.
            planned: ids of the cases of this run.
            across: what may differ between the two, because the comparison is about it.

        Raises:
            UsageError: a file cannot be read, or the baseline has none of the cases.
        """
        base = load_side([baseline])
        if not any(base.cases[each].outcome != "skipped" for each in planned if each in base.cases):
            raise UsageError(
                f"{baseline} has none of this run's cases: choose another baseline, or one of its "
                f"cases with -k: {', '.join(map(printable, base.cases)) or 'none'}"
            )
        words = Words(across="--cnnperf-across")
        rules = find_rules(root, [base], base=baseline, across=frozenset(across), words=words)
        return cls(base=base, rules=rules)

    def judge(self, record: Record, name: str, planned: Collection[str]) -> Comparison:
        """Compare a run with the baseline.

        A case of the baseline that this run did not select is left out; one that no longer exists
        counts as missing.
        """
        exist = {case.id for case in all_cases()}
        expected = {
            case_id: case
            for case_id, case in self.base.cases.items()
            if case_id in planned or case_id not in exist
        }
        return judge(replace(self.base, cases=expected), Side.of(record, name), self.rules)


class GateHooks:
    """pytest's hooks of a run with a baseline."""

    def __init__(self, run: RunSession, gate: Gate) -> None:
        self._run, self._gate = run, gate
        self._comparison: Comparison | None = None

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that is worse than its baseline or not comparable with it.

        A run that is out of time is incomplete: it shows verdicts, but they do not fail it.
        """
        run = self._run
        self._comparison = self._gate.judge(run.record, str(run.paths.record), run.plan.cases)
        passed = session.exitstatus == pytest.ExitCode.OK and not run.limit.reached
        if self._comparison.exit_code and passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)  # after the table of the results
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the verdicts."""
        if self._comparison is not None:
            terminalreporter.section("cnnperf: verdicts")
            shown = render(comparison_summary(self._comparison), **look_of(terminalreporter))
            terminalreporter.write(shown)
