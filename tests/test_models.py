"""The four architectures, checked against torchvision's and against figures worked out by hand.

A benchmark of "VGG16" is worth nothing if it is not VGG16. For each model torchvision builds an
independent twin; the twin's weights are copied over and both must then do the same, in training
and in evaluation.

    python -m pytest tests/test_models.py

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torchvision
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.resnet import BasicBlock as TorchvisionBlock
from torchvision.models.vgg import make_layers

from cnnperf.errors import UsageError
from cnnperf.models import (
    build_model,
    count_parameters,
    forward_flops_per_image,
    model_sha256,
    training_flops_per_image,
)
from cnnperf.models.vgg import MODIFIED, VGG, VGGPlan, build_modified_vgg
from cnnperf.registry import get_model
from cnnperf.specs import ModelSpec

NAMES = ("vgg16", "resnet34", "modified_vgg", "modified_resnet")
CLASSES = 10


# --- torchvision's twins --------------------------------------------------------------------------


def torchvision_modified_vgg() -> nn.Module:
    """The modified VGG put together from torchvision's parts, for 3 x 28 x 28."""
    features = make_layers([32, 32, "M", 64, 64, "M", 128, 128, "M"], batch_norm=True)
    model = torchvision.models.VGG(features, num_classes=CLASSES, init_weights=False)
    model.avgpool = nn.Identity()
    model.classifier = nn.Sequential(
        nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, CLASSES)
    )
    return model


def torchvision_modified_resnet() -> nn.Module:
    """The modified ResNet put together from torchvision's parts."""
    model = torchvision.models.ResNet(TorchvisionBlock, [1, 1, 1, 1], num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: torchvision.models.vgg16_bn(num_classes=CLASSES),
    "resnet34": lambda: torchvision.models.resnet34(num_classes=CLASSES),
    "modified_vgg": torchvision_modified_vgg,
    "modified_resnet": torchvision_modified_resnet,
}


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Our model and torchvision's, after one training step's forward and backward pass."""

    name: str
    ours: nn.Module
    reference: nn.Module
    our_logits: Tensor
    """(B, K)"""
    reference_logits: Tensor
    """(B, K)"""


def random_images(batch: int, resolution: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, 3, resolution, resolution, generator=generator)


def scatter(module: nn.Module) -> None:
    """Move biases, norms and running statistics off 0 and 1, where mistakes would not show."""
    for tensor in module.state_dict().values():
        if tensor.dim() == 1:
            tensor += 0.2 * torch.rand_like(tensor)


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers by their order; names may differ, shapes may not."""
    pairs = list(zip(source.state_dict().values(), target.state_dict().values(), strict=True))
    assert [old.shape for old, _ in pairs] == [new.shape for _, new in pairs]
    for old, new in pairs:
        new.copy_(old)


