"""Images on the device equal those of torchvision and Pillow in every bit."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from PIL import Image  # noqa: E402
from torchvision import transforms  # noqa: E402

from cnnperf.catalog.registry import get_dataset  # noqa: E402
from cnnperf.training.data import Split  # noqa: E402
from cnnperf.training.data.resize import resize_exactly  # noqa: E402
from cnnperf.training.data.transforms import build_transform  # noqa: E402
from cnnperf.training.engines.fast import device_data  # noqa: E402
from cnnperf.training.engines.fast.device_data import DeviceSplit  # noqa: E402


def random_images(count: int, pixels: int, channels: int) -> np.ndarray:
    """Noise, which has every value and every edge."""
    rng = np.random.default_rng(pixels * 10 + channels)
    return rng.integers(0, 256, (count, pixels, pixels, channels), dtype=np.uint8)


def as_pil(image_HWC: np.ndarray) -> Image.Image:
    """An image as torchvision's data sets hand it out."""
    return Image.fromarray(image_HWC if image_HWC.shape[2] == 3 else image_HWC[..., 0])


@pytest.mark.parametrize("resolution", [7, 28, 32, 40, 96, 224])
@pytest.mark.parametrize(("pixels", "channels"), [(8, 1), (28, 1), (32, 3)])
def test_resizing_equals_pillow_in_every_bit(pixels: int, channels: int, resolution: int) -> None:
    """Up and down, grey and colour."""
    images = random_images(9, pixels, channels)
    resize = transforms.Resize((resolution, resolution))
    expected = np.stack(
        [np.asarray(resize(as_pil(i))).reshape(resolution, resolution, channels) for i in images]
    )
    assert np.array_equal(resize_exactly(torch.as_tensor(images), resolution).numpy(), expected)


@pytest.mark.parametrize(
    ("dataset", "resolution", "channels"),
    [("mnist", 28, 1), ("mnist", 224, 3), ("cifar10", 28, 3), ("digits", 28, 1)],
)
@pytest.mark.parametrize("ready", [None, torch.float32, torch.bfloat16])
def test_a_batch_equals_torchvisions_transforms_in_every_bit(
    dataset: str,
    resolution: int,
    channels: int,
    ready: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any rows in any order; labels go with them. Kept in bfloat16, they are rounded once."""
    monkeypatch.setattr(device_data, "NORMALISED_AT_ONCE", 5)
    spec = get_dataset(dataset)
    images = random_images(12, spec.resolution, spec.channels)
    labels = np.arange(12, dtype=np.int64)
    split = Split(images_NHWC=images, labels_N=labels)
    resident = DeviceSplit(
        spec, images=12, resolution=resolution, channels=channels, device=torch.device("cpu"),
        ready_dtype=ready,
    )  # fmt: skip
    resident.fill(split)
    rows = torch.tensor([7, 0, 11, 7, 3])
    got, got_labels = resident.batch(rows)
    transform = build_transform(spec, resolution=resolution, channels=channels)
    expected = torch.stack([transform(as_pil(images[row])) for row in rows.tolist()])
    assert got.dtype == (ready or torch.float32)
    assert torch.equal(got, expected.to(got.dtype))
    assert got_labels.tolist() == rows.tolist()


@pytest.mark.parametrize("resolution", [28, 40])
def test_in_chunks_a_split_gives_the_same_images_in_the_same_order(resolution: int) -> None:
    """Ten images where four have room: chunks of 4, 4 and 2, whatever the order."""
    spec = get_dataset("mnist")
    split = Split(images_NHWC=random_images(10, 28, 1), labels_N=np.arange(10, dtype=np.int64))
    whole, chunked = (
        DeviceSplit(
            spec, images=10, resolution=resolution, channels=1, device=torch.device("cpu"),
            chunk_images=chunk,
        )
        for chunk in (None, 4)
    )  # fmt: skip
    for resident in (whole, chunked):
        resident.fill(split)
    assert whole.is_whole
    assert not chunked.is_whole
    assert len(chunked) == 10
    for order in (None, torch.tensor([3, 9, 0, 1, 8, 2, 7, 4, 6, 5])):
        expected = [whole.batch(rows) for rows in whole.chunks(order)]
        got = [chunked.batch(rows) for rows in chunked.chunks(order)]
        assert [len(labels) for _, labels in got] == [4, 4, 2]
        assert torch.equal(torch.cat([images for images, _ in got]), expected[0][0])
        assert torch.cat([labels for _, labels in got]).tolist() == expected[0][1].tolist()


@pytest.mark.parametrize("ready", [None, torch.bfloat16])
def test_colour_batches_are_channels_last_in_memory(ready: torch.dtype | None) -> None:
    """So that the first convolution need not copy them."""
    spec = get_dataset("cifar10")
    split = Split(images_NHWC=random_images(4, 32, 3), labels_N=np.zeros(4, dtype=np.int64))
    resident = DeviceSplit(
        spec, images=4, resolution=28, channels=3, device=torch.device("cpu"), ready_dtype=ready
    )
    resident.fill(split)
    images, _ = resident.batch(torch.arange(4))
    assert images.is_contiguous(memory_format=torch.channels_last)
