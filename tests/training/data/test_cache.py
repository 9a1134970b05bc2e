"""Decoded images are kept in a file while no image changes, and a damaged file is never used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from PIL import Image  # noqa: E402

from cnnperf.catalog.files import describe_images  # noqa: E402
from cnnperf.errors import DataError  # noqa: E402
from cnnperf.training.data import files, progress  # noqa: E402
from cnnperf.training.data.files import load_image_folder  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images of each of two classes."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in any order."""
    found: list[Path] = []
    decode = files._decode

    def spy(path: Path, *others: Any) -> Any:
        found.append(path)
        return decode(path, *others)

    monkeypatch.setattr(files, "_decode", spy)
    return found


def load(folder: Path, cache: str | None) -> Any:
    """All pixels of a folder, in the order of training and test."""
    raw = load_image_folder(
        folder.parent, folder=str(folder), channels=3, resolution=8, cache=cache
    )
    return np.concatenate([raw.train_images_NHWC, raw.test_images_NHWC])


def test_images_are_decoded_once(folder: Path, decoded: list[Path]) -> None:
    """The second reading gives the same pixels as decoding does, without decoding."""
    expected = load(folder, None)
    assert len(decoded) == 20
    assert np.array_equal(load(folder, ""), expected)
    assert len(decoded) == 40
    assert np.array_equal(load(folder, ""), expected)
    assert len(decoded) == 40
    assert [path.suffix for path in (folder.parent / "decoded").iterdir()] == [".npz"]


def test_a_changed_image_renews_the_cache(folder: Path, decoded: list[Path]) -> None:
    """By its bytes: name, size and time of the file stay."""
    load(folder, "")
    path = folder / "cat" / "3.png"
    before, old = path.stat(), path.read_bytes()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[:] = 255 - pixels
    Image.fromarray(pixels).save(path, compress_level=1)
    new = path.read_bytes()
    assert new != old
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    decoded.clear()
    assert np.array_equal(load(folder, ""), load(folder, None))
    assert len(decoded) == 40
    shutil.move(folder / "cat" / "4.png", folder / "dog" / "14.png")  # the same bytes, elsewhere
    decoded.clear()
    load(folder, "")
    assert len(decoded) == 20


def damages(content: bytes) -> Iterator[bytes]:
    """A truncated file, an empty one, another kind of file, and one with a changed pixel."""
    yield from (content[:-30], b"", b"no archive")
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_damaged_cache_is_renewed(folder: Path, decoded: list[Path]) -> None:
    """The pixels are those of the images, and the next reading finds a good file."""
    expected = load(folder, "")
    (cache,) = (folder.parent / "decoded").iterdir()
    for damaged in damages(cache.read_bytes()):
        cache.write_bytes(damaged)
        decoded.clear()
        assert np.array_equal(load(folder, ""), expected)
        assert len(decoded) == 20
        assert np.array_equal(load(folder, ""), expected)
        assert len(decoded) == 20


def test_a_cache_with_objects_is_not_unpickled(folder: Path) -> None:
    """An array of objects could run code."""
    load(folder, "")
    (cache,) = (folder.parent / "decoded").iterdir()
    np.savez(cache, key=np.array([print], dtype=object))  # type: ignore[arg-type]
    assert np.array_equal(load(folder, ""), load(folder, None))


def test_a_cache_that_cannot_be_written_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match=r"the cache .*taken.* cannot be used .*; name another"):
        load(folder, str(tmp_path / "taken"))


def test_a_failed_writing_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when the disk is full."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(folder, "")
    assert list((folder.parent / "decoded").iterdir()) == []


def test_the_first_training_has_no_decoding_on_its_clock(
    folder: Path, decoded: list[Path], tmp_path: Path
) -> None:
    """Otherwise it would be slower than the others; the cache is filled while it prepares."""
    from cnnperf.catalog.registry import register_dataset
    from cnnperf.catalog.specs import Case, Recipe
    from cnnperf.training.engines.eager import EagerEngine

    register_dataset(describe_images("cached", folder, ""))
    case = Case(
        model="torchvision/resnet18", dataset="cached", resolution=8, recipe=Recipe(name="some")
    )
    engine = EagerEngine(case=case, seed=0, device=torch.device("cpu"), data_dir=str(tmp_path))
    engine.prepare()
    assert len(decoded) == 20
    engine.load_data()
    assert len(decoded) == 20


def test_progress_is_reported_while_images_are_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of images read, and of all."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_listener", None)
    monkeypatch.setattr(progress, "_next_report", 0.0)
    progress.listen(lambda done, total: seen.append((done, total)))
    load(folder, None)
    assert seen == [(done, 20) for done in range(1, 21)]
