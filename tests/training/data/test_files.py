"""Folders of images and files of arrays: described without torch, read by it, trained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from PIL import Image  # noqa: E402
from torchvision import datasets as tv_datasets  # noqa: E402

from cnnperf.catalog.files import describe_arrays, describe_images  # noqa: E402
from cnnperf.catalog.registry import register_dataset  # noqa: E402
from cnnperf.catalog.specs import Case, DatasetSpec, Recipe  # noqa: E402
from cnnperf.errors import DataError  # noqa: E402
from cnnperf.training.data import split_images  # noqa: E402
from cnnperf.training.data.files import load_arrays, load_image_folder  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402

random = np.random.default_rng(0)


def write_image(path: Path, height: int = 12, width: int = 12, value: int | None = None) -> None:
    """Write noise, or one colour, in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path)


def make_folder(root: Path, splits: tuple[str, ...] = ("",), images: int = 10) -> Path:
    """Two classes of PNG images in each split."""
    for split in splits:
        for name in ("cat", "dog"):
            for number in range(images):
                write_image(root / split / name / f"{number}.png")
    return root


def test_labels_and_pixels_are_torchvisions(tmp_path: Path) -> None:
    """Classes are numbered as by ImageFolder; an image of the right size keeps its pixels."""
    folder = make_folder(tmp_path / "flowers", ("train", "val", "test"), images=3)
    raw = load_image_folder(".", folder=str(folder), channels=3, resolution=12)
    theirs = tv_datasets.ImageFolder(str(folder / "test"))
    assert raw.test_labels_N.tolist() == theirs.targets
    for ours, (image, _) in zip(raw.test_images_NHWC, theirs, strict=True):
        assert np.array_equal(ours, np.asarray(image))
    assert len(raw.train_labels_N) == 12
    assert raw.val_rows_N is not None
    assert raw.val_rows_N.tolist() == list(range(6, 12))


