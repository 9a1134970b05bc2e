"""The pytest plugin: options, the benchmarks' fixtures, the header, the summary and the record.

    pytest benchmarks --benchmark-json=reports/run.json

It is loaded into every pytest run by its entry point, so it costs nothing, and prints nothing,
until a test asks for a case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from cnnperf.errors import UsageError
from cnnperf.pytest_plugin.collect import NO_CASES, case_id_of, prepare_collection, suite_of
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
    skips_benchmarks,
    times_nothing,
    uncaptured,
)
from cnnperf.run.settings import add_options, resolve

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from cnnperf.catalog.specs import Case
    from cnnperf.record.schema import CaseRecord

SIDE_BY_SIDE = "cnnperf: trainings side by side would slow each other: run without -n"
"""Why pytest-xdist's processes train nothing."""

ALL_WELL = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
"""pytest's exit codes of a run in which nothing failed; the second where every test was skipped."""

TrainCase = Callable[["Case"], "CaseRecord"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the settings: a value that does not fit ends pytest with a sentence."""
    config.addinivalue_line(
        "markers",
        "cnnperf(suite='train'): the cases a test is for: train, peers, sweep, infer or harness",
    )
    settings = config.stash[SETTINGS] = resolve(config)
    if settings.baseline is not None and is_xdist(config):
        raise pytest.UsageError(
            "cnnperf: --cnnperf-baseline holds a run to trainings, and with -n there are none, "
            "since they would slow each other: run without -n"
        )
    config.stash[STARTED] = time.monotonic()


# --- collecting -------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for `cnnperf_case` its cases of the tier, by their ids."""
    if "cnnperf_case" not in metafunc.fixturenames:
        return
    if BAD_USAGE in metafunc.config.stash:  # said once, not for every module
        metafunc.parametrize("cnnperf_case", [NO_CASES])
        return
    from cnnperf.catalog.registry import all_cases

    try:
        tier, _ = prepare_collection(metafunc.config)
        suite = suite_of(metafunc.definition)
    except UsageError as error:  # pytest shows this kind without a traceback
        metafunc.config.stash[BAD_USAGE] = True
        raise pytest.Collector.CollectError(f"cnnperf: {error}") from None
    ids = [case.id for case in all_cases(tier, suite)]
    if ids:
        metafunc.parametrize("cnnperf_case", ids, indirect=True, ids=ids)
    else:
        why = f"no case of suite {suite} in tier {tier}: say --cnnperf-tier=full"
        nothing = pytest.param(NO_CASES, marks=pytest.mark.skip(why), id=NO_CASES)
        metafunc.parametrize("cnnperf_case", [nothing], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that have no case in this tier, where others have one."""
    idle = [item for item in items if case_id_of(item) == NO_CASES]
    if idle and any(case_id_of(item) not in (None, NO_CASES) for item in items):
        items[:] = [item for item in items if item not in idle]
        config.hook.pytest_deselected(items=idle)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember which cases -k and -m left out, for a run that has none left."""
    for item in items:
        case_id = case_id_of(item)
        if case_id not in (None, NO_CASES):
            item.config.stash.setdefault(DESELECTED, set()).add(case_id)


@pytest.hookimpl(tryfirst=True)  # the terminal asks for the header in this very hook
def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the plan, and find before training starts what would make it fail."""
    config = session.config
    ids = [case_id_of(item) for item in session.items]
    planned_ids = [case_id for case_id in ids if case_id not in (None, NO_CASES)]
    if not session.items and DESELECTED in config.stash:
        from cnnperf.run.header import nothing_selected

        config.stash[HEADER] = [nothing_selected(config.stash[TIER][0], config.stash[DESELECTED])]
    if not planned_ids or config.option.collectonly:
        return
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "cnnperf: trainings are timed by pytest-benchmark, which is not loaded: install it, "
            "and run without -p no:benchmark"
        )
    if not skips_benchmarks(config) and not is_xdist(config):
        from cnnperf.pytest_plugin.start import begin_run

        try:
            begin_run(config, planned_ids)
        except UsageError as error:
            raise pytest.UsageError(f"cnnperf: {error}") from None


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The header: machine, tier, and how much work lies ahead."""
    return config.stash.get(HEADER, [])


# --- training ---------------------------------------------------------------------------------


@pytest.fixture
def cnnperf_case(request: pytest.FixtureRequest) -> Case:
    """One case of the tier; a test that asks for it runs once for each."""
    from cnnperf.catalog.registry import get_case

    return get_case(request.param)


@pytest.fixture
def cnnperf_train(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> TrainCase:
    """A function that trains a case as often as the run wants and returns its record.

    The test fails with one line when a worker does; it is skipped when the data are not there.
    """
    config = request.config
    if is_xdist(config):
        benchmark.skipped = True  # else pytest-benchmark warns that nothing was timed
        pytest.skip(SIDE_BY_SIDE)

    def train(case: Case) -> CaseRecord:
        from cnnperf.pytest_plugin.timing import train_planned

        run = config.stash[SESSION]
        if case.id not in run.plan.cases:
            pytest.fail(
                f"case {case.id} is not part of this run: only what the fixture cnnperf_case "
                "gives can be trained",
                pytrace=False,
            )
        with uncaptured(config):
            try:
                return train_planned(run, run.plan.cases[case.id], benchmark)
            except UsageError as error:  # the disk refuses the journal: nothing more can be kept
                pytest.exit(f"cnnperf: {error}", returncode=pytest.ExitCode.USAGE_ERROR)

    return train


# --- the record -------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Leave only stable identity, which pytest-benchmark compares to the letter.

    It asks before any test is known, so this holds for runs without cases too.
    """
    from cnnperf.pytest_plugin.timing import describe_machine

    describe_machine(machine_info)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the record into pytest-benchmark's file."""
    if SESSION in config.stash:
        from cnnperf.record.schema import record_as_json

        output_json["cnnperf"] = record_as_json(config.stash[SESSION].record)
        config.stash[WROTE_RECORD] = config.getoption("benchmark_json") is not None


@pytest.hookimpl(trylast=True)  # after pytest-benchmark has written, before the summary
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record where pytest-benchmark had nothing to write, and close the journal."""
    config = session.config
    if BAD_USAGE in config.stash:  # pytest calls a collection error an interruption
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
    if SESSION not in config.stash:
        return
    from cnnperf.record.benchmark_json import write_benchmark_json
    from cnnperf.run.time_limit import EXIT_OUT_OF_TIME

    run = config.stash[SESSION]
    if not config.stash.get(WROTE_RECORD, False) and not times_nothing(config):
        write_benchmark_json(run.record, run.paths.record)
        config.stash[WROTE_RECORD] = True
    config.stash[KEPT_JOURNAL] = run.close()
    if run.limit.reached and session.exitstatus in ALL_WELL:
        session.exitstatus = EXIT_OUT_OF_TIME if run.trained else pytest.ExitCode.USAGE_ERROR


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The results table, and where the results are."""
    config = terminalreporter.config
    if SESSION not in config.stash:
        _tell_of_xdist(terminalreporter)
        return
    from cnnperf.report.terminal.run import look_of, render, run_summary, where_traces_are
    from cnnperf.run.header import journal_lines

    run = config.stash[SESSION]
    terminalreporter.section("cnnperf")
    terminalreporter.write(render(run_summary(run.record), **look_of(terminalreporter)))
    if config.stash.get(WROTE_RECORD, False):
        terminalreporter.write_line(f"record: {run.paths.record}")
    if config.stash.get(KEPT_JOURNAL, False):
        for line in journal_lines(run, config.invocation_params.args):
            terminalreporter.write_line(line)
    traces = where_traces_are(run.record, run.settings.profile)
    if traces is not None:
        terminalreporter.write_line(traces)


def _tell_of_xdist(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why nothing was trained, which pytest alone does with -rs only."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(SIDE_BY_SIDE in str(report.longrepr) for report in skipped)
    if count:
        cases = "1 case was" if count == 1 else f"{count} cases were"
        terminalreporter.write_line(f"{SIDE_BY_SIDE} ({cases} not trained)", yellow=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what an aborted start left open."""
    if SESSION in config.stash:
        config.stash[SESSION].journal.close()
