"""What a data set does not state is measured on its training images; what it states is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.files import describe_arrays  # noqa: E402
from cnnperf.catalog.registry import register_dataset  # noqa: E402
from cnnperf.catalog.specs import Case, DatasetSpec, Recipe  # noqa: E402
from cnnperf.errors import DataError  # noqa: E402
from cnnperf.training.data import normalisation  # noqa: E402
from cnnperf.training.data.normalisation import measure, with_normalisation  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402

random = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_mean_and_deviation_are_numpys(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the parts; bytes count as 0 to 1."""
    images = random.integers(0, 256, (25, 6, 5, 3), dtype=np.uint8)
    monkeypatch.setattr(normalisation, "CHUNK_VALUES", rows * 6 * 5 * 3)
    mean, std = measure(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), rel=1e-6)
    assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)), rel=1e-6)


def test_a_small_deviation_beside_a_large_mean_is_exact() -> None:
    """In float32, or from the mean of squares, nothing would be left of it."""
    apart = random.normal(size=(40, 8, 8, 1))
    images = (1e5 + apart).astype(np.float32)
    (_, (std,)) = measure(images)
    assert std == pytest.approx(images.astype(np.float64).std(), rel=1e-6)


def spec_of(**fields: Any) -> DatasetSpec:
    """A description of images with one channel."""
    given: dict[str, Any] = {
        "name": "x", "loader": "a:b", "channels": 1, "resolution": 8, "train_images": 1,
        "val_images": 1, "test_images": 1, "source": "",
    }  # fmt: skip
    return DatasetSpec(**{**given, **fields})


def test_stated_values_are_used_as_they_are() -> None:
    """Nothing is measured."""
    spec = spec_of(mean=(0.1,), std=(0.2,))
    assert with_normalisation(spec, np.zeros((1, 2, 2, 1), dtype=np.uint8)) is spec


def test_images_of_one_value_are_only_centred() -> None:
    """As scikit-learn's StandardScaler does; zero, and a value that rounds in binary."""
    for value in (0, 51):
        found = with_normalisation(spec_of(), np.full((3, 2, 2, 1), value, dtype=np.uint8))
        assert (found.mean, found.std) == ((value / 255,), (1.0,))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_one_sentence(value: float) -> None:
    """The channel is named."""
    images = np.zeros((3, 2, 2, 1), dtype=np.float32)
    images[1, 1, 1, 0] = value
    with pytest.raises(DataError, match="data set x: channel 0 of the training images has values"):
        with_normalisation(spec_of(), images)


@pytest.mark.parametrize("given", [{"mean": (0.5,)}, {"std": (0.5,)}])
def test_one_of_both_is_refused(given: dict[str, Any]) -> None:
    """A measured deviation around a stated mean is no normalisation."""
    with pytest.raises(ValueError, match="give both mean and std, or neither"):
        spec_of(**given)


def engines(folder: Path, name: str, **given: Any) -> list[Engine]:
    """`eager` and `fast` with the same arrays, loaded."""
    images = np.random.default_rng(5).normal(3.0, 2.0, (60, 8, 8, 2)).astype(np.float32)
    np.savez(folder / "x.npz", train_images=images, train_labels=np.arange(60) % 2)
    register_dataset(describe_arrays(name, folder / "x.npz", num_classes=2, **given))
    made = []
    for engine, kind in (("eager", EagerEngine), ("fast", FastEngine)):
        case = Case(
            model="torchvision/resnet18", dataset=name, resolution=8, engine=engine, workers=0,
            recipe=Recipe(name="some", batch_size=48, epochs=1), precision="float32",
        )  # fmt: skip
        made.append(kind(case=case, seed=0, device=torch.device("cpu"), data_dir="."))
        made[-1].prepare()
        made[-1].load_data()
    return list(made)


def test_both_engines_feed_images_with_mean_zero_and_deviation_one(tmp_path: Path) -> None:
    """Measured on the training images alone."""
    for engine in engines(tmp_path, "measured"):
        images = torch.cat([images for images, _ in engine.train_batches()]).double()
        channels = images.transpose(0, 1).flatten(1)
        assert channels.mean(dim=1).tolist() == pytest.approx([0, 0], abs=1e-5)
        assert channels.std(dim=1, correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_how_images_are_normalised_is_part_of_the_hash(tmp_path: Path) -> None:
    """Else two trainings on other numbers would be compared as equal."""
    hashes = {
        engine.dataset_sha256()
        for name, given in (
            ("hash_measured", {}),
            ("hash_one", {"mean": (0.0, 0.0), "std": (1.0, 1.0)}),
            ("hash_two", {"mean": (0.0, 0.0), "std": (2.0, 1.0)}),
        )
        for engine in engines(tmp_path, name, **given)
    }
    assert len(hashes) == 3
