"""Write files so that nothing is lost: beside their place first, then moved; never over a record.

check_output(Path("page.html"), inputs=[Path("run.json")])
write_file(Path("page.html"), "<!doctype html>")
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from cnnperf.errors import UsageError, printable
from cnnperf.record.files import MAX_FILE_BYTES


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, and create its folder if needed; an old file stays if that fails.

    The content is written to a new file that nobody can foresee, and moved when it is on the disk.
    A link stays a link. What is no regular file, such as /dev/stdout or a pipe, is written to.

    Raises:
        UsageError: the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise UsageError(
            f"{printable(str(path))} cannot be written: {error.strerror or error}"
        ) from error


def _replace(target: Path, data: bytes) -> None:
    part = target.with_name(f".cnnperf-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            part.chmod(target.stat().st_mode)
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def check_output(output: Path | None, inputs: Iterable[Path] = (), *, force: bool = False) -> None:
    """Refuse to overwrite an input, or a file that holds a record or a journal.

    Args:
        output: the file that a command will write; None is no file.
        inputs: files that the command reads; they are never overwritten.
        force: whether the user asked to overwrite a record.

    Raises:
        UsageError: the file would be lost, or is a folder.
    """
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file with -o")
    for each in inputs:
        if output.exists() and each.exists() and output.samefile(each):
            raise UsageError(f"{output} is an input of this command: choose another output")
    if not force and holds_results(output):
        raise UsageError(
            f"{output} holds a record: choose another name with -o, or add --force to overwrite it"
        )


KEYS = ("cnnperf", "benchmarks", "schema_version")
"""Keys of a record, of a file of pytest-benchmark, of a journal and of a calibration."""


def holds_results(path: Path) -> bool:
    """Return whether a file has results in it, also if it is cut off or damaged."""
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        return path.is_file()  # too large to look at: rather keep it
    try:
        content = path.read_bytes()
    except OSError:
        return False
    text = content.decode(json.detect_encoding(content), "replace")
    is_json = text.lstrip("\ufeff \n\r\t").startswith("{")  # whole, cut off, or one object a line
    return is_json and any(f'"{key}"' in text for key in KEYS)
