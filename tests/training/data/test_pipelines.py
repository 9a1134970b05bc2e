"""A pipeline of the user's is used as it is, and each batch is checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset  # noqa: E402

from cnnperf.catalog.registry import register_case, register_dataset  # noqa: E402
from cnnperf.catalog.specs import Case, DatasetSpec, Recipe  # noqa: E402
from cnnperf.errors import DataError, UsageError  # noqa: E402
from cnnperf.training.data.pipelines import batch_problem  # noqa: E402
from cnnperf.training.engines import Engine, engine_class  # noqa: E402
from cnnperf.training.loop import run_training  # noqa: E402

COUNTS = {"train": 20, "validation": 6, "test": 4}
CPU = torch.device("cpu")


def tensors(split: str, resolution: int = 8, dtype: Any = torch.float32) -> TensorDataset:
    """Noise of three classes, whose first pixel is the number of the image."""
    count = COUNTS[split]
    images = torch.randint(0, 256, (count, 3, resolution, resolution)).to(dtype)
    images[:, 0, 0, 0] = torch.arange(count)
    return TensorDataset(images, torch.arange(count) % 3)


class Stream(IterableDataset[Any]):
    """The images one by one, without a length; `extra` repeats them, a negative one stops early."""

    def __init__(self, split: str, extra: int) -> None:
        self.images, self.count = tensors(split), COUNTS[split] + extra

    def __iter__(self) -> Iterator[Any]:
        return (self.images[i % len(self.images)] for i in range(self.count))


def as_dataset(split: str, data_dir: str, **asked: Any) -> Dataset[Any]:
    return tensors(split)


def as_bytes(split: str, data_dir: str, **asked: Any) -> Dataset[Any]:
    return tensors(split, dtype=torch.uint8)


def as_loader(split: str, data_dir: str, *, batch_size: int, **asked: Any) -> DataLoader[Any]:
    return DataLoader(tensors(split), batch_size=batch_size)


def as_stream(split: str, data_dir: str, *, extra: int = 0, **asked: Any) -> Dataset[Any]:
    return Stream(split, extra)


def as_list(split: str, data_dir: str, **asked: Any) -> Any:
    return [1, 2]


def describe(name: str, function: str, **fields: Any) -> DatasetSpec:
    """Register a data set with a pipeline."""
    given: dict[str, Any] = {
        "name": name, "pipeline": f"{__name__}:{function}", "channels": 3, "resolution": None,
        "num_classes": 3, "train_images": 20, "val_images": 6, "test_images": 4, "source": "",
    }  # fmt: skip
    return register_dataset(DatasetSpec(**{**given, **fields}))


def engine_of(dataset: str, engine: str = "eager", **recipe: Any) -> Engine:
    """A prepared engine of a case."""
    given = {"name": "some", "batch_size": 8, "epochs": 1, **recipe}
    case = Case(
        model="torchvision/resnet18", dataset=dataset, resolution=8, recipe=Recipe(**given),
        engine=engine, workers=0,
    )  # fmt: skip
    made = engine_class(engine)(case=case, seed=0, device=CPU, data_dir=".")
    made.prepare()
    return made


@pytest.mark.parametrize("engine", ["eager", "plain", "amp"])
@pytest.mark.parametrize("function", ["as_dataset", "as_loader", "as_stream"])
def test_every_image_is_trained_on_once_and_evaluated(function: str, engine: str) -> None:
    """Three batches of 20 images; validation and test see exactly their own."""
    describe(f"pipe_{function}", function)
    made = engine_of(f"pipe_{function}", engine)
    log = run_training(made, lambda _: None)
    assert (len(log.step_seconds), log.images) == (3, 20)
    assert made.evaluate("test").confusion_KK.sum(axis=1).tolist() == [2, 1, 1]
    seen = torch.cat([images[:, 0, 0, 0] for images, _ in made.train_batches()])
    assert sorted(seen.tolist()) == list(range(20))


def test_a_dataset_is_shuffled_by_the_seed_and_a_loader_is_left_alone() -> None:
    """The order of a DataLoader is its own."""
    orders = []
    for function in ("as_dataset", "as_dataset", "as_loader"):
        describe(f"pipe_{function}", function)
        made = engine_of(f"pipe_{function}")
        made.load_data()
        batches = [images[:, 0, 0, 0] for images, _ in made.train_batches()]
        orders.append(torch.cat(batches).tolist())
    assert orders[0] == orders[1] != orders[2]
    assert orders[2] == list(range(20))


def test_bytes_are_scaled_to_one() -> None:
    """As torchvision's ToTensor does; floats stay as they are."""
    describe("pipe_bytes", "as_bytes")
    made = engine_of("pipe_bytes")
    made.load_data()
    images, _ = next(iter(made.evaluation_batches("validation")))
    torch.testing.assert_close(images[:, 0, 0, 0], torch.arange(6) / 255)


