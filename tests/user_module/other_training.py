"""A user's module that changes how is learned, behind the recipe's back."""

import os

import torch
from torch import nn
from torch.optim import lr_scheduler

from cnnperf.training.engines.base import Engine

CHANGED = os.environ.get("OTHER_TRAINING", "").split()


def _sgd(self, model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def _smooth(self):
    return nn.CrossEntropyLoss(label_smoothing=0.1)


_train = Engine.train


def _scheduled(self, handler):
    scheduler = self.scheduler = lr_scheduler.ExponentialLR(self.optimizer, gamma=0.5)
    finish, handler.finish_epoch = handler.finish_epoch, None

    def finish_epoch(phase):
        scheduler.step()
        return finish(phase)

    handler.finish_epoch = finish_epoch
    _train(self, handler)


if "optimizer" in CHANGED:
    Engine.build_optimizer = _sgd
if "loss" in CHANGED:
    Engine.loss_function = property(_smooth, lambda self, _: None)
if "schedule" in CHANGED:
    Engine.train = _scheduled
if "adam" in CHANGED:
    _init = torch.optim.Adam.__init__
    torch.optim.Adam.__init__ = lambda self, *a, **k: _init(self, *a, weight_decay=0.01, **k)
if "lightning" in CHANGED:
    from cnnperf.training.engines.peers.lightning import LightningTraining

    LightningTraining.configure_optimizers = lambda self: torch.optim.AdamW(self.parameters())
