"""The plan of a run: its cases with all options applied, and a rough estimate of the time."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.engines import missing_package, other_packages
from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.registry import get_case, get_dataset, own_specs
from cnnperf.catalog.specs import Case, Spec, Tier
from cnnperf.machine.nodes import find_nodes
from cnnperf.machine.nvml import count_gpus, parse_visible_devices
from cnnperf.record.messages import Device, ProbeJob, ProbeResult, TrainJob
from cnnperf.record.schema import CaseError
from cnnperf.run.settings import RunSettings

STARTUP_SECONDS = 8.0
"""Importing torch and warming up, for each training."""

STEP_OVERHEAD_SECONDS = 0.003
"""Launching kernels and fetching a batch, for each step."""

GUESSED_MFU = 0.4

INFERENCE_SECONDS = 30.0
"""Measuring inference: a budget of one second for each precision and batch size."""

EVALUATION_SHARE = 1 / 12
"""Validation has a quarter of the training images, at a third of the arithmetic each."""

ONE_OF_ITS_KIND: dict[str, Any] = {
    "hardware": {
        "matmul_flops_per_second": True,
        "memory_bytes": True,
        "host": True,
        "gpu": {"uuid_sha256", "index", "pcie_address", "vbios"},
    },
    "software": {"kernel"},
    "settings": {"visible_devices"},
}
"""Fields that differ between two machines of one kind, or between two moments. They do not forbid
a comparison either (`cnnperf.compare.comparability`)."""

DETERMINISTIC_CHOICE = {"compile": "off", "precision": "float32"}
"""Replaces `auto` in a deterministic run, because `auto` decides by measured times."""


class Planned(Spec):
    """What a run decides for each of its cases."""

    number: int = 1
    """Position in the run, from 1."""
    repeats: int = 1
    first_seed: int = 0
    device: Device = "auto"
    deterministic: bool = False
    shortened: bool = False
    """Whether --cnnperf-epochs or --cnnperf-limit-steps changed the training."""
    problem: CaseError | None = None
    """Why it cannot be trained here, such as missing data; None if it can."""

    @property
    def seeds(self) -> range:
        """The seeds of its repeats."""
        return range(self.first_seed, self.first_seed + self.repeats)


class PlannedCase(Planned, Case):
    """A case with every option of the run applied: the test, the worker and the record use it."""


class PlannedLoop(Planned, LoopCase):
    """A training loop of the user's with every option of the run applied."""


AnyPlanned = PlannedCase | PlannedLoop


def is_deterministic(case: object) -> bool:
    """Return whether equal trainings of a case can be made equal to the last bit.

    A loop of the user's need not be, and several devices add up in any order.
    """
    return isinstance(case, Case) and case.devices is None


def job_of(
    planned: AnyPlanned, seed: int, settings: RunSettings, peaks: dict[str, float]
) -> TrainJob:
    """Return the worker's job for one repeat; `peaks` are matmul FLOP/s by precision."""
    return TrainJob(
        case=planned,
        seed=seed,
        device=planned.device,
        deterministic=planned.deterministic,
        data_dir=str(settings.data_dir),
        modules=settings.modules,
        python_path=settings.python_path,
        **own_specs([planned]),
        profile_dir=str(settings.profile.absolute()) if settings.profile else None,
        matmul_flops_per_second=peaks,
        check_numerics=(
            settings.check_numerics and seed == planned.first_seed and is_deterministic(planned)
        ),
    )


def probe_job(settings: RunSettings, cases: Iterable[AnyCase], **options: bool) -> ProbeJob:
    """Return the job that looks at the machine and at the models of some cases."""
    cases = tuple(cases)
    return ProbeJob(
        device=settings.device,
        cases=tuple(case for case in cases if isinstance(case, Case)),
        loops=tuple(case for case in cases if isinstance(case, LoopCase)),
        modules=settings.modules,
        python_path=settings.python_path,
        **own_specs(cases),
        **options,
    )