def test_an_image_of_any_size_is_resized_and_cropped_to_the_centre(tmp_path: Path) -> None:
    """The shorter side fits; what is cropped away at both ends has another colour."""
    folder = make_folder(tmp_path, images=10)
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(folder / "cat" / "0.png")
    raw = load_image_folder(".", folder=str(folder), channels=3, resolution=10)
    images = np.concatenate([raw.train_images_NHWC, raw.test_images_NHWC])
    assert images.shape[1:] == (10, 10, 3)
    assert any((image[:, 2:-2] == 200).all() for image in images)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("",), (14, 2, 4)),
        (("train", "test"), (18, 2, 20)),
        (("train", "val"), (18, 2, 20)),
        (("train", "valid", "test"), (20, 20, 20)),
    ],
)
def test_what_has_no_split_of_its_own_is_drawn_from_training(
    splits: tuple[str, ...], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    """The description and the reader agree on the numbers, which the plan needs first."""
    folder = make_folder(tmp_path / "images", splits)
    spec = describe_images("drawn", folder)
    assert (spec.train_images, spec.val_images, spec.test_images) == expected
    spec = spec.at(8)
    found = split_images(spec, load_image_folder(".", **spec.arguments))
    assert (len(found.train), len(found.val), len(found.test)) == expected
    assert spec.num_classes == 2


def test_a_grey_folder_has_one_channel(tmp_path: Path) -> None:
    """Colour images become grey where the data set says so."""
    spec = describe_images("grey", make_folder(tmp_path), channels=1)
    assert spec.channels == 1
    spec = spec.at(8)
    raw = load_image_folder(".", **spec.arguments)
    assert raw.train_images_NHWC.shape[1:] == (8, 8, 1)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    """One sentence with the file."""
    folder = make_folder(tmp_path)
    broken = folder / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(DataError, match=r"3\.png cannot be decoded"):
        load_image_folder(".", folder=str(folder), channels=3, resolution=8)


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    """A missing folder, one class, an empty class, and a class that training lacks."""
    with pytest.raises(DataError, match="there is no folder"):
        describe_images("x", tmp_path / "nothing")
    write_image(tmp_path / "one" / "cat" / "1.png")
    with pytest.raises(DataError, match="has 1 folders; expected one for each class"):
        describe_images("x", tmp_path / "one")
    folder = make_folder(tmp_path / "empty")
    (folder / "emu").mkdir()
    with pytest.raises(DataError, match="emu has no images"):
        describe_images("x", folder)
    folder = make_folder(tmp_path / "more", ("train", "test"))
    write_image(folder / "test" / "emu" / "1.png")
    with pytest.raises(DataError, match="emu is a class that"):
        describe_images("x", folder)


def save(file: Path, arrays: dict[str, Any]) -> Path:
    """Write arrays in the format of the suffix."""
    if file.suffix == ".npz":
        np.savez(file, **arrays)
    else:
        safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is optional")
        safetensors.save_file(arrays, file)
    return file


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_arrays_are_described_and_read(suffix: str, tmp_path: Path) -> None:
    """Shapes are known without reading the arrays; grey images may lack the last axis."""
    images = random.integers(0, 256, (30, 9, 9), dtype=np.uint8)
    labels = np.arange(30) % 3
    file = save(tmp_path / f"mine{suffix}", {"train_images": images, "train_labels": labels})
    spec = describe_arrays("mine", file, num_classes=3)
    assert (spec.resolution, spec.channels, spec.dtype) == (9, 1, "uint8")
    found = split_images(spec, load_arrays(".", **spec.arguments))
    together = np.concatenate([each.images_NHWC for each in (found.train, found.val, found.test)])
    assert sorted(map(bytes, together)) == sorted(map(bytes, images))


@pytest.mark.parametrize(("channels", "dtype"), [(5, "uint8"), (1, "float32"), (4, "float32")])
def test_both_engines_see_the_same_pixels(channels: int, dtype: str, tmp_path: Path) -> None:
    """Images that PIL does not have: float32, and other numbers of channels; resized too."""
    images = random.random((40, 9, 9, channels), dtype=np.float32)
    if dtype == "uint8":
        images = (images * 255).astype(np.uint8)
    file = save(tmp_path / "mine.npz", {"train_images": images, "train_labels": np.arange(40) % 2})
    name = f"pixels_{channels}_{dtype}"
    register_dataset(describe_arrays(name, file, num_classes=2))
    seen = []
    for engine, kind in (("eager", EagerEngine), ("fast", FastEngine)):
        case = Case(
            model="torchvision/resnet18", dataset=name, resolution=12,
            recipe=Recipe(name="some", batch_size=8, epochs=1), engine=engine, precision="float32",
        )  # fmt: skip
        made = kind(case=case, seed=0, device=torch.device("cpu"), data_dir=".")
        made.prepare()
        made.load_data()
        seen.append(torch.cat([images for images, _ in made.evaluation_batches("test")]))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-6, atol=1e-6)
    assert seen[0].shape[1:] == (channels, 12, 12)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros(3)}, "has no array train_images; it has images"),
        (
            {"train_images": np.zeros((3, 4, 5, 1), np.uint8), "train_labels": np.zeros(3)},
            r"train_images is uint8 of shape \(3, 4, 5, 1\), expected",
        ),
        (
            {"train_images": np.zeros((3, 4, 4)), "train_labels": np.zeros(3)},
            "train_images is float64 of shape",
        ),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """One sentence with the file and what was found."""
    with pytest.raises(DataError, match=message):
        describe_arrays("x", save(tmp_path / "x.npz", arrays), num_classes=2)


def test_the_number_of_classes_of_arrays_must_be_given(tmp_path: Path) -> None:
    """A guess would train a network with other outputs."""
    with pytest.raises(DataError, match="data set x: give num_classes"):
        describe_arrays("x", tmp_path / "x.npz")


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    """A test folder whose classes have no images."""
    folder = make_folder(tmp_path, ("train", "test"))
    for path in (folder / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="test has no images"):
        describe_images("x", folder)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".txt"])
def test_a_damaged_file_is_named(suffix: str, tmp_path: Path) -> None:
    """Bytes that are no archive."""
    file = tmp_path / f"x{suffix}"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=f"x{suffix}"):
        describe_arrays("x", file, num_classes=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (0.1, 0.2)}, "mean has 2 values for 1 channels"),
        ({"std": (0.0,)}, "std has a value of 0 or less"),
    ],
)
def test_a_normalisation_that_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    """Where the data set is described, not in the first step."""
    good: dict[str, Any] = {
        "name": "x", "loader": "a:b", "channels": 1, "resolution": 8, "train_images": 1,
        "val_images": 1, "test_images": 1, "mean": (0.5,), "std": (0.2,), "source": "",
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        DatasetSpec(**{**good, **fields})
