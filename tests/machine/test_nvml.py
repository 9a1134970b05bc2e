"""GPUs as NVML reports them, against pynvml's constants, nvidia-smi and a fake NVML."""

from __future__ import annotations

import os
import re
import subprocess
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from cnnperf.machine import nvml
from cnnperf.machine.flags import THROTTLE_CAUSES
from cnnperf.machine.inventory import read_hardware
from cnnperf.machine.nvml import (
    GpuHandle,
    count_gpus,
    decode_throttle_reasons,
    open_gpu,
    read_device_state,
    read_energy_millijoules,
    read_gpu,
    visible_gpu_handle,
)
from cnnperf.record.environment import DeviceState, Gpu
from tests.machine.fake_nvml import GIB, InstallNvml, fake_gpu, mig_gpu
from tests.machine.helpers import ROOT


def snake_case(name: str) -> str:
    """`SwPowerCap` as `sw_power_cap`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_every_clock_reason_that_nvml_defines_is_decoded_to_its_name() -> None:
    """And no name is in the table that it does not define: pynvml's constants, old name or new."""
    aliases = {"None", "All", "UserDefinedClocks"}
    reasons = {
        (match[1], value)
        for name, value in vars(pynvml).items()
        if (match := re.fullmatch(r"nvmlClocks(?:Throttle|Event)Reason([A-Z]\w+)", name))
    }
    defined = {value: snake_case(name) for name, value in reasons if name not in aliases}
    assert defined == nvml.THROTTLE_REASONS


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x000, ()),
        (0x004, ("sw_power_cap",)),
        (0x021, ("gpu_idle", "sw_thermal_slowdown")),
        (0x0C8, ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")),
        (1 << 40, ("unknown_0x10000000000",)),
    ],
)
def test_a_mask_of_clock_reasons_is_decoded_bit_by_bit(mask: int, names: tuple[str, ...]) -> None:
    """Lowest bit first; a bit that a newer driver adds is named by its value."""
    assert decode_throttle_reasons(mask) == names


def test_only_slowdowns_are_harmful() -> None:
    """Idling, chosen clocks and the power cap are the card's normal work."""
    slowdowns = {name for name in nvml.THROTTLE_REASONS.values() if name.endswith("slowdown")}
    assert slowdowns == THROTTLE_CAUSES.keys()


def test_every_nvml_function_and_constant_used_exists_in_pynvml() -> None:
    """A misspelt name would look like an unsupported function for ever: None."""
    text = (ROOT / "cnnperf/machine/nvml.py").read_text()
    functions = set(re.findall(r'"(nvml[A-Z]\w+)"', text))
    assert len(functions) > 20
    assert {name for name in functions if not hasattr(pynvml, name)} == set()
    constants = (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM, pynvml.NVML_TEMPERATURE_GPU)
    assert constants == (nvml.CLOCK_SM, nvml.CLOCK_MEMORY, nvml.TEMPERATURE_GPU)
    assert pynvml.NVML_NVLINK_MAX_LINKS <= nvml.NVLINK_MAX_LINKS


def test_a_gpu_is_described_in_full(install_nvml: InstallNvml) -> None:
    """Every field that NVML reports; the SM count follows from the CUDA cores."""
    gpu = fake_gpu()
    install_nvml(gpu)
    seen = read_gpu(open_gpu(0))
    assert seen == Gpu(
        name="NVIDIA H200",
        uuid_sha256=nvml.hash_uuid(gpu.uuid),
        index=0,
        pcie_address="0000:1b:00.0",
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=141 * GIB,
        mig_enabled=False,
        vbios="96.00.A5.00.01",
        pcie_generation=5,
        pcie_width=16,
        nvlink_links=18,
    )
    assert re.fullmatch(r"[0-9a-f]{16}", seen.uuid_sha256)


@pytest.mark.parametrize(
    ("from_nvml", "address"),
    [
        ("00000000:1B:00.0", "0000:1b:00.0"),
        (b"0000:AF:00.0", "0000:af:00.0"),  # an older pynvml
        ("00010000:00:1E.0", "10000:00:1e.0"),  # a domain of more than 16 bits, as in a VM
        ("", None),
    ],
)
def test_a_pcie_address_is_written_as_lspci_does(
    install_nvml: InstallNvml, from_nvml: str | bytes, address: str | None
) -> None:
    """So that it can be looked up with `lspci -s`."""
    install_nvml(fake_gpu(pci=SimpleNamespace(busId=from_nvml)))
    assert read_gpu(open_gpu(0)).pcie_address == address


