"""The record: everything one run measured, as one file that other tools can read too.

It is the top-level key `cnnperf` of the file that `pytest --benchmark-json` writes.
`cnnperf.record.loading` reads and checks it; `cnnperf schema` prints the JSON Schema.

Schema versions:
    1: the first.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
import statistics
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cnnperf.catalog.specs import Augmentation, Case, Recipe, Tier
from cnnperf.errors import printable
from cnnperf.record.environment import DuringState, Environment, Flag, Settings, State
from cnnperf.record.metrics import METRICS

SCHEMA_VERSION: Literal[1] = 1

# Beyond any measurement, and so far inside a float's range that ratios and squares stay finite.
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**64)]
Finite = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]

T = TypeVar("T")
Listed = Annotated[list[T], Field(fail_fast=True)]
"""Given up at its first wrong item: a complaint about each of a million costs gigabytes."""

PrecisionName = Literal["float32", "tf32", "bfloat16", "float16"]
Outcome = Literal["passed", "failed", "skipped"]
ErrorKind = Literal[
    "killed", "out_of_memory", "nan_loss", "timeout", "exception", "start", "data", "protocol"
]


class RecordModel(BaseModel):
    """Base of everything in a record: a field that newer versions add is kept out, not an error."""

    model_config = ConfigDict(extra="ignore", ser_json_inf_nan="null", defer_build=True)


class Metrics(RecordModel):
    """The scalars of one repeat (see `cnnperf.record.metrics`); what was not measured is None."""

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


class EpochResult(RecordModel):
    """One pass over the training images and the validation after it."""

    epoch: Annotated[int, Field(ge=1)]
    train_loss: Finite
    train_seconds: Seconds
    val_loss: Finite | None = None
    val_accuracy: Fraction | None = None
    val_f1_macro: Fraction | None = None
    val_seconds: Seconds | None = None


class PerClass(RecordModel):
    """Test precision, recall and F1 of each class, in the order of the labels."""

    precision: Listed[Fraction]
    recall: Listed[Fraction]
    f1: Listed[Fraction]


class StateRecord(RecordModel):
    """Volatile state of machine and device around one repeat."""

    before: State | None = None
    during: DuringState | None = None
    after: State | None = None


class HarnessTimes(RecordModel):
    """What one training took beside the time on its clock, in the order in which it happens.

    Together with that time, all but the last fill a worker's life without a gap.
    Parent and worker read one clock; a negative time says that on this machine they do not.
    """

    start_seconds: Finite
    """From before the process is started to its first own line."""
    import_seconds: Finite
    """From there until torch, the engine and everything else is imported."""
    prepare_seconds: Finite
    """Model, warm-up and any compiling, until the worker says `ready`."""
    ready_latency_seconds: Finite
    """Until the parent hears it."""
    arm_seconds: Finite
    """Reading the machine's state, until the parent says `go`."""
    go_latency_seconds: Finite
    """Until the worker's clock starts."""
    trained_latency_seconds: Finite
    """From the stop of the worker's clock until the parent hears `trained`."""
    result_seconds: Finite
    """Until the parent has the result: the test set, counting, hashing, any profile."""
    exit_seconds: Finite
    """Until the process is gone, as the parent notices: it looks up to 20 times a second."""
    clocks_apart_seconds: Finite
    """The time from `go` to `trained` as timed outside, less the worker's own."""


class InferenceResult(RecordModel):
    """Predicting batches of one size with the trained model, converted to one precision."""

    precision: PrecisionName
    batch_size: Annotated[int, Field(ge=1)]
    calls: Count
    """Each timed alone for the latency, and as many queued for the throughput."""
    latency_seconds_p50: Seconds
    latency_seconds_p90: Seconds | None = None
    latency_seconds_p99: Seconds | None = None
    images_per_second: Finite


class InferenceAccuracy(RecordModel):
    """What a converted model makes of the test set, beside the model as it was trained."""

    precision: PrecisionName
    test_accuracy: Fraction | None = None
    accuracy_difference: Finite | None = None
    """Below 0 where the converted model is right less often."""
    agreement_fraction: Fraction
    """Share of the test images of which both predict the same."""


class Inference(RecordModel):
    """What an `infer` case measures once it is trained."""

    seconds: Seconds
    """Of all the measuring, by the worker's clock: mostly a budget, so no figure of merit."""
    outside_seconds: Seconds | None = None
    """The same, timed by the pytest process from `go` to `trained`."""
    results: Listed[InferenceResult] = []
    accuracies: Listed[InferenceAccuracy] = []
    """Empty after a training of a few steps, which has no accuracy to lose."""


KernelClass = Literal[
    "convolution", "matmul", "normalisation", "activation", "pooling", "optimizer", "copy", "other",
    "data_wait", "idle",
]  # fmt: skip
"""What a step's time goes to: eight kinds of work, then waiting for data, then nothing at all."""


class KernelTime(RecordModel):
    """One kernel of a profile: on a GPU a kernel proper, on a CPU an operator's own time."""

    name: str
    kernel_class: KernelClass
    calls_per_step: Finite
    seconds_per_step: Seconds


