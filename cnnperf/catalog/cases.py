"""The built-in models, recipes and cases, and the results of the study.

    cnnperf list                                # all cases
    pytest benchmarks --collect-only -q         # the cases of the tier that fits this machine

The tables in `benchmarks/test_*.py` name the same cases; a test compares them with this list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cnnperf.catalog.engines import OWN_ENGINES
from cnnperf.catalog.specs import (
    Augmentation,
    Case,
    Choice,
    ModelSpec,
    Precision,
    Recipe,
    Scaling,
    Suite,
    Tier,
)

BUILTIN_MODELS = tuple(
    ModelSpec(
        name=name,
        builder=f"cnnperf.models.{builder}",
        resolution=resolution,
        min_resolution=min_resolution,
        channels=channels,
    )
    for name, builder, resolution, min_resolution, channels in (
        ("vgg16", "vgg:build_vgg16", 224, 32, (3, 1)),
        ("resnet34", "resnet:build_resnet34", 224, 32, (3, 1)),
        ("modified_vgg", "vgg:build_modified_vgg", 28, 8, (1, 3)),
        ("modified_resnet", "resnet:build_modified_resnet", 28, 8, (1, 3)),
    )
)


class Cost(NamedTuple):
    """Size of a model at its own resolution and for 10 classes, and the arithmetic of an image."""

    parameters: int
    forward_flops_per_image: float
    training_flops_per_image: float


BUILTIN_COSTS = {
    ("vgg16", 3): Cost(134_309_962, 30_932_418_560, 92_623_847_424),
    ("resnet34", 3): Cost(21_289_802, 7_326_509_056, 21_743_499_264),
    ("modified_vgg", 1): Cost(585_066, 58_849_280, 176_096_256),
    ("modified_vgg", 3): Cost(585_642, 59_752_448, 177_902_592),
    ("modified_resnet", 1): Cost(4_902_090, 413_790_208, 1_240_467_456),
    ("modified_resnet", 3): Cost(4_903_242, 415_596_544, 1_244_080_128),
}
"""The cost of the models in the built-in cases, by model and channels of its images, so that a list
of them needs no torch. A test counts them again; a run always counts for itself."""

# --- recipes ------------------------------------------------------------------------------------

STUDY = Recipe(name="report")
"""The training of the study that cnnperf turns into a benchmark: 10 epochs, mini-batches of 128,
Adam at 1e-3, cross-entropy. Records and case ids (`report30`) hold the name `report`, so it stays.

"Exploring Deep Networks for Image Classification: A Comparative Study of VGG, ResNet, and a
Custom Architecture". It does not name its GPU.
"""

BRIEF = Recipe(name="brief", epochs=2, batch_size=32)
"""The study's training in 2 epochs, so that tier smoke takes a minute or two.

The batches are smaller because digits has few images: an epoch of 9 batches of 128 leaves the
running statistics of batch norm far behind the weights, and validation accuracy is 30 % after 4
epochs. In batches of 32, test accuracy is 96 to 99.7 % after 2 epochs (`fast`, both modified
models, n = 5 each).
"""

SAMPLE = Recipe(name="sample", epochs=1, batch_size=2, max_steps=4)
"""Four steps of 2 images, for the 224-pixel models in tier smoke: measures speed, not accuracy."""

ONE_STEP = Recipe(name="onestep", epochs=1, batch_size=8, max_steps=1)
"""One step of 8 images: nearly all of the time is the suite's own."""

AUGMENTED = Recipe(
    name="augmented",
    augmentation=Augmentation(
        rotation_degrees=15,
        scale_fraction=0.1,
        crop_shift_pixels=3.5,
        elastic_alpha_pixels=20,
        elastic_sigma_pixels=4,
    ),
)
"""The study's training with the remedy that it proposes for overfitting on CIFAR-10: rotation,
scaling, cropping and elastic deformation.

The study names no strengths. These are usual for small images: crops move by up to an eighth of a
side, as crops of CIFAR-10 with 4 pixels of padding do, and elastic displacements are 1 pixel (root
mean square).
"""

STUDY30 = STUDY.model_copy(update={"name": "report30", "epochs": 30})
AUGMENTED30 = AUGMENTED.model_copy(update={"name": "augmented30", "epochs": 30})
"""Both for 30 epochs: augmented images never repeat, so they take longer to learn."""

PEERS = Recipe(name="peers", epochs=3)
"""The study's training in 3 epochs, enough to compare the speed of training loops."""

INFER = BRIEF.model_copy(update={"name": "infer"})
INFER_SAMPLE = SAMPLE.model_copy(update={"name": "infersample"})
"""`brief` and `sample` before inference is measured: a trained model where accuracy is compared,
and at 224 pixels, where training takes long, only speed."""

SCALING = Recipe(name="scaling", epochs=2)
"""The study's training in 2 epochs, on one device and on several of them together."""

SWEEP_BATCHES = (32, 128, 512, 2048)
SWEEPS = {size: Recipe(name=f"batch{size}", epochs=1, batch_size=size) for size in SWEEP_BATCHES}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        *SWEEPS.values(),
        STUDY,
        BRIEF,
        SAMPLE,
        ONE_STEP,
        AUGMENTED,
        STUDY30,
        AUGMENTED30,
        PEERS,
        SCALING,
        INFER,
        INFER_SAMPLE,
    )
}

# --- cases --------------------------------------------------------------------------------------

SMALL = ("modified_vgg", "modified_resnet")
LARGE = ("resnet34", "vgg16")