def test_the_state_of_a_gpu_is_in_the_units_that_its_names_say(install_nvml: InstallNvml) -> None:
    """NVML's milliwatts become watts; clocks are MHz already; energy stays in millijoules."""
    install_nvml(fake_gpu(reasons=0x4))
    gpu = open_gpu(0)
    assert read_device_state(gpu, []) == DeviceState(
        sm_clock_mhz=1500,
        sm_clock_limit_mhz=1980,
        memory_clock_mhz=3201,
        power_limit_watts=700,
        power_watts=412.5,
        temperature_celsius=55,
        throttle_reasons=("sw_power_cap",),
        other_processes=0,
        gpu_utilization_percent=97,
        memory_free_bytes=140 * GIB,
    )
    assert read_energy_millijoules(gpu) == 123_456_789


def test_values_that_nvml_does_not_support_are_none(install_nvml: InstallNvml) -> None:
    """A handle that answers nothing gives empty models, and no exception."""
    install_nvml(SimpleNamespace(slices=[]))
    gpu = open_gpu(0)
    assert read_gpu(gpu) == Gpu()
    assert read_device_state(gpu, []) == DeviceState()
    assert read_energy_millijoules(gpu) is None


def test_functions_that_pynvml_lacks_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old pynvml without any of the functions is as good as no NVML."""
    monkeypatch.setattr(nvml, "_library", SimpleNamespace)
    gpu = GpuHandle(device=object(), board=object())
    assert open_gpu(0) is None
    assert read_device_state(gpu, []) == DeviceState()


@pytest.mark.usefixtures("no_nvml")
def test_without_nvml_there_is_no_gpu() -> None:
    """Nothing to count, to open, or to name."""
    assert count_gpus() == 0
    assert open_gpu(0) is None
    assert open_gpu("GPU-0") is None
    assert visible_gpu_handle() is None
    assert nvml.driver_versions() == (None, None)
    assert read_hardware().gpu_count is None


def test_drivers_are_versions_as_people_write_them(install_nvml: InstallNvml) -> None:
    """13020 is CUDA 13.2."""
    install_nvml(fake_gpu())
    assert nvml.driver_versions() == ("580.65.06", "13.2")


def test_an_older_driver_has_clock_reasons_under_their_older_name(
    install_nvml: InstallNvml,
) -> None:
    """The event-reasons function is younger than the throttle-reasons function."""
    gpu = fake_gpu(old_reasons=0x40)
    del gpu.reasons
    install_nvml(gpu)
    seen = read_device_state(open_gpu(0), [])
    assert seen.throttle_reasons == ("hw_thermal_slowdown",)


def test_a_mig_slice_has_its_own_memory_and_the_boards_clocks(install_nvml: InstallNvml) -> None:
    """NVML refuses clocks and power of a slice, so they are the board's."""
    gpu = mig_gpu()
    install_nvml(gpu)
    handle = open_gpu(gpu.slices[1].uuid)
    seen, now = read_gpu(handle), read_device_state(handle, [])
    assert (seen.name, seen.sm_count, seen.mig_enabled) == ("NVIDIA H200 MIG 1g.18gb", 16, True)
    assert seen.memory_bytes == 16 * GIB
    assert seen.uuid_sha256 == nvml.hash_uuid(gpu.slices[1].uuid)
    assert (now.sm_clock_mhz, now.memory_free_bytes) == (1500, 15 * GIB)


@pytest.mark.parametrize(
    ("uuid", "index"),
    [
        ("GPU-1aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", 1),
        ("1aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", 1),
        ("GPU-1a", 1),
        ("GPU-", None),
        ("GPU-9", None),
        ("", None),
    ],
)
def test_a_uuid_finds_the_one_gpu_it_names(
    install_nvml: InstallNvml, uuid: str, index: int | None
) -> None:
    """With or without prefix, cut short or not; an ambiguous one finds nothing."""
    install_nvml(fake_gpu(0), fake_gpu(1))
    handle = open_gpu(uuid)
    assert (None if handle is None else handle.board.index) == index


def test_own_processes_are_not_counted_as_others(install_nvml: InstallNvml) -> None:
    """Two of three processes on the device are ours."""
    parent = os.getppid()
    install_nvml(fake_gpu(pids=[os.getpid(), 1, parent]))
    seen = read_device_state(open_gpu(0), {os.getpid(), parent})
    assert seen.other_processes == 1


@pytest.mark.parametrize(("hidden", "others"), [(1, 0), (3, 2)])
def test_in_a_container_one_unknown_pid_is_taken_for_our_own(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch, hidden: int, others: int
) -> None:
    """NVML lists the host's PIDs there, which do not exist here."""
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid < 1000)
    install_nvml(fake_gpu(pids=[10_000 + number for number in range(hidden)]))
    assert read_device_state(open_gpu(0), {7}).other_processes == others


@pytest.mark.cuda
def test_a_real_gpu_agrees_with_nvidia_smi() -> None:
    """Name and memory as the driver's own tool states them."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "-i0"]
    name, mebibytes = subprocess.check_output(query, text=True).strip().split(", ")
    seen = read_gpu(open_gpu(0))
    assert seen.name == name
    assert seen.memory_bytes == pytest.approx(int(mebibytes) * 2**20, rel=0.01)
