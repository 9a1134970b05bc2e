"""Names of machines: labels that differ, sentences, and folders."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.machine.names import (
    describe_device,
    describe_machine,
    describe_software,
    folder_here,
    folder_name,
    identity,
    labels,
    machine_of,
)
from cnnperf.record.environment import Environment, Gpu, Hardware, Settings, Software
from tests.machine.fake_nvml import InstallNvml, fake_gpu


def _environment(gpu: str | None = "NVIDIA H200", **fields: Any) -> Environment:
    software = {name: fields.pop(name) for name in ("driver", "torch") if name in fields}
    device = fields.pop("device", "cuda")
    found = Gpu(name=gpu, sm_count=fields.pop("sm_count", 132)) if gpu else None
    hardware = {"cpu_model": "AMD EPYC", "cpu_logical_cores": 16, **fields}
    return Environment(
        hardware=Hardware(gpu=found, **hardware),
        software=Software(**software),
        settings=Settings(device=device),
    )


def _labels(*environments: Environment) -> list[str]:
    machines = [machine_of(each, with_software=True) for each in environments]
    found = labels(machines)
    return [found[machine] for machine in machines]


def test_a_label_is_as_short_as_possible() -> None:
    """The GPU where GPUs differ, the CPU where there is none."""
    assert _labels(_environment(), _environment("NVIDIA H100"), _environment(None)) == [
        "NVIDIA H200", "NVIDIA H100", "AMD EPYC, 16 cores"
    ]  # fmt: skip


def test_a_label_names_what_differs() -> None:
    """How many, which slice, which CPU, which driver, which torch."""
    one = _environment(driver="570", torch="2.14")
    assert (
        _labels(one, _environment(gpu_count=8, driver="570", torch="2.14"))[1] == "8 x NVIDIA H200"
    )
    assert _labels(one, _environment(sm_count=16, driver="570", torch="2.14")) == [
        "NVIDIA H200, 132 SMs", "NVIDIA H200, 16 SMs"
    ]  # fmt: skip
    assert _labels(one, _environment(cpu_model="Xeon", driver="570", torch="2.14")) == [
        "NVIDIA H200, AMD EPYC, 16 cores", "NVIDIA H200, Xeon, 16 cores"
    ]  # fmt: skip
    assert _labels(one, _environment(driver="580", torch="2.14")) == [
        "NVIDIA H200, driver 570", "NVIDIA H200, driver 580"
    ]  # fmt: skip
    assert _labels(one, _environment(driver="570", torch="2.15")) == [
        "NVIDIA H200, torch 2.14", "NVIDIA H200, torch 2.15"
    ]  # fmt: skip


def test_the_processor_of_a_machine_with_a_gpu_is_another_machine() -> None:
    """Where it trained; and software makes another one only where that is asked for."""
    on_cpu = _environment(device="cpu")
    assert machine_of(on_cpu).name == "AMD EPYC, 16 cores"
    assert machine_of(on_cpu) != machine_of(_environment())
    assert machine_of(_environment(torch="1")) == machine_of(_environment(torch="2"))


def test_names_from_files_are_one_line_and_all_differ() -> None:
    """Names whose ends are cut off get a number."""
    found = _labels(
        _environment("x\n\x1b[31m" + "y" * 500), _environment("x\n\x1b[31m" + "y" * 501)
    )
    assert len(set(found)) == 2
    assert all(text.isprintable() and len(text) < 100 for text in found)
    assert _labels(Environment()) == ["an unknown machine"]


@pytest.mark.parametrize(
    ("hardware", "software", "name"),
    [
        (Hardware(gpu=Gpu(name="NVIDIA H200")), Software(torch="2.11.0+cu130", cuda_runtime="13.0"),
         "h200-torch2.11-cu13"),
        (Hardware(gpu=Gpu(name="NVIDIA GeForce RTX 4090")),
         Software(torch="2.15.0", cuda_runtime="12.8"), "rtx-4090-torch2.15-cu12"),
        (Hardware(cpu_model="AMD EPYC", cpu_logical_cores=2),
         Software(torch="2.15.0+cu132", cuda_runtime="13.2"), "amd-epyc-2core-torch2.15"),
        (Hardware(cpu_model="../../etc \x1b[31m"), Software(torch="../x"), "etc-31m-torch--x"),
        (Hardware(), Software(), "unknown"),
    ],
)  # fmt: skip
def test_a_folder_is_named_after_hardware_and_software(
    hardware: Hardware, software: Software, name: str
) -> None:
    """In words that any disk takes, whatever a driver calls its card."""
    found = folder_name(Environment(hardware=hardware, software=software))
    assert found == name or (name.startswith("etc") and "/" not in found)


def test_the_folder_of_a_cpu_run_names_no_gpu(install_nvml: InstallNvml) -> None:
    """A run on the GPU of the same machine has another folder."""
    install_nvml(fake_gpu())
    assert folder_here("cuda").startswith("h200-")
    assert "h200" not in folder_here("cpu")


GPU = Environment(
    hardware=Hardware(
        gpu=Gpu(name="NVIDIA H200", memory_bytes=150_110_011_392),
        gpu_count=2,
        cpu_model="AMD EPYC",
        cpu_logical_cores=2,
        cpu_flags=("avx2",),
        memory_bytes=25 * 2**30,
    ),
    software=Software(torch="2.15.0", cuda_runtime="13.2", python="3.12.1"),
    settings=Settings(device="cuda"),
)


def test_a_device_is_described_with_its_own_memory() -> None:
    """The CPU's, with the host's memory, where the CPU trains beside a GPU."""
    assert describe_device(GPU) == "NVIDIA H200, 139.80 GiB"
    cpu = GPU.model_copy(update={"settings": Settings(device="cpu")})
    assert describe_device(cpu) == "AMD EPYC, 2 cores, 25.00 GiB"
    assert describe_device(Environment()) == "an unknown machine"


def test_a_machine_is_described_with_all_of_its_hardware() -> None:
    """The number of GPUs only where there are several."""
    assert describe_machine(GPU.hardware) == "2 x NVIDIA H200, AMD EPYC, 2 cores"
    one = GPU.hardware.model_copy(update={"gpu_count": 1})
    assert describe_machine(one) == "NVIDIA H200, AMD EPYC, 2 cores"
    assert describe_machine(Hardware()) == "an unknown machine"


def test_software_without_a_driver_says_so() -> None:
    """A missing driver explains why a GPU is not used; other unknown versions are left out."""
    assert describe_software(GPU) == "torch 2.15.0, CUDA 13.2, driver none, Python 3.12.1"


@pytest.mark.parametrize(
    "change",
    [{"gpu": Gpu(name="NVIDIA H100")}, {"gpu_count": 1}, {"cpu_model": "Xeon"},
     {"cpu_logical_cores": 4}, {"cpu_flags": ("avx2", "avx512f")}],
)  # fmt: skip
def test_other_hardware_has_another_identity(change: dict[str, Any]) -> None:
    """Memory and measured peaks are not part of it."""
    assert identity(GPU.hardware.model_copy(update=change)) != identity(GPU.hardware)
    same = {"memory_bytes": 1, "matmul_flops_per_second": {"float32": 1.0}}
    assert identity(GPU.hardware.model_copy(update=same)) == identity(GPU.hardware)
