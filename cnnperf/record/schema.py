"""Define the record: everything that one run measures.

It is the top-level key `cnnperf` of the file that `pytest --benchmark-json` writes, which other
tools can read too. `cnnperf.record.loading` reads and checks it.

    cnnperf schema > record.schema.json

Schema versions, and what each changed:
    1: the first. Later fields (harness, inference, profile, step_losses) are optional, so they
       needed no new version.
    2: `training` of a repeat and `overrides` of a fingerprint say what was live, whatever the
       recipe claims. FLOPs and MFU of grouped convolutions are right; before, they were too high.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cnnperf.catalog.loops import AnyCase, LoopCase, MetricName, Quality
from cnnperf.catalog.specs import Scaling, Tier
from cnnperf.record.environment import (
    STRICT,
    DuringState,
    Environment,
    Finite,
    Flag,
    Listed,
    Moment,
    Settings,
    State,
)
from cnnperf.record.fingerprint import Fingerprint, Loop, RecordedQuality, RecordedRecipe
from cnnperf.record.group import Group
from cnnperf.record.harness import HarnessTimes
from cnnperf.record.live import LiveTraining
from cnnperf.record.metrics import METRICS, Metric, of_quality
from cnnperf.record.numerics import NumericsTraining

SCHEMA_VERSION: Literal[2] = 2

Version = Literal[1, 2]
"""All versions that load."""

Seconds = Annotated[float, Field(ge=0, le=1e12)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**64)]

PrecisionName = Literal["float32", "tf32", "bfloat16", "float16"]
Outcome = Literal["passed", "failed", "skipped"]
ErrorKind = Literal[
    "killed", "out_of_memory", "nan_loss", "timeout", "exception", "start", "data", "protocol",
    "fallback",
]  # fmt: skip


class RecordModel(BaseModel):
    """Base of everything in a record."""

    model_config = STRICT


class Metrics(RecordModel):
    """The scalars of one repeat (see `cnnperf.record.metrics`); None where not measured."""

    train_seconds: Seconds
    outside_train_seconds: Seconds | None = None
    images_per_second: Finite | None = None
    step_seconds_p50: Seconds | None = None
    step_seconds_p90: Seconds | None = None
    step_seconds_p99: Seconds | None = None
    data_wait_fraction: Fraction | None = None
    startup_seconds: Seconds | None = None
    compile_seconds: Seconds | None = None
    test_seconds: Seconds | None = None
    time_to_accuracy_seconds: Seconds | None = None
    test_accuracy: Fraction | None = None
    test_f1_macro: Fraction | None = None
    test_loss: Finite | None = None
    val_accuracy: Fraction | None = None
    peak_memory_bytes: Count | None = None
    training_flops_per_image: Finite | None = None
    flops_per_second: Finite | None = None
    mfu: Finite | None = None
    energy_joules: Finite | None = None
    latency_seconds_p50: Seconds | None = None
    latency_seconds_p99: Seconds | None = None
    inference_images_per_second: Finite | None = None
    harness_seconds: Seconds | None = None
    scaling_efficiency: Finite | None = None


class EpochResult(RecordModel):
    """One pass over the training images and the validation after it."""

    epoch: Annotated[int, Field(ge=1)]
    train_loss: Finite | None = None
    train_seconds: Seconds
    val_loss: Finite | None = None
    val_accuracy: Fraction | None = None
    val_f1_macro: Fraction | None = None
    val_seconds: Seconds | None = None
    metrics: dict[MetricName, Finite] = {}
    """What else a loop of the user's reported."""


class PerClass(RecordModel):
    """Test precision, recall and F1 of each class, in the order of the labels."""

    precision: Listed[Fraction]
    recall: Listed[Fraction]
    f1: Listed[Fraction]
    names: Listed[str] | None = None
    """Names of the classes; None where the data set has none."""


class StateRecord(RecordModel):
    """State of machine and device before, during and after one repeat."""

    before: State | None = None
    during: DuringState | None = None
    after: State | None = None


