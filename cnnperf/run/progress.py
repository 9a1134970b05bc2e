"""Showing that training goes on: a live line on a terminal, a line an epoch in a log.

Torch-free. pytest captures what tests print, so the display is given a console of its own.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from cnnperf.errors import printable
from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.metrics import ABSENT, format_rate, format_seconds, show
from cnnperf.record.schema import EpochResult, Repeat

LOG_SECONDS = 30.0
"""A log gets a line at least this often while an epoch lasts."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the run a repeat stands."""

    case_id: str
    case_number: int
    cases: int
    repeat_number: int
    repeats: int
    side: str | None = None
    """Where two runs alternate: which of them."""

    def __str__(self) -> str:
        side = f", {self.side}" if self.side else ""
        repeat = f", training {self.repeat_number}/{self.repeats}" if self.repeats > 1 else ""
        return f"[{self.case_number}/{self.cases}] {self.case_id}{side}{repeat}"


class Display(ABC):
    """Told of everything that happens to one repeat after another."""

    def start(self, place: Place) -> None:
        """A worker is being started."""
        self.place = place
        self._first: tuple[float, float] | None = None
        """When training was first heard of, and how far it was."""

    @abstractmethod
    def preparing(self, text: str) -> None:
        """Something slow goes on that is no training yet."""

    @abstractmethod
    def hear(self, message: Progress | EpochDone) -> None:
        """The worker said how far it is."""

    @abstractmethod
    def finish(self, repeat: Repeat) -> None:
        """The repeat is done."""

    @abstractmethod
    def fail(self, reason: str) -> None:
        """The repeat failed."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes."""

    def seconds_left(self, done: float) -> float | None:
        """What is left of this repeat's training, by the speed so far.

        Args:
            done: finished share of all epochs, 0 to 1.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        spent, gained = now - self._first[0], done - self._first[1]
        return spent * (1 - done) / gained if gained > 0 and done < 1 and spent > 1 else None


class Silent(Display):
    """For `-q`: nothing."""

    def preparing(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing to take away."""

    def hear(self, message: Progress | EpochDone) -> None:
        """Say nothing."""

    def finish(self, repeat: Repeat) -> None:
        """Say nothing."""

    def fail(self, reason: str) -> None:
        """Say nothing: the summary has it."""


class LogLines(Display):
    """For CI logs and pipes: whole lines only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = 0.0

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def start(self, place: Place) -> None:
        """Name the case."""
        super().start(place)
        self._print(f"{place}: starting")

    def preparing(self, text: str) -> None:
        """Say what goes on."""
        self._print(text)

    def hear(self, message: Progress | EpochDone) -> None:
        """A line an epoch; within a long epoch one now and then."""
        left = self.seconds_left(share_done(message))
        tail = "" if left is None else f", {format_seconds(left)} left"
        if isinstance(message, EpochDone):
            self._print(f"{self.place}: {describe_epoch(message.result, message.epochs)}{tail}")
        elif begins_inference(message) or (
            message.phase in ("train", "inference")
            and time.monotonic() - self._last_line > LOG_SECONDS
        ):
            self._print(f"{self.place}: {describe_step(message)}{tail}")

    def finish(self, repeat: Repeat) -> None:
        """What came of it."""
        self._print(f"{self.place}: {describe_repeat(repeat)}")

    def fail(self, reason: str) -> None:
        """Why not."""
        self._print(f"{self.place}: FAILED, {reason}")

    def close(self) -> None:
        """Lines stay."""


class LiveLine(Display):
    """For a terminal: one line that changes in place and goes when the repeat is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: RichProgress | None = None

    def start(self, place: Place) -> None:
        """Show the line."""
        super().start(place)
        self._open(f"{place}: starting")

    def preparing(self, text: str) -> None:
        """Show a line without a place."""
        self._open(text)

    def _open(self, text: str) -> None:
        self.close()
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            console=self._console,
            transient=True,
            refresh_per_second=2,  # this machine may be the one that trains
        )
        self._task = self._progress.add_task(printable(text), total=1.0)
        self._progress.start()

    def hear(self, message: Progress | EpochDone) -> None:
        """Move the bar."""
        if self._progress is None:
            return
        done = share_done(message)
        left = self.seconds_left(done)
        text = (
            describe_epoch(message.result, message.epochs)
            if isinstance(message, EpochDone)
            else describe_step(message)
        )
        tail = "" if left is None else f", {format_seconds(left)} left"
        self._progress.update(self._task, completed=done, description=f"{self.place}: {text}{tail}")

    def finish(self, repeat: Repeat) -> None:
        """Leave one line with what came of it."""
        self.close()
        self._console.print(
            f"{self.place}: {describe_repeat(repeat)}", markup=False, highlight=False
        )

    def fail(self, reason: str) -> None:
        """Leave one line with why not."""
        self.close()
        self._console.print(
            printable(f"{self.place}: FAILED, {reason}"),
            markup=False,
            highlight=False,
            style="red",
        )

    def close(self) -> None:
        """Take the line away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def choose_display(console: Console, *, quiet: bool) -> Display:
    """The display that fits where the output goes."""
    if quiet:
        return Silent()
    # CI sets FORCE_COLOR, by which rich takes a log for a terminal: ask the stream itself.
    live = console.is_interactive and console.file.isatty()
    return LiveLine(console) if live else LogLines(console)


def share_done(message: Progress | EpochDone) -> float:
    """Finished share of all epochs, 0 to 1."""
    if isinstance(message, EpochDone):
        return message.result.epoch / message.epochs
    if message.phase == "inference":
        return 1.0  # of the epochs: they are over
    within = message.step / message.steps if message.steps else 1.0
    return (message.epoch - 1 + within) / message.epochs


def begins_inference(message: Progress) -> bool:
    """Whether the training is over and the first configuration is being measured."""
    return message.phase == "inference" and message.step == 0


def describe_step(message: Progress) -> str:
    """Such as `epoch 2/10, step 120/375, loss 0.143, 612 images/s`."""
    text = f"epoch {message.epoch}/{message.epochs}"
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
    """Such as `epoch 2/10: loss 0.143, validation loss 0.120, accuracy 97.10 %`."""
    text = f"epoch {result.epoch}/{epochs}: loss {result.train_loss:.3f}"
    if result.val_loss is not None:
        text += f", validation loss {result.val_loss:.3f}"
    if result.val_accuracy is not None:
        text += f", accuracy {show('val_accuracy', result.val_accuracy)}"
    return text


def describe_repeat(repeat: Repeat) -> str:
    """Such as `trained in 21.3 s, 612 images/s, accuracy 97.78 %`."""
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
