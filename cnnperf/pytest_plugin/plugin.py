"""pytest's hooks: options, the fixtures of benchmarks, the header, the summary and the record.

    pytest benchmarks --benchmark-json=reports/run.json

Every pytest run loads this module by its entry point, so it imports nothing large and prints
nothing unless a test requests a case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from cnnperf.errors import UsageError
from cnnperf.pytest_plugin.collect import (
    NO_CASES,
    case_id_of,
    cases_of,
    check_plugins,
    prepare_collection,
    suite_of,
    take_tables,
)
from cnnperf.pytest_plugin.state import (
    BAD_USAGE,
    DESELECTED,
    HEADER,
    KEPT_JOURNAL,
    SESSION,
    SETTINGS,
    STARTED,
    TIER,
    WROTE_RECORD,
    is_xdist,
    is_xdist_worker,
    only_shows,
    skips_benchmarks,
    times_nothing,
    uncaptured,
    why_no_verdict,
)
from cnnperf.run.settings import add_options, resolve

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from cnnperf.record.schema import CaseRecord
    from cnnperf.run.plan import AnyPlanned

PARALLEL = (
    "cnnperf: parallel or repeated trainings disturb each other: run without -n, -d, --tx and -f"
)
"""Why nothing is trained under pytest-xdist."""

NOTHING_FAILED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
"""pytest's exit codes of a run without failures; the second if every test was skipped."""

