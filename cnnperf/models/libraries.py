"""Build models of torchvision and timm by name, such as `torchvision/resnet18`, without weights.

Every model that a library's own registry has can be named. Input channels, classes and the size of
the input are fitted where the library can, and refused with what is possible where it cannot.

Shapes: B images, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from cnnperf.errors import NotInstalledError, UsageError

NEAR = 3
"""Similar names in the message about an unknown one; the registries have hundreds."""


def build_library_model(
    path: str,
    *,
    num_classes: int,
    in_channels: int,
    resolution: int,
    **arguments: Any,
) -> nn.Module:
    """Build `torchvision/NAME` or `timm/NAME` with fresh weights.

    Args:
        path: library and name.
        num_classes: K, the number of logits.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        arguments: further arguments of the library's builder; they win.

    Raises:
        NotInstalledError: timm is not installed.
        UsageError: the library has no such model, or the model does not take an argument.
    """
    library, name = path.split("/", 1)
    build = {"torchvision": _build_torchvision, "timm": _build_timm}[library]
    if {"weights", "pretrained"} & arguments.keys():
        raise UsageError(f"model {path}: weights are never downloaded; leave out the argument")
    try:
        return build(name, num_classes, in_channels, resolution, arguments)
    except UsageError:
        raise
    except Exception as error:  # what the library says about its arguments
        raise UsageError(
            f"model {path} cannot be built for {resolution} pixels, {in_channels} channels and "
            f"{num_classes} classes: {' '.join(str(error).split())[:200]}"
        ) from error


def _build_torchvision(
    name: str, num_classes: int, in_channels: int, resolution: int, arguments: dict[str, Any]
) -> nn.Module:
    from torchvision import models

    _check_name("torchvision", name, models.list_models(module=models))
    fitted: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit_"):
        fitted["image_size"] = resolution
    if name in ("googlenet", "inception_v3"):  # no second output, and a draw that takes a minute
        fitted |= {"aux_logits": False, "init_weights": False}
    model: nn.Module = models.get_model(name, weights=None, **{**fitted, **arguments})
    if in_channels != 3:
        _fit_channels(model, in_channels)
    return model


def _build_timm(
    name: str, num_classes: int, in_channels: int, resolution: int, arguments: dict[str, Any]
) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise NotInstalledError(
            f"model timm/{name} needs timm ({error}): pip install timm"
        ) from error
    _check_name("timm", name.partition(".")[0], timm.list_models())
    fitted = {"num_classes": num_classes, "in_chans": in_channels, **arguments}
    model: nn.Module
    try:  # transformers have their input's size in their weights; other builders refuse it
        model = timm.create_model(name, pretrained=False, img_size=resolution, **fitted)
    except TypeError:
        model = timm.create_model(name, pretrained=False, **fitted)
    return model


def _check_name(library: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=NEAR, cutoff=0.4)
    hint = f"; similar ones: {', '.join(near)}" if near else ""
    raise UsageError(
        f"{library} has no model {name!r} for classification{hint} "
        f"(`python -c 'import {library}; print({LISTING[library]})'` prints all)"
    )


LISTING = {
    "torchvision": "torchvision.models.list_models(module=torchvision.models)",
    "timm": "timm.list_models()",
}


def _fit_channels(model: nn.Module, in_channels: int) -> None:
    """Give the first convolution another number of input channels, with fresh weights, in place."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(parent, name, _with_channels(child, in_channels))
                return


def _with_channels(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    fitted = type(conv)(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(fitted.weight, mode="fan_out", nonlinearity="relu")
    if fitted.bias is not None:
        nn.init.zeros_(fitted.bias)
    return fitted
