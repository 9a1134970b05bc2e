"""The result of a comparison as models. `cnnperf.compare.judge` makes them; all outputs read them.

comparison = judge(load_side([Path("base.json")]), load_side([Path("new.json")]))
print(comparison.verdict, comparison.exit_code)
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from cnnperf.record.metrics import Better
from cnnperf.record.schema import KernelClass

Across = Literal["hardware", "software"]
"""What may differ between the sides, if the user allows it."""

Verdict = Literal[
    "failed",
    "missing",
    "worse",
    "slower",
    "not comparable",
    "inconclusive",
    "shortened",
    "faster",
    "better",
    "same",
]
"""Verdict on one metric of one case, in the order of `SEVERITY`. `missing`: only base has it."""

Summary = Literal["no regression", "regression", "not comparable", "inconclusive"]
"""Verdict on a whole comparison."""

REGRESSIONS: frozenset[Verdict] = frozenset({"slower", "worse", "missing", "failed"})
IMPROVEMENTS: frozenset[Verdict] = frozenset({"faster", "better"})

SEVERITY: tuple[Verdict, ...] = get_args(Verdict)
"""Verdicts, the most important to read first."""

EXIT_OK = 0
EXIT_REGRESSION = 1
EXIT_NOT_COMPARABLE = 3
EXIT_INCONCLUSIVE = 4


class Model(BaseModel):
    """Base of all models of this module."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="null", defer_build=True
    )


class MetricVerdict(Model):
    """One metric of one case, judged."""

    verdict: Verdict
    gates: bool
    """Whether a regression of this metric fails the whole comparison."""
    base: float | None = None
    """Median over the repeats of base; None where it has no value."""
    new: float | None = None
    n_base: int = 0
    """Values of base that the verdict is based on."""
    n_new: int = 0
    ratio: float | None = None
    """Estimate of new over base, for metrics compared by ratio."""
    difference: float | None = None
    """Estimate of new minus base, for accuracy, F1 and a quality of the user's. Of a fraction 0.01
    is one point."""
    low: float | None = None
    """Lower end of the interval of ratio or difference; None where it is unbounded."""
    high: float | None = None
    confidence: float = 0.95
    """Confidence of the interval from low to high."""
    threshold: float
    """Smallest change that counts: of a ratio as a fraction (0.03 is 3 %), or a difference."""
    floor: float | None = None
    """Value that new must reach, whatever base has."""
    unit: str | None = None
    """Unit of a quality of the user's, and of its difference; None for cnnperf's own metrics."""
    better: Better | None = None
    """Direction of an improvement."""
    p_value: float | None = None
    """Chance of such values without a regression, adjusted for the number of cases (Holm)."""
    paired: bool = False
    """Whether values were paired, by seed or by device."""
    rules_out_regression: bool = False
    """Whether new is certainly not worse by more than the threshold."""
    repeats_needed: int | None = None
    """Repeats a side that would probably settle an inconclusive verdict."""
    reason: str | None = None
    """One clause, where the verdict needs an explanation."""

    @property
    def is_regression(self) -> bool:
        """Whether it fails a gate."""
        return self.gates and self.verdict in REGRESSIONS


class Contamination(Model):
    """Repeats of a case that something else on the machine disturbed."""

    base: int = 0
    new: int = 0
    dropped: bool = False
    """Whether the verdicts leave them out."""
    kinds: tuple[str, ...] = ()
    """Kinds of their warnings, such as `throttled`."""


class Drift(Model):
    """Comparison of the losses of two trainings with one seed, step by step."""

    seed: int
    steps: int
    """Steps that both trainings have."""
    first_difference_step: int | None = None
    """Counted from 1; None where all losses are identical to the last bit."""
    base_loss: float | None = None
    """Loss at that step."""
    new_loss: float | None = None
    largest_difference: float = 0.0
    """Largest difference over all steps that both trainings have."""
    base_alone_steps: int = 0
    """Further steps that only base has."""
    new_alone_steps: int = 0

    def describe(self, sides: tuple[str, str] = ("base", "new")) -> str:
        """Return one clause for people, with the names of the sides."""
        more = zip(sides, (self.base_alone_steps, self.new_alone_steps), strict=True)
        alone = "".join(f"; {side} has {steps} more steps" for side, steps in more if steps)
        if self.first_difference_step is None:
            steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
            return f"seed {self.seed}: losses of {steps} identical{alone}"
        apart = (self.new_loss or 0.0) - (self.base_loss or 0.0)
        return (
            f"seed {self.seed}: losses first differ at step {self.first_difference_step} of "
            f"{self.steps} by {apart:+.3g} "
            f"(at most {self.largest_difference:.3g} in any step){alone}"
        )


class ClassChange(Model):
    """One class of work in the profiled steps of both sides, in seconds per step."""

    kernel_class: KernelClass
    base: float
    """Median over the profiles of base."""
    new: float
    spread: float
    """Largest minus smallest profile, on the side where that is more."""


class KernelChange(Model):
    """One kernel in the profiled steps of both sides, in seconds per step."""

    name: str
    kernel_class: KernelClass
    base: float | None
    """None where it is not among the longest of base."""
    new: float | None


class ProfileChange(Model):
    """Where the profiled steps of two sides differ; it does not gate."""

    n_base: int
    """Profiles of base."""
    n_new: int
    base: float
    """Seconds per profiled step, median over the profiles of base."""
    new: float
    spread: float
    """Largest minus smallest profile, on the side where that is more."""
    classes: tuple[ClassChange, ...]
    """All classes, the one that moved most in the direction of the step first."""
    kernels: tuple[KernelChange, ...] = ()
    """The longest kernels that moved most, five at most, the largest move first."""


class CaseVerdicts(Model):
    """One case of base or of both, judged."""

    id: str
    verdict: Verdict
    """The first by `SEVERITY` of its gating metrics, or the verdict on the whole case."""
    reason: str | None = None
    """One clause, where the whole case was judged or could not be."""
    metrics: dict[str, MetricVerdict] = {}
    contamination: Contamination = Contamination()
    drift: tuple[Drift, ...] = ()
    """Empty unless both records have the losses of every step."""
    profile: ProfileChange | None = None
    """None unless both records have profiles of the case."""

    @property
    def is_regression(self) -> bool:
        """Whether it fails the gate."""
        if not self.metrics:
            return self.verdict in ("missing", "failed")
        return any(metric.is_regression for metric in self.metrics.values())


class EnvironmentChange(Model):
    """One field in which the two environments differ."""

    field: str
    """Such as `software.torch`."""
    base: str
    """As a table shows it; several values where the files of base differ."""
    new: str
    forbids: bool = False
    """Whether it forbids a comparison, because --across did not allow it."""


class Comparison(Model):
    """Two sides, judged."""

    verdict: Summary
    exit_code: int
    summary: str
    """One line for people."""
    sides: tuple[str, str] = ("base", "new")
    """Names of base and new."""
    base_files: tuple[str, ...]
    new_files: tuple[str, ...]
    cases: tuple[CaseVerdicts, ...] = ()
    """In the order of base."""
    new_cases: tuple[str, ...] = ()
    """Ids of cases that only new has; they do not gate."""
    environment_changes: tuple[EnvironmentChange, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks, such as a calibration that was used or seeds that do not match."""
