"""The start of a run inside pytest, and its comparison with a baseline once all is trained."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.utils import safe_dumps
from rich.console import Console

from cnnperf.catalog.registry import all_cases
from cnnperf.compare.comparability import some
from cnnperf.compare.inputs import Side, load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules, Words, find_rules
from cnnperf.compare.verdicts import Across, Comparison
from cnnperf.errors import UsageError, internal_error, printable
from cnnperf.machine.nodes import find_nodes
from cnnperf.pytest_plugin.collect import case_id_of, prepare_collection
from cnnperf.pytest_plugin.state import (
    HEADER,
    SESSION,
    SETTINGS,
    STARTED,
    WROTE_RECORD,
    times_nothing,
    uncaptured,
)
from cnnperf.record.journal import choose_paths
from cnnperf.record.schema import Record
from cnnperf.record.writing import write_file
from cnnperf.report.terminal.comparison import comparison_summary
from cnnperf.report.terminal.console import replace_unencodable
from cnnperf.report.terminal.run import look_of, render
from cnnperf.report.wording.comparison import shortened
from cnnperf.run.header import header_lines, recorded_command
from cnnperf.run.plan import make_plan
from cnnperf.run.progress import choose_display
from cnnperf.run.session import RunSession
from cnnperf.run.stopping import interrupt_on_signals
from cnnperf.run.time_limit import TimeLimit

MAX_NAMED = 3
"""Most cases of a baseline that a sentence names."""


def begin_run(config: pytest.Config, case_ids: list[str]) -> None:
    """Plan the cases and look at the machine, so that a run that cannot work fails now.

    Raises:
        UsageError: a file, a device or an option does not fit.
    """
    tier, reason = prepare_collection(config)
    settings = config.stash[SETTINGS]
    plan = make_plan(case_ids, settings, tier, once=times_nothing(config))
    paths = choose_paths(config.getoption("benchmark_json"), config.rootpath, find_nodes().rank)
    gate = None
    if settings.baseline is not None:
        gate = Gate.open(settings.baseline, config.rootpath, plan.cases, settings.across)
    run = RunSession(settings, tier, plan, paths)
    asked = config.invocation_params
    run.command = recorded_command(asked.args, asked.dir)
    run.limit = TimeLimit(settings.max_minutes, config.stash[STARTED])
    left_behind = f"{run.paths.journal} has every finished training"
    config.add_cleanup(interrupt_on_signals(left_behind))
    reporter = config.pluginmanager.getplugin("terminalreporter")
    for stream in (sys.__stdout__, sys.__stderr__, reporter and reporter._tw._file):
        config.add_cleanup(replace_unencodable(stream))
    with uncaptured(config):
        run.display = choose_display(Console(), quiet=config.getoption("verbose", 0) < 0)
        run.display.preparing("cnnperf: looking at this machine and building each model once ...")
        try:
            run.look_at_machine()
        except BaseException:
            run.journal.discard()
            raise
        finally:
            run.display.close()
    config.pluginmanager.register(WriteGuard(config, run))
    benchmarks = config._benchmarksession  # type: ignore[attr-defined]
    benchmarks.save_json = partial(save_json, config, run)  # it would truncate the old file first
    config.stash[SESSION] = run  # only now: a run that cannot start must not write a record
    config.stash[HEADER] = header_lines(run, reason)
    if gate is not None:
        config.pluginmanager.register(GateHooks(run, gate))


def check_fixture(items: Iterable[pytest.Item]) -> None:
    """Check that the fixture `benchmark` of every case is pytest-benchmark's.

    Raises:
        UsageError: another plugin or a conftest.py has replaced it, so nothing would be recorded.
    """
    for item in items:
        found = getattr(item, "_fixtureinfo", None)
        fixtures = found.name2fixturedefs.get("benchmark") if found is not None else None
        if case_id_of(item) is None or not fixtures:
            continue
        home = fixtures[-1].func.__module__
        if not home.startswith("pytest_benchmark."):
            raise UsageError(
                f"{item.nodeid}: the fixture `benchmark` is that of {home}, not "
                f"pytest-benchmark's, so nothing would be recorded: run with -p no:{home}"
            )


def save_json(config: pytest.Config, run: RunSession, content: dict[str, Any]) -> None:
    """Write pytest-benchmark's file, unless a record is there and this run finished no training."""
    if run.keeps_old_record:
        return
    write_file(run.paths.record, safe_dumps(content, ensure_ascii=True, indent=4))
    config.stash[WROTE_RECORD] = True


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

        Pytest's root folder may hold thresholds, and the folder of the baseline a calibration.

        Raises:
            UsageError: a file cannot be read, or the baseline has none of the cases.
        """
        base = load_side([baseline], lean=True)
        if not any(base.cases[each].outcome != "skipped" for each in planned if each in base.cases):
            names = some(list(map(printable, base.cases)), MAX_NAMED)
            raise UsageError(
                f"{baseline} has none of this run's cases: choose another baseline, or one of its "
                f"cases with -k: {names or 'none'}"
            )
        words = Words(across="--cnnperf-across {}")
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
            shown = render(
                comparison_summary(*shortened(self._comparison)), **look_of(terminalreporter)
            )
            terminalreporter.write(shown)


class WriteGuard:
    """Reports where the results are if the record cannot be written, or cnnperf itself fails."""

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config, self._run = config, run

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Turn an error such as a full disk into a sentence that names the results.

        An error that leaves this hook ends Python with 1, as a regression does.
        """
        try:
            return (yield)
        except (OSError, UsageError) as error:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            self._tell(f"cnnperf: the record could not be written ({error})")
        except Exception as error:
            if not _is_ours(error):  # another plugin's, or pytest-benchmark's own comparison
                raise
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            self._tell(internal_error(error))
        return None

    def _tell(self, problem: str) -> None:
        self._run.journal.close()
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return
        journal = self._run.paths.journal
        where = f"the record is {self._run.paths.record}"
        if journal.exists():
            recover = f"`cnnperf recover {journal} -o FILE`"
            where = f"the journal {journal} has every finished training: {recover}"
        reporter.ensure_newline()
        reporter.write_line(f"{problem}; {where}", red=True)


def _is_ours(error: Exception) -> bool:
    """Return whether code of cnnperf failed; the first frame is the guard's own."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [str(frame.f_globals.get("__name__")) for frame in frames]
    return any(name.startswith("cnnperf.") for name in names[1:])
