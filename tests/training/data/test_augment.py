"""Rotation, scaling, cropping and elastic deformation of a batch, held to torchvision's.

torchvision does one image at a time and one change after the other; what can be compared is each
change, each composition that it has, and the blur.

Shapes: B images, C channels, H W pixels; 2 is x, y.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from cnnperf.catalog.cases import AUGMENTED
from cnnperf.catalog.specs import Augmentation
from cnnperf.training.data.augment import Draws, augment, blur, draw, warp

CPU = torch.device("cpu")
ALL_FOUR = AUGMENTED.augmentation
assert ALL_FOUR is not None
BILINEAR = v2.InterpolationMode.BILINEAR

EACH_ALONE = {
    "rotation": Augmentation(rotation_degrees=40),
    "scale": Augmentation(scale_fraction=0.5),
    "crop": Augmentation(crop_shift_pixels=5),
    "elastic": Augmentation(elastic_alpha_pixels=30),
    "all four": ALL_FOUR,
}
each = pytest.mark.parametrize("augmentation", EACH_ALONE.values(), ids=EACH_ALONE)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def mirrored(images_BCHW: Tensor) -> Tensor:
    """Each image in the middle of nine, continued to every side by its mirror image."""
    height, width = images_BCHW.shape[-2:]
    return reference.pad(images_BCHW, [width, height], padding_mode="symmetric")


def draws_of(*images: dict[str, Any]) -> Draws:
    """One image's draws each, as a person would say them."""
    return Draws(
        angle_radians_B=torch.tensor([math.radians(each.get("degrees", 0)) for each in images]),
        scale_B=torch.tensor([each.get("scale", 1.0) for each in images]),
        shift_pixels_B2=torch.tensor([each.get("shift", (0.0, 0.0)) for each in images]),
    )


def seeded(images_BCHW: Tensor, augmentation: Augmentation = ALL_FOUR, *, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return augment(images_BCHW, augmentation)


def drawn(augmentation: Augmentation, batch_size: int, size: int = 28, *, seed: int = 0) -> Draws:
    torch.manual_seed(seed)
    return draw(augmentation, torch.empty(batch_size, 1, size, size))


# --- against torchvision ------------------------------------------------------------------------


@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.7, 2),
    x=st.floats(-3, 3),
    y=st.floats(-3, 3),
    size=st.sampled_from([(28, 28), (27, 33), (40, 30)]),
)
@settings(max_examples=60)
def test_rotation_scale_and_shift_are_torchvisions_affine(
    degrees: float, scale: float, x: float, y: float, size: tuple[int, int]
) -> None:
    """The same directions, about the same middle, to the same pixels, up to the border."""
    images_BCHW = pictures(1, 3, *size)
    ours = warp(images_BCHW, draws_of({"degrees": degrees, "scale": scale, "shift": (x, y)}))
    theirs = reference.affine(
        mirrored(images_BCHW), degrees, [x, y], scale, [0.0, 0.0], interpolation=BILINEAR
    )
    torch.testing.assert_close(ours, reference.center_crop(theirs, list(size)), atol=5e-4, rtol=0)


def test_pixels_outside_the_border_are_reflected() -> None:
    """The result equals a crop of the image padded with its reflection."""
    images_BCHW = pictures(2, 3, 12, 12)
    ours = warp(images_BCHW, draws_of({"shift": (3, -2)}, {"shift": (-4, 0)}))
    padded = v2.Pad(5, padding_mode="symmetric")(images_BCHW)
    torch.testing.assert_close(ours[0], padded[0, :, 7:19, 2:14], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[1], padded[1, :, 5:17, 9:21], atol=1e-5, rtol=0)


