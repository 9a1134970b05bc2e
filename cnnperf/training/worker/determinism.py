"""Training to the same bits every time, so that a difference is somebody's doing.

Torch half. What stays free is what makes another environment: the number of threads, the processor
and its libraries. Called before CUDA starts, since cuBLAS reads its variable when it does.

Source: "Reproducibility" in torch's notes; cuBLAS's manual on CUBLAS_WORKSPACE_CONFIG.
"""

from __future__ import annotations

import os

import torch

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_WORKSPACE = ":4096:8"
"""Eight buffers of 4 MiB. Always this one, as another would let cuBLAS sum in another order."""


def be_deterministic() -> None:
    """Switch this process to algorithms that give the same bits every time.

    An operation that has none raises a RuntimeError from now on, when it is called.
    """
    os.environ[CUBLAS_VARIABLE] = CUBLAS_WORKSPACE
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
