"""Descriptions of models, data sets, recipes and the cases made of them.

They are frozen and checked when made. They pass between the pytest process and the worker as JSON,
so they are pydantic models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from cnnperf.catalog.engines import ENGINES
from cnnperf.errors import UsageError, describe_validation_error, one_of

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # its own name is private

Tier = Literal["smoke", "standard", "full"]


def _check_engine(name: str) -> str:
    if name not in ENGINES:
        raise ValueError(one_of("engine", name, ENGINES))
    return name


Engine = Annotated[str, AfterValidator(_check_engine)]
"""A name in `ENGINES`."""

Precision = Literal["float32", "bfloat16"]
Choice = Literal["auto", "on", "off"]

Scaling = Literal["strong", "weak"]
"""What several devices share: `strong` divides the recipe's batch among them, so that they train
the same; `weak` gives each of them the recipe's batch, so that a step has more images."""

WORTHWHILE = 1.05
"""Factor by which bfloat16 or compiling must speed up a step of `fast` before `auto` uses it."""

Suite = Literal["train", "peers", "sweep", "infer", "scaling", "harness"]
"""The benchmark module that runs a case: `benchmarks/test_<suite>.py`."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
"""A part of a case id; dashes separate the parts."""

LIBRARIES = ("torchvision", "timm")
"""Libraries whose models can be named, as in `torchvision/resnet18`."""

LibraryModel = Annotated[str, Field(pattern=rf"^({'|'.join(LIBRARIES)})/[A-Za-z0-9_.]+$")]


def _path_of(value: object) -> object:
    """Return where a function can be imported from; anything else stays as it is."""
    if not callable(value) or not hasattr(value, "__qualname__"):
        return value
    if not value.__qualname__.isidentifier():
        raise ValueError(
            f"{value.__qualname__} cannot be imported: give a function at the top of a module"
        )
    return f"{value.__module__}:{value.__qualname__}"


ImportPath = Annotated[
    str, BeforeValidator(_path_of), Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
]
"""`package.module:callable`, or the function itself; only the worker imports it."""


class _OneSentence(ModelMetaclass):
    """Makes a wrong description in a user's code one sentence, not a page of pydantic's."""

    def __call__(self, *args: Any, **fields: Any) -> Any:
        """Make a description; parts of a whole that is validated come another way."""
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            raise UsageError(f"{self.__name__}: {describe_validation_error(error)}") from None


class Spec(BaseModel, metaclass=_OneSentence):
    """Base of every description: frozen, its numbers finite, and an unknown field is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,
        use_attribute_docstrings=True,
    )


class ModelSpec(Spec):
    """An architecture that cases can name."""

    name: Name | LibraryModel
    builder: ImportPath | LibraryModel
    """Called as `builder(num_classes=..., in_channels=..., resolution=..., **arguments)`; returns a
    Module. Or a model of a library, such as `torchvision/resnet18`."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the builder."""
    resolution: PositiveInt = 224
    """Side of the input that the architecture was designed for, in pixels."""
    min_resolution: PositiveInt = 1
    """Side of the smallest input that it accepts, in pixels."""
    channels: tuple[PositiveInt, ...] = (1, 3)
    """Numbers of input channels that it accepts, the preferred one first. A model of a library is
    fitted to the images."""


class DataFile(Spec):
    """One file of a data set on disk."""

    path: str
    """Relative to the data directory."""
    md5: str
    """A checksum against damage, not against attackers."""


