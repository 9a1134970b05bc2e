"""Cases whose training loop is the user's own, and the quality that they measure.

Nothing is assumed of such a training but the marks that it sets with `cnnperf.observe`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from cnnperf.catalog.specs import Case, ImportPath, Name, Spec, Tier

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
"""A name that Python takes as the name of an argument."""


class Quality(Spec):
    """One measure of how well a training has learned; the case says what counts as a loss."""

    name: MetricName
    """As `observe.result` reports it, such as `test_iou`."""
    better: Literal["higher", "lower"]
    """Direction of an improvement."""
    margin: PositiveFloat
    """Largest loss that does not count, in the metric's unit."""
    unit: Annotated[str, Field(pattern=r"^[^\s\x00-\x1f]{1,12}$")] = "1"
    """Shown behind a value; `1` for a plain number."""
    floor: float | None = None
    """A training that is worse than this has failed, whatever it is compared with."""
    gate: bool = True
    """Whether a loss fails a comparison."""


class LoopCase(Spec):
    """A training that the user wrote: a function, or a command.

    The function is called in the worker with a `cnnperf.observe.Run`. The command is started
    without a shell; `python` is the interpreter of the worker, and {seed}, {device} and {data_dir}
    are replaced.
    """

    name: Name
    trainer: ImportPath | None = None
    """`package.module:function`."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    clock: Literal["training", "process"] = "training"
    """What is timed: the block `observe.training`, or the whole command from start to exit."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Values for the training, which finds them in `Run.settings`."""
    quality: tuple[Quality, ...] = ()
    """What the training must report with `observe.result`, and how it is judged."""
    max_epochs: PositiveInt | None = None
    """Epochs after which `observe.epochs` ends; so do `observe.steps` after `max_steps` in all."""
    max_steps: PositiveInt | None = None
    variant: Name | None = None
    """Part of the id, for cases that differ only in settings."""
    changes: tuple[str, ...] = ()
    """Last parts of the id: what --cnnperf-set changed."""
    suite: Literal["train"] = "train"
    tiers: tuple[Tier, ...] = ("full",)

    @model_validator(mode="after")
    def _check_loop(self) -> LoopCase:
        if (self.trainer is None) == (self.command is None):
            raise ValueError("a training of your own has either a trainer or a command")
        if self.clock == "process" and self.command is None:
            raise ValueError("clock is process, but only a command is a process of its own")
        names = [each.name for each in self.quality]
        if len(names) != len(set(names)):
            raise ValueError(f"quality names {max(names, key=names.count)} twice")
        return self

    @property
    def engine(self) -> str:
        """What runs it, where the cases of cnnperf have their engine."""
        return "trainer" if self.command is None else "command"

    @property
    def id(self) -> str:
        """The name of the case everywhere."""
        parts = (self.name, self.variant, *self.changes)
        return "-".join(part for part in parts if part is not None)


AnyCase = Case | LoopCase
