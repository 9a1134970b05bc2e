"""What `cnnperf floors` shows: the ceilings, a row a case, and what the figures are worth.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnnperf.compare.floors import CaseFloors, fit_into_cache
from cnnperf.errors import printable
from cnnperf.record.messages import Ceiling, ProbeResult
from cnnperf.record.metrics import (
    ABSENT,
    format_bytes,
    format_flops,
    format_rate,
    format_seconds,
    format_share,
)

BUSY_SHARE = 0.8
"""A median this far below the best says that something else was at work."""

SAME_PEAK = 1.1
"""A matmul peak that differs by more from the record's own is told."""

HEADS = (
    "case", "precision", "FLOP/\nepoch", "least bytes/\nstep", "FLOP\nfloor", "byte\nfloor",
    "measured", "n", "floor/\nmeasured", "MFU",
)  # fmt: skip
WITHOUT_RECORD = HEADS[:6]

LEGEND = (
    "floors: the least seconds for the whole training and its validations; the larger one is the "
    "nearer. FLOPs are those of convolutions and matrix products, over the best product above. "
    "Bytes are those that convolutions, products and pooling read and write if all else is fused "
    "into them, over the best copy above; docs/performance.md has the assumptions."
)


def floors_summary(floors: Sequence[CaseFloors], probed: ProbeResult) -> RenderableType:
    """All of it, for people."""
    return Group(
        *map(Text, ceiling_lines(probed)),
        floors_table(floors),
        Text(LEGEND, style="dim"),
        *(Text(printable(note), style="yellow") for note in notes(floors, probed)),
    )


def ceiling_lines(probed: ProbeResult) -> Iterator[str]:
    """What the device reached, and how steadily."""
    for precision, found in probed.matmul_ceilings.items():
        yield f"matmul {precision}: {_steady(f'{format_flops(found.best)}FLOP/s', found)}"
    if probed.copy_ceiling is not None:
        rate = f"{format_rate(probed.copy_ceiling.best / 1e9)} GB/s read and written"
        yield f"copy: {_steady(rate, probed.copy_ceiling)}"


def _steady(rate: str, found: Ceiling) -> str:
    below = format_share(1 - found.median / found.best)
    return f"{rate}, best of {found.samples}; their median is {below} lower"


def floors_table(floors: Sequence[CaseFloors]) -> Table:
    """A row a case; what a record has to say is left out where there is none."""
    heads = HEADS if any(each.measured for each in floors) else WITHOUT_RECORD
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads:
        left = head in ("case", "precision")
        table.add_column(head, justify="left" if left else "right", vertical="bottom", no_wrap=True)
    for each in floors:
        table.add_row(*_cells(each)[: len(heads)])
    return table


def _cells(floors: CaseFloors) -> list[str]:
    found = floors.measured
    seconds = (floors.flop_floor_seconds, floors.byte_floor_seconds)
    return [
        printable(floors.id),
        floors.precision,
        ABSENT if floors.flops_per_epoch is None else format_flops(floors.flops_per_epoch),
        ABSENT if floors.bytes_per_step is None else format_bytes(floors.bytes_per_step),
        *(ABSENT if value is None else format_seconds(value) for value in seconds),
        format_seconds(found.train_seconds) if found else ABSENT,
        str(found.repeats) if found else "",
        ABSENT if floors.share is None else format_share(floors.share),
        ABSENT if found is None or found.mfu is None else format_share(found.mfu),
    ]


def notes(floors: Sequence[CaseFloors], probed: ProbeResult) -> Iterator[str]:
    """What a reader must know before believing a floor."""
    ceilings = {f"matmul {name}": each for name, each in probed.matmul_ceilings.items()}
    if probed.copy_ceiling is not None:
        ceilings["copy"] = probed.copy_ceiling
    busy = [name for name, each in ceilings.items() if each.median < BUSY_SHARE * each.best]
    if busy:
        yield (
            f"unsteady: {', '.join(busy)}: the median is more than "
            f"{format_share(1 - BUSY_SHARE)} below the best, so likely something else was at "
            "work; the best may be too low, and floors too high: measure again when it is idle"
        )
    small = fit_into_cache(floors, probed.cache_bytes)
    if small and probed.cache_bytes is not None:
        yield (
            f"no strict bound: the byte floor of {', '.join(each.id for each in small)}: no tensor "
            f"there is larger than this device's last cache ({format_bytes(probed.cache_bytes)}), "
            "which may keep what one kernel writes until the next one reads it"
        )
    moved = [each for each in floors if _peak_moved(each)]
    if moved:
        yield (
            f"another peak than then: {', '.join(map(_then_and_now, moved))}: the machine is not "
            "in the state in which it trained, so do not trust the shares"
        )
    beaten = [each.id for each in floors if each.share is not None and each.share > 1]
    if beaten:
        yield (
            f"faster than its floor: {', '.join(beaten)}: a ceiling was measured too low, or its "
            "tensors stay in the cache"
        )


def _peak_moved(floors: CaseFloors) -> bool:
    now = floors.matmul_flops_per_second
    then = floors.measured.matmul_flops_per_second if floors.measured else None
    return bool(now and then and not 1 / SAME_PEAK < now / then < SAME_PEAK)


def _then_and_now(floors: CaseFloors) -> str:
    then = floors.measured.matmul_flops_per_second if floors.measured else None
    rates = [format_flops(rate) for rate in (then, floors.matmul_flops_per_second) if rate]
    return f"{floors.id} ({'FLOP/s, now '.join(rates)}FLOP/s)"


def floors_json(floors: Sequence[CaseFloors], probed: ProbeResult) -> dict[str, Any]:
    """The same for programs: seconds, bytes, FLOPs; null where something is not known."""
    return {
        "device": probed.device,
        "environment": probed.environment.model_dump(mode="json"),
        "ceilings": {
            "matmul_flops_per_second": {
                name: each.model_dump() for name, each in probed.matmul_ceilings.items()
            },
            "copy_bytes_per_second": probed.copy_ceiling and probed.copy_ceiling.model_dump(),
            "cache_bytes": probed.cache_bytes,
        },
        "cases": [
            {**asdict(each), "floor_seconds": each.floor_seconds, "bound": each.bound,
             "share": each.share}
            for each in floors
        ],
        "notes": list(notes(floors, probed)),
    }  # fmt: skip
