"""Reasons to doubt a repeat: pure functions from what was seen to warnings for people.

Each warning states the number seen, its likely cause and what to try next, in one line. A flag
does not spoil a repeat by itself: it is shown, and gates only with the user's say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cnnperf.machine.nvml import HARMFUL_THROTTLE_REASONS
from cnnperf.record.environment import DuringState, Flag, Hardware, Settings, State

KINDS = (
    "throttled",
    "other_gpu_process",
    "busy_cpu",
    "low_gpu_memory",
    "low_host_memory",
    "tf32_matmul",
    "tf32_cudnn",
    "powersave_governor",
    "mfu_above_peak",
    "clocks_disagree",
    "no_profile",
    "inference_accuracy_lost",
    "precision_not_measured",
    "streamed",
    "no_bfloat16",
    "not_compiled",
    "not_captured",
)

DISTURBANCES = frozenset(
    {
        "throttled",
        "other_gpu_process",
        "busy_cpu",
        "low_gpu_memory",
        "low_host_memory",
        "clocks_disagree",
    }
)
"""Those that say that something else had a part in a repeat's time."""

THROTTLE_SHARE = 0.02
"""Of the samples. Hardware slowdown halves the clocks or worse (nvml.h), so 2 % of the time cost
1 % or more: a third of the smallest change that a verdict looks for (3 %)."""

BUSY_CPU_PERCENT = 15.0
"""Of all cores, used by others: two of sixteen cores, enough to starve DataLoader workers."""

LOW_MEMORY_SHARE = 0.1
"""Of the memory, free before the start: below it, the allocator and the page cache make room."""

DYNAMIC_DRIVERS = frozenset({"intel_pstate", "amd-pstate-epp"})
"""Under these drivers `powersave` is the usual governor and raises clocks with the load:
docs.kernel.org, admin-guide/pm/intel_pstate and amd-pstate."""

THROTTLE_ADVICE = {
    "sw_thermal_slowdown": ("heat", "improve the cooling, or lock a clock that it can hold"),
    "hw_thermal_slowdown": ("heat", "improve the cooling, or lock a clock that it can hold"),
    "hw_power_brake_slowdown": ("the power supply", "check the power cables and the node's budget"),
    "hw_slowdown": ("heat or the power supply", "check cooling and power, or lock a lower clock"),
}
"""Likely cause and next step, the most telling reason first."""


@dataclass(frozen=True, kw_only=True)
class Tf32:
    """Where a run is meant to compute float32 in TF32."""

    matmul: bool
    cudnn: bool


TORCH_DEFAULT_TF32 = Tf32(matmul=False, cudnn=True)
"""torch's defaults since 1.12 ("Numerical accuracy" and "CUDA semantics" in its notes)."""


def run_flags(
    *,
    before: State | None = None,
    during: DuringState | None = None,
    hardware: Hardware | None = None,
    settings: Settings | None = None,
    expected_tf32: Tf32 | None = None,
) -> list[Flag]:
    """Every flag of one repeat; leave out what was not observed or is of no concern."""
    flags: list[Flag] = []
    if during is not None:
        flags += throttle_flags(during) + process_flags(during) + cpu_flags(during)
    if before is not None:
        flags += governor_flags(before)
        flags += [] if hardware is None else memory_flags(before, hardware)
    if settings is not None and expected_tf32 is not None:
        flags += tf32_flags(settings, expected_tf32)
    return flags


def throttle_flags(
    during: DuringState, harmful: Collection[str] = HARMFUL_THROTTLE_REASONS
) -> list[Flag]:
    """Clocks held down for a reason that is not the workload's own."""
    shares = during.throttle_shares or {}
    seen = {reason: share for reason, share in shares.items() if share >= THROTTLE_SHARE}
    bad = {reason: share for reason, share in seen.items() if reason in harmful}
    if not bad:
        return []
    worst = max(bad.values())
    cause, advice = next(
        (words for reason, words in THROTTLE_ADVICE.items() if reason in bad),
        ("a limit set on the card", "raise that limit"),
    )
    message = (
        f"GPU clocks were held down by {_listed(bad)}{_power_cap(seen, bad)}{_clocks(during)}. "
        f"Likely {cause}: {advice} (`nvidia-smi -lgc MHZ`), then repeat."
    )
    return [Flag(kind="throttled", value=worst, message=message)]


def _listed(shares: dict[str, float]) -> str:
    """Reasons with their shares, as in `hw_slowdown (12 % of samples)`."""
    return ", ".join(
        f"{reason} ({100 * share:.0f} % of samples)" for reason, share in shares.items()
    )


def _power_cap(seen: dict[str, float], bad: dict[str, float]) -> str:
    """The power cap where it was there too: harmless alone, worth knowing here."""
    if "sw_power_cap" not in seen or "sw_power_cap" in bad:
        return ""
    return f", beside the power cap ({100 * seen['sw_power_cap']:.0f} %)"


