"""From an exception in the worker to the one line that a table shows.

No torch at import: importing torch may be what failed.
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
"""How torch words it when it raises a plain RuntimeError: on a CPU, in cuBLAS, in a DataLoader."""

NOT_DETERMINISTIC = " does not have a deterministic implementation"
"""What torch says after an operation's name, before advice for people who switched it on."""

TRAIN_EXTRA = "pip install 'cnnperf[train]' (torch, torchvision and scikit-learn from one index)"


def failed_message(error: BaseException) -> Failed:
    """What to tell the parent about an exception."""
    kind, message = _kind_and_message(error)
    said_all = isinstance(error, UsageError) and error.__cause__ is None
    trace = None if said_all else "".join(traceback.format_exception(error))
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
            f"{operation} has no deterministic implementation on this device: leave the case out "
            "with -k, choose another --cnnperf-device, or go without --cnnperf-deterministic"
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
    """A text on one line, cut to `limit` characters; what happened stands at its beginning."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_torch() -> None:
    """Import torch, torchvision and scikit-learn, or say in one sentence what is wrong.

    Raises:
        NotInstalledError: one is missing, or torch and torchvision do not belong together.
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
