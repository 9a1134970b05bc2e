"""Check whether training with one interpreter is slower or less accurate than with another.

    cnnperf ab --a venv-old/bin/python --b venv-new/bin/python -k digits

Both sides train in turns. After the repeats of the schedule the cases are judged, and only
undecided cases are trained further. The final verdict is the judgement of the two records.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Looks, Rules
from cnnperf.compare.verdicts import CaseVerdicts, Comparison
from cnnperf.errors import UsageError
from cnnperf.run.interleave import Interleaved

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much may be trained."""

    max_repeats: int
    """Most repeats of a case on each side."""
    max_minutes: float | None = None
    """Time after which no training is started; a training in progress is finished."""

    @property
    def looks(self) -> Looks:
        """Return the schedule of looks and their confidence."""
        return Looks(self.max_repeats)


def run_ab(pair: Interleaved, budget: Budget, rules: Rules, say: Say) -> Comparison:
    """Train until every case is decided or the budget is spent, and judge.

    The pair is opened but not trained; the caller closes it. The confidence of the rules is
    replaced by that of a look. `say` gets a line after each look.

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
    """Train from look to look, only the undecided cases.

    Verdicts are corrected for the number of cases, so a decided case can become undecided again
    and is then trained further.
    """
    undecided = pair.case_ids
    for repeats in looks.schedule:
        pair.train_to(repeats, undecided)
        if pair.out_of_time or repeats == looks.max_repeats:
            return  # the caller judges
        found = judged().cases
        undecided = [case.id for case in found if not is_decided(case)]
        say(f"after {repeats} repeats a side: {_progress(found, undecided)}")
        if not undecided:
            return


def is_decided(case: CaseVerdicts) -> bool:
    """Return whether no gating metric is inconclusive."""
    gating = [metric for metric in case.metrics.values() if metric.gates]
    return all(metric.verdict != "inconclusive" for metric in gating)


def judge_pair(pair: Interleaved, rules: Rules) -> Comparison:
    """Judge the two sides as they are now.

    Raises:
        UsageError: nothing has been trained.
    """
    if not any(pair.trainings) and not any(record.cases for record in pair.records):
        raise UsageError("the time was up before anything was trained: raise --max-minutes")
    (a, b), (a_path, b_path) = pair.records, pair.paths
    return judge(Side.of(a, _shown(a_path)), Side.of(b, _shown(b_path)), rules)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _progress(found: tuple[CaseVerdicts, ...], undecided: list[str]) -> str:
    verdicts = ", ".join(f"{case.id} {case.verdict}" for case in found if is_decided(case))
    if not undecided:
        return f"every case is decided ({verdicts})"
    decided = f" ({verdicts})" if verdicts else ""
    return f"{len(found) - len(undecided)} of {len(found)} cases decided{decided}"


def _with_notes(comparison: Comparison, pair: Interleaved, looks: Looks) -> Comparison:
    schedule = ", ".join(map(str, looks.schedule))
    notes = [
        f"judged after {schedule} repeats a side while undecided; the confidence of each interval "
        f"is {100 * looks.confidence:.4g} %, so that of all looks together is "
        f"{100 * looks.overall_confidence:.4g} %"
    ]
    if len(looks.schedule) == 1:
        notes = [f"judged once, after up to {schedule} repeats a side"]
    if pair.untrained:
        notes.append(f"no time was left for {', '.join(pair.untrained)}")
    return comparison.model_copy(update={"notes": (*comparison.notes, *notes)})
