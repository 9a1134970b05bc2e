"""Files are written beside their place and moved; records and inputs are never overwritten."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.benchmark_json import write_benchmark_json
from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record, record_as_json
from cnnperf.record.writing import check_output, holds_results, write_file
from tests.examples import example_case_record, example_record, write_record


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def many_cases() -> Record:
    """A record of some hundred KiB."""
    return example_record(*(example_case_record(id=f"case-{number}") for number in range(200)))


def test_a_full_disk_leaves_the_old_record_and_no_scraps(small_disk: Path) -> None:
    """A real file system that has no room for the new record beside the old one."""
    path = small_disk / "run.json"
    write_benchmark_json(example_record(example_case_record()), path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"run\.json cannot be written: No space left on device"):
        write_benchmark_json(many_cases(), path)
    assert path.read_bytes() == before
    assert [each.name for each in small_disk.iterdir()] == ["run.json"]


def test_a_killed_writer_leaves_the_old_record(tmp_path: Path) -> None:
    """Killed by the kernel after half of the content: the place itself was never touched."""
    path = write_record(
        tmp_path / "run.json", record_as_json(example_record(example_case_record()))
    )
    before = path.read_bytes()
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from cnnperf.record.writing import write_file\n"
        "def kill(descriptor): os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fsync = kill\n"
        "write_file(Path(sys.argv[1]), 'x' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == before


def test_mode_and_links_stay(tmp_path: Path) -> None:
    """A new file has the mode of any other; an old one keeps its own, and a link its target."""
    path, plain, link = tmp_path / "a.json", tmp_path / "plain", tmp_path / "link.json"
    write_file(path, "1")
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    link.symlink_to(path)
    write_file(link, "2")
    assert link.is_symlink()
    assert path.read_text() == "2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """It is no file that could be replaced, as in `-o >(gzip > page.gz)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_file(pipe, "through")
    reader.join(timeout=10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_stream_and_a_loop_of_links(tmp_path: Path) -> None:
    """The standard output may be a pipe; a link to itself is replaced."""
    code = (
        "from pathlib import Path\n"
        "from cnnperf.record.writing import write_file\n"
        "write_file(Path('/dev/stdout'), 'through')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "through", done.stderr
    one, other = tmp_path / "one", tmp_path / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    write_file(one, "whole")  # there is nothing that it could lead to
    assert one.read_text() == "whole"


def test_what_holds_results(tmp_path: Path) -> None:
    """Records, journals and files of pytest-benchmark; nothing else."""
    record = write_record(
        tmp_path / "run.json", record_as_json(example_record(example_case_record()))
    )
    (tmp_path / "b.json").write_text('{"machine_info": {}, "benchmarks": []}')
    (tmp_path / "x.journal.jsonl").write_text('{"kind": "run", "schema_version": 1}\n{"kind"')
    text = record.read_text()
    (tmp_path / "cut.json").write_text(text[: len(text) // 2])
    (tmp_path / "utf16.json").write_text(text, encoding="utf-16")
    (tmp_path / "verdict.json").write_text('{"cases": []}')
    (tmp_path / "page.html").write_text("<html>{</html>")
    holding = {path.name for path in tmp_path.iterdir() if holds_results(path)}
    assert holding == {record.name, "b.json", "x.journal.jsonl", "cut.json", "utf16.json"}
    assert not holds_results(tmp_path / "nothing")


def test_inputs_and_records_are_refused_as_output(tmp_path: Path) -> None:
    """Through links too; a record may be overwritten if the user says so, an input never."""
    record = write_record(
        tmp_path / "run.json", record_as_json(example_record(example_case_record()))
    )
    link, hard = tmp_path / "link.json", tmp_path / "hard.json"
    link.symlink_to(record)
    hard.hardlink_to(record)
    for same in (record, link, hard):
        with pytest.raises(UsageError, match="is an input of this command"):
            check_output(same, [record], force=True)
    with pytest.raises(UsageError, match="holds a record: choose another name"):
        check_output(record)
    check_output(record, force=True)
    check_output(tmp_path / "new.json", [record])
    check_output(None, [record])


COMMANDS = [
    ("compare", "{base}", "{new}", "-f", "json", "-o"),
    ("report", "{base}", "{new}", "-o"),
    ("export", "{base}", "--to", "bencher", "-o"),
    ("history", "{folder}", "-o"),
    ("floors", "--record", "{base}", "-o"),
    ("ab", "--b", "python", "-o"),
    ("calibrate", "--from", "{base}", "{new}", "-o"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_no_command_overwrites_a_record(command: tuple[str, ...], tmp_path: Path) -> None:
    """`compare base.json new.json -o base.json`, and the same slip of every other command."""
    base = write_record(
        tmp_path / "base.json", record_as_json(example_record(example_case_record()))
    )
    new = write_record(tmp_path / "new.json", record_as_json(example_record(example_case_record())))
    before = base.read_bytes()
    words = [word.format(base=base, new=new, folder=tmp_path) for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "cnnperf.cli", *words, str(base)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert base.read_bytes() == before
    assert load_record(base).cases
