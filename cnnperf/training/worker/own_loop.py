"""Run a training that the user wrote, a function or a command, and measure it by its marks."""

from __future__ import annotations

import json
import os
import pkgutil
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, NamedTuple, cast

from cnnperf.catalog.loops import LoopCase
from cnnperf.errors import CommandError, NaNLossError, UsageError
from cnnperf.record.environment import Settings
from cnnperf.record.messages import EpochDone, Progress, Ready, Result, Trained, TrainJob
from cnnperf.record.schema import EpochResult, Metrics, Repeat
from cnnperf.training.clock import percentiles
from cnnperf.training.observation import Message, Observation, Run
from cnnperf.training.observe import VARIABLE, observe_with
from cnnperf.training.profiling.loops import profile_loop
from cnnperf.training.profiling.profiler import check_profile_dir
from cnnperf.training.worker.channel import OUT_OF_MEMORY, Channel, one_line
from cnnperf.training.worker.device import choose_device
from cnnperf.training.worker.torch_environment import settings_with_torch

PYTHONS = ("python", "python3")
"""Names that mean this interpreter, whose environment is measured."""

POLL_SECONDS = 0.2
"""How often it is checked whether a command still runs while it sends nothing."""

TAIL_BYTES = 20_000

OF_EPOCH = ("train_loss", "val_loss", "val_accuracy", "val_f1_macro")
OF_TRAINING = ("test_accuracy", "test_f1_macro", "test_loss")
"""Names that mean what they mean in cnnperf's own cases."""

FRACTIONS = frozenset({"val_accuracy", "val_f1_macro", "test_accuracy", "test_f1_macro"})


def check_loop(case: LoopCase, python_path: Sequence[str]) -> None:
    """Check that a training can be started, without starting it.

    Raises:
        UsageError: its function or its program is not there.
    """
    folder = _folder(python_path)
    if case.trainer is not None:
        _trainer(case, folder)
        return
    program, *arguments = case.command or ()
    if program not in PYTHONS and shutil.which(program, path=_search_path(folder)) is None:
        raise UsageError(
            f"case {case.id}: there is no program {program!r}; expected one of this machine, or a "
            f"path from {folder}"
        )
    script = arguments[0] if program in PYTHONS and arguments else ""
    if script.endswith(".py") and not (folder / script).is_file():
        raise UsageError(f"case {case.id}: there is no {script} in {folder}, where it is started")


def _folder(python_path: Sequence[str]) -> Path:
    return Path(python_path[0]) if python_path else Path.cwd()


def _search_path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PATH", "")])


def _trainer(case: LoopCase, folder: Path) -> Callable[[Run], object]:
    """Import the function of a case.

    Raises:
        UsageError: there is none of that name, or its module cannot be imported.
    """
    try:
        found = pkgutil.resolve_name(case.trainer or "")
    except Exception as error:
        raise UsageError(
            f"case {case.id}: trainer {case.trainer} cannot be imported "
            f"({type(error).__name__}: {one_line(str(error))}); expected a function in a module of "
            f"{folder}"
        ) from error
    if not callable(found):
        raise UsageError(f"case {case.id}: trainer {case.trainer} is no function")
    return cast("Callable[[Run], object]", found)


def run_loop(job: TrainJob, case: LoopCase, channel: Channel, process_start: float) -> None:
    """Train once and send the messages of a repeat.

    Raises:
        UsageError: the training does not set the marks that its case needs.
        CommandError: the command failed.
        NaNLossError: a figure is not finite.
    """
    device = choose_device(job.device)
    run = Run(
        seed=job.seed,
        device=device.type,
        data_dir=Path(job.data_dir),
        settings=case.settings,
        max_epochs=case.max_epochs,
        max_steps=case.max_steps,
    )
    if job.profile_dir is not None:
        check_profile_dir(job.profile_dir)
    marks = _Marks(case, channel, process_start)
    train = _trainer(case, _folder(job.python_path)) if case.trainer is not None else None
    if train is not None:
        observe_with(Observation(run, marks.take, channel.wait_for_go))
        train(run)
    else:
        _Command(case, run, _folder(job.python_path), marks, channel).run()
    repeat = marks.repeat(job, settings_with_torch(device))
    if job.profile_dir is not None:
        profile, flags = profile_loop(
            train,
            run,
            job.profile_dir,
            f"{case.id}-seed{job.seed}",
            repeat.metrics.step_seconds_p50,
        )
        repeat = repeat.model_copy(update={"profile": profile, "warnings": flags})
    channel.send(Result(repeat=repeat))


