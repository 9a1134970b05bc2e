"""The measurements: each piece listed in PIECES is a few runs of `pytest benchmarks`."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from words import ROOT

SWITCHES_FILE = ROOT / "cnnperf" / "catalog" / "switches.py"


TINY = "modified_vgg-digits-28-brief-fast"
"""The case that --tiny trains where a step says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of `pytest benchmarks`, with its own record."""

    name: str
    select: str
    """Expression for -k."""
    dataset: str = "mnist"
    """Data set of its cases; without it, the step is left out."""
    module: str = "benchmarks/test_train.py"
    tier: str = "standard"
    repeats: int = 1
    more: tuple[str, ...] = ()
    profiled: bool = False
    switched_off: str | None = None
    """Value of CNNPERF_FAST_OFF; None leaves the variable as it is."""
    tiny: str = TINY
    """Expression for -k under --tiny, which tries everything on a CPU in minutes."""
    tiny_module: str | None = None
    """Module under --tiny, where `module` has no small case."""


def switch_names() -> list[str]:
    """Return the names of the optimisations of `fast`, read from its source without torch."""
    for node in ast.parse(SWITCHES_FILE.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SWITCHES":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{SWITCHES_FILE} has no SWITCHES")


def _switch_steps() -> tuple[Step, ...]:
    """Return a run with everything on, one without each optimisation, and the first one again.

    One epoch with its validation: 375 steps, and the evaluation that one switch is about.
    """
    off = {"base": "", **{f"without-{name}": name for name in switch_names()}, "base-again": ""}
    return tuple(
        Step(
            name=f"switches-{name}", select="mnist and fast", more=("--cnnperf-epochs=1",),
            switched_off=switch,
        )
        for name, switch in off.items()
    )  # fmt: skip


FAST_28 = Step(name="standard-fast-28", select="mnist and 28 and fast", repeats=5)

PIECES: dict[str, tuple[Step, ...]] = {
    "first": (
        Step(
            name="first", select="mnist and 28 and fast", more=("--cnnperf-limit-steps=100",),
        ),
    ),
    "once": (Step(name="once", select="mnist and fast", profiled=True),),
    "switches": _switch_steps(),
    "repeats": (FAST_28,),
    "eager": (
        Step(
            name="eager", select="mnist and eager", more=("--cnnperf-limit-steps=150",),
            profiled=True,
        ),
    ),
    "group": (
        Step(
            name="group", module="benchmarks/test_scaling.py", tier="full",
            select="mnist and 1device", tiny="digits and 1device and fast",
        ),
    ),
    "standard": (
        FAST_28,
        Step(name="standard-eager-224", select="mnist and 224 and eager"),
        Step(name="standard-fast-224", select="mnist and 224 and fast", repeats=3),
        Step(name="standard-eager-28", select="mnist and 28 and eager", repeats=3),
        Step(
            name="standard-fast-cifar10", select="cifar10 and fast", dataset="cifar10", repeats=5,
        ),
        Step(
            name="standard-eager-cifar10", select="cifar10 and eager", dataset="cifar10",
            repeats=3,
        ),
    ),
    "peers": (
        Step(
            name="peers-28", module="benchmarks/test_peers.py", select="mnist and 28", tier="full",
            repeats=3, tiny="digits and (fast or eager)",
        ),
        Step(
            name="peers-224", module="benchmarks/test_peers.py", select="mnist and 224",
            tier="full", more=("--cnnperf-epochs=1",), tiny="digits and plain",
        ),
    ),
    "tuning": (
        Step(
            name="sweep-28", module="benchmarks/test_sweep.py", select="modified", tier="full",
            tiny_module="benchmarks/test_train.py",
        ),
    ),
}  # fmt: skip
"""The pieces that train, by name."""

ALL = (
    "first", "graphs", "once", "floors", "switches", "repeats", "eager", "group", "tests",
    "standard", "floors", "calibrate", "peers", "tuning",
)  # fmt: skip
"""The order of `all`: what decides whether the rest means anything first, then by value."""

TESTED_FIRST = (
    "tests/training/test_cuda.py",
    "tests/training/test_fast.py",
    "tests/training/test_deterministic.py",
    "tests/training/test_cuda_memory.py",
    "tests/training/test_cuda_state.py",
)
"""Files of tests by value: graphs, engine `fast`, memory; the others follow by name."""

HELP = {
    "wheels": "download the packages for a machine without network (run this where there is one)",
    "check": "check that this machine can train: Python, torch, packages, GPU, data",
    "all": "everything below in this order, until the time is up or `fast` falls back",
    "first": "100 steps of each small MNIST case by fast: does it compile, capture, use bfloat16?",
    "graphs": "the tests of CUDA graphs",
    "once": "the four MNIST cases by fast, once, with profiles",
    "floors": "the least time of each case, by FLOPs and by bytes, beside what was measured",
    "switches": "one epoch of the four MNIST cases by fast, without each of its optimisations",
    "repeats": "five trainings of the small MNIST cases by fast",
    "eager": "150 steps of the four MNIST cases by eager, with profiles",
    "group": "one device by way of several: the launcher, NCCL, DistributedDataParallel",
    "tests": "all tests that need CUDA, file by file; a skipped one counts as failed",
    "standard": "the study's cases: fast 5 times (at 224 pixels 3), eager 3 times (at 224 once)",
    "calibrate": "A/A: ten trainings of each 28-pixel case in turns with ten more: their noise",
    "peers": "other training loops beside ours",
    "tuning": "each precision, compiled or not, by batch size",
}