class InferenceResult(RecordModel):
    """Speed of predictions with the trained model, for one batch size and precision."""

    precision: PrecisionName
    batch_size: Annotated[int, Field(ge=1)]
    calls: Count
    """Calls timed one by one for the latency, and again as many queued for the throughput."""
    latency_seconds_p50: Seconds
    latency_seconds_p90: Seconds | None = None
    latency_seconds_p99: Seconds | None = None
    images_per_second: Finite


class InferenceAccuracy(RecordModel):
    """Test accuracy of a converted model, compared with the model as trained."""

    precision: PrecisionName
    test_accuracy: Fraction | None = None
    accuracy_difference: Finite | None = None
    """Below 0 where the converted model is less accurate."""
    agreement_fraction: Fraction
    """Share of the test images for which both models predict the same class."""


class Inference(RecordModel):
    """What an `infer` case measures after its training."""

    seconds: Seconds
    """Duration of all measuring by the worker's clock: mostly a budget, so never compared."""
    outside_seconds: Seconds | None = None
    """The same, measured by the pytest process from `go` to `trained`."""
    results: Listed[InferenceResult] = []
    accuracies: Listed[InferenceAccuracy] = []
    """Empty after a training of a few steps, whose accuracy means nothing."""


KernelClass = Literal[
    "convolution", "matmul", "normalisation", "activation", "pooling", "optimizer", "copy", "other",
    "data_wait", "idle",
]  # fmt: skip
"""What a step's time is spent on: eight kinds of work, waiting for data, and idling."""


class KernelTime(RecordModel):
    """One kernel of a profile; on a CPU one operator, without those that it calls."""

    name: str
    kernel_class: KernelClass
    calls_per_step: Finite
    seconds_per_step: Seconds


class Profile(RecordModel):
    """Where the time of a few steps is spent, recorded after the timed run."""

    steps: Annotated[int, Field(ge=1)]
    seconds_per_step: Seconds
    """From the end of one profiled step to the end of the next; profiling makes it longer."""
    seconds_per_step_by_class: dict[KernelClass, Seconds]
    """Every class once. They add up to `seconds_per_step`: overlapping time counts once."""
    longest_kernels: Listed[KernelTime] = []
    """Ten at most, the longest first."""
    trace: str | None = None
    """File name of the trace in the folder of --cnnperf-profile."""


class Repeat(RecordModel):
    """One training of a case, in a process of its own."""

    seed: Count
    metrics: Metrics
    quality: dict[MetricName, Finite] = {}
    """What a loop of the user's reported of the whole training."""
    epochs: Listed[EpochResult] = []
    per_class: PerClass | None = None
    confusion: Listed[Listed[Count]] | None = None
    """Test images by [true class][predicted class]."""
    steps: Count = 0
    precision: PrecisionName | None = "float32"
    """Precision of the multiplications, in which the peak for MFU is measured too; None in a loop
    of the user's."""
    model_parameters: Count | None = None
    model_sha256: str | None = None
    dataset_sha256: str | None = None
    training: LiveTraining | None = None
    """None in schema version 1."""
    settings: Settings | None = None
    """Settings of the process that trained."""
    worker_pid: Count | None = None
    harness: HarnessTimes | None = None
    state: StateRecord = StateRecord()
    warnings: Listed[Flag] = []
    inference: Inference | None = None
    """Only of `infer` cases, whose training ends before `go`."""
    step_losses: Listed[Finite] | None = None
    """Training loss of every step, in order; None unless --cnnperf-deterministic."""
    weights_sha256: str | None = None
    """Hash of the final weights; None unless --cnnperf-deterministic."""
    profile: Profile | None = None
    """None unless --cnnperf-profile."""
    group: Group | None = None
    """The devices that trained together; None of a training outside of a group."""

    def value(self, metric: str) -> float | None:
        """Return a metric or a quality; None where it was not measured."""
        found = getattr(self.metrics, metric, None)
        return self.quality.get(metric) if found is None else found

    @property
    def timed_seconds(self) -> float:
        """Seconds that pytest-benchmark shows: `go` to `trained`, measured outside if possible."""
        if self.inference is not None:
            return self.inference.outside_seconds or self.inference.seconds
        return self.metrics.outside_train_seconds or self.metrics.train_seconds


class CaseError(RecordModel):
    """Why a case failed or was skipped."""

    kind: ErrorKind
    message: str
    """One line."""
    seed: Count | None = None
    traceback: str | None = None


