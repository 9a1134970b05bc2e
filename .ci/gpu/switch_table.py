"""Show what each optimisation of `fast` gains, from the records of piece `switches`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from results import read_cases


def switch_lines(records: Mapping[str, Path]) -> list[str]:
    """Return a line for each run: the epoch's seconds over those of the first run, by case.

    An epoch is training and validation; what happens once in a training is not in it.

    Args:
        records: path of each run's record by its name, the base first.
    """
    seconds = {name: _epoch_seconds(path) for name, path in records.items()}
    base_name, *others = seconds
    base = seconds[base_name]
    lines = [
        "seconds of an epoch with validation over those of the base; above 1: the optimisation "
        "gains that much. The last line is the base again, so it shows the noise:"
    ]
    for name in others:
        ratios = [
            f"{case_id} {taken / base[case_id]:.3f}"
            for case_id, taken in seconds[name].items()
            if base.get(case_id)
        ]
        lines.append(f"  {name:28}{', '.join(ratios) or 'nothing measured'}")
    return lines


def _epoch_seconds(record: Path) -> dict[str, float]:
    """Return the seconds of the last epoch of each case's first training."""
    found = {}
    for case in read_cases(record):
        epochs = [epoch for repeat in case["repeats"][:1] for epoch in repeat["epochs"]]
        if epochs:
            found[case["id"]] = epochs[-1]["train_seconds"] + (epochs[-1]["val_seconds"] or 0.0)
    return found
