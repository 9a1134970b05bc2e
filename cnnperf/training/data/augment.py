"""Training images changed at random, a whole batch at once, on the device where they are.

Torch half. The study names rotation, scaling, cropping and elastic deformation as the remedy for
the overfitting it saw. All four say where a pixel's value is to be taken from, so they are folded
into one grid and the image is interpolated once: four passes would blur it four times. Nothing here
waits for the device or asks Python for a number, so it can stand in a CUDA graph.

    augment(images_BCHW, Augmentation(rotation_degrees=15, elastic_alpha_pixels=20))

Shapes: `B` images, `C` channels, `H W` pixels; a last or second dimension of 2 is x, y. The origin
is the middle of the image, x points right and y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cnnperf.catalog.specs import Augmentation


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What was drawn for each image of a batch."""

    angle_radians_B: Tensor
    """Clockwise."""
    scale_B: Tensor
    """Above 1, what the image shows becomes larger."""
    shift_pixels_B2: Tensor
    """What the image shows moves right and down."""
    displacement_pixels_B2HW: Tensor | None = None
    """Where each pixel looks, seen from where it is; None where nothing is elastic."""


def augment(images_BCHW: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Change each image in its own way; without an augmentation they come back as they are.

    Call it outside of autocast, which would round the grid.

    Args:
        images_BCHW: floating point, normalised or not: the one is as the other.
        augmentation: what may happen to an image.
    """
    if augmentation is None:
        return images_BCHW
    batch_size, _, height, width = images_BCHW.shape
    draws = draw(
        augmentation,
        batch_size=batch_size,
        height=height,
        width=width,
        device=images_BCHW.device,
    )
    return warp(images_BCHW, draws)


def draw(
    augmentation: Augmentation,
    *,
    batch_size: int,
    height: int,
    width: int,
    device: torch.device,
) -> Draws:
    """Draw for every image what happens to it, from the device's default generator."""
    angle_B, scale_B, x_B, y_B = _noise(4, batch_size, device=device)
    displacement_B2HW = None
    if augmentation.elastic_alpha_pixels > 0:
        noise_B2HW = _noise(batch_size, 2, height, width, device=device)
        smooth_B2HW = blur(noise_B2HW, augmentation.elastic_sigma_pixels)
        displacement_B2HW = smooth_B2HW * augmentation.elastic_alpha_pixels
    return Draws(
        angle_radians_B=angle_B * math.radians(augmentation.rotation_degrees),
        scale_B=1 + scale_B * augmentation.scale_fraction,
        shift_pixels_B2=torch.stack((x_B, y_B), dim=1) * augmentation.crop_shift_pixels,
        displacement_pixels_B2HW=displacement_B2HW,
    )


def _noise(*shape: int, device: torch.device) -> Tensor:
    """Uniform in -1..1."""
    return torch.rand(shape, device=device) * 2 - 1


def warp(images_BCHW: Tensor, draws: Draws) -> Tensor:
    """Do to each image what was drawn for it; shape, dtype and order in memory stay.

    It is interpolated between pixels; beyond its border an image is continued by its mirror image,
    not by a colour, so that it does not matter whether it is normalised before or afterwards.
    """
    precise = torch.promote_types(images_BCHW.dtype, torch.float32)  # bfloat16 cannot tell pixels
    grid_BHW2 = _sampling_grid(draws, *images_BCHW.shape[-2:]).to(precise)
    warped_BCHW = grid_sample(
        images_BCHW.to(precise),
        grid_BHW2,
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return torch.empty_like(images_BCHW).copy_(warped_BCHW)


def _sampling_grid(draws: Draws, height: int, width: int) -> Tensor:
    """Where each pixel takes its value from, (B, H, W, 2): -1 and 1 are an image's two borders.

    The draws are undone from the last to the first: an image is rotated and scaled about its
    middle, then shifted, then deformed.
    """
    positions_2HW = torch.stack(
        (
            _centred(width, draws.scale_B).expand(height, width),
            _centred(height, draws.scale_B).view(-1, 1).expand(height, width),
        )
    )
    x_y_B2HW = positions_2HW - draws.shift_pixels_B2[:, :, None, None]
    if draws.displacement_pixels_B2HW is not None:
        x_y_B2HW = x_y_B2HW + draws.displacement_pixels_B2HW
    x_BHW, y_BHW = x_y_B2HW.unbind(dim=1)
    cos_B11 = (draws.angle_radians_B.cos() / draws.scale_B).view(-1, 1, 1)
    sin_B11 = (draws.angle_radians_B.sin() / draws.scale_B).view(-1, 1, 1)
    return torch.stack(
        (
            (cos_B11 * x_BHW + sin_B11 * y_BHW) * (2 / width),
            (cos_B11 * y_BHW - sin_B11 * x_BHW) * (2 / height),
        ),
        dim=-1,
    )


def _centred(size: int, like: Tensor) -> Tensor:
    """Positions of that many pixels in a row, from the row's middle."""
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def blur(planes_XHW: Tensor, sigma_pixels: float) -> Tensor:
    """Gaussian blur of the last two dimensions, of any number of planes (X).

    Along each of the two it is a product with a matrix: less work on small images than a
    convolution with a kernel that is wider than they are.
    """
    height, width = planes_XHW.shape[-2:]
    rows_HH = _blur_matrix(height, sigma_pixels, planes_XHW)
    columns_WW = _blur_matrix(width, sigma_pixels, planes_XHW)
    return rows_HH @ planes_XHW @ columns_WW.T


def _blur_matrix(size: int, sigma_pixels: float, like: Tensor) -> Tensor:
    """The blur of a row of `size` pixels: each row of the matrix holds one pixel's weights (N, N).

    The kernel (T) reaches as far as torchvision's elastic deformation lets it, 4 sigma, and the row
    is continued by its mirror image about the middle of its last pixel. It is made on the device
    at each call: a tensor kept from call to call would belong to the CUDA graph that first made it.
    """
    reach = int(8 * sigma_pixels + 1) // 2
    offsets_T = torch.arange(-reach, reach + 1, device=like.device)
    weights_T = torch.softmax(-0.5 * (offsets_T.to(like.dtype) / sigma_pixels) ** 2, dim=0)
    pixels_N = torch.arange(size, device=like.device)
    last = size - 1
    around_NT = (pixels_N[:, None] + offsets_T) % max(2 * last, 1)
    sources_NT = last - (around_NT - last).abs()
    taken_NTN = sources_NT[:, :, None] == pixels_N
    return (taken_NTN * weights_T[:, None]).sum(dim=1)
