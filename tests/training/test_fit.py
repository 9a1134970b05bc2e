"""A model, its data and its recipe are checked together, before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.registry import register_dataset, register_model  # noqa: E402
from cnnperf.catalog.specs import Case, DatasetSpec, ModelSpec, Recipe  # noqa: E402
from cnnperf.errors import UsageError  # noqa: E402
from cnnperf.record.messages import ProbeJob  # noqa: E402
from cnnperf.training.worker.probe import check_cases, model_facts  # noqa: E402

built: list[str] = []
"""Devices on which a model was built."""


class Linear(nn.Module):
    """One layer, and what is done with its logits."""

    def __init__(self, classes: int, after: Any, *, norm: bool = False) -> None:
        super().__init__()
        built.append(torch.empty(1).device.type)
        self.layer = nn.Linear(64, classes)
        self.norm = nn.BatchNorm1d(classes) if norm else nn.Identity()
        self.after = after

    def forward(self, images: Any) -> Any:
        return self.after(self.norm(self.layer(images.flatten(1))))


def good(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: logits)


def once(**asked: int) -> nn.Module:
    return good(**asked)


def pair(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: (logits, logits))


def table(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: {"logits": logits})


def wide(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes + 2, lambda logits: logits)


def norm(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: logits, norm=True)


def squeezed(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: logits.squeeze())


def empty(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return nn.Flatten()


def failing(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    raise RuntimeError("no\nway")


def reading(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return Linear(num_classes, lambda logits: logits * (float(logits.sum()) < 1e9))


def narrow(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(63, num_classes))


def without_arguments() -> nn.Module:
    return nn.Flatten()


def number(*, num_classes: int, in_channels: int, resolution: int) -> Any:
    return 7


class OnlyTraining(nn.Module):
    """Gives a second result in train mode, as networks with auxiliary classifiers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Any) -> Any:
        logits = self.layer(images.flatten(1))
        return (logits, logits) if self.training else logits


def auxiliary(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    return OnlyTraining()


def case_of(builder: str, **recipe: Any) -> Case:
    """A case with a model of this module, on 81 images of 8 x 8 pixels."""
    name = f"fit_{builder}"
    register_model(
        ModelSpec(name=name, builder=f"{__name__}:{builder}", resolution=8, channels=(1,))
    )
    register_dataset(
        DatasetSpec(
            name="fit_data", loader=f"{__name__}:good", channels=1, resolution=8, train_images=81,
            val_images=9, test_images=9, source="",
        )
    )  # fmt: skip
    given = {"name": "some", "batch_size": 20, **recipe}
    return Case(model=name, dataset="fit_data", resolution=8, recipe=Recipe(**given))


def check(case: Case) -> None:
    check_cases(ProbeJob(cases=(case,), device="cpu"))


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("pair", "gives a tuple of 2 items for images (2, 1, 8, 8), expected logits (2, 10)"),
        ("auxiliary", "gives a tuple of 2 items for images (2, 1, 8, 8), expected logits (2, 10)"),
        ("table", "gives a dict of 1 items for images (2, 1, 8, 8), expected logits (2, 10)"),
        ("wide", "gives (2, 12) for images (2, 1, 8, 8), expected logits (2, 10)"),
        ("narrow", "fails on images (2, 1, 8, 8) (RuntimeError: mat1 and mat2 shapes cannot"),
        ("empty", "has no parameters to train; correct the model"),
        ("failing", "cannot be built (RuntimeError: no way); correct the model"),
        ("without_arguments", "got an unexpected keyword argument 'num_classes'"),
        ("number", "must return a torch.nn.Module, not int"),
        ("absent", "cannot be imported (AttributeError: module"),
    ],
)
def test_a_model_that_cannot_be_trained_is_one_sentence(builder: str, message: str) -> None:
    """What it gives, what was expected, and for which images."""
    with pytest.raises(UsageError) as caught:
        check(case_of(builder, drop_last=True))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("builder", ["norm", "squeezed"])
def test_a_last_batch_of_one_image_names_drop_last(builder: str) -> None:
    """81 images in batches of 20; the same model trains with drop_last or in batches of 16 + 1."""
    with pytest.raises(UsageError) as caught:
        check(case_of(builder))
    assert "the last of 81 images in batches of 20 is alone" in str(caught.value)
    assert "set drop_last = true in recipe some, or choose another batch_size" in str(caught.value)
    check(case_of(builder, drop_last=True))
    check(case_of(builder, batch_size=19))
    check(case_of(builder, max_steps=4))  # never reaches it


def test_one_image_a_batch_names_the_batch_size() -> None:
    """A batch norm has nothing to average; other models may learn so."""
    with pytest.raises(UsageError, match="choose a batch_size above 1"):
        check(case_of("norm", batch_size=1))
    check(case_of("good", batch_size=1))


def test_an_epoch_without_a_batch_is_refused() -> None:
    """Fewer images than a batch has, and drop_last."""
    with pytest.raises(UsageError, match="81 images do not fill a batch of 82, and recipe some"):
        check(case_of("good", batch_size=82, drop_last=True))


def test_a_model_that_reads_values_is_checked_on_the_device() -> None:
    """The meta device has no values."""
    check(case_of("reading"))


def test_a_model_is_built_once_for_checks_and_counts() -> None:
    """A builder may take minutes."""
    case = case_of("once", drop_last=True)
    built.clear()
    check(case)
    assert model_facts(case).parameters == 650
    assert built == ["meta"]


def test_a_loader_that_cannot_be_imported_is_found_before_training() -> None:
    """As a builder is."""
    register_dataset(
        DatasetSpec(
            name="fit_absent", loader="no_such_module_9f3:load", channels=1, resolution=8,
            train_images=81, val_images=9, test_images=9, source="",
        )
    )  # fmt: skip
    case = Case(
        model="modified_vgg", dataset="fit_absent", resolution=28, recipe=Recipe(name="some")
    )
    with pytest.raises(UsageError, match="data set fit_absent: no_such_module_9f3:load cannot be"):
        check(case)
