"""Train VGG and ResNet from start to end: train time, images/s, accuracy, F1, memory, MFU.

    pytest benchmarks --benchmark-json=reports/run.json          # the tier that fits this machine
    pytest benchmarks -k "modified_vgg and mnist" --cnnperf-repeats 5
    pytest benchmarks --cnnperf-tier=standard                    # the study: GPU and data needed

Each row and engine is a case, and its id is the test's: `test_train[vgg16-mnist-224-eager]`. The
recipe is part of the id unless it is `report`, the study's: 10 epochs, batches of 128, Adam 1e-3.
Each repeat trains in a new process with another seed. The clock runs from before the first byte of
data is read to the end of the last validation; pytest-benchmark times the same from outside.

`cnnperf list` shows all cases with parameters, FLOPs and tiers. Cases of your own (ini key
`cnnperf_modules`) run here, too. A test fails if a training fails, or if it does not learn; whether
a run is slower or less accurate than another is up to `cnnperf compare` and --cnnperf-baseline.
"""

from __future__ import annotations

import pytest

from cnnperf.catalog.registry import get_dataset
from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase

SMOKE = [  # tier smoke: minutes on two CPU cores; the digits come with scikit-learn
    ("modified_vgg", "digits", 28, "brief"),  # 2 epochs of batches of 32
    ("modified_resnet", "digits", 28, "brief"),
    ("resnet34", "digits", 224, "sample"),  # 4 steps of 2 images, here by eager only
    ("vgg16", "digits", 224, "sample"),
]
STUDY = [  # tier standard: the study's table of results
    ("vgg16", "mnist", 224, "report"),
    ("resnet34", "mnist", 224, "report"),
    ("modified_vgg", "mnist", 28, "report"),
    ("modified_resnet", "mnist", 28, "report"),
    ("modified_vgg", "cifar10", 28, "report"),
]
MORE = [  # tier full: these and all above
    ("vgg16", "cifar10", 224, "report"),
    ("resnet34", "cifar10", 224, "report"),
    ("modified_resnet", "cifar10", 28, "report"),
    ("modified_vgg", "digits", 28, "report"),
    ("modified_resnet", "digits", 28, "report"),
    ("modified_vgg", "cifar10", 28, "augmented"),  # the study's remedy for overfitting
    ("modified_resnet", "cifar10", 28, "augmented"),
    ("modified_vgg", "cifar10", 28, "report30"),  # 30 epochs, by fast only
    ("modified_vgg", "cifar10", 28, "augmented30"),
    ("modified_vgg", "synthetic", 28, "brief"),  # noise: speed without reading any file
    ("modified_resnet", "synthetic", 28, "brief"),
    ("vgg16", "synthetic", 224, "sample"),
    ("resnet34", "synthetic", 224, "sample"),
]


@pytest.mark.parametrize("engine", ["eager", "fast"])
@pytest.mark.parametrize(("model", "dataset", "resolution", "recipe"), SMOKE + STUDY + MORE)
def test_train(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """The case of these parameters trains, and its loss falls from the first epoch to the last."""
    record = cnnperf_train(cnnperf_case)
    learnable = get_dataset(cnnperf_case.dataset).learnable
    for repeat in record.repeats:
        losses = [epoch.train_loss for epoch in repeat.epochs]
        if learnable and len(losses) > 1:
            assert losses[-1] < losses[0], f"seed {repeat.seed} does not learn: losses {losses}"