def _clocks(during: DuringState) -> str:
    """The clock seen against the highest there is."""
    if during.sm_clock_median_mhz is None:
        return ""
    text = f"; the median SM clock was {during.sm_clock_median_mhz:.0f} MHz"
    if during.sm_clock_limit_mhz is None:
        return text
    return f"{text} of {during.sm_clock_limit_mhz:.0f} MHz"


def process_flags(during: DuringState) -> list[Flag]:
    """Somebody else computing on the device."""
    count = during.other_processes_max
    if not count:
        return []
    words = "other process" if count == 1 else "other processes"
    message = (
        f"{count} {words} computed on the GPU during this repeat and took time and memory from "
        "it. Find it with `nvidia-smi`, stop it or choose another GPU (CUDA_VISIBLE_DEVICES), "
        "then repeat."
    )
    return [Flag(kind="other_gpu_process", value=count, message=message)]


def cpu_flags(during: DuringState, limit_percent: float = BUSY_CPU_PERCENT) -> list[Flag]:
    """Somebody else keeping the cores busy."""
    percent = during.others_cpu_busy_percent
    if percent is None or percent <= limit_percent:
        return []
    message = (
        f"Other processes kept {percent:.0f} % of the CPU cores busy during this repeat (limit "
        f"{limit_percent:.0f} %), which slows data loading. Likely another job, or a neighbour of "
        "this virtual machine: look with `top`, wait until it is idle, then repeat."
    )
    return [Flag(kind="busy_cpu", value=percent, message=message)]


def memory_flags(before: State, hardware: Hardware) -> list[Flag]:
    """Little memory left before the start, on the device or on the host."""
    device_total = hardware.gpu.memory_bytes if hardware.gpu else None
    device_free = before.device.memory_free_bytes if before.device else None
    gpu_advice = "close what holds it (`nvidia-smi` lists it) or use a smaller batch"
    host_advice = "close other programs, or use fewer DataLoader workers"
    return [
        *_low_memory("low_gpu_memory", "GPU", device_free, device_total, gpu_advice),
        *_low_memory(
            "low_host_memory",
            "host",
            before.host.memory_available_bytes,
            hardware.memory_bytes,
            host_advice,
        ),
    ]


def _low_memory(
    kind: str, where: str, free_bytes: int | None, total_bytes: int | None, advice: str
) -> list[Flag]:
    """A flag where less than the least share of a memory is free."""
    if free_bytes is None or not total_bytes or free_bytes >= LOW_MEMORY_SHARE * total_bytes:
        return []
    message = (
        f"Only {free_bytes / 2**30:.1f} GiB of {total_bytes / 2**30:.1f} GiB {where} memory were "
        f"free before the start, likely because other processes hold the rest: {advice}."
    )
    return [Flag(kind=kind, value=free_bytes, message=message)]


def tf32_flags(settings: Settings, expected: Tf32) -> list[Flag]:
    """TF32 on where it should be off, or off where it should be on; CUDA runs only."""
    if not (settings.device or "").startswith("cuda"):
        return []
    matmul_cause = "a library or TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
    return [
        *_tf32_flag("matmul", settings.tf32_matmul, expected.matmul, matmul_cause, "cuda.matmul"),
        *_tf32_flag("cudnn", settings.tf32_cudnn, expected.cudnn, "a library", "cudnn.conv"),
    ]


def _tf32_flag(
    where: str, seen: bool | None, expected: bool, cause: str, switch: str
) -> list[Flag]:
    """A flag where one TF32 switch is not as expected; 10 and 23 are bits of mantissa."""
    if seen is None or seen == expected:
        return []
    bits = "10-bit TF32" if seen else "full 23-bit float32"
    message = (
        f"TF32 for {where} is {'on' if seen else 'off'} ({bits}) but was expected "
        f"{'off' if seen else 'on'}, which changes both speed and accuracy. Likely {cause} "
        f"switched it: undo that, or set torch.backends.{switch}.fp32_precision = "
        f"'{'tf32' if expected else 'ieee'}'."
    )
    return [Flag(kind=f"tf32_{where}", value=float(seen), message=message)]


def governor_flags(state: State) -> list[Flag]:
    """A governor that holds the cores at their lowest clock."""
    host = state.host
    if host.cpu_governor != "powersave" or host.cpu_frequency_driver in DYNAMIC_DRIVERS:
        return []
    mhz = host.cpu_frequency_mhz
    clock = "the lowest clock there is" if mhz is None else f"{mhz:.0f} MHz"
    message = (
        f"The CPU governor of core 0 is powersave, which holds the cores at {clock}. Likely a "
        "laptop's or distribution's default: try `sudo cpupower frequency-set -g performance`."
    )
    return [Flag(kind="powersave_governor", value=mhz, message=message)]
