"""Measure the mean and deviation of the training images, for data sets that state none.

They are computed in float64, over all pixels of each channel, some images at a time, and rounded
to seven digits: the last bits of a long sum differ between machines. Pixels of uint8 count as 0..1.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError
from cnnperf.training.data.sources import Images

CHUNK_VALUES = 2**20
"""Values converted to float64 at a time: 8 MiB, about what a cache holds."""

CONSTANT = 1e-12
"""Deviation, as a share of the mean, that is only rounding."""

DIGITS = 7
"""About those of float32."""


def with_normalisation(spec: DatasetSpec, images_NHWC: Images) -> DatasetSpec:
    """Return a data set with mean and std: its own, else those of its training images.

    Raises:
        DataError: a value is not finite.
    """
    if spec.mean is not None:
        return spec
    with np.errstate(invalid="ignore"):
        mean_C, std_C = measure(images_NHWC)
    for channel, std in enumerate(std_C):
        if not math.isfinite(std):
            raise DataError(
                f"data set {spec.name}: channel {channel} of the training images has values that "
                "are not finite; correct the images"
            )
    # What is the same everywhere is only centred, as by scikit-learn's StandardScaler.
    std_C = tuple(
        1.0 if std <= CONSTANT * abs(mean) else std for mean, std in zip(mean_C, std_C, strict=True)
    )
    return spec.model_copy(update={"mean": mean_C, "std": std_C})


def measure(images_NHWC: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel; uint8 is scaled to 0..1."""
    count = images_NHWC[..., 0].size
    # Two passes: the square of a large mean would swallow a small deviation.
    mean_C = sum(np.einsum("xc->c", chunk_XC) for chunk_XC in _chunks(images_NHWC)) / count
    apart = (chunk_XC - mean_C for chunk_XC in _chunks(images_NHWC))
    squares_C = sum(np.einsum("xc,xc->c", each_XC, each_XC) for each_XC in apart)
    return _rounded(mean_C), _rounded(np.sqrt(squares_C / count))


def _chunks(images_NHWC: Images) -> Iterator[npt.NDArray[np.float64]]:
    """Yield all pixels (X, C) as float64, some images at a time."""
    scale = 255.0 if images_NHWC.dtype == np.uint8 else 1.0
    rows = max(1, CHUNK_VALUES // int(np.prod(images_NHWC.shape[1:])))
    for first in range(0, len(images_NHWC), rows):
        chunk = images_NHWC[first : first + rows].reshape(-1, images_NHWC.shape[3])
        yield chunk.astype(np.float64) / scale


def _rounded(values_C: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values_C)
