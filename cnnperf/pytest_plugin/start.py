"""The start of a run inside pytest: plan, look at the machine, read the baseline."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from cnnperf.errors import UsageError
from cnnperf.pytest_plugin.collect import prepare_collection
from cnnperf.pytest_plugin.state import (
    HEADER,
    SESSION,
    SETTINGS,
    STARTED,
    times_nothing,
    uncaptured,
)

if TYPE_CHECKING:
    from cnnperf.run.session import RunSession


def begin_run(config: pytest.Config, case_ids: list[str]) -> None:
    """Plan the cases and look at the machine, so that a run that cannot work fails now.

    Raises:
        UsageError: a file, a device or an option does not fit.
    """
    from rich.console import Console

    from cnnperf.pytest_plugin.baseline import Gate, GateHooks
    from cnnperf.record.journal import choose_paths
    from cnnperf.run.command_line import recorded_command
    from cnnperf.run.header import header_lines
    from cnnperf.run.plan import make_plan
    from cnnperf.run.progress import choose_display
    from cnnperf.run.session import RunSession
    from cnnperf.run.signals import take_sigterm_for_ctrl_c
    from cnnperf.run.time_limit import TimeLimit

    tier, reason = prepare_collection(config)
    settings = config.stash[SETTINGS]
    plan = make_plan(case_ids, settings, tier, once=times_nothing(config))
    paths = choose_paths(config.getoption("benchmark_json"), config.rootpath)
    gate = None
    if settings.baseline is not None and not times_nothing(config):
        gate = Gate.open(settings.baseline, config.rootpath, plan.cases, settings.across)
    run = RunSession(settings, tier, plan, paths)
    asked = config.invocation_params
    run.command = recorded_command(asked.args, asked.dir)
    run.limit = TimeLimit(settings.max_minutes, config.stash[STARTED])
    config.add_cleanup(take_sigterm_for_ctrl_c())
    with uncaptured(config):
        run.display = choose_display(Console(), quiet=config.option.verbose < 0)
        run.display.preparing("cnnperf: looking at this machine ...")
        try:
            run.look_at_machine()
        except BaseException:
            run.journal.discard()
            raise
        finally:
            run.display.close()
    config.pluginmanager.register(WriteGuard(config, run))
    config.stash[SESSION] = run  # only now: a run that cannot start must not write a record
    config.stash[HEADER] = header_lines(run, reason)
    if gate is not None:
        config.pluginmanager.register(GateHooks(run, gate))


class WriteGuard:
    """Reports where the results are if the record cannot be written."""

    def __init__(self, config: pytest.Config, run: RunSession) -> None:
        self._config, self._run = config, run

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Turn an error such as a full disk into a sentence that names the journal."""
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
                    f"cnnperf: the record could not be written ({error}); the journal {journal} "
                    f"has every finished training: `cnnperf recover {journal} -o FILE`",
                    red=True,
                )
            return None
