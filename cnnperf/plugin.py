"""The pytest plugin: options, the benchmarks' fixtures, the header, the summary and the record.

    pytest benchmarks --benchmark-json=reports/run.json

It is loaded into every pytest run by its entry point, so it costs nothing, and prints nothing,
until a test asks for a case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, get_args

import pytest

from cnnperf.errors import UsageError, one_of
from cnnperf.settings import RunSettings, add_options, resolve

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from cnnperf.gate import Gate
    from cnnperf.plan import Plan
    from cnnperf.record import CaseRecord
    from cnnperf.session import RunSession
    from cnnperf.specs import Case, Tier

SETTINGS = pytest.StashKey[RunSettings]()
TIER: pytest.StashKey[tuple[Tier, str]] = pytest.StashKey()
SESSION: pytest.StashKey[RunSession] = pytest.StashKey()
HEADER = pytest.StashKey[list[str]]()
WROTE_RECORD = pytest.StashKey[bool]()
KEPT_JOURNAL = pytest.StashKey[bool]()
BAD_USAGE = pytest.StashKey[bool]()
STARTED = pytest.StashKey[float]()
DESELECTED = pytest.StashKey[set[str]]()

NO_CASES = "none"
"""Stands where a case id would, so that pytest says why a test has nothing to do."""

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
    if settings.baseline is not None and _is_xdist(config):
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
    from cnnperf.registry import all_cases

    try:
        tier, _ = _prepare_collection(metafunc.config)
        suite = _suite_of(metafunc.definition)
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


def _suite_of(test: pytest.Item) -> str:
    """The suite that a test's marker names.

    Raises:
        UsageError: the marker says something else, or there is no such suite.
    """
    from cnnperf.specs import Suite

    marker = test.get_closest_marker("cnnperf")
    if marker is None:
        return "train"
    names = [*marker.args, marker.kwargs.get("suite")][:1]
    if len(marker.args) + len(marker.kwargs) != 1 or names == [None]:
        raise UsageError(f"{test.nodeid}: expected @pytest.mark.cnnperf(suite=...), and no more")
    if names[0] not in get_args(Suite):
        raise UsageError(f"{test.nodeid}: {one_of('suite', str(names[0]), get_args(Suite))}")
    return str(names[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that have no case in this tier, where others have one."""
    idle = [item for item in items if _case_id(item) == NO_CASES]
    if idle and any(_case_id(item) not in (None, NO_CASES) for item in items):
        items[:] = [item for item in items if item not in idle]
        config.hook.pytest_deselected(items=idle)


def _prepare_collection(config: pytest.Config) -> tuple[Tier, str]:
    """The user's modules and the tier, once a run.

    Raises:
        UsageError: training is not installed, or a module cannot be imported.
    """
    if TIER not in config.stash:
        from cnnperf.plan import choose_tier
        from cnnperf.registry import import_modules

        settings = config.stash[SETTINGS]
        _check_installed(settings)
        import_modules(settings.modules, settings.python_path)
        config.stash[TIER] = choose_tier(settings)
    return config.stash[TIER]


def _check_installed(settings: RunSettings) -> None:
    from cnnperf.session import missing_packages

    if settings.python is None and (missing := missing_packages()):
        raise UsageError(
            f"training needs {', '.join(missing)}: pip install 'cnnperf[train]' "
            "(in a checkout: pip install -e '.[train]')"
        )


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember which cases -k and -m left out, for a run that has none left."""
    for item in items:
        case_id = _case_id(item)
        if case_id not in (None, NO_CASES):
            item.config.stash.setdefault(DESELECTED, set()).add(case_id)


@pytest.hookimpl(tryfirst=True)  # the terminal asks for the header in this very hook
def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the plan, and find before training starts what would make it fail."""
    config = session.config
    ids = [_case_id(item) for item in session.items]
    planned_ids = [case_id for case_id in ids if case_id not in (None, NO_CASES)]
    if not session.items and DESELECTED in config.stash:
        from cnnperf.header import nothing_selected

        config.stash[HEADER] = [nothing_selected(config.stash[TIER][0], config.stash[DESELECTED])]
    if not planned_ids or config.option.collectonly:
        return
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "cnnperf: trainings are timed by pytest-benchmark, which is not loaded: install it, "
            "and run without -p no:benchmark"
        )
    if not _skips_benchmarks(config) and not _is_xdist(config):
        try:
            _begin_run(config, planned_ids)
        except UsageError as error:
            raise pytest.UsageError(f"cnnperf: {error}") from None


