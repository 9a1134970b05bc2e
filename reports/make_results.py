"""What a folder of records says in the end: for each machine and case, which record speaks for it.

Records lie in a folder for each hardware and stack (`cnnperf.machine.folder_name`). Where several
have the same case, that with the most repeats counts, then the latest; a shortened training counts
for nothing but speed against peers, a failed case for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.catalog.cases import reported
from cnnperf.compare.calibration import SUFFIX as CALIBRATION_SUFFIX
from cnnperf.compare.calibration import Calibration, load_calibration
from cnnperf.errors import UsageError
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.loading import load_record
from cnnperf.record.schema import CaseRecord, Record

DATASETS = ("mnist", "cifar10")
"""Those of the study; the others are there to try the suite out."""


TABLE_ROW = re.compile(r"^\| `([^`|]+)` \| `([^`|]+)`", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file."""

    path: Path
    record: Record
    command: str | None = None
    """That made it: as the record has it, else as the folder's README does."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case, and the file that speaks for it."""

    case: CaseRecord
    source: Source


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One machine with one software: everything in its folder."""

    name: str
    sources: Sequence[Source]
    calibrations: Sequence[Calibration] = ()

    @property
    def has_gpu(self) -> bool:
        """Whether something was trained on a GPU here."""
        return any(_device(source.record) != "cpu" for source in self.sources)

    def study(self) -> list[Found]:
        """The cases that the study has figures of, whole."""
        return self._best(lambda case: reported(case.model, case.dataset, case.recipe) is not None)

    def others(self) -> list[Found]:
        """Other whole trainings on the study's data."""
        return self._best(
            lambda case: (
                case.dataset in DATASETS
                and case.median("test_accuracy") is not None
                and reported(case.model, case.dataset, case.recipe) is None
            )
        )

    def _best(self, wanted: Callable[[CaseRecord], bool]) -> list[Found]:
        """Of suite `train`, whole, by id."""
        best: dict[str, Found] = {}
        for found in self._found("train"):
            case = found.case
            if case.shortened or not wanted(case):
                continue
            before = best.get(case.id)
            if before is None or _weight(before) < _weight(found):
                best[case.id] = found
        return [best[case_id] for case_id in sorted(best)]

    def peer_groups(self) -> dict[str, list[Found]]:
        """Engines that trained the same in one file, by what they trained, the fastest first.

        Ratios hold within one run, so all of a group are from one file: of those in which no
        engine was mostly disturbed, the one with the most repeats, then engines, then the latest.
        """
        groups: dict[str, dict[Path, list[Found]]] = {}
        for found in self._found("peers"):
            case = found.case
            name = f"{case.model}, {case.dataset}, {case.resolution} pixels, recipe {case.recipe}"
            groups.setdefault(name, {}).setdefault(found.source.path, []).append(found)
        chosen = {name: max(files.values(), key=_group_weight) for name, files in groups.items()}
        return {name: sorted(each, key=_speed, reverse=True) for name, each in chosen.items()}

    def _found(self, suite: str) -> Iterator[Found]:
        for source in self.sources:
            for case in source.record.cases:
                if case.suite == suite and case.outcome == "passed" and case.repeats:
                    yield Found(case=case, source=source)


def read_stacks(folder: Path) -> list[Stack]:
    """Every stack of a folder of records, those with a GPU first.

    Raises:
        UsageError: there is no such folder, or a file in it is neither record nor calibration.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: expected one with a folder for each machine")
    commands = _told_commands(folder / "README.md")
    stacks = [_read_stack(each, commands) for each in sorted(folder.iterdir()) if each.is_dir()]
    found = [stack for stack in stacks if stack.sources]
    if not found:
        raise UsageError(
            f"{folder} has no records: expected files like {folder}/h200-torch2.11-cu13/run.json"
        )
    return sorted(found, key=lambda stack: (not stack.has_gpu, stack.name))


def _told_commands(readme: Path) -> dict[str, str]:
    """The commands that a README's table has in its second column, by the file in its first."""
    if not readme.is_file():
        return {}
    return dict(TABLE_ROW.findall(readme.read_text(encoding="utf-8")))


def _read_stack(folder: Path, commands: Mapping[str, str]) -> Stack:
    files = sorted(folder.glob("*.json"))
    calibrations = [path for path in files if path.name.endswith(CALIBRATION_SUFFIX)]
    return Stack(
        name=folder.name,
        sources=[
            _read_source(path, commands.get(f"{folder.name}/{path.name}"))
            for path in files
            if path not in calibrations
        ],
        calibrations=[load_calibration(path) for path in calibrations],
    )


def _read_source(path: Path, told: str | None) -> Source:
    record = load_record(path)
    return Source(path=path, record=record, command=record.command or told)


def _device(record: Record) -> str | None:
    return record.environment.settings.device


def _weight(found: Found) -> tuple[object, ...]:
    record = found.source.record
    return len(found.case.repeats), record.created, str(found.source.path)


def _group_weight(group: Sequence[Found]) -> tuple[object, ...]:
    least = min(len(found.case.repeats) for found in group)
    quiet = all(2 * disturbed(each.case) < len(each.case.repeats) for each in group)
    return quiet, least, len(group), group[0].source.record.created


def _speed(found: Found) -> float:
    return found.case.median("images_per_second") or 0.0


def disturbed(case: CaseRecord) -> int:
    """Trainings in which something else had a part in the time."""
    return sum(any(flag.kind in DISTURBANCES for flag in each.warnings) for each in case.repeats)
