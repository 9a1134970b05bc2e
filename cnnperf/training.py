"""The training itself, on the clock: every epoch, its validation, then the test set.

Torch half. The clock starts synchronised, before the data set's first byte is read, and stops
synchronised at the end of the last epoch's validation (MLPerf's order). Preparing stands before
it, the test set after it; both are timed apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cnnperf.clock import synchronize
from cnnperf.engines import Engine, Evaluation, Observer, TrainPhase
from cnnperf.evaluation import accuracy_and_f1
from cnnperf.losses import check_finite
from cnnperf.protocol import EpochDone, Progress, Trained
from cnnperf.record import EpochResult

Say = Callable[[Progress | EpochDone | Trained], None]


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
    def data_wait_fraction(self) -> float:
        """Share of the training phases spent waiting for a batch."""
        waited = sum(phase.data_wait_seconds for phase in self.phases)
        return min(1.0, waited / self.phase_seconds)


def run_training(engine: Engine, say: Say) -> TrainingLog:
    """Train a prepared engine's case from start to end, saying how it goes."""
    log = TrainingLog()
    epochs, max_steps = engine.recipe.epochs, engine.recipe.max_steps
    synchronize(engine.device)
    start = time.perf_counter()
    engine.load_data()
    for epoch in range(1, epochs + 1):
        left = None if max_steps is None else max_steps - len(log.step_seconds)
        phase = engine.train_epoch(epoch, _progress_sender(engine, epoch, epochs, say), left)
        log.phases.append(phase)
        result = EpochResult(epoch=epoch, train_loss=phase.mean_loss, train_seconds=phase.seconds)
        if not engine.recipe.is_sample:
            result = _validate(engine, result, epochs, say)
        log.epochs.append(result)
        if log.time_to_accuracy_seconds is None and reached_target(engine, result):
            log.time_to_accuracy_seconds = time.perf_counter() - start
        say(EpochDone(epochs=epochs, result=result))
        if max_steps is not None and len(log.step_seconds) >= max_steps:
            break
    synchronize(engine.device)
    log.train_seconds = time.perf_counter() - start
    return log


def _validate(engine: Engine, result: EpochResult, epochs: int, say: Say) -> EpochResult:
    say(Progress(phase="validation", epoch=result.epoch, epochs=epochs, step=0, steps=0))
    start = time.perf_counter()
    evaluation = engine.evaluate("validation")
    check_finite(evaluation.mean_loss, f"the validation after epoch {result.epoch}")
    scores = learned_scores(engine, evaluation)
    return result.model_copy(
        update={
            "val_loss": evaluation.mean_loss,
            "val_accuracy": scores and scores[0],
            "val_f1_macro": scores and scores[1],
            "val_seconds": time.perf_counter() - start,
        }
    )


def learned_scores(engine: Engine, evaluation: Evaluation) -> tuple[float, float] | None:
    """Accuracy and macro F1, or None where the labels are random."""
    if not engine.dataset.learnable:
        return None
    return accuracy_and_f1(evaluation.labels_N, evaluation.predicted_N, engine.dataset.num_classes)


def reached_target(engine: Engine, result: EpochResult) -> bool:
    """Whether an epoch's validation reached the data set's target accuracy."""
    target = engine.dataset.target_accuracy
    return target is not None and result.val_accuracy is not None and result.val_accuracy >= target


def _progress_sender(engine: Engine, epoch: int, epochs: int, say: Say) -> Observer:
    start = time.perf_counter()

    def send(step: int, mean_loss: float) -> None:
        images = step * engine.recipe.batch_size
        say(
            Progress(
                phase="train",
                epoch=epoch,
                epochs=epochs,
                step=step,
                steps=engine.steps_per_epoch(),
                loss=mean_loss,
                images_per_second=images / (time.perf_counter() - start),
            )
        )

    return send
