"""The environment: what the machine is, what state it is in, and when to doubt a measurement.

Each probe is checked against a source that it does not use itself (psutil, /proc, git, torch's own
parser, pynvml's constants); NVIDIA hardware is played by a fake NVML.

    pytest tests/test_environment.py
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

import cnnperf.environment as env
from cnnperf.environment import flags, host, nvml, settings, software, state, visible

ROOT = Path(__file__).parent.parent
GIB = 2**30

needs_torch = pytest.mark.skipif(
    software.package_version("torch") is None, reason="torch is not installed"
)
needs_gpu = pytest.mark.skipif(nvml.count_gpus() == 0, reason="no NVIDIA GPU on this machine")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own files")


# A fake NVML

ATTRIBUTES = {
    "nvmlDeviceGetName": "name",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlDeviceGetIndex": "index",
    "nvmlDeviceGetCudaComputeCapability": "capability",
    "nvmlDeviceGetNumGpuCores": "cores",
    "nvmlDeviceGetVbiosVersion": "vbios",
    "nvmlDeviceGetMaxPcieLinkGeneration": "pcie_generation",
    "nvmlDeviceGetMaxPcieLinkWidth": "pcie_width",
    "nvmlDeviceGetMemoryInfo": "memory",
    "nvmlDeviceGetMigMode": "mig_mode",
    "nvmlDeviceGetAttributes": "attributes",
    "nvmlDeviceGetEnforcedPowerLimit": "limit_milliwatts",
    "nvmlDeviceGetPowerUsage": "milliwatts",
    "nvmlDeviceGetUtilizationRates": "utilization",
    "nvmlDeviceGetCurrentClocksEventReasons": "reasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons": "old_reasons",
    "nvmlDeviceGetTotalEnergyConsumption": "millijoules",
}
"""NVML functions of a handle only, and the fake handle's attribute that each returns."""


def fake_gpu(index: int = 0, **changes: object) -> SimpleNamespace:
    """An H200 as NVML would describe it, except for `changes`."""
    fields: dict[str, object] = {
        "name": "NVIDIA H200",
        "uuid": f"GPU-{index}aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "index": index,
        "capability": (9, 0),
        "cores": 16896,  # 132 SMs of 128, H200 data sheet
        "vbios": "96.00.A5.00.01",
        "pcie_generation": 5,
        "pcie_width": 16,
        "memory": SimpleNamespace(total=141 * GIB, free=140 * GIB),
        "mig_mode": [0, 0],
        "clocks": {pynvml.NVML_CLOCK_SM: 1500, pynvml.NVML_CLOCK_MEM: 3201},
        "clock_limit": 1980,
        "limit_milliwatts": 700_000,
        "milliwatts": 412_500,
        "celsius": 55,
        "utilization": SimpleNamespace(gpu=97),
        "reasons": 0,
        "millijoules": 123_456_789,
        "pids": [],
        "links": 18,
        "slices": [],
    }
    return SimpleNamespace(**(fields | changes))


# ruff: noqa: N802 (the fake has NVML's function names)
class FakeNvml:
    """Stands in for pynvml: answers from fake handles, raises NVMLError for what they lack."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *gpus: SimpleNamespace) -> None:
        self.gpus = gpus

    def __getattr__(self, function: str) -> Callable[..., Any]:
        """Functions that only read one attribute; others do not exist, as in an old pynvml."""
        if function not in ATTRIBUTES:
            raise AttributeError(function)
        return lambda handle, *_: self.read(handle, ATTRIBUTES[function])

    def read(self, handle: SimpleNamespace, attribute: str) -> Any:
        if not hasattr(handle, attribute):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return getattr(handle, attribute)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13020

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:
        if index >= len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetClockInfo(self, handle: SimpleNamespace, kind: int) -> int:
        return self.read(handle, "clocks")[kind]

    def nvmlDeviceGetMaxClockInfo(self, handle: SimpleNamespace, kind: int) -> int:
        return self.read(handle, "clock_limit")

    def nvmlDeviceGetTemperature(self, handle: SimpleNamespace, sensor: int) -> int:
        return self.read(handle, "celsius")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: SimpleNamespace) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.read(handle, "pids")]

    def nvmlDeviceGetNvLinkState(self, handle: SimpleNamespace, link: int) -> int:
        if link >= self.read(handle, "links"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: SimpleNamespace) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: SimpleNamespace, position: int) -> Any:
        if position >= len(handle.slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle.slices[position]


InstallNvml = Callable[..., None]


@pytest.fixture
def install_nvml(monkeypatch: pytest.MonkeyPatch) -> InstallNvml:
    """Puts a fake NVML with the given GPUs in place of the library, and unsets CUDA's variables."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    def install(*gpus: SimpleNamespace) -> None:
        monkeypatch.setattr(nvml, "_library", lambda: FakeNvml(*gpus))

    return install


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVIDIA's library."""
    monkeypatch.setattr(nvml, "_library", lambda: None)


