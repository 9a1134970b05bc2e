"""Drift of losses: the first step at which two trainings with one seed differ.

Noise in times and accuracies hides a small change of the mathematics. Losses of deterministic
trainings have no noise, so they are compared to the last bit: a difference of one rounding has a
cause, and grows.
"""

from __future__ import annotations

from cnnperf.compare.verdicts import Drift
from cnnperf.record.schema import CaseRecord


def drifts(base: CaseRecord, new: CaseRecord) -> tuple[Drift, ...]:
    """Compare the losses of each seed that both sides have, in the order of base.

    If a side has several such repeats of one seed, its first counts.
    """
    first, second = losses_by_seed(base), losses_by_seed(new)
    return tuple(drift(seed, first[seed], second[seed]) for seed in first if seed in second)


def losses_by_seed(case: CaseRecord) -> dict[int, list[float]]:
    """Return the losses of the first repeat of each seed that has them."""
    found: dict[int, list[float]] = {}
    for repeat in case.repeats:
        if repeat.step_losses:
            found.setdefault(repeat.seed, repeat.step_losses)
    return found


def drift(seed: int, base: list[float], new: list[float]) -> Drift:
    """Compare the losses of the steps that both trainings have."""
    pairs = list(zip(base, new, strict=False))
    differing = [step for step, (one, other) in enumerate(pairs, start=1) if one != other]
    first = differing[0] if differing else None
    base_loss, new_loss = pairs[first - 1] if first is not None else (None, None)
    return Drift(
        seed=seed,
        steps=len(pairs),
        first_difference_step=first,
        base_loss=base_loss,
        new_loss=new_loss,
        largest_difference=max((abs(other - one) for one, other in pairs), default=0.0),
        base_alone_steps=len(base) - len(pairs),
        new_alone_steps=len(new) - len(pairs),
    )
