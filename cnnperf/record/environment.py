"""Define what is recorded about the machine: pydantic models in which every field is optional.

`Environment` holds what stays the same during a run (hardware, software, settings), and `State`
what does not (clocks, load). An absent value is None, never 0 or an empty string. Unknown fields
are ignored, so that an older cnnperf reads a newer record.

    cnnperf env --json
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

STRICT = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, defer_build=True)
"""What every model of a record shares: numbers are finite, and neither text nor true or false are
numbers. Fields that newer versions add are ignored."""

# The bounds exceed any measurement. Ratios and squares of values within them stay finite.
Finite = Annotated[float, Field(ge=-1e100, le=1e100)]

T = TypeVar("T")
Listed = Annotated[list[T], Field(fail_fast=True)]
"""A list that is refused at its first wrong item: a million errors would take gigabytes."""

Texts = Annotated[tuple[str, ...], Field(strict=False)]
"""A list in JSON, where there are no tuples."""

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")


def _check_time(value: Any) -> Any:
    if not isinstance(value, datetime) and not (isinstance(value, str) and TIME.fullmatch(value)):
        raise ValueError("Input should be a valid datetime, such as 2026-01-02T03:04:05+00:00")
    return value


Moment = Annotated[
    AwareDatetime,
    Field(
        strict=False,
        ge=datetime(1970, 1, 1, tzinfo=UTC),
        le=datetime(9999, 12, 31, tzinfo=UTC),
    ),
    BeforeValidator(_check_time),
]
"""A time, as text in JSON: a number could count seconds or milliseconds. The years are those that
every reader of a record can show in any time zone."""


class Fields(BaseModel):
    """Base of every model here; docstrings of fields become descriptions in the JSON Schema."""

    model_config = ConfigDict(**STRICT, frozen=True, use_attribute_docstrings=True)


class Gpu(Fields):
    """The stable identity of one NVIDIA GPU or MIG slice."""

    name: str | None = None
    uuid_sha256: str | None = None
    """First 16 hex digits of the SHA-256 of the UUID: it identifies a card but hides its UUID."""
    index: int | None = None
    """NVML's index of the physical GPU (PCI order), not CUDA's."""
    pcie_address: str | None = None
    """The slot as domain:bus:device.function, such as `0000:1b:00.0`, as `lspci -D` shows it."""
    compute_capability: str | None = None
    """Such as `9.0`."""
    sm_count: int | None = None
    """Streaming multiprocessors that this process can use."""
    memory_bytes: int | None = None
    l2_cache_bytes: int | None = None
    """From torch only: NVML does not report it."""
    mig_enabled: bool | None = None
    vbios: str | None = None
    pcie_generation: int | None = None
    """The highest that GPU and slot support; the current one drops while idle."""
    pcie_width: int | None = None
    """The most lanes that GPU and slot support."""
    nvlink_links: int | None = None
    """Active NVLink links; None on a GPU without NVLink."""


class Hardware(Fields):
    """The machine."""

    host: str | None = None
    """Name of the host; a hash of it with --cnnperf-anonymous."""
    gpu: Gpu | None = None
    """The GPU of the run: the first one visible unless another was asked for."""
    gpu_count: int | None = None
    """Physical NVIDIA GPUs, visible to CUDA or not; None where there is no NVML."""
    cpu_model: str | None = None
    cpu_physical_cores: int | None = None
    cpu_logical_cores: int | None = None
    cpu_flags: Texts | None = None
    """Vector and matrix extensions only, sorted, as the kernel spells them."""
    numa_nodes: int | None = None
    memory_bytes: int | None = None
    virtualization: str | None = None
    """Such as `kvm`, `docker` or `docker on kvm`; None on bare metal and where unknown."""
    matmul_flops_per_second: dict[str, Finite] | None = None
    """Peak of matrix products by precision, measured by the worker."""


class Software(Fields):
    """Versions of everything between the case and the GPU."""

    driver: str | None = None
    cuda_driver: str | None = None
    """The newest CUDA version that the driver supports."""
    cuda_runtime: str | None = None
    """The CUDA version that torch was built for."""
    cudnn: str | None = None
    """The loaded version where torch is imported, else the installed one."""
    cublas: str | None = None
    nccl: str | None = None
    triton: str | None = None
    torch: str | None = None
    torch_git: str | None = None
    torch_build_config: str | None = None
    """First 16 hex digits of the SHA-256 of `torch.__config__.show()`."""
    torchvision: str | None = None
    pillow: str | None = None
    numpy: str | None = None
    scikit_learn: str | None = None
    lightning: str | None = None
    """This and the next two are peers that `fast` is compared with."""
    accelerate: str | None = None
    timm: str | None = None
    python: str | None = None
    os: str | None = None
    kernel: str | None = None
    glibc: str | None = None
    cnnperf: str | None = None
    cnnperf_commit: str | None = None
    """Full hash of HEAD; None outside a checkout."""
    cnnperf_dirty: bool | None = None
    """True where tracked files differ from HEAD; untracked files do not count."""


class Settings(Fields):
    """Settings of the process that trains.

    The engine adds `channels_last`, `compile_mode`, `compile_cache`, `cuda_graph_steps` and
    `dataloader_workers`.
    """

    device: str | None = None
    tf32_matmul: bool | None = None
    """Whether float32 matrix products use TF32 on CUDA."""
    tf32_cudnn: bool | None = None
    """Whether float32 convolutions use TF32 on CUDA."""
    float32_matmul_precision: str | None = None
    """`highest`, `high` or `medium`; None where both TF32 APIs were used and torch raises."""
    cudnn_benchmark: bool | None = None
    cudnn_deterministic: bool | None = None
    deterministic_algorithms: bool | None = None
    autocast_dtype: str | None = None
    """Such as `bfloat16`; None without autocast."""
    channels_last: bool | None = None
    compile_mode: str | None = None
    compile_cache: str | None = None
    """`cold` where the step was compiled, `warm` where it came from the disk."""
    cuda_graph_steps: int | None = None
    """Training steps in one CUDA graph, of whose times only the mean is known; None without
    CUDA graphs."""
    allocator_config: str | None = None
    """Configuration of torch's allocator of device memory."""
    malloc_tunables: str | None = None
    """`GLIBC_TUNABLES`: settings of the C library's allocator."""
    visible_devices: str | None = None
    """`CUDA_VISIBLE_DEVICES`, with UUIDs hashed as in `Gpu.uuid_sha256`."""
    torch_threads: int | None = None
    torch_interop_threads: int | None = None
    cpu_affinity_cores: int | None = None
    """Logical cores that the process may run on (`taskset`, cpusets)."""
    cpu_quota_cores: Finite | None = None
    """Cores that the smallest quota of the process's cgroups allows; None without a quota."""
    dataloader_workers: int | None = None
    variables: dict[str, str] | None = None
    """Environment variables that change speed or numbers (`cnnperf.machine.variables`)."""
    tracers: Texts | None = None
    """Tracers, profilers and debuggers that watch the process; None if there are none."""


