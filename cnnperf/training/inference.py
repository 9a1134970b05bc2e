"""Measure prediction with the trained model: latency, throughput, and the cost of lower precision.

    pytest benchmarks/test_infer.py --cnnperf-tier=full -k digits

A copy of the trained model is converted as a whole, weights included, as for deployment. (Autocast,
which training uses, keeps float32 weights and converts them in every call.) The copy predicts real
test images that are already on the device, in evaluation mode, neither compiled nor captured.

Two quantities are timed with the same number of calls:

- latency: the caller waits for every answer, so the host's clock runs around the call and a
  synchronisation. Device events would miss the launch of the first kernel and the notice that the
  last one is done.
- throughput: calls are queued without waiting, and synchronised once at the end.

Shapes: B images of a batch, N images of a split, C channels, H W pixels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from cnnperf.record.environment import Flag
from cnnperf.record.messages import Progress
from cnnperf.record.schema import InferenceAccuracy, InferenceResult, PrecisionName
from cnnperf.training.clock import percentiles, synchronize
from cnnperf.training.engines import Engine
from cnnperf.training.engines.base import SMALL_RESOLUTION

Call = Callable[[], object]
Clock = Callable[[], float]

WARM_UP_CALLS = 5
WARM_UP_SECONDS = 1.0
"""Per configuration: libraries choose their kernels at the first call of a shape."""

MAX_LOST_FRACTION = 0.005
MIN_LOST_IMAGES = 6
"""A smaller loss is not flagged. If six images change sides, chance makes all six wrong once in 32
times (two-sided sign test); with fewer images, more than once in 20."""

LIKELY_CAUSES = {
    "bfloat16": "values that bfloat16, with 8 bits of precision, cannot distinguish",
    "float16": "values above 65,504 or below 6e-8, outside the range of float16",
    "float32": "batch-norm statistics learned in another precision",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the measurement of one configuration."""

    budget_seconds: float = 1.0
    """Stop after this time and `min_calls`; queued calls take at most as long again."""
    min_calls: int = 20
    max_calls: int = 10_000
    max_seconds: float = 5.0
    """Stop after this time even before `min_calls`."""

    def reached(self, calls: int, seconds: float) -> bool:
        """Return whether to stop after this many calls and seconds; one call is always made."""
        if calls == 0:
            return False
        most = seconds >= self.max_seconds or calls >= self.max_calls
        return most or (seconds >= self.budget_seconds and calls >= self.min_calls)


