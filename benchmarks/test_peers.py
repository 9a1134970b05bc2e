"""Train the same models with other people's training loops, beside `eager` and `fast`.

    pip install 'cnnperf[peers]'
    pytest benchmarks/test_peers.py --cnnperf-tier=full --benchmark-json=reports/peers.json
    pytest benchmarks/test_peers.py --cnnperf-tier=full -k digits

All train 3 epochs of the study's recipe on the same clock. The summary shows how many times the
images/s of each loop `fast` trains. A loop whose package is not installed is skipped.
"""

from __future__ import annotations

import pytest

from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase

MODELS = [
    ("modified_vgg", "digits", 28, "peers"),
    ("modified_vgg", "mnist", 28, "peers"),
    ("modified_resnet", "mnist", 28, "peers"),
    ("vgg16", "mnist", 224, "peers"),
    ("resnet34", "mnist", 224, "peers"),
]
LOOPS = [
    "fast",
    "eager",
    "plain",  # the PyTorch tutorial's loop
    "amp",  # the same with autocast
    "lightning",  # at 28 pixels; at 224 in bfloat16 only
    "lightning_bf16",
    "accelerate",  # at 28 pixels
    "accelerate_bf16",
    "timm",  # at 224 pixels, with its own models
]


@pytest.mark.cnnperf(suite="peers")
@pytest.mark.parametrize("engine", LOOPS)
@pytest.mark.parametrize(("model", "dataset", "resolution", "recipe"), MODELS)
def test_peers(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """The loop trains the model to its end."""
    cnnperf_train(cnnperf_case)
