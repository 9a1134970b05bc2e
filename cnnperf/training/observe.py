"""Mark what a training of your own does, so that cnnperf can measure it.

    from cnnperf import observe

    with observe.training(model=model):
        for epoch in observe.epochs(range(10)):
            for images, labels in observe.steps(loader):
                ...
            observe.metric(val_accuracy=accuracy)
    observe.result(test_accuracy=accuracy, test_iou=iou)

A script that runs alone may have the same marks: they do nothing then. Importing this module
imports only the standard library, and torch only if the script has done so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cnnperf.training.observation import Message, Observation, Run

VARIABLE = "CNNPERF_OBSERVE"
"""Environment variable of a command: descriptors of its messages and of `go`, and its `Run`."""

T = TypeVar("T")

# --- the observation of this process ------------------------------------------------------------

_current: Observation | None = None
_is_looked_up = False


def observation() -> Observation | None:
    """Return the observation of this process; None if nothing observes it."""
    global _current, _is_looked_up
    if not _is_looked_up:
        _is_looked_up = True
        if VARIABLE in os.environ:
            _current = _of_parent(os.environ.pop(VARIABLE))  # not that of its own children
    return _current


def observe_with(observer: Observation | None) -> None:
    """Let an observation take the marks of this process from now on."""
    global _current, _is_looked_up
    _current, _is_looked_up = observer, True


def _of_parent(text: str) -> Observation:
    """Return an observation whose messages go through pipes to the process that started this."""
    content = json.loads(text)
    out = os.fdopen(content["messages"], "wb", buffering=0)
    go = os.fdopen(content["go"], "rb", buffering=0)
    for pipe in (out, go):
        os.set_inheritable(pipe.fileno(), False)

    def send(message: Message) -> None:
        out.write(json.dumps(message).encode() + b"\n")

    return Observation(run_from(content["run"]), send, go.readline)


def run_from(content: dict[str, Any]) -> Run:
    """Return the `Run` of a message."""
    return Run(**{**content, "data_dir": Path(content["data_dir"])})


# --- for scripts ----------------------------------------------------------------------------------


def current_run() -> Run:
    """Return what this training is asked to do; a script that runs alone gets the defaults."""
    observed = observation()
    if observed is not None:
        return observed.run
    torch = sys.modules.get("torch")
    return Run(device="cuda" if torch is not None and torch.cuda.is_available() else "cpu")


@contextmanager
def training(*, model: Any = None, device: str | None = None) -> Iterator[None]:
    """Time a block: from the first byte of data read to the end of the last epoch.

    What comes before is preparation, what comes after is evaluation; neither is timed.

    Args:
        model: a torch module; its architecture is part of what two trainings must have in common.
        device: where it trains, if there is no model to tell; the default is the run's.

    Raises:
        UsageError: it is entered a second time.
    """
    observed = observation()
    if observed is None:
        yield
        return
    with observed.training(model, device):
        yield


def epochs(epochs: Iterable[T]) -> Iterable[T]:
    """Mark the epochs of a training; each ends when the next one is asked for."""
    observed = observation()
    return epochs if observed is None else observed.epochs(epochs)


def steps(batches: Iterable[T]) -> Iterable[T]:
    """Mark the training steps of a pass over a loader, and time the wait for each batch.

    The length of the first tensor of a batch counts as its number of images.
    """
    observed = observation()
    return batches if observed is None else observed.steps(batches)


def metric(**values: float) -> None:
    """Report figures of the epoch under any name, such as `val_accuracy` or `train_loss`.

    Raises:
        NaNLossError: one is not a finite number.
    """
    observed = observation()
    if observed is not None:
        observed.metric(**values)


def result(**values: float) -> None:
    """Report figures of the whole training: what its case declares as quality, and any other.

    `test_accuracy` and `test_f1_macro` are fractions, and judged as those of cnnperf's cases.

    Raises:
        NaNLossError: one is not a finite number.
    """
    observed = observation()
    if observed is not None:
        observed.result(**values)
