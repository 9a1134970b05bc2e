"""What a comparison of two records comes to: the models that are shown, exported and acted on.

Torch-free. `cnnperf.compare.judge` fills them; everything that prints reads only these.

    comparison = judge(load_side([Path("base.json")]), load_side([Path("new.json")]))
    print(comparison.verdict, comparison.exit_code)
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from cnnperf.record.schema import KernelClass

Verdict = Literal[
    "same",
    "faster",
    "slower",
    "better",
    "worse",
    "inconclusive",
    "missing",
    "failed",
    "not comparable",
    "shortened",
]
"""Of one metric of one case. `missing`: base has it and new has not."""

Summary = Literal["no regression", "regression", "not comparable", "inconclusive"]
"""Of a whole comparison."""

REGRESSIONS: frozenset[Verdict] = frozenset({"slower", "worse", "missing", "failed"})
IMPROVEMENTS: frozenset[Verdict] = frozenset({"faster", "better"})

SEVERITY: tuple[Verdict, ...] = (
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
)
"""What is to be read first comes first."""

EXIT_OK = 0
EXIT_REGRESSION = 1
EXIT_NOT_COMPARABLE = 3
EXIT_INCONCLUSIVE = 4


class Model(BaseModel):
    """Base of every model here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="null", defer_build=True
    )


class MetricVerdict(Model):
    """One metric of one case, judged."""

    verdict: Verdict
    gates: bool
    """Whether a regression here, if it is one, makes the whole comparison one."""
    base: float | None = None
    """Median over base's repeats; None where it has no value."""
    new: float | None = None
    n_base: int = 0
    """Values that the verdict rests on."""
    n_new: int = 0
    ratio: float | None = None
    """Estimate of new over base, for what is compared by ratio."""
    difference: float | None = None
    """Estimate of new less base, for accuracy and F1; a fraction, so 0.01 is one point."""
    low: float | None = None
    """Lower end of the interval of ratio or difference; None where it has no end."""
    high: float | None = None
    confidence: float = 0.95
    """Of the interval from low to high."""
    threshold: float
    """The smallest change that counts: of a ratio as a fraction (0.03 is 3 %), or a difference."""
    floor: float | None = None
    """What new must reach, whatever base has."""
    p_value: float | None = None
    """That a regression is mere chance, corrected for the number of cases (Holm)."""
    paired: bool = False
    """By seed."""
    rules_out_regression: bool = False
    """Whether new is certainly not worse by more than the threshold; so of `same` and of a change
    that can only be one for the better."""
    repeats_needed: int | None = None
    """Of an inconclusive verdict: repeats a side that would probably settle it."""
    reason: str | None = None
    """One clause, where the verdict needs it."""

    @property
    def is_regression(self) -> bool:
        """Whether it fails a gate."""
        return self.gates and self.verdict in REGRESSIONS


class Contamination(Model):
    """Repeats of a case during which something else disturbed the machine."""

    base: int = 0
    new: int = 0
    dropped: bool = False
    """Whether they were left out of the verdicts."""
    kinds: tuple[str, ...] = ()
    """Of their warnings, as in `throttled`."""


class Drift(Model):
    """How the losses of two trainings with one seed compare, step by step."""

    seed: int
    steps: int
    """Steps that both have."""
    first_difference_step: int | None = None
    """From 1; None where all are identical to the last bit."""
    base_loss: float | None = None
    """At that step."""
    new_loss: float | None = None
    largest_difference: float = 0.0
    """Over all steps that both have."""
    base_alone_steps: int = 0
    """Further steps that only base has; there is nothing to compare them with."""
    new_alone_steps: int = 0

    def describe(self, sides: tuple[str, str] = ("base", "new")) -> str:
        """One clause for people, by the sides' names."""
        alone = self._alone(sides)
        if self.first_difference_step is None:
            steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
            return f"seed {self.seed}: losses of {steps} identical{alone}"
        assert self.base_loss is not None
        assert self.new_loss is not None
        return (
            f"seed {self.seed}: losses first differ at step {self.first_difference_step} of "
            f"{self.steps} by {self.new_loss - self.base_loss:+.3g} "
            f"(at most {self.largest_difference:.3g} in any step){alone}"
        )

    def _alone(self, sides: tuple[str, str]) -> str:
        """A clause on the steps that one side alone has."""
        for side, steps in zip(sides, (self.base_alone_steps, self.new_alone_steps), strict=True):
            if steps:
                return f"; only {side} has the {steps} after them"
        return ""


class ClassChange(Model):
    """One class of work in the profiled steps of both sides, seconds per step."""

    kernel_class: KernelClass
    base: float
    """Median over base's profiles."""
    new: float
    spread: float
    """Largest less smallest profile, of the side where that is more."""


class KernelChange(Model):
    """One kernel in the profiled steps of both sides, seconds per step."""

    name: str
    kernel_class: KernelClass
    base: float | None
    """None where it is not among base's longest."""
    new: float | None


class ProfileChange(Model):
    """Where the profiled steps of two sides differ; it gates nothing."""

    n_base: int
    """Profiles that it rests on."""
    n_new: int
    base: float
    """Seconds per profiled step, median over base's profiles."""
    new: float
    spread: float
    """Largest less smallest profile, of the side where that is more."""
    classes: tuple[ClassChange, ...]
    """All of them; what moved most in the direction of the step first."""
    kernels: tuple[KernelChange, ...] = ()
    """Those among the longest that moved most, five at most, the most first."""


class CaseVerdicts(Model):
    """One case of base or of both, judged."""

    id: str
    verdict: Verdict
    """The gravest of its gating metrics, or of the case as a whole (`missing`, `failed`)."""
    reason: str | None = None
    """One clause, where the case as a whole was judged, or could not be."""
    metrics: dict[str, MetricVerdict] = {}
    contamination: Contamination = Contamination()
    drift: tuple[Drift, ...] = ()
    """Empty unless both records have the losses of every step."""
    profile: ProfileChange | None = None
    """None unless both records have profiles of it."""

    @property
    def is_regression(self) -> bool:
        """Whether it fails the gate."""
        if not self.metrics:
            return self.verdict in ("missing", "failed")
        return any(metric.is_regression for metric in self.metrics.values())


class EnvironmentChange(Model):
    """One field in which the two environments differ."""

    field: str
    """As in `software.torch`."""
    base: str
    """As a table shows it; several values where base's files differ among themselves."""
    new: str
    forbids: bool = False
    """Whether, unless it was asked for, cases must not be compared across it."""


class Comparison(Model):
    """Two sides, judged."""

    verdict: Summary
    exit_code: int
    summary: str
    """One line for people."""
    sides: tuple[str, str] = ("base", "new")
    """What base and new are called where they are shown."""
    base_files: tuple[str, ...]
    new_files: tuple[str, ...]
    cases: tuple[CaseVerdicts, ...] = ()
    """In base's order."""
    new_cases: tuple[str, ...] = ()
    """Ids of cases that only new has; they gate nothing."""
    environment_changes: tuple[EnvironmentChange, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know beside: a calibration that was used, seeds that do not match."""
