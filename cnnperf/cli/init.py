"""The command `cnnperf init`: files to start a project of one's own from."""

from __future__ import annotations

from pathlib import Path

import typer

from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import sentences

TABLES = """\
# What cnnperf trains here: `cnnperf list` shows the cases, `pytest benchmarks` trains them.
# An editor completes this file by its schema: `cnnperf schema --config > cnnperf.schema.json`.

[recipes.cosine]
epochs = 5
batch_size = 64
# Names are those of torch.optim, torch.optim.lr_scheduler and torch.nn, or module:function.
optimizer = { name = "SGD", lr = 0.05, momentum = 0.9, weight_decay = 5e-4 }
schedule = { name = "CosineAnnealingLR", per = "step", warmup = 10 }
# loss = { name = "CrossEntropyLoss", label_smoothing = 0.1 }
# clip_norm = 1.0
# accumulate_steps = 2
# ema_decay = 0.999
# target_accuracy = 0.97     # end the training when validation reaches it

# [datasets.flowers]
# images = "data/flowers"    # a folder with one folder a class
# cache = true               # decode the images once, not in each training
# [datasets.beans]
# huggingface = "data/beans"    # a folder of save_to_disk
# [datasets.stream]
# pipeline = "my_package.data:make"    # a function that returns a torch Dataset or DataLoader
# num_classes = 4
# train_images = 4000
# val_images = 500
# test_images = 500
# [datasets.spectra]
# arrays = "data/spectra.npz"    # train_images, train_labels, test_images, test_labels
# num_classes = 4

# [models.mine]
# builder = "my_package.nets:build"    # called with num_classes, in_channels and resolution

[[cases]]
model = "torchvision/resnet18"    # or timm/..., or a model of above
dataset = "digits"                # or mnist, cifar10 (`cnnperf data`), or a data set of above
resolution = 32
recipe = "cosine"
engines = ["eager", "fast"]
# tiers = ["standard"]            # default: every tier

# A loop or script of your own, for any task (docs/own-loops.md):
# [[cases]]
# name = "script"
# command = ["python", "train.py", "--seed", "{seed}"]
# [cases.quality.test_iou]       # what it reports with cnnperf.observe.result
# better = "higher"
# margin = 0.01

# [metrics.train_seconds]
# threshold = 0.05                # `cnnperf compare`: a change of 5 % counts
"""

TEST = '''\
"""Train each case of cnnperf.toml: `pytest benchmarks --benchmark-json=run.json`."""


def test_train(cnnperf_case, cnnperf_train):
    assert cnnperf_train(cnnperf_case).outcome == "passed"
'''

INI = "[pytest]\ncnnperf_builtin_cases = false\n"

INI_FILES = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

FILES = {"cnnperf.toml": TABLES, "benchmarks/test_train.py": TEST}


def init() -> None:
    """Write files to start a project of your own from, in the current folder.

    Examples:
      cnnperf init
      cnnperf list

    Writes cnnperf.toml, which defines the cases, benchmarks/test_train.py, which trains them, and
    pytest.ini if there is no settings file of pytest. No file is overwritten.
    """
    with sentences():
        present = [name for name in FILES if Path(name).exists()]
        if present:
            raise UsageError(
                f"there is {' and '.join(present)} already, nothing was written; run it "
                "in another folder"
            )
        settings = next((name for name in INI_FILES if Path(name).exists()), None)
        files = FILES if settings is not None else {**FILES, "pytest.ini": INI}
        try:
            for name, text in files.items():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{name} cannot be written: {error.strerror or error}") from error
    typer.echo(f"written: {', '.join(files)}")
    if settings is not None:
        typer.echo(
            f"To run only your own cases, add cnnperf_builtin_cases = false to pytest's settings "
            f"in {settings}."
        )
    typer.echo("Next: cnnperf list; pytest benchmarks --benchmark-json=run.json")
