"""What is shown while training goes on: whole lines in a log, one line on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.schema import EpochResult
from cnnperf.run import progress
from cnnperf.run.progress import (
    LOG_SECONDS,
    Display,
    LiveLine,
    LogLines,
    Place,
    choose_display,
    describe_epoch,
    describe_repeat,
    describe_step,
    share_done,
)
from tests.examples import example_repeat, plain_terminal

PLACE = Place(case_id="vgg16-mnist", case_number=2, cases=5, repeat_number=1, repeats=3)
HOSTILE = "a [bold]b[/] [/]\x1b[31m\x1b]0;t\x07\nfake: line"
SHOWN = "a [bold]b[/] [/]\\x1b[31m\\x1b]0;t\\x07 fake: line"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Instead of the module's own."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def _log() -> tuple[LogLines, io.StringIO]:
    stream = io.StringIO()
    return LogLines(Console(file=stream, width=40)), stream


def _live() -> tuple[LiveLine, io.StringIO]:
    stream = io.StringIO()
    console = Console(
        file=stream, width=100, height=25, force_terminal=True, _environ={"TERM": "xterm"}
    )
    return LiveLine(console), stream


def _step(epoch: int = 1, step: int = 120, epochs: int = 10) -> Progress:
    return Progress(
        phase="train", epoch=epoch, epochs=epochs, step=step, steps=375, loss=0.1434,
        images_per_second=612.4,
    )  # fmt: skip


def _epoch(epoch: int = 1, epochs: int = 10) -> EpochDone:
    result = EpochResult(
        epoch=epoch, train_loss=0.1434, train_seconds=2.0, val_loss=0.12, val_accuracy=0.971
    )
    return EpochDone(epochs=epochs, result=result)


# --- words --------------------------------------------------------------------------------------


def test_a_place_names_case_and_training() -> None:
    """The number of the training only where there are several."""
    assert str(PLACE) == "[2/5] vgg16-mnist, training 1/3"
    alone = Place(case_id="a", case_number=1, cases=1, repeat_number=1, repeats=1)
    assert str(alone) == "[1/1] a"
    side = Place(case_id="a", case_number=1, cases=1, repeat_number=1, repeats=3, side="B")
    assert str(side) == "[1/1] a, B, training 1/3"


def test_steps_epochs_and_repeats_are_described() -> None:
    """With what is known of them, and no more."""
    assert describe_step(_step()) == "epoch 1/10, step 120/375, loss 0.143, 612 images/s"
    bare = Progress(phase="train", epoch=1, epochs=10, step=1, steps=375)
    assert describe_step(bare) == "epoch 1/10, step 1/375"
    validation = Progress(phase="validation", epoch=3, epochs=10, step=0, steps=0)
    assert describe_step(validation) == "epoch 3/10, validation"


def test_what_comes_before_the_first_step_is_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no part of an epoch, and says nothing about the time left."""
    build = Progress(phase="build", epoch=1, epochs=10, step=0, steps=0)
    data = Progress(phase="data", epoch=1, epochs=10, step=1200, steps=50_000)
    assert describe_step(build) == "building the model and warming up"
    assert describe_step(data) == "reading images, 1,200/50,000"
    assert share_done(build) == share_done(data) == 0.0
    display = Display()
    display.start(PLACE)
    monkeypatch.setattr(display, "seconds_left", lambda _: 60.0)
    assert "left" in display.describe(_step())
    assert "left" not in display.describe(build) + display.describe(data)
    told = "epoch 1/10: loss 0.143, validation loss 0.120, accuracy 97.10 %"
    assert describe_epoch(_epoch().result, 10) == told
    sample = EpochResult(epoch=1, train_loss=2.3, train_seconds=1.0)
    assert describe_epoch(sample, 1) == "epoch 1/1: loss 2.300"
    repeat = example_repeat(train_seconds=21.3, images_per_second=612.4, test_accuracy=0.9778)
    assert describe_repeat(repeat) == "trained in 21.3 s, 612 images/s, accuracy 97.78 %"
    bare_repeat = example_repeat(images_per_second=None, test_accuracy=None)
    assert describe_repeat(bare_repeat) == "trained in 20.0 s"


@pytest.mark.parametrize(
    ("message", "share"),
    [
        (_step(1, 0), 0.0),
        (_step(1, 375), 0.1),
        (_step(3, 75), 0.22),
        (_step(10, 375), 1.0),
        (_epoch(1), 0.1),
        (_epoch(10), 1.0),
        (Progress(phase="validation", epoch=4, epochs=10, step=0, steps=0), 0.4),
    ],
)
def test_the_share_done_counts_epochs_and_steps(
    message: Progress | EpochDone, share: float
) -> None:
    """A fifth of the third of ten epochs is 2.2 epochs."""
    assert share_done(message) == pytest.approx(share)


# --- what is left -------------------------------------------------------------------------------


def test_what_is_left_follows_from_the_speed_so_far(clock: Clock) -> None:
    """A tenth every 10 s: after three tenths 70 s are left, wherever the first word came."""
    display = Display()
    display.start(PLACE)
    clock.now = 1000.0  # the worker was starting
    assert display.seconds_left(0.1) is None
    clock.now = 1010.0
    assert display.seconds_left(0.2) == pytest.approx(80)
    clock.now = 1020.0
    assert display.seconds_left(0.3) == pytest.approx(70)


def test_no_time_left_is_shown_too_early_too_late_or_without_progress(clock: Clock) -> None:
    """Within a second, at the end, while nothing moves."""
    display = Display()
    display.start(PLACE)
    assert display.seconds_left(0.0) is None
    clock.now = 0.9
    assert display.seconds_left(0.5) is None
    clock.now = 20.0
    assert display.seconds_left(0.0) is None
    assert display.seconds_left(1.0) is None


