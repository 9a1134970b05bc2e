"""How fast could a case be trained on this device at best, and how near does a record come?

    cnnperf floors modified_vgg-mnist-28-fast --record reports/run.json

Torch-free arithmetic. A training must do its arithmetic, which takes at least its FLOPs over the
peak of a large matrix product, and it must move its data, which takes at least its bytes over the
bandwidth of a large copy. No way of executing it is faster than the larger of the two, under the
assumptions of `cnnperf.models.memory_traffic`; a worker measures both ceilings in the same call.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cnnperf.catalog.registry import get_dataset
from cnnperf.catalog.specs import ENGINES, WORTHWHILE, Case, DatasetSpec
from cnnperf.record.messages import Ceiling, ModelFacts, ProbeResult, Traffic
from cnnperf.record.schema import CaseRecord

BYTES_PER_ELEMENT = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}
"""Of activations, gradients, and weights as they are multiplied."""

ADAM_BYTES_PER_PARAMETER = 24
"""Weight, mean and variance, float32, each read and written; the gradient is counted beside it."""

BFLOAT16_ENGINES = frozenset(name for name, spec in ENGINES.items() if spec.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much is trained on the clock."""

    images: int
    steps: int
    validations: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a record says of a case: medians over its repeats."""

    repeats: int
    train_seconds: float
    mfu: float | None
    matmul_flops_per_second: float | None = None
    """The peak that the record's own run measured, in the precision of the training."""


@dataclass(frozen=True, kw_only=True)
class CaseFloors:
    """The least time for one case's whole training; None where its model cannot be counted."""

    id: str
    precision: str
    flops_per_epoch: float | None
    """Training and validation."""
    bytes_per_step: float | None
    largest_tensor_bytes: float | None
    """Of a step: what is smaller than the cache need not be moved."""
    flop_floor_seconds: float | None
    byte_floor_seconds: float | None
    measured: Measured | None

    matmul_flops_per_second: float | None = None
    """The ceiling that the FLOP floor is of."""

    @property
    def floor_seconds(self) -> float | None:
        """The nearer of the two, which is the larger."""
        if self.flop_floor_seconds is None or self.byte_floor_seconds is None:
            return None
        return max(self.flop_floor_seconds, self.byte_floor_seconds)

    @property
    def bound(self) -> str | None:
        """What the nearer floor is made of."""
        if self.flop_floor_seconds is None or self.byte_floor_seconds is None:
            return None
        return "FLOPs" if self.flop_floor_seconds >= self.byte_floor_seconds else "bytes"

    @property
    def share(self) -> float | None:
        """Of the nearer floor in the measured time: 1 is as fast as can be."""
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
    """Both floors of a case.

    Args:
        case: with the recipe that is, or was, trained.
        probed: a worker's answer to a probe with `floors`.
        measured: of a record.
        precision: that was trained in; chosen as the engine would, where None.
    """
    precision = precision or expected_precision(case, probed.matmul_ceilings)
    facts = next(each for each in probed.models if each.case_id == case.id)
    dataset = get_dataset(case.dataset)
    flops = _Flops.of(facts, dataset)
    moved = Moved.of(case, facts, BYTES_PER_ELEMENT.get(precision, 4))
    work = planned_work(case)
    peak, copy = probed.matmul_ceilings.get(precision), probed.copy_ceiling
    batch = case.recipe.batch_size
    return CaseFloors(
        id=case.id,
        precision=precision,
        flops_per_epoch=flops.per_epoch if flops else None,
        bytes_per_step=moved.per_step(batch) if moved else None,
        largest_tensor_bytes=moved.largest_per_image * batch if moved else None,
        flop_floor_seconds=flops.of_work(work) / peak.best if flops and peak else None,
        byte_floor_seconds=moved.of_work(work, dataset) / copy.best if moved and copy else None,
        measured=measured,
        matmul_flops_per_second=peak.best if peak else None,
    )


