"""Read a trace of torch's profiler: what ran, when, and for which kind of work.

The file is the one that TensorBoard and Perfetto open, so the record agrees with them, and tests
can write traces by hand. The format is Chrome's trace event format; times are microseconds.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnperf.record.schema import KernelClass
from cnnperf.training.profiling.kernels import class_of_kernel, class_of_operator

DATA_WAIT = "enumerate(DataLoader)#cnnperf::data_wait.__next__"
"""Name of the host's wait for the next batch, with and without a DataLoader. torch-tb-profiler
recognises its start and its end."""

STEP = "ProfilerStep#"
"""Start of the event that torch's profiler writes for each call of its `step`."""

HOST_CATEGORIES = ("cpu_op", "user_annotation")
DEVICE_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")

Event = dict[str, Any]


@dataclass(slots=True)
class Slice:
    """An operator or kernel that ran from `start` to `end`, in microseconds."""

    name: str
    start: float
    end: float
    kernel_class: KernelClass
    children: list[Slice] = field(default_factory=list)
    """Operators that it called in the same thread, in order."""


@dataclass(slots=True)
class _Operator(Slice):
    """An operator on the host, with classes from its name and from the operators around it."""

    own: KernelClass | None = None
    """Class of the innermost operator whose name has one."""
    servant: bool = False
    """Whether a class around it has priority over its own."""
    region: KernelClass | None = None
    """The optimizer's step or the wait for data around it; it applies to everything inside."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Everything that ran in the profiled steps."""

    start: float
    end: float
    """End of the last step; the profile lasts from `start` to here."""
    threads: list[list[Slice]]
    """Outermost operators of the host, by thread; the training thread is first."""
    kernels: list[Slice]
    """Kernels and copies on the device."""
    waits: list[Slice]
    """The host's waits for data."""


def read_events(path: Path) -> list[Event]:
    """Return all events of a trace file.

    Raises:
        ValueError: the file is not a trace.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        content = json.load(file)
    if not isinstance(content, dict) or "traceEvents" not in content:
        raise ValueError(f"{path.name} has no traceEvents")
    events: list[Event] = content["traceEvents"]
    return events


def parse_trace(events: Iterable[Event]) -> Trace:
    """Nest and classify the events.

    Raises:
        ValueError: the trace has no marked step.
    """
    complete = [event for event in events if event.get("ph") == "X"]
    steps = [event for event in complete if _is_step(event)]
    if not steps:
        raise ValueError("no step is marked in the trace")
    by_thread: dict[tuple[Any, Any], list[Event]] = defaultdict(list)
    for event in complete:
        if event.get("cat") in HOST_CATEGORIES and not _is_step(event):
            by_thread[event.get("pid"), event.get("tid")].append(event)
    trains = steps[0].get("pid"), steps[0].get("tid")
    operators: dict[int, _Operator] = {}
    threads = [
        _nest(by_thread[thread], operators)
        for thread in sorted(by_thread, key=lambda thread: thread != trains)
    ]
    return Trace(
        start=min(float(step["ts"]) for step in steps),
        end=max(_end(step) for step in steps),
        threads=threads,
        kernels=[_kernel(e, operators) for e in complete if e.get("cat") in DEVICE_CATEGORIES],
        waits=[each for thread in threads for each in _named(thread, DATA_WAIT)],
    )


def _is_step(event: Event) -> bool:
    is_annotation = event.get("cat") == "user_annotation"
    return is_annotation and str(event.get("name")).startswith(STEP)


def _end(event: Event) -> float:
    return float(event["ts"]) + float(event.get("dur", 0))


def _nest(events: list[Event], operators: dict[int, _Operator]) -> list[Slice]:
    """Return a thread's outermost operators, which hold the operators that they called.

    `operators` is filled with those that kernels may refer to, by external id.
    """
    outermost: list[Slice] = []
    open_ones: list[_Operator] = []
    for event in sorted(events, key=lambda event: (float(event["ts"]), -_end(event))):
        start, end = float(event["ts"]), _end(event)
        while open_ones and open_ones[-1].end <= start:
            open_ones.pop()
        parent = open_ones[-1] if open_ones else None
        operator = _operator(str(event["name"]), start, end, parent)
        (outermost if parent is None else parent.children).append(operator)
        open_ones.append(operator)
        external_id = _arguments(event).get("External id")
        if external_id is not None and event["cat"] == "cpu_op":
            operators[external_id] = operator
    return outermost


def _operator(name: str, start: float, end: float, parent: _Operator | None) -> _Operator:
    own, servant = class_of_operator(name)
    region: KernelClass | None = "data_wait" if name == DATA_WAIT else None
    if own == "optimizer":
        region = "optimizer"
    if parent is not None:
        end = min(end, parent.end)  # times are rounded by a nanosecond
        region = parent.region or region
        if parent.own is not None and (own is None or (servant and not parent.servant)):
            own, servant = parent.own, parent.servant
    kernel_class = region or own or "other"
    return _Operator(name, start, end, kernel_class, own=own, servant=servant, region=region)


def _kernel(event: Event, operators: dict[int, _Operator]) -> Slice:
    """Classify a kernel by the operator that launched it, or else by its own name."""
    name = str(event["name"])
    launcher = operators.get(_arguments(event).get("External id", -1))
    kernel_class = class_of_kernel(name)
    if launcher is not None and launcher.region == "optimizer":
        kernel_class = "optimizer"
    elif launcher is not None and (not launcher.servant or kernel_class == "other"):
        kernel_class = launcher.own or kernel_class
    return Slice(name, float(event["ts"]), _end(event), kernel_class)


def _arguments(event: Event) -> dict[str, Any]:
    arguments = event.get("args")
    return arguments if isinstance(arguments, dict) else {}


def _named(slices: Iterable[Slice], name: str) -> Iterator[Slice]:
    for each in slices:
        if each.name == name:
            yield each
        else:
            yield from _named(each.children, name)