def test_an_elastic_deformation_is_torchvisions() -> None:
    """It says the same displacement in halves of the image's size."""
    images_BCHW = pictures(3, 3, 28, 28)
    draws = drawn(Augmentation(elastic_alpha_pixels=25, elastic_sigma_pixels=3), 3)
    assert draws.displacement_pixels_B2HW is not None
    ours = warp(images_BCHW, draws)
    for i, displacement_2HW in enumerate(draws.displacement_pixels_B2HW):
        as_theirs = reference.pad(displacement_2HW, [28, 28]).permute(1, 2, 0) * 2 / (3 * 28)
        theirs = reference.elastic(mirrored(images_BCHW[i]), as_theirs.unsqueeze(0), BILINEAR)
        expected = reference.center_crop(theirs, [28, 28])
        torch.testing.assert_close(ours[i], expected, atol=5e-4, rtol=0)


def test_the_displacement_is_drawn_as_torchvision_draws_it() -> None:
    """The same random numbers give noise, blurred, times half of its alpha."""
    draws = drawn(Augmentation(elastic_alpha_pixels=20, elastic_sigma_pixels=2.5), 1, seed=7)
    torch.manual_seed(7)
    torch.rand(4, 1)  # angle, scale and the two of the shift come first
    theirs = v2.ElasticTransform(alpha=40.0, sigma=2.5).make_params([torch.zeros(3, 28, 28)])
    expected_B2HW = theirs["displacement"].permute(0, 3, 1, 2) * 28 / 2
    assert draws.displacement_pixels_B2HW is not None
    torch.testing.assert_close(draws.displacement_pixels_B2HW, expected_B2HW, atol=1e-5, rtol=0)


def test_elastic_and_affine_together_equal_one_after_the_other() -> None:
    """On a smooth picture, which does not notice that torchvision interpolates it twice."""
    columns = torch.linspace(0, 3, 64)
    image_CHW = (torch.sin(columns) * torch.cos(columns + 1).view(-1, 1)).unsqueeze(0)
    elastic = drawn(Augmentation(elastic_alpha_pixels=25), 1, 64)
    displacement_B2HW = elastic.displacement_pixels_B2HW
    assert displacement_B2HW is not None
    draws = Draws(
        angle_radians_B=torch.tensor([math.radians(12)]),
        scale_B=torch.tensor([1.2]),
        shift_pixels_B2=torch.tensor([[2.0, -1.0]]),
        displacement_pixels_B2HW=displacement_B2HW,
    )
    ours = warp(image_CHW.unsqueeze(0), draws)[0]
    turned = reference.affine(image_CHW, 12, [2, -1], 1.2, [0, 0], interpolation=BILINEAR)
    theirs = reference.elastic(turned, displacement_B2HW.permute(0, 2, 3, 1) * 2 / 64, BILINEAR)
    inside = (..., slice(16, -16), slice(16, -16))
    torch.testing.assert_close(ours[inside], theirs[inside], atol=2e-3, rtol=0)
    assert (ours - image_CHW)[inside].abs().max() > 0.1


@given(sigma=st.floats(0.2, 4), height=st.integers(17, 40), width=st.integers(17, 40))
@settings(max_examples=25)
def test_the_blur_is_torchvisions(sigma: float, height: int, width: int) -> None:
    """The kernel is that of its elastic deformation; images need not be square."""
    planes_XHW = pictures(3, height, width) * 2 - 1
    kernel = int(8 * sigma + 1) // 2 * 2 + 1
    theirs = reference.gaussian_blur(planes_XHW, [kernel, kernel], [sigma, sigma])
    torch.testing.assert_close(blur(planes_XHW, sigma), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_the_blur_may_be_wider_than_the_image(size: int) -> None:
    """The mirror image is mirrored again, as scipy does; torchvision refuses such an image."""
    planes_XHW = pictures(2, size, size)
    theirs = gaussian_filter(planes_XHW.numpy(), sigma=4, axes=(1, 2), mode="mirror", truncate=4)
    torch.testing.assert_close(blur(planes_XHW, 4.0), torch.as_tensor(theirs), atol=1e-5, rtol=0)


# --- what stays ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_strengths_of_zero_leave_the_images_as_they_are(channels: int) -> None:
    """Up to the rounding of positions between which is interpolated."""
    images_BCHW = pictures(4, channels, 28, 28)
    torch.testing.assert_close(augment(images_BCHW, Augmentation()), images_BCHW, atol=1e-5, rtol=0)


def test_without_augmentation_the_same_tensor_is_returned() -> None:
    """No copy, and nothing is drawn: dropout goes on as it would have."""
    images_BCHW = pictures(4, 3, 28, 28)
    before = torch.get_rng_state()
    assert augment(images_BCHW, None) is images_BCHW
    assert torch.equal(torch.get_rng_state(), before)


@each
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 28, 28), (5, 1, 28, 28), (1, 3, 8, 12)], ids=str)
def test_shape_and_order_in_memory_stay(
    augmentation: Augmentation, order: torch.memory_format, shape: tuple[int, ...]
) -> None:
    """A convolution chooses its kernel by the strides; the order changes no value either."""
    images_BCHW = pictures(*shape).to(memory_format=order)
    ours = seeded(images_BCHW, augmentation)
    assert ours.shape == images_BCHW.shape
    assert ours.stride() == images_BCHW.stride()
    torch.testing.assert_close(ours, seeded(pictures(*shape), augmentation), atol=1e-6, rtol=0)


