"""The four architectures of the suite, models of libraries by name, their cost and their hash.

The four are written in this project, so that a new torchvision cannot change what is measured. The
tests compare them with torchvision, weight for weight.

    python -c "from cnnperf.models import build_model; print(build_model('resnet34'))"
"""

from cnnperf.models.builder import ModelBuilder, build_model
from cnnperf.models.cost import (
    build_with_batch,
    count_parameters,
    count_traffic,
    forward_flops_per_image,
    training_flops_per_image,
)
from cnnperf.models.fingerprint import model_sha256, weights_sha256

__all__ = [
    "ModelBuilder",
    "build_model",
    "build_with_batch",
    "count_parameters",
    "count_traffic",
    "forward_flops_per_image",
    "model_sha256",
    "training_flops_per_image",
    "weights_sha256",
]
