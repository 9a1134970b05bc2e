"""Which machine a record is of, and the shortest text that tells several apart.

Torch-free.

    machines = [machine_of(record.environment) for record in records]
    labels(machines)[machines[0]]                                       # 'NVIDIA H200'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cnnperf.errors import printable
from cnnperf.record.environment import Environment

SOFTWARE = ("driver", "torch", "cuda_runtime", "cudnn", "python")
"""What may tell apart records of the same hardware, the likeliest first."""

WIDEST = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "avx", "sve", "asimd")
"""Instructions for arithmetic on many numbers at once, the widest first."""

MAX_LABEL = 80
"""Characters of a name, which comes from a file."""


class Machine(NamedTuple):
    """What all records of one machine share: never a figure that is measured."""

    device: str | None
    """Type, as in `cuda`: the CPU beside a GPU is another machine."""
    gpu: str | None
    """None where the CPU trained."""
    gpu_count: int | None
    mig: bool | None
    sm_count: int | None
    """Streaming multiprocessors: tells slices of one GPU apart."""
    cpu: str | None
    cores: int | None
    instructions: tuple[str, ...] | None = None
    """Of the CPU that trains: in a virtual machine its name may be a family's alone."""
    software: tuple[str | None, ...] = ()
    """In the order of `SOFTWARE`; empty where software does not make another machine."""

    @property
    def name(self) -> str:
        """The device that trains, as in `2 x NVIDIA H200` or `AMD EPYC 9654, 16 cores`."""
        if self.gpu is None:
            return self._processor or "an unknown machine"
        several = f"{self.gpu_count} x " if self.gpu_count and self.gpu_count > 1 else ""
        return several + _short(self.gpu)

    @property
    def _processor(self) -> str:
        cores = None if self.cores is None else f"{self.cores} core{'s' * (self.cores != 1)}"
        return ", ".join(filter(None, (self.cpu and _short(self.cpu), cores)))


def machine_of(environment: Environment, *, with_software: bool = False) -> Machine:
    """The machine that a record is of.

    Args:
        environment: the record's.
        with_software: whether other versions make it another machine.
    """
    hardware, software = environment.hardware, environment.software
    device = (environment.settings.device or "").partition(":")[0] or None
    gpu = None if device == "cpu" else hardware.gpu
    return Machine(
        device=device,
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
    """A text for each, no longer than it must be for all to differ; one line, safe to print.

    Two that nothing but their names' endings tell apart are numbered.
    """
    distinct = list(dict.fromkeys(machines))
    found = {machine: machine.name for machine in distinct}
    for describe in _DETAILS:
        for alike in _alike(found):
            details = {machine: describe(machine) for machine in alike}
            if len(set(details.values())) > 1:
                found |= {each: _joined(found[each], details[each]) for each in alike}
    for alike in _alike(found):
        found |= {each: f"{found[each]} ({n})" for n, each in enumerate(alike, start=1)}
    return found


def _alike(found: dict[Machine, str]) -> list[Sequence[Machine]]:
    """Groups of two and more that have one text."""
    groups: dict[str, list[Machine]] = {}
    for machine, text in found.items():
        groups.setdefault(text, []).append(machine)
    return [group for group in groups.values() if len(group) > 1]


def _software(place: int) -> Callable[[Machine], str]:
    name = SOFTWARE[place].removesuffix("_runtime")

    def describe(machine: Machine) -> str:
        value = machine.software[place] if machine.software else None
        return f"{name} {'?' if value is None else _short(value)}"

    return describe


def _sms(machine: Machine) -> str:
    return "" if machine.sm_count is None else f"{machine.sm_count} SMs"


def _processor(machine: Machine) -> str:
    return "" if machine.gpu is None else machine._processor


def _widest(machine: Machine) -> str:
    """The most telling of its instructions, as in `avx512_bf16`."""
    return next((name for name in WIDEST if name in (machine.instructions or ())), "")


_DETAILS: tuple[Callable[[Machine], str], ...] = (
    _sms,
    lambda machine: "MIG" if machine.mig else "",
    _processor,
    _widest,
    *(_software(place) for place in range(len(SOFTWARE))),
    lambda machine: machine.device or "",
)


def _joined(text: str, detail: str) -> str:
    return f"{text}, {detail}" if detail else text


def _short(text: str) -> str:
    """A vendor's name without what says nothing."""
    text = printable(re.sub(r"\((R|TM|C)\)", "", text, flags=re.IGNORECASE))
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
