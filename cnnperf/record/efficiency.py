"""How much faster several devices train than one of the same run.

Efficiency is a metric of a repeat: its images per second, over the number of devices and the images
per second of one device in the repeat with the same seed and precision. A pair has the noise of
both, so the spread of the pairs is that of the efficiency, and it is judged, shown and kept as any
other metric.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.record.schema import CaseRecord


def add_efficiency(cases: Sequence[CaseRecord]) -> None:
    """Set `scaling_efficiency` in the repeats on several devices, where it is known."""
    alone = {_trained(case): case for case in cases if case.devices == 1}
    for case in cases:
        reference = alone.get(_trained(case))
        if case.devices is None or reference is None or case is reference:
            continue
        rates = {
            (each.seed, each.precision): each.metrics.images_per_second
            for each in reference.repeats
        }
        for place, repeat in enumerate(case.repeats):
            one, many = rates.get((repeat.seed, repeat.precision)), repeat.metrics.images_per_second
            if one and many:
                found = {"scaling_efficiency": many / (case.devices * one)}
                metrics = repeat.metrics.model_copy(update=found)
                case.repeats[place] = repeat.model_copy(update={"metrics": metrics})


def _trained(case: CaseRecord) -> tuple[object, ...]:
    """Return what a case and its one-device reference have in common."""
    what = (case.model, case.dataset, case.resolution, case.recipe, case.engine, case.suite)
    return (*what, case.shortened)