class Profile(RecordModel):
    """Where the time of a few steps went, recorded after the timed run."""

    steps: Annotated[int, Field(ge=1)]
    seconds_per_step: Seconds
    """Of a profiled step, from the end of the one before; profiling itself makes it longer."""
    seconds_per_step_by_class: dict[KernelClass, Seconds]
    """Every class once; together `seconds_per_step`: where kernels overlap, time counts once."""
    longest_kernels: Listed[KernelTime] = []
    """Ten at most, the longest first."""
    trace: str | None = None
    """Name of the trace's file in the folder that --cnnperf-profile named."""


class Repeat(RecordModel):
    """One training of a case, in a process of its own."""

    seed: Count
    metrics: Metrics
    epochs: Listed[EpochResult] = []
    per_class: PerClass | None = None
    confusion: Listed[Listed[Count]] | None = None
    """Test images by [true class][predicted class]."""
    steps: Count = 0
    precision: PrecisionName = "float32"
    """Of the multiplications, which is what MFU's peak was measured in."""
    model_parameters: Count | None = None
    model_sha256: str | None = None
    dataset_sha256: str | None = None
    settings: Settings | None = None
    """As they were in the process that trained."""
    worker_pid: Count | None = None
    harness: HarnessTimes | None = None
    state: StateRecord = StateRecord()
    warnings: Listed[Flag] = []
    inference: Inference | None = None
    """Of `infer` cases alone; their training is over before the outside clock starts."""
    step_losses: Listed[Finite] | None = None
    """Training loss of every step, in order; None unless --cnnperf-deterministic."""
    profile: Profile | None = None
    """None unless --cnnperf-profile."""

    @property
    def timed_seconds(self) -> float:
        """From `go` to `trained`, from outside where that was seen: pytest-benchmark's figure."""
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


class RecordedAugmentation(Augmentation):
    """An augmentation as a file has it: fields that newer versions add are kept out."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True, defer_build=True)


class RecordedRecipe(Recipe):
    """A recipe as a file has it: fields that newer versions add are kept out, as elsewhere."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True, defer_build=True)

    augmentation: RecordedAugmentation | None = None


class Fingerprint(RecordModel):
    """What must be equal for two records of a case to be comparable."""

    model_sha256: str | None = None
    dataset_sha256: str | None = None
    recipe: RecordedRecipe
    resolution: int
    precision: str

    @property
    def digest(self) -> str:
        """One short name for all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class CaseRecord(RecordModel):
    """One case of a run, with every repeat that was finished."""

    id: str
    model: str
    dataset: str
    resolution: int
    recipe: str
    engine: str
    suite: str = "train"
    """The benchmark module that trained it: `benchmarks/test_<suite>.py`."""
    fingerprint: Fingerprint | None = None
    """None while no repeat is finished."""
    shortened: bool = False
    """By --cnnperf-epochs or --cnnperf-limit-steps: its accuracy gates nothing."""
    outcome: Outcome
    error: CaseError | None = None
    repeats: Listed[Repeat] = []

    def values(self, metric: str) -> list[float]:
        """The metric's value in each repeat that has one."""
        found = (getattr(repeat.metrics, metric) for repeat in self.repeats)
        return [value for value in found if value is not None]

    def median(self, metric: str) -> float | None:
        """Median over the repeats, or None where none has a value."""
        values = self.values(metric)
        return statistics.median(values) if values else None

    @property
    def is_deterministic(self) -> bool:
        """Whether any repeat was trained with --cnnperf-deterministic."""
        settings = (repeat.settings for repeat in self.repeats)
        return any(each is not None and bool(each.deterministic_algorithms) for each in settings)


class Record(RecordModel):
    """One run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: AwareDatetime
    tier: Tier
    command: str | None = None
    """How pytest was called, without the places of that machine; None from other commands."""
    interrupted: bool = False
    """True where the run was stopped before every planned case had ended."""
    environment: Environment = Environment()
    cases: Listed[CaseRecord] = []


def extra_info(case: CaseRecord) -> dict[str, Any]:
    """The case's fields and each metric's median, for tools that know only pytest-benchmark."""
    fields = case.model_dump(
        mode="json", include={"id", "model", "dataset", "resolution", "recipe", "engine"}
    )
    return {**fields, **{name: case.median(name) for name in METRICS}}


def record_as_json(record: Record) -> dict[str, Any]:
    """The record as plain values; what is no finite number becomes None."""
    content: dict[str, Any] = json.loads(record.model_dump_json())
    return content


def fingerprint_of(repeat: Repeat, case: Case) -> Fingerprint:
    """The fingerprint that a finished repeat gives its case."""
    return Fingerprint(
        model_sha256=repeat.model_sha256,
        dataset_sha256=repeat.dataset_sha256,
        recipe=RecordedRecipe.model_validate(case.recipe),
        resolution=case.resolution,
        precision=repeat.precision,
    )


def describe_validation_error(error: ValidationError, *parents: str) -> str:
    """The first problem of a file as one clause: the field, what was found and expected."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part)[:60] for part in (*parents, *first["loc"])) or "the top level"
    found = reprlib.repr(first.get("input"))
    found = found if len(found) <= 60 else found[:57] + "..."
    more = error.error_count() - 1
    text = f"{field}: {first['msg']}, found {found}" + (f" (and {more} more)" if more else "")
    return printable(text)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the record."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(),
        "title": f"cnnperf record, schema version {SCHEMA_VERSION}",
    }


def now() -> datetime:
    """The present, with its time zone, to the second."""
    return datetime.now().astimezone().replace(microsecond=0)