UNDIGESTED_FIELDS = {"tiers", "quality", *Planned.model_fields}
"""Fields of a planned case that do not change what is measured."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every case of a run by its id, in order."""

    cases: dict[str, AnyPlanned] = field(default_factory=dict)

    @property
    def runnable(self) -> list[AnyPlanned]:
        """The cases without a known problem."""
        return [planned for planned in self.cases.values() if planned.problem is None]

    @property
    def trainings(self) -> int:
        """Number of worker processes that train."""
        return sum(planned.repeats for planned in self.runnable)


def choose_tier(settings: RunSettings) -> tuple[Tier, str]:
    """Return the tier and the reason for it."""
    if settings.tier != "auto":
        return settings.tier, "asked for"
    if settings.device == "cpu":
        return "smoke", "auto: --cnnperf-device=cpu"
    if settings.device != "auto":
        return "standard", f"auto: --cnnperf-device={settings.device}"
    accelerator = finds_accelerator()
    if accelerator is None:
        return "smoke", "auto: no NVIDIA or Apple GPU found"
    return "standard", f"auto: {accelerator} found"


def finds_accelerator() -> str | None:
    """Name the accelerator of this machine, such as `2 NVIDIA GPUs`; None if none is found."""
    hidden = parse_visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES")) == []
    gpus = 0 if hidden else count_gpus()
    if gpus:
        return f"{gpus} NVIDIA GPU{'s' if gpus > 1 else ''}"
    return "Apple GPU" if (sys.platform, platform.machine()) == ("darwin", "arm64") else None


def make_plan(
    case_ids: Sequence[str],
    settings: RunSettings,
    tier: Tier,
    *,
    once: bool = False,
    elsewhere: bool = False,
) -> Plan:
    """Plan the selected cases; check the files of each data set once.

    The tier decides the number of repeats if the settings do not; with `once`
    (--benchmark-disable) each case is trained once. With `elsewhere`, other machines train, and
    nothing is checked here.
    """
    repeats = 1 if once else settings.repeats_in(tier)

    @functools.cache
    def data_problem(dataset: str) -> CaseError | None:
        problem = check_files(get_dataset(dataset), settings.data_dir, checksum=True)
        return None if problem is None else CaseError(kind="data", message=problem.message)

    def problem_of(case: AnyCase) -> CaseError | None:
        if isinstance(case, LoopCase) or elsewhere:
            return None
        # Only the worker can see the packages of another interpreter.
        lacking = missing_package(case.engine) if settings.python is None else None
        lacking = lacking or missing_devices(case, settings.device)
        return CaseError(kind="start", message=lacking) if lacking else data_problem(case.dataset)

    planned: dict[str, AnyPlanned] = {}
    for number, case_id in enumerate(dict.fromkeys(case_ids), start=1):
        case = plan_case(get_case(case_id), settings)
        found = {"number": number, "repeats": repeats, "problem": problem_of(case)}
        planned[case_id] = case.model_copy(update=found)
    return Plan(cases=planned)


def missing_devices(case: Case, device: Device) -> str | None:
    """Return why a case's devices cannot train it here; None if they can.

    Raises:
        UsageError: the environment describes nodes on which several processes were started.
    """
    nodes, devices = find_nodes(), case.devices
    if nodes.rank > 0 and (devices or 1) < nodes.count:
        return f"node {nodes.rank} of {nodes.count} trains only what needs all of them"
    if devices is None:
        return None
    count = nodes.of(devices).count
    if devices % count:
        return f"{devices} devices cannot be divided among {count} nodes: choose a multiple"
    if devices > case.images_per_step:
        return f"{devices} devices cannot share a batch of {case.images_per_step} images"
    here = count_devices(device)
    if devices // count <= here:
        return None
    kind = "CPU cores" if device in ("auto", "cpu") and not count_gpus() else "devices"
    return (
        f"{devices // count} devices are needed on this machine, which has {here} {kind}: choose "
        "fewer with --cnnperf-devices, or leave the case out with -k"
    )


