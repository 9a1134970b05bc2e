"""The plan of a run: which cases, how often, on what, and roughly how long it will take.

Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.peers import missing_package, other_packages
from cnnperf.catalog.registry import get_case, get_dataset
from cnnperf.catalog.specs import Case, Tier
from cnnperf.machine.nvml import count_gpus
from cnnperf.machine.visible_gpus import parse_visible_devices
from cnnperf.record.messages import ModelFacts, ProbeResult
from cnnperf.record.schema import CaseError
from cnnperf.run.settings import RunSettings

STARTUP_SECONDS = 8.0
"""Importing torch and warming up, per training."""

STEP_OVERHEAD_SECONDS = 0.003
"""What a step takes however small its arithmetic: launching kernels, fetching a batch."""

GUESSED_MFU = 0.4

INFERENCE_SECONDS = 30.0
"""Measuring inference: a budget of one second for each precision and batch size."""

EVALUATION_SHARE = 1 / 12
"""Validating a quarter as many images as are trained, at a third of the arithmetic of each."""

ONE_OF_ITS_KIND: dict[str, Any] = {
    "hardware": {
        "matmul_flops_per_second": True,
        "memory_bytes": True,
        "gpu": {"uuid_sha256", "index", "vbios"},
    },
    "software": {"kernel"},
    "settings": {"visible_devices"},
}
"""Fields that tell one machine from the next of the same kind, or one moment from the next; none of
them forbids a comparison either (`cnnperf.compare.comparability`)."""

DETERMINISTIC_CHOICE = {"compile": "off", "precision": "float32"}
"""What `auto` is where no stopwatch may decide: its answer need not be the next run's."""


def choose_tier(settings: RunSettings) -> tuple[Tier, str]:
    """The tier, and why it is that one."""
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
    """What accelerator this machine has, told without torch; None where none can be seen."""
    hidden = parse_visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES")) == []
    gpus = 0 if hidden else count_gpus()
    if gpus:
        return f"{gpus} NVIDIA GPU{'s' if gpus > 1 else ''}"
    return "Apple GPU" if (sys.platform, platform.machine()) == ("darwin", "arm64") else None


@dataclass(frozen=True, kw_only=True)
class PlannedCase:
    """A case as this run will train it."""

    case: Case
    number: int
    repeats: int
    first_seed: int
    shortened: bool
    problem: CaseError | None = None
    """Why it cannot be trained here, where that is so: no data, or a package is not installed."""

    @property
    def seeds(self) -> range:
        """One a repeat."""
        return range(self.first_seed, self.first_seed + self.repeats)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every case of a run, in order."""

    cases: dict[str, PlannedCase] = field(default_factory=dict)

    @property
    def runnable(self) -> list[PlannedCase]:
        """Those that nothing is known to stand in the way of."""
        return [planned for planned in self.cases.values() if planned.problem is None]

    @property
    def trainings(self) -> int:
        """Worker processes that will be started."""
        return sum(planned.repeats for planned in self.runnable)


def make_plan(
    case_ids: Sequence[str], settings: RunSettings, tier: Tier, *, once: bool = False
) -> Plan:
    """Plan the selected cases; looks once at each data set's files, and for each peer's package.

    Args:
        case_ids: what was selected, in order.
        settings: what was asked for.
        tier: of this run.
        once: train each case once, whatever the settings say (--benchmark-disable).
    """
    data_problems: dict[str, CaseError | None] = {}
    planned: dict[str, PlannedCase] = {}
    for case_id in dict.fromkeys(case_ids):
        case = get_case(case_id)
        if case.dataset not in data_problems:
            data_problems[case.dataset] = _data_problem(case, settings)
        planned[case_id] = PlannedCase(
            case=as_asked(case, settings),
            number=len(planned) + 1,
            repeats=1 if once else settings.repeats_in(tier),
            first_seed=settings.seed,
            shortened=settings.shortened,
            problem=_package_problem(case, settings) or data_problems[case.dataset],
        )
    return Plan(cases=planned)


def _data_problem(case: Case, settings: RunSettings) -> CaseError | None:
    """What is wrong with the files of a case's data set."""
    problem = check_files(get_dataset(case.dataset), settings.data_dir, checksum=True)
    return CaseError(kind="data", message=problem.message) if problem is not None else None


