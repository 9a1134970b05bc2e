"""Example records for tests: plain functions, every figure in them chosen by hand."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from cnnperf.catalog.specs import Case, Recipe
from cnnperf.record.environment import (
    DuringState,
    Environment,
    Flag,
    Gpu,
    Hardware,
    HostState,
    Settings,
    Software,
    State,
)
from cnnperf.record.journal import Entry, Journal, JournalHeader, OutcomeEntry, RepeatEntry
from cnnperf.record.schema import (
    CaseError,
    CaseRecord,
    EpochResult,
    KernelClass,
    KernelTime,
    Metrics,
    PerClass,
    Profile,
    Record,
    Repeat,
    StateRecord,
    fingerprint_of,
)

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def example_case(
    model: str = "modified_vgg",
    dataset: str = "mnist",
    resolution: int = 28,
    **recipe: Any,
) -> Case:
    """A case; keywords that are left over go into its recipe."""
    return Case(
        model=model,
        dataset=dataset,
        resolution=resolution,
        recipe=Recipe(**{"name": "report", **recipe}),
        tiers=("standard", "full"),
    )


def example_repeat(seed: int = 0, train_seconds: float = 20.0, **metrics: Any) -> Repeat:
    """A finished training with something in every part of it."""
    return Repeat(
        seed=seed,
        metrics=Metrics(
            **{
                "train_seconds": train_seconds,
                "outside_train_seconds": train_seconds + 0.01,
                "images_per_second": 24_000.0,
                "test_accuracy": 0.9899,
                "test_f1_macro": 0.9898,
                "peak_memory_bytes": 1_610_612_736,
                "mfu": 0.312,
                **metrics,
            }
        ),
        epochs=[
            EpochResult(epoch=1, train_loss=0.4, train_seconds=1.9, val_loss=0.2, val_accuracy=0.94)
        ],
        per_class=PerClass(precision=[1.0, 0.5], recall=[0.5, 1.0], f1=[0.75, 0.75]),
        confusion=[[4990, 10], [91, 4909]],
        steps=3750,
        model_parameters=589_674,
        model_sha256="a" * 64,
        dataset_sha256="b" * 64,
        settings=Settings(device="cuda", tf32_cudnn=True),
        worker_pid=4711,
        state=StateRecord(
            before=State(host=HostState(load_average_1min=0.5)),
            during=DuringState(samples=40, duration_seconds=20.0),
        ),
    )


def example_flag(kind: str = "busy_cpu", message: str = "Other processes were busy.") -> Flag:
    """A warning of a repeat."""
    return Flag(kind=kind, value=1.0, message=message)


def example_environment(**hardware: Any) -> Environment:
    """A machine with a GPU."""
    return Environment(
        hardware=Hardware(
            **{
                "gpu": Gpu(name="NVIDIA H200", memory_bytes=150_110_011_392),
                "cpu_model": "AMD EPYC 9654",
                "cpu_logical_cores": 16,
                "matmul_flops_per_second": {"float32": 5e13, "tf32": 4e14},
                **hardware,
            }
        ),
        software=Software(torch="2.15.0", python="3.11.7", os="Linux", cnnperf="0.1.0"),
        settings=Settings(device="cuda"),
    )


def example_case_record(
    case: Case | None = None, repeats: Iterable[Repeat] | None = None, **fields: Any
) -> CaseRecord:
    """A case's record; passed, with one repeat, unless told otherwise."""
    case = case or example_case()
    found = [example_repeat()] if repeats is None else list(repeats)
    return CaseRecord(
        **{
            "id": case.id,
            "model": case.model,
            "dataset": case.dataset,
            "resolution": case.resolution,
            "recipe": case.recipe.name,
            "engine": case.engine,
            "suite": case.suite,
            "fingerprint": fingerprint_of(found[0], case) if found else None,
            "outcome": "passed",
            "repeats": found,
            **fields,
        }
    )


def failed_case_record(message: str = "killed by SIGKILL", **fields: Any) -> CaseRecord:
    """A case whose second training failed."""
    error = CaseError(kind="killed", message=message, seed=1)
    return example_case_record(
        example_case("modified_resnet"), **{"outcome": "failed", "error": error, **fields}
    )


def skipped_case_record(message: str = "data set cifar10 is missing") -> CaseRecord:
    """A case without data."""
    return example_case_record(
        example_case(dataset="cifar10"),
        repeats=[],
        outcome="skipped",
        error=CaseError(kind="data", message=message),
    )


