"""What the pytest process and the worker say to each other: JSON, one message a line.

The parent writes one job to the worker's standard input and later the line `go`; the worker
writes messages to its standard output. A closed standard input tells the worker that its
parent is gone.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cnnperf.catalog.specs import Case, Spec
from cnnperf.record.environment import Environment
from cnnperf.record.schema import EpochResult, ErrorKind, Repeat

Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]

GO = "go"


class TrainJob(Spec):
    """One repeat: train this case once."""

    kind: Literal["train"] = "train"
    case: Case
    seed: int
    device: Device = "auto"
    data_dir: str
    modules: tuple[str, ...] = ()
    """The user's modules, imported before the case's model and data set are looked up."""
    python_path: tuple[str, ...] = ()
    """Folders where those modules are searched first."""
    matmul_flops_per_second: dict[str, float] = Field(default_factory=dict)
    """The device's measured peaks by precision, for MFU."""
    profile_dir: str | None = None
    """Where to leave a trace of a few steps, recorded after the timed run."""
    deterministic: bool = False
    """Whether to train to the same bits every time, and hand over the loss of every step."""


class ProbeJob(Spec):
    """Look at the machine: what the header and the record say of it."""

    kind: Literal["probe"] = "probe"
    device: Device = "auto"
    cases: tuple[Case, ...] = ()
    """Cases whose models are to be measured."""
    modules: tuple[str, ...] = ()
    python_path: tuple[str, ...] = ()
    measure_peak: bool = True
    deterministic: bool = False
    """Whether to look at it as deterministic trainings will find it: its settings say so."""
    floors: bool = False
    """Whether to measure the copy bandwidth, too, and to count what each model must move."""


Job = Annotated[TrainJob | ProbeJob, Field(discriminator="kind")]
JOB: TypeAdapter[TrainJob | ProbeJob] = TypeAdapter(Job)


class Message(BaseModel):
    """Base of what a worker says."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Message):
    """A message that ends a stage of the repeat."""

    at: float = Field(default_factory=time.monotonic)
    """When it was made, on the clock that all processes of a machine share."""


class Ready(Stage):
    """Prepared: imports, model and warm-up (and an `infer` case's training) are done."""

    kind: Literal["ready"] = "ready"
    startup_seconds: float
    import_seconds: float
    """The first part of them."""
    device: str


class Progress(Message):
    """Where training stands; sent at most a few times a second."""

    kind: Literal["progress"] = "progress"
    phase: Literal["train", "validation", "test", "inference"]
    epoch: int
    epochs: int
    step: int
    """In the phase `inference`: configurations measured, of `steps`."""
    steps: int
    loss: float | None = None
    images_per_second: float | None = None


class EpochDone(Message):
    """An epoch and its validation are over."""

    kind: Literal["epoch"] = "epoch"
    epochs: int
    result: EpochResult


class Trained(Stage):
    """The clock has stopped."""

    kind: Literal["trained"] = "trained"
    seconds: float
    """Of what was timed since `go`: a training, or of an `infer` case the measuring."""


class Result(Message):
    """Everything that the repeat measured; the worker's last word."""

    kind: Literal["result"] = "result"
    repeat: Repeat


class Failed(Message):
    """Training cannot go on; the worker's last word."""

    kind: Literal["failed"] = "failed"
    error: ErrorKind
    message: str
    traceback: str | None = None


class Ceiling(Message):
    """What a device reaches, per second: the best of several timings, since noise only slows."""

    best: float
    median: float
    samples: int


class Traffic(Message):
    """What a model's training moves at the least (`cnnperf.models.memory_traffic`), in elements."""

    forward_elements_per_image: int
    forward_elements_per_pass: int
    """Weights: as many for one image as for a batch."""
    training_elements_per_image: int
    """Forward and backward."""
    training_elements_per_step: int
    """Weights and their gradients, without the optimizer."""
    largest_elements_per_image: int
    """Of the largest result of a convolution."""


class ModelFacts(Message):
    """What a case's model is made of; None where it could not be counted."""

    case_id: str
    parameters: int | None = None
    sha256: str | None = None
    """Of the architecture."""
    forward_flops_per_image: float | None = None
    training_flops_per_image: float | None = None
    traffic: Traffic | None = None
    """None, too, where it was not asked for."""


class ProbeResult(Message):
    """The machine and the models, as a worker sees them."""

    kind: Literal["probe"] = "probe"
    device: str
    environment: Environment
    models: list[ModelFacts] = []
    matmul_ceilings: dict[str, Ceiling] = {}
    """FLOP/s by precision; empty where the peak was not to be measured."""
    copy_ceiling: Ceiling | None = None
    """Bytes read and written per second, by a copy of far more than the caches hold; this and the
    next are None unless floors were asked for."""
    cache_bytes: int | None = None
    """The device's last-level cache; None where that cannot be told."""


WorkerMessage = Annotated[
    Ready | Progress | EpochDone | Trained | Result | Failed | ProbeResult,
    Field(discriminator="kind"),
]
MESSAGE: TypeAdapter[Ready | Progress | EpochDone | Trained | Result | Failed | ProbeResult] = (
    TypeAdapter(WorkerMessage)
)