def count_devices(device: Device) -> int:
    """Return the devices on which this process can train; each core of a CPU counts as one."""
    shown = parse_visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
    gpus = count_gpus() if shown is None else len(shown)
    if device in ("auto", "cuda") and gpus:
        return gpus
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan_case(case: AnyCase, settings: RunSettings) -> AnyPlanned:
    """Apply the options of the run to a case, for one repeat.

    A case with a precision or compiling of its own, such as those of a sweep, keeps them.
    """
    run: dict[str, Any] = {
        "first_seed": settings.seed,
        "device": settings.device,
        "deterministic": settings.deterministic,
        "shortened": settings.shortened,
    }
    if isinstance(case, LoopCase):
        limits = {"max_epochs": settings.epochs, "max_steps": settings.limit_steps}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        return PlannedLoop(**{**dict(case), **given}, **run)
    recipe: dict[str, int] = {}
    if settings.epochs is not None:
        recipe["epochs"] = settings.epochs
    if settings.limit_steps is not None:
        recipe["max_steps"] = min(settings.limit_steps, case.recipe.max_steps or 10**9)
    execution = {}
    for name, choice in DETERMINISTIC_CHOICE.items():
        if case.engine == "fast" and getattr(case, name) == "auto":
            asked = getattr(settings, name)
            execution[name] = choice if settings.deterministic and asked == "auto" else asked
    applied = {**execution, "recipe": case.recipe.model_copy(update=recipe)}
    return PlannedCase(**{**dict(case), **applied}, **run)


def estimate_seconds(
    plan: Plan, probe: ProbeResult, done: Mapping[str, int] = MappingProxyType({})
) -> float | None:
    """Estimate the time of what is not done yet; None if the cost of a model is unknown.

    `done` is the number of finished trainings by case id.
    """
    total = 0.0
    for planned in plan.runnable:
        seconds = estimate_repeat_seconds(planned, probe)
        if seconds is None:
            return None
        total += (planned.repeats - done.get(planned.id, 0)) * seconds
    return total


def estimate_repeat_seconds(case: AnyCase, probe: ProbeResult) -> float | None:
    """Estimate the time of one training with its process; None if its cost is unknown."""
    if isinstance(case, LoopCase):
        return None
    facts = {model.case_id: model for model in probe.models}.get(case.id)
    peaks = probe.environment.hardware.matmul_flops_per_second
    if facts is None or facts.training_flops_per_image is None or not peaks:
        return None
    recipe, batch = case.recipe, case.images_per_step
    whole = recipe.model_copy(update={"batch_size": batch})
    steps = recipe.epochs * whole.steps_per_epoch(get_dataset(case.dataset).train_images)
    evaluation = 0.0 if recipe.is_sample else EVALUATION_SHARE
    steps = min(steps, recipe.max_steps or steps)
    flops = steps * batch * facts.training_flops_per_image * (1 + evaluation)
    peak = (peaks.get("tf32") or max(peaks.values())) * (case.devices or 1)
    measuring = INFERENCE_SECONDS if case.suite == "infer" else 0.0
    training = flops / (peak * GUESSED_MFU) + steps * STEP_OVERHEAD_SECONDS
    return STARTUP_SECONDS + training + measuring


def plan_digest(planned: AnyPlanned, probed: ProbeResult) -> str:
    """Hash everything known before training that affects a result.

    A resumed run takes a repeat from the journal only if the digests are equal. Values that differ
    between two machines of one kind, or change by themselves, are left out (`ONE_OF_ITS_KIND`), so
    a run can go on on another machine of the same kind.
    """
    environment = probed.environment
    facts = {model.case_id: model for model in probed.models}.get(planned.id)
    content = {
        "case": planned.model_dump(mode="json", exclude=UNDIGESTED_FIELDS),
        "model_sha256": facts and facts.sha256,
        "own": [spec.model_dump() for each in own_specs([planned]).values() for spec in each],
        "shortened": planned.shortened,
        "device": probed.device,
        "hardware": environment.hardware.model_dump(exclude=ONE_OF_ITS_KIND["hardware"]),
        "software": environment.software.model_dump(
            exclude={*ONE_OF_ITS_KIND["software"], *other_packages(planned.engine)}
        ),
        "settings": environment.settings.model_dump(exclude=ONE_OF_ITS_KIND["settings"]),
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
