"""The user's own cases: modules that register them, and tables in TOML.

pytest and every command find them alike: in the folder of pytest's ini file, else in the current
one, `cnnperf.toml` or the table `tool.cnnperf` of `pyproject.toml` may have

    [recipes.cosine]
    epochs = 5
    optimizer = { name = "SGD", lr = 0.1, momentum = 0.9 }
    schedule = { name = "CosineAnnealingLR", per = "step" }

    [datasets.flowers]
    images = "data/flowers"

    [[cases]]
    model = "torchvision/resnet18"
    dataset = "flowers"
    resolution = 64
    recipe = "cosine"

The thresholds of `cnnperf compare` are in the same file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
)

from cnnperf.catalog.cases import RECIPES
from cnnperf.catalog.engines import OWN_ENGINES
from cnnperf.catalog.files import describe_arrays, describe_images
from cnnperf.catalog.loops import LoopCase, MetricName, Quality
from cnnperf.catalog.registry import (
    get_dataset,
    import_modules,
    register_case,
    register_dataset,
    register_model,
    remove_builtin_cases,
)
from cnnperf.catalog.specs import (
    Case,
    Choice,
    DatasetSpec,
    Engine,
    ImportPath,
    LibraryModel,
    ModelSpec,
    Name,
    Precision,
    Recipe,
    Scaling,
    Spec,
    Suite,
    Tier,
)
from cnnperf.compare.thresholds import MetricSettings, find_tables
from cnnperf.errors import UsageError, describe_validation_error, one_of


class RecipeTable(Recipe):
    """A recipe in TOML; its name is the key of its table."""

    name: Name = "recipe"


class ModelTable(Spec):
    """A model in TOML."""

    builder: ImportPath | LibraryModel
    """`package.module:function`, or a library's model such as `torchvision/resnet18`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the builder."""
    resolution: PositiveInt = 224
    min_resolution: PositiveInt = 1
    channels: tuple[PositiveInt, ...] = (1, 3)


class DatasetTable(Spec):
    """A data set in TOML: one of images, arrays, huggingface, loader and pipeline."""

    images: str | None = None
    """Folder with one folder a class, or with `train`, `val` and `test` that have them."""
    arrays: str | None = None
    """A `.npz` or `.safetensors` file with `train_images`, `train_labels` and so on."""
    loader: ImportPath | None = None
    """`package.module:function`; it gets the data folder and returns `RawImages`."""
    pipeline: ImportPath | None = None
    """`package.module:function`; it returns a torch Dataset or DataLoader for each split."""
    huggingface: str | None = None
    """A folder of `save_to_disk`, or a name in the cache of `datasets`."""
    image: str | None = None
    """With `huggingface`: the column of the images; so is `label`."""
    label: str | None = None
    cache: bool | str = False
    """With `images`: keep the decoded images in a file, below the data folder or in this folder."""
    arguments: dict[str, Any] | None = None
    """Further arguments of the loader or the pipeline."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, in the order of the labels."""
    channels: PositiveInt | None = None
    resolution: PositiveInt | None = None
    num_classes: PositiveInt | None = None
    train_images: PositiveInt | None = None
    val_images: PositiveInt | None = None
    test_images: PositiveInt | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: Literal["uint8", "float32"] | None = None
    target_accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None
    learnable: bool | None = None
    source: str | None = None


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, int) else value


class CaseTable(Spec):
    """Cases in TOML: one for each engine."""

    model: Name | LibraryModel
    dataset: Name
    resolution: PositiveInt
    recipe: Name = "report"
    """A table of `recipes`, or a recipe of cnnperf; `report` is the study's."""
    engines: tuple[Engine, ...] = OWN_ENGINES
    tiers: tuple[Tier, ...] = ("smoke", "standard", "full")
    suite: Suite = "train"
    precision: Literal["auto"] | Precision = "auto"
    compile: Choice = "auto"
    variant: Name | None = None
    devices: Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_tuple)] = ()
    """Devices that train together, such as `devices = [1, 2, 4]`: a case for each number."""
    scaling: Scaling = "strong"
    """Whether they divide the recipe's batch, or each has it (`weak`)."""


