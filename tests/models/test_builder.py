"""Errors of wrong requests for a model."""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import ModelSpec
from cnnperf.errors import UsageError
from cnnperf.models import build_model, training_flops_per_image
from tests.models.helpers import NAMES


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"name": "modified_vgg", "in_channels": 2},
            "modified_vgg takes 1 or 3 input channels, not 2",
        ),
        ({"name": "vgg16", "in_channels": 0}, "vgg16 takes 1 or 3 input channels, not 0"),
        ({"name": "vgg16", "in_channels": 3.0}, "vgg16 takes 1 or 3 input channels, not 3.0"),
        (
            {"name": "resnet34", "in_channels": True},
            "resnet34 takes 1 or 3 input channels, not True",
        ),
        (
            {"name": "vgg16", "resolution": 31},
            "vgg16 takes images of 32 pixels a side or more, not 31",
        ),
        (
            {"name": "modified_resnet", "resolution": 28.0},
            "modified_resnet takes images of 8 pixels a side or more, not 28.0",
        ),
        ({"name": "resnet34", "num_classes": 1}, "resnet34 takes 2 classes or more, not 1"),
        ({"name": "resnet34", "num_classes": "10"}, "resnet34 takes 2 classes or more, not '10'"),
        ({"name": "resnet34", "num_classes": True}, "resnet34 takes 2 classes or more, not True"),
    ],
)
def test_wrong_request_names_the_possible_values(request_: dict[str, object], message: str) -> None:
    """One sentence, before any layer is made."""
    with pytest.raises(UsageError) as caught:
        build_model(**request_)
    assert str(caught.value) == message


def test_unknown_model_names_the_registered_models() -> None:
    """Every registered name stands in the message."""
    with pytest.raises(UsageError) as caught:
        build_model("vgg17")
    assert all(name in str(caught.value) for name in ("vgg17", *NAMES))


def test_counting_with_wrong_channels_names_the_possible_ones() -> None:
    """The counts check a request as building does."""
    with pytest.raises(UsageError, match="takes 1 or 3 input channels, not 4"):
        training_flops_per_image("modified_vgg", 4, 28)


def pretend_registered(
    monkeypatch: pytest.MonkeyPatch, builder: str, channels: tuple[int, ...] = (1, 3)
) -> None:
    """Let every name lead to one spec, without touching the registry other tests read."""
    spec = ModelSpec(name="mine", builder=builder, resolution=28, channels=channels)
    monkeypatch.setattr("cnnperf.models.builder.get_model", lambda name: spec)


@pytest.mark.parametrize(
    ("builder", "cause"),
    [
        ("no_such_package.models:build", "ModuleNotFoundError"),
        ("cnnperf.models.vgg:build_vgg99", "AttributeError"),
    ],
)
def test_a_builder_that_cannot_be_imported_is_named_with_its_model(
    monkeypatch: pytest.MonkeyPatch, builder: str, cause: str
) -> None:
    """The sentence has the model, the string of its registration and Python's reason."""
    pretend_registered(monkeypatch, builder)
    with pytest.raises(UsageError, match="cannot be imported") as caught:
        build_model("mine")
    assert all(part in str(caught.value) for part in ("model mine", builder, cause))


def test_a_builder_that_returns_no_module_is_named_with_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker would otherwise fail far from the cause."""
    pretend_registered(monkeypatch, "builtins:dict")
    with pytest.raises(UsageError, match=r"builtins:dict.*mine.*torch\.nn\.Module, not dict"):
        build_model("mine")


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ((1,), "mine takes 1 input channel, not 9"),
        ((4, 3, 1), "takes 1, 3 or 4 input channels, not 9"),
    ],
)
def test_message_lists_one_two_or_three_channel_counts(
    monkeypatch: pytest.MonkeyPatch, channels: tuple[int, ...], text: str
) -> None:
    """One is singular; several are sorted and joined."""
    pretend_registered(monkeypatch, "cnnperf.models.vgg:build_modified_vgg", channels)
    with pytest.raises(UsageError, match=text):
        build_model("mine", in_channels=9)