class DatasetSpec(Spec):
    """A data set that cases can name."""

    name: Name
    loader: ImportPath | None = None
    """Called as `loader(data_dir, **arguments)`; returns `cnnperf.training.data.RawImages`."""
    pipeline: ImportPath | None = None
    """Instead of a loader, a factory of a torch Dataset or DataLoader for each split (see
    `cnnperf.training.data.pipelines`)."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Further arguments of the loader or the pipeline."""
    files: tuple[DataFile, ...] = ()
    """Files that a run needs; empty if the data come with a package."""
    channels: PositiveInt
    resolution: PositiveInt | None
    """Side of the published images, in pixels. None for images of any size: the loader gets the
    case's as its argument `resolution`."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """Type of the pixels; uint8 is scaled to 0..1 before it is normalised, float32 is not."""
    num_classes: PositiveInt = 10
    train_images: PositiveInt
    val_images: PositiveInt
    test_images: PositiveInt
    mean: tuple[float, ...] | None = None
    """One value a channel, for pixels scaled to 0..1; so is `std`. None measures both on the
    training images. A pipeline normalises its images itself."""
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None
    """Names of the classes, in the order of the labels."""
    target_accuracy: float | None = None
    """Validation accuracy (0 to 1) at which `time_to_accuracy_seconds` stops."""
    learnable: bool = True
    """False if the labels are random: accuracy and F1 are then left out."""
    source: str
    """Where the data come from, for people."""
    downloadable: bool = False
    """Whether `cnnperf data` can fetch it."""

    @model_validator(mode="after")
    def _check_fields(self) -> DatasetSpec:
        """Check that the fields fit each other."""
        if (self.loader is None) == (self.pipeline is None):
            raise ValueError("expected either a loader or a pipeline; give one of them")
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(
                f"classes has {len(self.classes)} names, but num_classes is {self.num_classes}; "
                "name each class"
            )
        given = {name: getattr(self, name) for name in ("mean", "std")}
        given = {name: values for name, values in given.items() if values is not None}
        if self.pipeline is not None and given:
            raise ValueError("a pipeline normalises its images itself; leave out mean and std")
        if len(given) == 1:
            raise ValueError("give both mean and std, or neither to have them measured")
        for name, values in given.items():
            if len(values) != self.channels:
                raise ValueError(
                    f"{name} has {len(values)} values for {self.channels} channels; give one a "
                    "channel"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std has a value of 0 or less; give the deviation of each channel")
        return self

    @property
    def import_path(self) -> str:
        """Import path of the loader or the pipeline."""
        return self.loader or self.pipeline or ""

    @property
    def bytes_per_value(self) -> int:
        """Bytes of one value of a pixel."""
        return 1 if self.dtype == "uint8" else 4

    def at(self, resolution: int) -> DatasetSpec:
        """Return the data set as a case of that resolution sees it."""
        if self.resolution is not None:
            return self
        arguments = {**self.arguments, "resolution": resolution}
        return self.model_copy(update={"resolution": resolution, "arguments": arguments})


class Augmentation(Spec):
    """Random changes of training images, drawn again each time; the defaults change nothing.

    Pixels are pixels of the image that the model gets.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation, in both directions."""
    scale_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of size, up or down: 0.1 is 0.9 to 1.1."""
    crop_shift_pixels: Annotated[float, Field(ge=0)] = 0.0
    """Largest shift of the crop along each side, in both directions."""
    elastic_alpha_pixels: Annotated[float, Field(ge=0)] = 0.0
    """Elastic deformation: each pixel moves by blurred noise from -1..1 times this.

    The `alpha` of torchvision's `ElasticTransform` is twice this value.
    """
    elastic_sigma_pixels: Annotated[float, Field(gt=0)] = 4.0
    """Standard deviation of that blur: a larger one moves pixels more smoothly and less far."""


class Call(BaseModel):
    """A class or function by its name, with its arguments: `{name = "SGD", momentum = 0.9}`."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    __pydantic_extra__: dict[str, JsonValue]

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?$")]
    """A name of torch's, or an import path `package.module:name`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything but the name and the fields of a subclass."""
        return dict(self.__pydantic_extra__)


class Schedule(Call):
    """A schedule of the learning rate: a class of `torch.optim.lr_scheduler` and its arguments.

    Lengths that are left out (`T_max`, `total_steps`, `total_iters`) are the whole training's.
    """

    per: Literal["epoch", "step"] = "epoch"
    """When the learning rate changes, and the unit of all lengths; a step is an update."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Epochs or steps in which the learning rate rises linearly before the schedule starts."""


def _as_call(value: object) -> object:
    """Accept a bare name; the names that records of the study hold stay text."""
    return {"name": value} if isinstance(value, str) and value not in STUDY_NAMES else value


STUDY_NAMES = {"adam": "Adam", "cross_entropy": "CrossEntropyLoss"}
"""The study's optimizer and loss as its recipe and records name them, and torch's names."""


