"""The hash of an architecture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import nn

from cnnperf.models import build_model, model_sha256
from tests.models.helpers import NAMES

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


def test_hashes_equal_those_of_earlier_records() -> None:
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


def test_hash_does_not_depend_on_weights_mode_or_device() -> None:
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


def test_every_change_of_architecture_changes_the_hash() -> None:
    """Each of these differs from the original and from every other."""
    hashes = {name: model_sha256(changed(change)) for name, change in CHANGES.items()}
    hashes["none"] = KNOWN_SHA256["modified_vgg"]
    assert len(set(hashes.values())) == len(CHANGES) + 1


def test_classes_channels_and_resolution_change_the_hash() -> None:
    """Channels, classes and, in a VGG, the resolution change the shapes of its tensors."""
    requests = [{}, {"in_channels": 3}, {"num_classes": 9}, {"resolution": 32}]
    hashes = {model_sha256(build_model("modified_vgg", **request)) for request in requests}
    assert len(hashes) == len(requests)


def test_using_a_layer_twice_changes_the_hash() -> None:
    """One layer in two places has the tensors of one, but does the work of two."""
    one = nn.Linear(4, 4)
    hashes = {model_sha256(nn.Sequential(*layers)) for layers in ([one], [one, one])}
    assert len(hashes) == 2