def test_grey_images_as_the_resident_data_give_them_keep_their_strides() -> None:
    """One channel from the end of the shape: both orders at once, as far as torch can tell."""
    images_BCHW = pictures(5, 28, 28, 1).permute(0, 3, 1, 2)
    assert seeded(images_BCHW).stride() == images_BCHW.stride()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_precision_of_the_images_stays(dtype: torch.dtype) -> None:
    """The grid is never coarser than float32: bfloat16 would move pixels by a quarter of one."""
    images_BCHW = pictures(4, 3, 28, 28).to(dtype)
    ours = seeded(images_BCHW)
    assert ours.dtype == dtype
    exact = seeded(images_BCHW.to(torch.float32))
    torch.testing.assert_close(ours, exact.to(dtype), atol=1e-5, rtol=2**-7)


def test_augmentation_does_not_write_to_its_input() -> None:
    """They may be the data set, which is looked at again in the next epoch."""
    images_BCHW = pictures(4, 3, 28, 28)
    seeded(images_BCHW)
    assert torch.equal(images_BCHW, pictures(4, 3, 28, 28))


@each
def test_normalising_before_or_after_gives_the_same(augmentation: Augmentation) -> None:
    """No colour from outside comes in, and weights of a pixel add up to 1."""
    images_BCHW = pictures(4, 3, 28, 28)
    normalise = v2.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    before = seeded(normalise(images_BCHW), augmentation)
    after = normalise(seeded(images_BCHW, augmentation))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


# --- what is drawn ------------------------------------------------------------------------------


@each
def test_the_same_seed_gives_the_same_pictures_and_another_gives_others(
    augmentation: Augmentation,
) -> None:
    """And each pass over the images gives new ones."""
    images_BCHW = pictures(4, 3, 28, 28)
    first = seeded(images_BCHW, augmentation, seed=1)
    second = augment(images_BCHW, augmentation)
    assert torch.equal(first, seeded(images_BCHW, augmentation, seed=1))
    other = seeded(images_BCHW, augmentation, seed=2)
    for one, two in ((first, images_BCHW), (first, second), (first, other)):
        assert ((one - two).abs().amax(dim=(1, 2, 3)) > 0.01).all()


@each
def test_each_image_of_a_batch_is_changed_in_its_own_way(augmentation: Augmentation) -> None:
    """The same picture many times over becomes as many pictures."""
    ours = seeded(pictures(1, 3, 28, 28).expand(6, -1, -1, -1), augmentation)
    differences = torch.pdist(ours.flatten(1), p=math.inf)
    assert differences.min() > 0.01


