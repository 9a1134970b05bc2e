"""Read a data set of Hugging Face from this machine (`cnnperf.catalog.huggingface` describes it).

Images are decoded once, resized and cropped like those of a folder. Reading is on the clock.

Shapes: N images, C channels, R pixels a side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cnnperf.catalog.huggingface import open_splits
from cnnperf.errors import DataError
from cnnperf.training.data.files import decode_rows, join_splits, to_square
from cnnperf.training.data.sources import RawImages


def load_huggingface(
    data_dir: str | Path,  # noqa: ARG001 - it has a place of its own
    *,
    source: str,
    image: str,
    label: str,
    channels: int,
    resolution: int,
) -> RawImages:
    """Decode all images as uint8 (N, R, R, C).

    Args:
        data_dir: unused.
        source: a folder of `save_to_disk`, or a name in the cache of `datasets`.
        image: column of the images; `label` is that of the labels.
        label: the column of the labels.
        channels: 1 or 3.
        resolution: R, in pixels.

    Raises:
        DataError: an image cannot be decoded, or a label is missing.
    """
    splits = {}
    opened = open_splits(source)
    total = sum(rows.num_rows for rows in opened.values())
    done = 0
    for split, rows in opened.items():

        def decode(row: int, rows: Any = rows, split: str = split) -> Any:
            try:
                return to_square(rows[row][image], channels, resolution)
            except Exception as error:  # a broken image can fail anywhere in its decoder
                raise DataError(
                    f"data set {source}: row {row} of split {split}: column {image} cannot be "
                    f"decoded ({error}); replace it or delete it"
                ) from error

        labels = rows.with_format(None)[label]
        if None in list(labels):
            raise DataError(f"data set {source}: split {split} has rows without a {label}")
        images = decode_rows(decode, rows.num_rows, (resolution, resolution, channels), done, total)
        splits[split] = (images, np.asarray(labels, dtype=np.int64))
        done += rows.num_rows
    return join_splits(splits)
