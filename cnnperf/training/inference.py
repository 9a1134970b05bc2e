"""Predicting with the trained model: latency, throughput, and what a reduced precision costs.

    pytest benchmarks/test_infer.py --cnnperf-tier=full -k digits

Torch half. A copy of the trained model is converted as a whole, weights included, which is what
people do who deploy one; autocast, which training uses, keeps float32 weights and converts them
in every call. It predicts real test images that lie on the device already, in evaluation mode,
through its plain `forward`: neither compiled nor captured in a graph.

Two things are timed with the same number of calls:

- latency: a caller waits for every answer before asking again, so the host's clock runs around
  the call and a synchronisation. Events on the device would leave out launching the first kernel
  and learning that the last one is done, which the caller waits for too.
- throughput: calls are queued one behind the other and waited for once.

Shapes: `B` images of a batch, `N` of a split, `C` channels, `H W` pixels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cnnperf.record.environment import Flag
from cnnperf.record.messages import Progress
from cnnperf.record.schema import InferenceAccuracy, InferenceResult, PrecisionName
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine
from cnnperf.training.percentiles import percentiles

Say = Callable[[Progress], None]
Call = Callable[[], object]
Clock = Callable[[], float]

SMALL_RESOLUTION = 64
"""Up to this many pixels a side, a batch of 1,000 is a matter of milliseconds."""

WARM_UP_CALLS = 5
WARM_UP_SECONDS = 1.0
"""Of each configuration: libraries choose their kernels at the first call of a shape."""

MAX_LOST_FRACTION = 0.005
MIN_LOST_IMAGES = 6
"""A loss below either is not flagged. Of six images that change sides, all six to the wrong one
is what chance does once in 32 times (two-sided sign test); with fewer, oftener than 1 in 20."""

LIKELY_CAUSES = {
    "bfloat16": "values that bfloat16's 8 bits of precision cannot tell apart",
    "float16": "values above 65,504 or below 6e-8, beyond which float16 has no numbers",
    "float32": "batch-norm statistics that were learned in the precision of the training",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long one configuration is measured."""

    budget_seconds: float = 1.0
    """Enough, once there are `min_calls`; queued calls take as long again at most."""
    min_calls: int = 20
    max_calls: int = 10_000
    max_seconds: float = 5.0
    """For calls so slow that not even `min_calls` are wanted."""

    def reached(self, calls: int, seconds: float) -> bool:
        """Whether that many calls in that time will do; one call is always made."""
        if calls == 0:
            return False
        most = seconds >= self.max_seconds or calls >= self.max_calls
        return most or (seconds >= self.budget_seconds and calls >= self.min_calls)


