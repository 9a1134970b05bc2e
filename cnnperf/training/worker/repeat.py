"""One repeat, from an empty process to its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cnnperf.models import count_parameters, training_flops_per_image
from cnnperf.record.environment import Settings
from cnnperf.record.messages import Progress, Ready, Result, Trained, TrainJob
from cnnperf.record.schema import Inference, Metrics, Repeat
from cnnperf.training.data import dataset_sha256
from cnnperf.training.engines import Engine, Evaluation, engine_class
from cnnperf.training.evaluation import per_class_scores
from cnnperf.training.inference import (
    compare_precisions,
    inference_metrics,
    measure_inference,
    prepare_subject,
)
from cnnperf.training.loop import TrainingLog, learned_scores, run_training
from cnnperf.training.losses import check_finite
from cnnperf.training.percentiles import percentiles
from cnnperf.training.profiling.profiler import check_profile_dir, record_profile
from cnnperf.training.worker.channel import Channel
from cnnperf.training.worker.device import choose_device
from cnnperf.training.worker.peak_memory import peak_bytes, reset_peak
from cnnperf.training.worker.torch_environment import settings_with_torch

Measured = tuple[TrainingLog, int | None, Inference | None]
"""A training, its peak memory in bytes, and for an `infer` case what came after it."""


def run_repeat(job: TrainJob, channel: Channel, process_start: float) -> None:
    """Prepare, wait for `go`, train, test, and say what came of it.

    A case of suite `infer` is trained before `go`, and its inference is measured after it.

    Args:
        job: what to train.
        channel: the line to the parent.
        process_start: `time.perf_counter()` when this process began to import.
    """
    device = choose_device(job.device)
    engine = engine_class(job.case.engine)(
        case=job.case, seed=job.seed, device=device, data_dir=job.data_dir
    )
    import_seconds = time.perf_counter() - process_start
    if job.profile_dir is not None:
        check_profile_dir(job.profile_dir)
    engine.prepare()
    reset_peak(device)
    startup_seconds = time.perf_counter() - process_start

    def get_ready() -> None:
        lived = time.perf_counter() - process_start
        channel.say(Ready(startup_seconds=lived, import_seconds=import_seconds, device=device.type))
        channel.wait_for_go()

    measure = _train_and_infer if job.case.suite == "infer" else _train
    log, peak_memory_bytes, inference = measure(engine, channel, get_ready)
    evaluation = None if engine.recipe.is_sample else _test(engine, channel)
    metrics = _metrics(job, engine, log, evaluation).model_copy(
        update={
            "startup_seconds": startup_seconds,
            "peak_memory_bytes": peak_memory_bytes,
            **(inference_metrics(inference.results, engine.precision) if inference else {}),
        }
    )
    repeat = _repeat(job, engine, log, evaluation, metrics)
    repeat = repeat.model_copy(update={"inference": inference})
    if job.profile_dir is not None and inference is None:  # of training: not what `infer` times
        profile, flags = record_profile(
            engine, job.profile_dir, f"{job.case.id}-seed{job.seed}", metrics.step_seconds_p50
        )
        warnings = [*repeat.warnings, *flags]
        repeat = repeat.model_copy(update={"profile": profile, "warnings": warnings})
    channel.say(Result(repeat=repeat))


def _train(engine: Engine, channel: Channel, get_ready: Callable[[], None]) -> Measured:
    get_ready()
    log = run_training(engine, channel.say)
    channel.say(Trained(seconds=log.train_seconds))
    return log, _peak_bytes(engine), None


def _train_and_infer(engine: Engine, channel: Channel, get_ready: Callable[[], None]) -> Measured:
    log = run_training(engine, channel.say)
    peak_memory_bytes = _peak_bytes(engine)
    subject = prepare_subject(engine)
    get_ready()
    start = time.perf_counter()
    results = measure_inference(engine, subject, channel.say)
    seconds = time.perf_counter() - start
    channel.say(Trained(seconds=seconds))
    accuracies = [] if engine.recipe.is_sample else compare_precisions(engine, subject)
    inference = Inference(seconds=seconds, results=results, accuracies=accuracies)
    return log, peak_memory_bytes, inference


def _peak_bytes(engine: Engine) -> int | None:
    """Of this process's training, whether its steps allocated or replay what was captured."""
    peak = peak_bytes(engine.device)
    return None if peak is None else max(peak, engine.captured_peak_bytes)


def _test(engine: Engine, channel: Channel) -> Evaluation:
    epochs = engine.recipe.epochs
    channel.say(Progress(phase="test", epoch=epochs, epochs=epochs, step=0, steps=0))
    evaluation = engine.evaluate("test")
    check_finite(evaluation.mean_loss, "the test")
    return evaluation


def _metrics(
    job: TrainJob, engine: Engine, log: TrainingLog, evaluation: Evaluation | None
) -> Metrics:
    scores = learned_scores(engine, evaluation) if evaluation else None
    flops_per_image = _training_flops_per_image(engine)
    flops_per_second = flops_per_image and flops_per_image * log.images / log.phase_seconds
    peak = job.matmul_flops_per_second.get(engine.precision)
    last = log.epochs[-1]
    return Metrics(
        train_seconds=log.train_seconds,
        images_per_second=log.images / log.phase_seconds,
        **_step_percentiles(log.step_seconds),
        data_wait_fraction=log.data_wait_fraction,
        compile_seconds=engine.compile_seconds,
        test_seconds=evaluation and evaluation.seconds,
        time_to_accuracy_seconds=log.time_to_accuracy_seconds,
        test_accuracy=scores and scores[0],
        test_f1_macro=scores and scores[1],
        test_loss=evaluation and evaluation.mean_loss,
        val_accuracy=last.val_accuracy,
        training_flops_per_image=flops_per_image,
        flops_per_second=flops_per_second,
        mfu=flops_per_second / peak if flops_per_second and peak else None,
    )


def _step_percentiles(step_seconds: list[float]) -> dict[str, float | None]:
    """p50, p90 and p99 of the step time; None where there are too few steps for one."""
    return {f"step_seconds_{name}": value for name, value in percentiles(step_seconds).items()}


def _training_flops_per_image(engine: Engine) -> float | None:
    """Counted on the architecture; None for a user's model that does not work on meta tensors."""
    try:
        return training_flops_per_image(
            engine.case.model,
            engine.channels,
            engine.case.resolution,
            engine.dataset.num_classes,
        )
    except Exception:  # anyone's code may fail there in any way; the training is done and counts
        return None


def _repeat(
    job: TrainJob,
    engine: Engine,
    log: TrainingLog,
    evaluation: Evaluation | None,
    metrics: Metrics,
) -> Repeat:
    learned = evaluation if engine.dataset.learnable else None
    return Repeat(
        seed=job.seed,
        metrics=metrics,
        epochs=log.epochs,
        per_class=per_class_scores(learned.confusion_KK) if learned else None,
        confusion=learned.confusion_KK.tolist() if learned else None,
        steps=len(log.step_seconds),
        precision=engine.precision,
        model_parameters=count_parameters(engine.model),
        model_sha256=engine.model_sha256,
        dataset_sha256=dataset_sha256(engine.splits),
        settings=_settings(engine),
        worker_pid=os.getpid(),
        warnings=engine.flags,
        step_losses=log.step_losses if job.deterministic else None,
    )


def _settings(engine: Engine) -> Settings:
    """Torch's switches in this process, and what only the engine knows."""
    return settings_with_torch(engine.device).model_copy(update=engine.settings)
