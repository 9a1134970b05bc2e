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

    from cnnperf.catalog.cases import Cost
    from cnnperf.catalog.loops import AnyCase
    from cnnperf.record.messages import ModelFacts

HEADS = ("case", "params", "training\nFLOP/image", "images", "epochs", "batch", "tiers")

EXPENDABLE = ("tiers", "images", "training\nFLOP/image", "batch", "params", "epochs")
"""Columns that a narrow terminal goes without, in this order."""

GAP = "  "


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

    Parameters and FLOPs of your own models are counted, which needs torch and takes some seconds.
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
    """Return a dictionary for each case; without torch, the cost of the user's own cases is None.

    Raises:
        UsageError: there is no such tier.
    """
    from cnnperf.catalog.registry import all_cases
    from cnnperf.catalog.specs import Tier

    if tier is not None and tier not in get_args(Tier):
        raise UsageError(one_of("tier", tier, get_args(Tier)))
    cases = all_cases(tier)  # type: ignore[arg-type]
    costs = _costs(cases, modules)
    return [_case_row(case, costs.get(case.id)) for case in cases]


def _costs(cases: Sequence[AnyCase], modules: tuple[str, ...]) -> dict[str, Cost | ModelFacts]:
    """Return what the models cost, by case id.

    The user's own cases are counted by a worker, every time: their code may have changed. They are
    left out where torch is not installed.
    """
    from cnnperf.catalog.cases import BUILTIN_COSTS
    from cnnperf.catalog.loops import LoopCase
    from cnnperf.catalog.registry import BUILTIN_IDS, get_dataset, get_model, input_channels

    costs: dict[str, Cost | ModelFacts] = {}
    own = [case for case in cases if case.id not in BUILTIN_IDS]
    for case in cases:
        if case.id in BUILTIN_IDS and not isinstance(case, LoopCase):
            channels = input_channels(get_model(case.model), get_dataset(case.dataset))
            costs[case.id] = BUILTIN_COSTS[case.model, channels]
    return costs | (_count(own, modules) if own else {})


def _count(cases: Sequence[AnyCase], modules: tuple[str, ...]) -> dict[str, ModelFacts]:
    """Ask a worker what the models cost, by case id; empty where torch is not installed."""
    from cnnperf.run.plan import probe_job
    from cnnperf.run.session import missing_packages
    from cnnperf.run.settings import settings_from
    from cnnperf.run.worker_process import probe

    if missing_packages():
        return {}
    job = probe_job(settings_from({"device": "cpu"}, modules), cases, measure_peak=False)
    return {facts.case_id: facts for facts in probe(job).models}


def _case_row(case: AnyCase, cost: Cost | ModelFacts | None) -> dict[str, Any]:
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
        "parameters": cost and cost.parameters,
        "forward_flops_per_image": cost and cost.forward_flops_per_image,
        "training_flops_per_image": cost and cost.training_flops_per_image,
        "tiers": list(case.tiers),
    }


class Cases:
    """The cases as a table; a narrow terminal gets fewer columns, none of them cut."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the widest table that fits, and the names of the columns left out.

        The lines are joined here, because a table of rich takes half a second for 200 cases.
        """
        from rich.text import Text

        heads = [{head: head.rpartition("\n")[part] for head in HEADS} for part in (0, 2)]
        rows = [*heads, *map(_cells, self._rows)]
        widths = {head: max(len(row[head]) for row in rows) for head in HEADS}
        for count in range(len(EXPENDABLE) + 1):
            shown = {head: widths[head] for head in HEADS if head not in EXPENDABLE[:count]}
            width = sum(shown.values()) + len(GAP) * (len(shown) - 1)
            if width <= options.max_width:
                break
        head, body = ([_line(row, shown) for row in some] for some in (rows[:2], rows[2:]))
        lines = (("\n".join(head), "bold"), "\n" + "─" * width + "\n" + "\n".join(body))
        yield Text.assemble(*lines, no_wrap=True, overflow="ellipsis")
        if count:
            names = ", ".join(" ".join(head.split()) for head in EXPENDABLE[:count])
            yield Text(f"no room for {names}: use a wider terminal or --json", "dim")


def _line(cells: dict[str, str], widths: dict[str, int]) -> str:
    texts = (
        cells[head].ljust(width) if head in ("case", "tiers") else cells[head].rjust(width)
        for head, width in widths.items()
    )
    return GAP.join(texts).rstrip()


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
