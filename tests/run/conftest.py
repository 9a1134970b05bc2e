"""The fixtures of `tests/training` that tests of the worker process use."""

from tests.training.conftest import make_job

__all__ = ["make_job"]
