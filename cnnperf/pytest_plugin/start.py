"""The start of a run inside pytest: plan, look at the machine, open the gate, guard the record."""

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
    from cnnperf.pytest_plugin.baseline import Gate
    from cnnperf.run.plan import Plan
    from cnnperf.run.session import RunSession


def begin_run(config: pytest.Config, case_ids: list[str]) -> None:
    """Plan these cases and look at the machine, so that what would fail fails before training.

    Raises:
        UsageError: a file, a device or an option does not fit.
    """
    from rich.console import Console

    from cnnperf.record.paths import choose_paths
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
    gate = _open_gate(config, plan)
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
        from cnnperf.pytest_plugin.baseline import GateHooks

        config.pluginmanager.register(GateHooks(run, gate))


def _open_gate(config: pytest.Config, plan: Plan) -> Gate | None:
    """What --cnnperf-baseline holds this run to; read before anything is trained."""
    settings = config.stash[SETTINGS]
    if settings.baseline is None or times_nothing(config):
        return None
    from cnnperf.pytest_plugin.baseline import Gate

    return Gate.open(settings.baseline, config.rootpath, plan.cases, settings.across)


class WriteGuard:
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
