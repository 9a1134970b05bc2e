"""The pytest plugin: options, the benchmarks' fixtures, the header, the summary and the record.

    pytest benchmarks --benchmark-json=reports/run.json

It is loaded into every pytest run by its entry point, so it costs nothing, and prints nothing,
until a test asks for a case.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from cnnperf.errors import UsageError
from cnnperf.settings import RunSettings, add_options, resolve
from cnnperf.specs import Case, Tier

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from cnnperf.record import CaseRecord
    from cnnperf.session import RunSession

SETTINGS = pytest.StashKey[RunSettings]()
TIER = pytest.StashKey[tuple[Tier, str]]()
SESSION: pytest.StashKey[RunSession] = pytest.StashKey()
HEADER = pytest.StashKey[list[str]]()
WROTE_RECORD = pytest.StashKey[bool]()
KEPT_JOURNAL = pytest.StashKey[Path | None]()

TrainCase = Callable[[Case], "CaseRecord"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


# --- collecting -------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for `cnnperf_case` the cases of the tier, by their ids."""
    if "cnnperf_case" not in metafunc.fixturenames or _has_own_cases(metafunc):
        return
    from cnnperf.registry import all_cases

    try:
        tier, _ = _prepare_collection(metafunc.config)
    except UsageError as error:  # pytest shows this one without a traceback
        raise pytest.Collector.CollectError(f"cnnperf: {error}") from None
    ids = [case.id for case in all_cases(tier)]
    metafunc.parametrize("cnnperf_case", ids, indirect=True, ids=ids)


def _has_own_cases(metafunc: pytest.Metafunc) -> bool:
    """Whether the test names its cases itself, by `parametrize("cnnperf_case", ...)`."""
    marks = metafunc.definition.iter_markers("parametrize")
    return any("cnnperf_case" in str(mark.args[0]) for mark in marks if mark.args)


def _prepare_collection(config: pytest.Config) -> tuple[Tier, str]:
    """Settings, the user's modules and the tier, once a run.

    Raises:
        UsageError: training is not installed, or a module cannot be imported.
        pytest.UsageError: a setting does not fit.
    """
    if TIER not in config.stash:
        from cnnperf.plan import choose_tier
        from cnnperf.registry import import_modules

        settings = config.stash[SETTINGS] = resolve(config)
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


@pytest.hookimpl(tryfirst=True)  # the terminal asks for the header in this very hook
def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the plan, and find before training starts what would make it fail."""
    config = session.config
    ids = [_case_id(item) for item in session.items]
    planned_ids = [case_id for case_id in ids if case_id is not None]
    idle = config.option.collectonly or config.getoption("benchmark_skip", False)
    if planned_ids and not idle and not _is_xdist(config):
        try:
            _begin_run(config, planned_ids)
        except UsageError as error:
            raise pytest.UsageError(f"cnnperf: {error}") from None


def _case_id(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("cnnperf_case") if callspec is not None else None


def _is_xdist(config: pytest.Config) -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ or bool(config.getoption("numprocesses", None))


def _begin_run(config: pytest.Config, case_ids: list[str]) -> None:
    from cnnperf.header import header_lines
    from cnnperf.plan import make_plan
    from cnnperf.progress import choose_display
    from cnnperf.session import RunSession, older_journals

    tier, reason = _prepare_collection(config)
    settings = config.stash[SETTINGS]
    results = _results_path(config)
    left_behind = older_journals(results)
    plan = make_plan(case_ids, settings, tier)
    run = RunSession(settings, tier, plan, results)
    with _uncaptured(config):
        run.display = choose_display(Console(soft_wrap=False), quiet=config.option.verbose < 0)
        run.display.preparing("cnnperf: looking at this machine ...")
        try:
            run.look_at_machine()
        except BaseException:
            run.journal.discard()
            raise
        finally:
            run.display.close()
    config.stash[SESSION] = run  # only now: a run that cannot start must not write a record
    config.stash[HEADER] = header_lines(run, reason, left_behind)


def _results_path(config: pytest.Config) -> Path:
    """The record's file; without --benchmark-json the journal still needs a place."""
    given = config.getoption("benchmark_json", None)
    return Path(given).absolute() if given else config.rootpath / ".cnnperf" / "run.json"


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
        pytest.skip("cnnperf: trainings side by side would slow each other: run without -n")

    def train(case: Case) -> CaseRecord:
        from cnnperf.benchmarking import train_planned

        run = config.stash[SESSION]
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
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Leave only stable identity, which pytest-benchmark compares exactly, and add the device."""
    if SESSION not in config.stash:
        return
    from cnnperf.benchmarking import describe_machine

    describe_machine(machine_info, config.stash[SESSION].probed)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the record into pytest-benchmark's file."""
    if SESSION in config.stash:
        record = config.stash[SESSION].record
        output_json["cnnperf"] = json.loads(record.model_dump_json())  # a NaN becomes null
        config.stash[WROTE_RECORD] = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record where pytest-benchmark had nothing to write, and close the journal."""
    config = session.config
    if SESSION not in config.stash:
        return
    from cnnperf.benchmark_json import write_benchmark_json

    run = config.stash[SESSION]
    path = config.getoption("benchmark_json", None)
    disabled = config.getoption("benchmark_disable", False)
    if path and not disabled and not config.stash.get(WROTE_RECORD, False):
        write_benchmark_json(run.record, Path(path))
    config.stash[KEPT_JOURNAL] = run.close()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The results table, and where the results are."""
    config = terminalreporter.config
    if SESSION not in config.stash:
        return
    from cnnperf.tables import render, run_summary

    run = config.stash[SESSION]
    terminalreporter.section("cnnperf")
    color = bool(terminalreporter._tw.hasmarkup)
    width = terminalreporter._tw.fullwidth
    if not terminalreporter.isatty:
        width = max(width, 120)  # a log has no right edge to wrap at
    terminalreporter.write(render(run_summary(run.record), width=width, color=color))
    path, journal = config.getoption("benchmark_json", None), config.stash.get(KEPT_JOURNAL, None)
    if path:
        terminalreporter.write_line(f"record: {path}")
    if journal is not None:
        terminalreporter.write_line(f"journal: {journal} (go on with --cnnperf-resume={journal})")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what an aborted start left open."""
    if SESSION in config.stash:
        config.stash[SESSION].journal.close()