def train_step(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Forward in train mode, backward; the seed decides which units dropout drops."""
    torch.manual_seed(11)
    logits_BK = model.train()(images_BCHW)
    cross_entropy(logits_BK, torch.arange(len(images_BCHW))).backward()
    return logits_BK.detach()


@pytest.fixture(scope="module", params=NAMES)
def twins(request: pytest.FixtureRequest) -> Twins:
    name = request.param
    torch.manual_seed(3)
    reference, ours = REFERENCES[name](), build_model(name, CLASSES, 3)
    scatter(reference)
    copy_state(reference, ours)
    images_BCHW = random_images(4, 64 if get_model(name).resolution == 224 else 28)
    return Twins(
        name=name,
        ours=ours,
        reference=reference,
        our_logits=train_step(ours, images_BCHW),
        reference_logits=train_step(reference, images_BCHW),
    )


def assert_same(actual: Tensor, expected: Tensor, scale: float | None = None) -> None:
    """Equal but for rounding: within 1e-5 of the largest value, and not all zero."""
    scale = float(expected.abs().max()) if scale is None else scale
    assert scale > 0
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * scale)


def evaluate(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        logits_BK: Tensor = model.eval()(images_BCHW)
    return logits_BK


def test_a_training_forward_pass_gives_torchvisions_logits(twins: Twins) -> None:
    """Train mode: batch statistics and, under the same seed, the same dropped units."""
    assert_same(twins.our_logits, twins.reference_logits)


def test_a_backward_pass_gives_torchvisions_gradients(twins: Twins) -> None:
    """Every parameter gets a gradient, and it equals its counterpart's."""
    pairs = list(zip(twins.ours.parameters(), twins.reference.parameters(), strict=True))
    largest = max(float(theirs.grad.abs().max()) for _, theirs in pairs)
    for ours, theirs in pairs:
        # A bias before a batch norm has gradient zero, so its value is rounding of the others.
        cancelled = float(theirs.grad.abs().max()) < 1e-5 * largest
        assert_same(ours.grad, theirs.grad, largest if cancelled else None)


def test_a_training_forward_pass_moves_running_statistics_as_torchvisions(twins: Twins) -> None:
    """Every buffer, the counter of batches included, equals its counterpart's."""
    pairs = list(zip(twins.ours.buffers(), twins.reference.buffers(), strict=True))
    assert len(pairs) == 3 * sum(isinstance(m, nn.BatchNorm2d) for m in twins.reference.modules())
    for ours, theirs in pairs:
        assert_same(ours, theirs)


def test_evaluation_gives_torchvisions_logits(twins: Twins) -> None:
    """Eval mode at the model's own resolution, 224 or 28 pixels, after a training step."""
    images_BCHW = random_images(1, get_model(twins.name).resolution)
    assert_same(evaluate(twins.ours, images_BCHW), evaluate(twins.reference, images_BCHW))


@pytest.mark.parametrize(("name", "parameters"), [("vgg16", 134_309_962), ("resnet34", 21_289_802)])
def test_the_full_models_have_torchvisions_number_of_parameters(name: str, parameters: int) -> None:
    """Counted on the meta device, which holds shapes without values."""
    with torch.device("meta"):
        ours, reference = build_model(name), REFERENCES[name]()
    assert count_parameters(ours) == parameters
    assert sum(p.numel() for p in reference.parameters()) == parameters


# --- first weights --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_first_weights_are_drawn_from_torchvisions_distributions(name: str) -> None:
    """Per weight: equal spread within 5 % and no difference that Kolmogorov and Smirnov see."""
    torch.manual_seed(1)
    ours = build_model(name)
    torch.manual_seed(2)
    reference = REFERENCES[name]()
    pairs = zip(ours.parameters(), reference.parameters(), strict=True)
    for ours_first, reference_first in pairs:
        if ours_first.dim() == 1:
            continue
        sample, expected = (p.detach().flatten()[:50_000] for p in (ours_first, reference_first))
        assert float(sample.std() / expected.std()) == pytest.approx(1, rel=0.05)
        assert stats.ks_2samp(sample[:5000].numpy(), expected[:5000].numpy()).pvalue > 1e-4
        assert not torch.equal(sample, expected)


def fan_out_std(layer: nn.Conv2d) -> float:
    """He's spread: sqrt(2 / (output channels x kernel area))."""
    return math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))


@pytest.mark.parametrize("name", ["modified_vgg", "modified_resnet"])
def test_first_convolutions_of_the_modified_models_have_the_spread_of_he(name: str) -> None:
    """Mean zero; variance 2 / (output channels x kernel area); no bias but zero."""
    torch.manual_seed(1)
    for layer in build_model(name, in_channels=3).modules():
        if isinstance(layer, nn.Conv2d):
            std = fan_out_std(layer)
            assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.1)
            assert abs(float(layer.weight.detach().mean())) < 0.1 * std
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", NAMES)
def test_norms_start_at_scale_one_and_shift_zero(name: str) -> None:
    """And every bias of a VGG starts at zero, those of its linear layers too."""
    model = build_model(name)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
    if "vgg" in name:
        assert not any(p.any() for key, p in model.named_parameters() if key.endswith("bias"))


def test_linear_layers_of_the_modified_vgg_start_with_a_spread_of_a_hundredth() -> None:
    """Normal with mean 0 and standard deviation 0.01, as in VGG16."""
    torch.manual_seed(1)
    hidden, last = (m for m in build_model("modified_vgg").modules() if isinstance(m, nn.Linear))
    assert float(hidden.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.05)


# --- the modified models, layer by layer ----------------------------------------------------------


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
def test_without_a_wish_a_model_takes_its_first_channel_count_and_ten_classes(name: str) -> None:
    """Three channels for the two full models, one for the modified ones."""
    with torch.device("meta"):
        model = build_model(name)
    convolution = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    assert convolution.in_channels == (1 if name.startswith("modified") else 3)
    assert last.out_features == 10


@pytest.mark.parametrize("name", ["modified_vgg", "modified_resnet"])
def test_a_modified_model_learns_eight_random_images_by_heart(name: str) -> None:
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


