"""Estimate the least time that a case's training can take on this device.

    cnnperf floors modified_vgg-mnist-28-fast --record reports/run.json

A training needs at least its FLOPs over the peak of a large matrix product, and at least its bytes
over the bandwidth of a large copy. The larger of these two floors is a lower bound of its time,
under the assumptions of `cnnperf.models.cost`. One worker measures both ceilings.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cnnperf.catalog.engines import ENGINES
from cnnperf.catalog.registry import get_dataset
from cnnperf.catalog.specs import WORTHWHILE, Case
from cnnperf.machine.flags import missing_bfloat16_units
from cnnperf.record.messages import Ceiling, ModelFacts, ProbeResult
from cnnperf.record.schema import CaseRecord

BYTES_PER_ELEMENT = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}
"""Size of activations, gradients and weights as they are multiplied, by precision."""

ADAM_BYTES_PER_PARAMETER = 24
"""Reads and writes of weight, mean and variance in float32, without the gradient."""

BFLOAT16_ENGINES = frozenset(name for name, spec in ENGINES.items() if spec.bfloat16)


class Work(NamedTuple):
    """What is trained while the clock runs."""

    images: int
    steps: int
    validations: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Medians over a case's repeats in a record."""

    repeats: int
    train_seconds: float
    mfu: float | None
    matmul_flops_per_second: float | None = None
    """Peak measured during the recorded run, in the precision of the training."""


@dataclass(frozen=True, kw_only=True)
class CaseFloors:
    """The least time of a case's whole training; None if its model cannot be counted."""

    id: str
    precision: str
    flops_per_epoch: float | None
    """Training and validation."""
    bytes_per_step: float | None
    largest_tensor_bytes: float | None
    """Largest tensor of a step; a cache that holds it may save moving it."""
    flop_floor_seconds: float | None
    byte_floor_seconds: float | None
    measured: Measured | None
    matmul_flops_per_second: float | None = None
    """Ceiling of the FLOP floor."""

    @property
    def floor_seconds(self) -> float | None:
        """The larger of the two floors."""
        if self.flop_floor_seconds is None or self.byte_floor_seconds is None:
            return None
        return max(self.flop_floor_seconds, self.byte_floor_seconds)

    @property
    def bound(self) -> str | None:
        """The kind of the larger floor: `FLOPs` or `bytes`."""
        if self.floor_seconds is None:
            return None
        return "FLOPs" if self.floor_seconds == self.flop_floor_seconds else "bytes"

    @property
    def share(self) -> float | None:
        """The larger floor over the measured time; 1 is as fast as possible."""
        if self.measured is None or self.floor_seconds is None or not self.measured.train_seconds:
            return None
        return self.floor_seconds / self.measured.train_seconds


def case_floors(
    case: Case,
    probed: ProbeResult,
    *,
    measured: Measured | None = None,
    precision: str | None = None,
) -> CaseFloors:
    """Compute both floors of a case.

    Args:
        case: with the recipe that is, or was, trained.
        probed: a worker's answer to a probe with `floors`.
        measured: medians of a record.
        precision: precision of the training; None for the one that the engine would choose.
    """
    precision = precision or expected_precision(case, probed.matmul_ceilings)
    facts = next(each for each in probed.models if each.case_id == case.id)
    work = planned_work(case)
    epoch = Work(images=get_dataset(case.dataset).train_images, steps=0, validations=1)
    flops = _flops(case, facts, work)
    moved = _least_bytes(case, facts, BYTES_PER_ELEMENT.get(precision, 4), work)
    here = probed.environment
    emulated = precision == "bfloat16" and missing_bfloat16_units(here.hardware, here.settings)
    # Emulation multiplies in float32; the ceiling of bfloat16 is then that of a slow fallback.
    peak = probed.matmul_ceilings.get("float32" if emulated else precision)
    copy = probed.copy_ceiling
    return CaseFloors(
        id=case.id,
        precision=precision,
        flops_per_epoch=_flops(case, facts, epoch),
        bytes_per_step=moved and moved.per_step,
        largest_tensor_bytes=moved and moved.largest_tensor,
        flop_floor_seconds=flops / peak.best if flops is not None and peak else None,
        byte_floor_seconds=moved.total / copy.best if moved and copy else None,
        measured=measured,
        matmul_flops_per_second=peak.best if peak else None,
    )


