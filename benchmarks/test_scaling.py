"""Train on one device and on several of them together: speed-up, efficiency, and what is lost.

    pytest benchmarks/test_scaling.py --cnnperf-tier=full --cnnperf-devices=1,2 --cnnperf-repeats=5
    pytest benchmarks/test_scaling.py --cnnperf-tier=full -k "fast and not weak"

On a CPU a device is one core. `strong` divides the recipe's batch among the devices, `weak` gives
it to each. The reference is one device in the same run. Other cases train on several devices with
`--cnnperf-devices` too. Several nodes: docs/scaling.md.
"""

from __future__ import annotations

import pytest

from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase

MODELS = [
    ("modified_vgg", "digits", 28, "scaling"),
    ("modified_vgg", "mnist", 28, "scaling"),
    ("resnet34", "mnist", 224, "scaling"),
]
LOOPS = [
    "fast",
    "eager",  # at 28 pixels
    "lightning",  # with digits
    "accelerate",
]
DEVICES = [1, 2, 4, 8]


@pytest.mark.cnnperf(suite="scaling")
@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("engine", LOOPS)
@pytest.mark.parametrize(("model", "dataset", "resolution", "recipe"), MODELS)
def test_scaling(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """Every device takes part to the end."""
    record = cnnperf_train(cnnperf_case)
    for repeat in record.repeats:
        assert repeat.group is not None
        assert len(repeat.group.ranks) == cnnperf_case.devices