# --- arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("vgg16", 15.47), ("resnet34", 3.66), ("modified_vgg", 0.029), ("modified_resnet", 0.207)],
)
def test_forward_arithmetic_agrees_with_published_figures(name: str, gmac: float) -> None:
    """Multiply-accumulates are half the FLOPs; every figure holds to its last digit."""
    spec = get_model(name)
    flops = forward_flops_per_image(name, spec.channels[0], spec.resolution)
    digits = len(str(gmac).split(".")[1])
    assert round(flops / 2 / 1e9, digits) == gmac


def test_forward_arithmetic_of_the_modified_vgg_agrees_with_a_count_by_hand() -> None:
    """A convolution does in * out * 9 multiply-accumulates at each pixel; pools halve the sides."""
    macs = (1 * 32 + 32 * 32) * 9 * 28**2
    macs += (32 * 64 + 64 * 64) * 9 * 14**2
    macs += (64 * 128 + 128 * 128) * 9 * 7**2
    macs += 1152 * 256 + 256 * 10
    assert forward_flops_per_image("modified_vgg", 1, 28) == 2 * macs


@pytest.mark.parametrize(
    ("name", "first_macs"),
    [
        ("vgg16", 3 * 64 * 9 * 224**2),
        ("resnet34", 3 * 64 * 49 * 112**2),
        ("modified_vgg", 1 * 32 * 9 * 28**2),
        ("modified_resnet", 1 * 64 * 9 * 28**2),
    ],
)
def test_training_does_thrice_the_forward_arithmetic_but_for_the_images_gradient(
    name: str, first_macs: int
) -> None:
    """Each layer differentiates to its weights and its input; the images need no gradient."""
    spec = get_model(name)
    arguments = (name, spec.channels[0], spec.resolution)
    forward, training = forward_flops_per_image(*arguments), training_flops_per_image(*arguments)
    assert training == 3 * forward - 2 * first_macs


def test_a_builder_is_counted_like_the_name_it_is_registered_under() -> None:
    """Both the forward pass and training; more classes cost a wider last layer."""
    for count in (forward_flops_per_image, training_flops_per_image):
        assert count(build_modified_vgg, 3, 28) == count("modified_vgg", 3, 28)
    wider = forward_flops_per_image("modified_vgg", 3, 28, 100)
    assert wider - forward_flops_per_image("modified_vgg", 3, 28) == 2 * 256 * 90


def test_counting_leaves_the_random_state_alone() -> None:
    """Whether a run counts its FLOPs must not change what it learns."""
    before = torch.get_rng_state()
    training_flops_per_image("modified_vgg", 1, 28)
    forward_flops_per_image("modified_resnet", 1, 28)
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_are_counted_once_and_buffers_not() -> None:
    """A linear layer used twice and a batch norm with its three buffers: 4 * 4 + 4, and 2 * 4."""
    shared = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(shared, nn.BatchNorm1d(4), shared)) == 20 + 8


# --- wrong requests -------------------------------------------------------------------------------


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
def test_a_wrong_request_is_told_what_is_possible(
    request_: dict[str, object], message: str
) -> None:
    """One sentence, before any layer is made."""
    with pytest.raises(UsageError) as caught:
        build_model(**request_)
    assert str(caught.value) == message


def test_an_unknown_model_is_told_the_known_ones() -> None:
    """Every registered name stands in the message."""
    with pytest.raises(UsageError) as caught:
        build_model("vgg17")
    assert all(name in str(caught.value) for name in ("vgg17", *NAMES))


def test_counting_an_impossible_model_is_told_what_is_possible() -> None:
    """The counts check a request as building does."""
    with pytest.raises(UsageError, match="takes 1 or 3 input channels, not 4"):
        training_flops_per_image("modified_vgg", 4, 28)


def pretend_registered(
    monkeypatch: pytest.MonkeyPatch, builder: str, channels: tuple[int, ...] = (1, 3)
) -> None:
    """Let every name lead to one spec, without touching the registry other tests read."""
    spec = ModelSpec(name="mine", builder=builder, resolution=28, channels=channels)
    monkeypatch.setattr("cnnperf.models.build.get_model", lambda name: spec)


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
def test_any_number_of_channel_counts_reads_well(
    monkeypatch: pytest.MonkeyPatch, channels: tuple[int, ...], text: str
) -> None:
    """One is singular; several are sorted and joined."""
    pretend_registered(monkeypatch, "cnnperf.models.vgg:build_modified_vgg", channels)
    with pytest.raises(UsageError, match=text):
        build_model("mine", in_channels=9)