class _Marks:
    """What a training has reported so far."""

    def __init__(self, case: LoopCase, channel: Channel, process_start: float) -> None:
        self._case, self._channel = case, channel
        self._process_start = process_start
        self._import_seconds = time.perf_counter() - process_start
        self._startup_seconds = 0.0
        self._facts: Message = {}
        self._measured: Message = {}
        self._epochs: list[EpochResult] = []
        self._quality: dict[str, float] = {}
        self._train_seconds: float | None = None
        self.failure: Message | None = None

    def take(self, message: Message) -> None:
        """Take a message of the observation, and tell the parent what it must know."""
        content = dict(message)
        match content.pop("kind"):
            case "ready":
                self.get_ready(content.pop("device"))
                self._facts = content
            case "progress":
                self._channel.send(Progress(**content))
            case "epoch":
                self._end_epoch(content)
            case "trained":
                self.stop(content["seconds"], content["at"])
            case "measured":
                self._measured = content
            case "quality":
                self._quality |= content["values"]
            case "failed":
                self.failure = content

    def get_ready(self, device: str) -> None:
        """Tell the parent that the clock may start."""
        self._startup_seconds = time.perf_counter() - self._process_start
        self._channel.send(
            Ready(
                startup_seconds=self._startup_seconds,
                import_seconds=self._import_seconds,
                device=device,
            )
        )

    def stop(self, seconds: float, at: float) -> None:
        """Tell the parent that the clock has stopped."""
        self._train_seconds = seconds
        self._channel.send(Trained(seconds=seconds, at=at))

    def _end_epoch(self, content: Message) -> None:
        metrics = _checked(content["metrics"])
        known = {name: metrics.pop(name) for name in OF_EPOCH if name in metrics}
        result = EpochResult(
            epoch=content["number"],
            train_seconds=content["train_seconds"],
            metrics=metrics,
            **known,
        )
        self._epochs.append(result)
        self._channel.send(EpochDone(epochs=content["epochs"], result=result))

    def repeat(self, job: TrainJob, settings: Settings) -> Repeat:
        """Return the finished repeat.

        Raises:
            UsageError: the training was not marked, or lacks a quality of its case.
        """
        if self._train_seconds is None:
            raise UsageError(
                f"{self._case.trainer or 'the command'} ended without observe.training: put what "
                "is to be timed into `with observe.training():`"
                + ', or set clock = "process"'
                * (self._case.command is not None)
            )
        quality = _checked(self._quality)
        lacking = [each.name for each in self._case.quality if each.name not in quality]
        if lacking:
            raise UsageError(
                f"observe.result did not report {' and '.join(lacking)}, declared as quality of "
                f"{self._case.id}; it reported {' and '.join(quality) or 'nothing'}"
            )
        measured = self._measured
        seconds, steps = measured.get("phase_seconds"), measured.get("steps", [])
        times = percentiles(steps, "step_seconds") if steps else {}
        own = {name: quality.pop(name) for name in OF_TRAINING if name in quality}
        validated = self._epochs[-1].val_accuracy if self._epochs else None
        return Repeat(
            seed=job.seed,
            metrics=Metrics(
                train_seconds=self._train_seconds,
                startup_seconds=self._startup_seconds,
                images_per_second=measured["items"] / seconds if seconds else None,
                data_wait_fraction=(
                    min(1.0, measured["wait_seconds"] / seconds) if seconds else None
                ),
                peak_memory_bytes=measured.get("peak_memory_bytes"),
                val_accuracy=validated,
                **times,
                **own,
            ),
            quality=quality,
            epochs=self._epochs,
            steps=len(steps),
            precision=None,
            settings=Settings(**measured["settings"]) if "settings" in measured else settings,
            worker_pid=os.getpid(),
            **self._facts,
        )


