"""When to doubt a measurement."""

from __future__ import annotations

import re

import pytest

from cnnperf.machine import flags
from cnnperf.record.environment import (
    DeviceState,
    DuringState,
    Flag,
    Gpu,
    Hardware,
    HostState,
    Settings,
    State,
)
from tests.machine.fake_nvml import GIB


def one_flag(found: list[Flag], kind: str, *words: str) -> Flag:
    """Return the only flag, which has this kind, a number and these words in one sentence line."""
    (flag,) = found
    assert flag.kind == kind
    assert kind in flags.KINDS
    assert re.search(r"\d", flag.message)
    assert "\n" not in flag.message
    assert flag.message.endswith(".")
    assert [word for word in words if word not in flag.message] == []
    return flag


def test_clocks_held_down_by_heat_are_flagged_with_their_share() -> None:
    """The reason, the share, the clock against its limit, and what to do."""
    during = DuringState(
        throttle_shares={"sw_thermal_slowdown": 0.25, "sw_power_cap": 0.5, "gpu_idle": 0.1},
        sm_clock_median_mhz=1200,
        sm_clock_limit_mhz=1980,
    )
    flag = one_flag(
        flags.throttle_flags(during),
        "throttled",
        "sw_thermal_slowdown (25 % of samples)",
        "power cap (50 %)",
        "1200 MHz of 1980 MHz",
        "cooling",
        "nvidia-smi -lgc",
    )
    assert flag.value == 0.25
    assert "gpu_idle" not in flag.message


@pytest.mark.parametrize("reason", sorted(flags.THROTTLE_CAUSES))
def test_every_harmful_reason_is_flagged(reason: str) -> None:
    """With a cause of its own."""
    found = flags.throttle_flags(DuringState(throttle_shares={reason: 1.0}))
    one_flag(found, "throttled", reason, "100 %", flags.THROTTLE_CAUSES[reason][1])


@pytest.mark.parametrize(
    "shares", [None, {}, {"sw_power_cap": 1.0}, {"gpu_idle": 1.0}, {"hw_slowdown": 0.0199}]
)
def test_normal_clocks_are_not_flagged(shares: dict[str, float] | None) -> None:
    """Neither the power cap nor idling nor a single blip in a long run."""
    assert flags.throttle_flags(DuringState(throttle_shares=shares)) == []


def test_throttling_is_flagged_from_two_percent_of_the_samples_on() -> None:
    """The bound itself is flagged."""
    during = DuringState(throttle_shares={"hw_slowdown": 0.02})
    one_flag(flags.throttle_flags(during), "throttled", "2 % of samples")


@pytest.mark.parametrize(("count", "words"), [(1, "1 other process "), (3, "3 other processes ")])
def test_other_processes_on_the_gpu_are_flagged(count: int, words: str) -> None:
    """With how many, and how to find or avoid them."""
    found = flags.process_flags(DuringState(other_processes_max=count))
    one_flag(found, "other_gpu_process", "nvidia-smi", "CUDA_VISIBLE_DEVICES", words)


def test_busy_cores_are_flagged_above_the_limit_only() -> None:
    """At 15 % not yet; unknown is not busy."""
    busy = flags.cpu_flags(DuringState(others_cpu_busy_percent=42.3))
    one_flag(busy, "busy_cpu", "42 %", "limit 15 %", "top", "repeat")
    assert flags.cpu_flags(DuringState(others_cpu_busy_percent=15.0)) == []
    assert flags.cpu_flags(DuringState()) == []


def test_little_free_memory_is_flagged_on_device_and_host() -> None:
    """Each with its own advice, as long as the size is known."""
    hardware = Hardware(gpu=Gpu(memory_bytes=80 * GIB), memory_bytes=64 * GIB)
    full = State(
        device=DeviceState(memory_free_bytes=2 * GIB),
        host=HostState(memory_available_bytes=1 * GIB),
    )
    gpu, memory = flags.memory_flags(full, hardware)
    one_flag([gpu], "low_gpu_memory", "2.0 GiB of 80.0 GiB", "nvidia-smi")
    one_flag([memory], "low_host_memory", "1.0 GiB of 64.0 GiB", "DataLoader workers")
    assert flags.memory_flags(full, Hardware()) == []
    enough = State(host=HostState(memory_available_bytes=10 * GIB))
    assert flags.memory_flags(enough, Hardware(memory_bytes=100 * GIB)) == []
    assert flags.memory_flags(enough, Hardware(memory_bytes=100 * GIB + 10)) != []
    assert flags.memory_flags(State(), hardware) == []


@pytest.mark.parametrize(("field", "value"), [("tf32_matmul", True), ("tf32_cudnn", False)])
def test_tf32_against_expectation_is_flagged(field: str, value: bool) -> None:
    """Either switch, with the setting that undoes it; the CPU has no TF32."""
    seen = {"tf32_matmul": False, "tf32_cudnn": True} | {field: value}
    found = flags.tf32_flags(Settings(device="cuda:0", **seen))
    one_flag(found, field, "is on" if value else "is off", "ieee" if value else "tf32")
    assert flags.tf32_flags(Settings(device="cpu", **seen)) == []
    assert flags.tf32_flags(Settings(device="cuda")) == []


