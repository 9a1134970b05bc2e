"""Define the messages between the pytest process and a worker: JSON, one message a line.

The parent writes one job to the worker's standard input, and later the line `go`. The worker
writes messages to a pipe whose file descriptor is its argument: anything may print to standard
output. It ends when its standard input is closed: the parent is gone.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.specs import Case, DatasetSpec, ModelSpec, Spec
from cnnperf.record.environment import Environment
from cnnperf.record.schema import EpochResult, ErrorKind, Repeat

Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]

GO = "go"


class Job(Spec):
    """What every job needs."""

    device: Device = "auto"
    modules: tuple[str, ...] = ()
    """The user's modules, which register models and data sets. They are imported first."""
    python_path: tuple[str, ...] = ()
    """The user's folders, for `modules` and what they import; the end of the search path."""
    models: tuple[ModelSpec, ...] = ()
    """The user's models of the cases; so are `datasets`."""
    datasets: tuple[DatasetSpec, ...] = ()
    deterministic: bool = False
    """Whether to use the settings that train to the same bits every time, and record them. A
    training then returns the loss of every step too."""


class TrainJob(Job):
    """One repeat: train this case once."""

    kind: Literal["train"] = "train"
    case: AnyCase
    seed: int
    data_dir: str
    matmul_flops_per_second: dict[str, float] = Field(default_factory=dict)
    """Measured peaks of the device by precision, for MFU."""
    profile_dir: str | None = None
    """Folder for a trace of a few steps, recorded after the timed run."""
    check: bool = False
    """Whether no probe has checked yet that model, data and recipe fit."""
    check_numerics: bool = False
    """Whether a node of a fleet trains it for a few steps first; the worker does not look at it."""


GPU = Literal["sm_80", "sm_90", "sm_100"]
"""NVIDIA's architectures for which code can be generated: A100; H100 and H200; B200."""


class ProbeJob(Job):
    """Describe the machine for the header and the record."""

    kind: Literal["probe"] = "probe"
    cases: tuple[Case, ...] = ()
    """Cases whose models are counted."""
    loops: tuple[LoopCase, ...] = ()
    """The user's trainings, which are looked up but not started."""
    measure_peak: bool = True
    floors: bool = False
    """Whether to measure the copy bandwidth too, and to count the traffic of each model."""
    gpu: GPU | None = None
    """A GPU that need not be here, to generate and count the code of the only case's step for."""


JOB: TypeAdapter[TrainJob | ProbeJob] = TypeAdapter(
    Annotated[TrainJob | ProbeJob, Field(discriminator="kind")]
)


class Message(BaseModel):
    """Base of a worker's messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Message):
    """A message that ends a stage of the repeat."""

    at: float = Field(default_factory=time.monotonic)
    """Time of the message on the monotonic clock, which all processes of a machine share."""


class Ready(Stage):
    """Prepared: imports, model and warm-up (and an `infer` case's training) are done."""

    kind: Literal["ready"] = "ready"
    startup_seconds: float
    import_seconds: float
    """The part of `startup_seconds` until everything is imported."""
    device: str


class Progress(Message):
    """Progress of the training, sent at most a few times a second."""

    kind: Literal["progress"] = "progress"
    phase: Literal["build", "data", "train", "validation", "test", "inference"]
    """`build` is the preparation; `data` reads many images, which count as steps."""
    epoch: int
    epochs: int
    step: int
    """In the phase `inference`, the number of configurations measured so far."""
    steps: int
    loss: float | None = None
    images_per_second: float | None = None
    waits_for: str | None = None
    """Ranks on which the others have been waiting for seconds."""


class EpochDone(Message):
    """An epoch and its validation are over."""

    kind: Literal["epoch"] = "epoch"
    epochs: int
    result: EpochResult


class Trained(Stage):
    """The clock has stopped: the timed part is over."""

    kind: Literal["trained"] = "trained"
    seconds: float
    """Duration of the timed part: a training, or the measuring of an `infer` case."""


class Result(Message):
    """Everything that the repeat measured; the final message."""

    kind: Literal["result"] = "result"
    repeat: Repeat


class Failed(Message):
    """The training failed; the final message."""

    kind: Literal["failed"] = "failed"
    error: ErrorKind
    message: str
    traceback: str | None = None


class Ceiling(Message):
    """A rate that the device reaches per second; the best timing counts, since noise only slows."""

    best: float
    median: float
    samples: int


class Traffic(Message):
    """The least elements that training a model moves (see `cnnperf.models.cost`)."""

    forward_elements_per_image: int
    forward_elements_per_pass: int
    """Weights, read once per batch."""
    training_elements_per_image: int
    """Forward and backward."""
    training_elements_per_step: int
    """Weights and their gradients, without the optimizer."""
    largest_elements_per_image: int
    """The largest result of a convolution."""


class ModelFacts(Message):
    """Size and cost of a case's model; None where it could not be counted."""

    case_id: str
    parameters: int | None = None
    sha256: str | None = None
    """Hash of the architecture."""
    forward_flops_per_image: float | None = None
    training_flops_per_image: float | None = None
    traffic: Traffic | None = None
    """None unless the job asks for floors."""


class GeneratedStep(Message):
    """The code of a step's forward pass, loss and backward pass; the rest of it is not compiled."""

    triton_kernels: int
    """Launches of kernels that Inductor writes."""
    triton_bytes: int
    """Bytes that these read and write, each tensor of a kernel counted once."""
    library_calls: int
    """Calls of cuDNN, cuBLAS and torch's own kernels. A convolution's backward pass is one call."""
    layout_kernels: int
    """Those of `triton_kernels` that read in one layout and write in another."""
    atomic_kernels: int
    """Those of `triton_kernels` that add to memory atomically."""

    def __add__(self, other: GeneratedStep) -> GeneratedStep:
        mine, its = self.model_dump(), other.model_dump()
        return GeneratedStep(**{name: mine[name] + its[name] for name in mine})


class ProbeResult(Message):
    """The machine and the models, as the worker sees them."""

    kind: Literal["probe"] = "probe"
    device: str
    environment: Environment
    models: list[ModelFacts] = []
    matmul_ceilings: dict[str, Ceiling] = {}
    """FLOP/s by precision; empty unless the job asks for the peak."""
    copy_ceiling: Ceiling | None = None
    """Bytes read and written per second by a copy much larger than the caches. This and the next
    are None unless the job asks for floors."""
    cache_bytes: int | None = None
    """Size of the last-level cache; None where unknown."""
    generated: GeneratedStep | None = None
    """None unless the job names a GPU."""


WorkerMessage = Ready | Progress | EpochDone | Trained | Result | Failed | ProbeResult
MESSAGE: TypeAdapter[WorkerMessage] = TypeAdapter(
    Annotated[WorkerMessage, Field(discriminator="kind")]
)
