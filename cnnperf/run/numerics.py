"""Train a case twice for a few steps, deterministically, to find wrong arithmetic.

One device cannot know whether its results are right. `cnnperf fleet judge` compares them with those
of equal devices; two trainings tell a passing fault, which does not come back, from a lasting one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnnperf.catalog.specs import Case
from cnnperf.record.messages import TrainJob
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import Repeat
from cnnperf.run.plan import DETERMINISTIC_CHOICE, AnyPlanned, PlannedCase, is_deterministic
from cnnperf.run.session import RunSession

STEPS = 50
"""Most steps of a training. A wrong bit stays in the weights, so that the last ones show it."""

TRAININGS = 2


def check_numerics(run: RunSession, planned: AnyPlanned) -> None:
    """Train, unless a resumed journal has the results, and keep losses and weights in the record.

    Raises:
        OutOfTimeError: as in `RunSession.repeat`.
        WorkerError: a training failed.
    """
    record = run.cases[planned.id]
    if record.numerics or not isinstance(planned, PlannedCase) or not is_deterministic(planned):
        return
    changes = {"deterministic": True, "shortened": True, "repeats": 1, **_short(planned)}
    short, settings = planned.model_copy(update=changes), replace(run.settings, profile=None)
    found = []
    for number in range(1, TRAININGS + 1):
        side = f"numerics {number}/{TRAININGS}"
        with run.repeat(short, planned.first_seed, settings, side) as training:
            training.prepare()
            training.train()
            repeat = training.finish()
        run.display.finish(repeat)
        found.append(numerics_of(repeat))
    record.numerics = found


def short_job(job: TrainJob) -> TrainJob:
    """Return the job of a check from that of a repeat."""
    assert isinstance(job.case, Case)
    case = job.case.model_copy(update=_short(job.case))
    return job.model_copy(update={"case": case, "deterministic": True, "profile_dir": None})


def _short(case: Case) -> dict[str, Any]:
    """Return what changes: a few steps, nothing that a time decides, and no inference."""
    steps = min(STEPS, case.recipe.max_steps or STEPS)
    choices = {
        name: choice
        for name, choice in DETERMINISTIC_CHOICE.items()
        if case.engine == "fast" and getattr(case, name) == "auto"
    }
    recipe = case.recipe.model_copy(update={"max_steps": steps})
    return {**choices, "recipe": recipe, "suite": "train"}


def numerics_of(repeat: Repeat) -> NumericsTraining:
    """Return what is kept of a training of the check."""
    return NumericsTraining(
        seed=repeat.seed,
        step_losses=repeat.step_losses or [],
        weights_sha256=repeat.weights_sha256,
    )
