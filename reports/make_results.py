"""Make docs/results.md from the records in this folder: the study's table next to our results.

    python reports/make_results.py -o docs/results.md

There is a folder for each machine and software stack. If several records have the same case, the
one with the most repeats counts, then the latest. Failed cases are left out; shortened trainings
count only for speed against peers.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.catalog.cases import study_result
from cnnperf.compare.calibration import REPEATS, SUFFIX, Calibration, load_calibration
from cnnperf.compare.thresholds import JUDGED
from cnnperf.errors import UsageError
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_device, describe_software
from cnnperf.record.loading import load_record
from cnnperf.record.metrics import ABSENT, METRICS, format_share, show
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.formats.markdown import code, prose, table
from cnnperf.report.suites import speed_ratio

STUDY_DATASETS = ("mnist", "cifar10")
README_ROW = re.compile(r"^\| `([^`|]+)` \| `([^`|]+)`", re.MULTILINE)
"""A row of the README's table: a file, and the command that made it."""

NO_GPU = (
    "**No record of a GPU exists yet:** everything below is from a CPU. It shows that the suite "
    "works and what the models learn; the times say nothing about GPUs. [gpu.md](gpu.md) says how "
    "records of a GPU are made."
)
LEGEND = (
    "n is the number of trainings, each in its own process with its own seed. A figure is their "
    "median, with the smallest and the largest in brackets. The study's figures are from one "
    "training on an unknown GPU. MFU is relative to the matmul peak measured in the same run; "
    "energy is the GPU's."
)
COLUMNS = ("train_seconds", "test_accuracy", "test_f1_macro", "images_per_second", "mfu",
           "energy_joules")  # fmt: skip
