"""Flag repeats that something disturbed: pure functions from what was measured to warnings.

Each warning is one line: the number seen, its likely cause, and what to try. A flag is always
shown. It changes a verdict only where the user asks for that.
"""

from __future__ import annotations

from cnnperf.machine.variables import slowing
from cnnperf.record.environment import (
    DeviceState,
    DuringState,
    Flag,
    Gpu,
    Hardware,
    Settings,
    State,
)

DISTURBANCES = frozenset(
    {"throttled", "other_gpu_process", "busy_cpu", "low_gpu_memory", "low_host_memory",
     "clocks_disagree", "throttled_cpu", "traced"}
)  # fmt: skip
"""Kinds that mean: something else affected the repeat's time."""

FALLBACKS = frozenset({"no_bfloat16", "not_compiled", "not_captured", "evaluation_not_captured"})
"""Kinds that mean: engine `fast` failed at what makes it fast, and went on without it. None of them
is raised where the user asked for it, or where the recipe cannot be captured on any machine."""

KINDS = DISTURBANCES | FALLBACKS | {
    "tf32_matmul", "tf32_cudnn", "powersave_governor", "mfu_above_peak", "no_profile",
    "inference_accuracy_lost", "precision_not_measured", "streamed", "not_capturable",
    "slow_variables", "no_bfloat16_units", "contradicts_recipe", "one_class", "empty_classes",
}  # fmt: skip
"""Every kind that a record may have, including those that the engines raise."""

THROTTLE_SHARE = 0.02
"""Share of the samples from which on throttling is flagged. Hardware slowdown halves the clocks or
worse (nvml.h), so 2 % of the time cost 1 % or more: a third of the smallest change that a verdict
looks for (3 %)."""

BUSY_CPU_PERCENT = 15.0
"""Share of all cores, used by others: two of sixteen cores, enough to starve DataLoader workers."""

LOW_MEMORY_SHARE = 0.1
"""Share of the memory that must be free before the start. With less, the allocator and the page
cache have to make room."""

BFLOAT16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Extensions that multiply in bfloat16, as Linux spells them; the first two are x86's."""