def test_time_left_uses_the_speed_of_the_repeat(clock: Clock) -> None:
    """The one before may have been slower."""
    display = Display()
    display.start(PLACE)
    display.seconds_left(0.0)
    clock.now = 100.0
    assert display.seconds_left(0.5) == pytest.approx(100)
    display.start(PLACE)
    display.seconds_left(0.0)
    clock.now = 110.0
    assert display.seconds_left(0.5) == pytest.approx(10)


# --- a log --------------------------------------------------------------------------------------


def test_a_log_gets_whole_lines_that_name_the_case(clock: Clock) -> None:
    """However narrow the console: a log has no right edge."""
    display, stream = _log()
    display.preparing("cnnperf: looking at this machine, which takes a moment ...")
    display.start(PLACE)
    display.hear(_step(1, 0))
    clock.now = 10.0
    display.hear(_epoch(1))
    display.finish(example_repeat())
    display.fail("killed by SIGKILL in epoch 2 of 10, step 17")
    display.close()
    place = "[2/5] vgg16-mnist, training 1/3"
    told = "epoch 1/10: loss 0.143, validation loss 0.120, accuracy 97.10 %, 90.0 s left"
    assert stream.getvalue().splitlines() == [
        "cnnperf: looking at this machine, which takes a moment ...",
        f"{place}: starting",
        f"{place}: {told}",
        f"{place}: trained in 20.0 s, 24,000 images/s, accuracy 98.99 %",
        f"{place}: FAILED, killed by SIGKILL in epoch 2 of 10, step 17",
    ]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_long_epoch_prints_a_line_now_and_then(clock: Clock) -> None:
    """A step's line only after half a minute of silence, so that logs stay short."""
    display, stream = _log()
    display.start(PLACE)
    for second in range(100):
        clock.now = float(second)
        display.hear(_step(1, 1 + second))
    lines = [line for line in stream.getvalue().splitlines() if "step" in line]
    assert len(lines) == 3
    assert 100 / LOG_SECONDS - 1 < len(lines) < 100 / LOG_SECONDS


# --- a terminal ---------------------------------------------------------------------------------


def _screen(text: str) -> list[str]:
    """What a terminal shows in the end: text, line feeds and the few sequences that rich uses."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif not piece.startswith("\x1b"):
            lines[row] = (
                lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            )
            column += len(piece)
        elif piece.endswith("A"):
            row -= int(piece[2:-1])
        elif piece == "\x1b[2K":
            lines[row] = ""
        else:
            assert piece[-1] in "mhl", piece
    return [line.rstrip() for line in lines if line.strip()]


def test_a_finished_training_leaves_one_line_on_a_terminal() -> None:
    """The moving line goes, and the cursor that it hid comes back."""
    display, stream = _live()
    display.preparing("looking at this machine ...")
    display.start(PLACE)
    display.hear(_step())
    display.hear(_epoch())
    display.finish(example_repeat())
    display.close()
    told = "trained in 20.0 s, 24,000 images/s, accuracy 98.99 %"
    assert _screen(stream.getvalue()) == [f"[2/5] vgg16-mnist, training 1/3: {told}"]
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")


def test_a_failed_training_leaves_its_reason_on_a_terminal() -> None:
    """And nothing of the moving line."""
    display, stream = _live()
    display.start(PLACE)
    display.hear(_step())
    display.fail("killed by SIGKILL")
    display.close()
    assert _screen(stream.getvalue()) == [
        "[2/5] vgg16-mnist, training 1/3: FAILED, killed by SIGKILL"
    ]


def test_an_interrupted_training_leaves_nothing_on_a_terminal() -> None:
    """Ctrl-C: the line is taken away, as often as one likes."""
    display, stream = _live()
    display.start(PLACE)
    display.hear(_step())
    display.close()
    display.close()
    assert _screen(stream.getvalue()) == []


def test_live_line_shows_the_progress() -> None:
    """Within the terminal's width."""
    display, stream = _live()
    display.start(PLACE)
    display.hear(_step())
    assert display._progress is not None
    display._progress.refresh()
    display.close()
    assert "epoch 1/10" in stream.getvalue()


def test_progress_after_the_end_is_ignored() -> None:
    """A message may still be on its way."""
    display, _ = _live()
    display.start(PLACE)
    display.close()
    display.hear(_step())


# --- either -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [_log, _live])
def test_hostile_text_is_escaped(
    make: Callable[[], tuple[Display, io.StringIO]],
) -> None:
    """A worker's last words may hold anything."""
    display, stream = make()
    display.start(PLACE)
    display.fail(HOSTILE)
    display.close()
    assert SHOWN in " ".join(_screen(stream.getvalue()))
    assert "\x07" not in stream.getvalue()
    assert "\x1b[31m\x1b]0" not in stream.getvalue()


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """From the start to the end."""
    display = Display()
    display.preparing("looking")
    display.start(PLACE)
    display.hear(_step())
    display.finish(example_repeat())
    display.fail("killed")
    display.close()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stream that people watch."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "display"),
    [
        (Terminal, {"TERM": "xterm"}, LiveLine),
        (Terminal, {"TERM": "dumb"}, LogLines),
        (io.StringIO, {"TERM": "xterm"}, LogLines),
        (io.StringIO, {"TERM": "xterm", "FORCE_COLOR": "1"}, LogLines),
    ],
)
def test_the_display_fits_where_the_output_goes(
    stream: type[io.StringIO], variables: dict[str, str], display: type[Display]
) -> None:
    """Only a terminal that can move its cursor gets a moving line, whatever colours CI wants."""
    console = Console(file=stream(), _environ=variables)
    assert type(choose_display(console, quiet=False)) is display
    assert type(choose_display(console, quiet=True)) is Display
