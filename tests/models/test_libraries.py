"""Models of torchvision and timm by name."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="models need the extra `train`")

from torchvision import models as tv_models  # noqa: E402

from cnnperf.catalog.registry import get_model, input_channels, register_case  # noqa: E402
from cnnperf.catalog.specs import Case, DatasetSpec, ModelSpec, Recipe  # noqa: E402
from cnnperf.errors import UsageError  # noqa: E402
from cnnperf.models import build_model, training_flops_per_image  # noqa: E402
from cnnperf.record.messages import ProbeJob  # noqa: E402
from cnnperf.training.worker.probe import check_cases  # noqa: E402


@pytest.mark.parametrize(
    ("name", "channels", "classes", "resolution"),
    [
        ("torchvision/resnet18", 3, 10, 64),
        ("torchvision/mobilenet_v3_small", 1, 7, 32),
        ("torchvision/vit_b_32", 3, 5, 64),
        ("torchvision/googlenet", 3, 10, 224),
        ("torchvision/densenet121", 5, 2, 64),
        ("timm/vit_tiny_patch16_224", 3, 10, 32),
        ("timm/vit_tiny_patch16_224", 5, 3, 224),
        ("timm/resnet18", 1, 10, 28),
    ],
)
def test_a_library_model_is_fitted_to_the_images(
    name: str, channels: int, classes: int, resolution: int
) -> None:
    """Channels, classes and size are those of the data set, whatever the library's defaults."""
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is in the extra `peers`")
    with torch.device("meta"):
        model = build_model(name, classes, channels, resolution)
        logits = model(torch.empty(2, channels, resolution, resolution))
    assert tuple(logits.shape) == (2, classes)


def test_a_torchvision_model_is_torchvisions() -> None:
    """With three channels nothing is changed: the same seed gives the same weights."""
    torch.manual_seed(0)
    ours = build_model("torchvision/resnet18", 10, 3, 64)
    torch.manual_seed(0)
    theirs = tv_models.resnet18(num_classes=10)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_a_builder_that_reads_values_is_counted_too() -> None:
    """RegNet's builder reads a tensor, which the meta device cannot."""
    assert training_flops_per_image("torchvision/regnet_y_400mf", 3, 64) > 0


@pytest.mark.parametrize(
    ("model", "resolution", "message"),
    [
        ("torchvision/resnet81", 32, "similar ones: resnet18"),
        ("timm/vit_tiny_patch16_242", 32, "similar ones: vit_tiny_patch16_224"),
        ("timm/crossvit_tiny_240", 224, "try another resolution or model"),
        ("torchvision/alexnet", 32, "expected logits (2, 10); try another resolution or model"),
    ],
)
def test_a_model_that_does_not_exist_or_fit_is_found_before_training(
    model: str, resolution: int, message: str
) -> None:
    """One sentence with the nearest names, or with what the library says."""
    if model.startswith("timm"):
        pytest.importorskip("timm", reason="timm is in the extra `peers`")
    case = Case(model=model, dataset="digits", resolution=resolution, recipe=Recipe(name="some"))
    with pytest.raises(UsageError) as caught:
        check_cases(ProbeJob(cases=(case,)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"zero_init_residul": True}, "unexpected keyword argument 'zero_init_residul'"),
        ({"weights": "DEFAULT"}, "weights are never downloaded"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, object], message: str) -> None:
    """The library's own words, and never a download."""
    from cnnperf.models.libraries import build_library_model

    with pytest.raises(UsageError, match=message):
        build_library_model(
            "torchvision/resnet18", num_classes=10, in_channels=3, resolution=32, **arguments
        )


def test_any_number_of_channels_fits() -> None:
    """A library's model keeps the images' channels; grey ones are not repeated."""
    spec = DatasetSpec(
        name="bands", loader="a:b", channels=5, resolution=8, train_images=1, val_images=1,
        test_images=1, mean=(0,) * 5, std=(1,) * 5, source="",
    )  # fmt: skip
    assert input_channels(get_model("torchvision/resnet18"), spec) == 5


def test_an_engine_refuses_models_that_it_cannot_train() -> None:
    """The peer timm has two models of its own."""
    case = Case(
        model="modified_vgg", dataset="digits", resolution=28, recipe=Recipe(name="own"),
        engine="timm",
    )  # fmt: skip
    with pytest.raises(UsageError, match="engine timm trains only vgg16 and resnet34"):
        register_case(case)


def test_arguments_reach_the_builder() -> None:
    """A description with arguments builds another model than one without."""
    spec = ModelSpec(
        name="wide", builder="torchvision/resnet18", arguments={"width_per_group": 64, "groups": 1}
    )
    assert spec.arguments["groups"] == 1
    from cnnperf.catalog.registry import register_model

    register_model(spec)
    assert isinstance(build_model("wide", 10, 3, 32), tv_models.ResNet)