def test_an_image_does_not_depend_on_the_others_of_its_batch() -> None:
    """Alone, with its own draws, it becomes what it became among them."""
    images_BCHW = pictures(6, 3, 28, 28)
    draws = drawn(ALL_FOUR, 6)
    ours = warp(images_BCHW, draws)
    assert draws.displacement_pixels_B2HW is not None
    for i in range(6):
        alone = Draws(
            angle_radians_B=draws.angle_radians_B[i : i + 1],
            scale_B=draws.scale_B[i : i + 1],
            shift_pixels_B2=draws.shift_pixels_B2[i : i + 1],
            displacement_pixels_B2HW=draws.displacement_pixels_B2HW[i : i + 1],
        )
        torch.testing.assert_close(
            warp(images_BCHW[i : i + 1], alone)[0], ours[i], atol=1e-6, rtol=0
        )


def test_draws_fill_their_bounds_evenly() -> None:
    """Thousands of them: as far as they may go, no farther, and as often either way.

    A uniform draw from -1..1 has a deviation of 1/sqrt(3); the four have nothing to do with each
    other.
    """
    augmentation = Augmentation(rotation_degrees=15, scale_fraction=0.1, crop_shift_pixels=3.5)
    draws = drawn(augmentation, 20_000)
    assert draws.displacement_pixels_B2HW is None
    units = torch.stack(
        (
            draws.angle_radians_B.rad2deg() / 15,
            (draws.scale_B - 1) / 0.1,
            *(draws.shift_pixels_B2 / 3.5).unbind(dim=1),
        )
    )
    assert units.abs().max() <= 1 + 1e-4
    assert (units.amax(dim=1) > 0.999).all()
    assert (units.amin(dim=1) < -0.999).all()
    assert units.mean(dim=1).abs().max() < 0.02
    assert (units.std(dim=1) - 1 / math.sqrt(3)).abs().max() < 0.01
    assert (torch.corrcoef(units) - torch.eye(4)).abs().max() < 0.03


def test_the_built_in_recipe_moves_pixels_by_about_one_elastically() -> None:
    """Root mean square; x and y of a pixel, and different images, move by themselves."""
    displacement_B2HW = drawn(ALL_FOUR, 256).displacement_pixels_B2HW
    assert displacement_B2HW is not None
    assert 0.9 < displacement_B2HW.square().mean().sqrt() < 1.1
    x, y = displacement_B2HW[:, :, 14, 14].unbind(dim=1)
    assert torch.corrcoef(torch.stack((x, y)))[0, 1].abs() < 0.25
    assert x.std() > 0.5


# --- as the engines run it ----------------------------------------------------------------------


def test_augmentation_reads_no_number_from_the_device() -> None:
    """On meta tensors there is none to be had: whatever needs one raises.

    That is what a CUDA graph needs: the same operations on the same shapes, whatever is drawn.
    """
    meta = torch.device("meta")
    draws = draw(ALL_FOUR, torch.empty(8, 1, 28, 28, device=meta))
    assert draws.scale_B.device == meta
    assert augment(torch.empty(8, 3, 28, 28, device=meta), ALL_FOUR).device == meta


def test_augmentation_compiles_as_one_graph() -> None:
    """Traced without a break, and the trace gives the same pictures."""
    images_BCHW = pictures(4, 3, 28, 28)
    draws = drawn(ALL_FOUR, 4)
    compiled = torch.compile(warp, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images_BCHW, draws), warp(images_BCHW, draws))
    whole = torch.compile(augment, backend="eager", fullgraph=True)
    torch.manual_seed(3)
    assert torch.equal(whole(images_BCHW, ALL_FOUR), seeded(images_BCHW, seed=3))


@pytest.mark.cuda
def test_draws_differ_at_each_replay_of_a_cuda_graph() -> None:
    """Captured once; every replay gives other pictures, those that the seed alone decides."""
    images_BCHW = pictures(4, 3, 28, 28).cuda()
    augment(images_BCHW, ALL_FOUR)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result_BCHW = augment(images_BCHW, ALL_FOUR)
    torch.manual_seed(5)
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(result_BCHW.clone())
    torch.manual_seed(5)
    for replayed in seen:
        torch.testing.assert_close(replayed, augment(images_BCHW, ALL_FOUR), atol=1e-4, rtol=0)
    assert not torch.equal(seen[0], seen[1])
