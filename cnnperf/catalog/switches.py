"""The optimisations of `fast` that can be switched off one by one, to measure what each one gains.

    CNNPERF_FAST_OFF=combo,evaluation pytest benchmarks ...

None of them changes the mathematics, so none is an option of a benchmark: a record names what was
off among its environment variables, and a comparison shows the difference.
"""

from __future__ import annotations

import os

from cnnperf.errors import UsageError, one_of

VARIABLE = "CNNPERF_FAST_OFF"

SWITCHES = {
    "bias": "skips a convolution's bias in front of batch norm, which cancels it",
    "combo": "merges independent small kernels into one launch, for small images on CUDA",
    "copies": "keeps bfloat16 copies of the weights, which a compiled Adam writes, on CUDA",
    "evaluation": "compiles and captures evaluation on CUDA",
    "limit": "lets cuDNN try all of its algorithms, not ten",
    "norm": "computes ReLU, 2 x 2 pooling and their gradients within batch norm, when compiled",
    "pool": "keeps max pooling's own backward kernel instead of one with atomic additions",
    "resident": "keeps normalised images on the device instead of bytes",
}
"""What `fast` does, by the name that switches it off."""


def is_on(name: str) -> bool:
    """Return whether an optimisation is on, as all are by default.

    Raises:
        UsageError: the variable names an unknown optimisation.
    """
    assert name in SWITCHES, name
    return name not in switched_off()


def switched_off() -> list[str]:
    """Return the names in the variable; errors are those of `is_on`."""
    off = [each.strip() for each in os.environ.get(VARIABLE, "").split(",") if each.strip()]
    for each in off:
        if each not in SWITCHES:
            raise UsageError(f"{VARIABLE}: {one_of('optimisation', each, list(SWITCHES))}")
    return off