ISAS_WITHOUT_BFLOAT16 = frozenset(
    {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
)
"""Values of ONEDNN_MAX_CPU_ISA ("CPU Dispatcher Control" in oneDNN's manual)."""

DYNAMIC_DRIVERS = frozenset({"intel_pstate", "amd-pstate-epp"})
"""With these drivers `powersave` is the usual governor and raises clocks with the load:
docs.kernel.org, admin-guide/pm/intel_pstate and amd-pstate."""

THROTTLE_CAUSES = {
    "sw_thermal_slowdown": ("heat", "Improve the cooling, or lock a clock that it can hold"),
    "hw_thermal_slowdown": ("heat", "Improve the cooling, or lock a clock that it can hold"),
    "hw_power_brake_slowdown": ("the power supply", "Check the power cables and the power budget"),
    "hw_slowdown": ("heat or the power supply", "Check cooling and power, or lock a lower clock"),
}
"""Likely cause and next step of each reason that makes a time wrong for the card, the most specific
reason first. A power cap is normal work, so it is not here."""


def run_flags(
    *,
    before: State | None = None,
    during: DuringState | None = None,
    hardware: Hardware | None = None,
    settings: Settings | None = None,
) -> list[Flag]:
    """Return every flag of one repeat; what was not observed gives none."""
    flags: list[Flag] = []
    if during is not None:
        flags += throttle_flags(during) + process_flags(during) + cpu_flags(during)
        flags += quota_flags(during, settings or Settings())
    if before is not None:
        flags += governor_flags(before)
        flags += [] if hardware is None else memory_flags(before, hardware)
    if settings is not None:
        flags += tf32_flags(settings) + tracer_flags(settings) + variable_flags(settings)
    return flags


def throttle_flags(during: DuringState) -> list[Flag]:
    """Flag clocks that heat or the power supply reduced; a power cap alone is normal."""
    shares = during.throttle_shares or {}
    seen = {reason: share for reason, share in shares.items() if share >= THROTTLE_SHARE}
    harmful = {reason: share for reason, share in seen.items() if reason in THROTTLE_CAUSES}
    if not harmful:
        return []
    reasons = ", ".join(
        f"{name} ({100 * share:.0f} % of samples)" for name, share in harmful.items()
    )
    if "sw_power_cap" in seen:
        reasons += f", besides the power cap ({100 * seen['sw_power_cap']:.0f} %)"
    if during.sm_clock_median_mhz is not None:
        limit = during.sm_clock_limit_mhz
        reasons += f"; the median SM clock was {during.sm_clock_median_mhz:.0f} MHz"
        reasons += "" if limit is None else f" of {limit:.0f} MHz"
    cause, advice = next(text for reason, text in THROTTLE_CAUSES.items() if reason in harmful)
    message = (
        f"GPU clocks were reduced by {reasons}. Likely cause: {cause}. "
        f"{advice} (`nvidia-smi -lgc MHZ`), then repeat."
    )
    return [Flag(kind="throttled", value=max(harmful.values()), message=message)]


def process_flags(during: DuringState) -> list[Flag]:
    """Flag compute processes of others on the GPU."""
    count = during.other_processes_max
    if not count:
        return []
    message = (
        f"{count} other process{'es' * (count > 1)} used the GPU during this repeat and took time "
        "and memory from it. Likely cause: another job. Find it with `nvidia-smi`, stop it or "
        "choose another GPU (CUDA_VISIBLE_DEVICES), then repeat."
    )
    return [Flag(kind="other_gpu_process", value=count, message=message)]


def cpu_flags(during: DuringState) -> list[Flag]:
    """Flag CPU cores that others kept busy."""
    percent = during.others_cpu_busy_percent
    if percent is None or percent <= BUSY_CPU_PERCENT:
        return []
    message = (
        f"Other processes kept {percent:.0f} % of the CPU cores busy during this repeat (limit "
        f"{BUSY_CPU_PERCENT:.0f} %), which slows data loading. Likely cause: another job, or "
        "another virtual machine on this host. Check with `top`, wait until it ends, then repeat."
    )
    return [Flag(kind="busy_cpu", value=percent, message=message)]


def quota_flags(during: DuringState, settings: Settings) -> list[Flag]:
    """Flag a CPU quota that stopped the training."""
    periods, throttled = during.cpu_periods or 0, during.cpu_throttled_periods or 0
    if not throttled or throttled < THROTTLE_SHARE * periods:
        return []
    cores = settings.cpu_quota_cores
    allowed = "" if cores is None else f" ({cores:.3g} cores are allowed)"
    message = (
        f"Throttled by a CPU quota: {throttled:,} of {periods:,} periods{allowed}. Likely cause: "
        "the limit of a container, a pod or a systemd unit. Raise it (`docker run --cpus`, "
        "`limits.cpu`, `CPUQuota=`), or use fewer threads (OMP_NUM_THREADS), then repeat."
    )
    return [Flag(kind="throttled_cpu", value=throttled / periods, message=message)]


def tracer_flags(settings: Settings) -> list[Flag]:
    """Flag whatever watches the process line by line or call by call."""
    if not settings.tracers:
        return []
    message = (
        f"The process was watched by {', '.join(settings.tracers)}, which slows it. Likely cause: "
        "coverage (pytest-cov), a profiler or a debugger. Run without it (`--no-cov`), then repeat."
    )
    return [Flag(kind="traced", value=len(settings.tracers), message=message)]


def variable_flags(settings: Settings) -> list[Flag]:
    """Flag environment variables for debugging."""
    if not (found := slowing(settings.variables or {})):
        return []
    message = (
        f"{', '.join(found)} in the environment slows training or changes its numbers. Likely "
        f"cause: left from debugging. Unset {'it' if len(found) == 1 else 'them'}, then repeat."
    )
    return [Flag(kind="slow_variables", value=len(found), message=message)]


def memory_flags(before: State, hardware: Hardware) -> list[Flag]:
    """Flag little free memory before the start, on the device and on the host."""
    device, gpu, host = before.device or DeviceState(), hardware.gpu or Gpu(), before.host
    flags = []
    for where, free_bytes, total_bytes, tool, otherwise in (
        ("GPU", device.memory_free_bytes, gpu.memory_bytes, "nvidia-smi", "a smaller batch"),
        ("host", host.memory_available_bytes, hardware.memory_bytes, "top",
         "fewer DataLoader workers"),
    ):  # fmt: skip
        if free_bytes is None or not total_bytes or free_bytes >= LOW_MEMORY_SHARE * total_bytes:
            continue
        message = (
            f"Only {free_bytes / 2**30:.1f} GiB of {total_bytes / 2**30:.1f} GiB {where} memory "
            "were free before the start. Likely cause: other processes. Stop them "
            f"(`{tool}` lists them), or use {otherwise}."
        )
        flags.append(Flag(kind=f"low_{where.lower()}_memory", value=free_bytes, message=message))
    return flags


def tf32_flags(settings: Settings) -> list[Flag]:
    """Flag TF32 switches that differ from torch's defaults; only CUDA has TF32."""
    if not (settings.device or "").startswith("cuda"):
        return []
    override = "a library or TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
    flags = []
    for where, seen, expected, cause, switch in (
        ("matmul", settings.tf32_matmul, False, override, "cuda.matmul"),
        ("cudnn", settings.tf32_cudnn, True, "a library", "cudnn.conv"),
    ):  # torch's defaults since 1.12 ("Numerical accuracy" and "CUDA semantics" in its notes)
        if seen is None or seen == expected:
            continue
        precision = "10-bit TF32" if seen else "full 23-bit float32"  # bits of the mantissa
        message = (
            f"TF32 for {where} is {'on' if seen else 'off'} ({precision}), expected "
            f"{'on' if expected else 'off'}; it changes both speed and accuracy. Likely cause: "
            f"{cause}. Undo that, or set torch.backends.{switch}.fp32_precision = "
            f"'{'tf32' if expected else 'ieee'}'."
        )
        flags.append(Flag(kind=f"tf32_{where}", value=float(seen), message=message))
    return flags


def missing_bfloat16_units(hardware: Hardware, settings: Settings) -> str | None:
    """Say why a CPU does not multiply in bfloat16; None for one that does, or is unknown."""
    if settings.device != "cpu" or hardware.cpu_flags is None:
        return None
    if BFLOAT16_CPU_FLAGS.isdisjoint(hardware.cpu_flags):
        return "this CPU has none of the extensions " + ", ".join(sorted(BFLOAT16_CPU_FLAGS))
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        limit = (settings.variables or {}).get(name, "")
        if limit.upper() in ISAS_WITHOUT_BFLOAT16:
            return f"{name}={limit} hides this CPU's units for bfloat16"
    return None


def governor_flags(state: State) -> list[Flag]:
    """Flag a governor that holds the cores at their lowest clock."""
    host = state.host
    if host.cpu_governor != "powersave" or host.cpu_frequency_driver in DYNAMIC_DRIVERS:
        return []
    mhz = host.cpu_frequency_mhz
    message = (
        "The CPU governor of core 0 is powersave, which holds the cores at "
        f"{'the lowest clock' if mhz is None else f'{mhz:.0f} MHz'}. Likely cause: the default of "
        "a laptop or distribution. Try `sudo cpupower frequency-set -g performance`."
    )
    return [Flag(kind="powersave_governor", value=mhz, message=message)]
