"""The models, recipes and cases that cnnperf brings: the report's five rows and their kin.

`pytest benchmarks --collect-only -q` lists the cases of a tier, `cnnperf list` all of them.
The report is "Exploring Deep Networks for Image Classification: A Comparative Study of VGG,
ResNet, and a Custom Architecture".
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnperf.catalog.specs import (
    Augmentation,
    Case,
    Choice,
    Engine,
    ModelSpec,
    Precision,
    Recipe,
    Suite,
    Tier,
)

BUILTIN_MODELS = (
    ModelSpec(
        name="vgg16",
        builder="cnnperf.models.vgg:build_vgg16",
        resolution=224,
        min_resolution=32,
        channels=(3, 1),
    ),
    ModelSpec(
        name="resnet34",
        builder="cnnperf.models.resnet:build_resnet34",
        resolution=224,
        min_resolution=32,
        channels=(3, 1),
    ),
    ModelSpec(
        name="modified_vgg",
        builder="cnnperf.models.vgg:build_modified_vgg",
        resolution=28,
        min_resolution=8,
        channels=(1, 3),
    ),
    ModelSpec(
        name="modified_resnet",
        builder="cnnperf.models.resnet:build_modified_resnet",
        resolution=28,
        min_resolution=8,
        channels=(1, 3),
    ),
)

REPORT = Recipe(name="report")
"""The report's training: 10 epochs, mini-batches of 128, Adam at 1e-3, cross-entropy."""

BRIEF = Recipe(name="brief", epochs=4, batch_size=32)
"""The report's training in 4 epochs, so that the smoke tier stays a matter of minutes.

The batches are smaller because digits has few images: 9 batches of 128 an epoch leave the running
statistics of batch norm far behind the weights, and validation accuracy at 30 % after 4 epochs.
"""

SAMPLE = Recipe(name="sample", epochs=1, batch_size=8, max_steps=4)
"""Four steps of 8 images: how fast, not how well. For the 224-pixel models in the smoke tier."""

ONE_STEP = Recipe(name="onestep", epochs=1, batch_size=8, max_steps=1)
"""One step of 8 images: next to no training, so that what is left is the suite's own time."""

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
"""The report's training with the remedy that it proposes for overfitting on CIFAR-10: rotation,
scaling, cropping and elastic deformation.

It names no strengths. These are usual for small images: windows moved by up to an eighth of a side,
as those cut out of CIFAR-10 with 4 pixels of padding are, and elastic displacements of 1 pixel,
root mean square.
"""

REPORT30 = REPORT.model_copy(update={"name": "report30", "epochs": 30})
AUGMENTED30 = AUGMENTED.model_copy(update={"name": "augmented30", "epochs": 30})
"""Both for 30 epochs: images that are never the same twice are learned more slowly."""

PEERS = Recipe(name="peers", epochs=3)
"""The report's training in 3 epochs, enough to compare loops: other people's take the longer."""

INFER = BRIEF.model_copy(update={"name": "infer"})
INFER_SAMPLE = SAMPLE.model_copy(update={"name": "infersample"})
"""`brief` and `sample` once more, before inference is measured: a model that has learned where
accuracy is to be compared, and at 224 pixels, where that would take long, one that is only fast."""

SWEEP_BATCHES = (32, 128, 512, 2048)
SWEEPS = {size: Recipe(name=f"batch{size}", epochs=1, batch_size=size) for size in SWEEP_BATCHES}
"""One epoch in batches of another size: where on its range a device is at home."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        *SWEEPS.values(),
        REPORT,
        BRIEF,
        SAMPLE,
        ONE_STEP,
        AUGMENTED,
        REPORT30,
        AUGMENTED30,
        PEERS,
        INFER,
        INFER_SAMPLE,
    )
}

ENGINES: tuple[Engine, ...] = ("eager", "fast")

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
COMPILED: dict[Choice, str] = {"off": "uncompiled", "on": "compiled"}

SMALL_PEERS: tuple[Engine, ...] = (
    "fast", "eager", "plain", "amp", "lightning", "lightning_bf16", "accelerate",
    "accelerate_bf16",
)  # fmt: skip
LARGE_PEERS: tuple[Engine, ...] = ("fast", "eager", "plain", "amp", "timm", "lightning_bf16")
"""At 224 pixels a loop's own cost is lost in the arithmetic, but timm has these models."""


