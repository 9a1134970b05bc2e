"""Batches, their order, and the processes that prepare them.

Shapes: N images, H W pixels, C channels, B batch.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
import torch
import torchvision

from cnnperf.catalog.datasets import MNIST
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError
from cnnperf.training.data import (
    ImageDataset,
    RawImages,
    Split,
    build_loader,
    choose_workers,
    load_mnist,
)
from cnnperf.training.data.loaders import check_shared_memory
from cnnperf.training.data.transforms import build_transform
from tests.training.data.handmade import noise
from tests.training.data.images import raw_of
from tests.training.data.protocol import PROTOCOL, PROTOCOL_IDS


def test_tiny_mnist_items_equal_torchvisions_data_set(
    tiny_mnist: DatasetSpec, tmp_path: Path
) -> None:
    """Same files, same transform: the same tensors and labels, to the bit."""
    check_against_torchvision(
        torchvision.datasets.MNIST, load_mnist(tmp_path), tmp_path, PROTOCOL[1], rows=range(8)
    )


@pytest.mark.parametrize("protocol", PROTOCOL, ids=PROTOCOL_IDS)
def test_real_items_equal_torchvisions_data_set(
    protocol: tuple[Any, ...], real_data_dir: str
) -> None:
    """Every 97th test image of the real data sets."""
    theirs = {"mnist": torchvision.datasets.MNIST, "cifar10": torchvision.datasets.CIFAR10}
    spec: DatasetSpec = protocol[0]
    check_against_torchvision(
        theirs[spec.name], raw_of(spec), Path(real_data_dir), protocol, rows=range(0, 10_000, 97)
    )


def check_against_torchvision(
    theirs: Any, raw: RawImages, data_dir: Path, protocol: tuple[Any, ...], rows: range
) -> None:
    spec, resolution, channels, by_hand = protocol
    reference = theirs(data_dir, train=False, transform=by_hand)
    test = Split(images_NHWC=raw.test_images_NHWC, labels_N=raw.test_labels_N)
    transform = build_transform(spec, resolution=resolution, channels=channels)
    ours = ImageDataset(test, transform)
    assert len(ours) == len(reference)
    for row in rows:
        (image, label), (reference_image, reference_label) = ours[row], reference[row]
        assert torch.equal(image, reference_image)
        assert label == reference_label


def loader_of(*, seed: int = 0, shuffle: bool = True, workers: int = 0, **changes: Any) -> Any:
    """20 images labelled 0..19, so that labels tell the order."""
    split = Split(images_NHWC=noise(20, 28, 28, 1, seed=0), labels_N=np.arange(20))
    arguments = {"batch_size": 8, "device_type": "cpu", **changes}
    return build_loader(
        split,
        build_transform(MNIST, resolution=28, channels=1),
        shuffle=shuffle,
        seed=seed,
        workers=workers,
        **arguments,
    )


def epochs_of(loader: Any, count: int = 3) -> list[list[int]]:
    """The order of the images in each epoch."""
    return [[int(i) for _, labels_B in loader for i in labels_B] for _ in range(count)]


def test_batches_are_float_images_and_int64_labels_and_the_last_is_smaller() -> None:
    """Nothing is dropped: an epoch is every image once."""
    batches = list(loader_of(shuffle=False))
    assert [tuple(images.shape) for images, _ in batches] == [
        (8, 1, 28, 28),
        (8, 1, 28, 28),
        (4, 1, 28, 28),
    ]
    assert {(images.dtype, labels.dtype) for images, labels in batches} == {
        (torch.float32, torch.int64)
    }


def test_an_unshuffled_loader_keeps_the_order() -> None:
    """Validation and test images come as they lie."""
    assert epochs_of(loader_of(shuffle=False), count=2) == [list(range(20))] * 2


def test_every_epoch_is_every_image_once_in_an_order_of_its_own() -> None:
    """A shuffled epoch is a permutation, and no two are alike."""
    epochs = epochs_of(loader_of())
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(20))]}) == 4


def test_the_order_depends_on_the_seed_only() -> None:
    """Torch's global state and the number of workers do not matter."""
    torch.manual_seed(1)
    expected = epochs_of(loader_of(seed=5))
    torch.manual_seed(2)
    assert epochs_of(loader_of(seed=5)) == expected
    assert epochs_of(loader_of(seed=5, workers=2)) == expected
    assert epochs_of(loader_of(seed=6)) != expected


def test_workers_give_the_same_batches() -> None:
    """Preparing images in other processes changes no bit."""
    for (ours, _), (theirs, _) in zip(loader_of(workers=1), loader_of(), strict=True):
        assert torch.equal(ours, theirs)


def test_memory_is_pinned_for_cuda_only_and_workers_outlive_an_epoch() -> None:
    """Pinning warns, or fails, where there is no CUDA; workers cost seconds to start."""
    assert loader_of(device_type="cuda").pin_memory
    assert not loader_of(device_type="cpu").pin_memory
    assert not loader_of(device_type="mps").pin_memory
    assert loader_of(workers=1).persistent_workers
    assert not loader_of(workers=0).persistent_workers


@pytest.mark.parametrize(
    ("device_type", "cores", "workers"),
    [
        ("cpu", 1, 0),
        ("cpu", 2, 0),
        ("cpu", 4, 1),
        ("cpu", 15, 3),
        ("cpu", 64, 4),
        ("cuda", 1, 1),
        ("cuda", 2, 1),
        ("cuda", 6, 5),
        ("cuda", 64, 8),
        ("mps", 8, 7),
        ("xpu", 9, 8),
    ],
)
def test_workers_leave_the_cores_to_what_trains(device_type: str, cores: int, workers: int) -> None:
    """On a CPU they would compete with training; beside an accelerator cores are idle."""
    assert choose_workers(device_type, cores) == workers


def test_workers_are_chosen_from_the_cores_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container on a large machine may have few of its cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert choose_workers("cuda") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert choose_workers("cuda") == 5


@pytest.mark.parametrize(
    ("workers", "images", "loaders", "needed_mebibytes"),
    [
        (8, 100_000, 1, 8 * 2 * 73.5),  # torch prepares two batches a worker
        (8, 3 * 128, 1, 3 * 73.5),  # an epoch has no more batches than these
        (8, 100_000, 4, 4 * 8 * 2 * 73.5),  # as many on each of four devices
        (0, 100_000, 1, 0),
    ],
)
def test_batches_that_do_not_fit_into_shared_memory_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workers: int,
    images: int,
    loaders: int,
    needed_mebibytes: float,
) -> None:
    """128 float32 images of 3 x 224 x 224 are 73.5 MiB; just enough room is enough."""
    labels = torch.zeros(images, 1)
    loader = torch.utils.data.DataLoader(labels, batch_size=128, num_workers=workers)
    free = int(needed_mebibytes * 2**20)

    def check() -> None:
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("cnnperf.training.data.loaders.shutil.disk_usage", lambda _: usage)
        check_shared_memory(loader, 128 * 3 * 224 * 224 * 4, loaders=loaders, folder=tmp_path)
        check_shared_memory(loader, 2**50, folder=tmp_path / "not there")

    check()
    free -= 1
    if not workers:
        check()
        return
    with pytest.raises(UsageError) as caught:
        check()
    message = str(caught.value)
    assert f"{loaders * workers} DataLoader workers may fill {needed_mebibytes:,.0f} MiB" in message
    assert "docker run --shm-size=" in message
    assert "--cnnperf-set workers=N" in message
