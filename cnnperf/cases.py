"""The models, recipes and cases that cnnperf brings: the report's five rows and their kin.

`pytest benchmarks --collect-only -q` lists the cases of a tier, `cnnperf list` all of them.
The report is "Exploring Deep Networks for Image Classification: A Comparative Study of VGG,
ResNet, and a Custom Architecture".
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnperf.specs import Case, Engine, ModelSpec, Recipe, Tier

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

RECIPES = {recipe.name: recipe for recipe in (REPORT, BRIEF, SAMPLE)}

ENGINES: tuple[Engine, ...] = ("eager", "fast")


def _cases(
    dataset: str,
    recipe: Recipe,
    tiers: tuple[Tier, ...],
    engines: tuple[Engine, ...] = ENGINES,
    **resolutions: int,
) -> tuple[Case, ...]:
    return tuple(
        Case(
            model=model,
            dataset=dataset,
            resolution=pixels,
            recipe=recipe,
            engine=engine,
            tiers=tiers,
        )
        for model, pixels in resolutions.items()
        for engine in engines
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
    *_cases("synthetic", BRIEF, ("full",), modified_vgg=28, modified_resnet=28),
    *_cases("synthetic", SAMPLE, ("full",), resnet34=224, vgg16=224),
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