def _case_id(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("cnnperf_case") if callspec is not None else None


def _is_xdist(config: pytest.Config) -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ or bool(config.getoption("numprocesses", None))


def _skips_benchmarks(config: pytest.Config) -> bool:
    """pytest-benchmark's own rule."""
    return bool(config.getoption("benchmark_skip") and not config.getoption("benchmark_only"))


def _times_nothing(config: pytest.Config) -> bool:
    """pytest-benchmark's own rule: each case then runs once, and no file is written."""
    return bool(config.getoption("benchmark_disable") and not config.getoption("benchmark_enable"))


def _begin_run(config: pytest.Config, case_ids: list[str]) -> None:
    from rich.console import Console

    from cnnperf.command_line import recorded_command
    from cnnperf.header import header_lines
    from cnnperf.plan import make_plan
    from cnnperf.progress import choose_display
    from cnnperf.results import choose_paths
    from cnnperf.session import RunSession
    from cnnperf.stopping import take_sigterm_for_ctrl_c
    from cnnperf.time_limit import TimeLimit

    tier, reason = _prepare_collection(config)
    settings = config.stash[SETTINGS]
    plan = make_plan(case_ids, settings, tier, once=_times_nothing(config))
    paths = choose_paths(config.getoption("benchmark_json"), config.rootpath)
    gate = _open_gate(config, plan)
    run = RunSession(settings, tier, plan, paths)
    asked = config.invocation_params
    run.command = recorded_command(asked.args, asked.dir)
    run.limit = TimeLimit(settings.max_minutes, config.stash[STARTED])
    config.add_cleanup(take_sigterm_for_ctrl_c())
    with _uncaptured(config):
        run.display = choose_display(Console(), quiet=config.option.verbose < 0)
        run.display.preparing("cnnperf: looking at this machine ...")
        try:
            run.look_at_machine()
        except BaseException:
            run.journal.discard()
            raise
        finally:
            run.display.close()
    config.pluginmanager.register(_WriteGuard(config, run))
    config.stash[SESSION] = run  # only now: a run that cannot start must not write a record
    config.stash[HEADER] = header_lines(run, reason)
    if gate is not None:
        from cnnperf.gate import GateHooks

        config.pluginmanager.register(GateHooks(run, gate))


def _open_gate(config: pytest.Config, plan: Plan) -> Gate | None:
    """What --cnnperf-baseline holds this run to; read before anything is trained."""
    settings = config.stash[SETTINGS]
    if settings.baseline is None or _times_nothing(config):
        return None
    from cnnperf.gate import Gate

    return Gate.open(settings.baseline, config.rootpath, plan.cases, settings.across)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The header: machine, tier, and how much work lies ahead."""
    return config.stash.get(HEADER, [])


# --- training ---------------------------------------------------------------------------------


@pytest.fixture
def cnnperf_case(request: pytest.FixtureRequest) -> Case:
    """One case of the tier; a test that asks for it runs once for each."""
    from cnnperf.registry import get_case

    return get_case(request.param)


@pytest.fixture
def cnnperf_train(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> TrainCase:
    """A function that trains a case as often as the run wants and returns its record.

    The test fails with one line when a worker does; it is skipped when the data are not there.
    """
    config = request.config
    if _is_xdist(config):
        benchmark.skipped = True  # else pytest-benchmark warns that nothing was timed
        pytest.skip(SIDE_BY_SIDE)

    def train(case: Case) -> CaseRecord:
        from cnnperf.benchmarking import train_planned

        run = config.stash[SESSION]
        if case.id not in run.plan.cases:
            pytest.fail(
                f"case {case.id} is not part of this run: only what the fixture cnnperf_case "
                "gives can be trained",
                pytrace=False,
            )
        with _uncaptured(config):
            try:
                return train_planned(run, run.plan.cases[case.id], benchmark)
            except UsageError as error:  # the disk refuses the journal: nothing more can be kept
                pytest.exit(f"cnnperf: {error}", returncode=pytest.ExitCode.USAGE_ERROR)

    return train


@contextmanager
def _uncaptured(config: pytest.Config) -> Iterator[None]:
    """Let the progress display reach the terminal, which pytest keeps from tests."""
    manager = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if manager is None:
        yield
        return
    context: AbstractContextManager[None] = manager.global_and_fixture_disabled()
    with context:
        if reporter is not None and config.option.verbose >= 0:
            reporter.ensure_newline()
        yield


# --- the record -------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Leave only stable identity, which pytest-benchmark compares to the letter.

    It asks before any test is known, so this holds for runs without cases too.
    """
    from cnnperf.benchmarking import describe_machine

    describe_machine(machine_info)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the record into pytest-benchmark's file."""
    if SESSION in config.stash:
        from cnnperf.record import record_as_json

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
    from cnnperf.benchmark_json import write_benchmark_json
    from cnnperf.time_limit import EXIT_OUT_OF_TIME

    run = config.stash[SESSION]
    if not config.stash.get(WROTE_RECORD, False) and not _times_nothing(config):
        write_benchmark_json(run.record, run.paths.record)
        config.stash[WROTE_RECORD] = True
    config.stash[KEPT_JOURNAL] = run.close()
    if run.limit.reached and session.exitstatus in ALL_WELL:
        session.exitstatus = EXIT_OUT_OF_TIME if run.trained else pytest.ExitCode.USAGE_ERROR


class _WriteGuard:
    """Says where the results are when the record cannot be written in the end."""

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config, self._run = config, run

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Turn a full disk into a sentence that names the journal."""
        try:
            return (yield)
        except (OSError, UsageError) as error:
            self._run.journal.close()
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            reporter = self._config.pluginmanager.getplugin("terminalreporter")
            if reporter is not None:
                journal = self._run.paths.journal
                reporter.ensure_newline()
                reporter.write_line(
                    f"cnnperf: the record could not be written ({error}); every finished training "
                    f"is in {journal}: `cnnperf recover {journal} -o FILE`",
                    red=True,
                )
            return None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The results table, and where the results are."""
    config = terminalreporter.config
    if SESSION not in config.stash:
        _tell_of_xdist(terminalreporter)
        return
    from cnnperf.header import journal_lines
    from cnnperf.profile_table import where_traces_are
    from cnnperf.tables import look_of, render, run_summary

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