@pytest.mark.parametrize("mhz", [800.0, None])
def test_a_powersave_governor_is_flagged_where_it_holds_the_clock_down(mhz: float | None) -> None:
    """Not under drivers whose powersave follows the load, as on most Intel servers."""
    slow = HostState(
        cpu_governor="powersave", cpu_frequency_driver="acpi-cpufreq", cpu_frequency_mhz=mhz
    )
    one_flag(flags.governor_flags(State(host=slow)), "powersave_governor", "cpupower")
    for fine in ({"cpu_frequency_driver": "intel_pstate"}, {"cpu_governor": "schedutil"}):
        assert flags.governor_flags(State(host=slow.model_copy(update=fine))) == []


def test_a_repeats_flags_are_gathered_from_all_that_was_seen() -> None:
    """What was not observed gives none."""
    during = DuringState(other_processes_max=2, others_cpu_busy_percent=50)
    seen = Settings(device="cuda", tf32_matmul=True, tf32_cudnn=True)
    before = State(
        host=HostState(
            cpu_governor="powersave",
            cpu_frequency_driver="acpi-cpufreq",
            memory_available_bytes=GIB,
        )
    )
    hardware = Hardware(memory_bytes=64 * GIB)
    every = flags.run_flags(during=during, before=before, hardware=hardware, settings=seen)
    assert [flag.kind for flag in every] == [
        "other_gpu_process", "busy_cpu", "powersave_governor", "low_host_memory", "tf32_matmul"
    ]  # fmt: skip
    found = flags.run_flags(during=during, before=State(), settings=seen)
    assert [flag.kind for flag in found] == ["other_gpu_process", "busy_cpu", "tf32_matmul"]
    assert flags.run_flags() == []


def test_a_cpu_quota_that_throttles_is_flagged_with_its_periods() -> None:
    """The periods, the cores and where such limits are set."""
    during = DuringState(cpu_periods=582, cpu_throttled_periods=523)
    flag = one_flag(
        flags.quota_flags(during, Settings(cpu_quota_cores=0.6)),
        "throttled_cpu", "Throttled by a CPU quota: 523 of 582 periods (0.6 cores", "--cpus",
    )  # fmt: skip
    assert flag.value == pytest.approx(0.8986, abs=1e-4)
    assert "throttled_cpu" in flags.DISTURBANCES


@pytest.mark.parametrize("throttled", [None, 0, 11])
def test_a_cpu_quota_that_hardly_throttles_is_not_flagged(throttled: int | None) -> None:
    """Less than 2 % of the periods."""
    during = DuringState(cpu_periods=582, cpu_throttled_periods=throttled)
    assert flags.quota_flags(during, Settings()) == []


def test_tracers_and_debugging_variables_are_flagged_by_name() -> None:
    """Through the function that every repeat goes through."""
    settings = Settings(
        tracers=("coverage.tracer", "gdb"),
        variables={"CUDA_LAUNCH_BLOCKING": "1", "OMP_NUM_THREADS": "1"},
    )
    traced, slow = flags.run_flags(settings=settings)
    assert traced.kind == "traced"
    assert "coverage.tracer, gdb" in traced.message
    assert slow.kind == "slow_variables"
    assert "CUDA_LAUNCH_BLOCKING=1 in the environment" in slow.message
    assert "OMP" not in slow.message
    assert flags.run_flags(settings=Settings(variables={}, tracers=None)) == []


@pytest.mark.parametrize(
    ("cpu_flags", "variables", "told"),
    [
        (("avx2", "fma"), {}, "none of the extensions amx_bf16, avx512_bf16, bf16, svebf16"),
        (("avx512f", "avx512bw"), {}, "none of the extensions"),
        (("avx512_bf16",), {"ONEDNN_MAX_CPU_ISA": "avx2"}, "ONEDNN_MAX_CPU_ISA=avx2 hides"),
        (("amx_bf16",), {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, "DNNL_MAX_CPU_ISA=AVX512_CORE hides"),
        (("amx_bf16",), {"ONEDNN_MAX_CPU_ISA": "ALL"}, None),
        (("bf16", "asimd"), {}, None),
        (None, {}, None),
    ],
)
def test_missing_bfloat16_units_are_named(
    cpu_flags: tuple[str, ...] | None, variables: dict[str, str], told: str | None
) -> None:
    """Of a CPU whose extensions are known; a GPU has its own."""
    hardware = Hardware(cpu_flags=cpu_flags)
    found = flags.missing_bfloat16_units(hardware, Settings(device="cpu", variables=variables))
    assert (found is None) == (told is None)
    assert (told or "") in (found or "")
    cuda = Settings(device="cuda", variables=variables)
    assert flags.missing_bfloat16_units(hardware, cuda) is None