class Recipe(Spec):
    """What is learned and how; two times are comparable only if their recipes are equal."""

    name: Name
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 128
    optimizer: Annotated[Literal["adam"] | Call, BeforeValidator(_as_call)] = "adam"
    """A class of `torch.optim` and its arguments; `lr` may stand here or in `learning_rate`."""
    learning_rate: PositiveFloat = 1e-3
    loss: Annotated[Literal["cross_entropy"] | Call, BeforeValidator(_as_call)] = "cross_entropy"
    """A loss of `torch.nn`, or an import path, and its arguments; called with logits (B, K) and
    labels (B), it returns a scalar."""
    schedule: Annotated[Schedule, BeforeValidator(_as_call)] | None = None
    clip_norm: PositiveFloat | None = None
    """Largest norm of all gradients together; larger ones are scaled down to it."""
    accumulate_steps: PositiveInt = 1
    """Batches whose gradients are averaged for one update; an epoch ends with an update."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per update of a moving average of the weights, which then is what is evaluated."""
    target_accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Validation accuracy (0 to 1) at which training ends."""
    drop_last: bool = False
    """Whether an epoch leaves out its last images if they do not fill a batch."""
    augmentation: Augmentation | None = None
    """Applied to training images only."""
    max_steps: PositiveInt | None = None
    """Total number of steps after which training stops. It then measures throughput only."""

    @model_validator(mode="before")
    @classmethod
    def _take_learning_rate(cls, given: Any) -> Any:
        """Move `lr` from the optimizer's arguments to `learning_rate`."""
        optimizer = given.get("optimizer") if isinstance(given, dict) else None
        if not isinstance(optimizer, dict) or "lr" not in optimizer:
            return given
        rest = dict(optimizer)
        learning_rate = rest.pop("lr")
        if given.get("learning_rate", learning_rate) != learning_rate:
            raise ValueError("optimizer.lr and learning_rate differ; keep one of them")
        return {**given, "optimizer": rest, "learning_rate": learning_rate}

    def steps_per_epoch(self, images: int) -> int:
        """Return the number of batches of so many training images; the last may be short."""
        whole, rest = divmod(images, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def updates_differently(self) -> list[str]:
        """The fields in use that a loop of its own, such as Lightning's, does not know."""
        names = ("schedule", "clip_norm", "accumulate_steps", "ema_decay", "drop_last")
        fields = type(self).model_fields
        return [name for name in names if getattr(self, name) != fields[name].default]

    @property
    def is_sample(self) -> bool:
        """Whether training stops too early for a meaningful accuracy."""
        return self.max_steps is not None


class Case(Spec):
    """A model trained on a data set at a resolution, by a recipe, with an engine."""

    model: Name | LibraryModel
    dataset: Name
    resolution: PositiveInt
    recipe: Recipe
    engine: Engine = "eager"
    precision: Literal["auto"] | Precision = "auto"
    """Precision of the matrix products of `fast`; `auto` measures which one is faster."""
    compile: Choice = "auto"
    """Whether `fast` compiles; `auto` compiles if it pays."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes of the DataLoader; None chooses by device and cores. `fast` needs none."""
    variant: Name | None = None
    """Part of the id, for cases that differ only in precision or compiling."""
    devices: PositiveInt | None = None
    """Devices that train together, a process each; None is one device without any group. On a CPU
    each has one thread, unless OMP_NUM_THREADS says otherwise."""
    scaling: Scaling = "strong"
    changes: tuple[str, ...] = ()
    """Last parts of the id: what --cnnperf-set changed."""
    suite: Suite = "train"
    tiers: tuple[Tier, ...] = ("full",)

    @property
    def id(self) -> str:
        """The name of the case everywhere; the study's recipe, `report`, is not part of it."""
        recipe = None if self.recipe.name == "report" else self.recipe.name
        what = (self.model, self.dataset, str(self.resolution), recipe)
        how = (self.engine, self.variant, self.group_name, *self.changes)
        return "-".join(part for part in (*what, *how) if part is not None)

    @property
    def group_name(self) -> str | None:
        """The part of the id that names several devices, such as `4devices` or `4devices_weak`."""
        if self.devices is None:
            return None
        weak = "_weak" if self.scaling == "weak" and self.devices > 1 else ""
        return f"{self.devices}device{'s' * (self.devices > 1)}{weak}"

    @property
    def images_per_step(self) -> int:
        """Training images of a step, on all devices together."""
        each = self.devices if self.devices is not None and self.scaling == "weak" else 1
        return self.recipe.batch_size * each