TrainCase = Callable[["AnyPlanned"], "CaseRecord"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the options; a wrong value ends pytest with a message."""
    config.addinivalue_line(
        "markers",
        "cnnperf(suite='train'): suite of a test's cases: train, peers, sweep, infer or harness",
    )
    config.stash[SETTINGS] = resolve(config)
    if is_xdist(config) and not is_xdist_worker():
        config.pluginmanager.register(ParallelRun(config))
    config.stash[STARTED] = time.monotonic()


# --- collecting -------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before pytest applies the marks that name cases
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize every test that requests `cnnperf_case` by the ids of its cases."""
    if "cnnperf_case" not in metafunc.fixturenames:
        return
    tables = take_tables(metafunc.definition)
    if BAD_USAGE in metafunc.config.stash:  # reported already
        metafunc.parametrize("cnnperf_case", [NO_CASES])
        return
    try:
        tier, _ = prepare_collection(metafunc.config)
        ids = [case.id for case in cases_of(metafunc.definition, tables, tier)]
    except UsageError as error:  # pytest shows this kind without a traceback
        metafunc.config.stash[BAD_USAGE] = True
        raise pytest.Collector.CollectError(f"cnnperf: {error}") from None
    if ids:
        metafunc.parametrize("cnnperf_case", ids, indirect=True, ids=ids)
    else:
        suite = suite_of(metafunc.definition)
        why = f"tier {tier} has no case of suite {suite}: try --cnnperf-tier=full"
        nothing = pytest.param(NO_CASES, marks=pytest.mark.skip(why), id=NO_CASES)
        metafunc.parametrize("cnnperf_case", [nothing], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests without a case in this tier, unless no test has one."""
    idle = [item for item in items if case_id_of(item) == NO_CASES]
    if idle and any(case_id_of(item) not in (None, NO_CASES) for item in items):
        items[:] = [item for item in items if item not in idle]
        config.hook.pytest_deselected(items=idle)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember the cases that -k and -m left out, for the message if none is left."""
    for item in items:
        case_id = case_id_of(item)
        if case_id not in (None, NO_CASES):
            item.config.stash.setdefault(DESELECTED, set()).add(case_id)


@pytest.hookimpl(tryfirst=True)  # the terminal shows the header in this hook
def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the run; whatever would make it fail is found before training."""
    config = session.config
    settings = config.stash[SETTINGS]
    ids = [case_id_of(item) for item in session.items]
    planned_ids = [case_id for case_id in ids if case_id not in (None, NO_CASES)]
    if not session.items and DESELECTED in config.stash:
        from cnnperf.run.header import nothing_selected

        config.stash[HEADER] = [nothing_selected(config.stash[TIER][0], config.stash[DESELECTED])]
    if only_shows(config):
        return
    baseline = config.getoption("cnnperf_baseline") or (any(ids) and settings.baseline)
    reason = why_no_verdict(config, bool(planned_ids))
    # Whoever asks for a gate must not pass without one; for pytest-xdist's workers see ParallelRun.
    if baseline and reason is not None and not is_xdist(config):
        told = f"cnnperf: this run could not be compared with the baseline {baseline}: {reason}"
        raise pytest.UsageError("\n".join([told, *config.stash.get(HEADER, [])]))
    if not planned_ids:
        return
    if not config.pluginmanager.hasplugin("pytest-benchmark"):  # the session that it registers
        raise pytest.UsageError(
            "cnnperf: pytest-benchmark, which times trainings, is not loaded: install it, and run "
            "without -p no:benchmark"
        )
    if not skips_benchmarks(config) and not is_xdist(config):
        from cnnperf.pytest_plugin.start import begin_run, check_fixture

        try:
            check_fixture(session.items)
            check_plugins(config, session.items)
            begin_run(config, planned_ids)
        except UsageError as error:
            raise pytest.UsageError(f"cnnperf: {error}") from None


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Show the header: machine, tier, amount of work."""
    return config.stash.get(HEADER, [])


# --- training ---------------------------------------------------------------------------------


@pytest.fixture
def cnnperf_case(request: pytest.FixtureRequest) -> AnyPlanned:
    """A case of the tier with the options of this run applied; the test runs once for each."""
    from cnnperf.catalog.registry import get_case
    from cnnperf.run.plan import plan_case

    config = request.config
    if SESSION not in config.stash:  # --benchmark-skip, pytest-xdist: nothing is trained
        return plan_case(get_case(request.param), config.stash[SETTINGS])
    return config.stash[SESSION].plan.cases[request.param]


@pytest.fixture
def cnnperf_train(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> TrainCase:
    """A function that trains every repeat of `cnnperf_case` and returns the case's record.

    The test fails with one line if a training fails, and is skipped if the data are missing.
    """
    config = request.config
    if is_xdist(config):
        benchmark.skipped = True  # else pytest-benchmark warns that nothing was timed
        pytest.skip(PARALLEL)

    def train(case: AnyPlanned) -> CaseRecord:
        from cnnperf.pytest_plugin.timing import train_planned

        run = config.stash[SESSION]
        if run.plan.cases.get(case.id) != case:
            pytest.fail(
                f"case {case.id} is not planned in this run: pass cnnperf_case to cnnperf_train, "
                "unchanged",
                pytrace=False,
            )
        with uncaptured(config):
            try:
                return train_planned(run, case, benchmark)
            except UsageError as error:  # the journal cannot be written: nothing more can be kept
                pytest.exit(f"cnnperf: {error}", returncode=pytest.ExitCode.USAGE_ERROR)

    return train


# --- the record -------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Remove clock rates: they change all the time, and pytest-benchmark compares exactly.

    It calls this before it collects tests, so this affects runs without cases, too.
    """
    if config.stash[SETTINGS].anonymous and machine_info.get("node"):
        from cnnperf.record.anonymous import anonymous_name

        machine_info["node"] = anonymous_name(machine_info["node"])
    cpu = machine_info.get("cpu")
    if isinstance(cpu, dict):
        for name in [name for name in cpu if name.startswith(("hz_actual", "hz_advertised"))]:
            del cpu[name]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the record to pytest-benchmark's file."""
    if SESSION in config.stash:
        from cnnperf.record.schema import record_as_json

        output_json["cnnperf"] = record_as_json(config.stash[SESSION].record)


@pytest.hookimpl(trylast=True)  # after pytest-benchmark has written, before the summary
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record if pytest-benchmark wrote no file, and close the journal."""
    config = session.config
    if BAD_USAGE in config.stash:  # pytest counts a collection error as an interruption
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
    if SESSION not in config.stash:
        return
    from cnnperf.record.benchmark_json import write_benchmark_json
    from cnnperf.run.time_limit import EXIT_OUT_OF_TIME

    run = config.stash[SESSION]
    wanted = run.record.cases and not times_nothing(config)
    if wanted and WROTE_RECORD not in config.stash and not run.keeps_old_record:
        write_benchmark_json(run.record, run.paths.record)
        config.stash[WROTE_RECORD] = True
    written = WROTE_RECORD in config.stash
    config.stash[KEPT_JOURNAL] = run.close(is_written=written or not wanted, drop_resumed=written)
    if run.limit.reached and session.exitstatus in NOTHING_FAILED:
        session.exitstatus = EXIT_OUT_OF_TIME if run.trained else pytest.ExitCode.USAGE_ERROR


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the results and where they are."""
    config = terminalreporter.config
    if SESSION not in config.stash:
        return
    from cnnperf.report.terminal.run import look_of, render, run_summary, where_traces_are
    from cnnperf.run.header import fallback_line, journal_lines

    run = config.stash[SESSION]
    terminalreporter.section("cnnperf")
    terminalreporter.write(render(run_summary(run.record), **look_of(terminalreporter)))
    if WROTE_RECORD in config.stash:
        terminalreporter.write_line(f"record: {run.paths.record}")
    elif run.keeps_old_record:
        terminalreporter.write_line(
            f"{run.paths.record} is that of an earlier run: this one finished no training"
        )
    if config.stash.get(KEPT_JOURNAL, False):
        for line in journal_lines(run, config.invocation_params.args):
            terminalreporter.write_line(line)
    traces = where_traces_are(run.record, run.settings.profile)
    if traces is not None:
        terminalreporter.write_line(traces)
    fell_back = fallback_line(run)
    if fell_back is not None:
        terminalreporter.write_line(fell_back, red=True)


class ParallelRun:
    """pytest's hooks of pytest-xdist's controller: say that nothing was trained or compared."""

    def __init__(self, config: pytest.Config) -> None:
        self._asked = config.getoption("cnnperf_baseline") is not None
        self._baseline = config.stash[SETTINGS].baseline is not None
        self._skipped = 0

    @property
    def _gates(self) -> bool:
        return self._asked or (self._baseline and self._skipped > 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the cases that a worker skipped."""
        self._skipped += PARALLEL in str(report.longrepr)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that was asked to compare cases and trained none."""
        if self._gates and session.exitstatus in NOTHING_FAILED:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the reason, which pytest shows only with -rs."""
        if self._skipped or self._gates:
            cases = "1 case was" if self._skipped == 1 else f"{self._skipped} cases were"
            more = "; nothing was compared with the baseline" if self._gates else ""
            text = f"{PARALLEL} ({cases} not trained{more})"
            terminalreporter.write_line(text, yellow=not self._gates, red=self._gates)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the journal if a run ended early."""
    if SESSION in config.stash:
        config.stash[SESSION].journal.close()