class QualityTable(Quality):
    """A quality in TOML; its name is the key of its table."""

    name: MetricName = "quality"


class LoopTable(Spec):
    """A training of one's own in TOML: a function, or a command."""

    name: Name
    """The id of the case."""
    trainer: ImportPath | None = None
    """`package.module:function`; it gets a `cnnperf.observe.Run`."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Program and arguments; {seed}, {device}, {data_dir} and names of `settings` are replaced."""
    clock: Literal["training", "process"] = "training"
    """What is timed: the block `observe.training`, or the whole command."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Values for the training."""
    quality: dict[MetricName, QualityTable] = Field(default_factory=dict)
    """What it reports with `observe.result`, and how it is judged."""
    tiers: tuple[Tier, ...] = ("smoke", "standard", "full")
    variant: Name | None = None


def _kind_of_case(given: Any) -> str:
    """Return which table a case is, so that errors are about that one alone."""
    keys = given.keys() if isinstance(given, dict) else set()
    return "<loop>" if keys & {"trainer", "command", "name"} else "<case>"


AnyCaseTable = Annotated[
    Annotated[CaseTable, Tag("<case>")] | Annotated[LoopTable, Tag("<loop>")],
    Discriminator(_kind_of_case),
]


class ProjectTables(Spec):
    """What a project may define in TOML, beside its thresholds."""

    recipes: dict[Name, RecipeTable] = Field(default_factory=dict)
    models: dict[Name, ModelTable] = Field(default_factory=dict)
    datasets: dict[Name, DatasetTable] = Field(default_factory=dict)
    cases: tuple[AnyCaseTable, ...] = ()


class ConfigFile(ProjectTables):
    """The whole file, with the thresholds of `cnnperf compare`."""

    metrics: dict[str, MetricSettings] = Field(default_factory=dict)
    """By metric: from which change on it counts, in every case."""
    thresholds: dict[str, dict[str, MetricSettings]] = Field(default_factory=dict)
    """By case id or pattern, then by metric."""


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of `cnnperf.toml`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ConfigFile.model_json_schema(),
        "title": "cnnperf.toml",
    }


@dataclass(frozen=True, kw_only=True)
class Project:
    """Where the user's own cases are."""

    root: Path
    """Folder of pytest's ini file, else the current folder."""
    modules: tuple[str, ...] = ()
    """Modules that register models, data sets and cases."""
    python_path: tuple[str, ...] = ()
    """Folders in which the modules are."""
    builtin_cases: bool = True
    """Whether cnnperf's own cases are there too."""

    def register(self, asked_by: str = "cnnperf_modules") -> None:
        """Register everything; twice is harmless.

        Raises:
            UsageError: a module cannot be imported, or a table is wrong.
        """
        if not self.builtin_cases:
            remove_builtin_cases()
        import_modules(self.modules, self.python_path, asked_by)
        register_tables(self.root)


def find_project(folder: Path, modules: Iterable[str] = ()) -> Project:
    """Return the project of a folder as pytest would find it, with further modules."""
    from _pytest.config.findpaths import locate_config  # pytest's own search

    root, ini_file, values, *_ = locate_config(folder, [folder])
    texts = {name: getattr(value, "value", value) for name, value in values.items()}
    if ini_file is None or root is None:
        return Project(root=folder, modules=tuple(modules), python_path=(str(folder),))
    paths = [str(root / each) for each in _words(texts.get("pythonpath"))]
    named = [*_words(texts.get("cnnperf_modules")), *modules]
    builtin = str(texts.get("cnnperf_builtin_cases", "true")).lower() not in ("false", "0", "no")
    return Project(
        root=root,
        modules=tuple(dict.fromkeys(named)),
        python_path=tuple(dict.fromkeys([str(root), *paths])),
        builtin_cases=builtin,
    )


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else [str(each) for each in value or ()]