def mig_gpu(index: int = 0) -> SimpleNamespace:
    """An H200 split in two slices of which each has its own memory, SMs and processes."""
    slices = [
        SimpleNamespace(
            name="NVIDIA H200 MIG 1g.18gb",
            uuid=f"MIG-{index}{number}000000-bbbb-cccc-dddd-eeeeeeeeeeee",
            memory=SimpleNamespace(total=16 * GIB, free=15 * GIB),
            attributes=SimpleNamespace(multiprocessorCount=16),
            pids=[],
        )
        for number in range(2)
    ]
    return fake_gpu(index, mig_mode=[1, 1], slices=slices)


# NVML


def snake_case(name: str) -> str:
    """`SwPowerCap` as `sw_power_cap`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_every_clock_reason_that_nvml_defines_is_decoded_to_its_name() -> None:
    """The table agrees with pynvml's constants in both directions."""
    prefix = "nvmlClocksThrottleReason"
    aliases = {"None", "All", "UserDefinedClocks"}
    defined = {
        value: snake_case(name.removeprefix(prefix))
        for name, value in vars(pynvml).items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in aliases
    }
    assert {bit: nvml.THROTTLE_REASONS[bit] for bit in defined} == defined


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
    assert env.decode_throttle_reasons(mask) == names


def test_only_slowdowns_are_harmful() -> None:
    """Idling, chosen clocks and the power cap are the card's normal work."""
    slowdowns = {name for name in nvml.THROTTLE_REASONS.values() if name.endswith("slowdown")}
    assert slowdowns == env.HARMFUL_THROTTLE_REASONS


def test_every_nvml_function_and_constant_used_exists_in_pynvml() -> None:
    """A misspelt name would look like an unsupported function for ever: None."""
    text = (ROOT / "cnnperf/environment/nvml.py").read_text()
    functions = set(re.findall(r'"(nvml[A-Z]\w+)"', text))
    assert len(functions) > 20
    assert {name for name in functions if not hasattr(pynvml, name)} == set()
    constants = (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM, pynvml.NVML_TEMPERATURE_GPU)
    assert constants == (nvml.CLOCK_SM, nvml.CLOCK_MEMORY, nvml.TEMPERATURE_GPU)
    assert pynvml.NVML_NVLINK_MAX_LINKS <= nvml.NVLINK_MAX_LINKS


