"""The command `cnnperf list`: the cases and what each costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from cnnperf.cli.options import AsJson, Modules, load_project, option
from cnnperf.errors import UsageError, one_of
from cnnperf.record.metrics import ABSENT, format_flops
from cnnperf.report.terminal.console import print_rich, sentences, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

    from cnnperf.catalog.loops import AnyCase
    from cnnperf.record.messages import ModelFacts

HEADS = ("case", "params", "training\nFLOP/image", "images", "epochs", "batch", "tiers")

EXPENDABLE = ("tiers", "images", "training\nFLOP/image", "batch", "params", "epochs")
"""Columns that a narrow terminal goes without, in this order."""


def list_(
    tier: Annotated[
        str | None,
        option("--tier", "-t", metavar="TIER", text="Only this tier: smoke, standard or full."),
    ] = None,
    as_json: AsJson = False,
    module: Modules = None,
) -> None:
    """List the cases with their parameters, FLOPs per image, images and tiers.

    Examples:
      cnnperf list
      cnnperf list --tier smoke

    Without torch, parameters and FLOPs are not known.
    """
    with sentences():
        load_project(module)
        with status("counting parameters and FLOPs ..."):
            rows = case_rows(tier, tuple(module or ()))
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
        else:
            print_rich(Cases(rows))


def case_rows(tier: str | None, modules: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a dictionary for each case; what only torch can count is None without torch.

    Raises:
        UsageError: there is no such tier.
    """
    from cnnperf.catalog.registry import all_cases
    from cnnperf.catalog.specs import Tier

    if tier is not None and tier not in get_args(Tier):
        raise UsageError(one_of("tier", tier, get_args(Tier)))
    cases = all_cases(tier)  # type: ignore[arg-type]
    facts = _model_facts(cases, modules)
    return [_case_row(case, facts.get(case.id)) for case in cases]


def _model_facts(cases: Sequence[AnyCase], modules: tuple[str, ...]) -> dict[str, ModelFacts]:
    """Ask a worker what the models cost, by case id; empty where torch is not installed."""
    from cnnperf.run.plan import probe_job
    from cnnperf.run.session import missing_packages
    from cnnperf.run.settings import settings_from
    from cnnperf.run.worker_process import probe

    if missing_packages():
        return {}
    job = probe_job(settings_from({"device": "cpu"}, modules), cases, measure_peak=False)
    return {facts.case_id: facts for facts in probe(job).models}


def _case_row(case: AnyCase, facts: ModelFacts | None) -> dict[str, Any]:
    from cnnperf.catalog.loops import LoopCase
    from cnnperf.catalog.registry import get_dataset

    if isinstance(case, LoopCase):
        content = case.model_dump(mode="json", exclude={"tiers"})
        return {"id": case.id, **content, "engine": case.engine, "tiers": list(case.tiers)}
    return {
        "id": case.id,
        **case.model_dump(exclude={"recipe", "tiers"}),
        "recipe": case.recipe.name,
        **case.recipe.model_dump(include={"epochs", "batch_size", "max_steps"}),
        "train_images": get_dataset(case.dataset).train_images,
        "parameters": facts and facts.parameters,
        "forward_flops_per_image": facts and facts.forward_flops_per_image,
        "training_flops_per_image": facts and facts.training_flops_per_image,
        "tiers": list(case.tiers),
    }


class Cases:
    """The cases as a table; a narrow terminal gets fewer columns, none of them cut."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the widest table that fits, and the names of the columns left out."""
        from rich.text import Text

        unlimited = options.update(max_width=1000)
        for count in range(len(EXPENDABLE) + 1):
            table = _cases_table(self._rows, EXPENDABLE[:count])
            if console.measure(table, options=unlimited).maximum <= options.max_width:
                break
        yield table
        if count:
            names = ", ".join(" ".join(head.split()) for head in EXPENDABLE[:count])
            yield Text(f"no room for {names}: use a wider terminal or --json", "dim")


def _cases_table(rows: list[dict[str, Any]], left_out: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    heads = [head for head in HEADS if head not in left_out]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads:
        left = head in {"case", "tiers"}
        table.add_column(head, justify="left" if left else "right", vertical="bottom", no_wrap=True)
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[head] for head in heads))
    return table


def _cells(row: dict[str, Any]) -> dict[str, str]:
    steps, images = row["max_steps"], row.get("train_images")
    epochs = f"{row.get('epochs') or ABSENT}"
    texts = (
        row["id"],
        _flops(row.get("parameters")),
        _flops(row.get("training_flops_per_image")),
        ABSENT if images is None else f"{images:,}",
        epochs if steps is None else f"{steps} step{'s' * (steps != 1)}",
        f"{row.get('batch_size') or ABSENT}",
        " ".join(row["tiers"]),
    )
    return dict(zip(HEADS, texts, strict=True))


def _flops(value: float | None) -> str:
    return ABSENT if value is None else format_flops(value)