PEER_COLUMNS = ("images_per_second", "train_seconds", "mfu")
RANGED = {"train_seconds", "test_accuracy", "test_f1_macro", "images_per_second"}
"""Metrics that are shown with their smallest and largest value."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case in a file."""

    case: CaseRecord
    path: Path
    record: Record


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One machine with one software stack: a folder."""

    name: str
    records: dict[Path, Record]
    calibrations: Sequence[Calibration] = ()

    @property
    def has_gpu(self) -> bool:
        """Return whether a training here ran on a GPU."""
        devices = {each.environment.settings.device for each in self.records.values()}
        return devices != {"cpu"}

    def cases(self, suite: str) -> Iterator[Found]:
        """Yield the cases of a suite that passed."""
        for path, record in self.records.items():
            for case in record.cases:
                if case.suite == suite and case.outcome == "passed" and case.repeats:
                    yield Found(case=case, path=path, record=record)

    def best(self, wanted: Callable[[CaseRecord], bool]) -> list[Found]:
        """Return one complete training of each wanted case, by id."""
        best: dict[str, Found] = {}
        for found in sorted(self.cases("train"), key=_weight):
            if not found.case.shortened and wanted(found.case):
                best[found.case.id] = found
        return [best[case_id] for case_id in sorted(best)]

    def peers(self) -> dict[str, list[Found]]:
        """Return the engines that trained the same, by what they trained, the fastest first.

        Ratios hold only within one run, so a group is from one file: of those in which no engine
        was mostly disturbed, the one with the most repeats, then engines, then the latest.
        """
        groups: dict[str, dict[Path, list[Found]]] = {}
        for found in self.cases("peers"):
            case = found.case
            name = f"{case.model}, {case.dataset}, {case.resolution} pixels, recipe {case.recipe}"
            groups.setdefault(name, {}).setdefault(found.path, []).append(found)
        return {
            name: sorted(max(files.values(), key=_group_weight), key=_speed, reverse=True)
            for name, files in groups.items()
        }


def _weight(found: Found) -> tuple[object, ...]:
    return len(found.case.repeats), found.record.created, str(found.path)


def _group_weight(group: Sequence[Found]) -> tuple[object, ...]:
    repeats = min(len(found.case.repeats) for found in group)
    quiet = all(2 * count_disturbed(each.case) < len(each.case.repeats) for each in group)
    return quiet, repeats, len(group), group[0].record.created


def _speed(found: Found) -> float:
    return found.case.median("images_per_second") or 0.0


def count_disturbed(case: CaseRecord) -> int:
    """Return the number of trainings that other load on the machine disturbed."""
    return sum(any(flag.kind in DISTURBANCES for flag in each.warnings) for each in case.repeats)


def read_stacks(folder: Path) -> list[Stack]:
    """Read the stacks of a folder, those with a GPU first.

    Raises:
        UsageError: a file is neither record nor calibration, or there is no record.
    """
    stacks = []
    for each in sorted(path for path in folder.glob("*") if path.is_dir()):
        files = sorted(each.glob("*.json"))
        noise = [path for path in files if path.name.endswith(SUFFIX)]
        records = {path: load_record(path) for path in files if path not in noise}
        calibrations = [load_calibration(path) for path in noise]
        if records:
            stacks.append(Stack(name=each.name, records=records, calibrations=calibrations))
    if not stacks:
        raise UsageError(
            f"{folder} has no records: expected files like {folder}/h200-torch2.11-cu13/run.json"
        )
    return sorted(stacks, key=lambda stack: (not stack.has_gpu, stack.name))


def results_page(folder: Path, output: Path) -> str:
    """Return the page of a folder of records; its links start at the page's own folder."""
    stacks, readme = read_stacks(folder), folder / "README.md"
    rows = README_ROW.findall(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    commands = {folder / name: command for name, command in rows}
    parts = ["# Results", "<!-- Made by `make results`: change the records and run it again. -->"]
    if not any(stack.has_gpu for stack in stacks):
        parts.append(NO_GPU)
    parts.append(LEGEND)
    for stack in stacks:
        parts.extend(_stack(stack, commands, output.absolute().parent))
    return "\n\n".join(parts) + "\n"


def _stack(stack: Stack, commands: dict[Path, str], home: Path) -> Iterator[str]:
    numbers: dict[Path, int] = {}
    """Numbers of the files that a table quotes, in the order of quoting."""
    body = [*_trainings(stack, numbers), *_peers(stack, numbers), *_noise(stack)]
    if not body:  # nothing but short cases, which this page does not show
        return
    yield f"## {prose(stack.name)}"
    yield from dict.fromkeys(_where(stack.records[path]) for path in numbers or stack.records)
    yield from body
    if numbers:
        yield "### Files"
        yield "\n".join(
            f"{number}. {_file(path, stack.records[path], commands.get(path), home)}"
            for path, number in numbers.items()
        )


def _where(record: Record) -> str:
    environment = record.environment
    machine = f"{environment.settings.device or 'cpu'}: {describe_device(environment)}"
    return f"{prose(machine)}; {prose(describe_software(environment))}"


def _trainings(stack: Stack, numbers: dict[Path, int]) -> Iterator[str]:
    """Yield the table of the study's cases and that of other complete trainings."""

    def study_row(case: CaseRecord) -> object:
        return study_result(case.model, case.dataset, case.recipe)

    heads = ["n", *(METRICS[name].label for name in COLUMNS), "file"]
    found = stack.best(lambda case: study_row(case) is not None)
    if found:
        yield "### The study's table, and ours"
        rows = [
            [code(each.case.id), *_study_cells(each.case), *_cells(each, numbers)] for each in found
        ]
        yield table(["case", "study: time", "accuracy", "F1", *heads], rows)
        yield from _disturbances(found)
    found = stack.best(
        lambda case: (
            case.dataset in STUDY_DATASETS
            and case.median("test_accuracy") is not None
            and study_row(case) is None
        )
    )
    if found:
        yield "### Other trainings"
        yield table(["case", *heads], [[code(e.case.id), *_cells(e, numbers)] for e in found])
        yield from _disturbances(found)


def _study_cells(case: CaseRecord) -> list[str]:
    row = study_result(case.model, case.dataset, case.recipe)
    assert row is not None
    time = ABSENT if row.train_seconds is None else show("train_seconds", row.train_seconds)
    return [time, format_share(row.test_accuracy), format_share(row.test_f1)]


def _cells(found: Found, numbers: dict[Path, int]) -> list[str]:
    figures = [_figure(found.case, name) for name in COLUMNS]
    return [str(len(found.case.repeats)), *figures, _number(found, numbers)]


def _figure(case: CaseRecord, name: str) -> str:
    text, values = show(name, case.median(name)), case.values(name)
    if name not in RANGED or len(values) < 2:
        return text
    return f"{text} ({show(name, min(values))} to {show(name, max(values))})"


def _number(found: Found, numbers: dict[Path, int]) -> str:
    return str(numbers.setdefault(found.path, len(numbers) + 1))


def _peers(stack: Stack, numbers: dict[Path, int]) -> Iterator[str]:
    for index, (name, group) in enumerate(stack.peers().items()):
        if index == 0:
            yield "### Against other people's loops"
            yield (
                "Ratios of images/s, within one run. Train time also includes reading the data set "
                "and what `fast` does with it once."
            )
        fast = next((found.case for found in group if found.case.engine == "fast"), None)
        steps = " (shortened)" if any(found.case.shortened for found in group) else ""
        labels = (METRICS[each].label for each in PEER_COLUMNS)
        rows = [
            [
                code(found.case.engine),
                ABSENT if (x := speed_ratio(fast, found.case)) is None else f"{x:.2f} x",
                str(len(found.case.repeats)),
                *(_figure(found.case, each) for each in PEER_COLUMNS),
                ", ".join(sorted({prose(repeat.precision) for repeat in found.case.repeats})),
                _number(found, numbers),
            ]
            for found in group
        ]
        yield table([f"{name}{steps}", "`fast` is", "n", *labels, "precision", "file"], rows)
        yield from _disturbances(group)


def _disturbances(found: Iterable[Found]) -> Iterator[str]:
    named = [
        f"{code(each.case.id)} ({count} of {len(each.case.repeats)})"
        for each in found
        if (count := count_disturbed(each.case))
    ]
    if named:
        yield f"Disturbed by other load, so their times say little: {', '.join(named)}"


def _noise(stack: Stack) -> Iterator[str]:
    for calibration in stack.calibrations:
        yield "### Noise"
        yield (
            "Trainings in which nothing changed. Spread is the standard deviation of one training; "
            f"the smallest change is a change for the worse that {REPEATS} repeats a side detect "
            "in four of five comparisons of that case alone."
        )
        rows = []
        for case_id, case in calibration.cases.items():
            for name, noise in case.metrics.items():
                if name in JUDGED:
                    unit = "%" if JUDGED[name].by_ratio else "points"
                    shown = [f"{100 * x:.2f} {unit}" for x in (noise.sd, noise.smallest_change)]
                    metric = METRICS[name]
                    mean = metric.show(noise.mean)
                    rows.append([code(case_id), metric.label, str(noise.n), mean, *shown])
        yield table(("case", "metric", "n", "mean", "spread", "smallest change"), rows)


def _file(path: Path, record: Record, told: str | None, home: Path) -> str:
    """Return a link to a file, with its date, commit and the command that made it."""
    link = Path(os.path.relpath(path.absolute(), home)).as_posix()
    software = record.environment.software
    made = f"{record.created:%Y-%m-%d}"
    if software.cnnperf_commit:
        dirty = ", with changes" if software.cnnperf_dirty else ""
        made += f", commit {code(software.cnnperf_commit[:12])}{dirty}"
    command = record.command or told
    return (
        f"[{prose(path.name)}]({link}), {made}: {code(command) if command else 'command unknown'}"
    )


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results.md"))
    arguments = parser.parse_args()
    try:
        page = results_page(arguments.folder, arguments.output)
    except UsageError as error:
        sys.exit(f"make_results: {error}")
    arguments.output.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{arguments.output}: written\n")


if __name__ == "__main__":
    main()
