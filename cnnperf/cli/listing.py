"""What the commands `list`, `env` and `data` show, as plain data and tables.

Torch-free; where torch is installed a worker is asked for what only torch knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.registry import all_cases, all_datasets, get_dataset
from cnnperf.catalog.specs import Case, DatasetSpec, Tier
from cnnperf.errors import UsageError, one_of
from cnnperf.machine.inventory import collect_environment
from cnnperf.record.environment import Environment
from cnnperf.record.messages import ModelFacts, ProbeJob
from cnnperf.record.metrics import ABSENT, format_flops
from cnnperf.report.terminal.layout import fits
from cnnperf.run.session import missing_packages
from cnnperf.run.worker_process import probe

Say = Callable[[str], Any]


def case_rows(tier: str | None, modules: tuple[str, ...]) -> list[dict[str, Any]]:
    """A dictionary a case; parameters and FLOPs are None where torch is not installed.

    Raises:
        UsageError: there is no such tier.
    """
    if tier is not None and tier not in get_args(Tier):
        raise UsageError(one_of("tier", tier, get_args(Tier)))
    cases = all_cases(tier)  # type: ignore[arg-type]
    facts = {} if missing_packages() else _model_facts(cases, modules)
    return [_case_row(case, facts.get(case.id, ModelFacts(case_id=case.id))) for case in cases]


def _model_facts(cases: list[Case], modules: tuple[str, ...]) -> dict[str, ModelFacts]:
    job = ProbeJob(
        device="cpu",
        cases=tuple(cases),
        modules=modules,
        python_path=(str(Path.cwd()),),
        measure_peak=False,
    )
    return {facts.case_id: facts for facts in probe(job).models}


def _case_row(case: Case, facts: ModelFacts) -> dict[str, Any]:
    dataset = get_dataset(case.dataset)
    return {
        "id": case.id,
        "model": case.model,
        "dataset": case.dataset,
        "resolution": case.resolution,
        "recipe": case.recipe.name,
        "engine": case.engine,
        "suite": case.suite,
        "precision": case.precision,
        "compile": case.compile,
        "variant": case.variant,
        "epochs": case.recipe.epochs,
        "batch_size": case.recipe.batch_size,
        "max_steps": case.recipe.max_steps,
        "train_images": dataset.train_images,
        "parameters": facts.parameters,
        "forward_flops_per_image": facts.forward_flops_per_image,
        "training_flops_per_image": facts.training_flops_per_image,
        "tiers": list(case.tiers),
    }


_HEADS = ("case", "params", "training\nFLOP/image", "images", "epochs", "batch", "tiers")

_EXPENDABLE = ("tiers", "images", "training\nFLOP/image", "batch", "params", "epochs")
"""What a narrow terminal goes without, in this order."""


@dataclass(frozen=True)
class Cases:
    """The cases for people: a narrow terminal gets fewer columns, whole (--json has them all)."""

    rows: list[dict[str, Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest table that fits."""
        for columns in range(len(_EXPENDABLE) + 1):
            table = cases_table(self.rows, _EXPENDABLE[:columns])
            if fits(table, console, options):
                break
        yield table
        if columns:
            names = ", ".join(" ".join(head.split()) for head in _EXPENDABLE[:columns])
            yield Text(f"no room here for {names}: a wider terminal or --json has them", "dim")


def cases_table(rows: list[dict[str, Any]], left_out: Sequence[str] = ()) -> Table:
    """A row a case."""
    cells = [_cells(row) for row in rows]
    heads = [head for head in _HEADS if head not in left_out]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads:
        justify: JustifyMethod = "left" if head in {"case", "tiers"} else "right"
        table.add_column(head, justify=justify, vertical="bottom", no_wrap=True)
    for row in cells:
        table.add_row(*(row[head] for head in heads))
    return table


def _cells(row: dict[str, Any]) -> dict[str, str]:
    steps = row["max_steps"]
    texts = (
        row["id"],
        _flops(row["parameters"]),
        _flops(row["training_flops_per_image"]),
        f"{row['train_images']:,}",
        f"{row['epochs']}" if steps is None else f"{steps} step{'s' * (steps != 1)}",
        f"{row['batch_size']}",
        " ".join(row["tiers"]),
    )
    return dict(zip(_HEADS, texts, strict=True))


def _flops(value: float | None) -> str:
    return ABSENT if value is None else format_flops(value)


def this_environment() -> Environment:
    """This machine, as the worker sees it; without torch, as far as this process can tell."""
    if missing_packages():
        return collect_environment(device="cpu", with_torch=False)
    return probe(ProbeJob()).environment


def chosen_datasets(names: Sequence[str] | None) -> list[DatasetSpec]:
    """The data sets of these names, or all of them."""
    return all_datasets() if names is None else [get_dataset(name) for name in names]


def check_datasets(names: Sequence[str] | None, folder: Path, say: Say) -> bool:
    """Say of each data set whether it is there and undamaged; True where all are."""
    problems = 0
    for spec in chosen_datasets(names):
        problem = check_files(spec, folder, checksum=True)
        problems += problem is not None
        say(f"{spec.name}: {_right(spec, folder) if problem is None else problem.message}")
    return not problems


def fetch_datasets(names: Sequence[str] | None, folder: Path, say: Say) -> None:
    """Get what is not there, and check it.

    Raises:
        UsageError: a data set cannot be had, or torchvision, which downloads, is missing.
    """
    for spec in chosen_datasets(names):
        if check_files(spec, folder, checksum=True) is None:
            say(f"{spec.name}: {_right(spec, folder)}")
        else:
            _fetch(spec, folder, say)


def _right(spec: DatasetSpec, folder: Path) -> str:
    if not spec.files:
        return f"nothing to fetch ({spec.source})"
    return f"right, {len(spec.files)} files in {folder}"


def _fetch(spec: DatasetSpec, folder: Path, say: Say) -> None:
    from cnnperf.training.worker.failures import check_torch

    check_torch()
    from cnnperf.training.data.fetch import fetch

    fetch(spec.name, folder, on_message=say)
