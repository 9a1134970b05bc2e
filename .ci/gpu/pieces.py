"""The measurements: each piece listed in PIECES is a few runs of `pytest benchmarks`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of `pytest benchmarks`, with its own record."""

    name: str
    select: str
    """Expression for -k."""
    module: str = "benchmarks/test_train.py"
    tier: str = "standard"
    repeats: int = 1
    more: tuple[str, ...] = ()
    tiny: str = "modified_vgg-digits-28-fast"
    """Expression for -k under --tiny, which tries everything on a CPU in minutes."""
    tiny_module: str = "benchmarks/test_train.py"


PIECES: dict[str, tuple[Step, ...]] = {
    "standard": (
        Step(name="standard-fast-28", select="28 and fast", repeats=5),
        Step(name="standard-eager-224", select="224 and eager", repeats=1),
        Step(name="standard-fast-224", select="224 and fast", repeats=3),
        Step(name="standard-eager-28", select="28 and eager", repeats=3),
    ),
    "profiles": (
        Step(name="profiles", select="fast or eager", more=("--cnnperf-limit-steps=200",)),
    ),
    "peers": (
        Step(
            name="peers-28", module="benchmarks/test_peers.py", select="mnist and 28", tier="full",
            repeats=3, tiny="digits and (fast or eager)", tiny_module="benchmarks/test_peers.py",
        ),
        Step(
            name="peers-224", module="benchmarks/test_peers.py", select="mnist and 224",
            tier="full", more=("--cnnperf-epochs=1",), tiny="digits and plain",
            tiny_module="benchmarks/test_peers.py",
        ),
    ),
    "tuning": (
        Step(
            name="sweep-28", module="benchmarks/test_sweep.py", select="28", tier="full",
        ),
    ),
}  # fmt: skip
HELP = {
    "wheels": "download the packages for a machine without network (run this where there is one)",
    "check": "check that this machine can train: Python, torch, packages, GPU, data",
    "tests": "all tests that need CUDA; a skipped one counts as failed",
    "standard": "the study's cases: fast 5 times (at 224 pixels 3), eager 3 times (at 224 once)",
    "floors": "the least time of each case, by FLOPs and by bytes, beside `standard`",
    "calibrate": "A/A: ten trainings of each 28-pixel case in turns with ten more: their noise",
    "profiles": "a profile of every standard case after 200 steps",
    "peers": "other training loops beside ours",
    "tuning": "each precision, compiled or not, by batch size",
}