DEFAULT_LIMITS = Limits()
WARM_UP = Limits(budget_seconds=0, min_calls=WARM_UP_CALLS, max_seconds=WARM_UP_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: the trained model in each precision, and images to predict."""

    models: dict[PrecisionName, nn.Module]
    images_NCHW: torch.Tensor
    """float32, as many as the largest batch has."""
    batch_sizes: tuple[int, ...]


def batch_sizes(resolution: int, device_type: str) -> tuple[int, ...]:
    """What is asked for at once; few large images on a CPU, where each takes it a second."""
    if resolution <= SMALL_RESOLUTION:
        return (1, 32, 128, 1000)
    return (1, 8) if device_type == "cpu" else (1, 8, 32, 128)


# --- before the clock starts --------------------------------------------------------------------


@torch.inference_mode()
def prepare_subject(engine: Engine) -> Subject:
    """Copy and convert an engine's trained model, and fetch test images.

    A reduced precision that the model or the device cannot take is left out, with a flag.
    """
    sizes = batch_sizes(engine.case.resolution, engine.device.type)
    images_NCHW = _test_images(engine, max(sizes))
    models: dict[PrecisionName, nn.Module] = {
        engine.plain_precision: _converted(engine.model, torch.float32)
    }
    for name, dtype in _reduced_dtypes(engine.device):
        try:
            model = _converted(engine.model, dtype)
            model(images_NCHW[:1].to(dtype))
            synchronize(engine.device)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError) as error:
            engine.flags.append(_not_measured(name, error))
        else:
            models[name] = model
    return Subject(models=models, images_NCHW=images_NCHW, batch_sizes=sizes)


def _converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(model).to(dtype).eval()


def _reduced_dtypes(device: torch.device) -> tuple[tuple[PrecisionName, torch.dtype], ...]:
    """A CPU has float16 as a format to store, which nobody predicts in."""
    bfloat16: tuple[PrecisionName, torch.dtype] = ("bfloat16", torch.bfloat16)
    return (bfloat16,) if device.type == "cpu" else (bfloat16, ("float16", torch.float16))


def dtype_of(precision: PrecisionName) -> torch.dtype:
    """Of images and weights; TF32 is a way to multiply float32."""
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)


def _test_images(engine: Engine, count: int) -> torch.Tensor:
    """The first test images in the engine's layout, from the start again where they are too few."""
    parts: list[torch.Tensor] = []
    for images_BCHW, _ in engine.evaluation_batches("test"):
        parts.append(images_BCHW)
        if sum(map(len, parts)) >= count:
            break
    found_NCHW = torch.cat(parts)
    last = found_NCHW.is_contiguous(memory_format=torch.channels_last)
    rows = torch.arange(count, device=found_NCHW.device) % len(found_NCHW)
    layout = torch.channels_last if last else torch.contiguous_format
    return found_NCHW[rows].contiguous(memory_format=layout)


def _not_measured(name: str, error: Exception) -> Flag:
    reason = " ".join(str(error).split())[:100]
    message = (
        f"Inference in {name} was not measured (1 precision left out): the model or the device "
        f"refused it ({type(error).__name__}: {reason}). Likely a dtype that is fixed in the "
        "model's forward: take it from the input there."
    )
    return Flag(kind="precision_not_measured", value=None, message=message)


# --- on the clock -------------------------------------------------------------------------------


@torch.inference_mode()
def measure_inference(
    engine: Engine, subject: Subject, say: Say, limits: Limits = DEFAULT_LIMITS
) -> list[InferenceResult]:
    """Time every precision with every batch size, saying how far it is."""
    results: list[InferenceResult] = []
    total, epochs = len(subject.models) * len(subject.batch_sizes), engine.recipe.epochs
    for precision, model in subject.models.items():
        images_NCHW = subject.images_NCHW.to(dtype_of(precision))
        for size in subject.batch_sizes:
            say(Progress(phase="inference", epoch=epochs, epochs=epochs, step=len(results),
                         steps=total))  # fmt: skip
            timed = _time(model, images_NCHW[:size], engine.device, limits)
            results.append(
                InferenceResult(
                    precision=precision,
                    batch_size=size,
                    calls=len(timed.latencies),
                    images_per_second=size * len(timed.latencies) / timed.queued_seconds,
                    **{
                        f"latency_seconds_{name}": value
                        for name, value in percentiles(timed.latencies).items()
                    },
                )
            )
    return results


@dataclass(frozen=True, kw_only=True)
class _Timed:
    latencies: list[float]
    queued_seconds: float
    """Of as many calls, waited for once."""


def _time(
    model: nn.Module, images_BCHW: torch.Tensor, device: torch.device, limits: Limits
) -> _Timed:
    """Latency and throughput of one configuration."""

    def call() -> object:
        return model(images_BCHW)

    def wait() -> None:
        synchronize(device)

    time_calls(call, wait, WARM_UP)
    latencies = time_calls(call, wait, limits)
    on_cpu = device.type == "cpu"  # nothing is queued there: the calls would only be made twice
    queued = sum(latencies) if on_cpu else time_queued(call, wait, len(latencies))
    return _Timed(latencies=latencies, queued_seconds=queued)


def time_calls(
    call: Call, wait: Call, limits: Limits, clock: Clock = time.perf_counter
) -> list[float]:
    """Seconds of each call until its answer is there, with nothing else under way."""
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
    """Seconds of that many calls together, queued without waiting between them."""
    wait()
    start = clock()
    for _ in range(calls):
        call()
    wait()
    return clock() - start


def inference_metrics(
    results: list[InferenceResult], precision: PrecisionName
) -> dict[str, float | None]:
    """The metrics that stand for all of it: in one precision, one image, and the best batch."""
    ours = [result for result in results if result.precision == precision]
    single = next((result for result in ours if result.batch_size == 1), None)
    return {
        "latency_seconds_p50": None if single is None else single.latency_seconds_p50,
        "latency_seconds_p99": None if single is None else single.latency_seconds_p99,
        "inference_images_per_second": max((r.images_per_second for r in ours), default=None),
    }


# --- after the clock has stopped ----------------------------------------------------------------


class Agreement:
    """Predictions beside labels and beside another model's, counted on the device."""

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)

    def add(
        self, predicted_B: torch.Tensor, expected_B: torch.Tensor, labels_B: torch.Tensor
    ) -> None:
        """Count a batch."""
        right, equal = (predicted_B == labels_B).sum(), (predicted_B == expected_B).sum()
        self._counts += torch.stack([right, equal, torch.full_like(right, len(labels_B))])

    def read(self) -> tuple[int, int, int]:
        """Images classified rightly, images predicted as expected, images."""
        right, equal, images = self._counts.tolist()
        return right, equal, images


@torch.inference_mode()
def compare_precisions(engine: Engine, subject: Subject) -> list[InferenceAccuracy]:
    """Hold each precision's predictions of the whole test set to those of the model as trained.

    One that loses more than it may is flagged. Accuracies are None where labels are random.
    """
    engine.model.eval()
    as_trained = Agreement(engine.device)
    tallies = {precision: Agreement(engine.device) for precision in subject.models}
    for images_BCHW, labels_B in engine.evaluation_batches("test"):
        with engine.autocast():
            expected_B = engine.model(images_BCHW).argmax(dim=1)
        as_trained.add(expected_B, expected_B, labels_B)
        for precision, model in subject.models.items():
            predicted_B = model(images_BCHW.to(dtype_of(precision))).argmax(dim=1)
            tallies[precision].add(predicted_B, expected_B, labels_B)
    right_as_trained, _, images = as_trained.read()
    found: list[InferenceAccuracy] = []
    for precision, tally in tallies.items():
        right, equal, _ = tally.read()
        learned = engine.dataset.learnable
        found.append(
            InferenceAccuracy(
                precision=precision,
                test_accuracy=right / images if learned else None,
                accuracy_difference=(right - right_as_trained) / images if learned else None,
                agreement_fraction=equal / images,
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
    """A warning where a precision classifies clearly fewer images rightly than the training's."""
    lost = right_as_trained - right
    if lost < MIN_LOST_IMAGES or lost <= MAX_LOST_FRACTION * images:
        return []
    cause = LIKELY_CAUSES.get(precision, LIKELY_CAUSES["float32"])
    message = (
        f"Converted to {precision}, the model classifies {right / images:.2%} of the test images "
        f"rightly, {100 * lost / images:.2f} percentage points fewer than as it was trained "
        f"({trained_in}). Likely {cause}: predict in {trained_in}, or under autocast, which keeps "
        "sensitive layers in float32."
    )
    return [Flag(kind="inference_accuracy_lost", value=lost / images, message=message)]
