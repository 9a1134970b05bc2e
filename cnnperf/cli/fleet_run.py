"""The command `cnnperf fleet run`: train on every device of a Ray cluster."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnperf.cli.options import Expression, Modules, load_project, option, training_options
from cnnperf.cli.turns import RUN_OPTIONS, translating_options
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import EXIT_INTERRUPTED, sentences
from cnnperf.run.settings import settings_from

if TYPE_CHECKING:
    from cnnperf.run.fleet.driver import FleetRun

MAX_FAILURES = 10
"""Most failed cases that the summary names."""


Folder = Annotated[
    Path,
    option(
        "--output",
        "-o",
        metavar="DIR",
        text="Folder for a record a device.",
        show_default=False,
    ),
]

Address = Annotated[
    str,
    option(
        "--address",
        metavar="ADDRESS",
        text="Ray cluster: auto (the one that this machine belongs to), ray://HOST:10001, or "
        "local (start one on this machine).",
    ),
]

Repeats = Annotated[
    int,
    option("--repeats", metavar="N", text="Trainings of each case on each device.", min=1),
]

Together = Annotated[
    bool,
    option(
        "--together",
        text="Train on all devices of a node at once, which also finds shared limits: power, "
        "cooling, PCIe, CPUs. Without it, one device of a node trains at a time.",
    ),
]

Resume = Annotated[bool, option("--resume", text="Continue the stopped fleet run in DIR.")]


@training_options(*RUN_OPTIONS, "check_numerics")
def run(
    output: Folder,
    address: Address = "auto",
    expression: Expression = None,
    repeats: Repeats = 5,
    together: Together = False,
    resume: Resume = False,
    module: Modules = None,
    **given: Any,
) -> None:
    """Train cases on every device of a Ray cluster, and leave a record a device.

    Examples:
      cnnperf fleet run -k modified_vgg-mnist-28-fast -o fleet/
      cnnperf fleet run --address ray://head:10001 -k mnist --together -o fleet/
      cnnperf fleet judge fleet/

    Every GPU is a device, and so is the CPU of a node without one. The order is drawn at random.
    All nodes need the same cnnperf, torch and data, which is checked first.

    Exit codes:
      0    everything was trained; `cnnperf fleet judge` names devices on which a case failed
      2    bad usage, or nothing could be trained
      75   unfinished, because nodes were lost; run the printed command to continue
      130  interrupted by Ctrl-C
    """
    from rich.console import Console

    from cnnperf.record.journal import locked
    from cnnperf.run.fleet.cluster import Cluster
    from cnnperf.run.fleet.opening import check_folder, open_fleet
    from cnnperf.run.fleet.progress import FleetDisplay

    folder = output.expanduser().absolute()
    display = FleetDisplay(Console(stderr=True))
    with sentences(), translating_options():
        load_project(module)
        settings = settings_from(given, module or (), repeats=repeats)
        check_folder(folder, resume=resume)
        _silence_ray()
        with _made(folder), locked(folder), Cluster(address) as cluster:
            fleet = open_fleet(
                cluster, settings, expression, folder, display, together=together, resume=resume
            )
            code = _train(fleet)
    raise typer.Exit(code)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder of the records; remove it again if nothing was put there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"-o: {folder} cannot be made: {error.strerror}; choose another"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _silence_ray() -> None:
    """Keep Ray from printing logs of lost nodes to stdout, until the end of the process.

    Our own lines go to stderr.
    """
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _train(fleet: FleetRun) -> int:
    """Train everything, write the records however it ends, and return the exit code."""
    from cnnperf.run.fleet.driver import HeadLostError
    from cnnperf.run.stopping import interrupt_on_signals

    say = fleet.display.say
    restore = interrupt_on_signals(f"the journals in {fleet.folder} have every finished training")
    code = 0
    try:
        fleet.train()
    except KeyboardInterrupt:
        say("interrupted")
        code = EXIT_INTERRUPTED
    except HeadLostError:
        say("the head of the Ray cluster no longer answers: start it and the nodes again")
        code = _unfinished()
    finally:
        fleet.close()
        restore()
    return _summary(fleet, code)


def _unfinished() -> int:
    from cnnperf.run.time_limit import EXIT_OUT_OF_TIME

    return EXIT_OUT_OF_TIME


def _summary(fleet: FleetRun, code: int) -> int:
    """Say what is there, what failed and what is left; return the exit code."""
    from cnnperf.run.fleet.opening import count_of

    say, failures = fleet.display.say, fleet.failures()
    if not fleet.done and not code and failures:
        raise UsageError(f"no training finished; the first failure: {failures[0]}")
    for failure in failures[:MAX_FAILURES]:
        say(f"failed: {failure}")
    if len(failures) > MAX_FAILURES:
        say(f"failed: {len(failures) - MAX_FAILURES:,} more")
    devices = count_of(fleet.devices, "device")
    say(f"{fleet.done:,} of {fleet.planned:,} trainings done on {devices}")
    if fleet.done:
        say(f"records: {fleet.folder} (`cnnperf fleet judge {fleet.folder}` compares them)")
    if failures and not fleet.left:
        say("--resume trains the failed cases again")
    if fleet.left:
        say(f"{fleet.left:,} trainings are left; continue with")
        arguments = [each for each in sys.argv[1:] if each != "--resume"]
        say(shlex.join(["cnnperf", *arguments, "--resume"]))
        return code or _unfinished()
    return code
