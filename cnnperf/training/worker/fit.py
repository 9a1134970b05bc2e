"""Check that a model, its data and its recipe fit each other, before anything is trained.

A model gets two images, on the meta device if it works there, else on the device of the run. What
is found here would otherwise end each training after minutes, or train something else.

Shapes: B images, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import functools
import pkgutil
from typing import Any

import torch
from torch import Tensor, nn

from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.models import build_with_batch
from cnnperf.training.worker.channel import one_line

BATCH = 2
"""Batch norm needs more than one value per channel."""

Shape = tuple[str, int, int, int]
"""Name of a model, channels, resolution and number of classes."""


def check_model(case: Case, device: torch.device) -> None:
    """Check a case's model on images of its data set.

    Raises:
        UsageError: it cannot be built, has nothing to train, fails on the images, or gives
            something else than logits (B, K).
    """
    dataset = get_dataset(case.dataset)
    channels = input_channels(get_model(case.model), dataset)
    shape = (case.model, channels, case.resolution, dataset.num_classes)
    problem = _problem(shape, BATCH, device)
    if problem is not None:
        is_librarys = "/" in get_model(case.model).builder
        advice = "try another resolution or model" if is_librarys else "correct the model"
        raise UsageError(f"case {case.id}: model {case.model} {problem}; {advice}")
    recipe = case.recipe
    steps = recipe.steps_per_epoch(dataset.train_images)
    has_short = not recipe.drop_last and (recipe.max_steps or steps) >= steps
    if 1 in (recipe.batch_size, dataset.train_images % recipe.batch_size if has_short else 0):
        problem = _problem(shape, 1, device)
        if problem is not None:
            raise UsageError(f"case {case.id}: model {case.model} {problem}; {_one_image(case)}")


def _one_image(case: Case) -> str:
    """Return why a batch has one image, and what to do."""
    if case.recipe.batch_size == 1:
        return "choose a batch_size above 1"
    images = get_dataset(case.dataset).train_images
    return (
        f"the last of {images} images in batches of {case.recipe.batch_size} is alone: set "
        f"drop_last = true in recipe {case.recipe.name}, or choose another batch_size"
    )


def check_data(case: Case) -> None:
    """Check that a data set's loader or pipeline can be imported, and that an epoch has a batch.

    Raises:
        UsageError: it cannot.
    """
    dataset = get_dataset(case.dataset)
    try:
        pkgutil.resolve_name(dataset.import_path)
    except Exception as error:  # a user's module may fail in any way
        raise UsageError(
            f"data set {dataset.name}: {dataset.import_path} cannot be imported "
            f"({type(error).__name__}: {one_line(str(error))}); correct the import path or the "
            "module"
        ) from error
    if not case.recipe.steps_per_epoch(dataset.train_images):
        raise UsageError(
            f"case {case.id}: {dataset.train_images} images do not fill a batch of "
            f"{case.recipe.batch_size}, and recipe {case.recipe.name} has drop_last; choose a "
            "smaller batch_size"
        )


@functools.cache  # many cases have the same model, and a builder may be slow
def build_on_meta(shape: Shape) -> tuple[nn.Module, Tensor, Tensor]:
    """Build a model in train mode, with a batch, on the meta device.

    Raises:
        UsageError: it cannot be built at all.
    """
    with torch.device("meta"):
        return build_with_batch(*shape, BATCH)


@functools.cache
def _problem(shape: Shape, batch_size: int, device: torch.device) -> str | None:
    """Describe what is wrong with a model, in train mode and when it is evaluated."""
    _, channels, resolution, num_classes = shape
    try:
        model, _, _ = build_on_meta(shape)
    except UsageError:
        raise
    except Exception as error:
        return f"cannot be built ({_text(error)})"
    if not any(each.requires_grad for each in model.parameters()):
        return "has no parameters to train"
    images = f"images ({batch_size}, {channels}, {resolution}, {resolution})"
    expected = f"expected logits ({batch_size}, {num_classes})"
    found = _outputs(model, shape, batch_size, torch.device("meta"))
    if isinstance(found, Exception):  # what reads values fails on the meta device
        with device:
            model = build_with_batch(*shape, batch_size)[0].to(device)
        found = _outputs(model, shape, batch_size, device)
    if isinstance(found, Exception):
        return f"fails on {images} ({_text(found)}), {expected}"
    if found != [(batch_size, num_classes)] * len(found):
        wrong = next(each for each in found if each != (batch_size, num_classes))
        return f"gives {wrong} for {images}, {expected}"
    return None


def _outputs(
    model: nn.Module, shape: Shape, batch_size: int, device: torch.device
) -> list[object] | Exception:
    """Return the shape of what a model gives in train mode, then in eval mode, or its error."""
    _, channels, resolution, _ = shape
    try:
        with device, torch.no_grad():
            images_BCHW = torch.zeros(batch_size, channels, resolution, resolution)
            return [_shape_of(model.train(mode)(images_BCHW)) for mode in (True, False)]
    except Exception as error:
        return error
    finally:
        model.train()


def _shape_of(output: Any) -> object:
    if isinstance(output, Tensor):
        return tuple(output.shape)
    kind = type(output).__name__
    size = f" of {len(output)} items" if isinstance(output, tuple | list | dict) else ""
    return f"a {kind}{size}"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error), 200)}"
