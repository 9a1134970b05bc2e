"""What a run takes over from the journal of a stopped one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cnnperf.record.journal import RepeatEntry, read_journal
from cnnperf.record.messages import ProbeResult
from cnnperf.run.plan import Plan, plan_digest
from cnnperf.run.repeat import fallbacks_of

Key = tuple[str, int]
"""A case's id and a seed."""

MAX_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The repeats of a stopped run's journal, sorted by their use for this run.

    A repeat needs no new training if this run plans the same case with the same seed, and
    everything known before training is equal (`plan_digest`).
    """

    path: Path
    fitting: dict[Key, RepeatEntry] = field(default_factory=dict)
    changed: list[Key] = field(default_factory=list)
    """Planned in this run, but made under other conditions."""
    fell_back: list[Key] = field(default_factory=list)
    """Made by an engine that fell back, which this run does not allow; the cause may be gone."""
    unplanned: list[Key] = field(default_factory=list)
    """Repeats of cases or seeds that are not part of this run."""
    other_card: bool = False
    """Whether they were made on another GPU of the same kind."""

    def report(self) -> list[str]:
        """Return lines for the header: what is taken over, what is not, and why."""
        lines = [f"resuming {self.path}: {name_trainings(list(self.fitting))} taken over"]
        if self.other_card and self.fitting:
            lines.append("  from another GPU of the same kind: differences between the two count")
        if self.changed:
            lines.append(
                f"  {name_trainings(self.changed)} trained again: recipe, model, setting, "
                "software, hardware or commit changed"
            )
        if self.fell_back:
            lines.append(f"  {name_trainings(self.fell_back)} trained again: engine fast fell back")
        if self.unplanned:
            lines.append(f"  {name_trainings(self.unplanned)} left out: not part of this run")
        return lines


def read_resumed(
    path: Path, plan: Plan, probed: ProbeResult, *, allow_fallback: bool = False
) -> Resumed:
    """Sort the repeats of a journal; raise `UsageError` if it is not a journal."""
    header, entries = read_journal(path)
    digests = {
        (planned.id, seed): plan_digest(planned, probed)
        for planned in plan.runnable
        for seed in planned.seeds
    }
    gpus = [each.hardware.gpu for each in (header.environment, probed.environment)]
    cards = {gpu and gpu.uuid_sha256 for gpu in gpus}
    resumed = Resumed(path=path, other_card=None not in cards and len(cards) == 2)
    for entry in entries:
        if not isinstance(entry, RepeatEntry):
            continue
        key = (entry.case.id, entry.repeat.seed)
        if key not in digests:
            resumed.unplanned.append(key)
        elif digests[key] != entry.plan:
            resumed.changed.append(key)
        elif fallbacks_of(entry.repeat) and not allow_fallback:
            resumed.fell_back.append(key)
        else:
            resumed.fitting[key] = entry
    return resumed


def name_trainings(keys: list[Key]) -> str:
    """Return text such as `2 trainings (a seed 0, a seed 1)`."""
    if not keys:
        return "no training"
    names = ", ".join(f"{case_id} seed {seed}" for case_id, seed in keys[:MAX_NAMES])
    more = f" and {len(keys) - MAX_NAMES} more" if len(keys) > MAX_NAMES else ""
    return f"{len(keys)} training{'s' if len(keys) > 1 else ''} ({names}{more})"
