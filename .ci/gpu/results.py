"""What earlier calls left: records, journals and results of tests, here and in --from."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

from words import AGAIN, DONE, FAILED, FELL_BACK


def read_cases(record: Path) -> list[dict[str, Any]]:
    """Return the cases of a record; none if there is no record."""
    try:
        return list(json.loads(record.read_bytes())["cnnperf"]["cases"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def outcome_of(record: Path) -> int:
    """Return what a record says of its step: AGAIN if trainings are left, or there is none."""
    cases = read_cases(record)
    if any((case.get("error") or {}).get("kind") == "fallback" for case in cases):
        return FELL_BACK
    outcomes = {case.get("outcome") for case in cases}
    if not outcomes - {"skipped"} or json.loads(record.read_bytes())["cnnperf"]["interrupted"]:
        return AGAIN
    return FAILED if "failed" in outcomes else DONE


class Results:
    """The files of this machine, and those that an earlier call left elsewhere.

    Args:
        folder: where the files of this machine are.
        source: where else to look; nothing there is changed.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder, self.source = folder, source

    @property
    def places(self) -> list[Path]:
        """Both folders, or the one if they are the same."""
        return list(dict.fromkeys((self.folder, self.source)))

    def hand_in(self, name: str) -> Path:
        """Return the path of a file here, copied from --from if it is only there."""
        here, there = self.folder / name, self.source / name
        if not here.is_file() and there.is_file():
            shutil.copy2(there, here)
        return here

    def best_journal(self, name: str) -> Path | None:
        """Return the journal with the most trainings: a run killed early has not copied them all.

        A journal from --from is copied, because the run that continues it deletes it at the end.
        """
        journals = _journals(name, *self.places)
        best = max(filter(_trainings, journals), key=_trainings, default=None)
        if best is None or best.parent == self.folder:
            return best
        return Path(shutil.copyfile(best, self.folder / best.name))

    def drop_journals(self, name: str) -> None:
        """Delete all journals but the best, which contains the others; with a full record, all."""
        journals = _journals(name, self.folder)
        best = max(journals, key=_trainings, default=None)
        done = outcome_of(self.folder / f"{name}.json") == DONE
        for path in journals:
            if done or path != best:
                path.unlink()

    def folder_to_continue(self, name: str) -> Path:
        """Return a folder with the journals to continue, copied from --from if there are none."""
        folder, handed_in = self.folder / name, self.source / name
        if not journals_in(folder):
            shutil.rmtree(folder, ignore_errors=True)
            if journals_in(handed_in):
                shutil.copytree(handed_in, folder)
        return folder


def journals_in(folder: Path) -> list[Path]:
    """Return the journals of a pair of runs that have anything."""
    return [path for path in folder.glob("*.journal.jsonl") if path.stat().st_size]


def _journals(name: str, *places: Path) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"-\d{8}-\d{6}(-\d+)?\.journal\.jsonl")
    found = [path for place in places if place.is_dir() for path in place.iterdir()]
    return [path for path in found if pattern.fullmatch(path.name)]


def _trainings(journal: Path) -> int:
    return journal.read_bytes().count(b'"kind":"repeat"')


def pack(folder: Path, file: Path) -> None:
    """Pack a folder into one .zip, which replaces an earlier one only when it is whole."""
    beside = file.with_name(file.name + ".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    beside.replace(file)


def unpacked(source: Path, scratch: Path) -> Path:
    """Return a folder as it is; unpack a .zip into `scratch` and return that."""
    if not source.is_file():
        return source
    with zipfile.ZipFile(source) as archive:
        archive.extractall(scratch)
    return scratch
