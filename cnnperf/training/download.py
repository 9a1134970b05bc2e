"""Download one data set in a process of its own: torchvision downloads, and loads torch.

    python -P -m cnnperf.training.download mnist ~/data

`cnnperf data` starts it. An error is one sentence and exit code 2, or 70 if it is cnnperf's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cnnperf.catalog.registry import import_modules
from cnnperf.errors import EXIT_INTERNAL, UsageError, internal_error, printable
from cnnperf.training.worker.channel import check_torch


def main(name: str, folder: str, *modules: str) -> int:
    """Download a data set into a folder, after the user's modules are imported."""
    try:
        check_torch()
        from cnnperf.training.data.fetch import fetch

        import_modules(modules, [str(Path.cwd())], "--module")
        fetch(name, folder, on_message=lambda text: print(text, flush=True))  # noqa: T201
    except UsageError as error:
        print(f"cnnperf: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(internal_error(error), file=sys.stderr)  # noqa: T201
        return EXIT_INTERNAL
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
