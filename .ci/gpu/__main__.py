"""Measure on a GPU, one command each, on a machine that you have only for a limited time.

    python3 .ci/gpu wheels                       # where there is a network; once
    python3 .ci/gpu all --data ~/data --out evidence --minutes 9

Needs only Python and torch. The other packages are unpacked from a folder of wheels; nothing is
downloaded or installed. A command ends in time, keeps its results in a folder, and continues there
when you run it again, also on another machine of the same kind. docs/gpu.md is the manual.

Exit code: 0 done; 1 something failed; 2 bad usage; 75 not finished, run it again to continue.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from packages import download_wheels, folder_name, make_environment
from pieces import HELP
from results import Results, pack, unpacked
from runner import LEAST_MINUTES, Runner
from words import AGAIN, ROOT, USAGE, say


def main() -> int:
    """Run one piece and return its exit code."""
    asked = _arguments()
    started = time.monotonic()
    if asked.piece == "wheels":
        return download_wheels(asked.wheels, asked.python_version)
    with tempfile.TemporaryDirectory(prefix="cnnperf-") as scratch:
        environ = make_environment(Path(scratch) / "packages", asked.wheels, asked.commit)
        folder = asked.out.absolute() / folder_name(environ, asked.device)
        try:
            for needed in (folder, *([asked.pack.parent] if asked.pack else [])):
                needed.mkdir(parents=True, exist_ok=True)
            source = unpacked((asked.source or asked.out).absolute(), Path(scratch) / "from")
        except (OSError, zipfile.BadZipFile) as error:
            return say(f"{error}: name another place by --out, --from or --pack", USAGE)
        results = Results(folder, source / folder.name)
        try:
            return Runner(asked, environ, results, started + 60 * asked.minutes).run(asked.piece)
        except KeyboardInterrupt:
            return say("interrupted: run it again to continue", AGAIN)
        finally:
            if asked.pack:
                pack(folder, asked.pack)


def _arguments() -> argparse.Namespace:
    pieces = "\n".join(f"  {name:10} {text}" for name, text in HELP.items())
    parser = argparse.ArgumentParser(
        prog="python3 .ci/gpu",
        description=f"{(__doc__ or '').partition(chr(10))[0]}\n\n{pieces}",
        epilog="Arguments after -- are passed to every pytest and to `cnnperf calibrate`. "
        "Exit code 75: not finished, run it again to continue.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("piece", choices=HELP, metavar="PIECE", help="one of the pieces above")
    _add_options(parser)
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:cut])
    asked.select, asked.more = _split_selection(sys.argv[cut + 1 :])
    if not asked.minutes > LEAST_MINUTES:
        parser.error(f"--minutes: expected more than {LEAST_MINUTES:g}, got {asked.minutes:g}")
    return asked


def _split_selection(more: list[str]) -> tuple[str | None, list[str]]:
    """Return the expression of the last -k among pytest's arguments, and all others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-k", dest="select")
    found, others = parser.parse_known_args(more)
    return found.select, others


def _add_options(parser: argparse.ArgumentParser) -> None:
    def folder(name: str, text: str, default: str | Path | None = None, **more: str) -> None:
        variable = "GPU_" + name.upper()
        said = f"{text} (default: ${variable}, else {default or 'none'})"
        parser.add_argument(
            f"--{name}", type=Path, metavar="DIR", default=os.environ.get(variable, default),
            help=said, **more,
        )  # fmt: skip

    add = parser.add_argument
    folder("out", "folder for all results", "evidence")
    folder(
        "from",
        "folder with the results of an earlier call, if not --out, or what --pack wrote",
        dest="source",
    )
    folder("data", "folder of MNIST and CIFAR-10, if not cnnperf's default")
    folder("wheels", "folder that `wheels` filled", ROOT / ".gpu-wheels")
    add(
        "--minutes", type=float, metavar="M", default=os.environ.get("GPU_MINUTES", "9"),
        help="end after M minutes (default: $GPU_MINUTES, else 9)",
    )  # fmt: skip
    add(
        "--pack", type=Path, metavar="FILE", default=os.environ.get("GPU_PACK"),
        help="also put all results into one .zip at the end (default: $GPU_PACK, else none)",
    )  # fmt: skip
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for trying it out")
    add("--tiny", action="store_true", help="two steps of digits per case, for trying it out")
    add(
        "--commit", metavar="HASH", default=os.environ.get("GPU_COMMIT"),
        help="commit of this copy, if it has no .git (default: $GPU_COMMIT)",
    )  # fmt: skip
    add("--python-version", metavar="X.Y", default="3.12", help="for `wheels` (default: 3.12)")


if __name__ == "__main__":
    sys.exit(main())
