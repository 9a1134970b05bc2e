"""Data sets of Hugging Face that are on this machine: described, read, and never downloaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
datasets = pytest.importorskip("datasets", reason="datasets is in the extra `huggingface`")

from PIL import Image  # noqa: E402

from cnnperf.catalog.huggingface import describe_huggingface  # noqa: E402
from cnnperf.catalog.registry import get_dataset  # noqa: E402
from cnnperf.errors import DataError, NotInstalledError  # noqa: E402
from cnnperf.run.project import register_tables  # noqa: E402
from cnnperf.training.data import split_images  # noqa: E402
from cnnperf.training.data.huggingface import load_huggingface  # noqa: E402

CLASSES = ["cat", "dog", "emu"]


def save(folder: Path, *, named: bool = True, splits: tuple[str, ...] = ("train", "test")) -> Path:
    """Write noise of three classes as `save_to_disk` does."""
    random = np.random.default_rng(0)
    label = datasets.ClassLabel(names=CLASSES) if named else datasets.Value("int64")
    features = datasets.Features({"picture": datasets.Image(), "kind": label})
    found = {}
    for split in splits:
        pixels = random.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
        rows = {"picture": list(map(Image.fromarray, pixels)), "kind": np.arange(30) % 3}
        found[split] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(found).save_to_disk(folder)
    return folder


def test_pixels_labels_and_names_are_those_of_the_data_set(tmp_path: Path) -> None:
    """Columns are found by their kind; what has no validation images gives some."""
    folder = save(tmp_path / "animals")
    spec = describe_huggingface("animals", str(folder)).at(8)
    assert (spec.train_images, spec.val_images, spec.test_images) == (27, 3, 30)
    assert spec.classes == tuple(CLASSES)
    raw = load_huggingface(".", **spec.arguments)
    split_images(spec, raw)
    theirs = datasets.load_from_disk(folder)["test"]
    assert raw.test_labels_N.tolist() == theirs["kind"]
    for ours, row in zip(raw.test_images_NHWC, theirs, strict=True):
        assert np.array_equal(ours, np.asarray(row["picture"]))


def test_a_table_in_toml_names_it_relative_to_its_file(tmp_path: Path) -> None:
    """As the folders of other data sets."""
    save(tmp_path / "animals")
    (tmp_path / "cnnperf.toml").write_text(
        '[datasets.animals]\nhuggingface = "animals"\nlabel = "kind"\nchannels = 1\n'
    )
    register_tables(tmp_path)
    spec = get_dataset("animals")
    assert spec.arguments["source"] == str(tmp_path / "animals")
    assert (spec.channels, spec.arguments["label"]) == (1, "kind")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "nobody/nothing"}, "nothing is downloaded here"),
        ({"image": "pictur"}, "there is no column 'pictur' (did you mean 'picture'?)"),
        ({"label": "sort"}, "there is no column 'sort'"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The data set, the column and the possible ones."""
    folder = save(tmp_path / "animals")
    with pytest.raises(DataError) as caught:
        describe_huggingface("animals", **{"source": str(folder), **fields})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_without_names_need_the_number_of_classes(tmp_path: Path) -> None:
    """And training images are needed in any case."""
    folder = save(tmp_path / "animals", named=False)
    with pytest.raises(DataError, match="column kind has no names of classes; give num_classes"):
        describe_huggingface("animals", str(folder), label="kind")
    assert describe_huggingface("x", str(folder), label="kind", num_classes=3).classes is None
    with pytest.raises(DataError, match="has no split train; it has test"):
        describe_huggingface("animals", str(save(tmp_path / "other", splits=("test",))))


def test_a_broken_image_is_named_by_its_row(tmp_path: Path) -> None:
    """With the split and the column."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    good = {"bytes": (save(tmp_path / "x") and _png()), "path": None}
    rows = {"image": [good] * 9 + [{"bytes": b"no image", "path": None}], "label": [0, 1] * 5}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "broken")
    spec = describe_huggingface("broken", str(tmp_path / "broken")).at(8)
    with pytest.raises(DataError, match="row 9 of split train: column image cannot be decoded"):
        load_huggingface(".", **spec.arguments)


def _png() -> bytes:
    from io import BytesIO

    stream = BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "png")
    return stream.getvalue()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(NotInstalledError, match=r"pip install 'cnnperf\[huggingface\]'"):
        describe_huggingface("animals", "animals")


def test_describing_imports_no_torch_and_forbids_the_network(tmp_path: Path) -> None:
    """In a fresh process, as `cnnperf list` is one."""
    folder = save(tmp_path / "animals")
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import os, sys\n"
            "from cnnperf.catalog.huggingface import describe_huggingface\n"
            f"describe_huggingface('animals', {str(folder)!r})\n"
            "import datasets, huggingface_hub\n"
            "print('torch' in sys.modules, huggingface_hub.constants.HF_HUB_OFFLINE,\n"
            "      datasets.config.HF_DATASETS_OFFLINE)",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "True"]
