"""The command `cnnperf env`: what this machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cnnperf.cli.options import AsJson
from cnnperf.report.terminal.console import print_rich, sentences, status

if TYPE_CHECKING:
    from cnnperf.record.environment import Environment


def env(as_json: AsJson = False) -> None:
    """Show the hardware, software and settings of this machine."""
    from cnnperf.report.terminal.run import environment_table

    with sentences():
        with status("looking at this machine ..."):
            environment = this_environment()
        if as_json:
            typer.echo(environment.model_dump_json(indent=2))
        else:
            print_rich(environment_table(environment))


def this_environment() -> Environment:
    """Return this machine as a worker sees it; without torch, what can be found without it."""
    from cnnperf.machine.inventory import collect_environment
    from cnnperf.record.messages import ProbeJob
    from cnnperf.run.session import missing_packages
    from cnnperf.run.worker_process import probe

    if missing_packages():
        return collect_environment(device="cpu")
    return probe(ProbeJob()).environment
