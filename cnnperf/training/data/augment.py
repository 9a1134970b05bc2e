"""Augment training images at random, a whole batch at once, on their device.

The study proposes rotation, scaling, cropping and elastic deformation against the overfitting that
it saw. All four move pixels, so they are combined into one grid and the image is interpolated once:
four passes would blur it four times. Nothing here waits for the device or reads a number from it,
so it works in a CUDA graph.

    augment(images_BCHW, Augmentation(rotation_degrees=15, elastic_alpha_pixels=20))

Shapes: B images, C channels, H W pixels; a dimension of 2 is x, y. The origin is the middle of the
image, x points right and y points down.
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
    """Random parameters of each image of a batch."""

    angle_radians_B: Tensor
    """Clockwise."""
    scale_B: Tensor
    """Above 1, the content becomes larger."""
    shift_pixels_B2: Tensor
    """The content moves right and down."""
    displacement_pixels_B2HW: Tensor | None = None
    """Offset from each pixel to its source; None without elastic deformation."""


def augment(images_BCHW: Tensor, augmentation: Augmentation | None) -> Tensor:
    """Augment each image independently; without an augmentation, return the images unchanged.

    The images are floating-point, normalised or not. Call it outside autocast, which would round
    the grid.
    """
    return (
        images_BCHW if augmentation is None else warp(images_BCHW, draw(augmentation, images_BCHW))
    )


def draw(augmentation: Augmentation, images_BCHW: Tensor) -> Draws:
    """Draw the parameters of every image from the default generator of the images' device."""
    batch_size, _, height, width = images_BCHW.shape
    device = images_BCHW.device
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
    return torch.rand(shape, device=device) * 2 - 1


def warp(images_BCHW: Tensor, draws: Draws) -> Tensor:
    """Apply the draws to each image; shape, dtype and memory layout stay the same.

    Values are interpolated between pixels. Outside its border an image is reflected, not filled
    with a colour, so the result does not depend on normalising before or after.
    """
    # bfloat16 is too coarse for positions.
    precise = torch.promote_types(images_BCHW.dtype, torch.float32)
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
    """Return the source position of each pixel, (B, H, W, 2); -1 and 1 are the image's borders.

    An image is rotated and scaled about its middle, then shifted, then deformed. Source positions
    invert these changes, from the last to the first.
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
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def blur(planes_XHW: Tensor, sigma_pixels: float) -> Tensor:
    """Apply a Gaussian blur to the last two dimensions of any number of planes (X).

    It is a matrix product along each dimension: on small images, a convolution with a wider kernel
    would take more work.
    """
    height, width = planes_XHW.shape[-2:]
    rows_HH = _blur_matrix(height, sigma_pixels, planes_XHW)
    columns_WW = _blur_matrix(width, sigma_pixels, planes_XHW)
    return rows_HH @ planes_XHW @ columns_WW.T


def _blur_matrix(size: int, sigma_pixels: float, like: Tensor) -> Tensor:
    """Return the blur of a row of N = `size` pixels as a matrix (N, N), one output pixel per row.

    As in torchvision's elastic deformation, the kernel (T) reaches 4 sigma, and the row is
    reflected about the middle of its last pixel. The matrix is made on the device at each call: a
    tensor kept between calls would belong to the CUDA graph that first made it.
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