DEFAULT_LIMITS = Limits()
WARM_UP = Limits(budget_seconds=0, min_calls=WARM_UP_CALLS, max_seconds=WARM_UP_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The trained model in each precision, and the images to predict."""

    models: dict[PrecisionName, nn.Module]
    images_NCHW: torch.Tensor
    """float32 images, as many as in the largest batch."""
    batch_sizes: tuple[int, ...]


def batch_sizes(resolution: int, device_type: str) -> tuple[int, ...]:
    """Return the batch sizes to measure; small for large images on a CPU, at a second each."""
    if resolution <= SMALL_RESOLUTION:
        return (1, 32, 128, 1000)
    return (1, 8) if device_type == "cpu" else (1, 8, 32, 128)


# --- before the clock starts --------------------------------------------------------------------


@torch.inference_mode()
def prepare_subject(engine: Engine) -> Subject:
    """Convert copies of an engine's trained model, and copy test images to the device.

    A precision that the model or the device does not support is left out, with a warning.
    """
    sizes = batch_sizes(engine.case.resolution, engine.device.type)
    images_NCHW = _test_images(engine, max(sizes))
    with engine.learned_weights():
        learned = _converted(engine.model, torch.float32)
    models: dict[PrecisionName, nn.Module] = {engine.plain_precision: learned}
    reduced: tuple[PrecisionName, ...] = ("bfloat16", "float16")
    if engine.device.type == "cpu":  # CPUs mostly use float16 for storage only
        reduced = ("bfloat16",)
    for name in reduced:
        dtype = dtype_of(name)
        try:
            model = _converted(learned, dtype)
            model(images_NCHW[:1].to(dtype))
            synchronize(engine.device)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:100]
            message = (
                f"Inference in {name} was not measured: it failed ({type(error).__name__}: "
                f"{reason}). The likely cause is a fixed dtype in the model's forward: use the "
                "dtype of the input."
            )
            engine.flags.append(Flag(kind="precision_not_measured", value=None, message=message))
        else:
            models[name] = model
    return Subject(models=models, images_NCHW=images_NCHW, batch_sizes=sizes)


def _converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(model).to(dtype).eval()


def dtype_of(precision: PrecisionName) -> torch.dtype:
    """Return the dtype of images and weights; TF32 multiplies float32 tensors."""
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)


def _test_images(engine: Engine, count: int) -> torch.Tensor:
    """Return the first test images, repeated if too few, in the engine's layout."""
    parts: list[torch.Tensor] = []
    for images_BCHW, _ in engine.evaluation_batches("test"):
        parts.append(images_BCHW)
        if sum(map(len, parts)) >= count:
            break
    found_NCHW = torch.cat(parts)
    is_channels_last = found_NCHW.is_contiguous(memory_format=torch.channels_last)
    rows = torch.arange(count, device=found_NCHW.device) % len(found_NCHW)
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    return found_NCHW[rows].contiguous(memory_format=layout)


# --- on the clock -------------------------------------------------------------------------------


@torch.inference_mode()
def measure_inference(
    engine: Engine,
    subject: Subject,
    send: Callable[[Progress], None],
    limits: Limits = DEFAULT_LIMITS,
) -> list[InferenceResult]:
    """Time every precision with every batch size, and send progress."""
    results: list[InferenceResult] = []
    total, epochs = len(subject.models) * len(subject.batch_sizes), engine.recipe.epochs
    for precision, model in subject.models.items():
        images_NCHW = subject.images_NCHW.to(dtype_of(precision))
        for size in subject.batch_sizes:
            send(Progress(phase="inference", epoch=epochs, epochs=epochs, step=len(results),
                          steps=total))  # fmt: skip
            latencies, queued_seconds = _time(model, images_NCHW[:size], engine.device, limits)
            calls, latency = len(latencies), percentiles(latencies, "latency_seconds")
            results.append(
                InferenceResult(precision=precision, batch_size=size, calls=calls,
                                images_per_second=size * calls / queued_seconds, **latency)
            )  # fmt: skip
    return results


def _time(
    model: nn.Module, images_BCHW: torch.Tensor, device: torch.device, limits: Limits
) -> tuple[list[float], float]:
    """Return the seconds of each call, and of as many queued calls together."""
    call, wait = partial(model, images_BCHW), partial(synchronize, device)
    time_calls(call, wait, WARM_UP)
    latencies = time_calls(call, wait, limits)
    if device.type == "cpu":  # a CPU does not queue
        return latencies, sum(latencies)
    return latencies, time_queued(call, wait, len(latencies))


def time_calls(
    call: Call, wait: Call, limits: Limits, clock: Clock = time.perf_counter
) -> list[float]:
    """Return the seconds of each call until its result is ready, with nothing else queued."""
    seconds: list[float] = []
    spent = 0.0
    wait()
    while not limits.reached(len(seconds), spent):
        start = clock()
        call()
        wait()
        seconds.append(clock() - start)
        spent += seconds[-1]
    return seconds


def time_queued(call: Call, wait: Call, calls: int, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of some calls together, queued without waiting between them."""
    wait()
    start = clock()
    for _ in range(calls):
        call()
    wait()
    return clock() - start


def inference_metrics(
    results: list[InferenceResult], precision: PrecisionName
) -> dict[str, float | None]:
    """Return the summary in one precision: latency of one image, and the best throughput."""
    ours = [result for result in results if result.precision == precision]
    single = next((result for result in ours if result.batch_size == 1), None)
    return {
        "latency_seconds_p50": None if single is None else single.latency_seconds_p50,
        "latency_seconds_p99": None if single is None else single.latency_seconds_p99,
        "inference_images_per_second": max((r.images_per_second for r in ours), default=None),
    }


# --- after the clock has stopped ----------------------------------------------------------------


@torch.inference_mode()
def compare_precisions(engine: Engine, subject: Subject) -> list[InferenceAccuracy]:
    """Compare each precision's predictions of the test set with those of the model as trained.

    A precision that loses too much accuracy adds a warning. Accuracies are None if the labels are
    random.
    """
    engine.model.eval()
    labels: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    predicted: dict[PrecisionName, list[torch.Tensor]] = {name: [] for name in subject.models}
    for images_BCHW, labels_B in engine.evaluation_batches("test"):
        labels.append(labels_B)
        with engine.autocast():
            expected.append(engine.model(images_BCHW).argmax(dim=1))
        for precision, model in subject.models.items():
            predicted[precision].append(model(images_BCHW.to(dtype_of(precision))).argmax(dim=1))
    labels_N, expected_N = torch.cat(labels), torch.cat(expected)
    images, right_as_trained = len(labels_N), int((expected_N == labels_N).sum())
    learned = engine.dataset.learnable
    found: list[InferenceAccuracy] = []
    for precision, batches in predicted.items():
        predicted_N = torch.cat(batches)
        right = int((predicted_N == labels_N).sum())
        found.append(
            InferenceAccuracy(
                precision=precision,
                test_accuracy=right / images if learned else None,
                accuracy_difference=(right - right_as_trained) / images if learned else None,
                agreement_fraction=int((predicted_N == expected_N).sum()) / images,
            )
        )
        if learned:
            engine.flags += accuracy_flags(
                precision, engine.precision, right, right_as_trained, images
            )
    return found


def accuracy_flags(
    precision: str, trained_in: str, right: int, right_as_trained: int, images: int
) -> list[Flag]:
    """Return a warning if a precision classifies clearly fewer images rightly than training's."""
    lost = right_as_trained - right
    if lost < MIN_LOST_IMAGES or lost <= MAX_LOST_FRACTION * images:
        return []
    cause = LIKELY_CAUSES.get(precision, LIKELY_CAUSES["float32"])
    message = (
        f"Converted to {precision}, the model has a test accuracy of {right / images:.2%}, "
        f"{100 * lost / images:.2f} percentage points less than as trained ({trained_in}). "
        f"The likely cause is {cause}. Predict in {trained_in}, or under autocast, which keeps "
        "sensitive layers in float32."
    )
    return [Flag(kind="inference_accuracy_lost", value=lost / images, message=message)]