def _checked(values: dict[str, float]) -> dict[str, float]:
    for name in FRACTIONS & values.keys():
        if not 0 <= values[name] <= 1:
            raise UsageError(f"{name} is {values[name]:g}, expected a fraction from 0 to 1")
    return dict(values)


class _Command:
    """The user's command as a child of this process; the parent ends both as one group."""

    def __init__(
        self, case: LoopCase, run: Run, folder: Path, marks: _Marks, channel: Channel
    ) -> None:
        self._case, self._run, self._folder = case, run, folder
        self._marks, self._channel = marks, channel
        self._is_timed_whole = case.clock == "process"

    def run(self) -> None:
        """Run the command to its end.

        Raises:
            CommandError: it cannot be started, or failed.
            NaNLossError: it reported a figure that is not finite.
        """
        if self._is_timed_whole:
            self._marks.get_ready(self._run.device)
            self._channel.wait_for_go()
        start = time.perf_counter()
        with tempfile.TemporaryFile() as output, self._started(output) as child:
            for message in child.messages():
                self._take(message, child)
            code = child.process.wait()
            seconds, at = time.perf_counter() - start, time.monotonic()
            if self._marks.failure is not None:
                raise NaNLossError(self._marks.failure["message"])
            if code:
                raise self._failure(code, _tail(output))
        if self._is_timed_whole:
            self._marks.stop(seconds, at)

    def _take(self, message: Message, child: _Child) -> None:
        is_clock = message["kind"] in ("ready", "trained")
        if not (is_clock and self._is_timed_whole):
            self._marks.take(message)
        if message["kind"] == "ready":
            if not self._is_timed_whole:
                self._channel.wait_for_go()
            os.write(child.go, b"go\n")

    @contextmanager
    def _started(self, output: IO[bytes]) -> Iterator[_Child]:
        messages, to_parent = os.pipe()
        go_out, go = os.pipe()
        content = {"messages": to_parent, "go": go_out, "run": asdict(self._run)}
        arguments = list(self._arguments())
        try:
            process = subprocess.Popen(
                arguments,
                cwd=self._folder,
                env={**os.environ, VARIABLE: json.dumps(content, default=str)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(to_parent, go_out),
            )
        except OSError as error:
            raise CommandError(
                f"{arguments[0]} cannot be started ({error.strerror or error}): expected a program "
                f"of this machine, started in {self._folder}"
            ) from None
        finally:
            os.close(to_parent)
            os.close(go_out)
        try:
            yield _Child(process, messages, go)
        finally:
            process.kill()
            process.wait()
            os.close(messages)
            os.close(go)

    def _arguments(self) -> Iterator[str]:
        """Yield the program and its arguments with the values of this run."""
        run = self._run
        values = {
            **run.settings,
            "seed": run.seed,
            "device": run.device,
            "data_dir": run.data_dir.absolute(),
        }
        for number, text in enumerate(self._case.command or ()):
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", str(value))
            if number == 0:
                found = shutil.which(text, path=_search_path(self._folder))
                text = sys.executable if text in PYTHONS else found or text
            yield text

    def _failure(self, code: int, output: str) -> CommandError:
        lines = output.strip().splitlines()
        last = f": {one_line(lines[-1])}" if lines else " and printed nothing"
        if code < 0:
            name = signal.Signals(-code).name
            return CommandError(f"the command was killed by {name}{last}", output, kind="killed")
        text = "\n".join(lines[-30:])
        kind = "out_of_memory" if OUT_OF_MEMORY.search(text) else "exception"
        return CommandError(f"the command ended with exit code {code}{last}", output, kind=kind)


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    output: int
    """Descriptor of its messages."""
    go: int

    def messages(self) -> Iterator[Message]:
        """Yield messages until the process has ended, or has closed its end of the pipe."""
        pending = b""
        while True:
            has_ended = self.process.poll() is not None
            if not select.select([self.output], [], [], 0 if has_ended else POLL_SECONDS)[0]:
                if has_ended:  # a child of its own may still hold the pipe
                    return
                continue
            chunk = os.read(self.output, 2**16)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from map(json.loads, lines)


def _tail(output: IO[bytes]) -> str:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - TAIL_BYTES))
    return output.read().decode(errors="replace")
