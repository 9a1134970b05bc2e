"""The command `cnnperf`, with a module for each command or for a few small ones.

    cnnperf list
    cnnperf compare base.json new.json
    cnnperf report base.json new.json -o report.html

Bad usage ends with one sentence and exit code 2. Exit codes 0, 1, 3 and 4 are verdicts, so an error
of cnnperf itself ends with 70, even if a package cannot be imported: Python would end with 1.
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # `python -m cnnperf.cli` puts the current folder first: a `json.py` there would be Python's.
    sys.path.append(sys.path.pop(0))

from cnnperf.errors import EXIT_INTERNAL, internal_error


def main() -> None:
    """Run the command line; the entry point of the console script."""
    try:
        from cnnperf.cli.commands import app
        from cnnperf.report.terminal.console import run

        code = run(app)
    except Exception as error:
        if sys.stderr is not None:  # None if the shell closed it
            print(internal_error(error), file=sys.stderr)  # noqa: T201
        code = EXIT_INTERNAL
    sys.exit(code)