def _cases(
    dataset: str,
    recipe: Recipe,
    tiers: tuple[Tier, ...],
    engines: tuple[Engine, ...] = ENGINES,
    suite: Suite = "train",
    **resolutions: int,
) -> tuple[Case, ...]:
    return tuple(
        Case(
            model=model,
            dataset=dataset,
            resolution=pixels,
            recipe=recipe,
            engine=engine,
            suite=suite,
            tiers=tiers,
        )
        for model, pixels in resolutions.items()
        for engine in engines
    )


def _sweep(model: str, resolution: int, batches: tuple[int, ...]) -> tuple[Case, ...]:
    """A model on MNIST in every precision, with and without compiling, for several batch sizes."""
    return tuple(
        Case(
            model=model,
            dataset="mnist",
            resolution=resolution,
            recipe=SWEEPS[size],
            engine="fast",
            precision=precision,
            compile=choice,
            variant=f"{precision}_{name}",
            suite="sweep",
        )
        for size in batches
        for precision in PRECISIONS
        for choice, name in COMPILED.items()
    )


BUILTIN_CASES = (
    *_cases("digits", REPORT, ("smoke", "full"), modified_vgg=28),
    *_cases("digits", BRIEF, ("smoke", "full"), modified_resnet=28),
    *_cases("digits", SAMPLE, ("smoke", "full"), ("eager",), resnet34=224, vgg16=224),
    *_cases("mnist", REPORT, ("standard", "full"), modified_vgg=28, modified_resnet=28),
    *_cases("cifar10", REPORT, ("standard", "full"), modified_vgg=28),
    *_cases("mnist", REPORT, ("standard", "full"), resnet34=224, vgg16=224),
    *_cases("cifar10", REPORT, ("full",), modified_resnet=28, resnet34=224, vgg16=224),
    *_cases("digits", REPORT, ("full",), modified_resnet=28),
    *_cases("digits", SAMPLE, ("full",), ("fast",), resnet34=224, vgg16=224),
    *_cases("cifar10", AUGMENTED, ("full",), modified_vgg=28, modified_resnet=28),
    *_cases("cifar10", REPORT30, ("full",), ("fast",), modified_vgg=28),
    *_cases("cifar10", AUGMENTED30, ("full",), ("fast",), modified_vgg=28),
    *_cases("synthetic", BRIEF, ("full",), modified_vgg=28, modified_resnet=28),
    *_cases("synthetic", SAMPLE, ("full",), resnet34=224, vgg16=224),
    *_cases("digits", PEERS, ("full",), SMALL_PEERS, "peers", modified_vgg=28),
    *_cases("mnist", PEERS, ("full",), SMALL_PEERS, "peers", modified_vgg=28, modified_resnet=28),
    *_cases("mnist", PEERS, ("full",), LARGE_PEERS, "peers", resnet34=224, vgg16=224),
    *_cases("digits", INFER, ("full",), ("fast",), "infer", modified_vgg=28, modified_resnet=28),
    *_cases("mnist", INFER, ("full",), ("fast",), "infer", modified_vgg=28, modified_resnet=28),
    *_cases("digits", INFER_SAMPLE, ("full",), ("fast",), "infer", resnet34=224, vgg16=224),
    *_sweep("modified_vgg", 28, SWEEP_BATCHES),
    *_sweep("modified_resnet", 28, SWEEP_BATCHES),
    *_sweep("resnet34", 224, SWEEP_BATCHES[:3]),
    *_sweep("vgg16", 224, SWEEP_BATCHES[:3]),
    *_cases("synthetic", ONE_STEP, ("full",), suite="harness", modified_vgg=28),
)


@dataclass(frozen=True, kw_only=True)
class ReportedResult:
    """A row of the report's table; its GPU is unknown."""

    train_seconds: float | None
    test_accuracy: float
    test_f1: float


REPORTED = {
    ("vgg16", "mnist"): ReportedResult(train_seconds=3460, test_accuracy=0.986, test_f1=0.985),
    ("resnet34", "mnist"): ReportedResult(train_seconds=2815, test_accuracy=0.992, test_f1=0.991),
    ("modified_vgg", "mnist"): ReportedResult(
        train_seconds=199, test_accuracy=0.990, test_f1=0.990
    ),
    ("modified_resnet", "mnist"): ReportedResult(
        train_seconds=235, test_accuracy=0.989, test_f1=0.989
    ),
    ("modified_vgg", "cifar10"): ReportedResult(
        train_seconds=None, test_accuracy=0.55, test_f1=0.547
    ),
}


def reported(model: str, dataset: str, recipe: str) -> ReportedResult | None:
    """What the report measured for this training, or None where it has no such row."""
    return REPORTED.get((model, dataset)) if recipe == REPORT.name else None