class Environment(Fields):
    """What stays the same during a run."""

    hardware: Hardware = Hardware()
    software: Software = Software()
    settings: Settings = Settings()


class DeviceState(Fields):
    """A GPU at one moment."""

    sm_clock_mhz: Finite | None = None
    sm_clock_limit_mhz: Finite | None = None
    """The highest SM clock that the GPU supports."""
    memory_clock_mhz: Finite | None = None
    power_limit_watts: Finite | None = None
    power_watts: Finite | None = None
    temperature_celsius: Finite | None = None
    throttle_reasons: Texts | None = None
    """Names of NVML's clock event reasons; empty where nothing limits the clocks."""
    other_processes: int | None = None
    """Compute processes of others on the device."""
    gpu_utilization_percent: Finite | None = None
    memory_free_bytes: int | None = None
    pcie_generation: int | None = None
    """Of the link now; it drops while the GPU is idle."""
    pcie_width: int | None = None
    """Lanes of the link now."""


class DeviceHealth(Fields):
    """Errors that a GPU has counted so far. Counters since the driver was loaded, unless said."""

    ecc_corrected: int | None = None
    """Memory errors that ECC corrected; None on a GPU without ECC, as in the next three."""
    ecc_uncorrected: int | None = None
    ecc_corrected_lifetime: int | None = None
    ecc_uncorrected_lifetime: int | None = None
    remapped_rows_correctable: int | None = None
    """Memory rows replaced by spare ones in the card's life, after errors that ECC corrected."""
    remapped_rows_uncorrectable: int | None = None
    """The same, after errors that ECC could not correct."""
    remapping_pending: bool | None = None
    """Whether a row waits for a reset of the GPU to be replaced."""
    remapping_failed: bool | None = None
    """Whether a row could not be replaced, for want of spare ones: the card is to be replaced."""
    retired_pages: int | None = None
    """Memory pages out of use in the card's life, on GPUs before Ampere."""
    nvlink_errors: int | None = None
    """Replays, recoveries and CRC errors of all active links."""