def test_grey_images_are_repeated_for_a_model_of_three_channels() -> None:
    """As those of every other data set."""
    from cnnperf.training.engines.eager import as_float

    assert as_float(torch.ones(2, 1, 4, 4), 3).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("function", "fields", "message"),
    [
        ("as_list", {}, "split train, returned list, expected a torch Dataset or DataLoader"),
        ("as_dataset", {"train_images": 21}, "has 20 images, but the data set declares 21"),
        ("as_dataset", {"val_images": 5}, "split validation, has 6 images"),
        ("as_dataset", {"num_classes": 2}, "gave labels from 0 to 2, expected 0 to 1, in batch 1"),
        (
            "as_stream", {"arguments": {"extra": -5}},
            "ended after 2 batches and 15 images, expected 3 batches of up to 8",
        ),
    ],
)  # fmt: skip
def test_a_pipeline_that_differs_from_its_description_is_one_sentence(
    function: str, fields: dict[str, Any], message: str
) -> None:
    """It names data set, function and split."""
    describe("pipe_wrong", function, **fields)
    made = engine_of("pipe_wrong")
    with pytest.raises(DataError) as caught:
        run_training(made, lambda _: None)
    assert str(caught.value).startswith(f"data set pipe_wrong: pipeline {__name__}:")
    assert message in str(caught.value)


def test_an_epoch_of_an_endless_stream_ends_with_the_declared_images() -> None:
    """Validation must be of the declared size."""
    describe("pipe_long", "as_stream", arguments={"extra": 100})
    made = engine_of("pipe_long")
    made.load_data()
    assert len(list(made.train_batches())) == 3
    with pytest.raises(DataError, match="gave 106 images, but the data set declares 6"):
        list(made.evaluation_batches("validation"))


IMAGES = torch.zeros(4, 3, 8, 8)
LABELS = torch.arange(4) % 3


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ((IMAGES, LABELS), None),
        ([IMAGES.to(torch.uint8), LABELS], None),
        ({"image": IMAGES}, "dict, expected a pair of images and labels"),
        ((IMAGES.numpy(), LABELS), "images as ndarray, expected a tensor"),
        ((IMAGES[:, :1], LABELS), "images of float32 of shape (4, 1, 8, 8), expected uint8 or"),
        ((IMAGES.long(), LABELS), "images of int64 of shape (4, 3, 8, 8), expected uint8 or"),
        ((IMAGES, LABELS[:3]), "with labels (B)"),
        ((IMAGES, LABELS.float()), "labels of float32 of shape (4,), expected int64"),
        ((IMAGES, LABELS + 1), "labels from 1 to 3, expected 0 to 2 (they count from 1"),
        ((IMAGES[[0] * 9], LABELS[[0] * 9]), "9 images, expected at most batch_size, 8"),
    ],
)
def test_a_wrong_batch_is_described(batch: Any, problem: str | None) -> None:
    """What was found, and what was expected."""
    found = batch_problem(describe("pipe_batch", "as_dataset").at(8), batch, 8)
    assert found is None if problem is None else problem in (found or "")


@pytest.mark.parametrize(
    ("engine", "why"), [("fast", "keeps the data on the device"), ("lightning", "a loop of its")]
)
def test_engines_that_cannot_use_a_pipeline_are_refused(engine: str, why: str) -> None:
    """When the case is registered, with the engines that can."""
    describe("pipe_refused", "as_dataset")
    case = Case(
        model="torchvision/resnet18", dataset="pipe_refused", resolution=8,
        recipe=Recipe(name="some"), engine=engine,
    )  # fmt: skip
    with pytest.raises(UsageError, match="use eager, plain or amp") as caught:
        register_case(case)
    assert why in str(caught.value)


def test_the_hash_of_a_pipeline_is_that_of_its_description() -> None:
    """The images of a stream cannot be hashed before they are gone."""
    spec = describe("pipe_hash", "as_dataset")
    first = engine_of("pipe_hash").dataset_sha256()
    assert first == engine_of("pipe_hash").dataset_sha256()
    describe("pipe_hash_2", "as_dataset", arguments={"extra": 1})
    assert engine_of("pipe_hash_2").dataset_sha256() != first
    assert spec.import_path == f"{__name__}:as_dataset"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loader": "a:b"}, "expected either a loader or a pipeline"),
        ({"mean": (0.5,) * 3, "std": (1.0,) * 3}, "a pipeline normalises its images itself"),
        ({"classes": ("a", "b")}, "classes has 2 names, but num_classes is 3"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match=message):
        describe("pipe_bad", "as_dataset", **fields)


def test_labels_are_tensors_once_collated() -> None:
    """A check of the helper above: pairs of image and number."""
    image, label = tensors("test")[3]
    assert isinstance(label, Tensor)
    assert int(image[0, 0, 0]) == 3
