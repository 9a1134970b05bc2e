"""Run one repeat: prepare, wait for `go`, train, test, and send the result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cnnperf.catalog.specs import Case
from cnnperf.models import count_parameters, weights_sha256
from cnnperf.record.messages import ProbeJob, Progress, Ready, Result, Trained, TrainJob
from cnnperf.record.schema import Inference, Metrics, PerClass, Repeat
from cnnperf.training.clock import percentiles
from cnnperf.training.data.progress import listen
from cnnperf.training.engines import Engine, engine_class
from cnnperf.training.evaluation import Evaluation, check_finite, per_class_scores
from cnnperf.training.inference import (
    compare_precisions,
    inference_metrics,
    measure_inference,
    prepare_subject,
)
from cnnperf.training.live import contradiction_flags, live_training
from cnnperf.training.loop import TrainingLog, learned_scores, run_training
from cnnperf.training.profiling.group import describe_group
from cnnperf.training.profiling.profiler import check_profile_dir, record_profile
from cnnperf.training.ranks import ALONE, join_ranks, leave_ranks, local_rank
from cnnperf.training.worker.channel import Channel
from cnnperf.training.worker.device import choose_device, peak_bytes, reset_peak
from cnnperf.training.worker.pipes import marker
from cnnperf.training.worker.probe import check_cases, training_flops
from cnnperf.training.worker.torch_environment import settings_with_torch


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A finished training, before its test."""

    log: TrainingLog
    peak_memory_bytes: int | None
    inference: Inference | None = None
    """Only for a case of the suite `infer`."""


def run_repeat(
    job: TrainJob, case: Case, channel: Channel, process_start: float, folder: Path | None = None
) -> None:
    """Run one repeat and send its messages.

    A case of the suite `infer` is trained before `go`; its inference is measured after `go`.
    `process_start` is `time.perf_counter()` at the start of this process's imports, and `folder`
    the launcher's if this process is one of several.
    """
    device = choose_device(job.device, 0 if folder is None else local_rank())
    ranks = ALONE if folder is None else join_ranks(device, marker(folder, local_rank()))
    if job.check:
        check_cases(ProbeJob(device=job.device, cases=(case,)))
    engine = engine_class(case.engine)(
        case=case, seed=job.seed, device=device, data_dir=job.data_dir, ranks=ranks
    )
    import_seconds = time.perf_counter() - process_start
    if job.profile_dir is not None:
        check_profile_dir(job.profile_dir)
    preparing = Progress(phase="build", epoch=1, epochs=case.recipe.epochs, step=0, steps=0)
    channel.send(preparing)

    def read_some(done: int, total: int) -> None:
        changes = {"phase": "data", "step": done, "steps": total}
        channel.send(preparing.model_copy(update=changes))

    listen(read_some)
    engine.prepare()
    startup_seconds = time.perf_counter() - process_start
    with torch.random.fork_rng(devices=[]):  # counting builds the model again
        flops_per_image = training_flops(case)
    reset_peak(device)

    def get_ready() -> None:
        ranks.barrier()
        seconds = time.perf_counter() - process_start
        channel.send(
            Ready(startup_seconds=seconds, import_seconds=import_seconds, device=device.type)
        )
        channel.wait_for_go()

    train = _train_and_infer if case.suite == "infer" else _train
    trained = train(engine, channel, get_ready)
    evaluation = None if engine.recipe.is_sample else _test(engine, channel)
    metrics = _metrics(job, engine, trained, evaluation, startup_seconds, flops_per_image)
    repeat = _repeat(job, engine, trained, evaluation, metrics)
    channel.send(Result(repeat=_looked_into(job, engine, trained, repeat)))
    leave_ranks()


def _test(engine: Engine, channel: Channel) -> Evaluation:
    epochs = engine.recipe.epochs
    channel.send(Progress(phase="test", epoch=epochs, epochs=epochs, step=0, steps=0))
    evaluation = engine.evaluate("test")
    check_finite(evaluation.mean_loss, "the test")
    return evaluation


def _looked_into(job: TrainJob, engine: Engine, trained: _Trained, repeat: Repeat) -> Repeat:
    """Add where the time goes; finding that out changes the engine's weights."""
    ranks = engine.ranks
    if job.profile_dir is not None and trained.inference is None:  # `infer` times no training
        name = f"{engine.case.id.replace('/', '_')}-seed{job.seed}"
        name += f"-rank{ranks.rank}" if ranks else ""
        step_seconds = repeat.metrics.step_seconds_p50
        profile, flags = record_profile(engine, job.profile_dir, name, step_seconds)
        warnings = [*repeat.warnings, *flags]
        repeat = repeat.model_copy(update={"profile": profile, "warnings": warnings})
    if ranks:
        repeat = repeat.model_copy(update={"group": describe_group(engine, trained.log)})
    return repeat


