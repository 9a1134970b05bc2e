"""Train a case twice for a few steps, deterministically, to find wrong arithmetic.

One device cannot know whether its results are right. `cnnperf fleet judge` compares them with those
of equal devices; two trainings tell a passing fault, which does not come back, from a lasting one.
"""

from __future__ import annotations

from dataclasses import replace

from cnnperf.record.numerics import NumericsTraining
from cnnperf.run.plan import DETERMINISTIC_CHOICE, AnyPlanned, PlannedCase
from cnnperf.run.session import RunSession

STEPS = 50
"""Most steps of a training. A wrong bit stays in the weights, so that the last ones show it."""

TRAININGS = 2


def check_numerics(run: RunSession, planned: AnyPlanned) -> None:
    """Train, unless a resumed journal has the results, and keep losses and weights in the record.

    A loop of the user's need not be deterministic, and several devices add up in any order: they
    are left out.

    Raises:
        OutOfTimeError: as in `RunSession.repeat`.
        WorkerError: a training failed.
    """
    record = run.cases[planned.id]
    if record.numerics or not isinstance(planned, PlannedCase) or planned.devices is not None:
        return
    short, settings = short_case(planned), replace(run.settings, profile=None)
    found = []
    for number in range(1, TRAININGS + 1):
        side = f"numerics {number}/{TRAININGS}"
        with run.repeat(short, planned.first_seed, settings, side) as training:
            training.prepare()
            training.train()
            repeat = training.finish()
        run.display.finish(repeat)
        found.append(
            NumericsTraining(
                seed=repeat.seed,
                step_losses=repeat.step_losses or [],
                weights_sha256=repeat.weights_sha256,
            )
        )
    record.numerics = found


def short_case(planned: PlannedCase) -> PlannedCase:
    """Return the case with a few steps, trained deterministically and not followed by inference."""
    steps = min(STEPS, planned.recipe.max_steps or STEPS)
    changes = {
        name: choice
        for name, choice in DETERMINISTIC_CHOICE.items()
        if planned.engine == "fast" and getattr(planned, name) == "auto"
    }
    recipe = planned.recipe.model_copy(update={"max_steps": steps})
    own = {"recipe": recipe, "suite": "train", "deterministic": True, "shortened": True}
    return planned.model_copy(update={**changes, **own, "repeats": 1})
