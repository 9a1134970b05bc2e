"""Everything that is measured on a GPU, one command each, for a machine that is soon taken away.

    python3 .ci/gpu wheels                       # where there is a network; once
    python3 .ci/gpu standard --data ~/data --out evidence --minutes 9

Needs nothing but Python and torch: what cnnperf needs besides is unpacked from a folder of wheels,
nothing is downloaded and nothing is installed. A command ends by itself in time, leaves what it has
in a folder, and goes on from there when it is called again, also on another machine of the same
kind. docs/gpu.md tells the rest.

Exit code: 0 done; 75 call it again, not all is done; 1 something failed; 2 bad usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from packages import download_wheels, folder_name, make_environment
from pieces import HELP
from runner import LEAST_MINUTES, Runner
from words import AGAIN, ROOT, say


def main() -> int:
    """Do one piece."""
    asked = _arguments()
    started = time.monotonic()
    if asked.piece == "wheels":
        return download_wheels(asked.wheels, asked.python_version)
    with tempfile.TemporaryDirectory(prefix="cnnperf-") as scratch:
        environ = make_environment(Path(scratch), asked.wheels, asked.commit)
        folder = asked.out.absolute() / folder_name(environ, asked.device)
        folder.mkdir(parents=True, exist_ok=True)
        runner = Runner(asked, environ, folder, started + 60 * asked.minutes)
        try:
            return runner.run(asked.piece)
        except KeyboardInterrupt:
            return say("interrupted; call it again to go on", AGAIN)


def _arguments() -> argparse.Namespace:
    pieces = "\n".join(f"  {name:10} {text}" for name, text in HELP.items())
    parser = argparse.ArgumentParser(
        prog="python3 .ci/gpu",
        description=f"{(__doc__ or '').partition(chr(10))[0]}\n\n{pieces}",
        epilog="Arguments after -- go to every pytest, and to `cnnperf calibrate`. Exit code 75: "
        "call it again, to go on.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("piece", choices=HELP, metavar="PIECE", help="see above")
    _add_options(parser)
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:cut])
    asked.more = sys.argv[cut + 1 :]
    if not asked.minutes > LEAST_MINUTES:
        parser.error(f"--minutes: expected more than {LEAST_MINUTES:g}, got {asked.minutes:g}")
    return asked


def _add_options(parser: argparse.ArgumentParser) -> None:
    def folder(name: str, text: str, default: str | Path | None = None, **more: str) -> None:
        variable = "GPU_" + name.upper()
        said = f"{text} (default: ${variable}, else {default or 'none'})"
        parser.add_argument(
            f"--{name}", type=Path, metavar="DIR", default=os.environ.get(variable, default),
            help=said, **more,
        )  # fmt: skip

    add = parser.add_argument
    folder("out", "where everything goes", "evidence")
    folder("from", "what an earlier call left, if not in --out", dest="source")
    folder("data", "where MNIST and CIFAR-10 lie, if not where cnnperf looks")
    folder("wheels", "made by `wheels`", ROOT / ".gpu-wheels")
    add(
        "--minutes", type=float, metavar="M", default=os.environ.get("GPU_MINUTES", "9"),
        help="be over after so long (default: $GPU_MINUTES, else 9)",
    )  # fmt: skip
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it out")
    add("--tiny", action="store_true", help="two steps of digits: to try it out")
    add(
        "--commit", metavar="HASH", default=os.environ.get("GPU_COMMIT"),
        help="of this copy, where it lacks its .git (default: $GPU_COMMIT)",
    )  # fmt: skip
    add("--python-version", metavar="X.Y", default="3.12", help="of `wheels` (default: 3.12)")


if __name__ == "__main__":
    sys.exit(main())
