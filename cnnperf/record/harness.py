"""Define what is recorded about the time of a training outside its own clock."""

from __future__ import annotations

from pydantic import BaseModel

from cnnperf.record.environment import STRICT, Finite


class HarnessTimes(BaseModel):
    """Times of one training outside its own clock, in the order in which they happen.

    Together with the training, all but the last cover a worker's life without a gap. Parent and
    worker read the same clock; a negative time shows that on this machine they do not.
    """

    model_config = STRICT

    start_seconds: Finite
    """From before the process starts to its first own line."""
    import_seconds: Finite
    """Until torch, the engine and everything else are imported."""
    prepare_seconds: Finite
    """Model, warm-up and compiling, until the worker sends `ready`."""
    ready_latency_seconds: Finite
    """Until the parent receives `ready`."""
    arm_seconds: Finite
    """Reading the machine's state, until the parent sends `go`."""
    go_latency_seconds: Finite
    """Until the worker's clock starts."""
    trained_latency_seconds: Finite
    """From the stop of the worker's clock until the parent receives `trained`."""
    result_seconds: Finite
    """Until the parent has the result: test set, counting, hashing, profile."""
    exit_seconds: Finite
    """Until the parent sees that the process has ended; it checks up to 20 times a second."""
    clocks_apart_seconds: Finite
    """Time from `go` to `trained` as the parent measures it, minus the worker's own."""