def test_a_gpu_is_described_in_full(install_nvml: InstallNvml) -> None:
    """Every field that NVML can tell; the SM count follows from the CUDA cores."""
    gpu = fake_gpu()
    install_nvml(gpu)
    seen = env.read_gpu(env.open_gpu(0))
    assert seen == env.Gpu(
        name="NVIDIA H200",
        uuid_sha256=nvml.hash_uuid(gpu.uuid),
        index=0,
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


def test_the_state_of_a_gpu_is_in_the_units_that_its_names_say(install_nvml: InstallNvml) -> None:
    """NVML's milliwatts become watts; clocks are MHz already; energy stays in millijoules."""
    install_nvml(fake_gpu(reasons=0x4))
    gpu = env.open_gpu(0)
    assert env.read_device_state(gpu, []) == env.DeviceState(
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
    assert env.read_energy_millijoules(gpu) == 123_456_789


def test_what_nvml_does_not_support_is_none(install_nvml: InstallNvml) -> None:
    """A handle that answers nothing gives empty models, and no exception."""
    install_nvml(SimpleNamespace(slices=[]))
    gpu = env.open_gpu(0)
    assert env.read_gpu(gpu) == env.Gpu()
    assert env.read_device_state(gpu, []) == env.DeviceState()
    assert env.read_energy_millijoules(gpu) is None


def test_functions_that_pynvml_lacks_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old pynvml without any of the functions is as good as no NVML."""
    monkeypatch.setattr(nvml, "_library", SimpleNamespace)
    gpu = env.GpuHandle(device=object(), board=object())
    assert env.open_gpu(0) is None
    assert env.read_device_state(gpu, []) == env.DeviceState()


@pytest.mark.usefixtures("no_nvml")
def test_without_nvml_there_is_no_gpu() -> None:
    """Nothing to count, to open, or to name."""
    assert env.count_gpus() == 0
    assert env.open_gpu(0) is None
    assert env.open_gpu("GPU-0") is None
    assert env.visible_gpu_handle() is None
    assert nvml.driver_version() is None
    assert nvml.cuda_driver_version() is None
    assert env.read_hardware(device="cpu", with_torch=False).gpu_count is None


def test_drivers_are_versions_as_people_write_them(install_nvml: InstallNvml) -> None:
    """13020 is CUDA 13.2."""
    install_nvml(fake_gpu())
    assert nvml.driver_version() == "580.65.06"
    assert nvml.cuda_driver_version() == "13.2"


def test_an_older_driver_tells_clock_reasons_by_their_older_name(install_nvml: InstallNvml) -> None:
    """The event-reasons function is younger than the throttle-reasons function."""
    gpu = fake_gpu(old_reasons=0x40)
    del gpu.reasons
    install_nvml(gpu)
    seen = env.read_device_state(env.open_gpu(0), [])
    assert seen.throttle_reasons == ("hw_thermal_slowdown",)


def test_a_mig_slice_has_its_own_memory_and_the_boards_clocks(install_nvml: InstallNvml) -> None:
    """NVML refuses clocks and power of a slice, so they are the board's."""
    gpu = mig_gpu()
    install_nvml(gpu)
    handle = env.open_gpu(gpu.slices[1].uuid)
    seen, now = env.read_gpu(handle), env.read_device_state(handle, [])
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
    handle = env.open_gpu(uuid)
    assert (None if handle is None else handle.board.index) == index


def test_own_processes_are_no_company(install_nvml: InstallNvml) -> None:
    """Of three processes on the device two are ours."""
    parent = os.getppid()
    install_nvml(fake_gpu(pids=[os.getpid(), 1, parent]))
    seen = env.read_device_state(env.open_gpu(0), {os.getpid(), parent})
    assert seen.other_processes == 1


@pytest.mark.parametrize(("hidden", "others"), [(1, 0), (3, 2)])
def test_in_a_container_one_unknown_pid_is_taken_for_our_own(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch, hidden: int, others: int
) -> None:
    """NVML lists the host's PIDs there, which do not exist here."""
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: pid < 1000)
    install_nvml(fake_gpu(pids=[10_000 + number for number in range(hidden)]))
    assert env.read_device_state(env.open_gpu(0), {7}).other_processes == others


@needs_gpu
def test_a_real_gpu_agrees_with_nvidia_smi() -> None:
    """Name and memory as the driver's own tool states them."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "-i0"]
    name, mebibytes = subprocess.check_output(query, text=True).strip().split(", ")
    seen = env.read_gpu(env.open_gpu(0))
    assert seen.name == name
    assert seen.memory_bytes == pytest.approx(int(mebibytes) * 2**20, rel=0.01)


# Which GPU is ours


@pytest.mark.parametrize(
    ("value", "index"),
    [(None, 0), ("1", 1), ("2,0", 2), ("", None), ("-1", None), ("1,1", None), ("7", None)],
)
def test_the_first_visible_device_is_found(
    install_nvml: InstallNvml,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    index: int | None,
) -> None:
    """`CUDA_VISIBLE_DEVICES` renumbers what NVML counts."""
    install_nvml(*(fake_gpu(number) for number in range(3)))
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    handle = env.visible_gpu_handle()
    assert (None if handle is None else handle.board.index) == index


def test_a_visible_device_can_be_named_by_uuid(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs and MIG slices alike, at any place of the list."""
    split = mig_gpu(2)
    gpus = [fake_gpu(0), fake_gpu(1), split]
    install_nvml(*gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{gpus[1].uuid},{gpus[0].uuid}")
    assert [env.visible_gpu_handle(n).board.index for n in (0, 1)] == [1, 0]
    assert env.visible_gpu_handle(2) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", split.slices[1].uuid)
    assert env.visible_gpu_handle().device is split.slices[1]


def test_a_split_gpu_named_by_number_is_its_first_slice(install_nvml: InstallNvml) -> None:
    """CUDA shows one slice of a GPU in MIG mode."""
    split = mig_gpu()
    install_nvml(split)
    assert env.visible_gpu_handle().device is split.slices[0]


def test_unlike_gpus_are_told_apart_only_in_pci_order(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA counts the fastest first, so its number says nothing about a mixed machine."""
    install_nvml(fake_gpu(0, name="NVIDIA T1000"), fake_gpu(1))
    assert env.visible_gpu_handle() is None
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert env.visible_gpu_handle().board.index == 0


def test_a_running_torch_says_which_gpu_it_is(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its UUID, which torch prints without prefix, beats any guess from the variables."""
    install_nvml(fake_gpu(0, name="NVIDIA T1000"), fake_gpu(1))
    uuid = "1aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        get_device_properties=lambda ordinal: SimpleNamespace(uuid=uuid),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert env.visible_gpu_handle().board.index == 1


VISIBLE_VALUES = [
    "", "0", "0,1", " 1, 2", "2,-1,0", "-1", "1,1", "1gpu2,2ampere", "+3,4", "a", "0,a,1", "0,,1",
    "GPU-aa,GPU-bb", "GPU-aa,GPU-aa", "GPU-aa,1", "MIG-aa", "GPU-aa,MIG-bb", "0,GPU-aa",
]  # fmt: skip


@pytest.fixture(scope="module")
def torch_report() -> dict[str, Any]:
    """Torch's own answers, from one process for all tests: it parses and sets, we read."""
    code = f"""
import json, os, sys, warnings
warnings.simplefilter("error")
import torch
from cnnperf.environment import read_settings, read_software

def parse(value):
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    return torch.cuda._parse_visible_devices()

def read():
    return read_settings(device="cuda", with_torch=True).model_dump()

report = {{"visible": [parse(value) for value in {VISIBLE_VALUES!r}]}}
os.environ["CUDA_VISIBLE_DEVICES"] = ""
report["default"] = read()
report["threads"] = torch.get_num_threads()
report["version"] = [torch.__version__, torch.version.git_version, torch.version.cuda]
report["software"] = read_software(with_torch=True).model_dump()
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
with torch.autocast("cpu", dtype=torch.bfloat16):
    report["autocast"] = read_settings(device="cpu", with_torch=True).model_dump()
torch.set_float32_matmul_precision("high")
report["high"] = read()
torch.backends.cuda.matmul.fp32_precision = "ieee"
torch.backends.cudnn.conv.fp32_precision = "ieee"
report["mixed_off"] = read()
torch.backends.cuda.matmul.fp32_precision = "tf32"
report["mixed_on"] = read()
print(json.dumps(report))
"""
    return json.loads(run_python(code))


def run_python(code: str, **environ: str) -> str:
    """What a fresh interpreter prints for this code, with the project importable."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_torch
@pytest.mark.parametrize("position", range(len(VISIBLE_VALUES)), ids=VISIBLE_VALUES)
def test_visible_devices_are_parsed_as_torch_parses_them(
    torch_report: dict[str, Any], position: int
) -> None:
    """They follow CUDA's rules, which are looser than one would think."""
    expected = torch_report["visible"][position]
    assert visible.parse_visible_devices(VISIBLE_VALUES[position]) == expected


def test_recorded_visible_devices_name_no_gpu() -> None:
    """Numbers stay, UUIDs are hashed as they are for the GPU itself."""
    uuid = "GPU-0aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert visible.hide_uuids("1,0") == "1,0"
    assert visible.hide_uuids(uuid) == nvml.hash_uuid(uuid)
    assert visible.hide_uuids("") == ""
    assert visible.hide_uuids(None) is None


# Settings


@needs_torch
def test_defaults_are_torchs_defaults(torch_report: dict[str, Any]) -> None:
    """TF32 off for products and on for convolutions, nothing deterministic, no autocast."""
    seen = torch_report["default"]
    assert (seen["tf32_matmul"], seen["tf32_cudnn"]) == (False, True)
    assert seen["float32_matmul_precision"] == "highest"
    assert (seen["cudnn_benchmark"], seen["deterministic_algorithms"]) == (False, False)
    assert seen["autocast_dtype"] is None
    assert seen["torch_threads"] == torch_report["threads"]
    assert flags.tf32_flags(env.Settings(**seen), env.TORCH_DEFAULT_TF32) == []


@needs_torch
def test_settings_follow_what_was_switched_on(torch_report: dict[str, Any]) -> None:
    """The old TF32 switch, cuDNN's flags, determinism, threads and autocast."""
    seen = torch_report["high"]
    assert (seen["tf32_matmul"], seen["float32_matmul_precision"]) == (True, "high")
    assert seen["cudnn_benchmark"]
    assert seen["cudnn_deterministic"]
    assert seen["deterministic_algorithms"]
    assert seen["torch_threads"] == 1
    assert torch_report["autocast"]["autocast_dtype"] == "bfloat16"


@needs_torch
def test_tf32_is_known_even_where_both_of_torchs_apis_were_used(
    torch_report: dict[str, Any],
) -> None:
    """The old one then raises; warnings were errors in that process, and none came up."""
    off, on = torch_report["mixed_off"], torch_report["mixed_on"]
    assert (off["tf32_matmul"], off["tf32_cudnn"]) == (False, False)
    assert (on["tf32_matmul"], on["tf32_cudnn"]) == (True, False)


def test_a_torch_without_the_new_tf32_api_is_asked_by_the_old_one() -> None:
    """And a torch that knows neither gives None."""
    old = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True))
    torch = SimpleNamespace(backends=SimpleNamespace(cuda=old))
    assert settings.tf32_matmul(torch) is True
    assert settings.tf32_cudnn(torch) is None


def test_settings_without_torch_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Allocator and visible devices are variables; torch's own flags stay None."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    seen = env.read_settings(device="cpu", with_torch=False)
    assert seen.model_dump(exclude_none=True, exclude={"cpu_affinity_cores"}) == {
        "device": "cpu",
        "allocator_config": "expandable_segments:True",
        "visible_devices": "3",
    }


# Host


def printed(*command: str) -> str:
    """What a command prints, whatever its exit status."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_cores_and_memory_are_those_that_the_system_counts() -> None:
    """Against os.cpu_count and, on Linux, /proc/meminfo."""
    seen = env.read_host()
    assert seen.cpu_logical_cores == os.cpu_count()
    assert seen.cpu_model
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        kibibytes = int(re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())[1])
        assert seen.memory_bytes == kibibytes * 1024


@linux_only
def test_cpu_flags_are_a_subset_of_what_the_kernel_lists() -> None:
    """Only those that kernels are chosen by, sorted; NUMA nodes as lscpu counts them."""
    listed = set(Path("/proc/cpuinfo").read_text().split())
    seen = env.read_host()
    assert list(seen.cpu_flags) == sorted(set(seen.cpu_flags) & listed & host.RELEVANT_CPU_FLAGS)
    if "avx2" in listed:
        assert "avx2" in seen.cpu_flags
    if shutil.which("lscpu"):
        counted = re.search(r"NUMA node\(s\):\s*(\d+)", printed("lscpu"))
        assert seen.numa_nodes == (int(counted[1]) if counted else None)


@linux_only
@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
def test_affinity_counts_the_cores_that_the_process_may_use() -> None:
    """Bound to one core it is 1, however many the machine has."""
    core = min(os.sched_getaffinity(0))
    code = "from cnnperf.environment.host import *; print(cpu_affinity_cores())"
    command = ["taskset", "-c", str(core), sys.executable, "-c", code]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.check_output(command, env=environ, text=True).strip() == "1"


@pytest.mark.skipif(shutil.which("systemd-detect-virt") is None, reason="needs systemd-detect-virt")
def test_virtualization_is_what_systemd_says() -> None:
    """Container first, machine below; None where it says none."""
    kinds = [printed("systemd-detect-virt", kind) for kind in ("-c", "-v")]
    assert host.virtualization() == (" on ".join(k for k in kinds if k != "none") or None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, None),
        ({"/proc/1/cgroup": "12:cpu:/kubepods/besteffort/pod1"}, "kubernetes"),
        ({"/sys/hypervisor/type": "xen"}, "xen"),
        ({"/sys/class/dmi/id/sys_vendor": "QEMU"}, "kvm"),
        ({"/proc/cpuinfo": "flags\t\t: fpu hypervisor"}, "vm"),
        ({"/proc/1/cgroup": "1:cpu:/docker/1", "/sys/class/dmi/id/sys_vendor": "QEMU"},
         "docker on kvm"),
    ],
)  # fmt: skip
def test_without_systemd_virtualization_is_read_from_its_traces(
    monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], expected: str | None
) -> None:
    """Control groups betray a container, DMI and the CPU a virtual machine."""
    monkeypatch.setattr(host, "_detect_virt", lambda kind: None)
    monkeypatch.setattr(host, "file_text", texts.get)
    monkeypatch.setattr(host, "CONTAINER_FILES", {})
    monkeypatch.setattr(host, "CONTAINER_VARIABLES", {})
    assert host.virtualization() == expected


def test_busy_percent_is_the_share_of_all_cores() -> None:
    """One of four cores for ten seconds; a clock that did not tick gives None."""
    start = host.CpuTimes(busy_seconds=100, total_seconds=1000)
    end = host.CpuTimes(busy_seconds=110, total_seconds=1040)
    assert host.busy_percent(start, end) == 25
    assert host.busy_percent(start, start) is None
    assert host.busy_percent(None, end) is None


# Software


def test_versions_are_those_of_this_interpreter() -> None:
    """Against sys, platform and the modules themselves."""
    seen = env.read_software(with_torch=False)
    assert seen.python == sys.version.split()[0]
    assert seen.kernel == platform.release()
    if platform.libc_ver()[0] == "glibc":
        assert seen.glibc == platform.libc_ver()[1]
    if seen.numpy is not None:
        assert seen.numpy == run_python("import numpy; print(numpy.__version__, end='')")


@needs_torch
def test_torch_is_described_alike_with_and_without_importing_it(
    torch_report: dict[str, Any],
) -> None:
    """Its version.py as text says what the module says; only the module tells its build."""
    loaded = env.Software(**torch_report["software"])
    text = env.read_software(with_torch=False)
    assert [text.torch, text.torch_git, text.cuda_runtime] == torch_report["version"]
    assert [loaded.torch, loaded.torch_git, loaded.cuda_runtime] == torch_report["version"]
    assert re.fullmatch(r"[0-9a-f]{16}", loaded.torch_build_config)
    assert text.torch_build_config is None


@pytest.mark.parametrize(("number", "version"), [(92600, "9.26.0"), (90100, "9.1.0"),
                                                 (8902, "8.9.2"), (91002, "9.10.2")])  # fmt: skip
def test_cudnn_numbers_are_read_as_versions(number: int, version: str) -> None:
    """CUDNN_VERSION of cudnn_version.h: thousands up to 8, ten thousands from 9."""
    assert software.cudnn_version(number) == version


def git(directory: Path, *arguments: str) -> str:
    """Run git as somebody, in a directory."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    command = ["git", *identity, "-C", str(directory), *arguments]
    return subprocess.check_output(command, text=True, stderr=subprocess.STDOUT).strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a package in it, one commit old."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return package


@needs_git
def test_the_commit_and_its_dirt_are_those_of_the_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untracked files are no dirt, changed tracked ones are; a hook's GIT_DIR misleads nobody."""
    monkeypatch.setattr(software, "PACKAGE_DIR", checkout)
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked.py").write_text("")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert (software.git_commit(checkout), software.git_dirty(checkout)) == (head, False)
    (checkout / "module.py").write_text("x = 2\n")
    seen = env.read_software(with_torch=False)
    assert (seen.cnnperf_commit, seen.cnnperf_dirty) == (head, True)


@needs_git
def test_an_installed_package_has_no_commit(checkout: Path, tmp_path: Path) -> None:
    """Neither outside any checkout nor untracked within somebody else's."""
    installed = checkout.parent / ".venv" / "cnnperf"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("")
    assert software.git_commit(installed) is None
    assert software.git_dirty(installed) is None
    assert software.git_commit(Path("/")) is None


# Own and other load

SPIN = "while True: pass"


@pytest.fixture
def spinner() -> Iterator[subprocess.Popen[bytes]]:
    """A child that does nothing but start a grandchild, which keeps a core busy."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for_grandchild(child.pid)
        yield child
    finally:
        for process in [*psutil.Process(child.pid).children(recursive=True), child]:
            process.kill()
        child.wait()


def wait_for_grandchild(pid: int) -> None:
    """Until the spinning has begun."""
    deadline_seconds = time.monotonic() + 60
    while not psutil.Process(pid).children():
        assert time.monotonic() < deadline_seconds
        time.sleep(0.02)


def test_load_counts_as_others_unless_it_is_our_own_familys(
    spinner: subprocess.Popen[bytes],
) -> None:
    """Two samplers watch the same second and a half: they differ by what the grandchild used."""
    grandchild = psutil.Process(spinner.pid).children()[0]
    with (
        env.StateSampler(None, [os.getpid()], interval_seconds=0.2) as family,
        env.StateSampler(None, [], interval_seconds=0.2) as nobody,
    ):
        before_seconds = sum(grandchild.cpu_times()[:2])
        start_seconds = time.perf_counter()
        time.sleep(1.5)
        used_seconds = sum(grandchild.cpu_times()[:2]) - before_seconds
        cores = os.cpu_count() * (time.perf_counter() - start_seconds)
    ours, theirs = family.summary(), nobody.summary()
    difference = theirs.others_cpu_busy_percent - ours.others_cpu_busy_percent
    assert difference > 0.6 * 100 * used_seconds / cores
    assert ours.samples >= 3
    limit_percent = ours.others_cpu_busy_percent + difference / 2
    assert flags.cpu_flags(theirs, limit_percent)
    assert not flags.cpu_flags(ours, limit_percent)


def test_the_work_of_children_that_ended_stays_our_own() -> None:
    """A parent that waited for them keeps their time, so it never turns into others'."""
    before_seconds = state.cpu_seconds(state.own_processes())
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    used_seconds = sum(psutil.Process().cpu_times()[2:4])
    after_seconds = state.cpu_seconds(state.own_processes())
    assert after_seconds > before_seconds
    assert after_seconds >= used_seconds


def test_an_interval_in_which_own_processes_vanish_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their time leaves the tree with them; counting it would blame others."""
    machine = iter(
        host.CpuTimes(busy_seconds=10 * step, total_seconds=40 * step) for step in range(4)
    )
    own = iter([100, 109, 0, 10])
    monkeypatch.setattr(state, "read_cpu_times", lambda: next(machine))
    monkeypatch.setattr(state, "cpu_seconds", lambda processes: next(own))
    others = state.OthersCpu()
    for _ in range(4):
        others.update([])
    assert others.percent == pytest.approx(100 * (1 + 0) / 80)


def test_a_sampler_says_nothing_about_load_seen_too_briefly() -> None:
    """A few ticks of the kernel's clock are no percentage."""
    with env.StateSampler(None, [os.getpid()]) as sampler:
        pass
    seen = sampler.summary()
    assert seen.samples == 2
    if os.cpu_count() <= 8:
        assert seen.others_cpu_busy_percent is None


def test_a_sampler_sums_up_the_gpu_that_it_watched(install_nvml: InstallNvml) -> None:
    """Clocks, power, temperature, reasons and company over all samples."""
    gpu = fake_gpu(pids=[1])
    install_nvml(gpu)
    with env.StateSampler(env.open_gpu(0), [os.getpid()], interval_seconds=60) as sampler:
        gpu.clocks[pynvml.NVML_CLOCK_SM], gpu.celsius, gpu.milliwatts = 900, 91, 200_000
        gpu.reasons, gpu.pids = 0x44, []
    assert sampler.summary() == sampler.summary().model_copy(
        update={
            "samples": 2,
            "sm_clock_min_mhz": 900,
            "sm_clock_median_mhz": 1200,
            "sm_clock_max_mhz": 1500,
            "sm_clock_limit_mhz": 1980,
            "power_mean_watts": 306.25,
            "temperature_max_celsius": 91,
            "throttle_shares": {"hw_thermal_slowdown": 0.5, "sw_power_cap": 0.5},
            "other_processes_max": 1,
        }
    )


def test_nothing_watched_is_summed_up_as_none() -> None:
    """No sample, or samples of a GPU that tells nothing."""
    assert state.summarize_devices([]) == env.DuringState()
    assert state.summarize_devices([env.DeviceState()]) == env.DuringState(samples=1)


def test_an_error_inside_the_block_is_not_swallowed() -> None:
    """The sampler ends, and the error goes on."""
    with pytest.raises(KeyError), env.StateSampler(None):
        raise KeyError


def test_the_host_state_is_what_psutil_sees() -> None:
    """Free memory is part of the memory; percentages are percentages."""
    seen = env.read_state(None).host
    assert 0 < seen.memory_available_bytes <= psutil.virtual_memory().total
    assert 0 <= seen.cpu_busy_percent <= 100


# Flags


def one_flag(found: list[env.Flag], kind: str, *words: str) -> env.Flag:
    """The only flag: of this kind, one line with a number, ended, and with these words."""
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
    during = env.DuringState(
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


@pytest.mark.parametrize("reason", sorted(env.HARMFUL_THROTTLE_REASONS))
def test_every_harmful_reason_is_flagged(reason: str) -> None:
    """With a cause of its own."""
    found = flags.throttle_flags(env.DuringState(throttle_shares={reason: 1.0}))
    one_flag(found, "throttled", reason, "100 %", flags.THROTTLE_ADVICE[reason][1])


@pytest.mark.parametrize(
    "shares", [None, {}, {"sw_power_cap": 1.0}, {"gpu_idle": 1.0}, {"hw_slowdown": 0.01}]
)
def test_normal_clocks_are_not_flagged(shares: dict[str, float] | None) -> None:
    """Neither the power cap nor idling nor a single blip in a long run."""
    assert flags.throttle_flags(env.DuringState(throttle_shares=shares)) == []


def test_the_power_cap_is_flagged_for_who_asks_for_it() -> None:
    """Harmful by choice."""
    during = env.DuringState(throttle_shares={"sw_power_cap": 0.9})
    one_flag(flags.throttle_flags(during, {"sw_power_cap"}), "throttled", "sw_power_cap (90 %")


@pytest.mark.parametrize(("count", "words"), [(1, "1 other process "), (3, "3 other processes ")])
def test_company_on_the_gpu_is_flagged(count: int, words: str) -> None:
    """With how many, and how to find or avoid them."""
    found = flags.process_flags(env.DuringState(other_processes_max=count))
    one_flag(found, "other_gpu_process", "nvidia-smi", "CUDA_VISIBLE_DEVICES", words)


def test_busy_cores_are_flagged_above_the_limit_only() -> None:
    """At 15 % not yet; unknown is not busy."""
    busy = flags.cpu_flags(env.DuringState(others_cpu_busy_percent=42.3))
    one_flag(busy, "busy_cpu", "42 %", "limit 15 %", "top", "repeat")
    assert flags.cpu_flags(env.DuringState(others_cpu_busy_percent=15.0)) == []
    assert flags.cpu_flags(env.DuringState()) == []


def test_little_free_memory_is_flagged_on_device_and_host() -> None:
    """Each with its own advice, as long as the size is known."""
    hardware = env.Hardware(gpu=env.Gpu(memory_bytes=80 * GIB), memory_bytes=64 * GIB)
    full = env.State(
        device=env.DeviceState(memory_free_bytes=2 * GIB),
        host=env.HostState(memory_available_bytes=1 * GIB),
    )
    gpu, memory = flags.memory_flags(full, hardware)
    one_flag([gpu], "low_gpu_memory", "2.0 GiB of 80.0 GiB", "nvidia-smi")
    one_flag([memory], "low_host_memory", "1.0 GiB of 64.0 GiB", "DataLoader workers")
    assert flags.memory_flags(full, env.Hardware()) == []
    assert flags.memory_flags(env.State(), hardware) == []


@pytest.mark.parametrize(("field", "value"), [("tf32_matmul", True), ("tf32_cudnn", False)])
def test_tf32_against_expectation_is_flagged(field: str, value: bool) -> None:
    """Either switch, with the setting that undoes it; the CPU has no TF32."""
    seen = {"tf32_matmul": False, "tf32_cudnn": True} | {field: value}
    found = flags.tf32_flags(env.Settings(device="cuda:0", **seen), env.TORCH_DEFAULT_TF32)
    one_flag(found, field, "is on" if value else "is off", "ieee" if value else "tf32")
    assert flags.tf32_flags(env.Settings(device="cpu", **seen), env.TORCH_DEFAULT_TF32) == []
    assert flags.tf32_flags(env.Settings(device="cuda"), env.TORCH_DEFAULT_TF32) == []


@pytest.mark.parametrize("mhz", [800.0, None])
def test_a_powersave_governor_is_flagged_where_it_holds_the_clock_down(mhz: float | None) -> None:
    """Not under drivers whose powersave follows the load, as on most Intel servers."""
    slow = env.HostState(
        cpu_governor="powersave", cpu_frequency_driver="acpi-cpufreq", cpu_frequency_mhz=mhz
    )
    one_flag(flags.governor_flags(env.State(host=slow)), "powersave_governor", "cpupower")
    for fine in ({"cpu_frequency_driver": "intel_pstate"}, {"cpu_governor": "schedutil"}):
        assert flags.governor_flags(env.State(host=slow.model_copy(update=fine))) == []


def test_a_repeats_flags_are_gathered_from_all_that_was_seen() -> None:
    """What was not observed gives none."""
    during = env.DuringState(other_processes_max=2, others_cpu_busy_percent=50)
    seen = env.Settings(device="cuda", tf32_matmul=True, tf32_cudnn=True)
    found = flags.run_flags(
        during=during, before=env.State(), settings=seen, expected_tf32=env.TORCH_DEFAULT_TF32
    )
    assert [flag.kind for flag in found] == ["other_gpu_process", "busy_cpu", "tf32_matmul"]
    assert flags.run_flags() == []


# The whole


def test_collecting_imports_neither_torch_nor_nvml_before_it_must() -> None:
    """Importing the package loads neither; collecting without torch never loads torch."""
    code = (
        "import sys; import cnnperf.environment as env\n"
        "print('pynvml' in sys.modules, 'torch' in sys.modules)\n"
        "env.collect_environment(device='cuda', with_torch=False); env.read_state(None)\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False", "False"]


def test_an_environment_survives_json(install_nvml: InstallNvml) -> None:
    """Nothing is lost on the way to a record and back, and the future's fields are ignored."""
    install_nvml(fake_gpu())
    seen = env.collect_environment(device="cuda", with_torch=False)
    assert seen.hardware.gpu.name == "NVIDIA H200"
    assert seen.hardware.gpu_count == 1
    assert env.Environment.model_validate_json(seen.model_dump_json()) == seen
    later = seen.model_dump() | {"weather": "rain"}
    assert env.Environment.model_validate(later) == seen


def test_states_and_flags_survive_json(install_nvml: InstallNvml) -> None:
    """Before, during, and what was made of them."""
    install_nvml(fake_gpu(reasons=0x8))
    with env.StateSampler(env.open_gpu(0), interval_seconds=60) as sampler:
        before = env.read_state(env.open_gpu(0), [os.getpid()], window_seconds=0.01)
    during = sampler.summary()
    (flag, *_) = flags.run_flags(during=during, before=before)
    for model in (before, during, flag):
        assert type(model).model_validate_json(model.model_dump_json()) == model


def test_every_field_is_optional_and_frozen() -> None:
    """A model of nothing is valid; a made one does not change."""
    for model in (env.Gpu, env.Hardware, env.Software, env.Settings, env.Environment,
                  env.DeviceState, env.HostState, env.State, env.DuringState):  # fmt: skip
        empty = model()
        with pytest.raises(ValueError, match="frozen"):
            setattr(empty, next(iter(model.model_fields)), None)


def test_the_device_number_chooses_the_gpu(install_nvml: InstallNvml) -> None:
    """`cuda:1` is the second visible GPU, unless another is asked for."""
    install_nvml(fake_gpu(0), fake_gpu(1))
    second = env.collect_environment(device="cuda:1", with_torch=False)
    first = env.collect_environment(device="cuda:1", with_torch=False, gpu_index=0)
    assert (second.hardware.gpu.index, first.hardware.gpu.index) == (1, 0)


@pytest.mark.usefixtures("no_nvml")
def test_torch_describes_the_gpu_where_nvml_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the only source of the L2 size."""
    properties = SimpleNamespace(
        name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, total_memory=150,
        L2_cache_size=60,
    )  # fmt: skip
    cuda = SimpleNamespace(
        get_device_properties=lambda ordinal: properties, is_initialized=lambda: False
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert env.read_hardware(device="cuda", with_torch=True).gpu == env.Gpu(
        name="NVIDIA H200",
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=150,
        l2_cache_bytes=60,
    )


@pytest.mark.usefixtures("no_nvml")
def test_nothing_raises_on_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no /sys, no tools, no packages, a broken torch: fields are None, that is all."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(psutil, "PROCFS_PATH", "/nonexistent", raising=False)
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(Path, "glob", fail)
    monkeypatch.setattr(os, "confstr", fail, raising=False)
    for name in ("cpu_count", "virtual_memory", "cpu_times", "cpu_freq", "getloadavg", "Process"):
        monkeypatch.setattr(psutil, name, fail)
    monkeypatch.setattr(software.importlib.metadata, "version", fail)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    seen = env.collect_environment(device="cuda", with_torch=True)
    assert seen.hardware.cpu_logical_cores is None
    assert seen.software.torch is None
    assert seen.settings.tf32_matmul is None
    with env.StateSampler(None) as sampler:
        assert env.read_state(None).host.cpu_busy_percent is None
    assert sampler.summary().others_cpu_busy_percent is None