# --- the hash of an architecture ------------------------------------------------------------------

KNOWN_SHA256 = {
    "vgg16": "076e81451ff12dffb73f6c0e1f0f67d9011a5766ff4d6d852007428e0d571aed",
    "resnet34": "69d11669e4c916eb50e59375504afb04fa72f7d90df2efa8d36e076aac9c0228",
    "modified_vgg": "af8e76af71efbb55a2dd30654ca2e844fba0715eb70de8540e827c1ecab2e7af",
    "modified_resnet": "30231ce02b4c2e64a357d82e241b968f68869db8f90ca6b7e7d9450c75eb46d1",
}
"""Records name these. A change here says: times before and after are not comparable."""


def meta_sha256(name: str) -> str:
    with torch.device("meta"):
        return model_sha256(build_model(name))


def test_architectures_are_those_that_records_name() -> None:
    """The same in every version of torch: layers' wording (`repr`) stays out of the hash."""
    assert {name: meta_sha256(name) for name in NAMES} == KNOWN_SHA256


def test_the_hash_is_the_same_in_another_process() -> None:
    """Another process hashes its strings differently and sits at other addresses."""
    code = (
        "from cnnperf.models import build_model, model_sha256\n"
        f"print(*(model_sha256(build_model(name)) for name in {NAMES[2:]}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == [KNOWN_SHA256[name] for name in NAMES[2:]]


def test_the_hash_does_not_see_weights_mode_or_device() -> None:
    """Seeds, training, evaluation and `meta` leave an architecture what it is."""
    hashes = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = build_model("modified_resnet", resolution=16)
        hashes |= {model_sha256(model), model_sha256(model.eval())}
    model.train()(torch.randn(2, 1, 16, 16)).sum().backward()
    assert hashes | {model_sha256(model)} == {meta_sha256("modified_resnet")}


def changed(change: Callable[[nn.Module], object]) -> nn.Module:
    model = build_model("modified_vgg")
    change(model)
    return model


def first(model: nn.Module, kind: type[nn.Module]) -> nn.Module:
    return next(layer for layer in model.modules() if isinstance(layer, kind))


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "dropout": lambda model: setattr(first(model, nn.Dropout), "p", 0.4),
    "stride": lambda model: setattr(first(model, nn.Conv2d), "stride", (2, 2)),
    "padding": lambda model: setattr(first(model, nn.Conv2d), "padding_mode", "circular"),
    "pool": lambda model: setattr(first(model, nn.MaxPool2d), "kernel_size", 3),
    "epsilon": lambda model: setattr(first(model, nn.BatchNorm2d), "eps", 1e-3),
    "in place": lambda model: setattr(first(model, nn.ReLU), "inplace", False),
    "dtype": lambda model: model.half(),
    "activation": lambda model: model.convolutions.__setitem__(2, nn.GELU()),
    "other activation": lambda model: model.convolutions.__setitem__(2, nn.LeakyReLU(0.1)),
    "its slope": lambda model: model.convolutions.__setitem__(2, nn.LeakyReLU(0.2)),
    "more": lambda model: model.classifier.append(nn.Identity()),
    "less": lambda model: model.classifier.pop(2),
    "buffer": lambda model: model.register_buffer("extra", torch.zeros(1)),
    "name": lambda model: setattr(model, "head", model._modules.pop("classifier")),
}


def test_the_hash_sees_every_change_of_architecture() -> None:
    """Each of these differs from the original and from every other."""
    hashes = {name: model_sha256(changed(change)) for name, change in CHANGES.items()}
    hashes["none"] = KNOWN_SHA256["modified_vgg"]
    assert len(set(hashes.values())) == len(CHANGES) + 1


def test_the_hash_sees_what_a_model_was_built_for() -> None:
    """Channels, classes and, in a VGG, the resolution change the shapes of its tensors."""
    requests = [{}, {"in_channels": 3}, {"num_classes": 9}, {"resolution": 32}]
    hashes = {model_sha256(build_model("modified_vgg", **request)) for request in requests}
    assert len(hashes) == len(requests)


def test_the_hash_sees_that_a_layer_is_used_twice() -> None:
    """One layer in two places has the tensors of one, but does the work of two."""
    one = nn.Linear(4, 4)
    hashes = {model_sha256(nn.Sequential(*layers)) for layers in ([one], [one, one])}
    assert len(hashes) == 2


# --- the family -----------------------------------------------------------------------------------


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