def _train(engine: Engine, channel: Channel, get_ready: Callable[[], None]) -> _Trained:
    get_ready()
    log = run_training(engine, channel.send)
    channel.send(Trained(seconds=log.train_seconds))
    return _Trained(log=log, peak_memory_bytes=_peak_bytes(engine))


def _train_and_infer(engine: Engine, channel: Channel, get_ready: Callable[[], None]) -> _Trained:
    log = run_training(engine, channel.send)
    peak_memory_bytes = _peak_bytes(engine)
    subject = prepare_subject(engine)
    get_ready()
    start = time.perf_counter()
    results = measure_inference(engine, subject, channel.send)
    seconds = time.perf_counter() - start
    channel.send(Trained(seconds=seconds))
    accuracies = [] if engine.recipe.is_sample else compare_precisions(engine, subject)
    inference = Inference(seconds=seconds, results=results, accuracies=accuracies)
    return _Trained(log=log, peak_memory_bytes=peak_memory_bytes, inference=inference)


def _peak_bytes(engine: Engine) -> int | None:
    """Return the peak memory of the training, including that of captured steps."""
    peak = peak_bytes(engine.device)
    return None if peak is None else max(peak, engine.captured_peak_bytes)


def _metrics(
    job: TrainJob,
    engine: Engine,
    trained: _Trained,
    evaluation: Evaluation | None,
    startup_seconds: float,
    flops_per_image: float | None,
) -> Metrics:
    log, inference = trained.log, trained.inference
    scores = learned_scores(engine, evaluation) if evaluation else None
    flops_per_second = flops_per_image and flops_per_image * log.images / log.phase_seconds
    peak = job.matmul_flops_per_second.get(engine.precision)
    if peak and engine.ranks:  # that of one accelerator, but of all cores of a CPU
        peak = peak * engine.ranks.size if engine.device.type != "cpu" else None
    return Metrics(
        startup_seconds=startup_seconds,
        train_seconds=log.train_seconds,
        images_per_second=log.images / log.phase_seconds,
        **percentiles(
            log.step_seconds,
            "step_seconds",
            steps_at_once=engine.settings.get("cuda_graph_steps") or 1,
        ),
        data_wait_fraction=log.data_wait_fraction,
        compile_seconds=engine.compile_seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
        test_seconds=evaluation and evaluation.seconds,
        time_to_accuracy_seconds=log.time_to_accuracy_seconds,
        test_accuracy=scores and scores[0],
        test_f1_macro=scores and scores[1],
        test_loss=evaluation and evaluation.mean_loss,
        val_accuracy=log.epochs[-1].val_accuracy,
        training_flops_per_image=flops_per_image,
        flops_per_second=flops_per_second,
        mfu=flops_per_second / peak if flops_per_second and peak else None,
        **(inference_metrics(inference.results, engine.precision) if inference else {}),
    )


def _per_class(engine: Engine, evaluation: Evaluation) -> PerClass:
    classes = engine.dataset.classes
    names = None if classes is None else list(classes)
    return per_class_scores(evaluation.confusion_KK).model_copy(update={"names": names})


def _repeat(
    job: TrainJob,
    engine: Engine,
    trained: _Trained,
    evaluation: Evaluation | None,
    metrics: Metrics,
) -> Repeat:
    log = trained.log
    learned = evaluation if engine.dataset.learnable else None
    training = live_training(engine, list(log.optimizers))
    return Repeat(
        seed=job.seed,
        metrics=metrics,
        epochs=log.epochs,
        per_class=_per_class(engine, learned) if learned else None,
        confusion=learned.confusion_KK.tolist() if learned else None,
        steps=len(log.step_seconds),
        precision=engine.precision,
        model_parameters=count_parameters(engine.model),
        model_sha256=engine.model_sha256,
        dataset_sha256=engine.dataset_sha256(),
        training=training,
        settings=settings_with_torch(engine.device).model_copy(update=engine.settings),
        worker_pid=os.getpid(),
        warnings=engine.flags + contradiction_flags(training),
        step_losses=log.step_losses if job.deterministic else None,
        weights_sha256=weights_sha256(engine.model) if job.deterministic else None,
        inference=trained.inference,
    )
