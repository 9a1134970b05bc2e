"""Show what `cnnperf floors` found: the device's ceilings, a row for each case, and doubts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
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
    show,
)
from cnnperf.report.terminal.layout import Column, FittingTable

BUSY_SHARE = 0.8
"""Where a median is below this share of the best, something else probably ran."""

SAME_PEAK = 1.1
"""A matmul peak that differs from the record's by more than this factor is reported."""

HEADS = ("FLOP/\nepoch", "least bytes/\nstep", "FLOP\nfloor", "byte\nfloor")
RECORD_HEADS = ("measured", "n", "floor/\nmeasured", "MFU")
"""Heads of the columns that a record fills."""

LEGEND = (
    "floors: the least seconds for the whole training and its validations; the larger floor is the "
    "closer one. FLOPs: those of convolutions and matrix products, over the best product above. "
    "Bytes: those that convolutions, products and pooling read and write if everything else is "
    "fused into them, over the best copy above. See docs/performance.md for the assumptions."
)


def floors_summary(floors: Sequence[CaseFloors], probed: ProbeResult) -> RenderableType:
    """Return the ceilings, the table, what it means, and reasons to doubt it."""
    return Group(
        *map(Text, _ceilings(probed)),
        _table(floors),
        Text(LEGEND, style="dim"),
        *(Text(printable(note), style="yellow") for note in notes(floors, probed)),
    )


def _ceilings(probed: ProbeResult) -> Iterator[str]:
    for precision, found in probed.matmul_ceilings.items():
        yield f"matmul {precision}: {_steadiness(f'{format_flops(found.best)}FLOP/s', found)}"
    if probed.copy_ceiling is not None:
        rate = f"{format_rate(probed.copy_ceiling.best / 1e9)} GB/s read and written"
        yield f"copy: {_steadiness(rate, probed.copy_ceiling)}"


def _steadiness(rate: str, found: Ceiling) -> str:
    below = format_share(1 - found.median / found.best)
    return f"{rate}, best of {found.samples}; the median is {below} lower"


def _table(floors: Sequence[CaseFloors]) -> FittingTable:
    """Leave out the columns for measurements without records."""
    heads = HEADS + RECORD_HEADS * any(each.measured for each in floors)
    columns = (Column("case", "left"), Column("precision", "left"), *map(Column, heads))
    return FittingTable(columns, [_cells(each)[: len(columns)] for each in floors])


def _cells(floors: CaseFloors) -> list[str]:
    found = floors.measured
    return [
        floors.id,
        floors.precision,
        _shown(floors.flops_per_epoch, format_flops),
        _shown(floors.bytes_per_step, format_bytes),
        _shown(floors.flop_floor_seconds, format_seconds),
        _shown(floors.byte_floor_seconds, format_seconds),
        show("train_seconds", found.train_seconds if found else None),
        str(found.repeats) if found else "",
        _shown(floors.share, format_share),
        show("mfu", found.mfu if found else None),
    ]


def _shown(value: float | None, text: Callable[[float], str]) -> str:
    return ABSENT if value is None else text(value)


def notes(floors: Sequence[CaseFloors], probed: ProbeResult) -> Iterator[str]:
    """Yield what a reader must know before relying on a floor."""
    ceilings = {f"matmul {name}": each for name, each in probed.matmul_ceilings.items()}
    if probed.copy_ceiling is not None:
        ceilings["copy"] = probed.copy_ceiling
    busy = [name for name, each in ceilings.items() if each.median < BUSY_SHARE * each.best]
    if busy:
        yield (
            f"unsteady: {', '.join(busy)}: the median is more than {format_share(1 - BUSY_SHARE)} "
            "below the best, so something else probably ran; the best may be too low and the "
            "floors too high: measure again when the machine is idle"
        )
    small = fit_into_cache(floors, probed.cache_bytes)
    if small and probed.cache_bytes is not None:
        yield (
            f"no strict bound: the byte floor of {', '.join(each.id for each in small)}: no tensor "
            f"is larger than this device's last cache ({format_bytes(probed.cache_bytes)}), which "
            "may keep what one kernel writes until the next one reads it"
        )
    if moved := ", ".join(_moved_peaks(floors)):
        yield (
            f"peak changed: {moved}: the machine is not in the state in which it trained, so do "
            "not trust the shares"
        )
    beaten = [each.id for each in floors if each.share is not None and each.share > 1]
    if beaten:
        yield (
            f"faster than its floor: {', '.join(beaten)}: a ceiling was measured too low, or the "
            "tensors stay in the cache"
        )


def _moved_peaks(floors: Sequence[CaseFloors]) -> Iterator[str]:
    for each in floors:
        now = each.matmul_flops_per_second
        then = each.measured.matmul_flops_per_second if each.measured else None
        if now and then and not 1 / SAME_PEAK < now / then < SAME_PEAK:
            yield f"{each.id} ({format_flops(then)}FLOP/s, now {format_flops(now)}FLOP/s)"


def floors_json(floors: Sequence[CaseFloors], probed: ProbeResult) -> dict[str, Any]:
    """Return the same for programs, in seconds, bytes and FLOPs; null where unknown."""
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
