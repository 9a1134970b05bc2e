"""The display of progress: a live line on a terminal, or a line for each epoch in a log.

pytest captures what tests print, so a display has its own console.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from cnnperf.errors import printable
from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.metrics import ABSENT, format_plain, format_rate, format_seconds, show
from cnnperf.record.schema import EpochResult, Repeat

BEFORE = ("build", "data")
"""Phases before the first step, which say nothing about the time left."""

LOG_SECONDS = 30.0
"""Longest time without a line in a log during an epoch."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The position of a repeat in the run."""

    case_id: str
    case_number: int
    cases: int
    repeat_number: int
    repeats: int
    side: str | None = None
    """A or B if two runs alternate."""

    def __str__(self) -> str:
        side = f", {self.side}" if self.side else ""
        repeat = f", training {self.repeat_number}/{self.repeats}" if self.repeats > 1 else ""
        return f"[{self.case_number}/{self.cases}] {self.case_id}{side}{repeat}"


class Display:
    """Shows one repeat after another; this base class shows nothing."""

    def start(self, place: Place) -> None:
        """Show that a worker is being started."""
        self.place = place
        self._first: tuple[float, float] | None = None
        """When the first progress arrived, and the share that was done."""

    def preparing(self, text: str) -> None:
        """Show slow work before a training."""

    def hear(self, message: Progress | EpochDone) -> None:
        """Show a progress message of the worker."""

    def finish(self, repeat: Repeat) -> None:
        """Show the result of the repeat."""

    def fail(self, reason: str) -> None:
        """Show why the repeat failed."""

    def close(self) -> None:
        """Remove what is not permanent."""

    def seconds_left(self, done: float) -> float | None:
        """Estimate the time left from the finished share of all epochs, 0 to 1."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        spent, gained = now - self._first[0], done - self._first[1]
        return spent * (1 - done) / gained if gained > 0 and done < 1 and spent > 1 else None

    def describe(self, message: Progress | EpochDone) -> str:
        """Return the place, the message and the time left as one line."""
        if isinstance(message, Progress) and message.phase in BEFORE:
            return f"{self.place}: {describe_step(message)}"
        left = self.seconds_left(share_done(message))
        tail = "" if left is None else f", {format_seconds(left)} left"
        if isinstance(message, EpochDone):
            return f"{self.place}: {describe_epoch(message.result, message.epochs)}{tail}"
        return f"{self.place}: {describe_step(message)}{tail}"


def new_bar(console: Console) -> RichProgress:
    """Return a line with a bar, which goes away; seldom drawn, since this machine may train."""
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        console=console,
        transient=True,
        refresh_per_second=2,
    )


class LogLines(Display):
    """Prints whole lines, for CI logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = 0.0

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def start(self, place: Place) -> None:
        """Print the case."""
        super().start(place)
        self._print(f"{place}: starting")

    def preparing(self, text: str) -> None:
        """Print the text."""
        self._print(text)

    def hear(self, message: Progress | EpochDone) -> None:
        """Print each epoch, the start of inference, and a line now and then in a long phase."""
        line = self.describe(message)
        is_due = time.monotonic() - self._last_line > LOG_SECONDS
        if (
            isinstance(message, EpochDone)
            or (message.phase == "inference" and message.step == 0)
            or (message.phase in ("build", "data", "train", "inference") and is_due)
        ):
            self._print(line)

    def finish(self, repeat: Repeat) -> None:
        """Print the result."""
        self._print(f"{self.place}: {describe_repeat(repeat)}")

    def fail(self, reason: str) -> None:
        """Print the reason."""
        self._print(f"{self.place}: FAILED, {reason}")