def planned_work(case: Case) -> Work:
    """Count what a recipe trains: whole epochs, each validated, or a sample without validation."""
    recipe, images = case.recipe, get_dataset(case.dataset).train_images
    steps_per_epoch = recipe.steps_per_epoch(images)
    steps = recipe.epochs * steps_per_epoch
    if recipe.max_steps is not None:
        steps = min(steps, recipe.max_steps)
    epochs, rest = divmod(steps, steps_per_epoch)
    per_epoch = min(images, steps_per_epoch * recipe.batch_size)
    trained = epochs * per_epoch + rest * recipe.batch_size
    return Work(images=trained, steps=steps, validations=0 if recipe.is_sample else recipe.epochs)


def expected_precision(case: Case, ceilings: Mapping[str, Ceiling]) -> str:
    """Predict the precision in which an engine multiplies on the device of these ceilings.

    `fast` decides by the time of its own steps, so a close call may go the other way.
    """
    plain = "tf32" if "tf32" in ceilings else "float32"
    if case.engine in BFLOAT16_ENGINES:
        return "bfloat16"
    if case.engine != "fast" or case.precision == "float32":
        return plain
    if case.precision == "bfloat16":
        return "bfloat16"
    reduced = ceilings.get("bfloat16")
    is_faster = reduced is not None and reduced.best > WORTHWHILE * ceilings[plain].best
    return "bfloat16" if is_faster else plain


def _flops(case: Case, facts: ModelFacts, work: Work) -> float | None:
    training, forward = facts.training_flops_per_image, facts.forward_flops_per_image
    if training is None or forward is None:
        return None
    validated = work.validations * get_dataset(case.dataset).val_images
    return work.images * training + validated * forward


class _LeastBytes(NamedTuple):
    per_step: float
    """A step of a whole batch."""
    largest_tensor: float
    total: float
    """The whole training with its validations."""


def _least_bytes(
    case: Case, facts: ModelFacts, element_bytes: int, work: Work
) -> _LeastBytes | None:
    """Compute how many bytes the training must move; None if the model cannot be counted.

    A validation reads the weights at least once, however large its batches are.
    """
    traffic, dataset, batch_size = facts.traffic, get_dataset(case.dataset), case.recipe.batch_size
    if traffic is None or facts.parameters is None:
        return None
    image = dataset.channels * case.resolution**2 * dataset.bytes_per_value
    train_image = traffic.training_elements_per_image * element_bytes + 2 * image
    optimizer = facts.parameters * (ADAM_BYTES_PER_PARAMETER + element_bytes)
    train_step = traffic.training_elements_per_step * element_bytes + optimizer
    validate_image = traffic.forward_elements_per_image * element_bytes + image
    weights = traffic.forward_elements_per_pass * element_bytes
    validation = dataset.val_images * validate_image + weights
    return _LeastBytes(
        per_step=batch_size * train_image + train_step,
        largest_tensor=traffic.largest_elements_per_image * element_bytes * batch_size,
        total=work.images * train_image + work.steps * train_step + work.validations * validation,
    )


def measured_of(case: CaseRecord, peaks: Mapping[str, float] | None = None) -> Measured | None:
    """Return a recorded case's medians; None if no repeat finished.

    Args:
        case: a case of a record.
        peaks: FLOP/s by precision, measured during the recorded run.
    """
    seconds, mfus = case.values("train_seconds"), case.values("mfu")
    if not seconds:
        return None
    return Measured(
        repeats=len(seconds),
        train_seconds=statistics.median(seconds),
        mfu=statistics.median(mfus) if mfus else None,
        matmul_flops_per_second=(peaks or {}).get(case.repeats[0].precision or ""),
    )


def fit_into_cache(floors: Iterable[CaseFloors], cache_bytes: int | None) -> list[CaseFloors]:
    """Return the cases whose largest tensor fits into the cache; their byte floor is not strict."""
    return [
        each
        for each in floors
        if cache_bytes is not None
        and each.largest_tensor_bytes is not None
        and each.largest_tensor_bytes <= cache_bytes
    ]
