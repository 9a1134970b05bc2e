"""Which kind of work a slowdown came from: the profiled steps of two sides, class by class.

Torch-free. It explains and gates nothing. A profile is a few steps with the profiler's own cost in
them, and its repeats differ: what their spread could have made is told with that doubt.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import get_args

from cnnperf.compare.verdicts import CaseVerdicts, ClassChange, KernelChange, ProfileChange
from cnnperf.record.metrics import format_latency
from cnnperf.record.schema import CaseRecord, KernelClass, Profile

MAX_KERNELS = 5

MAX_CLASSES_TOLD = 3
MOST = 0.8
"""Classes are named until they make this much of what moved in the direction of the step."""

MAX_KERNELS_TOLD = 2
WORTH_TELLING = 0.1
"""Of the step's change: a kernel that moved by less explains little."""

MAX_NAME = 60
"""Characters of a kernel's name in a sentence."""

Kernel = tuple[str, KernelClass]


def profile_change(base: CaseRecord, new: CaseRecord) -> ProfileChange | None:
    """How a step's time changed by class; None unless both sides have a profile."""
    first, second = _profiles(base), _profiles(new)
    if not first or not second:
        return None
    steps = [[profile.seconds_per_step for profile in side] for side in (first, second)]
    before, after = map(statistics.median, steps)
    slower = after >= before
    classes = [_class_change(each, first, second) for each in get_args(KernelClass)]
    return ProfileChange(
        n_base=len(first),
        n_new=len(second),
        base=before,
        new=after,
        spread=_spread(*steps),
        classes=tuple(sorted(classes, key=lambda each: each.new - each.base, reverse=slower)),
        kernels=tuple(_kernel_changes(first, second)),
    )


def _profiles(case: CaseRecord) -> list[Profile]:
    return [repeat.profile for repeat in case.repeats if repeat.profile is not None]


def _spread(*sides: Sequence[float]) -> float:
    return max(max(side) - min(side) for side in sides)


def _class_change(
    kernel_class: KernelClass, base: Sequence[Profile], new: Sequence[Profile]
) -> ClassChange:
    sides = [
        [profile.seconds_per_step_by_class.get(kernel_class, 0.0) for profile in side]
        for side in (base, new)
    ]
    before, after = map(statistics.median, sides)
    return ClassChange(kernel_class=kernel_class, base=before, new=after, spread=_spread(*sides))


# --- kernels ------------------------------------------------------------------------------------


def _kernel_changes(base: Sequence[Profile], new: Sequence[Profile]) -> list[KernelChange]:
    """The kernels that moved most, or that one side alone has among its longest."""
    before, after = _kernels(base), _kernels(new)
    found = [
        KernelChange(name=kernel[0], kernel_class=kernel[1],
                     base=before.get(kernel), new=after.get(kernel))
        for kernel in {**before, **after}
    ]  # fmt: skip
    unlisted = _unlisted(base), _unlisted(new)
    moved = sorted(found, key=lambda each: -abs(_moved(each, unlisted)))
    return [each for each in moved if _moved(each, unlisted)][:MAX_KERNELS]


def _kernels(profiles: Sequence[Profile]) -> dict[Kernel, float]:
    """Seconds per step: the median over the profiles that list it."""
    seconds: dict[Kernel, list[float]] = {}
    for profile in profiles:
        for each in profile.longest_kernels:
            seconds.setdefault((each.name, each.kernel_class), []).append(each.seconds_per_step)
    return {kernel: statistics.median(values) for kernel, values in seconds.items()}


def _unlisted(profiles: Sequence[Profile]) -> float:
    """The most that a kernel may take without being among a side's longest."""
    return max(
        (min(each.seconds_per_step for each in profile.longest_kernels)
         for profile in profiles if profile.longest_kernels),
        default=0.0,
    )  # fmt: skip


def _moved(kernel: KernelChange, unlisted: tuple[float, float]) -> float:
    """By how many seconds at least; 0 where it may not have moved."""
    if kernel.base is None:
        return max(0.0, (kernel.new or 0.0) - unlisted[0])
    if kernel.new is None:
        return min(0.0, unlisted[1] - kernel.base)
    return kernel.new - kernel.base


# --- in words -----------------------------------------------------------------------------------


def tell_profile(case: CaseVerdicts) -> str | None:
    """A sentence where something in the case is not the same, and both sides have profiles."""
    unchanged = all(metric.verdict == "same" for metric in case.metrics.values())
    if case.profile is None or unchanged:
        return None
    moved = case.profile.new - case.profile.base
    told = describe(case.profile)
    if (case.verdict == "slower" and moved <= 0) or (case.verdict == "faster" and moved >= 0):
        return f"{told}; so the profiled steps do not show why it is {case.verdict}"
    return told


def describe(change: ProfileChange) -> str:
    """One sentence for people: the step, the classes that account for it, and how sure that is."""
    moved = change.new - change.base
    step = f"profiled step {format_latency(change.base)} -> {format_latency(change.new)}"
    if not moved:
        return step
    leading = list(_leading(change))
    parts = [f"{step}: {', '.join(_class_words(each, moved) for each in leading)}"]
    parts += _kernel_words(change)
    parts += _doubts(change, leading)
    return "; ".join(parts)


def _leading(change: ProfileChange) -> Iterator[ClassChange]:
    """The classes that account for most of the change, the first always."""
    sign = 1 if change.new >= change.base else -1
    along = [each for each in change.classes if sign * (each.new - each.base) > 0]
    most = MOST * sum(abs(each.new - each.base) for each in along)
    told = 0.0
    for each in along[:MAX_CLASSES_TOLD]:
        yield each
        told += abs(each.new - each.base)
        if told >= most:
            return


def _class_words(each: ClassChange, moved: float) -> str:
    difference = each.new - each.base
    name = each.kernel_class.replace("_", " ")
    return f"{name} {_signed(difference)} ({100 * difference / moved:.0f} % of it)"


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{format_latency(abs(seconds))}"


def _kernel_words(change: ProfileChange) -> list[str]:
    """The kernels that moved most in the direction of the step, or came or went."""
    moved = change.new - change.base
    told = []
    for each in change.kernels:
        difference = (each.new or 0.0) - (each.base or 0.0)
        if difference / moved >= WORTH_TELLING:
            told.append(each)
    return [_one_kernel(each) for each in told[:MAX_KERNELS_TOLD]]


def _one_kernel(each: KernelChange) -> str:
    name = each.name if len(each.name) <= MAX_NAME else each.name[: MAX_NAME - 1] + "…"
    if each.base is None:
        return f"{name} is new among the longest ({format_latency(each.new or 0.0)})"
    if each.new is None:
        return f"{name} is no more among the longest ({format_latency(each.base)})"
    return f"{name} {format_latency(each.base)} -> {format_latency(each.new)}"


def _doubts(change: ProfileChange, leading: Sequence[ClassChange]) -> Iterator[str]:
    """What keeps this from being more than a hint."""
    if min(change.n_base, change.n_new) == 1:
        yield "a hint only: one side has a single profile"
    elif change.spread >= abs(change.new - change.base):
        spread = format_latency(change.spread)
        yield f"a hint only: the step differs as much between repeats of one side ({spread})"
    elif leading and leading[0].spread >= abs(leading[0].new - leading[0].base):
        first = leading[0]
        name, spread = first.kernel_class.replace("_", " "), format_latency(first.spread)
        yield f"a hint only: {name} differs as much between repeats of one side ({spread})"
