"""Example records for pages: trainings that learn, with any number of cases and epochs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnperf.catalog.specs import Case
from cnnperf.compare.inputs import Side
from cnnperf.record.schema import (
    CaseRecord,
    EpochResult,
    KernelTime,
    PerClass,
    Profile,
    Record,
    Repeat,
)
from tests.examples import (
    example_case,
    example_case_record,
    example_flag,
    example_record,
    example_repeat,
    write_record,
)

STUDY = (
    ("modified_vgg", "mnist", 28),
    ("modified_resnet", "mnist", 28),
    ("modified_vgg", "cifar10", 28),
    ("resnet34", "mnist", 224),
    ("vgg16", "mnist", 224),
)
"""The models, data sets and resolutions of the study's own table."""

CLASSES = 10


def learned_epochs(epochs: int, shift: float = 0.0) -> list[EpochResult]:
    """Return epochs with falling losses and rising scores."""
    return [
        EpochResult(
            epoch=number,
            train_loss=1.5 / number + shift,
            train_seconds=1.9,
            val_loss=1.6 / number + 0.05 + shift,
            val_accuracy=1 - 0.4 / number - shift,
            val_f1_macro=1 - 0.42 / number - shift,
            val_seconds=0.1,
        )
        for number in range(1, epochs + 1)
    ]


def learned_repeat(seed: int = 0, epochs: int = 3, seconds: float = 20.0, **more: Any) -> Repeat:
    """Return a training with epochs, ten classes and confusion; keywords replace fields."""
    shift = 0.002 * seed
    confusion = [
        [990 - seed if i == j else (i * j + seed) % 3 for j in range(CLASSES)]
        for i in range(CLASSES)
    ]
    scores = [0.99 - shift] * CLASSES
    fields = {
        "epochs": learned_epochs(epochs, shift),
        "confusion": confusion,
        "per_class": PerClass(precision=scores, recall=scores, f1=scores),
    }
    return example_repeat(seed, seconds * (1 + shift)).model_copy(update={**fields, **more})


def example_profile(name: str = "sm90_xmma_fprop_implicit_gemm") -> Profile:
    """Return a profile in which half of a step is convolutions."""
    return Profile(
        steps=5,
        seconds_per_step=0.010,
        seconds_per_step_by_class={"convolution": 0.005, "optimizer": 0.002, "idle": 0.003},
        longest_kernels=[
            KernelTime(
                name=name, kernel_class="convolution", calls_per_step=13, seconds_per_step=0.004
            )
        ],
    )


def learned_case(
    case: Case | None = None, repeats: int = 2, epochs: int = 3, seconds: float = 20.0, **more: Any
) -> CaseRecord:
    """Return a case whose trainings have everything to draw; keywords replace their fields."""
    found = [learned_repeat(seed, epochs, seconds, **more) for seed in range(repeats)]
    return example_case_record(case, repeats=found)


def study_record(repeats: int = 2, epochs: int = 3, faster: float = 1.0) -> Record:
    """Return the study's five trainings by both engines: the ten cases of the standard tier."""
    cases = []
    for model, dataset, resolution in STUDY:
        for engine, seconds in (("eager", 20.0), ("fast", 10.0)):
            case = example_case(model, dataset, resolution).model_copy(update={"engine": engine})
            took = seconds * (15 if resolution > 28 else 1) / faster
            cases.append(learned_case(case, repeats, epochs, took))
    return example_record(*cases)


def hostile_record(text: str) -> Record:
    """Return a record with this text wherever a file may have one."""
    case = learned_case(repeats=2)
    repeats = [
        repeat.model_copy(
            update={"warnings": [example_flag(text, text)], "profile": example_profile(text)}
        )
        for repeat in case.repeats
    ]
    names = {"id": text, "model": text, "dataset": text, "engine": text, "recipe": text}
    record = example_record(
        case.model_copy(update={**names, "repeats": repeats}),
        example_case_record(
            repeats=[],
            id=text + "2",
            outcome="failed",
            error={"kind": "exception", "message": text, "seed": 1},
        ),
        learned_case().model_copy(update={**names, "id": text + "3", "suite": "peers"}),
    )
    hardware = record.environment.hardware
    assert hardware.gpu is not None
    gpu = hardware.gpu.model_copy(update={"name": text})
    environment = record.environment.model_copy(
        update={
            "hardware": hardware.model_copy(update={"gpu": gpu, "cpu_model": text}),
            "software": record.environment.software.model_copy(update={"torch": text}),
        }
    )
    return record.model_copy(update={"environment": environment})


def sides(*records: Record, names: Sequence[str] = ("base.json", "new.json")) -> list[Side]:
    """Return a side for each record."""
    return [Side.of(record, name) for record, name in zip(records, names, strict=False)]


def save(path: Path, record: Record) -> Path:
    """Write the record as a file that the command reads."""
    return write_record(path, json.loads(record.model_dump_json()))
