"""The marks of a training of one's own: what they measure, and that alone they do nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnperf import observe
from cnnperf.errors import NaNLossError, UsageError
from cnnperf.training.observation import Observation, Run
from cnnperf.training.observe import observe_with

TICK = 0.02
"""Seconds of one piece of work; the machine may add to it, never take away."""


@pytest.fixture
def messages() -> Iterator[list[dict[str, Any]]]:
    """Observe this process; the messages are what is sent."""
    yield from observing()


def observing(**run: Any) -> Iterator[list[dict[str, Any]]]:
    """Observe this process with the values of a `Run`."""
    found: list[dict[str, Any]] = []
    observe_with(Observation(Run(**run), found.append, lambda: None))
    try:
        yield found
    finally:
        observe_with(None)


def _of(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] == kind]


def slow(batches: int) -> Iterator[torch.Tensor]:
    """Batches of four that each take a tick to get."""
    for _ in range(batches):
        time.sleep(TICK)
        yield torch.zeros(4, 2)


def test_steps_waits_and_epochs_are_timed(messages: list[dict[str, Any]]) -> None:
    """Ten steps of a tick of waiting and two of work each; what lies between passes is neither."""
    started = time.perf_counter()
    with observe.training():
        for _ in observe.epochs(range(2)):
            for _ in observe.steps(slow(5)):
                time.sleep(2 * TICK)
            time.sleep(5 * TICK)  # a validation
    whole = time.perf_counter() - started
    (trained,), (measured,) = _of(messages, "trained"), _of(messages, "measured")
    assert 40 * TICK <= trained["seconds"] <= whole
    assert len(measured["steps"]) == 10
    assert min(measured["steps"]) >= 3 * TICK
    assert measured["items"] == 40
    assert 10 * TICK <= measured["wait_seconds"] <= measured["phase_seconds"] - 20 * TICK
    assert sum(measured["steps"]) <= measured["phase_seconds"] <= whole - 10 * TICK
    epochs = _of(messages, "epoch")
    assert [epoch["number"] for epoch in epochs] == [1, 2]
    assert all(epoch["epochs"] == 2 for epoch in epochs)
    assert sum(epoch["train_seconds"] for epoch in epochs) == pytest.approx(
        measured["phase_seconds"]
    )


def test_messages_come_in_order(messages: list[dict[str, Any]]) -> None:
    """Ready before the clock, its stop before what was measured; results at any time."""
    observe.result(before=1)
    model = torch.nn.Linear(3, 2)
    with observe.training(model=model):
        pass
    observe.result(after=torch.tensor(2.0))
    kinds = [message["kind"] for message in messages]
    assert kinds == ["quality", "ready", "trained", "measured", "quality"]
    assert messages[1]["model_parameters"] == 8
    assert messages[1]["device"] == "cpu"
    assert messages[-1]["values"] == {"after": 2.0}


@pytest.mark.parametrize(
    ("batch", "items"),
    [
        (torch.zeros(7, 3), 7),
        ((torch.zeros(5, 3), torch.zeros(9)), 5),
        ({"tokens": torch.zeros(6, 3)}, 6),
        ([{"name": "a", "image": torch.zeros(2)}], 2),
        (("a", "b"), 1),
        (torch.tensor(3.0), 1),
    ],
)
def test_the_first_tensor_counts(messages: list[dict[str, Any]], batch: object, items: int) -> None:
    """Whatever a batch is made of; one where nothing has a length."""
    with observe.training():
        list(observe.steps([batch, batch]))
    assert _of(messages, "measured")[0]["items"] == 2 * items


def test_a_pass_without_epochs_is_an_epoch(messages: list[dict[str, Any]]) -> None:
    """Figures between two passes belong to the one before."""
    with observe.training():
        for loss in (2.0, 1.0):
            list(observe.steps([torch.zeros(1)]))
            observe.metric(train_loss=loss)
    epochs = _of(messages, "epoch")
    assert [epoch["metrics"] for epoch in epochs] == [{"train_loss": 2.0}, {"train_loss": 1.0}]


def test_a_break_keeps_the_step(messages: list[dict[str, Any]]) -> None:
    """The batch was given, so its step counts."""
    with observe.training():
        for number, _ in enumerate(observe.steps(slow(9)), start=1):
            if number == 3:
                break
    assert len(_of(messages, "measured")[0]["steps"]) == 3


def test_limits_end_the_loops() -> None:
    """--cnnperf-epochs and --cnnperf-limit-steps reach a loop through its marks."""
    for messages in observing(max_epochs=2):
        with observe.training():
            assert len([*observe.epochs(range(9))]) == 2
        assert _of(messages, "epoch")[0]["epochs"] == 2
    for messages in observing(max_steps=5):
        with observe.training():
            for _ in observe.epochs(range(9)):
                list(observe.steps(torch.zeros(3, 1)))
        assert len(_of(messages, "measured")[0]["steps"]) == 5
        assert len(_of(messages, "epoch")) == 2


def test_a_figure_that_is_not_finite_ends_the_training(messages: list[dict[str, Any]]) -> None:
    """It is named with its epoch, and told to the parent before it is raised."""

    def train() -> None:
        with observe.training():
            for epoch in observe.epochs(range(3)):
                observe.metric(val_loss=torch.tensor(float("nan")) if epoch else 1.0)

    with pytest.raises(NaNLossError, match="val_loss became nan in epoch 2"):
        train()
    assert messages[-1]["kind"] == "failed"
    assert messages[-1]["error"] == "nan_loss"


def test_wrong_use_is_one_sentence(messages: list[dict[str, Any]]) -> None:
    """The problem, then the fix."""
    with pytest.raises(
        UsageError, match=r"outside observe\.training, whose block is what is timed"
    ):
        list(observe.steps([1]))
    with observe.training():
        pass
    with pytest.raises(UsageError, match="entered twice"), observe.training():
        pass
    with pytest.raises(UsageError, match="test_iou is of type list, expected one number"):
        observe.result(test_iou=[1.0])
    with pytest.raises(UsageError, match="'a-b' is no name of a figure"):
        observe.result(**{"a-b": 1.0})
    assert len(messages) == 3


def test_alone_the_marks_do_nothing(tmp_path: Path) -> None:
    """A script with marks gives its loader back as it is, and imports no torch."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from cnnperf import observe\n"
        "loader = [1, 2]\n"
        "with observe.training():\n"
        "    assert observe.steps(loader) is loader and observe.epochs(loader) is loader\n"
        "    observe.metric(loss=float('nan'))\n"
        "observe.result(anything=object())\n"
        "print(observe.current_run().seed, 'torch' in sys.modules, 'pydantic' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "0 False False\n", "")
