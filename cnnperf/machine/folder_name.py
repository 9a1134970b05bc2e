"""The name of the folder that a machine's records lie in: hardware and stack. Torch-free.

python -c "from cnnperf.machine.folder_name import folder_here; print(folder_here('cuda'))"
"""

from __future__ import annotations

import re

from cnnperf.machine.inventory import collect_environment
from cnnperf.record.environment import Environment, Hardware

VENDORS = ("nvidia", "nvidia-geforce", "tesla")
"""In front of a GPU's name, and known from it."""


def folder_name(environment: Environment) -> str:
    """Such as `h200-torch2.11-cu13` or `amd-epyc-2core-torch2.15`, of letters that any disk takes.

    >>> from cnnperf.record.environment import Gpu, Software
    >>> hardware = Hardware(gpu=Gpu(name="NVIDIA H100 80GB HBM3"), gpu_count=1)
    >>> folder_name(Environment(hardware=hardware, software=Software(torch="2.11.0+cu130",
    ...                                                              cuda_runtime="13.0")))
    'h100-80gb-hbm3-torch2.11-cu13'
    """
    software = environment.software
    version = ".".join((software.torch or "").split("+")[0].split(".")[:2])
    parts = [_machine(environment.hardware), f"torch{version}" if version else ""]
    if environment.hardware.gpu is not None and software.cuda_runtime:
        parts.append(f"cu{software.cuda_runtime.partition('.')[0]}")
    return re.sub(r"[^a-z0-9.-]+", "-", "-".join(filter(None, parts)))[:100]


def folder_here(device: str) -> str:
    """Of this machine, without torch.

    Args:
        device: what is trained on: with `cpu` a GPU is not looked for.
    """
    environment = collect_environment(device=device, with_torch=False)
    if device == "cpu":
        hardware = environment.hardware.model_copy(update={"gpu": None})
        environment = environment.model_copy(update={"hardware": hardware})
    return folder_name(environment)


def _machine(hardware: Hardware) -> str:
    if hardware.gpu is not None and hardware.gpu.name:
        return _without_vendor(_slug(hardware.gpu.name))
    cores = hardware.cpu_logical_cores
    return _slug(hardware.cpu_model or "unknown") + (f"-{cores}core" if cores else "")


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _without_vendor(slug: str) -> str:
    for vendor in sorted(VENDORS, key=len, reverse=True):
        slug = slug.removeprefix(f"{vendor}-")
    return slug
