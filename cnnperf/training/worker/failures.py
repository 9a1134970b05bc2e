"""Turn an exception in the worker into the message that a table shows.

This module does not import torch on import, because that import may be what fails.
"""

from __future__ import annotations

import importlib.metadata
import traceback
from importlib.metadata import PackageNotFoundError

from cnnperf.errors import DataError, NotInstalledError, UsageError
from cnnperf.record.messages import Failed
from cnnperf.record.schema import ErrorKind

OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "defaultcpuallocator",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "std::bad_alloc",
)
"""Parts of torch's messages for out-of-memory RuntimeErrors: on a CPU, in cuBLAS, in a loader."""

NOT_DETERMINISTIC = " does not have a deterministic implementation"
"""Torch's words after the name of an operation, before its advice."""

TRAIN_EXTRA = "pip install 'cnnperf[train]' (torch, torchvision and scikit-learn from one index)"


def failed_message(error: BaseException) -> Failed:
    """Return the message to the parent; a user's own mistake needs no traceback."""
    kind, message = _kind_and_message(error)
    is_complete = isinstance(error, UsageError) and error.__cause__ is None
    trace = None if is_complete else "".join(traceback.format_exception(error))
    return Failed(error=kind, message=message, traceback=trace)


def _kind_and_message(error: BaseException) -> tuple[ErrorKind, str]:
    text = one_line(str(error))
    if isinstance(error, NotInstalledError):
        return "start", text
    if isinstance(error, UsageError):
        return "data" if isinstance(error, DataError) else "exception", text
    if type(error).__name__ == "NaNLossError":
        return "nan_loss", text
    if _is_out_of_memory(error):
        return "out_of_memory", f"out of memory: {text}"
    operation, found, _ = text.partition(NOT_DETERMINISTIC)
    if found:
        return "exception", (
            f"{operation} has no deterministic implementation on this device: exclude the case "
            "with -k, choose another --cnnperf-device, or omit --cnnperf-deterministic"
        )
    return "exception", f"{type(error).__name__}: {text}" if text else type(error).__name__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        phrase in text for phrase in OUT_OF_MEMORY_PHRASES
    )


def one_line(text: str, limit: int = 300) -> str:
    """Return a text on one line, cut at the end to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_torch() -> None:
    """Import torch, torchvision and scikit-learn, with a clear error if that fails.

    Raises:
        NotInstalledError: a package is missing, or torch and torchvision do not match.
    """
    try:
        import sklearn  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            f"training needs {error.name}, which is not installed: {TRAIN_EXTRA}"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise NotInstalledError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} are different "
            "builds (one for CUDA, one for CPU only) and cannot be loaded together: run "
            "`pip uninstall -y torch torchvision`, then `pip install torch torchvision` in one "
            "command, so that both come from one index"
        ) from error


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return "(unknown)"
