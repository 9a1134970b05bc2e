"""The suite's four architectures, written here from scratch: build one, count it, identify it.

They are written here, not imported, so that a new torchvision cannot change what is measured; the
tests check them against torchvision weight for weight. This package needs torch, so only the
worker imports it.

    python -c "from cnnperf.models import build_model; print(build_model('resnet34'))"
"""

from cnnperf.models.build import ModelBuilder, build_model
from cnnperf.models.fingerprint import model_sha256
from cnnperf.models.flops import (
    count_parameters,
    forward_flops_per_image,
    training_flops_per_image,
)
from cnnperf.models.memory_traffic import count_traffic

__all__ = [
    "ModelBuilder",
    "build_model",
    "count_parameters",
    "count_traffic",
    "forward_flops_per_image",
    "model_sha256",
    "training_flops_per_image",
]
