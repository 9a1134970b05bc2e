"""Run and time a training: all epochs, each with its validation.

The clock follows MLPerf. It starts, synchronised, before the first byte of the data set is read,
and stops, synchronised, after the last epoch's validation. Preparation and test are outside it;
both are timed separately.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cnnperf.machine.host import attempt
from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.schema import EpochResult
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine, Observer, TrainPhase
from cnnperf.training.evaluation import Evaluation, accuracy_and_f1, check_finite
from cnnperf.training.live import describe_optimizer

Send = Callable[[Progress | EpochDone], None]
"""Sends a message to the parent process."""


@dataclass
class TrainingLog:
    """Times, losses and scores of the clocked part of a training."""

    train_seconds: float = 0.0
    epochs: list[EpochResult] = field(default_factory=list)
    phases: list[TrainPhase] = field(default_factory=list)
    time_to_accuracy_seconds: float | None = None
    optimizers: dict[str, None] = field(default_factory=dict)
    """Distinct descriptions of the live optimizer at the end of each epoch, in order."""

    @property
    def images(self) -> int:
        """Number of training images processed, over all epochs."""
        return sum(phase.images for phase in self.phases)

    @property
    def phase_seconds(self) -> float:
        """Time of the training phases, without loading data and validation."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def step_seconds(self) -> list[float]:
        """Time of every step."""
        return [seconds for phase in self.phases for seconds in phase.step_seconds]

    @property
    def step_losses(self) -> list[float]:
        """Mean training loss of every step."""
        return [loss for phase in self.phases for loss in phase.losses_S.tolist()]

    @property
    def data_wait_fraction(self) -> float:
        """Fraction of the training phases spent waiting for batches."""
        waited = sum(phase.data_wait_seconds for phase in self.phases)
        return min(1.0, waited / self.phase_seconds)


def run_training(engine: Engine, send: Send) -> TrainingLog:
    """Train a prepared engine's case on the clock, and send its progress."""
    recorder = TrainingRecorder(engine, send)
    engine.load_data()
    engine.train(recorder)
    return recorder.stop()


class TrainingRecorder:
    """Clock, log and `EpochHandler` of one training; creating it starts the clock."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self._engine, self._send = engine, send
        self.log = TrainingLog()
        synchronize(engine.device)
        engine.ranks.barrier()
        self._start = time.perf_counter()

    def stop(self) -> TrainingLog:
        """Wait for the device, and for other ranks, stop the clock, and return the log."""
        synchronize(self._engine.device)
        self._engine.ranks.barrier()
        self.log.train_seconds = time.perf_counter() - self._start
        return self.log

    @property
    def steps_left(self) -> int | None:
        """Number of steps left; None if the recipe limits only epochs."""
        limit = self._engine.recipe.max_steps
        return None if limit is None else limit - len(self.log.step_seconds)

    @property
    def epochs(self) -> int:
        """Number of epochs that will run; a limit on steps may reduce it."""
        recipe = self._engine.recipe
        if recipe.max_steps is None:
            return recipe.epochs
        return min(recipe.epochs, -(-recipe.max_steps // self._engine.steps_per_epoch()))

    def finish_epoch(self, phase: TrainPhase) -> bool:
        """Validate after an epoch, log both, and return whether training continues."""
        log, engine = self.log, self._engine
        log.phases.append(phase)
        log.optimizers[attempt(describe_optimizer, engine) or "unknown"] = None
        result = EpochResult(
            epoch=len(log.phases), train_loss=phase.mean_loss, train_seconds=phase.seconds
        )
        if not engine.recipe.is_sample:
            result = self._validate(result)
        log.epochs.append(result)
        engine.learning_rate.after_epoch(result.val_loss)
        stop_at = engine.recipe.target_accuracy
        target, accuracy = stop_at or engine.dataset.target_accuracy, result.val_accuracy
        reached = target is not None and accuracy is not None and accuracy >= target
        if reached and log.time_to_accuracy_seconds is None:
            log.time_to_accuracy_seconds = time.perf_counter() - self._start
        self._send(EpochDone(epochs=self.epochs, result=result))
        ended = reached and stop_at is not None
        return not ended and len(log.epochs) < self.epochs and self.steps_left != 0

    def _validate(self, result: EpochResult) -> EpochResult:
        self._send(
            Progress(phase="validation", epoch=result.epoch, epochs=self.epochs, step=0, steps=0)
        )
        start = time.perf_counter()
        evaluation = self._engine.evaluate("validation")
        check_finite(evaluation.mean_loss, f"the validation after epoch {result.epoch}")
        scores = learned_scores(self._engine, evaluation)
        return result.model_copy(
            update={
                "val_loss": evaluation.mean_loss,
                "val_accuracy": scores and scores[0],
                "val_f1_macro": scores and scores[1],
                "val_seconds": time.perf_counter() - start,
            }
        )

    def observer(self, epoch: int) -> Observer:
        """Return a function that sends the step, loss and images per second of an epoch."""
        start = time.perf_counter()
        steps = self._engine.steps_in_epoch(self.steps_left)

        def observe(step: int, mean_loss: float) -> None:
            images = step * self._engine.recipe.batch_size
            speed = images / (time.perf_counter() - start)
            self._send(
                Progress(
                    phase="train", epoch=epoch, epochs=self.epochs, step=step, steps=steps,
                    loss=mean_loss, images_per_second=speed,
                )
            )  # fmt: skip

        return observe


def learned_scores(engine: Engine, evaluation: Evaluation) -> tuple[float, float] | None:
    """Return accuracy and macro F1, or None if the labels are random."""
    return accuracy_and_f1(evaluation.confusion_KK) if engine.dataset.learnable else None
