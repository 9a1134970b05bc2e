"""Name machines: in a sentence, in a table that compares several, and as a folder.

machines = [machine_of(record.environment) for record in records]
labels(machines)[machines[0]]                                       # 'NVIDIA H200'
python -c "from cnnperf.machine.names import folder_here; print(folder_here('cuda'))"
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cnnperf.errors import printable
from cnnperf.record.environment import Environment, Gpu, Hardware
from cnnperf.record.metrics import ABSENT, format_bytes

UNKNOWN = "an unknown machine"

SOFTWARE = ("driver", "torch", "cuda_runtime", "cudnn", "python")
"""Versions that may differ between records of the same hardware, the likeliest first."""

WIDEST_FIRST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx", "sve", "asimd")
"""Vector and matrix instructions of CPUs, the widest first."""

MAX_LABEL = 80
"""Characters of a name, which comes from a file."""

# In a sentence


def identity(hardware: Hardware) -> tuple[object, ...]:
    """Return what two runs on the same hardware share: GPU, GPU count, CPU, cores, instructions.

    Instructions count because in a virtual machine the CPU's name may be only that of its family.
    """
    gpu = hardware.gpu.name if hardware.gpu is not None else None
    cores = hardware.cpu_logical_cores
    return gpu, hardware.gpu_count, hardware.cpu_model, cores, hardware.cpu_flags


FACTS = ("GPU", "number of GPUs", "CPU", "cores", "CPU instructions")
"""What `identity` returns, in its order."""


def hardware_difference(one: Hardware, other: Hardware) -> str:
    """Return what tells two machines apart, as in `cores 16, not 2`; of instructions, only those.

    >>> hardware_difference(Hardware(cpu_flags=("avx", "avx2")), Hardware(cpu_flags=("avx",)))
    'CPU instructions avx2, not —'
    """
    return "; ".join(
        f"{name} {_only_in(mine, theirs)}, not {_only_in(theirs, mine)}"
        for name, mine, theirs in zip(FACTS, identity(one), identity(other), strict=True)
        if mine != theirs
    )


def _only_in(mine: object, theirs: object) -> str:
    if isinstance(mine, tuple):
        mine = " ".join(x for x in mine if not isinstance(theirs, tuple) or x not in theirs)
    return printable(str(mine)) if mine not in (None, "") else ABSENT


def describe_machine(hardware: Hardware) -> str:
    """Return all of the hardware, such as `2 x NVIDIA H200, AMD EPYC 9654, 16 cores`."""
    gpu, cores = hardware.gpu.name if hardware.gpu else None, hardware.cpu_logical_cores
    gpus = gpu and _several(hardware.gpu_count) + gpu
    parts = (gpus, hardware.cpu_model, f"{cores} cores" if cores else None)
    return ", ".join(filter(None, parts)) or UNKNOWN


def describe_device(environment: Environment) -> str:
    """Return the device that trains: `NVIDIA H200, 139.80 GiB`, `AMD EPYC, 2 cores, 23.54 GiB`."""
    hardware, gpu = environment.hardware, _gpu_of(environment)
    memory = hardware.memory_bytes if gpu is None else gpu.memory_bytes
    name = _processor(hardware.cpu_model, hardware.cpu_logical_cores) if gpu is None else gpu.name
    return ", ".join(filter(None, (name, format_bytes(memory) if memory else None))) or UNKNOWN


def describe_place(environment: Environment) -> str:
    """Return which of several equal devices it is: `node7, GPU 3 at 0000:1b:00.0`; may be empty."""
    gpu = _gpu_of(environment)
    card = f"GPU {gpu.index}" if gpu is not None and gpu.index is not None else None
    if card and gpu is not None and gpu.pcie_address:
        card += f" at {gpu.pcie_address}"
    return printable(", ".join(filter(None, (environment.hardware.host, card))))


def describe_software(environment: Environment) -> str:
    """Return the main versions, such as `torch 2.15.0, CUDA 13.2, driver 580.65, Python 3.12.1`."""
    software = environment.software
    versions = {
        "torch": software.torch,
        "torchvision": software.torchvision,
        "CUDA": software.cuda_runtime,
        "cuDNN": software.cudnn,
        "driver": software.driver or "none",
        "Python": software.python,
    }
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _gpu_of(environment: Environment) -> Gpu | None:
    """Return the GPU that trains; None where the CPU does."""
    return None if _device_type(environment) == "cpu" else environment.hardware.gpu


def _device_type(environment: Environment) -> str | None:
    return (environment.settings.device or "").partition(":")[0] or None


def _several(count: int | None) -> str:
    return f"{count} x " if count and count > 1 else ""


def _processor(model: str | None, cores: int | None) -> str:
    """Return a CPU and its size, such as `AMD EPYC, 2 cores`."""
    count = None if cores is None else f"{cores} core{'s' * (cores != 1)}"
    return ", ".join(filter(None, (model and _short(model), count)))


def _short(text: str) -> str:
    """Return a name from a file in one line, without trademark signs, cut to `MAX_LABEL`."""
    text = printable(re.sub(r"\((R|TM|C)\)", "", text, flags=re.IGNORECASE))
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


# In a table


class Machine(NamedTuple):
    """What all records of one machine share. It holds nothing that is measured."""

    device: str | None
    """Type, such as `cuda`: the CPU beside a GPU is another machine."""
    gpu: str | None
    """None where the CPU trained."""
    gpu_count: int | None
    mig: bool | None
    sm_count: int | None
    """Streaming multiprocessors: they differ between slices of one GPU."""
    cpu: str | None
    cores: int | None
    instructions: tuple[str, ...] | None = None
    """Instruction sets of the CPU, where the CPU trained."""
    software: tuple[str | None, ...] = ()
    """In the order of `SOFTWARE`; empty where other software is not another machine."""

    @property
    def name(self) -> str:
        """The device that trains, such as `2 x NVIDIA H200` or `AMD EPYC 9654, 16 cores`."""
        if self.gpu is None:
            return _processor(self.cpu, self.cores) or UNKNOWN
        return _several(self.gpu_count) + _short(self.gpu)


def machine_of(environment: Environment, *, with_software: bool = False) -> Machine:
    """Return the machine of a record; with software, other versions make it another machine."""
    hardware, software = environment.hardware, environment.software
    gpu = _gpu_of(environment)
    return Machine(
        device=_device_type(environment),
        gpu=gpu.name if gpu is not None else None,
        gpu_count=hardware.gpu_count if gpu is not None else None,
        mig=gpu.mig_enabled or None if gpu is not None else None,
        sm_count=gpu.sm_count if gpu is not None else None,
        cpu=hardware.cpu_model,
        cores=hardware.cpu_logical_cores,
        instructions=hardware.cpu_flags if gpu is None else None,
        software=tuple(getattr(software, name) for name in SOFTWARE) if with_software else (),
    )


def labels(machines: Iterable[Machine]) -> dict[Machine, str]:
    """Return a one-line text for each machine, just long enough that all differ.

    Machines that stay alike get a number.
    """
    found = {machine: machine.name for machine in dict.fromkeys(machines)}
    for place in range(5 + len(SOFTWARE)):
        for alike in _alike(found):
            details = {machine: _details(machine)[place] for machine in alike}
            if len(set(details.values())) > 1:
                found |= {each: f"{found[each]}, {detail}" for each, detail in details.items()
                          if detail}  # fmt: skip
    for alike in _alike(found):
        found |= {each: f"{found[each]} ({n})" for n, each in enumerate(alike, start=1)}
    return found


def _alike(found: dict[Machine, str]) -> list[list[Machine]]:
    """Return the groups of two or more machines that have the same text."""
    groups: dict[str, list[Machine]] = {}
    for machine, text in found.items():
        groups.setdefault(text, []).append(machine)
    return [group for group in groups.values() if len(group) > 1]


def _details(machine: Machine) -> tuple[str, ...]:
    """Return what tells machines apart beside their names, in the order in which it is tried."""
    instructions = machine.instructions or ()
    versions = machine.software or (None,) * len(SOFTWARE)
    return (
        "" if machine.sm_count is None else f"{machine.sm_count} SMs",
        "MIG" if machine.mig else "",
        "" if machine.gpu is None else _processor(machine.cpu, machine.cores),
        next((name for name in WIDEST_FIRST if name in instructions), ""),
        *(f"{name.removesuffix('_runtime')} {'?' if version is None else _short(version)}"
          for name, version in zip(SOFTWARE, versions, strict=True)),
        machine.device or "",
    )  # fmt: skip


# As a folder


def folder_name(environment: Environment) -> str:
    """Return the folder for a machine's records, in characters that any file system accepts.

    >>> from cnnperf.record.environment import Gpu, Software
    >>> hardware = Hardware(gpu=Gpu(name="NVIDIA H100 80GB HBM3"), gpu_count=1)
    >>> folder_name(Environment(hardware=hardware, software=Software(torch="2.11.0+cu130",
    ...                                                              cuda_runtime="13.0")))
    'h100-80gb-hbm3-torch2.11-cu13'
    """
    hardware, software = environment.hardware, environment.software
    gpu, cores = hardware.gpu, hardware.cpu_logical_cores
    if gpu is not None and gpu.name:
        parts = [re.sub(r"^(nvidia-(geforce-)?)?(tesla-)?", "", _slug(gpu.name))]
    else:
        parts = [_slug(hardware.cpu_model or "unknown"), f"{cores}core" if cores else ""]
    if software.torch:
        parts.append("torch" + ".".join(software.torch.partition("+")[0].split(".")[:2]))
    if gpu is not None and software.cuda_runtime:
        parts.append(f"cu{software.cuda_runtime.partition('.')[0]}")
    return re.sub(r"[^a-z0-9.-]+", "-", "-".join(filter(None, parts)))[:100]


def folder_here(device: str) -> str:
    """Return the folder for records of this machine; for the device `cpu` it names no GPU."""
    from cnnperf.machine.inventory import collect_environment  # psutil: not for every reader

    environment = collect_environment(device=device)
    if device == "cpu":
        hardware = environment.hardware.model_copy(update={"gpu": None})
        environment = environment.model_copy(update={"hardware": hardware})
    return folder_name(environment)


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))
