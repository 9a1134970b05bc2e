"""What can be named: models, data sets, recipes and the cases made of them.

These are descriptions only: frozen, checked when made, free of torch. They cross the border
between the pytest process and the worker as JSON, so they are pydantic models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Tier = Literal["smoke", "standard", "full"]
TIERS: tuple[Tier, ...] = ("smoke", "standard", "full")

Engine = Literal[
    "eager", "fast", "plain", "amp", "lightning", "lightning_bf16", "accelerate",
    "accelerate_bf16", "timm",
]  # fmt: skip
"""How a case is executed: our two, then the peers that they are measured against."""

Precision = Literal["float32", "bfloat16"]
Choice = Literal["auto", "on", "off"]

WORTHWHILE = 1.05
"""What changes rounding, or takes time to compile, must make a step of `fast` this much faster."""

Suite = Literal["train", "peers", "sweep", "infer", "harness"]
"""Which benchmark module runs a case: `benchmarks/test_<suite>.py`."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
"""Parts of a case id: no dash, since dashes separate them."""

ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:callable`, imported in the worker only."""


class Spec(BaseModel):
    """Base of every description: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ModelSpec(Spec):
    """An architecture that cases can name."""

    name: Name
    builder: ImportPath
    """Called as `builder(num_classes=..., in_channels=..., resolution=...)`, returns a Module."""
    resolution: PositiveInt
    """Pixels a side of the input that the architecture was made for."""
    min_resolution: PositiveInt = 1
    """The smallest input, in pixels a side, that it can take."""
    channels: tuple[PositiveInt, ...] = (1, 3)
    """Input channels it can take; the first is what it gets when nobody asks."""


class DataFile(Spec):
    """One file of a data set as it lies on disk."""

    path: str
    """Relative to the data directory."""
    md5: str
    """As published by the data set's authors; a checksum, not a defence."""


class DatasetSpec(Spec):
    """A data set that cases can name."""

    name: Name
    loader: ImportPath
    """Called as `loader(data_dir)`, returns `cnnperf.training.data.RawImages`."""
    files: tuple[DataFile, ...] = ()
    """Files that must be there before a run; empty where the data come with a package."""
    channels: PositiveInt
    resolution: PositiveInt
    """Pixels a side of the images as published."""
    num_classes: PositiveInt = 10
    train_images: PositiveInt
    val_images: PositiveInt
    test_images: PositiveInt
    mean: tuple[float, ...]
    """Per channel, of pixels in 0..1."""
    std: tuple[float, ...]
    target_accuracy: float | None = None
    """Validation accuracy whose first crossing gives `time_to_accuracy_seconds`."""
    learnable: bool = True
    """False where labels are random: accuracy and F1 are then left out."""
    source: str
    """Where the data come from, for people."""
    downloadable: bool = False
    """Whether `cnnperf data` knows where to get it."""


class Augmentation(Spec):
    """How training images are changed at random, each time anew; the defaults change nothing.

    Pixels are those of the image that the model is fed.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Rotation by up to this angle, either way."""
    scale_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Enlarging or shrinking by up to this part of the size."""
    crop_shift_pixels: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Cropping: the window that is cut out moves by up to this much, each way along each side."""
    elastic_alpha_pixels: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Elastic deformation: each pixel moves by blurred noise from -1..1 times this.

    torchvision's `ElasticTransform` halves it: its `alpha` is twice this.
    """
    elastic_sigma_pixels: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    """Standard deviation of that blur: larger is smoother, and less far."""


class Recipe(Spec):
    """What is learned and how: everything that must be equal for two times to be comparable."""

    name: Name
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 128
    optimizer: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    loss: Literal["cross_entropy"] = "cross_entropy"
    augmentation: Augmentation | None = None
    """Of the training images alone; None leaves them as they are."""
    max_steps: PositiveInt | None = None
    """Stop after this many steps in all. Such a training is a sample: throughput only."""

    @property
    def is_sample(self) -> bool:
        """True where training stops too early for its accuracy to mean anything."""
        return self.max_steps is not None


class Case(Spec):
    """A model trained on a data set at a resolution, by a recipe, through an engine."""

    model: Name
    dataset: Name
    resolution: PositiveInt
    recipe: Recipe
    engine: Engine = "eager"
    precision: Literal["auto"] | Precision = "auto"
    """Of the `fast` engine's multiplications; `auto` measures which is faster."""
    compile: Choice = "auto"
    """Whether the `fast` engine compiles; `auto` does so where it pays."""
    variant: Name | None = None
    """What tells apart cases that differ in precision or compiling alone."""
    suite: Suite = "train"
    tiers: tuple[Tier, ...] = ("full",)

    @property
    def id(self) -> str:
        """The case's name everywhere; the recipe stands in it only when it is not `report`."""
        parts = [self.model, self.dataset, str(self.resolution)]
        if self.recipe.name != "report":
            parts.append(self.recipe.name)
        parts.append(self.engine)
        if self.variant is not None:
            parts.append(self.variant)
        return "-".join(parts)