class HostState(Fields):
    """The host at one moment."""

    load_average_1min: Finite | None = None
    """Runnable processes, averaged over a minute."""
    cpu_busy_percent: Finite | None = None
    """Share of all cores together, over a short window, used by any process."""
    cpu_governor: str | None = None
    cpu_frequency_driver: str | None = None
    """Such as `acpi-cpufreq`; the meaning of the governor's name depends on it."""
    cpu_frequency_mhz: Finite | None = None
    """Mean over cores."""
    memory_available_bytes: int | None = None


class State(Fields):
    """The machine at one moment, before or after a repeat."""

    device: DeviceState | None = None
    health: DeviceHealth | None = None
    host: HostState = HostState()


class DuringState(Fields):
    """A summary of the samples of `StateSampler` during a repeat.

    What is read of a GPU before its work, in the first sample, counts only if there is no other.
    """

    samples: int = 0
    duration_seconds: Finite | None = None
    sm_clock_min_mhz: Finite | None = None
    sm_clock_median_mhz: Finite | None = None
    sm_clock_max_mhz: Finite | None = None
    sm_clock_limit_mhz: Finite | None = None
    """The highest SM clock that the GPU supports."""
    power_mean_watts: Finite | None = None
    """None below 5 seconds: a reading is an average of the last second."""
    temperature_max_celsius: Finite | None = None
    throttle_shares: dict[str, Finite] | None = None
    """Each throttle reason seen, and its share of the samples, 0..1."""
    pcie_generation: int | None = None
    """Of the link, in most samples."""
    pcie_width: int | None = None
    """Lanes of the link, in most samples."""
    xid_errors: Annotated[tuple[int, ...], Field(strict=False)] | None = None
    """Numbers of the driver's errors (Xid) on the GPU, in order; empty where there were none."""
    other_processes_max: int | None = None
    """The most compute processes of others on the device in any sample."""
    others_cpu_busy_percent: Finite | None = None
    """Share of all cores used by processes outside the own tree; stolen time counts."""
    cpu_periods: int | None = None
    """Periods of the CPU quota that throttled most; None without a quota."""
    cpu_throttled_periods: int | None = None
    """Periods in which the quota stopped the process."""
    cpu_throttled_seconds: Finite | None = None
    """Time for which it was stopped, added up over the cores."""


class Flag(Fields):
    """A reason to doubt a repeat. It is always shown, and gates only where the user asks for it."""

    kind: str
    """Such as `throttled`; one of `cnnperf.machine.flags.KINDS`."""
    value: Finite | None = None
    """The number seen, in the unit of the message."""
    message: str
    """One line: the number seen, its likely cause, and what to try."""