class LiveLine(Display):
    """Shows one line on a terminal that changes in place until the repeat is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: RichProgress | None = None

    def start(self, place: Place) -> None:
        """Show the line."""
        super().start(place)
        self.preparing(f"{place}: starting")

    def preparing(self, text: str) -> None:
        """Show a line with this text."""
        self.close()
        self._progress = new_bar(self._console)
        self._task = self._progress.add_task(printable(text), total=1.0)
        self._progress.start()

    def hear(self, message: Progress | EpochDone) -> None:
        """Update the line and its bar."""
        if self._progress is not None:
            done, line = share_done(message), self.describe(message)
            self._progress.update(self._task, completed=done, description=line)

    def finish(self, repeat: Repeat) -> None:
        """Replace the line by the result."""
        self._leave(describe_repeat(repeat))

    def fail(self, reason: str) -> None:
        """Replace the line by the reason."""
        self._leave(f"FAILED, {reason}", style="red")

    def _leave(self, text: str, style: str | None = None) -> None:
        self.close()
        line = printable(f"{self.place}: {text}")
        self._console.print(line, markup=False, highlight=False, style=style)

    def close(self) -> None:
        """Remove the line."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class NotebookLine(Display):
    """Shows one line below a notebook's cell that changes in place; rich's needs ipywidgets."""

    def __init__(self) -> None:
        self._shown: Any = None
        """IPython's handle of the line."""

    def start(self, place: Place) -> None:
        """Show the line."""
        super().start(place)
        self.preparing(f"{place}: starting")

    def preparing(self, text: str) -> None:
        """Show a line with this text."""
        content = {"text/plain": printable(text)}
        if self._shown is None:
            display = importlib.import_module("IPython.display").display
            self._shown = display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)

    def hear(self, message: Progress | EpochDone) -> None:
        """Update the line."""
        self.preparing(self.describe(message))

    def finish(self, repeat: Repeat) -> None:
        """Replace the line by the result; the next repeat gets another one."""
        self.preparing(f"{self.place}: {describe_repeat(repeat)}")
        self._shown = None

    def fail(self, reason: str) -> None:
        """Replace the line by the reason."""
        self.preparing(f"{self.place}: FAILED, {reason}")


def display_for_python() -> Display:
    """Return the display for a script or a notebook: none where nobody looks."""
    console = Console(stderr=True)
    if console.is_jupyter:
        return NotebookLine()
    live = console.is_interactive and console.file.isatty()
    return LiveLine(console) if live else Display()


def choose_display(console: Console, *, quiet: bool) -> Display:
    """Return the display that suits the output."""
    if quiet:
        return Display()  # the summary has the failures
    # CI sets FORCE_COLOR, which makes rich take a log for a terminal: ask the stream itself.
    live = console.is_interactive and console.file.isatty()
    return LiveLine(console) if live else LogLines(console)


def share_done(message: Progress | EpochDone) -> float:
    """Return the finished share of all epochs, 0 to 1."""
    if isinstance(message, EpochDone):
        return message.result.epoch / message.epochs
    if message.phase in BEFORE:
        return 0.0
    if message.phase == "inference":
        return 1.0  # all epochs are over
    within = message.step / message.steps if message.steps else 1.0
    return (message.epoch - 1 + within) / message.epochs


def describe_step(message: Progress) -> str:
    """Return a line such as `epoch 2/10, step 120/375, loss 0.143, 612 images/s`."""
    text = f"epoch {message.epoch}/{message.epochs}"
    if message.phase == "build":
        return "building the model and warming up"
    if message.phase == "data":
        return f"reading images, {message.step:,}/{message.steps:,}"
    if message.phase == "inference":
        return f"measuring inference, {message.step}/{message.steps} configurations done"
    if message.phase != "train":
        return f"{text}, {message.phase}"
    text += f", step {message.step}/{message.steps}"
    if message.loss is not None:
        text += f", loss {message.loss:.3f}"
    if message.images_per_second is not None:
        text += f", {format_rate(message.images_per_second)} images/s"
    return text


def describe_epoch(result: EpochResult, epochs: int) -> str:
    """Return a line such as `epoch 2/10: loss 0.143, validation loss 0.120, accuracy 97.10 %`."""
    parts = []
    if result.train_loss is not None:
        parts.append(f"loss {result.train_loss:.3f}")
    if result.val_loss is not None:
        parts.append(f"validation loss {result.val_loss:.3f}")
    if result.val_accuracy is not None:
        parts.append(f"accuracy {show('val_accuracy', result.val_accuracy)}")
    parts += [f"{name} {format_plain(value)}" for name, value in result.metrics.items()]
    return f"epoch {result.epoch}/{epochs}: {', '.join(parts) or 'done'}"


def describe_repeat(repeat: Repeat) -> str:
    """Return a line such as `trained in 21.3 s, 612 images/s, accuracy 97.78 %`."""
    metrics = repeat.metrics
    parts = [f"trained in {show('train_seconds', metrics.train_seconds)}"]
    if metrics.images_per_second is not None:
        parts.append(f"{show('images_per_second', metrics.images_per_second)} images/s")
    accuracy = show("test_accuracy", metrics.test_accuracy)
    if accuracy != ABSENT:
        parts.append(f"accuracy {accuracy}")
    if metrics.latency_seconds_p50 is not None:
        parts.append(f"latency {show('latency_seconds_p50', metrics.latency_seconds_p50)}")
    return ", ".join(parts)
