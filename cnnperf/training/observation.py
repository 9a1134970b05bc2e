"""One training of one's own: its marks, and what is measured between them.

`cnnperf.training.observe` has the marks. Importing this module imports only the standard library,
and torch only if the training has done so.
"""

from __future__ import annotations

import math
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from cnnperf.errors import NaNLossError, UsageError

PROGRESS_SECONDS = 0.5
"""Time between two messages about progress."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")

NAN_ADVICE = "training diverged or the device computes wrongly"

T = TypeVar("T")
Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a training is asked to do; a `trainer` is called with it."""

    seed: int = 0
    """Seed of everything random. Quality is compared in pairs of equal seeds."""
    device: str = "cpu"
    """Type of the device, as `torch.device` takes it."""
    data_dir: Path = Path("data")
    """Folder of the data sets."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The case's own settings."""
    max_epochs: int | None = None
    """Epochs after which `epochs` ends; None for all. So does `steps` after `max_steps` in all."""
    max_steps: int | None = None


@dataclass(kw_only=True)
class _Epoch:
    number: int
    train_seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


class Observation:
    """The marks of one training, and what was measured between them.

    Args:
        run: what the training is asked to do.
        send: takes each message.
        wait_for_go: returns when the clock may start.
    """

    def __init__(
        self, run: Run, send: Callable[[Message], None], wait_for_go: Callable[[], object]
    ) -> None:
        self.run = run
        self._send, self._wait_for_go = send, wait_for_go
        self._entered = False
        self._is_training = False
        self._events: Any = None
        """`torch.cuda.Event` or `torch.xpu.Event`; None where the host's clock has to do."""
        self._step_seconds = array("d")
        self._items = 0
        self._phase_seconds = self._wait_seconds = 0.0
        self._epoch: _Epoch | None = None
        self._has_epochs = False
        self._epochs = 0
        self._next_progress = 0.0

    # --- the training -------------------------------------------------------------------------

    @contextmanager
    def training(self, model: Any = None, device: str | None = None) -> Iterator[None]:
        """Time a block; see `training` of the module."""
        if self._entered:
            raise UsageError("observe.training was entered twice; a case is one training")
        self._entered = self._is_training = True
        device = _device_of(model) or device or self.run.device
        accelerator = _accelerator(device)
        self._events = getattr(accelerator, "Event", None)
        self._send({"kind": "ready", "device": device.partition(":")[0], **_facts(model)})
        self._wait_for_go()
        if accelerator is not None:
            accelerator.reset_peak_memory_stats()
            accelerator.synchronize()
        start = time.perf_counter()
        try:
            yield
            self._close_epoch()
            if accelerator is not None:
                accelerator.synchronize()
        finally:
            self._is_training = False
        seconds = time.perf_counter() - start
        self._send({"kind": "trained", "seconds": seconds, "at": time.monotonic()})
        self._send(
            {
                "kind": "measured",
                "steps": list(self._step_seconds),
                "items": self._items,
                "phase_seconds": self._phase_seconds,
                "wait_seconds": self._wait_seconds,
                "peak_memory_bytes": _peak_bytes(accelerator),
                "settings": _settings(device),
            }
        )

    def epochs(self, epochs: Iterable[T]) -> Iterator[T]:
        """Yield each epoch, at most `max_epochs`; its end is when the next one is asked for."""
        self._check("epochs")
        self._has_epochs = True
        self._epochs = len(epochs) if isinstance(epochs, Sized) else 0
        if self.run.max_epochs is not None:
            self._epochs = min(self._epochs or self.run.max_epochs, self.run.max_epochs)
        for number, each in enumerate(epochs, start=1):
            self._epoch = _Epoch(number=number)
            yield each
            self._close_epoch()
            if number == self.run.max_epochs or self._steps_left == 0:
                return

    def _close_epoch(self) -> None:
        if self._epoch is not None:
            epochs = self._epochs or self._epoch.number
            self._send({"kind": "epoch", "epochs": epochs, **asdict(self._epoch)})
        self._epoch = None

    @property
    def _steps_left(self) -> int | None:
        limit = self.run.max_steps
        return None if limit is None else limit - len(self._step_seconds)

    def steps(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield each batch and time it as a step, together with the wait for it."""
        self._check("steps")
        if not self._has_epochs:  # each pass is an epoch
            self._close_epoch()
            self._epochs += 1
            self._epoch = _Epoch(number=self._epochs)
        left = self._steps_left
        total = len(batches) if isinstance(batches, Sized) else 0
        clock, mark = time.perf_counter, self._mark
        marks, waited, items, done = [mark()], 0.0, 0, 0
        start = now = clock()
        self._next_progress = start + PROGRESS_SECONDS
        iterator = iter(batches)  # starts the workers of a DataLoader
        try:
            while done != left:
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
                finally:
                    waited += clock() - now
                items += _length(batch)
                done += 1
                try:
                    yield batch
                finally:
                    marks.append(mark())
                now = clock()
                if now >= self._next_progress:
                    self._next_progress = now + PROGRESS_SECONDS
                    self._progress(done, total, items / (now - start))
        finally:
            self._end_phase(marks, start, waited, items)

    def _mark(self) -> Any:
        """Return a moment: an event of the device's stream, or the host's clock."""
        if self._events is None:
            return time.perf_counter()
        event = self._events(enable_timing=True)
        event.record()
        return event

    def _end_phase(self, marks: list[Any], start: float, waited: float, items: int) -> None:
        if self._events is not None:
            marks[-1].synchronize()
            between = (a.elapsed_time(b) / 1e3 for a, b in pairwise(marks))
        else:
            between = (b - a for a, b in pairwise(marks))
        self._step_seconds.extend(between)
        seconds = time.perf_counter() - start
        self._phase_seconds += seconds
        self._wait_seconds += waited
        self._items += items
        if self._epoch is not None:
            self._epoch.train_seconds += seconds

    def _progress(self, step: int, steps: int, items_per_second: float) -> None:
        epoch = self._epoch.number if self._epoch is not None else 1
        self._send(
            {
                "kind": "progress",
                "phase": "train",
                "epoch": epoch,
                "epochs": max(self._epochs, epoch),
                "step": step,
                "steps": steps,
                "images_per_second": items_per_second,
            }
        )

    # --- what it reports ------------------------------------------------------------------------

    def metric(self, **values: float) -> None:
        """Keep figures of the current epoch."""
        found = self._finite(values)
        if self._epoch is not None:
            self._epoch.metrics.update(found)

    def result(self, **values: float) -> None:
        """Report figures of the whole training; a name given twice keeps the last."""
        self._send({"kind": "quality", "values": self._finite(values)})

    def _finite(self, values: dict[str, Any]) -> dict[str, float]:
        for name in values:
            if not NAME.fullmatch(name):
                raise UsageError(f"{name!r} is no name of a figure: use letters, digits and _")
        found = {name: _number(name, value) for name, value in values.items()}
        for name, value in found.items():
            if not math.isfinite(value):
                epoch = f" in epoch {self._epoch.number}" if self._epoch is not None else ""
                message = f"{name} became {value}{epoch}: {NAN_ADVICE}"
                self._send({"kind": "failed", "error": "nan_loss", "message": message})
                raise NaNLossError(message)
        return found

    def _check(self, name: str) -> None:
        if not self._is_training:
            raise UsageError(
                f"observe.{name} is used outside observe.training, whose block is what is timed"
            )


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"{name} is of type {type(value).__name__}, expected one number, such as "
            "loss.item() or a metric's mean"
        ) from None


def _length(batch: Any) -> int:
    """Return the length of the first tensor or array in a batch; 1 if it has none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 1
    if isinstance(batch, dict):
        batch = batch.values()
    elif not isinstance(batch, list | tuple):
        return 1
    for each in batch:
        shape = getattr(each, "shape", None)
        if shape is not None:
            return int(shape[0]) if len(shape) else 1
        if isinstance(each, dict | list | tuple):
            return _length(each)
    return 1


# --- what torch knows, if the training uses it ------------------------------------------------


def _device_of(model: Any) -> str | None:
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if parameters is not None else None
    return None if first is None else str(first.device)


def _accelerator(device: str) -> Any:
    """Return torch's module of the device; None on a CPU and where torch is not loaded."""
    kind = device.partition(":")[0]
    return getattr(sys.modules.get("torch"), kind) if kind in ("cuda", "xpu") else None


def _facts(model: Any) -> Message:
    if model is None or "torch" not in sys.modules:
        return {}
    from cnnperf.models import count_parameters, model_sha256

    return {"model_parameters": count_parameters(model), "model_sha256": model_sha256(model)}


def _peak_bytes(accelerator: Any) -> int:
    if accelerator is not None:
        return int(accelerator.max_memory_allocated())
    from cnnperf.machine.host import process_peak_bytes

    return process_peak_bytes()


def _settings(device: str) -> Message:
    """Return the settings in force in this process."""
    kind = device.partition(":")[0]
    if "torch" not in sys.modules:
        from cnnperf.machine.inventory import read_settings

        found = read_settings(device=kind)
    else:
        import torch

        from cnnperf.training.worker.torch_environment import settings_with_torch

        found = settings_with_torch(torch.device(device))
    content: Message = found.model_dump(mode="json")
    return content
