"""The layers of the models, one by one, and the shapes that they take and give.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cnnperf.catalog.registry import get_model
from cnnperf.models import build_model, count_parameters
from cnnperf.models.vgg import MODIFIED, VGG, VGGPlan
from tests.models.helpers import CLASSES, NAMES, evaluate


def describe(layer: nn.Module) -> str:
    """Write a layer in the shorthand of the lists below."""
    match layer:
        case nn.Conv2d():
            size = f"{layer.kernel_size[0]}x{layer.kernel_size[1]}/{layer.stride[0]}"
            return f"conv {size} {layer.in_channels}-{layer.out_channels}"
        case nn.BatchNorm2d():
            return f"norm {layer.num_features}"
        case nn.Linear():
            return f"linear {layer.in_features}-{layer.out_features}"
        case nn.Dropout():
            return f"dropout {layer.p}"
        case nn.MaxPool2d():
            return f"max {layer.kernel_size}/{layer.stride}"
        case nn.AdaptiveAvgPool2d():
            return f"average to {layer.output_size}"
    return type(layer).__name__.lower()


def layer_list(model: nn.Module) -> list[str]:
    return [describe(layer) for layer in model.modules() if not list(layer.children())]


def test_the_modified_vgg_has_exactly_these_layers() -> None:
    """32-32-M-64-64-M-128-128-M, then 1152-256-K, with batch norm and one dropout."""
    assert layer_list(build_model("modified_vgg")) == [
        *("conv 3x3/1 1-32", "norm 32", "relu", "conv 3x3/1 32-32", "norm 32", "relu", "max 2/2"),
        *("conv 3x3/1 32-64", "norm 64", "relu", "conv 3x3/1 64-64", "norm 64", "relu", "max 2/2"),
        *("conv 3x3/1 64-128", "norm 128", "relu"),
        *("conv 3x3/1 128-128", "norm 128", "relu", "max 2/2"),
        *("linear 1152-256", "relu", "dropout 0.5", "linear 256-10"),
    ]


def test_the_modified_resnet_has_exactly_these_layers() -> None:
    """A 3x3/1 stem without pool, one block a stage; each block ends in shortcut and ReLU."""
    first, second = "conv 3x3/1 64-64", ["norm 64", "relu"]
    expected = ["conv 3x3/1 1-64", *second]
    expected += [first, *second, first, "norm 64", "identity", "relu"]
    for narrow, wide in ((64, 128), (128, 256), (256, 512)):
        expected += [f"conv 3x3/2 {narrow}-{wide}", f"norm {wide}", "relu"]
        expected += [f"conv 3x3/1 {wide}-{wide}", f"norm {wide}"]
        expected += [f"conv 1x1/2 {narrow}-{wide}", f"norm {wide}", "relu"]
    assert layer_list(build_model("modified_resnet")) == [
        *expected,
        "average to 1",
        "linear 512-10",
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_modified_vgg_has_the_parameters_worked_out_by_hand(channels: int) -> None:
    """0.58 million; a convolution has in * out * 9 weights and out biases, a norm 2 * out."""
    convolutions = channels * 32 * 9 + 32 * 32 * 9 + 32 * 64 * 9 + 64 * 64 * 9
    convolutions += 64 * 128 * 9 + 128 * 128 * 9
    biases_and_norms = 3 * (32 + 32 + 64 + 64 + 128 + 128)
    linears = (128 * 3 * 3) * 256 + 256 + 256 * 10 + 10
    by_hand = convolutions + biases_and_norms + linears
    assert by_hand == {1: 585_066, 3: 585_642}[channels]
    assert count_parameters(build_model("modified_vgg", in_channels=channels)) == by_hand


@pytest.mark.parametrize("channels", [1, 3])
def test_the_modified_resnet_has_the_parameters_worked_out_by_hand(channels: int) -> None:
    """4.9 million; convolutions have no bias, and three shortcuts are 1x1 convolutions."""
    stem = channels * 64 * 9 + 2 * 64
    by_hand = stem + 2 * (64 * 64 * 9 + 2 * 64)
    for narrow, wide in ((64, 128), (128, 256), (256, 512)):
        by_hand += narrow * wide * 9 + wide * wide * 9 + narrow * wide + 3 * (2 * wide)
    by_hand += 512 * 10 + 10
    assert by_hand == {1: 4_902_090, 3: 4_903_242}[channels]
    assert count_parameters(build_model("modified_resnet", in_channels=channels)) == by_hand


@pytest.mark.parametrize("resolution", [8, 15, 16, 28, 32])
def test_the_modified_vgg_fits_its_first_linear_layer_to_the_resolution(resolution: int) -> None:
    """Three pools that round down leave resolution // 8 pixels a side."""
    model = build_model("modified_vgg", resolution=resolution)
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
    assert first.in_features == 128 * (resolution // 8) ** 2
    assert model(torch.zeros(2, 1, resolution, resolution)).shape == (2, CLASSES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_one_column_a_class_down_to_the_smallest_image(
    name: str, channels: int
) -> None:
    """Train mode with two images of the smallest size the registry promises."""
    side = get_model(name).min_resolution
    with torch.device("meta"):
        model = build_model(name, 7, channels, side)
        assert model.training
        assert model(torch.empty(2, channels, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_default_model_has_its_first_channel_count_and_ten_classes(name: str) -> None:
    """Three channels for the two full models, one for the modified ones."""
    with torch.device("meta"):
        model = build_model(name)
    convolution = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    assert convolution.in_channels == (1 if name.startswith("modified") else 3)
    assert last.out_features == 10


@pytest.mark.parametrize("name", ["modified_vgg", "modified_resnet"])
def test_modified_model_memorises_eight_random_images(name: str) -> None:
    """The report's optimizer, Adam at 1e-3, halves the loss in 30 steps, dropout or not."""
    torch.manual_seed(0)
    model = build_model(name, resolution=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images_BCHW, labels_B = torch.randn(8, 1, 8, 8), torch.arange(8)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = cross_entropy(model(images_BCHW), labels_B)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5
    assert losses[-1] < 0.5 * losses[0]


def test_a_vgg_follows_its_plan() -> None:
    """One convolution a width, one pool a stage, one dropout a hidden layer."""
    plan = VGGPlan(stages=((4,), (8, 8)), hidden_widths=(5, 6), pooled_side=2, dropout=0.25)
    assert layer_list(VGG(plan, num_classes=3, in_channels=1, resolution=9)) == [
        *("conv 3x3/1 1-4", "norm 4", "relu", "max 2/2"),
        *("conv 3x3/1 4-8", "norm 8", "relu", "conv 3x3/1 8-8", "norm 8", "relu", "max 2/2"),
        *("average to 2", "linear 32-5", "relu", "dropout 0.25"),
        *("linear 5-6", "relu", "dropout 0.25", "linear 6-3"),
    ]


def test_dropout_acts_in_training_only() -> None:
    """The same image gives other logits in training each time, and the same in evaluation."""
    model = VGG(MODIFIED, num_classes=3, in_channels=1, resolution=8)
    images_BCHW = torch.randn(4, 1, 8, 8)
    assert not torch.equal(model(images_BCHW), model(images_BCHW))
    assert torch.equal(evaluate(model, images_BCHW), evaluate(model, images_BCHW))


def _graph(loss: torch.Tensor) -> set[str]:
    """The names of all operations that a backward pass would go through."""
    found, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return {str(node.name()) for node in found}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NAMES)
def test_no_backward_pass_pools_adaptively(name: str, layout: torch.memory_format) -> None:
    """On CUDA that has no deterministic form (torch.use_deterministic_algorithms lists it).

    A global average is a mean to torch, which has one.
    """
    resolution = get_model(name).resolution
    with torch.device("meta"):
        model = build_model(name, CLASSES, 3).to(memory_format=layout)
        images = torch.randn(2, 3, resolution, resolution).to(memory_format=layout)
        operations = _graph(model(images).sum())
    assert "AddmmBackward0" in operations
    assert not [each for each in operations if "AdaptiveAvgPool" in each]


def test_vgg16_averages_features_that_are_not_seven_pixels_a_side() -> None:
    """At 64 pixels, two pixels a side remain, which it stretches to seven."""
    with torch.device("meta"):
        operations = _graph(build_model("vgg16")(torch.randn(2, 3, 64, 64)).sum())
    assert [each for each in operations if "AdaptiveAvgPool" in each]