def _package_problem(case: Case, settings: RunSettings) -> CaseError | None:
    """What a case's engine lacks; another interpreter's packages only its worker can tell."""
    lacking = missing_package(case.engine) if settings.python is None else None
    return CaseError(kind="start", message=lacking) if lacking is not None else None


def as_asked(case: Case, settings: RunSettings) -> Case:
    """The case with --cnnperf-epochs, -limit-steps, -compile, -precision, -deterministic applied.

    A case that is there for its own precision or compiling, as those of a sweep are, keeps it.
    """
    changes: dict[str, int] = {}
    if settings.epochs is not None:
        changes["epochs"] = settings.epochs
    if settings.limit_steps is not None:
        changes["max_steps"] = min(settings.limit_steps, case.recipe.max_steps or 10**9)
    execution = {
        name: _execution_asked(name, settings)
        for name in DETERMINISTIC_CHOICE
        if case.engine == "fast" and getattr(case, name) == "auto"
    }
    recipe = case.recipe.model_copy(update=changes)
    return case.model_copy(update={"recipe": recipe, **execution})


def _execution_asked(name: str, settings: RunSettings) -> str:
    """What --cnnperf-compile or -precision asks for."""
    asked: str = getattr(settings, name)
    return DETERMINISTIC_CHOICE[name] if settings.deterministic and asked == "auto" else asked


def estimate_seconds(
    plan: Plan, probe: ProbeResult, done: Mapping[str, int] = MappingProxyType({})
) -> float | None:
    """Rough time of what is to be trained; None where the models' cost is not known.

    Args:
        plan: every case.
        probe: what the machine can do and the models cost.
        done: trainings that need not be done any more, by case id.
    """
    total = 0.0
    for planned in plan.runnable:
        seconds = estimate_repeat_seconds(planned.case, probe)
        if seconds is None:
            return None
        total += (planned.repeats - done.get(planned.case.id, 0)) * seconds
    return total


def estimate_repeat_seconds(case: Case, probe: ProbeResult) -> float | None:
    """Rough time of one training, with its process; None where the model's cost is not known."""
    facts = {model.case_id: model for model in probe.models}.get(case.id)
    return _repeat_seconds(case, facts, probe.environment.hardware.matmul_flops_per_second)


def _repeat_seconds(
    case: Case, facts: ModelFacts | None, peaks: dict[str, float] | None
) -> float | None:
    if facts is None or facts.training_flops_per_image is None or not peaks:
        return None
    recipe, batch = case.recipe, case.recipe.batch_size
    steps = recipe.epochs * -(-get_dataset(case.dataset).train_images // batch)
    evaluation = 0.0 if recipe.is_sample else EVALUATION_SHARE
    steps = min(steps, recipe.max_steps or steps)
    flops = steps * batch * facts.training_flops_per_image * (1 + evaluation)
    peak = peaks.get("tf32") or max(peaks.values())
    measuring = INFERENCE_SECONDS if case.suite == "infer" else 0.0
    training = flops / (peak * GUESSED_MFU) + steps * STEP_OVERHEAD_SECONDS
    return STARTUP_SECONDS + training + measuring


def plan_digest(planned: PlannedCase, probed: ProbeResult) -> str:
    """Hash of everything known before training that a repeat's result depends on.

    Only a repeat with the same digest is taken over from a journal. What changes by itself, such
    as a measured peak or the number of this run, is left out, and so is what differs between two
    machines of one kind, so that a run can go on on another one (`ONE_OF_ITS_KIND`).
    """
    environment = probed.environment
    facts = {model.case_id: model for model in probed.models}.get(planned.case.id)
    content = {
        "case": planned.case.model_dump(mode="json", exclude={"tiers"}),
        "model_sha256": facts and facts.sha256,
        "shortened": planned.shortened,
        "device": probed.device,
        "hardware": environment.hardware.model_dump(exclude=ONE_OF_ITS_KIND["hardware"]),
        "software": environment.software.model_dump(
            exclude={*ONE_OF_ITS_KIND["software"], *other_packages(planned.case.engine)}
        ),
        "settings": environment.settings.model_dump(exclude=ONE_OF_ITS_KIND["settings"]),
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