def example_record(*cases: CaseRecord, **fields: Any) -> Record:
    """A run of these cases, or of one that passed."""
    return Record(
        **{
            "created": CREATED,
            "tier": "standard",
            "environment": example_environment(),
            "cases": list(cases) or [example_case_record()],
            **fields,
        }
    )


def example_header(**fields: Any) -> JournalHeader:
    """A journal's first line."""
    return JournalHeader(
        **{
            "created": CREATED,
            "tier": "standard",
            "environment": example_environment(),
            **fields,
        }
    )


def example_entries(repeats: int = 2, case: Case | None = None) -> list[Entry]:
    """What a run appends for a case that passes."""
    case = case or example_case()
    return [
        *(
            RepeatEntry(case=case, plan="0123456789abcdef", repeat=example_repeat(seed))
            for seed in range(repeats)
        ),
        OutcomeEntry(case=case, outcome="passed"),
    ]


def write_journal(path: Path, header: JournalHeader, entries: Iterable[Entry]) -> Path:
    """A journal as a run leaves it."""
    with contextlib.closing(Journal(path)) as journal:
        for entry in (header, *entries):
            journal.append(entry)
    return path


def write_record(path: Path, body: object) -> Path:
    """A file as --benchmark-json writes it, with this content under the key `cnnperf`."""
    path.write_text(json.dumps({"benchmarks": [], "cnnperf": body}))
    return path


def hide_packages(*names: str) -> str:
    """A sitecustomize.py for which none of these packages is installed."""
    return f"""
import importlib.machinery

_find = importlib.machinery.PathFinder.find_spec


def find_spec(cls, name, path=None, target=None):
    return None if name in {names!r} else _find(name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""


HIDE_TORCH = hide_packages("torch", "torchvision", "sklearn")
"""A sitecustomize.py for which no package to train with is installed."""

FORBID_TORCH = """
import sys


class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "sklearn"}:
            raise RuntimeError(f"{name} was asked for")


sys.meta_path.insert(0, Forbid())
"""
"""A sitecustomize.py with which even looking for such a package is an error."""


def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this shell or CI wants of colours and widths, here and in what is started."""
    for name in ("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "COLUMNS", "LINES", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def python_with(sitecustomize: str, folder: Path) -> dict[str, str]:
    """The environment variables of a Python that runs this at its start."""
    (folder / "sitecustomize.py").write_text(sitecustomize)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def example_profile(**milliseconds: float) -> Profile:
    """A profile of ten steps of 10 ms, half of it convolutions; keywords change the classes."""
    by_class: dict[str, float] = {**dict.fromkeys(get_args(KernelClass), 0.0),
        "convolution": 5.0, "normalisation": 2.0, "optimizer": 1.0, "data_wait": 0.5, "idle": 1.5,
        **milliseconds}  # fmt: skip
    seconds = {each: value / 1e3 for each, value in by_class.items()}
    longest = KernelTime(
        name="aten::convolution_backward",
        kernel_class="convolution",
        calls_per_step=6,
        seconds_per_step=0.6 * seconds["convolution"],
    )
    return Profile(
        steps=10,
        seconds_per_step=sum(seconds.values()),
        seconds_per_step_by_class=seconds,
        longest_kernels=[longest],
        trace="modified_vgg-mnist-28-eager-seed0.1.pt.trace.json.gz",
    )


def profiled_repeats(*profiles: Profile, train_seconds: float = 20.0) -> list[Repeat]:
    """A repeat for each, that have little else to tell apart."""
    return [
        example_repeat(seed, train_seconds + seed / 100).model_copy(update={"profile": profile})
        for seed, profile in enumerate(profiles)
    ]


def many_cases(count: int, repeats: int = 5, *, slower: Collection[int] = ()) -> Record:
    """A record of that many cases; those with these numbers take a fifth longer."""
    return example_record(
        *(
            example_case_record(
                id=f"net{number}-mnist-28-eager",
                model=f"net{number}",
                repeats=[
                    example_repeat(seed, seconds, images_per_second=480_000 / seconds)
                    for seed in range(repeats)
                    for seconds in [(24.0 if number in slower else 20.0) * (1 + seed / 1000)]
                ],
            )
            for number in range(count)
        )
    )


def timed_record(
    times: Sequence[float], accuracies: Sequence[float] | None = None, **fields: Any
) -> Record:
    """One case with these times."""
    found = accuracies or [0.98] * len(times)
    repeats = [
        example_repeat(seed, time, test_accuracy=accuracy)
        for seed, (time, accuracy) in enumerate(zip(times, found, strict=True))
    ]
    return example_record(example_case_record(repeats=repeats, **fields))