class CaseRecord(RecordModel):
    """One case of a run, with every finished repeat."""

    id: str
    model: str
    """Of a loop of the user's, its name; data set, resolution and recipe are then None."""
    dataset: str | None = None
    resolution: int | None = None
    recipe: str | None = None
    engine: str
    suite: str = "train"
    """The benchmark module that trained it: `benchmarks/test_<suite>.py`."""
    fingerprint: Fingerprint | None = None
    """None until a repeat is finished."""
    devices: Annotated[int, Field(ge=1)] | None = None
    """Devices that trained together; None outside of a group."""
    scaling: Scaling = "strong"
    """What several devices did with the recipe's batch."""
    shortened: bool = False
    """True with --cnnperf-epochs or --cnnperf-limit-steps; no gate then uses its accuracy."""
    outcome: Outcome
    error: CaseError | None = None
    quality: Listed[RecordedQuality] = []
    """What the case measures beside the metrics of every case."""
    repeats: Listed[Repeat] = []
    numerics: Listed[NumericsTraining] = []
    """Short deterministic trainings, equal but for faults; empty unless --cnnperf-check-numerics.
    """

    def values(self, metric: str) -> list[float]:
        """Return the value of a metric, or a quality, in each repeat that has one."""
        found = (repeat.value(metric) for repeat in self.repeats)
        return [value for value in found if value is not None]

    def declared(self, metric: str) -> Quality | None:
        """Return the quality of that name; None if the case declares none."""
        return next((each for each in self.quality if each.name == metric), None)

    def median(self, metric: str) -> float | None:
        """Return the median over the repeats, or None where no repeat has a value."""
        values = self.values(metric)
        return statistics.median(values) if values else None

    @property
    def is_deterministic(self) -> bool:
        """Whether any repeat was trained with --cnnperf-deterministic."""
        settings = (repeat.settings or Settings() for repeat in self.repeats)
        return any(each.deterministic_algorithms for each in settings)


def qualities(cases: Iterable[CaseRecord]) -> list[Metric]:
    """Return the qualities that some cases declare, each name once, as metrics."""
    found = {each.name: each for case in cases for each in case.quality}
    return [of_quality(each) for name, each in found.items() if name not in METRICS]


class Record(RecordModel):
    """One run."""

    schema_version: Version = SCHEMA_VERSION
    created: Moment
    tier: Tier
    command: str | None = None
    """The pytest command without the machine's paths; None from other commands."""
    interrupted: bool = False
    """True where the run stopped before every planned case had ended."""
    environment: Environment = Environment()
    cases: Listed[CaseRecord] = []


def extra_info(case: CaseRecord) -> dict[str, Any]:
    """Return the case's fields and each metric's median, for readers of pytest-benchmark's file."""
    fields = case.model_dump(
        mode="json", include={"id", "model", "dataset", "resolution", "recipe", "engine"}
    )
    names = [*METRICS, *(each.name for each in case.quality)]
    return {**fields, **{name: case.median(name) for name in names}}


def record_as_json(record: Record) -> dict[str, Any]:
    """Return the record as plain values; NaN and infinity become None."""
    content: dict[str, Any] = json.loads(record.model_dump_json())
    return content


def fingerprint_of(repeat: Repeat, case: AnyCase) -> Fingerprint:
    """Return the fingerprint of a case from one of its finished repeats."""
    if isinstance(case, LoopCase):
        fields = {"trainer", "command", "clock", "settings"}
        loop = Loop.model_validate_json(case.model_dump_json(include=fields))
        return Fingerprint(model_sha256=repeat.model_sha256, loop=loop)
    return Fingerprint(
        model_sha256=repeat.model_sha256,
        dataset_sha256=repeat.dataset_sha256,
        recipe=RecordedRecipe.model_validate(case.recipe),
        resolution=case.resolution,
        precision=repeat.precision,
        overrides=repeat.training.overrides if repeat.training else {},
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the record."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(),
        "title": f"cnnperf record, schema version {SCHEMA_VERSION}",
    }


def now() -> datetime:
    """Return the current time with its time zone, to the second."""
    return datetime.now().astimezone().replace(microsecond=0)