def planned_work(case: Case) -> Work:
    """What a recipe trains: whole epochs, each validated; a sample stops, and is not validated."""
    recipe, images = case.recipe, get_dataset(case.dataset).train_images
    steps_per_epoch = -(-images // recipe.batch_size)
    if recipe.max_steps is None or recipe.max_steps >= recipe.epochs * steps_per_epoch:
        steps, trained = recipe.epochs * steps_per_epoch, recipe.epochs * images
    else:
        steps = recipe.max_steps
        epochs, rest = divmod(steps, steps_per_epoch)
        trained = epochs * images + rest * recipe.batch_size
    return Work(images=trained, steps=steps, validations=0 if recipe.is_sample else recipe.epochs)


def expected_precision(case: Case, ceilings: Mapping[str, Ceiling]) -> str:
    """What an engine multiplies in here, as far as the ceilings tell.

    `fast` decides by the time of its own steps, so it may decide otherwise where it is close.
    """
    plain = "tf32" if "tf32" in ceilings else "float32"
    reduced = ceilings.get("bfloat16")
    if case.engine in BFLOAT16_ENGINES:
        return "bfloat16"
    if case.engine != "fast" or case.precision == "float32":
        return plain
    if case.precision == "bfloat16":
        return "bfloat16"
    faster = reduced is not None and reduced.best > WORTHWHILE * ceilings[plain].best
    return "bfloat16" if faster else plain


@dataclass(frozen=True, kw_only=True)
class _Flops:
    """Arithmetic of a case."""

    training_per_image: float
    forward_per_image: float
    dataset: DatasetSpec

    @classmethod
    def of(cls, facts: ModelFacts, dataset: DatasetSpec) -> _Flops | None:
        training, forward = facts.training_flops_per_image, facts.forward_flops_per_image
        if training is None or forward is None:
            return None
        return cls(training_per_image=training, forward_per_image=forward, dataset=dataset)

    @property
    def per_epoch(self) -> float:
        return self.of_work(Work(images=self.dataset.train_images, steps=0, validations=1))

    def of_work(self, work: Work) -> float:
        validated = work.validations * self.dataset.val_images
        return work.images * self.training_per_image + validated * self.forward_per_image


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Bytes that a case's training moves at the least."""

    training_per_image: float
    training_per_step: float
    """Weights, their gradients, and the optimizer."""
    forward_per_image: float
    forward_per_pass: float
    largest_per_image: float

    @classmethod
    def of(cls, case: Case, facts: ModelFacts, element_bytes: int) -> Moved | None:
        """None where the model cannot be counted."""
        if facts.traffic is None or facts.parameters is None:
            return None
        traffic: Traffic = facts.traffic
        image_bytes = get_dataset(case.dataset).channels * case.resolution**2  # as uint8
        optimizer = facts.parameters * (ADAM_BYTES_PER_PARAMETER + element_bytes)
        return cls(
            training_per_image=traffic.training_elements_per_image * element_bytes
            + 2 * image_bytes,
            training_per_step=traffic.training_elements_per_step * element_bytes + optimizer,
            forward_per_image=traffic.forward_elements_per_image * element_bytes + image_bytes,
            forward_per_pass=traffic.forward_elements_per_pass * element_bytes,
            largest_per_image=traffic.largest_elements_per_image * element_bytes,
        )

    def per_step(self, batch_size: int) -> float:
        """Of a whole batch."""
        return batch_size * self.training_per_image + self.training_per_step

    def of_work(self, work: Work, dataset: DatasetSpec) -> float:
        """A validation reads the weights once at the least, however large its batches are."""
        validation = dataset.val_images * self.forward_per_image + self.forward_per_pass
        return (
            work.images * self.training_per_image
            + work.steps * self.training_per_step
            + work.validations * validation
        )


def measured_of(case: CaseRecord, peaks: Mapping[str, float] | None = None) -> Measured | None:
    """What a record says of a case; None where no repeat was finished.

    Args:
        case: of the record.
        peaks: that its run measured, FLOP/s by precision.
    """
    seconds, mfus = case.values("train_seconds"), case.values("mfu")
    if not seconds:
        return None
    return Measured(
        repeats=len(seconds),
        train_seconds=statistics.median(seconds),
        mfu=statistics.median(mfus) if mfus else None,
        matmul_flops_per_second=(peaks or {}).get(case.repeats[0].precision),
    )


def fit_into_cache(floors: Iterable[CaseFloors], cache_bytes: int | None) -> list[CaseFloors]:
    """Cases whose every tensor the device's cache can hold: their bytes are no strict bound."""
    return [
        each
        for each in floors
        if cache_bytes is not None
        and each.largest_tensor_bytes is not None
        and each.largest_tensor_bytes <= cache_bytes
    ]
