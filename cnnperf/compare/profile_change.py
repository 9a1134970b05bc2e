"""Explain which kind of work made a step slower or faster, from the profiles of both sides.

This gates nothing. A profile covers a few steps, includes the profiler's own cost, and varies
between repeats; a change within that variation is called a hint.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import get_args

from cnnperf.compare.verdicts import CaseVerdicts, ClassChange, KernelChange, ProfileChange
from cnnperf.record.metrics import format_latency
from cnnperf.record.schema import CaseRecord, KernelClass, Profile

MAX_KERNELS = 5
"""Kernels of a `ProfileChange`."""

MAX_CLASSES_NAMED = 3
MOST = 0.8
"""Classes are named until they make up this share of what moved in the direction of the step."""

MAX_KERNELS_NAMED = 2
MIN_KERNEL_SHARE = 0.1
"""A kernel is named if it moved by at least this share of the step's change."""

MAX_NAME = 60
"""Characters of a kernel's name in a sentence."""

Kernel = tuple[str, KernelClass]


def profile_change(base: CaseRecord, new: CaseRecord) -> ProfileChange | None:
    """Compare the step's time by class; None unless both sides have a profile."""
    sides = _profiles(base), _profiles(new)
    if not all(sides):
        return None
    before, after, spread = _medians(
        *([profile.seconds_per_step for profile in side] for side in sides)
    )
    classes = [_class_change(each, *sides) for each in get_args(KernelClass)]
    return ProfileChange(
        n_base=len(sides[0]),
        n_new=len(sides[1]),
        base=before,
        new=after,
        spread=spread,
        classes=tuple(sorted(classes, key=_seconds_moved, reverse=after >= before)),
        kernels=tuple(_kernel_changes(*sides)),
    )


def _profiles(case: CaseRecord) -> list[Profile]:
    return [repeat.profile for repeat in case.repeats if repeat.profile is not None]


def _medians(base: Sequence[float], new: Sequence[float]) -> tuple[float, float, float]:
    """Return both medians, and the larger of the two ranges."""
    spread = max(max(side) - min(side) for side in (base, new))
    return statistics.median(base), statistics.median(new), spread


def _class_change(
    kernel_class: KernelClass, base: Sequence[Profile], new: Sequence[Profile]
) -> ClassChange:
    before, after, spread = _medians(
        *([profile.seconds_per_step_by_class.get(kernel_class, 0.0) for profile in side]
          for side in (base, new))
    )  # fmt: skip
    return ClassChange(kernel_class=kernel_class, base=before, new=after, spread=spread)


def _seconds_moved(change: ClassChange | ProfileChange) -> float:
    return change.new - change.base


# --- kernels ------------------------------------------------------------------------------------


def _kernel_changes(base: Sequence[Profile], new: Sequence[Profile]) -> list[KernelChange]:
    """Return the kernels that moved most, those that only one side lists included."""
    before, after = _kernels(base), _kernels(new)
    found = [
        KernelChange(name=kernel[0], kernel_class=kernel[1],
                     base=before.get(kernel), new=after.get(kernel))
        for kernel in {**before, **after}
    ]  # fmt: skip
    unlisted = _unlisted(base), _unlisted(new)
    moved = sorted(found, key=lambda each: -abs(_least_moved(each, unlisted)))
    return [each for each in moved if _least_moved(each, unlisted)][:MAX_KERNELS]


def _kernels(profiles: Sequence[Profile]) -> dict[Kernel, float]:
    """Return each kernel's seconds per step: the median over the profiles that list it."""
    seconds: dict[Kernel, list[float]] = {}
    for profile in profiles:
        for each in profile.longest_kernels:
            seconds.setdefault((each.name, each.kernel_class), []).append(each.seconds_per_step)
    return {kernel: statistics.median(values) for kernel, values in seconds.items()}


def _unlisted(profiles: Sequence[Profile]) -> float:
    """Return the longest time that a kernel can have without being listed."""
    return max(
        (min(each.seconds_per_step for each in profile.longest_kernels)
         for profile in profiles if profile.longest_kernels),
        default=0.0,
    )  # fmt: skip


def _least_moved(kernel: KernelChange, unlisted: tuple[float, float]) -> float:
    """Return by how many seconds a kernel moved at least; 0 if it may not have moved."""
    if kernel.base is None:
        return max(0.0, (kernel.new or 0.0) - unlisted[0])
    if kernel.new is None:
        return min(0.0, unlisted[1] - kernel.base)
    return kernel.new - kernel.base


# --- in words -----------------------------------------------------------------------------------


def tell_profile(case: CaseVerdicts) -> str | None:
    """Explain a case with profiles; None if all of its metrics are the same."""
    if case.profile is None or all(each.verdict == "same" for each in case.metrics.values()):
        return None
    moved, told = _seconds_moved(case.profile), describe(case.profile)
    if (case.verdict == "slower" and moved <= 0) or (case.verdict == "faster" and moved >= 0):
        return f"{told}; so the profiled steps do not show why it is {case.verdict}"
    return told


def describe(change: ProfileChange) -> str:
    """Describe the step, the classes and kernels behind its change, and how certain that is."""
    moved = _seconds_moved(change)
    step = f"profiled step {format_latency(change.base)} -> {format_latency(change.new)}"
    if not moved:
        return step
    leading = list(_leading(change))
    shares = ", ".join(
        f"{_name(each)} {'-' if _seconds_moved(each) < 0 else '+'}"
        f"{format_latency(abs(_seconds_moved(each)))} "
        f"({100 * _seconds_moved(each) / moved:.0f} % of it)"
        for each in leading
    )
    kernels = [
        _kernel(each)
        for each in change.kernels
        if ((each.new or 0.0) - (each.base or 0.0)) / moved >= MIN_KERNEL_SHARE
    ]
    parts = [f"{step}: {shares}", *kernels[:MAX_KERNELS_NAMED], *_doubts(change, leading)]
    return "; ".join(parts)


def _leading(change: ProfileChange) -> Iterator[ClassChange]:
    """Yield the classes that make up most of the change, at least one."""
    sign = 1 if change.new >= change.base else -1
    along = [each for each in change.classes if sign * _seconds_moved(each) > 0]
    most = MOST * sum(abs(_seconds_moved(each)) for each in along)
    named = 0.0
    for each in along[:MAX_CLASSES_NAMED]:
        yield each
        named += abs(_seconds_moved(each))
        if named >= most:
            return


def _name(each: ClassChange) -> str:
    return each.kernel_class.replace("_", " ")


def _kernel(each: KernelChange) -> str:
    name = each.name if len(each.name) <= MAX_NAME else each.name[: MAX_NAME - 1] + "…"
    if each.base is None:
        return f"{name} is new among the longest ({format_latency(each.new or 0.0)})"
    if each.new is None:
        return f"{name} is no longer among the longest ({format_latency(each.base)})"
    return f"{name} {format_latency(each.base)} -> {format_latency(each.new)}"


def _doubts(change: ProfileChange, leading: Sequence[ClassChange]) -> Iterator[str]:
    """Yield the reason why this is no more than a hint, if there is one."""
    if min(change.n_base, change.n_new) == 1:
        yield "a hint only: one side has a single profile"
        return
    subjects: list[tuple[str, ClassChange | ProfileChange]] = [("the step", change)]
    subjects += [(_name(each), each) for each in leading[:1]]
    for name, each in subjects:
        if each.spread >= abs(_seconds_moved(each)):
            spread = format_latency(each.spread)
            yield f"a hint only: {name} varies as much between repeats of one side ({spread})"
            return