def register_tables(folder: Path) -> None:
    """Register what the TOML file of a folder defines.

    Raises:
        UsageError: a table is wrong, or names something that does not exist.
    """
    found = find_tables(folder)
    if found is None:
        return
    source, content, parents = found
    own = {name: value for name, value in content.items() if name in ProjectTables.model_fields}
    try:
        tables = ProjectTables.model_validate(own)
    except ValidationError as error:
        raise UsageError(f"{source}: {describe_validation_error(error, *parents)}") from error
    try:
        _register(tables, source.parent)
    except ValidationError as error:
        raise UsageError(f"{source}: {describe_validation_error(error)}") from error
    except UsageError as error:
        raise type(error)(f"{source}: {error}") from None


def _register(tables: ProjectTables, folder: Path) -> None:
    recipes = {
        **RECIPES,
        **{
            name: Recipe.model_validate({**dict(table), "name": name})
            for name, table in tables.recipes.items()
        },
    }
    for name, model in tables.models.items():
        register_model(ModelSpec.model_validate({"name": name, **dict(model)}))
    for name, dataset in tables.datasets.items():
        register_dataset(_describe(name, dataset, folder))
    for case in tables.cases:
        if isinstance(case, LoopTable):
            quality = tuple(
                Quality.model_validate({**dict(table), "name": name})
                for name, table in case.quality.items()
            )
            register_case(LoopCase.model_validate({**dict(case), "quality": quality}))
            continue
        if case.recipe not in recipes:
            raise UsageError(f"[[cases]]: {one_of('recipe', case.recipe, recipes)}")
        fields: Mapping[str, Any] = {**dict(case), "recipe": recipes[case.recipe]}
        engines = case.engines
        if "engines" not in case.model_fields_set and get_dataset(case.dataset).pipeline:
            engines = ("eager",)  # `fast` keeps the data set on the device
        for engine, devices in product(engines, case.devices or (None,)):
            chosen = {name: value for name, value in fields.items() if name != "engines"}
            register_case(Case.model_validate({**chosen, "engine": engine, "devices": devices}))


KINDS = ("images", "arrays", "huggingface", "loader", "pipeline")
"""Where the data of a table may come from."""

BELONGS = {"image": "huggingface", "label": "huggingface", "cache": "images"}
"""Keys that only one kind of data set has."""


def _describe(name: str, table: DatasetTable, folder: Path) -> DatasetSpec:
    kinds = [kind for kind in KINDS if getattr(table, kind) is not None]
    if len(kinds) != 1:
        raise UsageError(
            f"[datasets.{name}]: expected one of {', '.join(KINDS[:-1])} and {KINDS[-1]}, found "
            f"{' and '.join(kinds) or 'none'}"
        )
    for key, kind in BELONGS.items():
        if getattr(table, key) and kind not in kinds:
            raise UsageError(f"[datasets.{name}]: {key} belongs to {kind}, not to {kinds[0]}")
    given = table.model_dump(exclude_none=True, exclude={*KINDS[:3], *BELONGS})
    if table.classes is not None:
        given = {"num_classes": len(table.classes), **given}
    try:
        return _describe_kind(name, table, folder, given)
    except ValidationError as error:
        raise UsageError(f"[datasets.{name}]: {describe_validation_error(error)}") from error


def _describe_kind(
    name: str, table: DatasetTable, folder: Path, given: dict[str, Any]
) -> DatasetSpec:
    if table.images is not None:
        place = "" if table.cache is True else str(_place(folder, str(table.cache)))
        cache = place if table.cache else None
        return describe_images(name, _place(folder, table.images), cache, **given)
    if table.arrays is not None:
        return describe_arrays(name, _place(folder, table.arrays), **given)
    if table.huggingface is not None:
        from cnnperf.catalog.huggingface import describe_huggingface

        on_disk = _place(folder, table.huggingface)
        source = str(on_disk) if on_disk.is_dir() else table.huggingface
        return describe_huggingface(name, source, table.image, table.label, **given)
    usual: dict[str, Any] = {"name": name, "source": f"{table.loader or table.pipeline}"}
    if table.pipeline is not None:
        usual |= {"channels": 3, "resolution": None}
    return DatasetSpec.model_validate({**usual, **given})


def _place(folder: Path, path: str) -> Path:
    return (folder / os.path.expandvars(Path(path).expanduser())).resolve()
