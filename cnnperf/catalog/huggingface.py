"""Describe a data set of Hugging Face that is on this machine, without torch.

It is a folder that `Dataset.save_to_disk` wrote, or one that `datasets.load_dataset` has in its
cache. Nothing is downloaded. The reader in `cnnperf.training.data.huggingface` opens it alike.

    [datasets.beans]
    huggingface = "data/beans"        # or a name in the cache, such as "AI-Lab-Makerere/beans"
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cnnperf.catalog.files import SPLITS, describe_counts
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError, NotInstalledError, one_of

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Environment variables that forbid every download; `datasets` reads them when it is imported."""


def describe_huggingface(
    name: str, source: str, image: str | None = None, label: str | None = None, **given: Any
) -> DatasetSpec:
    """Describe a data set; `given` are fields of the description, which win.

    Args:
        name: its name here.
        source: a folder, or a name in the cache of `datasets`.
        image: column of the images; the default is the only one of that kind.
        label: column of the labels; the default is the only one with names of classes, or `label`.
        given: fields of `DatasetSpec`.

    Raises:
        NotInstalledError: the package `datasets` is missing.
        DataError: there is no such data set or column, or the number of classes is unknown.
    """
    splits = open_splits(source)
    features = splits["train"].features
    image = image or _only(features, "Image", "image", source)
    label = label or _only(features, "ClassLabel", "label", source)
    for column in (image, label):
        if column not in features:
            raise DataError(f"data set {source}: {one_of('column', column, features)}")
    names = getattr(features[label], "names", None)
    if names is None and "num_classes" not in given:
        raise DataError(
            f"data set {source}: column {label} has no names of classes; give num_classes"
        )
    channels = given.get("channels", 3)
    known = {} if names is None else {"num_classes": len(names), "classes": tuple(names)}
    return describe_counts(
        name,
        {split: found.num_rows for split, found in splits.items()},
        loader="cnnperf.training.data.huggingface:load_huggingface",
        arguments={"source": source, "image": image, "label": label, "channels": channels},
        **{
            "channels": channels,
            "resolution": None,
            "source": f"Hugging Face data set {Path(source).name}",
            **known,
            **given,
        },
    )


def open_splits(source: str) -> dict[str, Any]:
    """Open the splits `train`, `val` and `test`, those that there are, as `datasets.Dataset`.

    Raises:
        NotInstalledError: the package `datasets` is missing.
        DataError: there is no such data set on this machine, or it has no training images.
    """
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    try:
        import datasets
    except ImportError as error:
        raise NotInstalledError(
            f"data set {source} needs the package datasets ({error}): "
            "pip install 'cnnperf[huggingface]'"
        ) from error
    # Another module may have imported it before the variables were set.
    datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True
    datasets.disable_progress_bars()
    try:
        is_folder = Path(source).is_dir()
        found = datasets.load_from_disk(source) if is_folder else datasets.load_dataset(source)
    except Exception as error:  # a damaged folder can fail anywhere in its reader
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"data set {source} is neither a folder of save_to_disk nor in the cache of datasets "
            f"({reason}); nothing is downloaded here: fetch it with datasets.load_dataset first"
        ) from error
    given = found if isinstance(found, dict) else {"train": found}
    splits = {
        split: given[each] for split, names in SPLITS.items() for each in names if each in given
    }
    if "train" not in splits:
        raise DataError(f"data set {source} has no split train; it has {', '.join(given)}")
    return splits


def _only(features: Any, kind: str, usual: str, source: str) -> str:
    """Return the only column of a kind, else the usual one."""
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if len(found) == 1:
        return str(found[0])
    if usual in features:
        return usual
    raise DataError(
        f"data set {source} has {len(found)} columns of kind {kind} among {', '.join(features)}; "
        f"name one with {usual}"
    )
