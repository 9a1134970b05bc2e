"""The training itself, on the clock: every epoch, its validation, then the test set.

Torch half. The clock starts synchronised, before the data set's first byte is read, and stops
synchronised at the end of the last epoch's validation (MLPerf's order). Preparing stands before
it, the test set after it; both are timed apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.schema import EpochResult
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine, Evaluation, Observer, TrainPhase
from cnnperf.training.evaluation import accuracy_and_f1
from cnnperf.training.losses import check_finite

Say = Callable[[Progress | EpochDone], None]


@dataclass(kw_only=True)
class TrainingLog:
    """What the clocked part of a training measured."""

    train_seconds: float = 0.0
    epochs: list[EpochResult] = field(default_factory=list)
    phases: list[TrainPhase] = field(default_factory=list)
    time_to_accuracy_seconds: float | None = None

    @property
    def images(self) -> int:
        """Training images, each counted as often as it was seen."""
        return sum(phase.images for phase in self.phases)

    @property
    def phase_seconds(self) -> float:
        """Time of the training phases, without reading the data set and validating."""
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
        """Share of the training phases spent waiting for a batch."""
        waited = sum(phase.data_wait_seconds for phase in self.phases)
        return min(1.0, waited / self.phase_seconds)


def run_training(engine: Engine, say: Say) -> TrainingLog:
    """Train a prepared engine's case from start to end, saying how it goes."""
    course = ClockedCourse(engine, say)
    engine.load_data()
    engine.train(course)
    return course.stop()


class ClockedCourse:
    """The clock and the log of one training; the clock starts as this is made."""

    def __init__(self, engine: Engine, say: Say) -> None:
        self._engine, self._say = engine, say
        self.log = TrainingLog()
        synchronize(engine.device)
        self._start = time.perf_counter()

    def stop(self) -> TrainingLog:
        """Stop the clock once the device is done."""
        synchronize(self._engine.device)
        self.log.train_seconds = time.perf_counter() - self._start
        return self.log

    @property
    def steps_left(self) -> int | None:
        """Training steps that may still be taken; None where only epochs count."""
        limit = self._engine.recipe.max_steps
        return None if limit is None else limit - len(self.log.step_seconds)

    @property
    def epochs(self) -> int:
        """That there will be, once the data are loaded: a limit on steps may end them earlier."""
        recipe = self._engine.recipe
        if recipe.max_steps is None:
            return recipe.epochs
        return min(recipe.epochs, -(-recipe.max_steps // self._engine.steps_per_epoch()))

    def finish_epoch(self, phase: TrainPhase) -> bool:
        """Validate after an epoch and log both; returns whether to go on."""
        log, engine = self.log, self._engine
        log.phases.append(phase)
        result = EpochResult(
            epoch=len(log.phases), train_loss=phase.mean_loss, train_seconds=phase.seconds
        )
        if not engine.recipe.is_sample:
            result = self._validate(result)
        log.epochs.append(result)
        if log.time_to_accuracy_seconds is None and reached_target(engine, result):
            log.time_to_accuracy_seconds = time.perf_counter() - self._start
        self._say(EpochDone(epochs=self.epochs, result=result))
        return len(log.epochs) < self.epochs and self.steps_left != 0

    def _validate(self, result: EpochResult) -> EpochResult:
        self._say(
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
        """Whom to tell how an epoch goes: it passes on step, loss and images/s."""
        start = time.perf_counter()
        engine = self._engine
        steps = min(engine.steps_per_epoch(), self.steps_left or engine.steps_per_epoch())

        def send(step: int, mean_loss: float) -> None:
            images = step * engine.recipe.batch_size
            self._say(
                Progress(
                    phase="train",
                    epoch=epoch,
                    epochs=self.epochs,
                    step=step,
                    steps=steps,
                    loss=mean_loss,
                    images_per_second=images / (time.perf_counter() - start),
                )
            )

        return send


def learned_scores(engine: Engine, evaluation: Evaluation) -> tuple[float, float] | None:
    """Accuracy and macro F1, or None where the labels are random."""
    return accuracy_and_f1(evaluation.confusion_KK) if engine.dataset.learnable else None


def reached_target(engine: Engine, result: EpochResult) -> bool:
    """Whether an epoch's validation reached the data set's target accuracy."""
    target = engine.dataset.target_accuracy
    return target is not None and result.val_accuracy is not None and result.val_accuracy >= target