SMALL_PEERS = (
    "fast", "eager", "plain", "amp", "lightning", "lightning_bf16", "accelerate",
    "accelerate_bf16",
)  # fmt: skip
LARGE_PEERS = ("fast", "eager", "plain", "amp", "timm", "lightning_bf16")
"""At 224 pixels a loop's own cost is lost in the arithmetic, but timm has these models."""

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
COMPILED: dict[Choice, str] = {"off": "uncompiled", "on": "compiled"}

_RESOLUTIONS = {spec.name: spec.resolution for spec in BUILTIN_MODELS}


def _cases(
    models: Sequence[str],
    dataset: str,
    recipe: Recipe,
    tier: Tier = "full",
    engines: Sequence[str] = OWN_ENGINES,
    suite: Suite = "train",
    **execution: Any,
) -> tuple[Case, ...]:
    """Combine models and engines; every case is in tier full, too."""
    return tuple(
        Case(
            model=model,
            dataset=dataset,
            resolution=_RESOLUTIONS[model],
            recipe=recipe,
            engine=engine,
            suite=suite,
            tiers=("full",) if tier == "full" else (tier, "full"),
            **execution,
        )
        for model in models
        for engine in engines
    )


def _sweep(model: str, batches: Sequence[int]) -> tuple[Case, ...]:
    """Combine batch sizes with each precision, compiled and not, for a model on MNIST."""
    return tuple(
        case
        for size in batches
        for precision in PRECISIONS
        for choice, name in COMPILED.items()
        for case in _cases(
            [model], "mnist", SWEEPS[size], engines=["fast"], suite="sweep",
            precision=precision, compile=choice, variant=f"{precision}_{name}",
        )
    )  # fmt: skip


DEVICES = (1, 2, 4, 8)


def _scaling(model: str, dataset: str, engines: Sequence[str]) -> tuple[Case, ...]:
    """Combine numbers of devices with both scalings; one device has only one."""
    groups: list[tuple[int, Scaling]] = [(DEVICES[0], "strong")]
    groups += [(count, scaling) for count in DEVICES[1:] for scaling in ("strong", "weak")]
    return tuple(
        case
        for count, scaling in groups
        for case in _cases(
            [model], dataset, SCALING, engines=engines, suite="scaling",
            devices=count, scaling=scaling,
        )
    )  # fmt: skip


BUILTIN_CASES = (
    *_cases(SMALL, "digits", BRIEF, "smoke"),
    *_cases(LARGE, "digits", SAMPLE, "smoke", ["eager"]),
    *_cases(SMALL, "mnist", STUDY, "standard"),
    *_cases(["modified_vgg"], "cifar10", STUDY, "standard"),
    *_cases(LARGE, "mnist", STUDY, "standard"),
    *_cases(["modified_resnet", *LARGE], "cifar10", STUDY),
    *_cases(SMALL, "digits", STUDY),
    *_cases(LARGE, "digits", SAMPLE, engines=["fast"]),
    *_cases(SMALL, "cifar10", AUGMENTED),
    *_cases(["modified_vgg"], "cifar10", STUDY30, engines=["fast"]),
    *_cases(["modified_vgg"], "cifar10", AUGMENTED30, engines=["fast"]),
    *_cases(SMALL, "synthetic", BRIEF),
    *_cases(LARGE, "synthetic", SAMPLE),
    *_cases(["modified_vgg"], "digits", PEERS, engines=SMALL_PEERS, suite="peers"),
    *_cases(SMALL, "mnist", PEERS, engines=SMALL_PEERS, suite="peers"),
    *_cases(LARGE, "mnist", PEERS, engines=LARGE_PEERS, suite="peers"),
    *_cases(SMALL, "digits", INFER, engines=["fast"], suite="infer"),
    *_cases(SMALL, "mnist", INFER, engines=["fast"], suite="infer"),
    *_cases(LARGE, "digits", INFER_SAMPLE, engines=["fast"], suite="infer"),
    *_sweep("modified_vgg", SWEEP_BATCHES),
    *_sweep("modified_resnet", SWEEP_BATCHES),
    *_sweep("resnet34", SWEEP_BATCHES[:3]),
    *_sweep("vgg16", SWEEP_BATCHES[:3]),
    *_scaling("modified_vgg", "digits", ("fast", "eager", "lightning", "accelerate")),
    *_scaling("modified_vgg", "mnist", ("fast", "eager")),
    *_scaling("resnet34", "mnist", ("fast",)),
    *_cases(["modified_vgg"], "synthetic", ONE_STEP, suite="harness"),
)

# --- the results of the study ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """One row of the study's table of results."""

    train_seconds: float | None
    test_accuracy: float
    """Fraction of the test images, 0 to 1; so is `test_f1`."""
    test_f1: float


STUDY_RESULTS = {
    ("vgg16", "mnist"): StudyResult(train_seconds=3460, test_accuracy=0.986, test_f1=0.985),
    ("resnet34", "mnist"): StudyResult(train_seconds=2815, test_accuracy=0.992, test_f1=0.991),
    ("modified_vgg", "mnist"): StudyResult(train_seconds=199, test_accuracy=0.990, test_f1=0.990),
    ("modified_resnet", "mnist"): StudyResult(
        train_seconds=235, test_accuracy=0.989, test_f1=0.989
    ),
    ("modified_vgg", "cifar10"): StudyResult(train_seconds=None, test_accuracy=0.55, test_f1=0.547),
}


def study_result(model: str, dataset: str | None, recipe: str | None) -> StudyResult | None:
    """Return what the study measured for this training; None if its table has no such row."""
    return STUDY_RESULTS.get((model, dataset or "")) if recipe == STUDY.name else None
