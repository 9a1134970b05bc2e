"""Is one interpreter's training slower or less accurate than another's, on one machine?

    cnnperf ab --a venv-old/bin/python --b venv-new/bin/python -k digits

Torch-free. Trains both in turns, looks at what there is when the schedule says so, and trains on
only what cannot be told yet. What it ends with is the judgement of the two records that it leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.looks import Looks
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import CaseVerdicts, Comparison
from cnnperf.errors import UsageError
from cnnperf.run.interleave import Interleaved

Say = Callable[[str], None]
Judge = Callable[[Interleaved], Comparison]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much may be trained."""

    max_repeats: int
    """Of each case, on each side."""
    max_minutes: float | None = None
    """Of training; what is under way then is still finished."""

    @property
    def looks(self) -> Looks:
        """When to look, and how sure to be."""
        return Looks(self.max_repeats)


def run_ab(pair: Interleaved, budget: Budget, rules: Rules, say: Say) -> Comparison:
    """Train until every case is decided or the budget is spent, and judge.

    Args:
        pair: both sides, looked at and not yet trained; the caller closes them.
        budget: where to stop.
        rules: as for any comparison; their confidence is replaced by that of a look.
        say: told what each look found.

    Raises:
        UsageError: the time was up before anything was trained.
    """
    looks = budget.looks
    rules = replace(rules, confidence=looks.confidence)
    if budget.max_minutes is not None:
        pair.deadline = time.monotonic() + 60 * budget.max_minutes
    train_until_decided(pair, looks, lambda: judge_pair(pair, rules), say)
    pair.finish()
    return _with_notes(judge_pair(pair, rules), pair, looks)


def train_until_decided(
    pair: Interleaved, looks: Looks, judged: Callable[[], Comparison], say: Say
) -> None:
    """Train from look to look; a case that is decided is not trained further.

    A case that is decided may become undecided again, as the others' verdicts come in (they are
    corrected for each other), and is then trained on.
    """
    undecided = pair.case_ids
    for repeats in looks.schedule:
        pair.train_to(repeats, undecided)
        if pair.out_of_time or repeats == looks.max_repeats:
            return  # this look is the caller's
        found = judged().cases
        undecided = [case.id for case in found if not is_decided(case)]
        say(f"after {repeats} repeats a side: {_progress(found, undecided)}")
        if not undecided:
            return


def is_decided(case: CaseVerdicts) -> bool:
    """Whether more repeats would change nothing that gates."""
    gating = [metric for metric in case.metrics.values() if metric.gates]
    return all(metric.verdict != "inconclusive" for metric in gating)


def judge_pair(pair: Interleaved, rules: Rules) -> Comparison:
    """The two sides as they stand.

    Raises:
        UsageError: nothing has been trained.
    """
    if not any(pair.trainings) and not any(record.cases for record in pair.records):
        raise UsageError("the time was up before anything was trained: give it more --max-minutes")
    (a, b), (a_path, b_path) = pair.records, pair.paths
    return judge(Side.of(a, _shown(a_path)), Side.of(b, _shown(b_path)), rules)


def _shown(path: Path) -> str:
    """A path as people would write it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _progress(found: tuple[CaseVerdicts, ...], undecided: list[str]) -> str:
    verdicts = ", ".join(f"{case.id} {case.verdict}" for case in found if is_decided(case))
    if not undecided:
        return f"every case is decided ({verdicts})"
    decided = f" ({verdicts})" if verdicts else ""
    return f"{len(found) - len(undecided)} of {len(found)} cases decided{decided}"


def _with_notes(comparison: Comparison, pair: Interleaved, looks: Looks) -> Comparison:
    """Say how it was looked at, and what there was no time for."""
    schedule = ", ".join(map(str, looks.schedule))
    notes = [
        f"looked at after {schedule} repeats a side where still undecided; each interval holds "
        f"{100 * looks.confidence:.4g} %, so that all looks together hold "
        f"{100 * looks.overall_confidence:.4g} %"
    ]
    if len(looks.schedule) == 1:
        notes = [f"looked at once, after up to {schedule} repeats a side"]
    if pair.untrained:
        notes.append(f"no time was left to train {', '.join(pair.untrained)}")
    return comparison.model_copy(update={"notes": (*comparison.notes, *notes)})
